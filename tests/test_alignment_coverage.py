"""Intervals of `alignment_change` in populations that are known, and the default score on planted trees."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.alignment_coverage import DESIGNS, Design, coverage, table
from benchmarks.alignment_scores import DESIGNS as TREES
from benchmarks.alignment_scores import p_values
from featlab.results.default_score import DEFAULT_SCORE


def test_intervals_hold_the_mean_score_of_the_population():
    """Sharp enough to notice an interval of 80 % in place of 95 %."""
    design = Design("branches of 5", (5,) * 8, 0.2)
    found = coverage(design, runs=300, seed=0, tested=40)
    for pair in (found.level, found.change, found.behind):
        assert (pair >= 0.92).all()
    narrow = coverage(design, runs=300, seed=0, tested=1, level=0.8)
    assert max(*narrow.level, *narrow.change, *narrow.behind) < 0.92
    # The untrained network agrees by itself; that nothing was learned is told all the same.
    assert found.untrained > 0.9
    assert found.still[1] <= 0.05
    assert found.learned[0] == 1
    assert found.learned[1] > 0.9


def test_the_default_score_finds_planted_trees_and_keeps_its_level():
    key = (DEFAULT_SCORE["metric"], None, DEFAULT_SCORE["taxonomy_distance"], None, DEFAULT_SCORE["score"])
    design = next(tree for tree in TREES if (tree.tree, tree.noise) == ("uneven", "lengths"))
    planted, shuffled = (p_values(design, runs=25, seed=0, shuffled=shuffled) for shuffled in (False, True))
    assert np.mean(np.array(planted[key]) <= 0.05) > 0.9
    assert np.sum(np.array(shuffled[key]) <= 0.05) <= 4  # of 25; at 5 % more come once in 100 times
    euclidean = np.array(planted["euclidean", *key[1:]])
    assert np.mean(euclidean <= 0.05) < np.mean(np.array(planted[key]) <= 0.05)


def test_the_table_has_a_row_for_every_design():
    lines = list(table(runs=2, seed=0))
    assert len(lines) == 2 + len(DESIGNS)
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.soak
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: f"{len(design.sizes)} {design.name}, {design.loose}")
def test_intervals_hold_the_score_in_every_design(design):
    """The table in docs/layers.md, cell by cell."""
    found = coverage(design, runs=400, seed=0)
    for pair in (found.level, found.change, found.behind):
        assert ((pair >= 0.89) & (pair <= 0.995)).all()
    assert found.still[1] <= 0.05
