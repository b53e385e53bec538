"""Laws over depth: lines over layers against formulas and SciPy, planted laws and tunnels, and what is left out."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats
from test_layer_order import write_attributes

import featlab
from featlab.errors import OptionError
from featlab.hierarchy import labelspace
from featlab.hierarchy.labelspace import LabelSpace
from featlab.metrics.depth import DRAWN, first_near_last, layer_orders, lines, slope_p
from featlab_cli.main import main

K, D = 4, 8
CLASSES = ["a.x", "a.y", "b.x", "b.y"]
RATE = 0.7
SIDES = np.concatenate([np.eye(D), -np.eye(D)])  # noise whose covariance within each class is that of a sphere
LABELS = np.repeat(np.arange(K), len(SIDES))
GROUPS = {"half": [0, 0, 1, 1]}
MEANS = np.diag([1.0, 1.5, 2, 3]) @ np.eye(K, D)
FIRST = 0.4  # distance of the rows from their mean in the first layer


def layer(spread: float, means: np.ndarray | None = None) -> np.ndarray:
    """Class means with rows at a distance around them along each axis."""
    centres = MEANS if means is None else means
    return centres[LABELS] + spread * np.tile(SIDES, (K, 1))


def law(n_layers: int = 5) -> dict[str, np.ndarray]:
    return {f"l{number}": layer(FIRST * RATE**number) for number in range(n_layers)}


def measures() -> dict[str, float]:
    """Return the measures of the first layer by their formulas."""
    centred = MEANS - MEANS.mean(axis=0)
    between, within = centred.T @ centred / K, FIRST**2 / D * np.eye(D)
    squares = np.square(MEANS[:, None] - MEANS[None]).sum(axis=2)[np.triu_indices(K, 1)]
    return {
        "nc1_pinv": np.trace(within @ np.linalg.pinv(between)) / K,
        "nc1_trace_ratio": np.trace(within) / np.trace(between),
        "nc1_cdnv": (FIRST**2 / squares).mean(),
    }


def write(path: Path, layers: dict[str, np.ndarray], epoch: int = 0, **options: object) -> Path:
    chosen = {"labels": LABELS, "classes": CLASSES, "dtype": "float32", **options}
    featlab.write_epoch(path, epoch=epoch, features=layers, **chosen)
    return path


def analyze(path: Path, **options: object) -> featlab.Results:
    return featlab.analyze(path, **{"permutations": 9, "controls": 0, "spaces": GROUPS, "cache": False, **options})


def row_of(results: featlab.Results, series: str, space: str | None = "hyponym", epoch: int = 0) -> pd.Series:
    table = results.depth_law.query("series == @series and epoch == @epoch")
    (row,) = (row for _, row in table[table["space"].isna() if space is None else table["space"] == space].iterrows())
    return row


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Epoch 0 follows the law; epoch 1 lacks a layer."""
    path = write(tmp_path_factory.mktemp("depth") / "run.zarr", law())
    return write(path, {name: rows for name, rows in law().items() if name != "l2"}, epoch=1)


# --- lines, orders, tunnels


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [0, 2, 3, 6, 7]])
def test_lines_and_their_p_are_those_of_scipy(places: list[int]) -> None:
    values = np.random.default_rng(0).normal(size=(3, len(places)))
    found, orders = lines(np.array(places), values), layer_orders(len(places), 0)
    assert len(orders) == len({tuple(order) for order in orders.tolist()})
    for number, line in enumerate(values):
        expected = stats.linregress(places, line)
        assert found.slope[number] == pytest.approx(expected.slope, abs=1e-12)
        assert found.intercept[number] == pytest.approx(expected.intercept, abs=1e-12)
        assert found.r2[number] == pytest.approx(expected.rvalue**2, abs=1e-12)
        slopes = np.array([stats.linregress(places, order).slope for order in permutations(line)])
        for rising, count in ((True, slopes >= slopes[0] - 1e-12), (False, slopes <= slopes[0] + 1e-12)):
            p = slope_p(np.array(places), values, orders, rising=rising)
            assert p[number] == pytest.approx(count.mean(), abs=1e-12)


def test_orders_of_many_layers_are_drawn() -> None:
    orders = layer_orders(9, seed=1)
    assert orders.shape == (DRAWN + 1, 9)
    assert np.array_equal(orders[0], np.arange(9))
    assert np.array_equal(orders, layer_orders(9, seed=1))
    falling = -np.arange(9.0)[None]
    assert slope_p(np.arange(9), falling, orders, rising=False)[0] == 1 / 5000
    assert slope_p(np.arange(9), falling, orders, rising=True)[0] == 1
    noise = np.random.default_rng(0).normal(size=(400, 9))
    assert stats.kstest(slope_p(np.arange(9), noise, orders, rising=True), "uniform").pvalue > 0.01


