// Package plan calculates with IP networks. A network is a netip.Prefix without bits behind its mask.
package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
)

// The most networks that one call takes and that it answers: a routing table of a company, not of the internet.
const NetworksMax = 10_000

// Need is a subnet that is wanted.
type Need struct {
	Name  string
	Hosts uint32
}

// Subnet is one that was found. Prefix is what it occupies.
type Subnet struct {
	Name   string
	Prefix netip.Prefix
}

// Parse reads a network, or an address as the network of one.
func Parse(text string) (netip.Prefix, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "/") {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no network: write it like 10.1.0.0/16 or 2001:db8::/48", excerpt(text))
		}
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no network: write it like 10.1.0.0/16 or 2001:db8::/48", excerpt(text))
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s has bits behind its mask: the network is %s", prefix, prefix.Masked())
	}
	return prefix, nil
}

// ParseAll reads networks, and says which one is wrong.
func ParseAll(texts []string) ([]netip.Prefix, error) {
	if len(texts) > NetworksMax {
		return nil, fmt.Errorf("%d networks are more than the %d that one call takes", len(texts), NetworksMax)
	}
	prefixes := make([]netip.Prefix, len(texts))
	for index, text := range texts {
		prefix, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("networks[%d]: %w", index, err)
		}
		prefixes[index] = prefix
	}
	return prefixes, nil
}

func excerpt(text string) string {
	if len(text) > 64 {
		return strings.ToValidUTF8(text[:64], "") + "…"
	}
	return text
}

// Last is the last address of a network.
func Last(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// Size is how many addresses a network has.
func Size(prefix netip.Prefix) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(prefix.Addr().BitLen()-prefix.Bits()))
}

// Hosts is the range of addresses that hosts can have, and how many those are. An IPv4 network keeps its first
// address for itself and its last for broadcasts, unless it is a link between two (RFC 3021) or one address.
func Hosts(prefix netip.Prefix) (first, last netip.Addr, count *big.Int) {
	first, last, count = prefix.Addr(), Last(prefix), Size(prefix)
	if prefix.Addr().Is4() && prefix.Bits() < 31 {
		return first.Next(), last.Prev(), count.Sub(count, big.NewInt(2))
	}
	return first, last, count
}

// Mask is how the mask of an IPv4 network is written in full.
func Mask(prefix netip.Prefix) (string, bool) {
	if !prefix.Addr().Is4() {
		return "", false
	}
	ones, _ := netip.MustParseAddr("255.255.255.255").Prefix(prefix.Bits())
	return ones.Addr().String(), true
}

// Locate is the narrowest network that an address is in.
func Locate(address string, networks []netip.Prefix) (netip.Prefix, bool, error) {
	parsed, err := netip.ParseAddr(strings.TrimSpace(address))
	if err != nil || parsed.Zone() != "" {
		return netip.Prefix{}, false, fmt.Errorf("%q is no address", excerpt(address))
	}
	parsed = parsed.Unmap()
	best, found := netip.Prefix{}, false
	for _, network := range networks {
		if network.Contains(parsed) && (!found || network.Bits() > best.Bits()) {
			best, found = network, true
		}
	}
	return best, found, nil
}

// Plan finds a subnet for every need, in the order of the needs, and what is left.
func Plan(network netip.Prefix, needs []Need) ([]Subnet, []netip.Prefix, error) {
	if len(needs) > NetworksMax {
		return nil, nil, fmt.Errorf("%d subnets are more than the %d that one call plans", len(needs), NetworksMax)
	}
	bits := make([]int, len(needs))
	order := make([]int, len(needs))
	for index, need := range needs {
		if need.Hosts == 0 {
			return nil, nil, fmt.Errorf("%q needs no host: leave it out", excerpt(need.Name))
		}
		bits[index], order[index] = bitsFor(network.Addr(), need.Hosts), index
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(bits[a], bits[b]) })
	subnets := make([]Subnet, len(needs))
	next, isFull := network.Addr(), false
	for _, index := range order {
		// The largest come first, so the next free address is always a border of what comes next.
		subnet := netip.PrefixFrom(next, bits[index])
		if isFull || bits[index] < network.Bits() || !network.Contains(next) {
			return nil, nil, fmt.Errorf("%s has no room left for %q with %d hosts, which takes a /%d", network, excerpt(needs[index].Name), needs[index].Hosts, bits[index])
		}
		subnets[index] = Subnet{Name: needs[index].Name, Prefix: subnet}
		next = Last(subnet).Next()
		isFull = !next.IsValid()
	}
	taken := make([]netip.Prefix, len(subnets))
	for index, subnet := range subnets {
		taken[index] = subnet.Prefix
	}
	free, err := Exclude(network, taken)
	return subnets, free, err
}

// The bits of the smallest subnet with room for so many hosts.
func bitsFor(address netip.Addr, hosts uint32) int {
	addresses := uint64(hosts)
	if address.Is4() && hosts > 2 {
		addresses += 2
	}
	host := 0
	for uint64(1)<<host < addresses {
		host++
	}
	return address.BitLen() - host
}

// Summarize is the fewest networks that cover the same addresses, in order.
func Summarize(networks []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(networks)
	slices.SortFunc(sorted, compare)
	var kept []netip.Prefix
	for _, network := range sorted {
		if len(kept) > 0 && kept[len(kept)-1].Overlaps(network) {
			continue // Wider ones come first, so it is in the last one.
		}
		kept = append(kept, network)
		for len(kept) > 1 && areHalves(kept[len(kept)-2], kept[len(kept)-1]) {
			kept = kept[:len(kept)-1]
			last := &kept[len(kept)-1]
			*last = netip.PrefixFrom(last.Addr(), last.Bits()-1)
		}
	}
	return kept
}

// By address, wider networks first.
func compare(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func areHalves(low, high netip.Prefix) bool {
	if low.Bits() != high.Bits() || low.Bits() == 0 || low.Addr().BitLen() != high.Addr().BitLen() {
		return false
	}
	whole := netip.PrefixFrom(low.Addr(), low.Bits()-1)
	return whole.Masked() == whole && whole.Contains(high.Addr())
}

// Exclude is the fewest networks that cover a network without some others, in order.
func Exclude(network netip.Prefix, without []netip.Prefix) ([]netip.Prefix, error) {
	rest := []netip.Prefix{network}
	for _, hole := range Summarize(without) {
		var left []netip.Prefix
		for _, part := range rest {
			left = append(left, cut(part, hole)...)
		}
		if rest = left; len(rest) > NetworksMax {
			return nil, errors.New("the rest falls into too many networks: take fewer or larger ones out")
		}
	}
	slices.SortFunc(rest, compare)
	return rest, nil
}

// A network without another one: the halves beside it on the way down.
func cut(network, hole netip.Prefix) []netip.Prefix {
	if !network.Overlaps(hole) {
		return []netip.Prefix{network}
	}
	var rest []netip.Prefix
	for network.Bits() < hole.Bits() {
		low := netip.PrefixFrom(network.Addr(), network.Bits()+1)
		high := netip.PrefixFrom(Last(low).Next(), network.Bits()+1)
		if low.Contains(hole.Addr()) {
			rest, network = append(rest, high), low
		} else {
			rest, network = append(rest, low), high
		}
	}
	return rest
}
