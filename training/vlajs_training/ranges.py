"""Numbers of a configuration within their ranges, or a refusal that names them."""

from collections.abc import Mapping
from typing import Any

INFINITY = float("inf")
BELOW_ONE = 1.0 - 1e-9


def require_range(prefix: str, values: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse numbers outside their range.

    Raises:
        ValueError: naming the parameter, its value and the range; NaN is in no range.
    """
    for name, (low, high) in ranges.items():
        if not low <= values[name] <= high:
            label = f"{prefix}.{name}" if prefix else name
            raise ValueError(f"{label} = {values[name]} is outside [{low:g}, {high:g}]")
