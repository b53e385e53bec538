"""The verdict of each layer: planted onsets come out, against random groups, in one sentence."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
import reference
from click.testing import CliRunner

import featlab
from featlab.demo.planted import PlantedCourse, planted_tree, write_course
from featlab.results.schema import TABLES
from featlab.results.verdict import Learned, layer_verdicts, moved_away, precedence
from featlab_cli.show import command as show_command

NAN = math.nan


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    tree = planted_tree(depth=2, branching=3, dim=24, samples_per_class=30, noise=0.05)
    path = tmp_path_factory.mktemp("verdict") / "run.zarr"
    for _ in write_course(path, PlantedCourse(tree, onsets=(1, 4), epochs=5)):
        pass
    return featlab.analyze(path, hierarchy=tree.taxonomy, spaces=["level1"], permutations=0)


@pytest.fixture(scope="module")
def saved(planted, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "a.results"
    planted.save(path)
    return str(path)


def sentences(results):
    table = results.verdict()
    assert list(table.columns) == ["split", "layer", "sentence"]
    return {layer: sentence for _, layer, sentence in table.itertuples(index=False)}


def test_a_planted_course_is_told_with_its_onsets(planted):
    """Level 1 appears at epoch 1 and the classes at 4: accuracies 1/9, 1/3 and 1 give the second pair."""
    half, most = (3 + (1 / 9 + part * 8 / 9 - 1 / 3) / (2 / 3) for part in (0.5, 0.9))
    told = sentences(planted)
    assert list(told) == [None, "layer1", "layer2"]
    assert told[None] == (
        "Broad before specific, with too few classes or groups for an interval: accuracy had covered 50 % / 90 % of "
        f"its way by epoch 0.50 / 0.90 in the 3 groups of level1 (random groups {half:.2f} / {most:.2f}) and "
        f"{half:.2f} / {most:.2f} in the 9 classes."
    )
    head = "Broad before specific, with too few classes or groups for an interval: in layer2, nearest-mean accuracy had"
    assert told["layer2"].startswith(f"{head} covered 50 % / 90 %")
    told_of = set(TABLES["collapse"].columns) - {"groups", "rows", "ncc_accuracy"}
    assert all(told["layer2"].count(series) == 1 for series in told_of)
    assert told["layer1"].endswith("there is no course to tell of nc3_duality and nc4_agreement.")
    assert "\n" not in "".join(told.values())


def test_loaded_results_have_the_same_verdict(planted, saved):
    pd.testing.assert_frame_equal(featlab.load_results(saved).verdict(), planted.verdict())


def test_onsets_of_the_controls_are_those_of_their_mean_series(planted):
    epochs = np.arange(6.0)
    found = planted.onset.set_index(["layer", "space", "series", "fraction"]).control_onset
    for layer in ("layer1", "layer2"):
        rows = planted.collapse.query("layer == @layer and space == 'level1'", local_dict={"layer": layer})
        for series in ("ncc_accuracy", "nc1_pinv", "nc2_etf"):
            for fraction in (0.5, 0.9):
                expected = reference.onset(epochs, rows[f"{series}_control"].to_numpy(), fraction)
                assert found[layer, "level1", series, fraction] == pytest.approx(expected)
    chance = planted.accuracy.query("space == 'level1'").random_expected.to_numpy()
    rows = planted.onset.query("series == 'accuracy' and space == 'level1'").set_index("fraction").control_onset
    exact = planted.accuracy.query("space == 'hyponym'").accuracy.to_numpy()
    assert chance == pytest.approx(exact + (1 - exact) * 3 * 3 * 2 / (9 * 8))  # three groups of three
    assert rows[0.5] == pytest.approx(reference.onset(epochs, chance, 0.5))
    assert planted.onset.query("space == 'hyponym'").control_onset.isna().all()
    assert planted.onset.query("space == 'level1' and series == 'nc1_pinv'").control_onset.notna().all()


LAST, SLOPE, ROWS = 14, 0.8, 500


def logistic(time, middle):
    return 1 / (1 + np.exp(-SLOPE * (np.asarray(time, float) - middle)))


def true_onset(middle, fraction):
    """Where the logistic course has covered a fraction of its way from epoch 0 to the last."""
    first, last = logistic([0, LAST], middle)
    value = first + fraction * (last - first)
    return middle + math.log(value / (1 - value)) / SLOPE


def interpolation_error(middle, fraction):
    """Step squared over eight times the steepest bend, and what rounding to whole rows adds, over the least slope."""
    epoch = math.floor(true_onset(middle, fraction))
    share = logistic(np.linspace(epoch, epoch + 1, 101), middle)
    slopes = SLOPE * share * (1 - share)
    bends = SLOPE**2 * share * (1 - share) * np.abs(1 - 2 * share)
    return (bends.max() / 8 + 2 / ROWS) / slopes.min()


def test_onsets_of_planted_learning_curves_are_within_the_interpolation_error(tmp_path):
    """Groups are learned round epoch 3.3 and classes round 7.6; the answers are placed in the rows one by one."""
    middles = {"pair": 3.3, "hyponym": 7.6}
    labels = np.tile(np.arange(4), ROWS)
    order = np.repeat(np.arange(ROWS), 4)
    rng = np.random.default_rng(0)
    features = np.eye(4)[labels] + 0.1 * rng.normal(size=(len(labels), 4))
    for epoch in range(LAST + 1):
        right_group = order < round(ROWS * float(logistic(epoch, middles["pair"])))
        right_class = order < round(ROWS * float(logistic(epoch, middles["hyponym"])))
        said = np.where(right_class, labels, np.where(right_group, labels ^ 1, (labels + 2) % 4))
        featlab.write_epoch(
            tmp_path / "run.zarr", epoch=epoch, features={"last": features}, labels=labels, logits=np.eye(4)[said]
        )
    results = featlab.analyze(tmp_path / "run.zarr", spaces={"pair": [0, 0, 1, 1]}, permutations=0)
    found = results.onset.query("series == 'accuracy'").set_index(["space", "fraction"])
    for space, middle in middles.items():
        for fraction in (0.5, 0.9):
            error = interpolation_error(middle, fraction)
            assert error < 0.3
            assert found.onset[space, fraction] == pytest.approx(true_onset(middle, fraction), abs=error)
    for fraction in (0.5, 0.9):
        assert found.control_onset["pair", fraction] == pytest.approx(found.onset["hyponym", fraction])
    assert sentences(results)[None].startswith(
        "Broad before specific, with too few classes or groups for an interval: accuracy had covered"
    )


KIND = Learned("kind", 2, 0.5, 0.9, 0.4, 0.6, 1.5, 2.5)


@pytest.mark.parametrize(
    ("coarse", "classes", "said"),
    [
        ({}, 2.0, "Broad before specific"),
        ({"control_half": NAN}, 2.0, "Broad before specific"),
        ({"control_half": 0.4}, 2.0, "Broad before specific, but no earlier than random groups"),
        ({"high": 1.9}, 2.0, "Broad before specific, but within the uncertainty"),
        ({"high": NAN}, 2.0, "Broad before specific, with too few classes or groups for an interval"),
        ({"half": 2.0}, 2.0, "These numbers do not show broad before specific"),
        ({"half": NAN}, 2.0, "These numbers do not show broad before specific"),
        ({}, NAN, "These numbers do not show broad before specific"),
    ],
)
def test_precedence(coarse, classes, said):
    fine = Learned("hyponym", 8, classes, 3.0, 1.8, 2.2)
    assert precedence(Learned(**{**vars(KIND), **coarse}), fine) == said


def onset_rows(onsets, layer="fc"):
    """An onset table from {series: {space: (half, most, control_half, control_most)}}."""
    rows = [
        {
            "split": "val", "layer": layer, "space": space, "series": series, "fraction": fraction,
            "onset": times[place], "low": times[place], "high": times[place], "control_onset": times[2 + place],
        }
        for series, spaces in onsets.items()
        for space, times in spaces.items()
        for place, fraction in enumerate((0.5, 0.9))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_collapse_columns_are_sorted_by_what_they_show():
    early, late = (0.5, 1, 2, 3), (2, 3, NAN, NAN)
    onset = onset_rows(
        {
            "ncc_accuracy": {"hyponym": late, "cut4": (0.75, 1, 1, 2), "cut2": (NAN,) * 4},
            "nc1_pinv": {"hyponym": late, "cut2": early, "cut4": early},
            "nc1_cdnv": {"hyponym": late, "cut2": (NAN,) * 4, "cut4": (0.5, 1, 0.25, 3)},
            "nc2_etf": {"hyponym": (0.25, 1, NAN, NAN), "cut2": (0.5, 1, NAN, NAN), "cut4": early},
            "nc3_duality": {"hyponym": (NAN,) * 4, "cut2": (NAN,) * 4, "cut4": (NAN,) * 4},
        }
    )
    assert layer_verdicts(onset, {"hyponym": 9, "cut4": 4, "cut2": 2}).sentence.tolist() == [
        "Broad before specific: in fc, nearest-mean accuracy had covered 50 % / 90 % of its way by epoch 0.75 / 1.00 "
        "in the 4 groups of cut4 (random groups 1.00 / 2.00) and 2.00 / 3.00 in the 9 classes, and did not move in the "
        "2 groups of cut2; of the collapse columns, broad came first in nc1_pinv (cut2 0.50 / 1.00, random groups "
        "2.00 / 3.00, classes 2.00 / 3.00); broad came first, but no earlier than random groups, in nc1_cdnv (cut4 "
        "0.50 / 1.00, random groups 0.25 / 3.00, classes 2.00 / 3.00); broad did not come first in nc2_etf (cut2 "
        "0.50 / 1.00, classes 0.25 / 1.00); there is no course to tell of nc3_duality."
    ]


@pytest.mark.defect("B7", "the verdict took a missing interval for one that tells of certainty or uncertainty")
@pytest.mark.parametrize(("coarse", "fine"), [((NAN, NAN), (1.8, 2.2)), ((0.4, 0.6), (NAN, NAN)), ((NAN,) * 2,) * 2])
def test_no_certainty_is_claimed_without_intervals(coarse, fine):
    told = precedence(
        Learned("kind", 2, 0.5, low=coarse[0], high=coarse[1]), Learned("hyponym", 8, 2.0, low=fine[0], high=fine[1])
    )
    assert told == "Broad before specific, with too few classes or groups for an interval"


def test_epochs_without_a_value_are_told():
    onset = onset_rows({"ncc_accuracy": {"hyponym": (2, 3, 4, 5), "kind": (1, 2, 3, 4)}})
    collapse = onset_rows({"nc3_duality": {"hyponym": (2, 3, NAN, NAN), "kind": (1, 2, NAN, NAN)}}).assign(missing=2)
    told = layer_verdicts(pd.concat([onset, collapse]), {"hyponym": 9, "kind": 2}).sentence[0]
    assert "nc3_duality (kind 1.00 / 2.00, classes 2.00 / 3.00, 2 epochs without a value)" in told


def test_the_way_of_a_series_that_begins_later_is_from_its_first_value(planted):
    collapse = planted.collapse.copy()
    collapse["nc1_pinv"] = np.where(collapse.epoch == 0, NAN, collapse.epoch.astype(float))
    assert ("val", "layer2", "hyponym", "nc1_pinv") in moved_away(planted.accuracy, collapse)


def test_what_got_worse_has_no_onset():
    """The onset of a series that ends worse than it began is how soon it was spoilt, not when it was learned."""
    course = {"hyponym": (0.25, 1, NAN, NAN), "kind": (1, 2, 0.5, 3)}
    onset = onset_rows({"ncc_accuracy": course, "nc1_pinv": course, "nc2_etf": course})
    away = {
        ("val", "fc", "hyponym", "ncc_accuracy"),
        ("val", "fc", "kind", "ncc_accuracy_control"),
        ("val", "fc", "hyponym", "nc1_pinv"),
        ("val", "fc", "hyponym", "nc2_etf"),
        ("val", "fc", "kind", "nc2_etf"),
        ("train", "fc", "kind", "ncc_accuracy"),
    }
    assert layer_verdicts(onset, {"hyponym": 9, "kind": 3}, away).sentence.tolist() == [
        "Only broad label spaces gained: in fc, nearest-mean accuracy had covered 50 % / 90 % of its way by epoch 1.00 "
        "/ 2.00 in the 3 groups of kind (random groups got worse), and fell in the 9 classes; of the collapse columns, "
        "the way led away from collapse in nc1_pinv (hyponym) and nc2_etf (every label space)."
    ]


def test_series_that_got_worse_are_found(planted):
    accuracy, collapse = planted.accuracy, planted.collapse.copy()
    assert {layer for _, layer, _, series in moved_away(accuracy, collapse) if series == "accuracy"} == set()
    found = moved_away(accuracy.assign(accuracy=1 - accuracy.accuracy), collapse)
    assert {("val", None, "hyponym", "accuracy"), ("val", None, "level1", "accuracy")} <= found
    assert ("val", None, "level1", "accuracy_control") not in found
    collapse["nc1_pinv"] = collapse.epoch.astype(float)
    collapse["nc4_agreement_control"] = -collapse.epoch.astype(float)
    found = moved_away(accuracy, collapse)
    for layer in ("layer1", "layer2"):
        assert ("val", layer, "level1", "nc1_pinv") in found
        assert ("val", layer, "level1", "nc4_agreement_control") in found
        assert ("val", layer, "level1", "ncc_accuracy") not in found


def test_without_broader_spaces_or_a_course_it_says_so():
    still, moved = {"hyponym": (NAN,) * 4}, {"hyponym": (2, 3, NAN, NAN)}
    told = [
        layer_verdicts(onset_rows({"ncc_accuracy": ncc, "nc1_pinv": nc1}), {"hyponym": 9}).sentence[0]
        for ncc, nc1 in ((moved, moved), (still, still))
    ]
    assert told == [
        "Only the classes to tell of, as there is no broader label space: in fc, nearest-mean accuracy had covered "
        "50 % / 90 % of its way by epoch 2.00 / 3.00 in the 9 classes; of the collapse columns, nc1_pinv by 2.00 / "
        "3.00.",
        "No course to tell: in fc, nearest-mean accuracy did not move.",
    ]
    assert layer_verdicts(pd.DataFrame(columns=onset_rows({"a": moved}).columns), {}).empty


def test_one_epoch_has_no_course(tmp_path):
    tree = planted_tree(depth=2, branching=2, dim=8)
    featlab.write_epoch(
        tmp_path / "run.zarr", epoch=0, features={"last": tree.features}, labels=tree.labels, classes=tree.classes
    )
    results = featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, permutations=0)
    assert sentences(results)["last"].startswith("No course to tell: in last, nearest-mean accuracy did not move")


def test_rounding_is_no_course(tmp_path):
    """Two group means lie opposite each other at every epoch: whatever their last bits do, their angle never moves."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    for epoch in range(6):
        features = rng.normal(size=(4, 8))[labels] + rng.normal(size=(400, 8))
        featlab.write_epoch(tmp_path / "run.zarr", epoch=epoch, features={"last": features}, labels=labels)
    results = featlab.analyze(tmp_path / "run.zarr", spaces={"pair": [0, 0, 1, 1]}, permutations=0)
    onset = results.onset.query("space == 'pair' and fraction == 0.5").set_index("series").onset
    assert onset[["nc2_equinorm", "nc2_max_angle", "nc2_etf"]].isna().all()
    assert onset[["nc1_pinv", "nc1_cdnv"]].notna().all()


def test_show_prints_the_verdict_plain_in_a_pipe(saved, planted):
    outcome = CliRunner().invoke(show_command, [saved, "verdict", "--where", "layer == 'layer2'"])
    assert outcome.exit_code == 0
    table = pd.read_csv(io.StringIO(outcome.stdout))
    assert table.sentence.tolist() == [sentences(planted)["layer2"]]
    listing = CliRunner().invoke(show_command, [saved]).stdout
    assert listing.splitlines()[-1].split()[0] == "verdict"


@pytest.mark.parametrize("width", [60, 80])
def test_show_wraps_the_verdict_to_the_terminal(saved, planted, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = CliRunner().invoke(show_command, [saved, "verdict", "--format", "table"])
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line.startswith("val, ")] == ["val, classifier", "val, layer1", "val, layer2"]
    assert sentences(planted)[None].split() == " ".join(lines).split("val, layer1")[0].split()[2:]
