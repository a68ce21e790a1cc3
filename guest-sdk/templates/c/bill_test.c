// Built without wasm: see README.md.

#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bill.h"

static void check(uint32_t total, size_t count, const uint16_t *weights, const uint32_t *expected) {
  uint32_t parts[4] = {0};
  assert(count <= 4 && bill_split(total, weights, count, parts));
  assert(memcmp(parts, expected, count * sizeof *parts) == 0);
}

int main(void) {
  // Parts add up.
  check(1000, 3, (uint16_t[]){1, 1, 1}, (uint32_t[]){334, 333, 333});
  check(UINT32_MAX, 2, (uint16_t[]){0, UINT16_MAX}, (uint32_t[]){0, UINT32_MAX});
  // What remains goes to those cut the most.
  check(100, 3, (uint16_t[]){1, 1, 4}, (uint32_t[]){17, 17, 66});
  check(10, 4, (uint16_t[]){3, 3, 1, 0}, (uint32_t[]){4, 4, 2, 0});
  // Somebody has to pay.
  uint32_t none[2];
  assert(!bill_split(1000, NULL, 0, none));
  assert(!bill_split(1000, (uint16_t[]){0, 0}, 2, none));
  puts("passed");
}
