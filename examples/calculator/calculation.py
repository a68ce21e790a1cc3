"""Evaluates arithmetic expressions.

Operators wait on a stack until one that binds less arrives (Dijkstra's shunting yard), so an expression may be as
long and as deeply nested as it likes without ever filling the small stack of a sandbox.
"""

import math
import re
from decimal import Context, Decimal, DecimalException
from fractions import Fraction
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from number import BITS_MAX, WORKING_DIGITS, CalculationError, Number

# Longer ones are data, not expressions.
EXPRESSION_CHARACTERS_MAX = 10_000

# The decimal exponent of a literal such as 1e400; BITS_MAX allows about 3,000 digits.
LITERAL_EXPONENT_MAX = 3_000

# A literal of more digits than this does not fit into BITS_MAX either.
LITERAL_CHARACTERS_MAX = 3_100

PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494")
E = Fraction("2.71828182845904523536028747135266249775724709369995957496697")

CONSTANTS = {"pi": Number(PI, False), "tau": Number(2 * PI, False), "e": Number(E, False)}

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[^\W\d]\w*)|(?P<symbol>\*\*|//|[-+*/%^(),×÷−]))",
)

SPELLINGS = {"^": "**", "×": "*", "÷": "/", "−": "-"}


class Token(NamedTuple):
    kind: str
    text: str


def tokens(expression: str) -> Iterator[Token]:
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        raise CalculationError(f"the expression is longer than {EXPRESSION_CHARACTERS_MAX} characters")
    expression = expression.rstrip()
    position = 0
    while position < len(expression):
        match = TOKEN.match(expression, position)
        if match is None:
            raise CalculationError(f"{expression[position:position + 20].strip()!r} is no arithmetic")
        text = match[match.lastgroup]
        yield Token(match.lastgroup, SPELLINGS.get(text, text))
        position = match.end()


def evaluate(expression: str, variables: Sequence[Tuple[str, str]]) -> Number:
    """The value of an expression, given the expressions of its variables."""
    names: Dict[str, Number] = dict(CONSTANTS)
    for name, value in variables:
        if not name.isidentifier() or name in FUNCTIONS:
            raise CalculationError(f"{name!r} cannot name a variable")
        names[name] = Evaluation(names).result(value)
    return Evaluation(names).result(expression)


class Group:
    """An open parenthesis: of a function, with the arguments so far, or for grouping."""

    def __init__(self, function: Optional[str]) -> None:
        self.function = function
        self.arguments: List[Number] = []


class Evaluation:
    """One expression being evaluated from left to right."""

    def __init__(self, names: Dict[str, Number]) -> None:
        self._names = names
        self._values: List[Number] = []
        # Operators by their keys in BINDING, and open parentheses.
        self._waiting: List[object] = []
        self._called: Optional[str] = None
        self._expects_value = True

    def result(self, expression: str) -> Number:
        try:
            for token in tokens(expression):
                self._take(token)
            if self._expects_value or self._called is not None:
                raise CalculationError("the expression is incomplete")
            self._apply_waiting(0)
        except ZeroDivisionError:
            raise CalculationError("division by zero") from None
        except (DecimalException, OverflowError):
            raise CalculationError("the result is not a number that can be written down") from None
        if self._waiting:
            raise CalculationError("a parenthesis is not closed")
        return self._values[0]

    def _take(self, token: Token) -> None:
        if self._called is not None and token.text != "(":
            raise CalculationError(f"the function {self._called} needs its arguments in parentheses")
        if self._expects_value:
            self._take_value(token)
        else:
            self._take_operator(token)

    def _take_value(self, token: Token) -> None:
        if token.kind == "number":
            self._put(literal(token.text))
        elif token.kind == "name" and token.text in FUNCTIONS:
            self._called = token.text
        elif token.kind == "name":
            self._put(self._variable(token.text))
        elif token.text == "(":
            self._waiting.append(Group(self._called))
            self._called = None
        elif token.text in "+-":
            self._waiting.append(f"unary {token.text}")
        elif token.text == ")" and self._is_call_without_arguments():
            self._close(self._waiting.pop())
        else:
            raise CalculationError(f"a number is missing before {token.text!r}")

    def _put(self, value: Number) -> None:
        self._values.append(value)
        self._expects_value = False

    def _variable(self, name: str) -> Number:
        try:
            return self._names[name]
        except KeyError:
            raise CalculationError(
                f"{name!r} is no function and has no value in variables; the functions are {', '.join(sorted(FUNCTIONS))}"
            ) from None

    def _is_call_without_arguments(self) -> bool:
        group = self._waiting[-1] if self._waiting else None
        return isinstance(group, Group) and group.function is not None and not group.arguments

    def _take_operator(self, token: Token) -> None:
        if token.text in BINDING:
            strength = BINDING[token.text]
            # Powers group from the right: 2 ** 3 ** 2 is 2 ** 9.
            self._apply_waiting(strength + 1 if token.text == "**" else strength)
            self._waiting.append(token.text)
            self._expects_value = True
        elif token.text in ",)":
            self._apply_waiting(0)
            group = self._waiting.pop() if self._waiting else None
            if not isinstance(group, Group) or (token.text == "," and group.function is None):
                raise CalculationError(f"{token.text!r} does not belong there")
            self._end_argument(group, token.text)
        else:
            raise CalculationError(f"an operator is missing before {token.text!r}")

    def _end_argument(self, group: Group, symbol: str) -> None:
        if group.function is None:
            return
        group.arguments.append(self._values.pop())
        if symbol == ")":
            self._close(group)
        else:
            self._waiting.append(group)
            self._expects_value = True

    def _close(self, group: Group) -> None:
        least, most, function = FUNCTIONS[group.function]
        if not least <= len(group.arguments) <= most:
            raise CalculationError(f"{group.function} does not take {len(group.arguments)} arguments")
        self._put(function(*group.arguments))

    def _apply_waiting(self, strength: int) -> None:
        """Applies the operators since the last parenthesis that bind at least so strongly."""
        while self._waiting and isinstance(self._waiting[-1], str) and BINDING[self._waiting[-1]] >= strength:
            operator = self._waiting.pop()
            right = self._values.pop()
            if operator.startswith("unary"):
                self._values.append(Number(-right.value, right.exact) if operator == "unary -" else right)
            else:
                self._values.append(binary(operator, self._values.pop(), right))


