"""Onsets of all layers as tasks of one graph, kept in the cache under the courses that they are taken from."""

from __future__ import annotations

from collections.abc import Sequence

from dask.delayed import delayed

from featlab.analysis.judged_entries import Entries, save
from featlab.analysis.onsets import Series, onset_rows
from featlab.analysis.population import Population
from featlab.analysis.snapshots import Row
from featlab.statistics.cache import StatisticsCache, array_digest, digest
from featlab.statistics.engine import Engine
from featlab.statistics.packed import pack

VERSION = 1  # of the numbers


def onset_tables(
    engine: Engine, layers: Sequence[Sequence[Series]], sampled: Population, seed: int
) -> dict[str, list[Row]]:
    """Rows of the tables `onset`, `precedence` and `trend`, layer by layer; the rest is as for `onset_rows`."""
    cache = engine.cache
    held = Entries(cache, cache.names())
    names = [None if cache.directory is None else _name(layer, sampled, seed) for layer in layers]
    found = [held.load(name) for name in names]
    task = engine.task(_onset_rows)
    missing = [number for number, rows in enumerate(found) if rows is None]
    nodes = [
        task(delayed(layers[number], pure=False, traverse=False), sampled, seed, cache, names[number])
        for number in missing
    ]
    for number, rows in zip(missing, engine.compute(nodes, lambda steps: None), strict=True):
        found[number] = rows
    tables: dict[str, list[Row]] = {"onset": [], "precedence": [], "trend": []}
    return {table: [row for rows in found for row in rows[table]] for table in tables}


def _onset_rows(
    layer: Sequence[Series], sampled: Population, seed: int, cache: StatisticsCache, name: str | None
) -> dict[str, list[Row]]:
    rows = onset_rows(layer, sampled, seed)
    save(cache, name, rows)
    return rows


def _name(layer: Sequence[Series], sampled: Population, seed: int) -> str:
    """Digest everything that the onsets of a layer follow from."""
    packed = pack([list(layer), sampled, seed])
    return digest("onsets", VERSION, {kind: array_digest(values) for kind, values in packed.items()})
