// Package export_local_agent_bill is what the component exports as local:agent/bill. What it does
// is in the package bill, which knows nothing of WIT.
package export_local_agent_bill

import (
	"example.com/{{name}}/bill"
	wit "example.com/{{name}}/imports/local_agent_bill"
	"go.bytecodealliance.org/pkg/wit/types"
)

func Split(totalCents uint32, payers []wit.Payer) wit_types.Result[[]wit.Part, string] {
	weights := make([]uint16, len(payers))
	for i, payer := range payers {
		weights[i] = payer.Weight
	}
	amounts, err := bill.Split(totalCents, weights)
	if err != nil {
		return wit_types.Err[[]wit.Part](err.Error())
	}
	parts := make([]wit.Part, len(payers))
	for i, payer := range payers {
		parts[i] = wit.Part{Name: payer.Name, Cents: amounts[i]}
	}
	return wit_types.Ok[[]wit.Part, string](parts)
}
