"""Bounds of what may be configured: a check that a parameter file can widen without end checks nothing."""

from collections.abc import Mapping


def refuse_outside(config: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse a configuration with a number outside its range, both ends included; a number that is none is outside.

    Raises:
        ValueError: the first such number.
    """
    for name, (lowest, highest) in ranges.items():
        value = getattr(config, name)
        if not lowest <= value <= highest:  # also refuses NaN
            raise ValueError(
                f"{name} = {value} is outside [{lowest:g}, {highest:g}]: beyond it the check protects nothing, or lets "
                "no motion pass; mind the unit in its name"
            )
