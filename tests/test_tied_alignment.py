"""Alignment where class-mean distances are tied: honest p-values, no score that follows the order of the classes."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist

import featlab
from featlab.analysis import snapshots
from featlab.demo.planted import planted_tree
from featlab.errors import FeatlabWarning

KEY = ["metric", "linkage", "taxonomy_distance", "space", "score"]
EQUAL = "equally far apart within rounding at epoch 0, layer 'last'"


def names_of(*branching):
    """Class names in the order of the tree, as users have them: sorted."""
    return [".".join(map(str, way)) for way in np.ndindex(*branching)]


def alignment(path, means, names, *, rows=3, permutations=99, dtype="float32", seed=None, batch=None, **options):
    """Alignment of a store that holds each mean so many times, class after class or shuffled."""
    labels = np.repeat(np.arange(len(means)), rows)
    if seed is not None:
        labels = np.random.default_rng(seed).permutation(labels)
    features = np.asarray(means, np.float32)[labels]
    step = batch or len(labels)
    parts = (({"last": features[s : s + step]}, labels[s : s + step]) for s in range(0, len(labels), step))
    featlab.write_epoch(path, epoch=0, features=parts, labels=None, classes=names, dtype=dtype, overwrite=True)
    options = {"hierarchy": "dotted", **options}
    return featlab.analyze(path, permutations=permutations, cache=False, **options).alignment


@pytest.mark.defect("B6", "a constant layer followed the hierarchy at p = 0.001 where class names were sorted")
@pytest.mark.parametrize("value", [0.0, 0.37])
def test_a_constant_layer_has_no_alignment(tmp_path, value):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = alignment(tmp_path / "run.zarr", np.full((60, 5), value), names_of(6, 10))
    assert len(table)
    assert table[["value", "p", "p_corrected", "z"]].isna().all(axis=None)
    assert any(EQUAL in str(each.message) for each in caught)


@pytest.mark.defect("B6", "correlations ranked what rounding left of equal distances")
@pytest.mark.parametrize(("rows", "dtype"), [(1, "float32"), (40, "float16"), (7, "float32")])
def test_one_hot_means_have_no_alignment(tmp_path, rows, dtype):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = alignment(tmp_path / "run.zarr", np.eye(30), names_of(5, 6), rows=rows, dtype=dtype)
    assert table[["value", "p"]].isna().all(axis=None)
    assert any(EQUAL in str(each.message) for each in caught)


@pytest.mark.parametrize("length", [1e-4, 1e3])
def test_what_rounding_is_to_cosines_does_not_depend_on_lengths(tmp_path, length):
    turned = length * np.linalg.qr(np.random.default_rng(0).normal(size=(30, 30)))[0]
    with pytest.warns(FeatlabWarning, match=EQUAL):
        table = alignment(tmp_path / "run.zarr", turned, names_of(5, 6), rows=7)
    assert set(table.metric) == {"cosine", "euclidean"}
    assert table.value.isna().all()


def test_a_tree_with_one_level_has_no_alignment(tmp_path):
    """Single linkage of points on a line: all merge at 1, though distances differ."""
    points = np.arange(12.0)[:, None] + [0.5]
    with pytest.warns(FeatlabWarning, match=r"merge at one height .* single linkage; 1 such trees"):
        table = alignment(tmp_path / "run.zarr", points, names_of(3, 4), linkages=("single",), metrics=("euclidean",))
    assert table.loc[table.linkage.notna(), ["value", "p"]].isna().all(axis=None)
    assert table.loc[table.linkage.isna(), ["value", "p"]].notna().all(axis=None)


CASES = {
    "planted": lambda rng: planted_tree(depth=3, branching=3, dim=64, samples_per_class=1, noise=0.0).means,
    "codes": lambda rng: rng.integers(0, 2, (27, 5)).astype(float),
    "line": lambda rng: 0.5 + np.arange(27.0)[rng.permutation(27), None] * [1, 0],
    "coincident": lambda rng: np.eye(27)[np.minimum(rng.permutation(27), 20)],
    "constant": lambda rng: np.full((27, 4), 0.3),
}


def shuffled(path, means, count):
    """The alignment in so many orders of the classes, the first as the names are sorted."""
    names, generator, tables = names_of(3, 3, 3), np.random.default_rng(1), []
    for draw in range(count):
        order = generator.permutation(27) if draw else np.arange(27)
        shutil.rmtree(path, ignore_errors=True)
        table = alignment(path, means[order], [names[number] for number in order], linkages=("average",))
        tables.append(table.fillna({"space": "", "linkage": "", "taxonomy_distance": ""}).set_index(KEY).sort_index())
    return tables


def assert_same(tables):
    for each in tables[1:]:
        pd.testing.assert_series_equal(each.value, tables[0].value, rtol=0, atol=1e-6)
        # Two estimates of one p from 99 permutations each.
        middle = (each.p + tables[0].p) / 2
        within = 6 * np.sqrt(middle * (1 - middle) / 99 * 2) + 0.011
        assert ((each.p - tables[0].p).abs() <= within)[each.p.notna()].all()
        assert (each.p.isna() == tables[0].p.isna()).all()


@pytest.mark.defect("B6", "scores of tied distances and trees depended on the order of the classes")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::featlab.errors.FeatlabWarning")
def test_the_order_of_the_classes_changes_no_score(tmp_path, case):
    assert_same(shuffled(tmp_path / "run.zarr", CASES[case](np.random.default_rng(0)), 3))


def test_the_order_of_the_classes_changes_no_score_without_ties(tmp_path):
    assert_same(shuffled(tmp_path / "run.zarr", np.random.default_rng(0).normal(size=(27, 10)), 2))


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::featlab.errors.FeatlabWarning")
def test_fifty_orders_of_the_classes_change_no_score(tmp_path, case):
    assert_same(shuffled(tmp_path / "run.zarr", CASES[case](np.random.default_rng(0)), 50))


@pytest.mark.defect("B6", "levels of a tree were lost where one direction was far larger than the others")
@pytest.mark.parametrize("dim", [8, 64])
@pytest.mark.filterwarnings("ignore::featlab.errors.FeatlabWarning")
def test_levels_are_kept_beside_a_direction_that_dominates(tmp_path, dim):
    """Two halves a million apart, within which classes lie at distances around 3."""
    means = np.random.default_rng(0).normal(size=(30, dim)).astype(np.float32)
    means[:, 0] = np.arange(30) // 15 * 1e6
    names = names_of(6, 5)
    table = alignment(tmp_path / "run.zarr", means, names, linkages=("average",), metrics=("euclidean",))
    taxonomy = pdist((np.arange(30) // 5)[:, None], "hamming")
    expected = scipy.stats.spearmanr(cophenet(linkage(pdist(means.astype(float)), "average")), taxonomy).statistic
    assert table.loc[table.score == "cophenetic_spearman", "value"].to_numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("groups", "size"), [(10, 10), (9, 30)])
@pytest.mark.filterwarnings("ignore::featlab.errors.FeatlabWarning")
def test_what_permutations_repeat_is_counted(tmp_path, monkeypatch, groups, size):
    """All distances equal but that of two siblings: a permutation makes any pair siblings as often as chance does."""
    monkeypatch.setattr(snapshots, "number_of_draws", lambda n_classes: 1, raising=False)
    means = np.eye(groups * size)
    means[1] = means[0]
    names = [f"{group}.{number:02d}" for group, number in np.ndindex(groups, size)]
    table = alignment(
        tmp_path / "run.zarr",
        means,
        names,
        rows=1,
        permutations=199,
        metrics=("euclidean",),
        linkages=("single",),
        distances=("lca_height",),
    )
    expected = (size - 1) / (groups * size - 1)
    for score in ("rsa_pearson", "rsa_spearman", "rsa_kendall"):
        (p,) = table.loc[table.score == score, "p"]
        assert abs(p - expected) < 5 * np.sqrt(expected / 199), (score, p)


@pytest.mark.filterwarnings("ignore:.*classes have no row:featlab.FeatlabWarning")
def test_ties_are_broken_alike_whatever_the_order_and_by_the_seed(tmp_path):
    """Corners of a cube tie; random numbers go with the names of the classes, where one is absent, too."""
    names = names_of(3, 2, 2)
    corners = np.array([[number >> bit & 1 for bit in range(4)] for number in range(12)], np.float32)

    def scores(order, seed):
        own = np.repeat(order, 3)
        labels, present = np.repeat(np.arange(12), 3), own != 4
        path, classes = tmp_path / f"{order[0]}.zarr", [names[number] for number in order]
        featlab.write_epoch(
            path, epoch=0, features={"last": corners[own][present]}, labels=labels[present], classes=classes,
            dtype="float32", overwrite=True,
        )  # fmt: skip
        table = featlab.analyze(path, hierarchy="dotted", permutations=0, seed=seed, cache=False).alignment
        return table.astype(dict.fromkeys(KEY, str)).set_index(KEY).value.sort_index()

    one, turned, other = scores(np.arange(12), 0), scores(np.arange(12)[::-1], 0), scores(np.arange(12), 1)
    np.testing.assert_allclose(turned.loc[one.index], one, atol=1e-9)
    assert (one - other).abs().max() > 1e-3


def test_scores_of_tied_trees_are_their_mean(tmp_path):
    """The corners of a square merge along its width or along its height; one of the two is the taxonomy."""
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    table = alignment(tmp_path / "run.zarr", corners, names_of(2, 2), linkages=("average",), metrics=("euclidean",))
    recall = table.set_index("score").value["clade_recall"]
    assert recall == np.rint(16 * recall) / 16
    assert 0 < recall < 1
