"""Converts between units, exactly: every factor is the legal definition of the unit."""

from fractions import Fraction
from typing import Dict, NamedTuple

from number import CalculationError, Number


class Unit(NamedTuple):
    """`value * factor + offset` is the quantity in the base unit of its dimension."""

    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


# Dimension: names (the first is the one that messages use) and factor of each unit.
TABLE = {
    "length": {
        "m metre meter metres meters": "1", "km kilometre kilometer kilometres kilometers": "1000", "cm": "0.01", "mm": "0.001",
        "um µm micrometre micrometer": "0.000001", "nm": "0.000000001", "in inch inches": "0.0254",
        "ft foot feet": "0.3048", "yd yard yards": "0.9144", "mile miles mi": "1609.344",
        "nmi nauticalmile": "1852", "au": "149597870700", "ly lightyear": "9460730472580800",
    },
    "mass": {
        "kg kilogram kilograms": "1", "g gram grams": "0.001", "mg": "0.000001", "t tonne tonnes": "1000",
        "lb lbs pound pounds": "0.45359237", "oz ounce ounces": "0.028349523125", "st stone": "6.35029318",
        "shortton": "907.18474", "ct carat": "0.0002",
    },
    "time": {
        "s second seconds sec": "1", "ms millisecond milliseconds": "0.001", "us µs": "0.000001", "ns": "0.000000001",
        "min minute minutes": "60", "h hour hours": "3600", "day days d": "86400", "week weeks": "604800",
        "year years": "31557600",
    },
    "area": {
        "m2": "1", "km2": "1000000", "cm2": "0.0001", "mm2": "0.000001", "ha hectare hectares": "10000", "acre acres": "4046.8564224",
        "ft2 sqft": "0.09290304", "in2": "0.00064516", "yd2": "0.83612736", "mi2 sqmi": "2589988.110336",
    },
    "volume": {
        "l litre liter litres liters": "1", "ml": "0.001", "cl": "0.01", "dl": "0.1", "m3": "1000", "cm3 cc": "0.001",
        "gal gallon gallons": "3.785411784", "qt quart": "0.946352946", "pt pint": "0.473176473", "cup cups": "0.2365882365",
        "floz": "0.0295735295625", "tbsp tablespoon": "0.01478676478125", "tsp teaspoon": "0.00492892159375",
        "ukgal imperialgallon": "4.54609", "ukpt imperialpint": "0.56826125", "ft3": "28.316846592", "in3": "0.016387064",
    },
    "speed": {
        "m/s mps": "1", "km/h kph kmh": "5/18", "mph mi/h": "0.44704", "knot knots kn kt": "463/900", "ft/s": "0.3048",
    },
    "energy": {
        "J joule joules": "1", "kJ": "1000", "MJ": "1000000", "Wh": "3600", "kWh": "3600000", "cal": "4.184", "kcal": "4184",
        "BTU": "1055.05585262", "eV": "0.0000000000000000001602176634",
    },
    "power": {"W watt watts": "1", "kW": "1000", "MW": "1000000", "hp horsepower": "745.69987158227022", "PS": "735.49875"},
    "pressure": {
        "Pa pascal": "1", "hPa mbar": "100", "kPa": "1000", "bar": "100000", "atm": "101325", "psi": "44482216152605/6451600000",
        "mmHg torr": "101325/760",
    },
    "data": {
        "byte bytes B": "1", "bit bits": "1/8", "kB": "1000", "MB": "1000000", "GB": "1000000000", "TB": "1000000000000",
        "KiB": "1024", "MiB": "1048576", "GiB": "1073741824", "TiB": "1099511627776",
    },
}

TEMPERATURES = {
    "degC C celsius": (Fraction(1), Fraction("273.15")),
    "degF F fahrenheit": (Fraction(5, 9), Fraction("273.15") - Fraction(160, 9)),
    "K kelvin": (Fraction(1), Fraction(0)),
}


def build() -> Dict[str, Unit]:
    units = {}
    for dimension, entries in TABLE.items():
        for names, factor in entries.items():
            units.update({name: Unit(dimension, Fraction(factor)) for name in names.split()})
    for names, (factor, offset) in TEMPERATURES.items():
        units.update({name: Unit("temperature", factor, offset) for name in names.split()})
    return units


UNITS = build()


def find(name: str) -> Unit:
    """As written, since MW is not mW; else by the name in lower case if that is no symbol."""
    name = name.strip().replace("°", "deg").replace("²", "2").replace("³", "3").replace(" ", "")
    for spelling in (name, name.lower()):
        if spelling in UNITS:
            return UNITS[spelling]
    raise CalculationError(f"there is no unit {name!r}; there are {', '.join(sorted(UNITS))}")


def convert(number: Number, source_name: str, target_name: str) -> Number:
    source, target = find(source_name), find(target_name)
    if source.dimension != target.dimension:
        fitting = sorted(name for name, unit in UNITS.items() if unit.dimension == source.dimension)
        raise CalculationError(
            f"{source_name} is a {source.dimension} and {target_name} a {target.dimension}; "
            f"{source_name} converts to {', '.join(fitting)}"
        )
    base = number.value * source.factor + source.offset
    return Number((base - target.offset) / target.factor, number.exact)
