"""Edits of the JSON in a store, as a careless writer, a tool or a person would leave them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEALS = ("seal", "place", "classes_digest", "synsets_digest")


def edit(file: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool = False) -> None:
    """Change featlab's attributes in a zarr.json; unless `sealed`, as in a store that is older than seals."""
    document = json.loads(file.read_bytes())
    attributes = document["attributes"]["featlab"]
    if not sealed:
        for key in SEALS:
            attributes.pop(key, None)
    change(attributes)
    file.write_text(json.dumps(document))


def without_checksums(attributes: dict[str, Any]) -> None:
    """Make a record as it was written before the checksums of chunks were kept."""
    parts = attributes.get("parts") or {".": attributes.get("arrays", {})}
    for part in parts.values():
        for info in part.values():
            for shard in info["shards"]:
                shard.pop("crc32c", None)


def make_results_older(path: Path) -> None:
    """Make saved results as they were written before parameters.json held digests."""
    file = path / "parameters.json"
    document = {key: value for key, value in json.loads(file.read_bytes()).items() if key not in ("tables", "digest")}
    file.write_text(json.dumps(document))


def make_older(root: Path) -> None:
    """Make a run as it was written before seals and checksums of chunks."""
    edit(root / "zarr.json", lambda attributes: None)
    for file in (*root.glob("epochs/*/*/zarr.json"), *root.glob("epochs/*/*/r*/zarr.json")):
        edit(file, without_checksums)
