// Package export_examples_networks_addresses is what the component exports as examples:networks/addresses. What it
// does is in the package plan, which knows nothing of WIT.
package export_examples_networks_addresses

import (
	"net/netip"

	wit "example.com/networks/imports/examples_networks_addresses"
	"example.com/networks/plan"
	"go.bytecodealliance.org/pkg/wit/types"
)

func Describe(network string) wit_types.Result[wit.Network, string] {
	prefix, err := plan.Parse(network)
	if err != nil {
		return wit_types.Err[wit.Network](err.Error())
	}
	mask := wit_types.None[string]()
	if text, ok := plan.Mask(prefix); ok {
		mask = wit_types.Some(text)
	}
	return wit_types.Ok[wit.Network, string](wit.Network{
		Cidr:    prefix.String(),
		First:   prefix.Addr().String(),
		Last:    plan.Last(prefix).String(),
		Size:    plan.Size(prefix).String(),
		Mask:    mask,
		Purpose: wit.Purpose(plan.PurposeOf(prefix)),
	})
}

func Locate(address string, networks []string) wit_types.Result[wit_types.Option[string], string] {
	prefixes, err := plan.ParseAll(networks)
	if err != nil {
		return wit_types.Err[wit_types.Option[string]](err.Error())
	}
	network, found, err := plan.Locate(address, prefixes)
	if err != nil {
		return wit_types.Err[wit_types.Option[string]](err.Error())
	}
	answer := wit_types.None[string]()
	if found {
		answer = wit_types.Some(network.String())
	}
	return wit_types.Ok[wit_types.Option[string], string](answer)
}

func Plan(network string, needs []wit.Need) wit_types.Result[wit.Layout, string] {
	prefix, err := plan.Parse(network)
	if err != nil {
		return wit_types.Err[wit.Layout](err.Error())
	}
	wanted := make([]plan.Need, len(needs))
	for index, need := range needs {
		wanted[index] = plan.Need{Name: need.Name, Hosts: need.Hosts}
	}
	found, free, err := plan.Plan(prefix, wanted)
	if err != nil {
		return wit_types.Err[wit.Layout](err.Error())
	}
	subnets := make([]wit.Subnet, len(found))
	for index, subnet := range found {
		first, last, hosts := plan.Hosts(subnet.Prefix)
		subnets[index] = wit.Subnet{
			Name:      subnet.Name,
			Cidr:      subnet.Prefix.String(),
			FirstHost: first.String(),
			LastHost:  last.String(),
			Hosts:     hosts.String(),
		}
	}
	return wit_types.Ok[wit.Layout, string](wit.Layout{Subnets: subnets, Free: spelt(free)})
}

func Summarize(networks []string) wit_types.Result[[]string, string] {
	prefixes, err := plan.ParseAll(networks)
	if err != nil {
		return wit_types.Err[[]string](err.Error())
	}
	return wit_types.Ok[[]string, string](spelt(plan.Summarize(prefixes)))
}

func Exclude(network string, without []string) wit_types.Result[[]string, string] {
	prefix, err := plan.Parse(network)
	if err != nil {
		return wit_types.Err[[]string](err.Error())
	}
	holes, err := plan.ParseAll(without)
	if err != nil {
		return wit_types.Err[[]string](err.Error())
	}
	rest, err := plan.Exclude(prefix, holes)
	if err != nil {
		return wit_types.Err[[]string](err.Error())
	}
	return wit_types.Ok[[]string, string](spelt(rest))
}

func spelt(prefixes []netip.Prefix) []string {
	texts := make([]string, len(prefixes))
	for index, prefix := range prefixes {
		texts[index] = prefix.String()
	}
	return texts
}
