// Numbers with check digits, without any WIT.
#ifndef NUMBERS_H
#define NUMBERS_H

#include <stddef.h>
#include <stdint.h>

// No standard allows more; an ORCID or IBAN with separators still fits its printed form below.
#define NUMBER_LENGTH_MAX 34
// An IBAN in groups of four, with its end.
#define PRINTED_SIZE (NUMBER_LENGTH_MAX + NUMBER_LENGTH_MAX / 4 + 1)

enum standard { ISBN10, ISBN13, ISSN, EAN8, EAN13, IBAN, CARD, ORCID, STANDARD_COUNT };

enum verdict {
  VALID,
  BAD_CHARACTER,    // `position` is where
  BAD_LENGTH,       // `length` is what it is
  BAD_PREFIX,
  BAD_CHECK_DIGITS, // `check` is what they should be
};

struct outcome {
  enum verdict verdict;
  size_t position;
  size_t length;
  char check[3];
  char printed[PRINTED_SIZE];
};

// Checks a number. Spaces and hyphens do not matter.
struct outcome number_check(enum standard standard, const uint8_t *text, size_t size);

// Completes a number that lacks its check digits.
struct outcome number_complete(enum standard standard, const uint8_t *text, size_t size);

// The CRC-32 of ISO 3309, as zip and PNG use it.
uint32_t crc32(const uint8_t *data, size_t size);

#endif
