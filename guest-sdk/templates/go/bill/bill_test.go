package bill

import (
	"math"
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		total   uint32
		weights []uint16
		parts   []uint32
	}{
		{1000, []uint16{1, 1, 1}, []uint32{334, 333, 333}},
		{100, []uint16{1, 1, 4}, []uint32{17, 17, 66}},
		{10, []uint16{3, 3, 1, 0}, []uint32{4, 4, 2, 0}},
		{math.MaxUint32, []uint16{0, math.MaxUint16}, []uint32{0, math.MaxUint32}},
	} {
		parts, err := Split(c.total, c.weights)
		if err != nil || !slices.Equal(parts, c.parts) {
			t.Errorf("Split(%d, %v) = %v, %v", c.total, c.weights, parts, err)
		}
	}
}

func TestSomebodyHasToPay(t *testing.T) {
	for _, weights := range [][]uint16{nil, {0, 0}} {
		if parts, err := Split(1000, weights); err == nil {
			t.Errorf("Split(1000, %v) = %v", weights, parts)
		}
	}
}
