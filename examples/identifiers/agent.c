// The component's exports. What they do is in numbers.c, which knows nothing of WIT.

#include <stdlib.h>

#include "identifiers.h"
#include "numbers.h"

typedef exports_examples_identifiers_numbers_problem_t problem_t;

// Fills in the result of a function that returns `result<string, problem>`.
static bool answer(const struct outcome *outcome, identifiers_string_t *printed, problem_t *problem) {
  switch (outcome->verdict) {
    case VALID: identifiers_string_dup(printed, outcome->printed); return true;
    case BAD_CHARACTER:
      problem->tag = EXPORTS_EXAMPLES_IDENTIFIERS_NUMBERS_PROBLEM_CHARACTER;
      problem->val.character = (uint32_t)outcome->position;
      return false;
    case BAD_LENGTH:
      problem->tag = EXPORTS_EXAMPLES_IDENTIFIERS_NUMBERS_PROBLEM_LENGTH;
      problem->val.length = (uint32_t)outcome->length;
      return false;
    case BAD_PREFIX: problem->tag = EXPORTS_EXAMPLES_IDENTIFIERS_NUMBERS_PROBLEM_PREFIX; return false;
    case BAD_CHECK_DIGITS:
      problem->tag = EXPORTS_EXAMPLES_IDENTIFIERS_NUMBERS_PROBLEM_CHECK_DIGITS;
      identifiers_string_dup(&problem->val.check_digits, outcome->check);
      return false;
  }
  abort();
}

bool exports_examples_identifiers_numbers_check(exports_examples_identifiers_numbers_standard_t standard,
                                                identifiers_string_t *number, identifiers_string_t *printed,
                                                problem_t *problem) {
  struct outcome outcome = number_check((enum standard)standard, number->ptr, number->len);
  identifiers_string_free(number);
  return answer(&outcome, printed, problem);
}

bool exports_examples_identifiers_numbers_complete(exports_examples_identifiers_numbers_standard_t standard,
                                                   identifiers_string_t *number, identifiers_string_t *printed,
                                                   problem_t *problem) {
  struct outcome outcome = number_complete((enum standard)standard, number->ptr, number->len);
  identifiers_string_free(number);
  return answer(&outcome, printed, problem);
}

void exports_examples_identifiers_numbers_recognize(identifiers_string_t *number,
                                                    exports_examples_identifiers_numbers_list_standard_t *standards) {
  standards->ptr = malloc(STANDARD_COUNT * sizeof *standards->ptr);
  if (standards->ptr == NULL) abort();
  standards->len = 0;
  for (int standard = 0; standard < STANDARD_COUNT; standard++) {
    struct outcome outcome = number_check((enum standard)standard, number->ptr, number->len);
    if (outcome.verdict == VALID) standards->ptr[standards->len++] = (uint8_t)standard;
  }
  identifiers_string_free(number);
}

void exports_examples_identifiers_numbers_crc32(identifiers_list_u8_t *data, identifiers_string_t *checksum) {
  static const char DIGITS[] = "0123456789abcdef";
  uint32_t value = crc32(data->ptr, data->len);
  char text[9] = {0};
  for (int digit = 0; digit < 8; digit++) text[digit] = DIGITS[value >> (28 - 4 * digit) & 15];
  identifiers_list_u8_free(data);
  identifiers_string_dup(checksum, text);
}
