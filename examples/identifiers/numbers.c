#include "numbers.h"

#include <stdbool.h>
#include <string.h>

struct rule {
  size_t length_min;
  size_t length_max;
  size_t group; // characters between separators in print; 0 for none
  char separator;
};

static const struct rule RULES[STANDARD_COUNT] = {
    [ISBN10] = {10, 10, 0, 0}, [ISBN13] = {13, 13, 0, 0}, [ISSN] = {8, 8, 4, '-'},  [EAN8] = {8, 8, 0, 0},
    [EAN13] = {13, 13, 0, 0},  [IBAN] = {15, 34, 4, ' '}, [CARD] = {12, 19, 4, ' '}, [ORCID] = {16, 16, 4, '-'},
};

// A number without separators, in upper case, and where its characters were.
struct compact {
  char characters[NUMBER_LENGTH_MAX + 1];
  size_t positions[NUMBER_LENGTH_MAX];
  size_t length; // may exceed NUMBER_LENGTH_MAX; the rest is not stored
};

static bool is_digit(char character) { return character >= '0' && character <= '9'; }

static bool is_letter(char character) { return character >= 'A' && character <= 'Z'; }

static struct compact compact(const uint8_t *text, size_t size) {
  struct compact number = {.length = 0};
  for (size_t index = 0; index < size; index++) {
    char character = (char)text[index];
    if (character == ' ' || character == '-') continue;
    if (character >= 'a' && character <= 'z') character -= 'a' - 'A';
    if (number.length < NUMBER_LENGTH_MAX) {
      number.characters[number.length] = character;
      number.positions[number.length] = index;
    }
    number.length++;
  }
  return number;
}

// Whether a standard lets the character stand at this place of the whole number.
static bool is_allowed(enum standard standard, char character, size_t index) {
  if (is_digit(character)) return standard != IBAN || index >= 2;
  if (standard == IBAN) return is_letter(character) && (index < 2 || index >= 4);
  bool may_be_ten = standard == ISBN10 || standard == ISSN || standard == ORCID;
  return may_be_ten && character == 'X' && index + 1 == RULES[standard].length_max;
}

static char digit_or_x(unsigned value) { return value == 10 ? 'X' : (char)('0' + value); }

// ISBN-10 and ISSN: weights that fall to 2, modulo 11.
static char check_mod11(const char *body, size_t length) {
  unsigned sum = 0;
  for (size_t index = 0; index < length; index++) sum += (unsigned)(body[index] - '0') * (unsigned)(length + 1 - index);
  return digit_or_x((11 - sum % 11) % 11);
}

// EAN and ISBN-13: weights 3 and 1 from the right, modulo 10.
static char check_ean(const char *body, size_t length) {
  unsigned sum = 0;
  for (size_t index = 0; index < length; index++) {
    sum += (unsigned)(body[index] - '0') * ((length - index) % 2 == 1 ? 3 : 1);
  }
  return digit_or_x((10 - sum % 10) % 10);
}

// Luhn (ISO/IEC 7812): every second digit from the right counts twice.
static char check_luhn(const char *body, size_t length) {
  unsigned sum = 0;
  for (size_t index = 0; index < length; index++) {
    unsigned digit = (unsigned)(body[index] - '0');
    if ((length - index) % 2 == 1) digit = digit > 4 ? digit * 2 - 9 : digit * 2;
    sum += digit;
  }
  return digit_or_x((10 - sum % 10) % 10);
}

// ISO 7064 MOD 11-2, as ORCID uses it.
static char check_orcid(const char *body, size_t length) {
  unsigned total = 0;
  for (size_t index = 0; index < length; index++) total = (total + (unsigned)(body[index] - '0')) * 2;
  return digit_or_x((12 - total % 11) % 11);
}

static unsigned iban_remainder(unsigned remainder, char character) {
  if (is_digit(character)) return (remainder * 10 + (unsigned)(character - '0')) % 97;
  return (remainder * 100 + (unsigned)(character - 'A') + 10) % 97;
}