# How strongly an operator binds. A sign binds less than a power: -2 ** 2 is -4.
BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "unary +": 3, "unary -": 3, "**": 4}

OPERATIONS: Dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "//": lambda left, right: Fraction(left // right),
    "%": lambda left, right: left % right,
}


def binary(operator: str, left: Number, right: Number) -> Number:
    if operator == "**":
        return power(left, right)
    return Number(OPERATIONS[operator](left.value, right.value), left.exact and right.exact)


def literal(text: str) -> Number:
    mantissa, _, exponent = text.replace("_", "").lower().partition("e")
    if len(mantissa) > LITERAL_CHARACTERS_MAX or abs(int(exponent[:9] or 0)) > LITERAL_EXPONENT_MAX:
        raise CalculationError(f"{text[:40]} has too many digits")
    return Number(Fraction(mantissa) * Fraction(10) ** int(exponent or 0))


def power(base: Number, exponent: Number) -> Number:
    if exponent.value.denominator == 1:
        times = exponent.value.numerator
        bits = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
        if (bits - 1) * abs(times) > BITS_MAX:
            raise CalculationError("a number got longer than 3,000 digits")
        return Number(base.value**times, base.exact and exponent.exact)
    if base.value < 0:
        raise CalculationError("a negative number has no such power among the real numbers")
    if exponent.value == Fraction(1, 2):
        return square_root(base)
    return inexact(CONTEXT.power(base.to_decimal(), exponent.to_decimal()))


CONTEXT = Context(prec=WORKING_DIGITS)


def inexact(value: Decimal) -> Number:
    if not value.is_finite():
        raise CalculationError("the result is not a number that can be written down")
    if value and abs(value.adjusted()) > LITERAL_EXPONENT_MAX:
        raise CalculationError("a number got longer than 3,000 digits")
    return Number(Fraction(value), False)


def square_root(number: Number) -> Number:
    """Exact when numerator and denominator are squares."""
    if number.value < 0:
        raise CalculationError("a negative number has no square root among the real numbers")
    roots = math.isqrt(number.value.numerator), math.isqrt(number.value.denominator)
    root = Fraction(*roots)
    if root * root == number.value:
        return Number(root, number.exact)
    return inexact(CONTEXT.sqrt(number.to_decimal()))


def logarithm(number: Number, base: Number = Number(E, False)) -> Number:
    if number.value <= 0 or base.value <= 0 or base.value == 1:
        raise CalculationError("a logarithm needs positive numbers, and a base other than 1")
    if number.exact and base.exact:
        exact = exact_logarithm(number.value, base.value)
        if exact is not None:
            return Number(Fraction(exact))
    numerator = CONTEXT.ln(number.to_decimal())
    return inexact(CONTEXT.divide(numerator, CONTEXT.ln(base.to_decimal())))


