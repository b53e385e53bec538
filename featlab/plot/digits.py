"""Numbers as JSON carries them: with the digits that mean something, gaps as None."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from featlab.typing import Floats

_FEW = 64  # so many values are rounded one by one: faster than a dozen calls of NumPy
_MOST_EXACT = 22  # 10 to this power is the largest that a double holds exactly


def rounded(values: Any, digits: int) -> Floats:
    """Round numbers to so many significant digits, all at once; what is not finite stays as it is.

    Examples
    --------
    >>> rounded([123456.7, 0.00123456, 0.0], 3).tolist()
    [123000.0, 0.00123, 0.0]
    """
    exact = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        power = np.floor(np.log10(np.abs(exact)))
        spare = np.where(np.isfinite(power), digits - 1 - power, 0.0)
        # A whole number by a power of ten that is exact is the double nearest to the decimal number that is meant.
        up, down = 10.0 ** np.clip(spare, 0, _MOST_EXACT), 10.0 ** np.clip(-spare, 0, _MOST_EXACT)
        found = np.round(exact * up / down) * down / up
    odd = np.isfinite(exact) & (np.abs(spare) > _MOST_EXACT)
    if odd.any():
        found[odd] = [float(f"{value:.{digits - 1}e}") for value in exact[odd].tolist()]
    return np.asarray(np.where(np.isfinite(exact), found, exact))


def plain_numbers(values: Any, digits: int = 6) -> list[Any]:
    """Return numbers as JSON writes them shortly: whole ones as integers, others rounded, gaps as None.

    Examples
    --------
    >>> plain_numbers([1.0, 1234567.0]), plain_numbers([0.1 + 0.2, float("nan")])
    ([1, 1234567], [0.3, None])
    """
    exact = np.asarray(values, dtype=np.float64)
    if exact.ndim == 1 and len(exact) <= _FEW:
        return [_plain_number(value, digits) for value in exact.tolist()]
    known = np.isfinite(exact)
    with np.errstate(invalid="ignore"):
        whole = (exact == np.floor(exact)) & (np.abs(exact) < 2**53)
    if known.all():
        return list((exact.astype(np.int64) if whole.all() else rounded(exact, digits)).tolist())
    short = exact if whole[known].all() else rounded(exact, digits)
    listed = short.astype(object)
    if whole[known].all():
        listed[known] = short[known].astype(np.int64)
    listed[~known] = None
    return list(listed.tolist())


def _plain_number(value: float, digits: int) -> float | None:
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
