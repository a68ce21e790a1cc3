import assert from "node:assert/strict";
import test from "node:test";

import { split } from "./bill.ts";

test("parts add up", () => {
  assert.deepEqual(split(1000, [1, 1, 1]), [334, 333, 333]);
  const parts = split(4294967295, [65535, 1, 0]);
  assert.equal(parts.reduce((sum, part) => sum + part), 4294967295);
});

test("what remains goes to those cut the most", () => {
  assert.deepEqual(split(100, [1, 1, 4]), [17, 17, 66]);
  assert.deepEqual(split(10, [3, 3, 1, 0]), [4, 4, 2, 0]);
});

test("somebody has to pay", () => {
  for (const weights of [[], [0, 0]]) assert.throws(() => split(1000, weights));
});
