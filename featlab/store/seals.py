"""Seals: a digest over the attributes of a node, so that what was changed since, or is from elsewhere, is found.

A digest of names stands in each commit record as well, so that the classes of a run cannot be exchanged behind it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

PLACE = "place"
SEAL = "seal"


def sealed(attributes: Mapping[str, Any], place: str | None = None) -> dict[str, Any]:
    """Attributes with their place in the run, and a digest over all of them, whatever their keys are.

    Examples
    --------
    >>> record = sealed({"rows": 3}, "epochs/000000/val")
    >>> seal_problem(record, "epochs/000000/val")
    >>> seal_problem({**record, "rows": 4}, "epochs/000000/val")
    'does not fit its seal, so it was changed since it was written'
    >>> seal_problem(record, "epochs/000001/val")
    "belongs to 'epochs/000000/val'"
    """
    bound = {key: value for key, value in attributes.items() if key not in (SEAL, PLACE)}
    if place is not None:
        bound[PLACE] = place
    return {**bound, SEAL: _digest(bound)}


def seal_problem(attributes: Mapping[str, Any], place: str | None = None) -> str | None:
    """End of a sentence about attributes that are not those which were written; None for sound or unsealed ones."""
    if SEAL not in attributes:  # of a store that is older than seals
        return None
    if attributes[SEAL] != _digest({key: value for key, value in attributes.items() if key != SEAL}):
        return "does not fit its seal, so it was changed since it was written"
    if attributes.get(PLACE, place) != place:
        return f"belongs to {attributes[PLACE]!r:.100}"
    return None


def names_digest(names: Sequence[str]) -> str:
    """Digest of a list of names and of their order."""
    return _digest(list(names))


def classifier_digest(feeds: Sequence[str], shards: Mapping[str, Sequence[str]]) -> str:
    """Digest of a classifier: the layers that feed it, and the digests of the shards of its arrays."""
    return _digest({"feeds": list(feeds), **{name: list(digests) for name, digests in shards.items()}})


def commit_digest(attributes: Mapping[str, Any]) -> str:
    """Digest of all that a commit record says, the digests of its shards among it: another one is another commit."""
    return _digest(attributes)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
