// Package bill divides an amount by the method of the largest remainder.
package bill

import (
	"cmp"
	"errors"
	"slices"
)

// Split gives one part for each weight, in the same order. The parts add up to total.
func Split(total uint32, weights []uint16) ([]uint32, error) {
	var sum uint64
	for _, weight := range weights {
		sum += uint64(weight)
	}
	if sum == 0 {
		return nil, errors.New("nobody pays: give at least one payer a weight above 0")
	}
	exact := func(payer int) uint64 { return uint64(total) * uint64(weights[payer]) }

	left := total
	parts := make([]uint32, len(weights))
	mostCut := make([]int, len(weights))
	for payer := range weights {
		parts[payer] = uint32(exact(payer) / sum)
		left -= parts[payer]
		mostCut[payer] = payer
	}
	slices.SortStableFunc(mostCut, func(a, b int) int {
		return cmp.Compare(exact(b)%sum, exact(a)%sum)
	})
	for _, payer := range mostCut[:left] {
		parts[payer]++
	}
	return parts, nil
}
