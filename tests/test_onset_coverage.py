"""Coverage of onset intervals in populations that are known: 95 % of them hold the onset, or there is none."""

from __future__ import annotations

import pytest

from benchmarks.coverage import CURVES, DESIGNS, coverage, table, true_onset

BY_NAME = {(design.name, len(design.groups)): design for design in DESIGNS}


@pytest.mark.parametrize(
    ("name", "classes", "curve", "fraction"),
    [
        ("independent", 10, "steep", 0.5),
        ("independent", 50, "stragglers", 0.9),
        ("superclasses of 5", 50, "logistic", 0.5),
    ],
)
def test_intervals_hold_the_onset_of_the_population(name, classes, curve, fraction):
    """Sharp enough to notice an interval of 90 % in place of 95 %, and one that takes classes for superclasses."""
    design = BY_NAME[name, classes]
    given, held = coverage(design, curve, fraction, runs=1000, seed=0)
    assert given == 1
    assert 0.935 <= held <= 0.97
    assert coverage(design, curve, fraction, runs=1000, seed=0, level=0.9)[1] < 0.93


@pytest.mark.parametrize(
    ("name", "classes", "fraction"),
    [
        ("independent", 4, 0.5),
        ("independent", 20, 0.9),
        ("superclasses of 5", 20, 0.5),
        ("superclasses of 2", 50, 0.9),
    ],
)
def test_too_few_have_no_interval(name, classes, fraction):
    assert coverage(BY_NAME[name, classes], "logistic", fraction, runs=20, seed=0)[0] == 0


def test_the_truth_is_that_of_the_mean_curve():
    """Onsets round 7 on both sides alike: half is there; nine tenths of steps at the normal quantile."""
    assert true_onset("logistic", 0.5) == pytest.approx(7, abs=0.02)
    assert true_onset("steep", 0.9) == pytest.approx(7 + 2 * 1.2816, abs=0.15)


def test_the_table_has_a_row_for_every_design():
    lines = list(table(runs=1, seed=0))
    assert len(lines) == 2 + len(DESIGNS)
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.soak
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: f"{len(design.groups)} {design.name}")
def test_intervals_hold_the_onset_in_every_design(design, curve):
    """The table in docs/onsets.md, cell by cell."""
    for fraction in (0.5, 0.9):
        given, held = coverage(design, curve, fraction, runs=2000, seed=0)
        assert given in (0, 1)
        assert not given or 0.92 <= held <= 0.97
