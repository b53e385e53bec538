"""A real network's classifier against WordNet, as `benchmarks/imagenet_classifier.py` prints it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCHMARK = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks/imagenet_classifier.py"))
EXPECTED, TOLERANCE = BENCHMARK["EXPECTED"], BENCHMARK["TOLERANCE"]
analyse, figure = BENCHMARK["analyse"], BENCHMARK["figure"]
SHIFTS = (0, 1)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    return [analyse(folder, shift, 29) for shift in SHIFTS]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize(("score", "linkage"), EXPECTED)
def test_scores_are_those_computed_apart_from_featlab(analysed, score, linkage, shift):
    found = figure(analysed[shift][0], score, linkage)
    assert found["value"] == pytest.approx(EXPECTED[score, linkage][shift], abs=TOLERANCE)


@pytest.mark.parametrize(("score", "linkage"), [key for key in EXPECTED if "spearman" in key[0]])
def test_permuted_classes_score_near_zero(analysed, score, linkage):
    found = figure(analysed[0][0], score, linkage)
    assert abs(found["null_mean"]) < 0.01
    assert found["p"] == pytest.approx(1 / 30)


def test_a_shifted_class_order_is_noticed(analysed):
    (_, as_it_is), (_, shifted) = analysed
    assert as_it_is == []
    assert len(shifted) == 1
    assert "order" in shifted[0]
