// The component's exports. What they do is in bill.js, which knows nothing of WIT.

import * as amounts from "./bill.js";

export const bill = {
  // What is thrown becomes the error of the result.
  split(totalCents, payers) {
    const parts = amounts.split(totalCents, payers.map((payer) => payer.weight));
    return parts.map((cents, index) => ({ name: payers[index].name, cents }));
  },
};
