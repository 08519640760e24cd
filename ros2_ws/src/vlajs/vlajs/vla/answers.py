"""Whether what a server answered is actions at all: type, dtype, shape, finiteness."""

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.errors import BadAnswerError


def check_actions(value: object, shape: tuple[int | None, ...], server: str) -> NDArray[np.float64]:
    """The actions, as float64.

    Args:
        value: what was decoded: an array of floats, or (possibly nested) lists of numbers.
        shape: expected; None where any size from 1 on is allowed.
        server: named in messages.

    Raises:
        BadAnswerError: anything else.
    """
    wanted = f"floats of shape ({', '.join('K' if size is None else str(size) for size in shape)})"
    if isinstance(value, list):
        if not _is_numbers(value, len(shape)):
            raise BadAnswerError(f"{server} answers a list that is not of numbers, expected {wanted}")
        try:
            value = np.array(value, dtype=np.float64)
        except (ValueError, OverflowError) as error:
            raise BadAnswerError(f"{server} answers lists of different lengths, expected {wanted}") from error
    if not isinstance(value, np.ndarray):
        raise BadAnswerError(f"{server} answers a {type(value).__name__}, expected {wanted}")
    if value.dtype.kind != "f":
        raise BadAnswerError(f"{server} answers numbers of dtype {value.dtype}, expected {wanted}")
    fits = value.ndim == len(shape) and all(
        have >= 1 if want is None else have == want for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        raise BadAnswerError(
            f"{server} answers an array of shape {value.shape}, expected {wanted}: is it a model of deltas of the tool?"
        )
    actions = value.astype(np.float64)
    if not np.isfinite(actions).all():
        raise BadAnswerError(f"{server} answers NaN or infinity: no arm can follow that; look at the server")
    return actions


def _is_numbers(value: object, depth: int) -> bool:
    if depth == 0:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, list) and all(_is_numbers(item, depth - 1) for item in value)