def exact_logarithm(number: Fraction, base: Fraction) -> Optional[int]:
    guess = round(log_of_fraction(number) / log_of_fraction(base))
    return guess if abs(guess) <= BITS_MAX and base**guess == number else None


def log_of_fraction(number: Fraction) -> float:
    return math.log(number.numerator) - math.log(number.denominator)


def natural_logarithm(number: Number) -> Number:
    if number.value <= 0:
        raise CalculationError("a logarithm needs a positive number")
    return inexact(CONTEXT.ln(number.to_decimal()))


def by_float(function: Callable[[float], float]) -> Callable[[Number], Number]:
    """Trigonometry: 15 digits are what the platform gives."""

    def apply(number: Number) -> Number:
        try:
            return inexact(Decimal(repr(function(float(number.value)))))
        except ValueError:
            raise CalculationError(f"{function.__name__} is not defined there") from None

    return apply


def rounded(number: Number, digits: Number = Number(Fraction(0))) -> Number:
    """Half away from zero, as people learn it at school."""
    places = digits.to_integer("the number of digits")
    if abs(places) > LITERAL_EXPONENT_MAX:
        raise CalculationError("too many digits")
    scale = Fraction(10) ** places
    scaled = math.floor(abs(number.value) * scale + Fraction(1, 2))
    return Number(Fraction(scaled if number.value >= 0 else -scaled) / scale)


# Its 3,000 digits are where BITS_MAX ends.
FACTORIAL_MAX = 1_200


def factorial(number: Number) -> Number:
    integer = number.to_integer("the argument of factorial")
    if not 0 <= integer <= FACTORIAL_MAX:
        raise CalculationError(f"factorial takes 0 to {FACTORIAL_MAX}")
    return Number(Fraction(math.factorial(integer)))


def combinations(items: Number, chosen: Number) -> Number:
    numbers = [items.to_integer("the arguments of comb"), chosen.to_integer("the arguments of comb")]
    if not all(0 <= number <= BITS_MAX for number in numbers):
        raise CalculationError(f"comb takes 0 to {BITS_MAX}")
    return Number(Fraction(math.comb(*numbers)))


def of_integers(function: Callable[..., int], name: str) -> Callable[..., Number]:
    def apply(*numbers: Number) -> Number:
        return Number(Fraction(function(*(number.to_integer(f"the arguments of {name}") for number in numbers))))

    return apply


def of_values(function: Callable) -> Callable[..., Number]:
    def apply(*numbers: Number) -> Number:
        return Number(Fraction(function(*(number.value for number in numbers))), all(number.exact for number in numbers))

    return apply


def natural_exponential(number: Number) -> Number:
    if abs(number.value) > LITERAL_EXPONENT_MAX:
        raise CalculationError("a number got longer than 3,000 digits")
    return inexact(CONTEXT.exp(number.to_decimal()))


ARGUMENTS_MAX = 1_000

# Name: fewest arguments, most arguments, function.
FUNCTIONS: Dict[str, Tuple[int, int, Callable[..., Number]]] = {
    "abs": (1, 1, of_values(abs)),
    "acos": (1, 1, by_float(math.acos)),
    "asin": (1, 1, by_float(math.asin)),
    "atan": (1, 1, by_float(math.atan)),
    "ceil": (1, 1, of_values(math.ceil)),
    "comb": (2, 2, combinations),
    "cos": (1, 1, by_float(math.cos)),
    "degrees": (1, 1, lambda number: Number(number.value * 180 / PI, False)),
    "exp": (1, 1, natural_exponential),
    "factorial": (1, 1, factorial),
    "floor": (1, 1, of_values(math.floor)),
    "gcd": (1, ARGUMENTS_MAX, of_integers(math.gcd, "gcd")),
    "lcm": (1, ARGUMENTS_MAX, of_integers(math.lcm, "lcm")),
    "ln": (1, 1, natural_logarithm),
    "log": (1, 2, logarithm),
    "max": (1, ARGUMENTS_MAX, of_values(lambda *values: max(values))),
    "min": (1, ARGUMENTS_MAX, of_values(lambda *values: min(values))),
    "radians": (1, 1, lambda number: Number(number.value * PI / 180, False)),
    "round": (1, 2, rounded),
    "sin": (1, 1, by_float(math.sin)),
    "sqrt": (1, 1, square_root),
    "tan": (1, 1, by_float(math.tan)),
}
