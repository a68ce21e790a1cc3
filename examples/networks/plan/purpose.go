package plan

import "net/netip"

// Purpose is what addresses are for, where standards say so.
type Purpose uint8

// In the order of the WIT.
const (
	Public Purpose = iota
	Private
	Loopback
	LinkLocal
	Multicast
	Documentation
	Shared
	Reserved
)

var special = []struct {
	prefix  netip.Prefix
	purpose Purpose
}{
	{netip.MustParsePrefix("192.0.2.0/24"), Documentation},
	{netip.MustParsePrefix("198.51.100.0/24"), Documentation},
	{netip.MustParsePrefix("203.0.113.0/24"), Documentation},
	{netip.MustParsePrefix("2001:db8::/32"), Documentation},
	{netip.MustParsePrefix("3fff::/20"), Documentation},
	{netip.MustParsePrefix("100.64.0.0/10"), Shared},
	{netip.MustParsePrefix("0.0.0.0/8"), Reserved},
	{netip.MustParsePrefix("240.0.0.0/4"), Reserved},
}

// PurposeOf says what all addresses of a network are for; Public for one that is wider than any of those.
func PurposeOf(prefix netip.Prefix) Purpose {
	first, last := prefix.Addr(), Last(prefix)
	both := func(is func(netip.Addr) bool) bool { return is(first) && is(last) }
	switch {
	case both(netip.Addr.IsLoopback):
		return Loopback
	case both(netip.Addr.IsPrivate) && sameBlock(first, last):
		return Private
	case both(netip.Addr.IsLinkLocalUnicast):
		return LinkLocal
	case both(netip.Addr.IsMulticast):
		return Multicast
	}
	for _, known := range special {
		if known.prefix.Overlaps(prefix) && known.prefix.Bits() <= prefix.Bits() {
			return known.purpose
		}
	}
	if first.Is6() && first.IsUnspecified() && first == last {
		return Reserved
	}
	return Public
}

// Whether two private addresses are of one block: 10/8 and 192.168/16 are not.
func sameBlock(first, last netip.Addr) bool {
	return first.Is6() || first.As4()[0] == last.As4()[0]
}
