"""Table `similarity`: likeness of layers at an epoch, of epochs in a layer, and of runs, over the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.measures.builtin import table_of
from featlab.measures.measure import RowMeasure, Rows
from featlab.measures.setting import Setting
from featlab.measures.subsample import Subsample
from featlab.metrics.neighbours import nearest_samples
from featlab.metrics.permutations import exceedance
from featlab.metrics.sample_similarity import (
    FEWEST,
    Grams,
    Moments,
    adjacency,
    cka_moments,
    cka_of_orders,
    mutual_moments,
    mutual_of_orders,
    unit_centred,
    unit_gram,
)
from featlab.statistics.cache import array_digest
from featlab.statistics.gather import Request
from featlab.store.hashes import smallest_hashes
from featlab.threads import over_threads
from featlab.typing import NAN, Bools, Floats, Ints

NAME = "similarity"
SAMPLES = 1000
NEIGHBOURS = 10
ORDERS = 99  # drawn for p, as mean and spread over all are known
MOST_EPOCHS = 20
MOST_SNAPSHOTS = 200  # of 2 MB at 1,000 samples and classes
FAMILY = 24  # snapshots that are compared with each other at a time
SAME = 1e-5  # difference up to which two values are one: products are kept in float16
ROUNDED = 1e-9  # spread up to which all orders give the same
OWN = ""  # in place of another run

Halves = NDArray[np.float16]
Row = dict[str, Any]


@dataclass(frozen=True)
class Products:
    """Products of samples, or of class means, as they are kept: those of each pair once, in float16.

    Attributes
    ----------
    of
        Sample ids or classes, shape (n,).
    halves
        n times the products from `unit_gram`, condensed; empty where that gives none.
    """

    of: Ints
    halves: Halves

    @classmethod
    def keep(cls, of: Ints, gram: Grams | None) -> Products:
        """Keep what `unit_gram` gives."""
        if gram is None:
            return cls(of, np.zeros(0, np.float16))
        return cls(of, (squareform(gram, checks=False) * np.float32(len(gram))).astype(np.float16))

    def among(self, common: Ints) -> Grams | None:
        """Return the products of those that are in common, in their own order, centred anew where they are not all."""
        if not len(self.halves):
            return None
        gram = squareform(self.halves.astype(np.float64)) / len(self.of)
        chosen = np.isin(self.of, common)
        return unit_centred(gram if chosen.all() else gram[np.ix_(chosen, chosen)])


@dataclass
class Held:
    """The part of one run's snapshots that is kept.

    Attributes
    ----------
    samples
        What `Similarity.finish` made of each snapshot.
    classes
        Products of the class means of each.
    """

    samples: Mapping[Request, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    classes: dict[Request, Products] = field(default_factory=dict)

    def hear(self, request: Request, classes: Ints, means: Floats, seed: int) -> None:
        """Keep the products of class means, shape (n_classes, n_dimensions)."""
        chosen = smallest_hashes(classes, SAMPLES, seed)
        self.classes[request] = Products.keep(classes[chosen], unit_gram(means[chosen]))


@dataclass(frozen=True)
class Pair:
    """Two snapshots that are compared; the run of the second is another one where it has a name."""

    first: Request
    second: Request
    run: str = OWN


class Similarity(RowMeasure):
    """Unbiased linear CKA over samples and over class means, and mutual neighbours, each beside its null.

    Attributes
    ----------
    shared
        Ids of the samples that are compared, ascending, by split.
    own
        What is kept of the class means.
    others
        What is kept of other runs, by their names.
    """

    name = NAME
    about, keys, columns = table_of(NAME)
    version = 1

    def __init__(self) -> None:
        self.shared: Mapping[str, Ints] = {}
        self.own = Held()
        self.others: dict[str, Held] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers need to know the samples alone.
        return _for_workers, (dict(self.shared),)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters that shape the numbers, beside the rows and the setting."""
        return {"shared": {split: array_digest(ids) for split, ids in self.shared.items()}, "k": NEIGHBOURS}

    def snapshots(self, requests: Sequence[Request]) -> list[Request]:
        """Choose the epochs of a grid, so that no more snapshots are held at once than there is room for."""
        n_layers = len({(request.split, request.layer) for request in requests})
        most = min(MOST_EPOCHS, max(2, MOST_SNAPSHOTS // max(1, n_layers)))
        kept = {
            (split, epoch)
            for split in {request.split for request in requests}
            for epoch in grid(sorted({request.epoch for request in requests if request.split == split}), most)
        }
        return [request for request in requests if (request.split, request.epoch) in kept]

    def part_bytes(self, n_features: int, n_classes: int) -> int:
        """Memory of the subsample, and of its products while they are centred, as a quarter: no parts overlap."""
        return SAMPLES * (6 * n_features + 16) + 6 * SAMPLES**2

    def wanted(self, sample_ids: Ints, labels: Ints, request: Request, setting: Setting) -> Bools:
        """Choose the samples that all epochs share."""
        return np.isin(sample_ids, self.shared[request.split])

    def chunk(self, rows: Rows) -> Subsample:
        """Begin a subsample."""
        return Subsample(SAMPLES, rows.setting.seed).add(rows)

    def add(self, part: Subsample, rows: Rows) -> Subsample:
        """Add a block."""
        return part.add(rows)

    def merge(self, first: Subsample, second: Subsample) -> Subsample:
        """Join two subsamples."""
        return first.join(second)

    def finish(self, part: Subsample, request: Request, setting: Setting) -> dict[str, Any]:
        """Keep the products of the samples, and who is near to whom."""
        features, _, ids = part.gathered()
        kept = Products.keep(ids, unit_gram(features))
        near = nearest_samples(features, NEIGHBOURS if len(kept.halves) else 0)
        return {"ids": kept.of, "halves": kept.halves, "neighbours": near.astype(np.int16)}

    def table(self, finished: Mapping[Request, Any], setting: Setting) -> pd.DataFrame:
        """Compare the snapshots: layers of an epoch, epochs of a layer, and both with other runs."""
        self.own.samples = finished
        rows: list[Row] = []
        for pairs in self._families(list(finished)):
            rows += self._compared(pairs, setting)
        return pd.DataFrame(rows)

    def note(self, requests: Sequence[Request]) -> str | None:
        """Say which epochs and splits the table lacks; None where it has all."""
        epochs = len({request.epoch for request in requests})
        kept = len({request.epoch for request in self.snapshots(requests)})
        said = [f"the epochs of split {name!r} share {len(ids)} samples" for name, ids in self.shared.items()]
        said = [sentence for sentence, ids in zip(said, self.shared.values(), strict=True) if len(ids) < FEWEST]
        if kept < epochs:
            said = [f"it has {kept} of the {epochs} epochs, evenly spaced, the first and the last among them", *said]
        return "; ".join(said) + "." if said else None

    def _families(self, requests: Sequence[Request]) -> Iterator[list[Pair]]:
        """Pairs of few snapshots, which are compared together."""
        for split in dict.fromkeys(request.split for request in requests):
            own = [request for request in requests if request.split == split]
            epochs = sorted({request.epoch for request in own})
            layers = list(dict.fromkeys(request.layer for request in own))
            for epoch in epochs:
                yield from _blocks([request for request in own if request.epoch == epoch])
            for layer in layers:
                yield from _blocks([request for request in own if request.layer == layer])
            for name, held in self.others.items():
                common = [request for request in own if request in held.samples]
                for epoch in sorted({request.epoch for request in common}):
                    of_epoch = [request for request in common if request.epoch == epoch]
                    if epoch < max(request.epoch for request in common):
                        yield [Pair(request, request, name) for request in of_epoch]
                    else:  # the last one: every layer with every layer
                        parts = _parts(of_epoch)
                        yield from ([Pair(*pair, name) for pair in product(*two)] for two in product(parts, parts))

    def _compared(self, pairs: Sequence[Pair], setting: Setting) -> list[Row]:
        if not pairs:
            return []
        first = list(dict.fromkeys(pair.first for pair in pairs))
        second = list(dict.fromkeys(pair.second for pair in pairs))
        other = self.others.get(pairs[0].run, self.own)
        places = [(first.index(pair.first), second.index(pair.second)) for pair in pairs]
        rows: list[Row] = []
        for score, found in (
            ("cka", _cka([_of_samples(self.own, each) for each in first],
                         [_of_samples(other, each) for each in second], places, setting)),
            ("class_cka", _cka([self.own.classes.get(each) for each in first],
                               [other.classes.get(each) for each in second], places, setting)),
            ("mutual_neighbours", _mutual([self.own.samples[each]["neighbours"] for each in first],
                                          [other.samples[each]["neighbours"] for each in second], places, setting)),
        ):  # fmt: skip
            rows += [
                {
                    **vars(pair.first),
                    "other_run": pair.run,
                    "other_epoch": pair.second.epoch,
                    "other_layer": pair.second.layer,
                    "score": score,
                    **values,
                }
                for pair, values in zip(pairs, found, strict=True)
            ]
        return rows


def _for_workers(shared: Mapping[str, Ints]) -> Similarity:
    measure = Similarity()
    measure.shared = shared
    return measure


def grid(epochs: Sequence[int], most: int) -> list[int]:
    """Choose so many epochs, evenly spaced, the first and the last among them.

    Examples
    --------
    >>> grid(range(90), 4), grid([0, 1, 5], 20)
    ([0, 30, 59, 89], [0, 1, 5])
    """
    if len(epochs) <= most:
        return list(epochs)
    return [epochs[place] for place in np.linspace(0, len(epochs) - 1, most).round().astype(int)]


def _blocks(requests: Sequence[Request]) -> Iterator[list[Pair]]:
    """Pairs of different ones of these, those among a few together."""
    blocks = _parts(requests)
    for block in blocks:
        yield [Pair(*pair) for pair in combinations(block, 2)]
    for one, other in combinations(blocks, 2):
        yield [Pair(*pair) for pair in product(one, other)]


def _parts(requests: Sequence[Request]) -> list[Sequence[Request]]:
    return [requests[start : start + FAMILY] for start in range(0, len(requests), FAMILY)]


def _of_samples(held: Held, request: Request) -> Products:
    kept = held.samples[request]
    return Products(kept["ids"], kept["halves"])


def _orders(n_samples: int, setting: Setting) -> Ints:
    """The own order, then those that p is drawn from."""
    drawn = min(ORDERS, setting.permutations)
    own = np.arange(n_samples)
    generator = np.random.default_rng(setting.seed)
    return np.concatenate([own[None], generator.permuted(np.tile(own, (drawn, 1)), axis=1)])


def _cka(
    first: Sequence[Products | None],
    second: Sequence[Products | None],
    pairs: Sequence[tuple[int, int]],
    setting: Setting,
) -> list[Row]:
    """Unbiased CKA of pairs, over what all of them have in common."""
    every = [each.of for each in (*first, *second) if each is not None]
    common: Ints = reduce(np.intersect1d, every) if every else np.zeros(0, np.int64)
    sides = [[None if each is None else each.among(common) for each in side] for side in (first, second)]
    known = [[number for number, gram in enumerate(side) if gram is not None] for side in sides]
    if not all(known):
        return [_row(len(common), np.array([NAN]), Moments(NAN, NAN)) for _ in pairs]
    grams = [[gram for gram in side if gram is not None] for side in sides]
    found = cka_of_orders(grams[0], grams[1], _orders(len(common), setting))
    place = [{number: at for at, number in enumerate(numbers)} for numbers in known]
    return [
        _row(len(common), found[:, place[0][one], place[1][two]], cka_moments(len(common)))
        if one in place[0] and two in place[1]
        else _row(len(common), np.array([NAN]), Moments(NAN, NAN))
        for one, two in pairs
    ]


def _mutual(
    first: Sequence[Ints], second: Sequence[Ints], pairs: Sequence[tuple[int, int]], setting: Setting
) -> list[Row]:
    """Mutual neighbours of pairs."""
    near = [adjacency(each) for each in second]
    orders = {size: _orders(size, setting) for size in set(map(len, first))}

    def of_pair(pair: tuple[int, int]) -> Row:
        one, two = first[pair[0]], second[pair[1]]
        if not one.size or not two.size:
            return _row(len(one), np.array([NAN]), Moments(NAN, NAN))
        found = mutual_of_orders(one, near[pair[1]], orders[len(one)])
        return _row(len(one), found, mutual_moments(one, two))

    return over_threads(of_pair, pairs)


def _row(samples: int, found: Floats, moments: Moments) -> Row:
    """Columns of a value and those under other orders, which come behind it."""
    value, null = float(found[0]), found[1:]
    spread = moments.std if moments.std > ROUNDED else NAN
    return {
        "value": value,
        "null_mean": moments.mean,
        "null_std": moments.std,
        "z": (value - moments.mean) / spread,
        "p": float(exceedance(value, null, SAME)) if len(null) and np.isfinite(value) else NAN,
        "samples": samples,
        "permutations": len(null),
    }
