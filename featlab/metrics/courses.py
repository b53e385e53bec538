"""Courses of a series over the epochs: in which manner it came from its first value to its last."""

from __future__ import annotations

import numpy as np

from featlab.metrics import bias
from featlab.typing import NAN, Floats

TURNED = 0.25  # share of what a series had gained that it gives back before it is said to have turned
CERTAIN = 4.0  # standard errors that this must be beyond, where they are known: of many epochs, one is three off
UNTOLD = ("unknown", "still", "away")  # courses without a time at which something was learned
STILL = 1e-12  # a series whose whole range is smaller has not moved, such as an angle of two means


def course(
    epochs: Floats, values: Floats, fraction: float, *, rising: bool, errors: Floats | None = None
) -> tuple[str, float]:
    """Name the course of a series, and tell how finely its onset is resolved.

    Parameters
    ----------
    epochs
        Ascending, shape (n_epochs,).
    values
        Of the series; NaN where it has none, shape (n_epochs,).
    fraction
        Of the way, as in `featlab.metrics.bias.onset`.
    rising
        True where more is better.
    errors
        Standard error of each value, shape (n_epochs,).

    Returns
    -------
    str
        The first of these that is true:

        - "unknown": there are fewer than two values, or an infinite one;
        - "still": all values are the same;
        - "away": it ended worse than it began;
        - "turned": after it reached the mark, it fell back from its best by more than a quarter of what it had gained
          at its best, and by more than four standard errors, whether it came forward again or not; or it ended where
          it began;
        - "first interval": it reached the mark within the first interval between epochs, so nobody knows when;
        - "moved".
    float
        Epochs between the two values between which it reached the mark; NaN where it has no onset.

    Examples
    --------
    >>> import numpy as np
    >>> epochs = np.array([0.0, 1.0, 2.0, 4.0])
    >>> course(epochs, np.array([0.0, 0.1, 0.2, 1.0]), 0.5, rising=True)
    ('moved', 2.0)
    >>> course(epochs, np.array([1.0, 0.6, 0.536, 0.733]), 0.5, rising=False)
    ('turned', 1.0)
    """
    known = ~np.isnan(values)
    times, held = epochs[known], values[known]
    if len(held) < 2 or not np.isfinite(held).all():
        return "unknown", NAN
    if np.ptp(held) <= STILL:
        return "still", NAN
    reached = float(bias.onset(times, held, fraction))
    if np.isnan(reached):  # it moved, and ended where it began
        return "turned", NAN
    after = max(int(np.searchsorted(times, reached)), 1)
    resolution = float(times[after] - times[after - 1])
    gained = (held - held[0]) * (1 if rising else -1)
    if gained[-1] < 0:
        return "away", resolution
    if _turned(gained, after, None if errors is None else errors[known]):
        return "turned", resolution
    return "first interval" if after == 1 else "moved", resolution


def _turned(gained: Floats, after: int, errors: Floats | None) -> bool:
    """Tell whether a series fell back after an epoch, by more than a share of its gains and more than its errors."""
    later = gained[after:]
    best = np.maximum.accumulate(later)
    certain = np.zeros(len(later))
    if errors is not None:
        at_best = np.array([later[: place + 1].argmax() for place in range(len(later))], np.int64)
        certain = CERTAIN * np.hypot(errors[after:][at_best], errors[after:])
    return bool((best - later > np.maximum(TURNED * gained.max(), certain)).any())
