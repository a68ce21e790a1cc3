// Divides an amount by the method of the largest remainder.
#ifndef BILL_H
#define BILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Fills in one part for each weight, in the same order. The parts add up to the total. False when
// nobody has a weight.
bool bill_split(uint32_t total, const uint16_t *weights, size_t count, uint32_t *parts);

#endif
