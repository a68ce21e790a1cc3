"""The component's exports. What they do is in `calculation`, `units` and `description`, which know nothing of WIT."""

from typing import List, Optional, Tuple

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.arithmetic import Answer, Statistics

import calculation
import description
import units
from number import CalculationError, Number


class Arithmetic(exports.Arithmetic):
    def evaluate(
        self, expression: str, variables: Optional[List[Tuple[str, str]]], digits: Optional[int]
    ) -> Answer:
        try:
            return answer(calculation.evaluate(expression, variables or []), digits)
        except CalculationError as error:
            raise Err(str(error))

    def describe(self, numbers: List[float]) -> Statistics:
        try:
            return Statistics(**description.describe(numbers))
        except CalculationError as error:
            raise Err(str(error))

    def convert_unit(self, value: str, source_unit: str, target_unit: str) -> Answer:
        try:
            number = calculation.evaluate(value, [])
            return answer(units.convert(number, source_unit, target_unit), None)
        except CalculationError as error:
            raise Err(str(error))


def answer(number: Number, digits: Optional[int]) -> Answer:
    decimal, exact = number.decimal(digits)
    return Answer(decimal=decimal, exact=exact, fraction=number.fraction())
