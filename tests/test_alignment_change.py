"""The table `alignment_change` against independent NumPy: change, its null, the jackknife, ranks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from scipy.stats import pearsonr, rankdata, spearmanr
from scipy.stats import t as student

import featlab
from featlab.analysis.alignment_change import put_together
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.jackknife import jackknife_interval, pearson_without_each, spearman_without_each
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.rsa.vectors import CondensedVector
from featlab.results import Results
from featlab.results.schema import table_columns
from featlab_cli.show import command as show_command

Floats = NDArray[np.float64]

BRANCHES, SIZE, ROWS = 8, 3, 12
CLASSES = [f"{branch}.{leaf}" for branch in range(BRANCHES) for leaf in range(SIZE)]
GROUPS = np.repeat(np.arange(BRANCHES), SIZE)
LABELS = np.repeat(np.arange(len(CLASSES)), ROWS)
PATH = 2.0 + 2 * (GROUPS[:, None] != GROUPS)
FIRST, SECOND = np.triu_indices(len(CLASSES), 1)
DEFAULT = {"score": "rsa_spearman", "metric": "cosine", "taxonomy_distance": "path"}


def write(path: Path, strengths: dict[str, list[float]], seed: int = 0, noise: float = 1.0) -> Path:
    """A run whose layers have the branches' directions, of these strengths at each epoch, below the classes' own."""
    generator = np.random.default_rng(seed)
    branches, own = generator.normal(size=(BRANCHES, 20)), generator.normal(size=(len(CLASSES), 20))
    for epoch in range(len(next(iter(strengths.values())))):
        features = {
            layer: (strength[epoch] * branches[GROUPS] + own)[LABELS] + noise * generator.normal(size=(len(LABELS), 20))
            for layer, strength in strengths.items()
        }
        featlab.write_epoch(path, epoch=epoch, features=features, labels=LABELS, classes=CLASSES)
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three layers: one learns, one begins with what it ends with, one is between."""
    path = write(
        tmp_path_factory.mktemp("run") / "run.zarr",
        {"learns": [0.0, 0.5, 1.0], "has": [1.0, 1.0, 1.0], "some": [0.2, 0.3, 0.5]},
    )
    return featlab.analyze(path, hierarchy="dotted", permutations=199, controls=0, cache=False)


