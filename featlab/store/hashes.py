"""Hashes of sample ids, by which samples are chosen at random and yet the same everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
INCREMENT = 0x9E3779B97F4A7C15  # of SplitMix64: 2^64 over the golden ratio
EVERY_BIT = 0xFFFF_FFFF_FFFF_FFFF


def hash_ids(ids: Ids, seed: int = 0) -> NDArray[np.uint64]:
    """Hash sample ids, the same in every process, on every machine and in every version.

    The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), one to one on 64 bits: no two ids tie.

    Parameters
    ----------
    ids
        Shape (rows,).
    seed
        Another one gives other hashes.

    Returns
    -------
    ndarray of uint64, shape (rows,)

    Examples
    --------
    >>> hash_ids(np.array([0])).tolist() == [0xE220A8397B1DCDAF]
    True
    """
    value = ids.astype(np.int64).view(np.uint64) + np.uint64((seed + 1) * INCREMENT & EVERY_BIT)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return hashed


def smallest_hashes(ids: Ids, number: int, seed: int = 0) -> NDArray[np.bool_]:
    """Mark so many ids, those with the smallest hashes: of fewer, it marks some of the same.

    Examples
    --------
    >>> smallest_hashes(np.arange(4), 2).sum(), smallest_hashes(np.arange(4), 9).all()
    (np.int64(2), np.True_)
    """
    if len(ids) <= number:
        return np.ones(len(ids), bool)
    hashes = hash_ids(ids, seed)
    return np.asarray(hashes <= np.partition(hashes, number - 1)[number - 1])
