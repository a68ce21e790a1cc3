// The component's exports. What they do is in documents.js, which knows nothing of WIT.

import * as functions from "./documents.js";

export const documents = functions;
