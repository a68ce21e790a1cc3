// The component's exports. What they do is in bill.c, which knows nothing of WIT.

#include <stdlib.h>

#include "agent.h"
#include "bill.h"

typedef exports_local_agent_bill_list_payer_t payers_t;
typedef exports_local_agent_bill_list_part_t parts_t;

static void *allocate(size_t count, size_t size) {
  // At least one byte, so that nothing is not mistaken for failure.
  void *memory = calloc(count ? count : 1, size);
  if (memory == NULL) abort();
  return memory;
}

// The arguments belong to this function; what it returns belongs to the caller.
bool exports_local_agent_bill_split(uint32_t total_cents, payers_t *payers, parts_t *parts,
                                    agent_string_t *error) {
  size_t count = payers->len;
  uint16_t *weights = allocate(count, sizeof *weights);
  uint32_t *cents = allocate(count, sizeof *cents);
  for (size_t i = 0; i < count; i++) weights[i] = payers->ptr[i].weight;

  bool is_split = bill_split(total_cents, weights, count, cents);
  if (is_split) {
    parts->len = count;
    parts->ptr = allocate(count, sizeof *parts->ptr);
    for (size_t i = 0; i < count; i++) {
      agent_string_t *name = &payers->ptr[i].name;
      agent_string_dup_n(&parts->ptr[i].name, (const char *)name->ptr, name->len);
      parts->ptr[i].cents = cents[i];
    }
  } else {
    agent_string_dup(error, "nobody pays: give at least one payer a weight above 0");
  }
  free(weights);
  free(cents);
  exports_local_agent_bill_list_payer_free(payers);
  return is_split;
}