// ISO 13616: the account, then the country and 00, modulo 97.
static void check_iban(const char *characters, size_t length, char check[3]) {
  unsigned remainder = 0;
  for (size_t index = 4; index < length; index++) remainder = iban_remainder(remainder, characters[index]);
  for (size_t index = 0; index < 2; index++) remainder = iban_remainder(remainder, characters[index]);
  unsigned digits = 98 - remainder * 100 % 97;
  check[0] = (char)('0' + digits / 10);
  check[1] = (char)('0' + digits % 10);
}

// The check digits that a whole number should have; the ones it has do not matter.
static void expected_check(enum standard standard, const char *characters, size_t length, char check[3]) {
  memset(check, 0, 3);
  switch (standard) {
    case ISBN10:
    case ISSN: check[0] = check_mod11(characters, length - 1); break;
    case ISBN13:
    case EAN8:
    case EAN13: check[0] = check_ean(characters, length - 1); break;
    case CARD: check[0] = check_luhn(characters, length - 1); break;
    case ORCID: check[0] = check_orcid(characters, length - 1); break;
    case IBAN: check_iban(characters, length, check); break;
    case STANDARD_COUNT: break;
  }
}

static void print(enum standard standard, const char *characters, size_t length, char *printed) {
  const struct rule rule = RULES[standard];
  for (size_t index = 0; index < length; index++) {
    if (rule.group != 0 && index > 0 && index % rule.group == 0) *printed++ = rule.separator;
    *printed++ = characters[index];
  }
  *printed = 0;
}

// The verdict on everything but the check digits.
static struct outcome check_form(enum standard standard, const struct compact *number, size_t missing) {
  const struct rule rule = RULES[standard];
  struct outcome outcome = {.verdict = VALID, .length = number->length};
  size_t stored = number->length < NUMBER_LENGTH_MAX ? number->length : NUMBER_LENGTH_MAX;
  for (size_t index = 0; index < stored; index++) {
    // Where check digits are missing, an IBAN continues two places further.
    size_t place = standard == IBAN && index >= 2 ? index + missing : index;
    if (!is_allowed(standard, number->characters[index], place)) {
      outcome.verdict = BAD_CHARACTER;
      outcome.position = number->positions[index];
      return outcome;
    }
  }
  if (number->length + missing < rule.length_min || number->length + missing > rule.length_max) {
    outcome.verdict = BAD_LENGTH;
  } else if (standard == ISBN13 && memcmp(number->characters, "978", 3) != 0 && memcmp(number->characters, "979", 3) != 0) {
    outcome.verdict = BAD_PREFIX;
  }
  return outcome;
}

struct outcome number_check(enum standard standard, const uint8_t *text, size_t size) {
  struct compact number = compact(text, size);
  struct outcome outcome = check_form(standard, &number, 0);
  if (outcome.verdict != VALID) return outcome;
  expected_check(standard, number.characters, number.length, outcome.check);
  const char *actual = standard == IBAN ? number.characters + 2 : number.characters + number.length - 1;
  if (memcmp(actual, outcome.check, strlen(outcome.check)) != 0) {
    outcome.verdict = BAD_CHECK_DIGITS;
    return outcome;
  }
  print(standard, number.characters, number.length, outcome.printed);
  return outcome;
}

struct outcome number_complete(enum standard standard, const uint8_t *text, size_t size) {
  struct compact number = compact(text, size);
  const size_t missing = standard == IBAN ? 2 : 1;
  struct outcome outcome = check_form(standard, &number, missing);
  if (outcome.verdict != VALID) return outcome;
  if (standard == IBAN) memmove(number.characters + 4, number.characters + 2, number.length - 2);
  const size_t length = number.length + missing;
  expected_check(standard, number.characters, length, outcome.check);
  memcpy(standard == IBAN ? number.characters + 2 : number.characters + length - 1, outcome.check, missing);
  print(standard, number.characters, length, outcome.printed);
  return outcome;
}

uint32_t crc32(const uint8_t *data, size_t size) {
  uint32_t remainder = 0xFFFFFFFF;
  for (size_t index = 0; index < size; index++) {
    remainder ^= data[index];
    for (int bit = 0; bit < 8; bit++) remainder = remainder >> 1 ^ (remainder & 1 ? 0xEDB88320 : 0);
  }
  return ~remainder;
}
