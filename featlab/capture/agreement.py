"""Ranks that see a part of the samples each agree on which are kept, without a collective: none can hang for ever."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from featlab.errors import CaptureError

_attempts: Counter[str] = Counter()


class Agreement:
    """Puts what one rank found where the others find it: in the process group's own key-value store.

    Parameters
    ----------
    what
        What is agreed on, the same text on every rank; the nth agreement on it is the nth on every rank.
    rank, ranks
        Which process this is, and of how many.
    timeout
        Seconds to wait for the others.
    keys
        A store of torch.distributed; by default that of the process group.
    """

    def __init__(self, what: str, rank: int, ranks: int, *, timeout: float = 600.0, keys: Any = None) -> None:
        _attempts[f"{what} {rank}"] += 1
        self._what = what
        self._key = f"featlab/sample/{what}/{_attempts[f'{what} {rank}']}"
        self._rank = rank
        self._ranks = ranks
        self._timeout = timeout
        self._keys = keys

    def gather(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give this rank's pairs, shape (rows, 2), and return those of all ranks.

        Raises
        ------
        CaptureError
            Another rank did not give its own in time.
        """
        keys: Any = self._keys or distributed.distributed_c10d._get_default_store()
        names = [f"{self._key}/{rank}" for rank in range(self._ranks)]
        try:
            keys.set(names[self._rank], pairs.tobytes())
            keys.wait(names, timedelta(seconds=self._timeout))
            found = [np.frombuffer(keys.get(name), np.int64).reshape(-1, 2) for name in names]
        except RuntimeError as error:
            raise CaptureError(
                f"the {self._ranks} ranks could not agree on the samples of {self._what} within {self._timeout:g} s "
                f"({str(error).splitlines()[0]}): look whether one died, and capture it again."
            ) from error
        return np.concatenate(found)
