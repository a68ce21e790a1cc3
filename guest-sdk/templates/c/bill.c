#include "bill.h"

#include <stdlib.h>

struct cut {
  uint64_t remainder;
  size_t payer;
};

// Those cut the most first; `qsort` is not stable, so the place decides between equals.
static int compare(const void *left, const void *right) {
  const struct cut *a = left, *b = right;
  if (a->remainder != b->remainder) return a->remainder < b->remainder ? 1 : -1;
  return a->payer < b->payer ? -1 : 1;
}

bool bill_split(uint32_t total, const uint16_t *weights, size_t count, uint32_t *parts) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += weights[i];
  if (sum == 0) return false;
  struct cut *cuts = malloc(count * sizeof *cuts);
  if (cuts == NULL) abort();

  uint32_t left = total;
  for (size_t i = 0; i < count; i++) {
    uint64_t exact = (uint64_t)total * weights[i];
    parts[i] = (uint32_t)(exact / sum);
    left -= parts[i];
    cuts[i] = (struct cut){.remainder = exact % sum, .payer = i};
  }
  qsort(cuts, count, sizeof *cuts, compare);
  for (size_t i = 0; i < left; i++) parts[cuts[i].payer]++;
  free(cuts);
  return true;
}
