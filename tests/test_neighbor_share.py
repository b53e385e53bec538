"""`nearest_neighbor_share` by independent NumPy: ties, classes alone in their group, the permutation null, levels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

import featlab
from featlab.metrics.rsa.neighbors import nearest_neighbor_share, nearest_neighbors


def share(square, groups):
    """Mean over the classes that are not alone in their group; of ties, the share."""
    found = []
    for row, group in enumerate(groups):
        if np.sum(groups == group) < 2:
            continue
        others = [other for other in range(len(groups)) if other != row]
        least = min(square[row, other] for other in others)
        found.append(np.mean([groups[other] == group for other in others if square[row, other] == least]))
    return np.mean(found) if found else np.nan


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("digits", [0, 9])
def test_share_against_loops(seed, digits):
    generator = np.random.default_rng(seed)
    distances = pdist(generator.normal(size=(14, 3))).round(digits)
    groups = np.unique(generator.integers(0, 6, 14), return_inverse=True)[1]
    orders = np.stack([np.arange(14), *(generator.permutation(14) for _ in range(5))])
    found = nearest_neighbor_share(nearest_neighbors(distances), groups, orders)
    # Class i of the features stands for class order[i] of the hierarchy.
    expected = [share(squareform(distances), groups[order]) for order in orders]
    np.testing.assert_allclose(found, expected)


def test_all_classes_alone_have_no_share():
    nearest = nearest_neighbors(np.array([1.0, 2.0, 3.0]))
    assert np.isnan(nearest_neighbor_share(nearest, np.arange(3), np.arange(3)[None])).all()


def test_the_table_without_a_hierarchy(tmp_path):
    """Pairs of classes far from all others, one class alone: value 1, null by its closed form, p of all orders."""
    generator = np.random.default_rng(0)
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    means = 10 * np.eye(5)[groups] + np.eye(9, 5) + 0.1 * generator.normal(size=(9, 5))
    labels = np.repeat(np.arange(9), 4)
    featlab.write_epoch(
        tmp_path / "run.zarr", epoch=0, features={"last": means[labels]}, labels=labels, classes=list("abcdefghi")
    )
    results = featlab.analyze(tmp_path / "run.zarr", spaces={"pair": groups.tolist()}, permutations=999, controls=0)
    table = results.alignment.query("score == 'nearest_neighbor_share'").set_index("metric")
    assert table.space.tolist() == ["pair", "pair"]
    assert table[["linkage", "taxonomy_distance"]].isna().all(axis=None)
    row = table.loc["euclidean"]
    assert (row.value, row.ceiling, row.p, row.permutations) == (1, 1, 0.001, 999)
    assert row.null_mean == pytest.approx(1 / 8, abs=4 * row.null_std / np.sqrt(999))
    assert "nearest_neighbor_share" in set(results.alignment_change.score)