def test_what_no_line_tells_is_unknown() -> None:
    one = lines(np.array([2]), np.array([[1.0]]))
    assert np.isnan([one.slope, one.intercept, one.r2]).all()
    two = lines(np.array([0, 2]), np.array([[1.0, 2.0]]))
    assert (two.slope[0], np.isnan(two.r2[0])) == (0.5, True)
    constant = np.full((1, 5), 0.1)
    assert lines(np.arange(5), constant).slope[0] == pytest.approx(0, abs=1e-15)
    assert np.isnan(lines(np.arange(5), constant).r2[0])
    assert np.isnan(slope_p(np.arange(5), constant, layer_orders(5, 0), rising=True)[0])
    assert np.isnan(slope_p(np.arange(3), np.array([[1.0, 2.0, 3.0]]), layer_orders(3, 0), rising=True)[0])


def test_the_tunnel_begins_at_95_percent() -> None:
    values = [
        ([0.1, 0.949, 0.95, 0.9, 1.0], 2),
        ([0.5, 0.2, np.nan, 0.51, np.nan], 0),  # the last known value counts
        ([0.1, 0.2, 0.3, 0.4, 0.0], -1),
        ([0.1, 0.2, 0.3, 0.4, -0.1], -1),
        ([np.nan, np.nan, 0.3, np.nan, np.nan], -1),
        ([np.nan] * 5, -1),
    ]
    assert first_near_last(np.array([line for line, _ in values])).tolist() == [at for _, at in values]


# --- the table


def test_a_planted_law_has_its_rate(planted: Path) -> None:
    results = analyze(planted)
    for measure, value in measures().items():
        for epoch, layers, p in ((0, 5, 1 / 120), (1, 4, 1 / 24)):  # the fourth keeps its place where the third is not
            row = row_of(results, measure, epoch=epoch)
            assert (row["layers"], row["first_layer"], row["last_layer"]) == (layers, "l0", "l4")
            assert row["slope"] == pytest.approx(2 * np.log(RATE), rel=1e-4)
            assert row["intercept"] == pytest.approx(np.log(value), rel=1e-4)
            assert row["r2"] == pytest.approx(1, abs=1e-6)
            assert (row["p"], row["orders"]) == (pytest.approx(p), round(1 / p))
            assert row[["last", "reached", "reached_layer", "control_slope"]].isna().all()
    assert row_of(results, "nc1_pinv")["rank"] == K - 1
    assert row_of(results, "nc1_pinv", "half")["rank"] == 1
    assert np.isnan(row_of(results, "nc1_cdnv")["rank"])
    assert results.parameters["layers_order"] == ["l0", "l1", "l2", "l3", "l4"]
    assert results.parameters["layers_order_found"] == "given"


