"""Describes a list of numbers."""

import math
import statistics
from typing import Dict, List

from number import CalculationError


def describe(numbers: List[float]) -> Dict[str, object]:
    """The fields of the `statistics` record."""
    if not numbers:
        raise CalculationError("there are no numbers")
    if not all(math.isfinite(number) for number in numbers):
        raise CalculationError("infinities and NaN have no statistics")
    several = len(numbers) > 1
    try:
        return {
            "count": len(numbers),
            "sum": math.fsum(numbers),
            "mean": statistics.fmean(numbers),
            "median": float(statistics.median(numbers)),
            "minimum": min(numbers),
            "maximum": max(numbers),
            "standard_deviation": statistics.stdev(numbers) if several else None,
            "quartiles": tuple(statistics.quantiles(numbers, method="inclusive")) if several else None,
        }
    except OverflowError:
        raise CalculationError("the numbers are too large to add up") from None