def pick(table: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    for name, value in columns.items():
        table = table[table[name] == value]
    return table


def distances(results: Results, layer: str, epoch: int, metric: str) -> Floats:
    return pick(results.distances, layer=layer, epoch=epoch, metric=metric)["distance"].to_numpy()


def spearman(values: Floats, order: NDArray[np.int64] | None = None) -> float:
    order = np.arange(len(CLASSES)) if order is None else order
    return float(pearsonr(rankdata(values), rankdata(PATH[order[FIRST], order[SECOND]])).statistic)


def left_out(values: Floats) -> Floats:
    """Without each branch."""
    kept = [(GROUPS[FIRST] != branch) & (GROUPS[SECOND] != branch) for branch in range(BRANCHES)]
    return np.array([spearmanr(values[pairs], PATH[FIRST, SECOND][pairs]).statistic for pairs in kept])


def interval(value: float, without: Floats, comparisons: int = 1) -> tuple[float, float]:
    pseudo = BRANCHES * value - (BRANCHES - 1) * without
    reach = student.ppf(1 - 0.025 / comparisons, BRANCHES - 1) * pseudo.std(ddof=1) / np.sqrt(BRANCHES)
    return value - reach, value + reach


class TestTable:
    def test_one_row_for_each_layer_and_comparison(self, results: Results) -> None:
        table = results.alignment_change
        keys = ["split", "layer", "metric", "linkage", "taxonomy_distance", "space", "score"]
        assert not table.duplicated(keys).any()
        assert len(table) == len(results.alignment) // 3
        assert results.alignment_change.columns.tolist() == table_columns("alignment_change")
        assert (table.first_epoch == 0).all()
        assert (table.last_epoch == 2).all()

    def test_ends_and_change_are_those_of_the_alignment_table(self, results: Results) -> None:
        keys = ["split", "layer", "metric", "linkage", "taxonomy_distance", "space", "score"]
        course = results.alignment.pivot_table(index=keys, columns="epoch", values="value", dropna=False)
        found = results.alignment_change.set_index(keys).sort_index()
        course = course.dropna(how="all").sort_index()
        np.testing.assert_array_equal(found["first"], course[0])
        np.testing.assert_array_equal(found["last"], course[2])
        np.testing.assert_allclose(found["change"], course[2] - course[0])

    @pytest.mark.parametrize("layer", ["learns", "has", "some"])
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_p_and_intervals_by_numpy_alone(self, results: Results, layer: str, metric: str) -> None:
        row = pick(results.alignment_change, **{**DEFAULT, "metric": metric, "layer": layer}).iloc[0]
        first, last = (distances(results, layer, epoch, metric) for epoch in (0, 2))
        change = spearman(last) - spearman(first)
        assert row["change"] == pytest.approx(change)
        orders = ClassPermutations.draw(len(CLASSES), 199, 0).orders
        null = np.array([spearman(last, order) - spearman(first, order) for order in orders])
        assert row["change_p"] == ((null >= change - 1e-12).sum() + 1) / 200
        assert (row["low"], row["high"]) == pytest.approx(interval(spearman(last), left_out(last)))
        assert (row["change_low"], row["change_high"]) == pytest.approx(
            interval(change, left_out(last) - left_out(first))
        )
        assert (row["population"], row["sampled"], row["needed"]) == ("groups of siblings", BRANCHES, 6)
        assert row["interval"] == "jackknife"

    def test_layers_are_ranked_in_pairs_with_the_best(self, results: Results) -> None:
        table = pick(results.alignment_change, **DEFAULT).set_index("layer")
        last = {layer: distances(results, layer, 2, "cosine") for layer in table.index}
        values = {layer: spearman(last[layer]) for layer in last}
        ordered = sorted(values, key=lambda layer: -values[layer])
        assert ordered[-1] == "some"
        best = ordered[0]
        assert table.loc[ordered, "rank"].tolist() == [1, 2, 3]
        assert table.loc[best, "behind"] == 0
        assert np.isnan(table.loc[best, "behind_low"])
        for layer in ordered[1:]:
            apart = values[best] - values[layer]
            expected = interval(apart, left_out(last[best]) - left_out(last[layer]), comparisons=2)
            assert table.loc[layer, "behind"] == pytest.approx(apart)
            assert tuple(table.loc[layer, ["behind_low", "behind_high"]]) == pytest.approx(expected)
        assert table.loc["some", "behind_low"] > 0

    def test_what_is_learned_is_told_from_what_the_input_had(self, results: Results) -> None:
        """Both layers agree with p = 0.005 at the end, one of them from the start."""
        ends = pick(results.alignment, **DEFAULT).set_index(["layer", "epoch"])["p"]
        assert ends["has", 0] == ends["has", 2] == ends["learns", 2] == 0.005
        change = pick(results.alignment_change, **DEFAULT).set_index("layer")
        assert change.change_p["learns"] == 0.005
        assert change.change_low["learns"] > 0
        assert change.change_p["has"] > 0.05
        assert change.change_low["has"] < 0 < change.change_high["has"]

    def test_the_command_of_the_page_gives_the_numbers(self, results: Results, tmp_path: Path) -> None:
        """The question of docs/layers.md, by its command, against NumPy alone."""
        page = (Path(__file__).parents[1] / "docs" / "layers.md").read_text(encoding="utf-8")
        command = shlex.split(page.split("featlab show RESULTS ")[1].splitlines()[0])
        results.save(tmp_path / "a.results")
        told = CliRunner().invoke(show_command, [str(tmp_path / "a.results"), *command, "--format", "json"])
        assert told.exit_code == 0, told.output
        rows = {row["layer"]: row for row in json.loads(told.stdout)}
        values = {layer: [spearman(distances(results, layer, epoch, "cosine")) for epoch in (0, 2)] for layer in rows}
        assert rows.keys() == {"learns", "has", "some"}
        for layer, row in rows.items():
            assert [row["first"], row["last"]] == pytest.approx(values[layer])
            assert row["change"] == pytest.approx(values[layer][1] - values[layer][0])
            assert row["rank"] == 1 + sum(last > values[layer][1] for _, last in values.values())

    def test_scores_that_fall_with_agreement(self, results: Results) -> None:
        """Their change has the score's own sign; p, rank and lag go by agreement."""
        table = pick(results.alignment_change, score="nearest_neighbor_distance", metric="cosine")
        table = pick(table, taxonomy_distance="path").set_index("layer")
        assert table.change["learns"] < 0
        assert table.change_p["learns"] == 0.005
        assert table["last"].idxmin() in table.index[table["rank"] == 1]
        assert (table["behind"] == table["last"] - table["last"].min()).all()

    def test_other_scores_have_no_interval(self, results: Results) -> None:
        table = results.alignment_change
        other = table[~table.score.isin(["rsa_pearson", "rsa_spearman"])]
        assert other[["low", "high", "change_low", "behind_low", "sampled"]].isna().all(axis=None)
        assert other.interval.isna().all()
        assert other["rank"].notna().all()


class TestCases:
    def test_one_epoch_has_no_change(self, tmp_path: Path) -> None:
        path = write(tmp_path / "run.zarr", {"last": [1.0]})
        results = featlab.analyze(path, hierarchy="dotted", permutations=19, controls=0)
        assert "nothing changes within one epoch" in results.parameters["notes"]["alignment_change"]
        table = results.alignment_change
        assert table[["change", "change_low", "change_high", "change_p", "behind_low"]].isna().all(axis=None)
        row = pick(table, **DEFAULT).iloc[0]
        assert row["first"] == row["last"]
        assert row["low"] < row["last"] < row["high"]
        assert (row["rank"], row["behind"]) == (1, 0)

    def test_too_few_branches_have_no_interval(self, tmp_path: Path) -> None:
        path = write(tmp_path / "run.zarr", {"last": [0.0, 1.0]})
        nested = {f"kind{kind}": [CLASSES[number] for number in range(24) if number % 5 == kind] for kind in range(5)}
        results = featlab.analyze(path, hierarchy=Taxonomy.from_nested(nested), permutations=19, controls=0)
        assert (
            "5.0 groups of siblings (by their effective number) are fewer than 6"
            in (results.parameters["notes"]["alignment_change"])
        )
        table = results.alignment_change
        row = pick(table, **DEFAULT).iloc[0]
        assert np.isnan([row["low"], row["high"], row["change_low"]]).all()
        assert (row["interval"], round(row["sampled"]), row["needed"]) == ("too few", 5, 6)
        assert np.isfinite([row["change"], row["change_p"]]).all()

    def test_course_begins_at_the_first_known_value(self, tmp_path: Path) -> None:
        """At epoch 0 all means are equally far apart, so that nothing is to be ranked."""
        features = np.eye(len(CLASSES))[LABELS]
        featlab.write_epoch(tmp_path / "a", epoch=0, features={"last": features}, labels=LABELS, classes=CLASSES)
        generator = np.random.default_rng(0)
        for epoch in (1, 2):
            moved = features + epoch * np.eye(BRANCHES, len(CLASSES))[GROUPS[LABELS]]
            moved = moved + 0.1 * generator.normal(size=moved.shape)
            featlab.write_epoch(tmp_path / "a", epoch=epoch, features={"last": moved}, labels=LABELS, classes=CLASSES)
        with pytest.warns(featlab.FeatlabWarning, match="equally far apart"):
            table = featlab.analyze(tmp_path / "a", hierarchy="dotted", permutations=19, controls=0).alignment_change
        row = pick(table, **DEFAULT).iloc[0]
        assert (row["first_epoch"], row["last_epoch"]) == (1, 2)
        assert np.isfinite([row["change"], row["change_low"]]).all()

    def test_absent_classes_and_branches(self, tmp_path: Path) -> None:
        """An epoch that lacks a branch: the change has a value, and no interval, as not the same are left out."""
        generator = np.random.default_rng(0)
        means = generator.normal(size=(BRANCHES, 20))[GROUPS] + generator.normal(size=(len(CLASSES), 20))
        for epoch, kept in ((0, LABELS >= SIZE), (1, LABELS >= 0)):
            rows = means[LABELS[kept]] + generator.normal(size=(kept.sum(), 20))
            featlab.write_epoch(
                tmp_path / "a", epoch=epoch, features={"last": rows}, labels=LABELS[kept], classes=CLASSES
            )
        with pytest.warns(featlab.FeatlabWarning, match="have no row"):
            table = featlab.analyze(tmp_path / "a", hierarchy="dotted", permutations=19, controls=0).alignment_change
        row = pick(table, **DEFAULT).iloc[0]
        assert np.isfinite([row["change"], row["change_p"], row["low"]]).all()
        assert np.isnan([row["change_low"], row["change_high"]]).all()

    def test_label_spaces_alone_have_no_intervals(self, tmp_path: Path) -> None:
        path = write(tmp_path / "run.zarr", {"last": [0.0, 1.0]})
        spaces = {"branch": GROUPS.tolist()}
        table = featlab.analyze(path, spaces=spaces, permutations=19, controls=0).alignment_change
        assert set(table.score) >= {"cophenetic_self", "ami"}
        assert table.low.isna().all()


class TestJackknife:
    @pytest.mark.parametrize("n_groups", [1, 2, 5, 30])
    @pytest.mark.parametrize("digits", [1, 9])
    def test_left_out_against_masks(self, n_groups: int, digits: int) -> None:
        """With many ties, and without."""
        generator = np.random.default_rng(n_groups)
        values, groups = generator.normal(size=435).round(digits), generator.permutation(np.arange(30) % n_groups)
        square = TiedDistances.of(np.abs(np.subtract.outer(np.arange(30) // 4, np.arange(30) // 4)))
        pearson = pearson_without_each(CondensedVector(values, 30), [square, square], groups)
        spearman = spearman_without_each(values, [square, square], groups)
        assert pearson.shape == spearman.shape == (2, n_groups)
        first, second = np.triu_indices(30, 1)
        reference = np.abs(first // 4 - second // 4)
        for group in range(n_groups):
            kept = (groups[first] != group) & (groups[second] != group)
            for found, correlation in ((pearson, pearsonr), (spearman, spearmanr)):
                alone = kept.sum() < 2
                expected = np.nan if alone else correlation(values[kept], reference[kept]).statistic
                assert found[:, group] == pytest.approx(expected, nan_ok=True)

    def test_bands_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        generator = np.random.default_rng(0)
        vector = CondensedVector(generator.normal(size=190), 20)
        square = TiedDistances.of(squareform(generator.integers(1, 4, 190)))
        whole = pearson_without_each(vector, [square], np.arange(20) % 6)
        monkeypatch.setattr("featlab.metrics.rsa.jackknife.BAND", 60)
        np.testing.assert_allclose(pearson_without_each(vector, [square], np.arange(20) % 6), whole)

    def test_what_is_left_constant_has_no_correlation(self) -> None:
        alone = np.arange(4) == 0
        square = TiedDistances.of(np.where(np.eye(4), 0, np.where(alone ^ alone[:, None], 2, 1)))
        values = np.arange(6.0)
        for found in (
            pearson_without_each(CondensedVector(values, 4), [square], np.arange(4)),
            spearman_without_each(values, [square], np.arange(4)),
        ):
            assert np.isnan(found[0, 0])
            assert np.isfinite(found[0, 1:]).all()

    def test_interval_of_one_group_is_unknown(self) -> None:
        assert np.isnan(jackknife_interval(0.5, np.array([0.4]), 1.0)).all()

    def test_many_groups_are_left_out_in_sets_of_one_size(self) -> None:
        groups = np.repeat(np.arange(100), 3)
        together = put_together(groups)
        assert np.bincount(together).tolist() == [15] * 4 + [12] * 20
        assert all(len(set(together[groups == group])) == 1 for group in range(100))
        assert (put_together(groups, most=100) == groups).all()