def test_the_order_is_that_of_the_run_or_the_given_one(planted: Path, tmp_path: Path) -> None:
    turned = analyze(planted, layers_order=["l4", "l3", "l2", "l1", "l0"])
    row = row_of(turned, "nc1_cdnv")
    assert row["slope"] == pytest.approx(-2 * np.log(RATE), rel=1e-4)
    assert (row["p"], row["first_layer"]) == (1, "l4")
    assert turned.parameters["layers_order_found"] == "by hand"
    some = analyze(planted, layers_order=["l1", "l3", "l4"], epochs=0)
    assert row_of(some, "nc1_cdnv")["layers"] == 3
    assert np.isnan(row_of(some, "nc1_cdnv")["p"])
    note = some.parameters["notes"]["depth_law"]
    assert note == "'l0', 'l2' left out: layers_order does not name them; p needs 4 layers, and there are 3."
    out = tmp_path / "run.results"
    command = ["analyze", str(planted), "--out", str(out), "--layers-order", "l4, l3,l2,l1,l0", "--no-cache"]
    command += ["--permutations", "0", "--controls", "0"]
    assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
    assert row_of(featlab.load_results(out), "nc1_cdnv")["first_layer"] == "l4"


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["l0", "l9"], "layers_order names 'l9': choose from 'l0', 'l1', "),
        (["l0", "l1", "l0"], "layers_order names 'l0' twice"),
        (["l0"], "layers_order names 'l0' alone"),
        ("l0", "layers_order names 'l0' alone"),
    ],
)
def test_an_order_that_cannot_be_is_refused(planted: Path, order: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        analyze(planted, layers_order=order)


def test_a_run_without_an_order_says_how_to_give_it(planted: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "r", law())
    write_attributes(path, {"layers_order": None})
    results = analyze(path)
    assert results.depth_law.empty
    assert "give it with layers_order=, or --layers-order" in results.parameters["notes"]["depth_law"]
    given = analyze(path, layers_order=list(law()))
    pd.testing.assert_frame_equal(given.depth_law, analyze(planted, epochs=0).depth_law)
    assert "depth_law" not in given.parameters["notes"]


def test_layers_without_a_place_and_outputs_are_left_out_and_named(tmp_path: Path) -> None:
    head = {"head": layer(0.3)}
    weight = (MEANS, None)
    path = write(tmp_path / "r", {**law(), **head}, classifier=weight, feeds="l4")
    write(path, {"new": layer(0.1)}, split="other", in_order=False)
    write(path, law(), split="other", epoch=1)
    results = analyze(path, spaces=[])
    note = results.parameters["notes"]["depth_law"]
    assert note.startswith("'head' left out as outputs: they come after what the classifier reads; 'new' left out: the")
    assert set(results.depth_law["last_layer"]) == {"l4"}
    assert set(zip(results.depth_law["split"], results.depth_law["epoch"], strict=True)) == {("val", 0), ("other", 1)}
    by_hand = analyze(path, layers_order=[*law(), "head"], splits="val", spaces=[])
    assert set(by_hand.depth_law["last_layer"]) == {"head"}


def test_layers_of_fewer_directions_do_not_count_for_the_pseudo_inverse(tmp_path: Path) -> None:
    flat = np.zeros((K, D))
    flat[:, 0] = [-3, -1, 1, 3]
    results = analyze(write(tmp_path / "r", {"narrow": layer(0.5, flat), **law()}), spaces=[])
    row = row_of(results, "nc1_pinv")
    assert (row["layers"], row["first_layer"], row["rank"]) == (5, "l0", K - 1)
    assert row["slope"] == pytest.approx(2 * np.log(RATE), rel=1e-4)
    assert row["intercept"] == pytest.approx(np.log(measures()["nc1_pinv"]) - 2 * np.log(RATE), rel=1e-4)
    assert row_of(results, "nc1_cdnv")["layers"] == 6


@pytest.mark.parametrize("hierarchy", [None, "dotted"])
def test_a_planted_tunnel_begins_where_it_was_planted(tmp_path: Path, hierarchy: str | None) -> None:
    halves = np.repeat([[1.0], [-1.0]], 2, axis=0) * np.eye(1, D, 5)
    noise = np.random.default_rng(0).normal(size=(len(LABELS), D))
    layers = {
        "noise": noise,
        "broad": halves[LABELS] + 0.1 * noise,
        "fine": layer(0.05, halves + np.eye(K, D)),
        "finer": layer(0.04, halves + np.eye(K, D)),
    }
    results = analyze(write(tmp_path / "r", layers), hierarchy=hierarchy)
    classes, half = row_of(results, "ncc_accuracy"), row_of(results, "ncc_accuracy", "half")
    assert (classes["reached_layer"], classes["reached"], classes["last"]) == ("fine", 3, 1)
    assert (half["reached_layer"], half["reached"], half["last"]) == ("broad", 2, 1)
    assert classes["slope"] > 0
    if hierarchy is not None:
        aligned = row_of(results, "rsa_spearman", None)
        of_layers = featlab.results.default_score.default_rows(results.alignment).set_index("layer")["value"]
        expected = stats.linregress(range(4), of_layers[list(layers)])
        assert aligned["slope"] == pytest.approx(expected.slope)
        assert aligned["last"] == of_layers["finer"]
        near = (of_layers[list(layers)] >= 0.95 * of_layers["finer"]).to_numpy()
        assert aligned["reached"] == 1 + near.argmax()
        assert np.isnan(aligned["control_reached"])
    else:
        assert "rsa_spearman" not in set(results.depth_law["series"])


def test_random_groups_are_measured_as_the_space_is(planted: Path) -> None:
    half = LabelSpace.from_groups("half", ["0", "0", "1", "1"])
    drawn = labelspace.controls(half, 3, 0)
    spaces = {f"random{number}": space.labels.tolist() for number, space in enumerate(drawn)}
    beside = analyze(planted, controls=3, epochs=0)
    alone = analyze(planted, spaces=spaces, epochs=0)
    for measure, column, mean in (
        ("nc1_pinv", "slope", "control_slope"),
        ("ncc_accuracy", "slope", "control_slope"),
        ("ncc_accuracy", "reached", "control_reached"),
    ):
        values = [row_of(alone, measure, space)[column] for space in spaces]
        row = row_of(beside, measure, "half")
        assert row[mean] == pytest.approx(np.mean(values))
        prefix = mean.removesuffix("_slope")
        assert min(values) - 1e-9 <= row[f"{prefix}_low"] <= row[f"{prefix}_high"] <= max(values) + 1e-9
        assert 0 < row[f"{prefix}_p"] <= 1
    assert np.isnan(row_of(beside, "nc1_pinv")["control_slope"])


def test_one_layer_and_layers_without_values_are_said(tmp_path: Path) -> None:
    results = analyze(write(tmp_path / "one", {"a": layer(0.3)}))
    assert results.depth_law.empty
    assert (
        results.parameters["notes"]["depth_law"]
        == "it is empty: a law over depth takes two hidden layers of one split."
    )
    same = layer(0.3, np.ones((K, D)))  # all classes are the same: nothing separates them
    with pytest.warns(featlab.FeatlabWarning):
        results = analyze(write(tmp_path / "flat", {"flat": same, **law(2)}), spaces=[])
    row = row_of(results, "nc1_pinv")
    assert (row["layers"], row["first_layer"]) == (2, "l0")
    assert row["slope"] == pytest.approx(2 * np.log(RATE), rel=1e-4)
    assert np.isnan(row["r2"])
