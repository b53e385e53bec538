"""The headline of the verdict on runs whose order of learning is planted: right when there is one, silent when not."""

from __future__ import annotations

import numpy as np
import pytest

import featlab
from benchmarks.coverage import EPOCHS
from benchmarks.planted_order import ORDERS, SIZE, chances

GROUPS, ROWS = 20, 20
CLAIM = {"broad": "broad_first", "none": "undecided", "specific": "specific_first"}


def plant(path, order, seed, *, first=0):
    """Store a run whose classes, groups of three and kinds of two groups are learned in an order."""
    generator = np.random.default_rng(seed)
    drawn = chances("logistic", order, GROUPS, GROUPS, generator)
    n_classes = GROUPS * SIZE
    labels = np.repeat(np.arange(n_classes), ROWS)
    own, kind = labels // SIZE, labels // (2 * SIZE)
    names = [f"kind{k // (2 * SIZE)}.group{k // SIZE}.class{k}" for k in range(n_classes)]
    # One number a row decides at every epoch, so that a row is learned once, as real rows mostly are.
    luck = generator.random((3, len(labels)))
    mate = own * SIZE + (labels + generator.integers(1, SIZE, len(labels))) % SIZE
    cousin = (own ^ 1) * SIZE + generator.integers(0, SIZE, len(labels))
    stranger = (labels + generator.integers(2 * SIZE, n_classes - 2 * SIZE, len(labels))) % n_classes
    stranger = np.where(stranger // (2 * SIZE) == kind, (stranger + 2 * SIZE) % n_classes, stranger)
    features = generator.normal(size=(len(labels), 2))
    for place, epoch in list(enumerate(EPOCHS.astype(int)))[first::2]:
        right, in_group, in_kind = (each[own, place] for each in (drawn.right, drawn.group, drawn.kind))
        said = np.where(
            luck[0] < right,
            labels,
            np.where(luck[1] < in_group, mate, np.where(luck[2] < in_kind, cousin, stranger)),
        )
        logits = np.eye(n_classes, dtype=np.float32)[said]
        featlab.write_epoch(
            path, epoch=int(epoch), features={"noise": features}, labels=labels, logits=logits, classes=names
        )
    return path


def headline(path):
    results = featlab.analyze(path, hierarchy="dotted", permutations=0, cache=False)
    verdict = results["verdict"]
    told = verdict[(verdict.series == "accuracy") & verdict.space.isna()].iloc[0]
    return told.claim, results.precedence.query("series == 'accuracy' and fraction == 0.5").set_index("space")


@pytest.mark.parametrize("order", ORDERS)
def test_one_run_of_each_order(tmp_path, order):
    claim, precedence = headline(plant(tmp_path / "run.zarr", order, seed=1))
    assert claim == CLAIM[order]
    assert precedence.index.tolist() == ["depth1", "depth2"]


@pytest.mark.soak
@pytest.mark.parametrize(("order", "first"), [*((order, 0) for order in ORDERS), ("none", 1), ("broad", 1)])
def test_headlines_of_a_hundred_runs(tmp_path, order, first):
    claims = [headline(plant(tmp_path / f"{seed}.zarr", order, seed, first=first))[0] for seed in range(100)]
    right = claims.count(CLAIM[order])
    if order == "none":
        assert len(claims) - right - claims.count("no_course") <= 5
    else:
        assert right >= 95
