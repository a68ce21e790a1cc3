"""The component's exports. What they do is in `bill.py`, which knows nothing of WIT."""

from typing import List

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.bill import Part, Payer

import bill


class Bill(exports.Bill):
    def split(self, total_cents: int, payers: List[Payer]) -> List[Part]:
        try:
            parts = bill.split(total_cents, [payer.weight for payer in payers])
        except ValueError as error:
            raise Err(str(error))
        return [Part(payer.name, cents) for payer, cents in zip(payers, parts)]
