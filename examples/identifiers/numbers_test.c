// cc -std=c11 -Wall -Wextra -Werror -fsanitize=address,undefined numbers.c numbers_test.c -o test && ./test

#include "numbers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

static void expect(int holds, const char *what) {
  if (!holds) {
    failures++;
    printf("failed: %s\n", what);
  }
}

static struct outcome check(enum standard standard, const char *text) {
  return number_check(standard, (const uint8_t *)text, strlen(text));
}

static struct outcome complete(enum standard standard, const char *text) {
  return number_complete(standard, (const uint8_t *)text, strlen(text));
}

static const struct {
  enum standard standard;
  const char *whole, *incomplete, *printed;
} VALID_NUMBERS[] = {
    {ISBN10, "0-306-40615-2", "030640615", "0306406152"},
    {ISBN10, "0-8044-2957-x", "080442957", "080442957X"},
    {ISBN13, "978-0-306-40615-7", "978030640615", "9780306406157"},
    {ISSN, "03785955", "0378595", "0378-5955"},
    {ISSN, "2434-561X", "2434-561", "2434-561X"},
    {EAN8, "7351 3537", "7351353", "73513537"},
    {EAN13, "4006381333931", "400638133393", "4006381333931"},
    {IBAN, "de89370400440532013000", "DE370400440532013000", "DE89 3704 0044 0532 0130 00"},
    {IBAN, "GB29 NWBK 6016 1331 9268 19", "GBNWBK60161331926819", "GB29 NWBK 6016 1331 9268 19"},
    {IBAN, "MT84MALT011000012345MTLCAST001S", "MTMALT011000012345MTLCAST001S", "MT84 MALT 0110 0001 2345 MTLC AST0 01S"},
    {CARD, "4111-1111-1111-1111", "411111111111111", "4111 1111 1111 1111"},
    {CARD, "378282246310005", "37828224631000", "3782 8224 6310 005"},
    {ORCID, "0000-0002-1825-0097", "000000021825009", "0000-0002-1825-0097"},
    {ORCID, "0000-0002-1694-233X", "000000021694233", "0000-0002-1694-233X"},
};

int main(void) {
  for (size_t index = 0; index < sizeof VALID_NUMBERS / sizeof *VALID_NUMBERS; index++) {
    struct outcome outcome = check(VALID_NUMBERS[index].standard, VALID_NUMBERS[index].whole);
    expect(outcome.verdict == VALID && strcmp(outcome.printed, VALID_NUMBERS[index].printed) == 0, VALID_NUMBERS[index].whole);
    outcome = complete(VALID_NUMBERS[index].standard, VALID_NUMBERS[index].incomplete);
    expect(outcome.verdict == VALID && strcmp(outcome.printed, VALID_NUMBERS[index].printed) == 0,
           VALID_NUMBERS[index].incomplete);
  }

  struct outcome outcome = check(IBAN, "DE88 3704 0044 0532 0130 00");
  expect(outcome.verdict == BAD_CHECK_DIGITS && strcmp(outcome.check, "89") == 0, "the right IBAN digits are named");
  outcome = check(ISBN10, "0306406153");
  expect(outcome.verdict == BAD_CHECK_DIGITS && strcmp(outcome.check, "2") == 0, "the right ISBN digit is named");
  outcome = check(CARD, "4111 11a1 1111 1111");
  expect(outcome.verdict == BAD_CHARACTER && outcome.position == 7, "the position counts separators");
  expect(check(ISBN10, "X306406152").verdict == BAD_CHARACTER, "X stands only at the end");
  expect(check(IBAN, "1289370400440532013000").verdict == BAD_CHARACTER, "a country is letters");
  expect(check(ISBN13, "4006381333931").verdict == BAD_PREFIX, "goods are no books");
  expect(check(EAN13, "123").verdict == BAD_LENGTH && check(EAN13, "").verdict == BAD_LENGTH, "too short");
  outcome = check(IBAN, "DE8937040044053201300000000000000000000000000000");
  expect(outcome.verdict == BAD_LENGTH && outcome.length == 48, "too long");
  expect(complete(IBAN, "D").verdict == BAD_LENGTH && complete(IBAN, "").verdict == BAD_LENGTH, "too short to complete");
  expect(crc32((const uint8_t *)"123456789", 9) == 0xCBF43926, "the check value of CRC-32");
  expect(crc32(NULL, 0) == 0, "no data");

  if (failures == 0) printf("ok\n");
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
