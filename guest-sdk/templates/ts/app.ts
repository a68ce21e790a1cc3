// The component's exports. What they do is in bill.ts, which knows nothing of WIT. Their types are
// made from the WIT, so that the two cannot drift apart.

import * as amounts from "./bill.ts";

export const bill: typeof import("local:agent/bill@0.1.0") = {
  // What is thrown becomes the error of the result.
  split(totalCents, payers) {
    const parts = amounts.split(totalCents, payers.map((payer) => payer.weight));
    return payers.map(({ name }, index) => ({ name, cents: parts[index]! }));
  },
};
