package plan

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func parse(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	prefixes, err := ParseAll(texts)
	if err != nil {
		t.Fatal(err)
	}
	return prefixes
}

func spelt(prefixes []netip.Prefix) string {
	texts := make([]string, len(prefixes))
	for index, prefix := range prefixes {
		texts[index] = prefix.String()
	}
	return strings.Join(texts, " ")
}

func TestParse(t *testing.T) {
	for text, expected := range map[string]string{
		" 10.0.0.0/8": "10.0.0.0/8", "192.168.1.7": "192.168.1.7/32", "2001:DB8::/32": "2001:db8::/32", "::ffff:1.2.3.4": "1.2.3.4/32",
	} {
		if prefix, err := Parse(text); err != nil || prefix.String() != expected {
			t.Errorf("%q: %v, %v", text, prefix, err)
		}
	}
	for _, text := range []string{"", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "fe80::1%eth0", "::ffff:1.2.3.4/96", strings.Repeat("ä", 500)} {
		if prefix, err := Parse(text); err == nil || len(err.Error()) > 300 {
			t.Errorf("%q: %v, %v", text, prefix, err)
		}
	}
}

func TestPlan(t *testing.T) {
	network := parse(t, "10.1.0.0/24")[0]
	subnets, free, err := Plan(network, []Need{{"printers", 10}, {"office", 100}, {"link", 2}, {"one", 1}})
	if err != nil {
		t.Fatal(err)
	}
	var found []netip.Prefix
	for _, subnet := range subnets {
		found = append(found, subnet.Prefix)
	}
	if spelt(found) != "10.1.0.128/28 10.1.0.0/25 10.1.0.144/31 10.1.0.146/32" {
		t.Error(spelt(found))
	}
	if spelt(free) != "10.1.0.147/32 10.1.0.148/30 10.1.0.152/29 10.1.0.160/27 10.1.0.192/26" {
		t.Error(spelt(free))
	}
	for _, needs := range [][]Need{{{"a", 200}, {"b", 100}}, {{"a", 255}}, {{"a", 0}}} {
		if _, _, err := Plan(network, needs); err == nil || !strings.Contains(err.Error(), `"`) {
			t.Error(needs, err)
		}
	}
	whole := parse(t, "255.255.255.0/24")[0]
	if _, _, err := Plan(whole, []Need{{"a", 254}, {"b", 1}}); err == nil {
		t.Error("nothing is behind the last address")
	}
	if subnets, _, err := Plan(parse(t, "2001:db8::/64")[0], []Need{{"a", 1 << 31}}); err != nil || subnets[0].Prefix.Bits() != 97 {
		t.Error(subnets, err)
	}
}

func TestSummarizeAndExclude(t *testing.T) {
	merged := Summarize(parse(t, "10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "10.0.2.0/23", "::1", "::"))
	if spelt(merged) != "10.0.0.0/22 ::/127" {
		t.Error(spelt(merged))
	}
	rest, err := Exclude(parse(t, "10.0.0.0/30")[0], parse(t, "10.0.0.1", "192.168.0.0/16"))
	if err != nil || spelt(rest) != "10.0.0.0/32 10.0.0.2/31" {
		t.Error(spelt(rest), err)
	}
	if rest, _ := Exclude(parse(t, "10.0.0.0/30")[0], parse(t, "10.0.0.0/8")); len(rest) != 0 {
		t.Error(spelt(rest))
	}
}

// What is taken out and what is left are the whole again, whatever is taken out.
func TestExcludeAndSummarizeAreInverse(t *testing.T) {
	whole := parse(t, "172.16.0.0/20")[0]
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var holes []netip.Prefix
		for range random.IntN(8) {
			bytes := whole.Addr().As4()
			bytes[2] |= byte(random.IntN(16))
			bytes[3] = byte(random.IntN(256))
			hole, _ := netip.AddrFrom4(bytes).Prefix(20 + random.IntN(13))
			holes = append(holes, hole)
		}
		rest, err := Exclude(whole, holes)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range rest {
			if slices.ContainsFunc(holes, part.Overlaps) {
				t.Fatal(spelt(holes), spelt(rest))
			}
		}
		if back := Summarize(append(rest, holes...)); spelt(back) != whole.String() {
			t.Fatal(spelt(holes), spelt(back))
		}
	}
}

func TestPurpose(t *testing.T) {
	for text, expected := range map[string]Purpose{
		"8.8.8.8": Public, "10.1.0.0/16": Private, "0.0.0.0/0": Public, "127.0.0.1": Loopback, "169.254.0.0/16": LinkLocal,
		"224.0.0.0/4": Multicast, "203.0.113.9": Documentation, "100.64.0.0/10": Shared, "255.255.255.255": Reserved,
		"fd00::/8": Private, "2001:db8:1::/48": Documentation, "::1": Loopback, "fe80::/64": LinkLocal, "::": Reserved,
	} {
		if purpose := PurposeOf(parse(t, text)[0]); purpose != expected {
			t.Errorf("%s: %d", text, purpose)
		}
	}
}

func TestDescribe(t *testing.T) {
	first, last, count := Hosts(parse(t, "192.168.4.0/22")[0])
	if first.String() != "192.168.4.1" || last.String() != "192.168.7.254" || count.String() != "1022" {
		t.Error(first, last, count)
	}
	if mask, ok := Mask(parse(t, "192.168.4.0/22")[0]); !ok || mask != "255.255.252.0" {
		t.Error(mask)
	}
	if Size(parse(t, "::/0")[0]).String() != "340282366920938463463374607431768211456" {
		t.Error("the whole of IPv6")
	}
	network, found, err := Locate("10.1.2.3", parse(t, "10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16"))
	if err != nil || !found || network.String() != "10.1.0.0/16" {
		t.Error(network, found, err)
	}
	if _, found, err := Locate("2001:db8::1", parse(t, "0.0.0.0/0")); err != nil || found {
		t.Error("IPv6 is in no IPv4 network")
	}
}
