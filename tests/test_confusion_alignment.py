"""Table `confusion_alignment`: confusion of classes beside the hierarchy and layers, against SciPy and plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kstest, spearmanr

import featlab
from featlab.analysis import confusion_alignment
from featlab.analysis.reference import Reference
from featlab.metrics.confused_pairs import confused_pairs
from featlab.metrics.confusion import confusion
from featlab.metrics.permutations import Budget, ClassPermutations
from featlab.metrics.rsa.ranks import standardized
from featlab.results import Results

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BRANCHES, SIZE = 5, 3
CLASSES = [f"{branch}.{leaf}" for branch in range(BRANCHES) for leaf in range(SIZE)]
GROUPS = np.repeat(np.arange(BRANCHES), SIZE)
PATH = 2.0 + 2 * (GROUPS[:, None] != GROUPS)
ABSENT = 7
PERMUTATIONS, SEED = 99, 3
ROWS = np.where(np.arange(len(CLASSES)) == ABSENT, 0, 5 + 4 * np.arange(len(CLASSES)))  # imbalanced, one has none
LABELS = np.repeat(np.arange(len(CLASSES)), ROWS)


def siblings_only(generator: np.random.Generator, labels: Ints, share: float = 0.5) -> Ints:
    """Predictions that are wrong for so many rows, and then of the same branch."""
    others = GROUPS[labels] * SIZE + generator.integers(0, SIZE, len(labels))
    return np.where(generator.random(len(labels)) < share, others, labels)


def anything(generator: np.random.Generator, labels: Ints, share: float = 0.5) -> Ints:
    """Predictions that are wrong for so many rows, and then of any class."""
    others = generator.integers(0, len(CLASSES), len(labels))
    return np.where(generator.random(len(labels)) < share, others, labels)


def reference_distances(labels: Ints, predictions: Ints, classes: Ints) -> Floats:
    """1 - (share of i's rows taken for j + share of j's taken for i) / 2, row by row."""
    shares = np.zeros((len(CLASSES), len(CLASSES)))
    for label, prediction in zip(labels, predictions, strict=True):
        shares[label, prediction] += 1 / (labels == label).sum()
    return np.round(1 - (shares + shares.T) / 2, 9)[np.ix_(classes, classes)]


def upper(square: Floats) -> Floats:
    return square[np.triu_indices(len(square), 1)]


def write(path: Path, predictions: list[Ints], labels: Ints = LABELS) -> Path:
    generator = np.random.default_rng(5)
    centres = generator.normal(size=(BRANCHES, 8))[GROUPS] + generator.normal(size=(len(CLASSES), 8))
    for epoch, predicted in enumerate(predictions):
        features = {
            "first": generator.normal(size=(len(labels), 8)),
            "last": centres[labels] + 0.1 * generator.normal(size=(len(labels), 8)),
        }
        logits = np.eye(len(CLASSES))[predicted]
        featlab.write_epoch(path, epoch=epoch, features=features, labels=labels, logits=logits, classes=CLASSES)
    return path


def analyzed(path: Path, **options: object) -> Results:
    given = {"hierarchy": "dotted", "permutations": PERMUTATIONS, "controls": 0, "seed": SEED, "cache": False}
    return featlab.analyze(path, **{**given, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ints], Results]:
    """Anything confused, then siblings only, then nothing; the class 2.1 has no rows and is sometimes predicted."""
    generator = np.random.default_rng(11)
    predictions = [anything(generator, LABELS), siblings_only(generator, LABELS), LABELS]
    path = write(tmp_path_factory.mktemp("confused") / "run.zarr", predictions)
    with pytest.warns(featlab.FeatlabWarning):
        return path, predictions, analyzed(path)


def others_of(path: Path, row: pd.Series, present: Ints) -> Floats:
    """The square of distances that a row compares with."""
    if pd.isna(row.layer):
        return (PATH if row.taxonomy_distance == "path" else PATH / 2)[np.ix_(present, present)]
    snapshot = featlab.open_run(path).snapshot(epoch=row.epoch, split="val", layer=row.layer)
    features, labels = np.asarray(snapshot.features, np.float64), np.asarray(snapshot.labels)
    means = np.stack([features[labels == number].mean(axis=0) for number in present])
    return squareform(pdist(means - means.mean(axis=0), row.metric))


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_values_and_nulls_are_scipy_s_of_the_same_orders(run: tuple[Path, list[Ints], Results]) -> None:
    path, predictions, results = run
    table = results.confusion_alignment
    present = np.flatnonzero(ROWS)
    orders = ClassPermutations.draw(len(CLASSES), PERMUTATIONS, SEED).among(present).orders
    assert len(table) == 3 * (2 + 2 * 2)
    for _, row in table[table.epoch < 2].iterrows():
        distances = upper(reference_distances(LABELS, predictions[row.epoch], present))
        others = others_of(path, row, present)
        assert row.value == pytest.approx(spearmanr(distances, upper(others)).statistic, abs=1e-9)
        null = np.array([spearmanr(distances, upper(others[np.ix_(order, order)])).statistic for order in orders])
        assert row.null_mean == pytest.approx(null.mean(), abs=1e-9)
        assert row.null_std == pytest.approx(null.std(ddof=1), abs=1e-9)
        assert row.p == pytest.approx((1 + (null >= row.value - 1e-9).sum()) / (PERMUTATIONS + 1))
        assert row.ceiling == pytest.approx(spearmanr(np.sort(distances), np.sort(upper(others))).statistic, abs=1e-9)
        assert (row.classes, row.permutations) == (len(present), PERMUTATIONS)
        assert row.confused_pairs == (distances < 1).sum()


def test_confused_siblings_agree_with_the_hierarchy_as_well_as_ties_let_them(
    run: tuple[Path, list[Ints], Results],
) -> None:
    row = run[2].confusion_alignment.query("epoch == 1 and taxonomy_distance == 'path'").iloc[0]
    assert row.value == pytest.approx(row.ceiling)
    assert row.value > 0.9
    assert row.p == 1 / (PERMUTATIONS + 1)
    layers = run[2].confusion_alignment.query("epoch == 1 and metric == 'cosine'").set_index("layer")
    assert layers.value["last"] > 0.2
    assert layers.p["last"] < 0.05
    assert abs(layers.value["first"]) < 0.2


def test_corrected_p_takes_the_best_of_each_permutation(run: tuple[Path, list[Ints], Results]) -> None:
    table = run[2].confusion_alignment
    known = table[table.value.notna()]
    assert (known.p_corrected >= known.p).all()
    assert known.p_corrected.notna().all()


def test_without_mistakes_nothing_is_known_and_the_note_says_so(run: tuple[Path, list[Ints], Results]) -> None:
    results = run[2]
    rows = results.confusion_alignment.query("epoch == 2")
    assert rows[["value", "p", "p_corrected", "null_mean", "ceiling"]].isna().all(axis=None)
    assert (rows.confused_pairs == 0).all()
    note = results.parameters["notes"]["confusion_alignment"]
    assert note == "values are NaN where no class is taken for another: epoch 2 of 'val'."


def test_uniform_confusion_gives_every_p_as_often() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(CLASSES)), 6 + np.arange(len(CLASSES)) % 5)
    unit = standardized(upper(PATH), ranks=True)
    orders = ClassPermutations.draw(len(CLASSES), 99, 0).after_identity
    found = []
    for _ in range(200):
        counted = confusion(labels, anything(generator, labels), len(CLASSES))
        values = confused_pairs(counted, np.arange(len(CLASSES))).correlations([unit], orders)[0]
        # Ties of values are broken at random: p is then uniform on 1/100, ..., 1.
        above, same = (values > values[0] + 1e-12).sum(), (abs(values - values[0]) <= 1e-12).sum()
        found.append((above + generator.random() * same) / len(values))
    assert kstest(found, "uniform").pvalue > 0.01


def test_confused_cousins_have_the_other_sign() -> None:
    labels = np.repeat(np.arange(len(CLASSES)), 30)
    generator = np.random.default_rng(1)
    away = (labels + SIZE * generator.integers(1, BRANCHES, len(labels))) % len(CLASSES)
    pairs = confused_pairs(confusion(labels, away, len(CLASSES)), np.arange(len(CLASSES)))
    identity = np.arange(len(CLASSES))[None]
    assert pairs.correlations([standardized(upper(PATH), ranks=True)], identity).item() < 0


def test_equal_shares_of_different_rows_are_tied() -> None:
    """1/3 + 1/6 and 1/4 + 1/4 are the same distance, though their sums differ in the last bit or might."""
    labels = np.repeat(np.arange(6), [3, 6, 4, 4, 10, 10])
    predictions = labels.copy()
    for label, taken in ((0, 1), (1, 0), (2, 3), (3, 2), (4, 5)):
        predictions[np.flatnonzero(labels == label)[0]] = taken
    pairs = confused_pairs(confusion(labels, predictions, 6), np.arange(6))
    assert pairs.confusion[:2].tolist() == [0.25, 0.25]
    assert pairs.weights[0] == pairs.weights[1]
    assert pairs.weights[2] > pairs.weights[0]


@pytest.mark.parametrize(
    ("labels", "predictions", "n_classes"), [([0, 0], [0, 0], 1), ([0, 1], [1, 0], 2), ([0, 1, 2], [1, 2, 0], 3)]
)
def test_where_nothing_orders_the_pairs_values_are_unknown(
    labels: list[int], predictions: list[int], n_classes: int
) -> None:
    """One class, one pair, and three pairs that are confused alike."""
    pairs = confused_pairs(confusion(np.array(labels), np.array(predictions), n_classes), np.arange(n_classes))
    unit = standardized(np.arange(n_classes * (n_classes - 1) // 2, dtype=np.float64), ranks=True)
    assert np.isnan(pairs.correlations([unit], np.arange(n_classes)[None])).all()
    assert np.isnan(pairs.ceiling(unit))


def test_pairs_confused_alike_are_noted(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(len(CLASSES)), len(CLASSES))
    everything = np.tile(np.arange(len(CLASSES)), len(CLASSES))
    results = analyzed(write(tmp_path / "run.zarr", [everything], labels))
    assert results.confusion_alignment.value.isna().all()
    note = results.parameters["notes"]["confusion_alignment"]
    assert note == "values are NaN where all pairs of classes with rows are confused alike: epoch 0 of 'val'."


def test_without_a_hierarchy_only_layers_are_compared(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(len(CLASSES)), 8)
    path = write(tmp_path / "run.zarr", [anything(np.random.default_rng(2), labels)], labels)
    results = analyzed(path, hierarchy=None, metrics=["cosine"], permutations=9)
    assert results.confusion_alignment.layer.tolist() == ["first", "last"]
    assert results.confusion_alignment.taxonomy_distance.isna().all()
    assert "there is no hierarchy; give one" in results.parameters["notes"]["confusion_alignment"]


def test_without_decisions_the_table_is_empty_and_says_why(tmp_path: Path) -> None:
    features = {"last": np.random.default_rng(0).normal(size=(60, 4))}
    featlab.write_epoch(tmp_path / "a", epoch=0, features=features, labels=np.repeat(np.arange(15), 4), classes=CLASSES)
    results = analyzed(tmp_path / "a", permutations=9)
    assert results.confusion_alignment.empty
    assert "no decisions are known" in results.parameters["notes"]["confusion_alignment"]


def test_the_order_of_classes_changes_nothing() -> None:
    generator = np.random.default_rng(4)
    order = generator.permutation(len(CLASSES))
    predictions = anything(generator, LABELS)
    present = np.flatnonzero(ROWS)
    renamed = np.sort(order[present])
    straight = confused_pairs(confusion(LABELS, predictions, len(CLASSES)), present)
    shuffled = confused_pairs(confusion(order[LABELS], order[predictions], len(CLASSES)), renamed)
    inverse = np.argsort(order)
    one = standardized(upper(PATH[np.ix_(present, present)]), ranks=True)
    other = standardized(upper(PATH[np.ix_(inverse[renamed], inverse[renamed])]), ranks=True)
    identity = np.arange(len(present))[None]
    assert straight.correlations([one], identity).item() == pytest.approx(
        shuffled.correlations([other], identity).item()
    )


def test_classes_with_a_mean_of_another_split_and_no_rows_are_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    whole = np.repeat(np.arange(len(CLASSES)), 6)
    for split, labels in (("train", whole), ("val", LABELS)):
        features = {"last": np.eye(len(CLASSES))[labels] + 0.3 * generator.normal(size=(len(labels), len(CLASSES)))}
        logits = np.eye(len(CLASSES))[anything(generator, labels)]
        featlab.write_epoch(
            tmp_path / "a", epoch=0, split=split, features=features, labels=labels, logits=logits, classes=CLASSES
        )
    with pytest.warns(featlab.FeatlabWarning):
        table = analyzed(tmp_path / "a", means_from="train", permutations=9).confusion_alignment
    assert table.groupby("split").classes.unique().map(list).to_dict() == {"train": [15], "val": [14]}
    assert table.value.notna().all()


def test_long_vectors_are_scored_one_at_a_time_to_the_same(
    run: tuple[Path, list[Ints], Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confusion_alignment, "SORTED_AT_ONCE", 20)
    with pytest.warns(featlab.FeatlabWarning):
        table = analyzed(run[0]).confusion_alignment
    pd.testing.assert_frame_equal(table, run[2].confusion_alignment, rtol=1e-5, atol=1e-6)


def test_many_epochs_use_fewer_permutations_and_all_rows_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion_alignment, "CONFUSED_PAIRS", Budget(150_000))
    predictions = anything(np.random.default_rng(0), LABELS)
    counted = {(epoch, "val"): confusion(LABELS, predictions, len(CLASSES)) for epoch in range(10)}
    reference = Reference(ClassPermutations.draw(len(CLASSES), 199, SEED))
    cells = len(counted[0, "val"].rows)
    for snapshots, layers in ((10, 1), (20, 2), (200, 20)):
        found = confusion_alignment.ConfusionAlignment.of(counted, reference, snapshots, metrics=2)
        expected = max(99, min(199, 150_000 // (10 * cells * 2 * layers)))
        assert len(found.reference.permutations) == expected
