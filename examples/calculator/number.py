"""Numbers that know whether they are exact."""

from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Optional, Tuple

DIGITS_DEFAULT = 15
DIGITS_MAX = 40

# Inexact functions work with more digits than anybody can ask for.
WORKING_DIGITS = DIGITS_MAX + 10

# A longer exact decimal is harder to read than its rounding.
EXACT_DIGITS_MAX = 60

# About 3,000 decimal digits. Bounds the time and memory of every operation.
BITS_MAX = 10_000


class CalculationError(Exception):
    """Why a calculation has no answer, for whoever asked for it."""


@dataclass(frozen=True)
class Number:
    """A rational number, and whether it is the true value or a rounding of it."""

    value: Fraction
    exact: bool = True

    def __post_init__(self) -> None:
        bits = max(self.value.numerator.bit_length(), self.value.denominator.bit_length())
        if bits > BITS_MAX:
            raise CalculationError("a number got longer than 3,000 digits")

    def to_decimal(self) -> Decimal:
        context = Context(prec=WORKING_DIGITS)
        return context.divide(Decimal(self.value.numerator), Decimal(self.value.denominator))

    def to_integer(self, what: str) -> int:
        if not self.exact or self.value.denominator != 1:
            raise CalculationError(f"{what} must be an integer")
        return self.value.numerator

    def fraction(self) -> Optional[str]:
        """The fraction in lowest terms; none for integers and roundings."""
        if not self.exact or self.value.denominator == 1:
            return None
        return f"{self.value.numerator}/{self.value.denominator}"

    def decimal(self, digits: Optional[int]) -> Tuple[str, bool]:
        """Decimal notation, and whether it is the value itself."""
        if digits is not None and not 1 <= digits <= DIGITS_MAX:
            raise CalculationError(f"digits must be from 1 to {DIGITS_MAX}")
        if self.exact and digits is None:
            exact = self._exact_decimal()
            if exact is not None:
                return exact, True
        context = Context(prec=digits or DIGITS_DEFAULT)
        rounded = context.plus(self.to_decimal())
        return plain(rounded), self.exact and Fraction(rounded) == self.value

    def _exact_decimal(self) -> Optional[str]:
        """The finite decimal expansion, if it is short enough to read."""
        if self.value.denominator == 1:
            return str(self.value.numerator)
        exact = Context(prec=EXACT_DIGITS_MAX).divide(
            Decimal(self.value.numerator), Decimal(self.value.denominator)
        )
        return plain(exact) if Fraction(exact) == self.value else None


# Beyond these exponents a row of zeros says less than scientific notation.
PLAIN_EXPONENT_MIN = -10
PLAIN_EXPONENT_MAX = 30


def plain(number: Decimal) -> str:
    """Without trailing zeros, and without an exponent where that stays readable."""
    if number == 0:
        return "0"
    number = number.normalize(Context(prec=EXACT_DIGITS_MAX))
    readable = PLAIN_EXPONENT_MIN <= number.adjusted() <= PLAIN_EXPONENT_MAX
    return f"{number:f}" if readable else f"{number:E}"
