"""How the tables of `analyze` are put together, against references written from the formulas (tests/reference.py)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from reference import (
    accuracy_columns,
    class_means,
    hsic,
    leave_one_out,
    line_of,
    mean_distances,
    onset,
    snapshot_columns,
    tree_distance,
    tree_scores,
)
from scipy.cluster.hierarchy import cophenet, cut_tree, linkage
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

import featlab
from featlab.errors import FeatlabWarning
from featlab.hierarchy.labelspace import LabelSpace, controls
from featlab.metrics.bias import onset_interval

CLASSES = ["pug", "lab", "cat", "car", "bus", "ship", "rock"]
PARENTS = {
    **{"pug": "dog", "lab": "dog", "dog": "animal", "cat": "animal", "animal": "all"},
    **{"car": "vehicle", "bus": "vehicle", "ship": "vehicle", "vehicle": "all", "rock": "all"},
}
TREE = featlab.Taxonomy.from_parents(PARENTS)
SPACES = {
    "hyponym": CLASSES,
    "depth1": ["animal", "animal", "animal", "vehicle", "vehicle", "vehicle", "rock"],
    "depth2": ["dog", "dog", "cat", "car", "bus", "ship", "rock"],
}
SEVEN, DIM = len(CLASSES), 10
pytestmark = pytest.mark.filterwarnings("ignore:unbalanced label spaces were asked for:featlab.FeatlabWarning")


def write(path, features, labels, epoch=0, **options):
    options = {"dtype": "float32", "classes": CLASSES, **options}
    featlab.write_epoch(path, epoch=epoch, features={"last": features}, labels=labels, **options)


def clouds(seed, counts, spread=1.0, dim=DIM, noise=1.0):
    """So many rows of each class, in any order, float32."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    means = spread * rng.normal(size=(len(counts), dim))
    return (means[labels] + noise * rng.normal(size=(len(labels), dim))).astype(np.float32), labels


@pytest.fixture(scope="module")
def learning(tmp_path_factory):
    """Three epochs in two splits whose logits grow more often right, and what they say."""
    path, said = tmp_path_factory.mktemp("tables") / "run.zarr", {}
    rng = np.random.default_rng(0)
    for epoch, strength in ((0, 0.0), (2, 1.5), (5, 2.5)):
        for split, rows in (("train", 90), ("val", 140)):
            labels = rng.integers(0, SEVEN, rows)
            logits = rng.normal(size=(rows, SEVEN)) + strength * np.eye(SEVEN)[labels]
            features = rng.normal(size=(rows, DIM)) + strength * np.eye(SEVEN, DIM)[labels]
            write(path, features, labels, epoch, split=split, logits=logits)
            said[epoch, split] = labels, logits.argmax(axis=1)
    return featlab.analyze(path, hierarchy=TREE, spaces=["depth1", "depth2"], permutations=0), said


def test_accuracy_and_its_company_equal_their_formulas(learning):
    results, said = learning
    table = results.accuracy.set_index(["epoch", "split", "space"])
    assert len(table) == 6 * len(SPACES)
    for (epoch, split), (labels, predictions) in said.items():
        for space, groups in SPACES.items():
            row = table.loc[epoch, split, space]
            for column, value in accuracy_columns(labels, predictions, CLASSES, PARENTS, groups).items():
                assert row[column] == pytest.approx(value, abs=1e-12), (epoch, split, space, column)
            assert row.random_expected_error == 0


def test_accuracy_is_put_beside_that_of_the_last_epoch_of_its_split_and_space(learning):
    results, said = learning
    table = results.accuracy.set_index(["epoch", "split", "space"])
    for split in ("train", "val"):
        for space, groups in SPACES.items():
            final = accuracy_columns(*said[5, split], CLASSES, PARENTS, groups)["accuracy"]
            for epoch in (0, 2, 5):
                here = accuracy_columns(*said[epoch, split], CLASSES, PARENTS, groups)["accuracy"]
                row = table.loc[epoch, split, space]
                assert row.relative_accuracy == pytest.approx(here / final, rel=1e-12)
                assert row.residual_error == pytest.approx(1 - here / final, rel=1e-12)
    assert table.relative_accuracy.nunique() > 10


def test_without_mistakes_or_right_answers_at_the_end_there_is_no_ratio(tmp_path):
    labels = np.arange(2 * SEVEN) % SEVEN
    for epoch, said in ((0, labels), (1, (labels + 1) % SEVEN)):
        write(
            tmp_path / "run.zarr", np.random.default_rng(0).normal(size=(14, 4)), labels, epoch, logits=np.eye(7)[said]
        )
    row = featlab.analyze(tmp_path / "run.zarr", hierarchy=TREE, spaces=[], permutations=0).accuracy.set_index("epoch")
    assert np.isnan(row.mistake_severity[0])
    assert row.relative_accuracy.isna().all()
    assert row.residual_error.isna().all()


LACKING = {0: [20, 20, 20, 20, 20, 20, 20], 1: [12, 0, 9, 20, 3, 8, 5], 4: [6, 7, 0, 30, 2, 0, 11]}


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """Three epochs that lack different classes, with imbalance, and their rows."""
    path = tmp_path_factory.mktemp("lacking") / "run.zarr"
    rows = {epoch: clouds(epoch, counts) for epoch, counts in LACKING.items()}
    for epoch, (features, labels) in rows.items():
        write(path, features, labels, epoch)
    with pytest.warns(FeatlabWarning, match=r"3 of 7 classes have no row in some snapshot \(lab, cat, ship\)"):
        results = featlab.analyze(path, hierarchy=TREE, spaces=["depth1", "depth2"], permutations=19, seed=3)
    return results, rows


def test_columns_over_epochs_that_lack_different_classes(lacking):
    results, rows = lacking
    tables = [results[name].set_index(["epoch", "space"]) for name in ("geometry", "collapse")]
    for epoch, (features, labels) in rows.items():
        for space, groups in SPACES.items():
            expected = snapshot_columns(features, labels, np.unique(groups, return_inverse=True)[1])
            found = {**tables[0].loc[epoch, space], **tables[1].loc[epoch, space]}
            for column, value in expected.items():
                assert found[column] == pytest.approx(value, rel=1e-5, abs=1e-9), (epoch, space, column)


def test_distances_of_imbalanced_and_absent_classes(lacking):
    """Cosines are of means less the mean of the class means, whatever rows stand behind each."""
    results, rows = lacking
    for (epoch, metric), table in results.distances.groupby(["epoch", "metric"]):
        expected = mean_distances(*rows[epoch], metric)
        found = dict(zip(zip(table.class_a, table.class_b, strict=True), table.distance, strict=True))
        named = {(CLASSES[one], CLASSES[other]): value for (one, other), value in expected.items()}
        assert found == pytest.approx(named, rel=1e-6)


def cophenetic(distances, metric, method):
    values = np.array(list(distances.values()))
    tree = linkage(np.sqrt(2 * values) if (metric, method) == ("cosine", "ward") else values, method)
    return dict(zip(distances, cophenet(tree), strict=True))


def test_evolution_over_the_classes_that_both_epochs_have(lacking):
    results, rows = lacking
    assert set(zip(results.evolution.epoch, results.evolution.reference, strict=True)) == {
        (0, "last"), (1, "last"), (1, "previous"), (4, "previous"),
    }  # fmt: skip
    other = {(0, "last"): 4, (1, "last"): 4, (1, "previous"): 0, (4, "previous"): 1}
    for row in results.evolution.itertuples():
        pair = (rows[row.epoch], rows[other[row.epoch, row.reference]])
        common = sorted(set(pair[0][1]) & set(pair[1][1]))
        if row.score in ("cka_linear", "procrustes"):
            means = [class_means(*side) for side in pair]
            one, two = (m[[present.index(c) for c in common]] for present, m, _, _ in means)
        if row.score == "cka_linear":
            k, m = one @ one.T, two @ two.T
            expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
        elif row.score == "procrustes":
            one, two = (side - side.mean(axis=0) for side in (one, two))
            one, two = one / np.linalg.norm(one), two / np.linalg.norm(two)
            expected = np.linalg.norm(one @ orthogonal_procrustes(one, two)[0] - two)
        else:
            sides = [mean_distances(*side, row.metric) for side in pair]
            if row.score == "evolution_cophenetic":
                sides = [cophenetic(side, row.metric, row.linkage) for side in sides]
            keys = [(a, b) for a in common for b in common if a < b]
            correlate = scipy.stats.spearmanr if row.score == "evolution_spearman" else scipy.stats.pearsonr
            expected = correlate(*([side[key] for key in keys] for side in sides)).statistic
        assert row.value == pytest.approx(expected, abs=1e-5), row


def orders_of(present, permutations, seed):
    """The permutations of all classes, restricted to those that are there and numbered among these."""
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(SEVEN), (permutations, 1)), axis=1)
    return [np.searchsorted(present, order[np.isin(order, present)]) for order in orders]


def test_scores_among_the_classes_that_are_there(lacking):
    results, rows = lacking
    table = results.alignment[results.alignment.score.isin(["rsa_pearson", "rsa_spearman", "cophenetic_spearman"])]
    for row in table.itertuples():
        distances = mean_distances(*rows[row.epoch], row.metric)
        if row.score == "cophenetic_spearman":
            distances = cophenetic(distances, row.metric, row.linkage)
        present = sorted({number for pair in distances for number in pair})
        tree = np.zeros((len(present), len(present)))
        for i, one in enumerate(present):
            for j, other in enumerate(present):
                tree[i, j] = tree_distance(PARENTS, CLASSES[one], CLASSES[other], row.taxonomy_distance)
        values = list(distances.values())
        correlate = scipy.stats.pearsonr if row.score == "rsa_pearson" else scipy.stats.spearmanr
        assert row.value == pytest.approx(correlate(values, squareform(tree)).statistic, abs=1e-6), row
        null = [
            correlate(values, squareform(tree[np.ix_(order, order)])).statistic
            for order in orders_of(present, 19, seed=3)
        ]
        assert row.null_mean == pytest.approx(np.mean(null), abs=1e-6)
        assert row.null_std == pytest.approx(np.std(null, ddof=1), abs=1e-6)
        assert row.p == (1 + np.sum(np.array(null) >= row.value - 1e-9)) / 20


def test_tree_scores_among_the_classes_that_are_there(lacking):
    results, rows = lacking
    table, checked = results.alignment, set()
    for (epoch, metric), part in table.groupby(["epoch", "metric"]):
        distances = mean_distances(*rows[epoch], metric)
        present = sorted({number for pair in distances for number in pair})
        for method in ("average", "ward"):
            merged = cophenetic(distances, metric, method)
            for kind in ("path", "lca_height"):
                expected = tree_scores(present, distances, merged, PARENTS, CLASSES, kind)
                for score, value in expected.items():
                    row = part[(part.score == score) & part.linkage.isin([method, None])]
                    row = row[row.taxonomy_distance.isin([kind, None])]
                    assert row.value.tolist() == pytest.approx([value], abs=1e-9), (epoch, metric, method, score)
                    checked.add(score)
    assert len(checked) == 5


@pytest.mark.filterwarnings("ignore:.*classes have no row:featlab.FeatlabWarning")
def test_epochs_that_lack_as_many_but_other_classes(tmp_path):
    """Nearest classes, and all permutations of them, are of the classes that this epoch has."""
    rows = {}
    for epoch, lacks in enumerate((1, 3, 6)):
        rows[epoch] = clouds(epoch, [0 if number == lacks else 6 for number in range(SEVEN)])
        write(tmp_path / "run.zarr", *rows[epoch], epoch)
    options = {"metrics": ("euclidean",), "distances": ("path",), "spaces": []}
    found = featlab.analyze(tmp_path / "run.zarr", hierarchy=TREE, permutations=19, seed=2, **options).alignment
    found = found[found.score == "nearest_neighbor_distance"].set_index("epoch")
    for epoch, held in rows.items():
        present = sorted(set(held[1].tolist()))
        tree = np.array([[tree_distance(PARENTS, CLASSES[i], CLASSES[j], "path") for j in present] for i in present])
        square = squareform(list(mean_distances(*held, "euclidean").values()))
        nearest = np.where(np.eye(6), np.inf, square).argmin(axis=1)
        orders = [np.arange(6), *orders_of(present, 19, seed=2)]
        value, *null = (np.mean([tree[order[i], order[nearest[i]]] for i in range(6)]) for order in orders)
        row = found.loc[epoch]
        assert (row.value, row.null_mean) == pytest.approx((value, np.mean(null)))
        assert row.null_std == pytest.approx(np.std(null, ddof=1))
        assert row.z == pytest.approx((value - np.mean(null)) / np.std(null, ddof=1))
        assert row.p == (1 + np.sum(np.array(null) <= value + 1e-9)) / 20
        assert row.permutations == 19


def test_how_trees_fit_their_distances_against_each_permutation(tmp_path):
    held = clouds(3, [6] * SEVEN)
    write(tmp_path / "run.zarr", *held)
    found = featlab.analyze(tmp_path / "run.zarr", permutations=19, seed=4).alignment
    for row in found[found.score == "cophenetic_self"].itertuples():
        distances = mean_distances(*held, row.metric)
        merged = squareform(list(cophenetic(distances, row.metric, row.linkage).values()))
        value, *null = (
            scipy.stats.pearsonr(list(distances.values()), squareform(merged[np.ix_(order, order)])).statistic
            for order in (np.arange(SEVEN), *orders_of(np.arange(SEVEN), 19, seed=4))
        )
        assert (row.value, row.null_mean) == pytest.approx((value, np.mean(null)), abs=1e-6)
        assert row.null_std == pytest.approx(np.std(null, ddof=1), abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*classes have no row:featlab.FeatlabWarning")
def test_courses_and_intervals_where_a_class_is_absent(tmp_path):
    """Rows count alike, whatever class they are of, and each class keeps its own."""
    spaces = {"hyponym": np.arange(9), "a": np.array([0, 0, 1, 2, 3, 4, 5, 6, 6])}
    drawn = controls(LabelSpace.from_groups("a", [str(group) for group in spaces["a"]]), 3, seed=0)
    spaces |= {control.name: control.labels for control in drawn}
    rng = np.random.default_rng(1)
    means, epochs = rng.normal(size=(9, DIM)), [0, 1, 3, 4]
    right = {(series, space): [] for series in ("accuracy", "ncc_accuracy") for space in spaces}
    counts = []
    for epoch, strength in zip(epochs, (0.1, 0.5, 0.8, 1.2), strict=True):
        labels = np.repeat(np.arange(9), rng.integers(18, 30, 9))
        labels = labels[labels != 1]
        features = (strength * means[labels] + rng.normal(size=(len(labels), DIM))).astype(np.float32)
        logits = rng.normal(size=(len(labels), 9)) + 2 * strength * np.eye(9)[labels]
        write(tmp_path / "run.zarr", features, labels, epoch, logits=logits, classes=list("abcdefghi"))
        counts.append(np.bincount(labels, minlength=9))
        wide = features.astype(np.float64)
        for space, groups in spaces.items():
            held = np.unique(groups[labels])
            middles = np.stack([wide[groups[labels] == group].mean(axis=0) for group in held])
            near = np.array(leave_one_out(wide, np.searchsorted(held, groups[labels]), middles))
            told = groups[logits.argmax(axis=1)] == groups[labels]
            for series, hits in (("accuracy", told), ("ncc_accuracy", near)):
                right[series, space].append(np.bincount(labels[hits], minlength=9))
    options = {"spaces": {"a": spaces["a"].tolist()}, "controls": 3, "permutations": 0}
    found = featlab.analyze(tmp_path / "run.zarr", **options)
    counted = {key: np.sum(hits, axis=1) / np.sum(counts, axis=1) for key, hits in right.items()}
    for (series, space), hits in right.items():
        if space not in ("hyponym", "a"):
            continue
        rows = found.onset[(found.onset.series == series) & (found.onset.space == space)].set_index("fraction")
        for fraction in (0.5, 0.9):
            interval = onset_interval(
                np.array(epochs, float), np.stack(hits), np.stack(counts), fraction, groups=spaces["a"], seed=0
            )
            row = rows.loc[fraction]
            assert row.onset == pytest.approx(onset(epochs, counted[series, space], fraction))
            assert (row.low, row.high) == pytest.approx(interval, nan_ok=True)
            assert np.isnan(interval).any() == (fraction == 0.9)
            others = [onset(epochs, counted[series, control.name], fraction) for control in drawn]
            expected = np.median(others) if space == "a" else float("nan")
            assert row.control_onset == pytest.approx(expected, nan_ok=True), (series, space)


def test_columns_of_controls_are_those_of_their_random_groups(tmp_path):
    held = clouds(7, [12, 5, 9, 20, 7, 8, 11], spread=0.7)
    write(tmp_path / "run.zarr", *held)
    spaces = {"a": [0, 0, 0, 1, 1, 1, 2], "b": [0, 0, 1, 1, 2, 2, 2]}
    found = featlab.analyze(tmp_path / "run.zarr", spaces=spaces, controls=3, seed=5, permutations=0)
    tables = [found[name].set_index("space") for name in ("geometry", "collapse")]
    for name, groups in spaces.items():
        space = LabelSpace.from_groups(name, [str(group) for group in groups])
        drawn = [snapshot_columns(*held, each.labels) for each in controls(space, 3, seed=5)]
        row = {**tables[0].loc[name], **tables[1].loc[name]}
        for column, value in snapshot_columns(*held, space.labels).items():
            values = [each[column] for each in drawn]
            expected = np.mean(values), np.std(values, ddof=1), value - np.mean(values)
            columns = [row[f"{column}{suffix}"] for suffix in ("_control", "_control_std", "_difference")]
            assert columns == pytest.approx(expected, rel=1e-4, abs=1e-8), (name, column)
            low, high = (row[f"{column}_control_{end}"] for end in ("low", "high"))
            assert [low, high] == pytest.approx(np.percentile(values, [2.5, 97.5]), rel=1e-4, abs=1e-8)
            beyond = min(sum(each <= value + 1e-9 for each in values), sum(each >= value - 1e-9 for each in values))
            assert row[f"{column}_control_p"] == min(1, 2 * (beyond + 1) / 4), (name, column)


def test_without_a_classifier_there_is_no_agreement_with_it(tmp_path):
    write(tmp_path / "run.zarr", *clouds(3, [6] * SEVEN))
    found = featlab.analyze(tmp_path / "run.zarr", hierarchy=TREE, spaces=["depth1"], permutations=0)
    assert found.collapse[["nc3_duality", "nc4_agreement", "nc4_agreement_control"]].isna().all(axis=None)
    assert found.collapse.ncc_accuracy.notna().all()
    assert found.accuracy.empty


def test_corrected_p_over_several_epochs_layers_and_spaces(tmp_path):
    """Each family, a score in a space, is corrected over its own epochs and layers by the best of each permutation."""
    spaces = {"a": [0, 0, 1, 1, 2, 2, 2], "b": [0, 1, 0, 1, 0, 1, 0]}
    rng = np.random.default_rng(5)
    rows = {}
    for epoch in (0, 1, 2):
        labels = np.arange(70) % SEVEN
        features = {layer: rng.normal(size=(70, DIM)).astype(np.float32) for layer in ("one", "two")}
        featlab.write_epoch(
            tmp_path / "run.zarr", epoch=epoch, features=features, labels=labels, dtype="float32", classes=CLASSES
        )
        rows |= {(epoch, layer): (values, labels) for layer, values in features.items()}
    options = {"metrics": ("euclidean",), "linkages": ("average",), "distances": ("path",)}
    found = featlab.analyze(tmp_path / "run.zarr", hierarchy=TREE, spaces=spaces, permutations=39, seed=7, **options)
    orders = [np.arange(SEVEN), *orders_of(np.arange(SEVEN), 39, seed=7)]
    tree = np.array([[tree_distance(PARENTS, one, other, "path") for other in CLASSES] for one in CLASSES])
    courses = {}
    for place, held in rows.items():
        distances = list(mean_distances(*held, "euclidean").values())
        courses["rsa_spearman", None, place] = [
            scipy.stats.spearmanr(distances, squareform(tree[np.ix_(order, order)])).statistic for order in orders
        ]
        for name, groups in spaces.items():
            cut = cut_tree(linkage(distances, "average"), n_clusters=len(set(groups))).ravel()
            courses["ari", name, place] = [adjusted_rand_score(np.array(groups)[order], cut) for order in orders]
    table = found.alignment.set_index(["score", "epoch", "layer"])
    checked = 0
    for (score, space, place), scores in courses.items():
        row = table.loc[[(score, *place)]]
        row = row[row.space == space].iloc[0] if space else row.iloc[0]
        assert row.value == pytest.approx(scores[0], abs=1e-6)
        assert row.p == np.mean(np.array(scores) >= scores[0] - 1e-9)
        family = np.array([other for (s, g, _), other in courses.items() if (s, g) == (score, space)])
        best = np.r_[scores[0], family[:, 1:].max(axis=0)]
        assert row.p_corrected == np.mean(best >= scores[0] - 1e-9), (score, space, place)
        checked += row.p_corrected != row.p
    assert checked > 6


def test_two_seeds_differ_and_one_does_not(tmp_path):
    # forty groups are enough for intervals that are resampled
    features, labels = clouds(0, [5] * 80, spread=0.0)
    directions = np.random.default_rng(9).normal(size=(80, DIM)).astype(np.float32)
    for epoch in range(4):
        said = np.random.default_rng(epoch).normal(size=(len(labels), 80)) + epoch * np.eye(80)[labels]
        moved = features + epoch / 2 * directions[labels]
        names = [f"class{number:02d}" for number in range(80)]
        write(tmp_path / "run.zarr", moved, labels, epoch, logits=said, classes=names)
    options = {"spaces": {"a": (np.arange(80) % 40).tolist()}, "permutations": 29, "controls": 3}
    one, again, two = (featlab.analyze(tmp_path / "run.zarr", seed=seed, **options) for seed in (0, 0, 1))
    for table, columns in {
        "alignment": ["null_mean", "null_std"],
        "collapse": ["nc1_pinv_control", "ncc_accuracy_control"],
        "geometry": ["snr_control"],
        "onset": ["low", "high", "control_onset"],
    }.items():
        for column in columns:
            first, same, other = (found[table][column].to_numpy(float) for found in (one, again, two))
            np.testing.assert_array_equal(first, same)
            assert not np.array_equal(first, other, equal_nan=True), (table, column)
    for series in ("accuracy", "ncc_accuracy"):
        first, other = (found.onset[found.onset.series == series].low for found in (one, two))
        assert first.notna().any()
        assert not np.array_equal(first, other, equal_nan=True), series
    assert one.alignment.value.equals(two.alignment.value)


@pytest.mark.parametrize("counts", [[30] * SEVEN, [2, 3, 5, 40, 9, 100, 4]])
def test_debiased_distances_equal_their_formula(tmp_path, counts):
    features, labels = clouds(2, counts, spread=0.4)
    write(tmp_path / "run.zarr", features, labels)
    found = featlab.analyze(tmp_path / "run.zarr", metrics=("euclidean",), debias=True, permutations=0)
    expected = mean_distances(features, labels, "euclidean", debias=True)
    assert found.distances.distance.to_numpy() == pytest.approx(list(expected.values()), rel=1e-5, abs=1e-9)
    plain = mean_distances(features, labels, "euclidean")
    assert (np.array(list(expected.values())) < np.array(list(plain.values()))).all()


@pytest.mark.parametrize("absent", [None, "train", "val"])
@pytest.mark.filterwarnings("ignore:.*classes have no row:featlab.FeatlabWarning")
@pytest.mark.filterwarnings("ignore:.*rows of a snapshot belong to classes that have no mean:featlab.FeatlabWarning")
def test_columns_with_means_from_another_split(tmp_path, absent):
    rng = np.random.default_rng(4)
    means = rng.normal(size=(SEVEN, DIM))
    weight, bias = rng.normal(size=(SEVEN, DIM)).astype(np.float32), rng.normal(size=SEVEN).astype(np.float32)
    rows = {}
    for split, counts, shift in (("train", [9, 30, 12, 5, 5, 8, 20], 0.0), ("val", [6, 3, 10, 7, 2, 4, 9], 0.3)):
        labels = np.repeat(np.arange(SEVEN), counts)
        labels = labels[labels != 5] if split == absent else labels
        features = (means[labels] + shift + rng.normal(size=(len(labels), DIM))).astype(np.float32)
        write(tmp_path / "run.zarr", features, labels, split=split, classifier=(weight, bias), feeds="last")
        rows[split] = features, labels
    found = featlab.analyze(
        tmp_path / "run.zarr", splits="val", means_from="train", hierarchy=TREE, spaces=["depth1"], permutations=0
    )
    for space in ("hyponym", "depth1"):
        groups = np.unique(SPACES[space], return_inverse=True)[1]
        expected = snapshot_columns(*rows["val"], groups, (weight, bias), source=rows["train"])
        row = {
            **found.geometry.set_index("space").loc[space],
            **found.collapse.set_index("space").loc[space],
        }
        for column, value in expected.items():
            assert row[column] == pytest.approx(value, rel=1e-5, abs=1e-9), (space, column)


def test_float16_that_overflows_is_left_out_and_what_is_near_it_is_not(tmp_path):
    """Sums of values near 65,504 stay finite; beyond it a value is inf on disk, is counted, and its row left out."""
    features, labels = clouds(6, [40] * SEVEN)
    features = (features * 3000 + 40_000).astype(np.float32).clip(-65_000, 65_000)
    features[5, 2], features[17, 0] = 7e4, -1e6
    with pytest.warns(FeatlabWarning, match="float16"):
        write(tmp_path / "run.zarr", features, labels, dtype="float16")
    with pytest.raises(featlab.errors.DataError, match="0 NaN and 2 infinite values"):
        featlab.analyze(tmp_path / "run.zarr", permutations=0)
    with pytest.warns(FeatlabWarning, match="left out"):
        found = featlab.analyze(tmp_path / "run.zarr", permutations=0, allow_nonfinite=True)
    kept = np.abs(features).max(axis=1) < 65_504
    expected = snapshot_columns(features[kept].astype(np.float16), labels[kept])
    for column, value in expected.items():
        row = {**found.geometry.iloc[0], **found.collapse.iloc[0]}
        assert row[column] == pytest.approx(value, rel=1e-5, abs=1e-9), column
    assert found.geometry.rows.tolist() == [len(labels) - 2]


def test_bfloat16_is_rounded_to_even_and_analysed_as_it_is_stored(tmp_path):
    """Values halfway between two of bfloat16 among them, of either sign, and some that round up to a power of two."""
    features, labels = clouds(8, [40] * SEVEN)
    features[:20] = np.float32(1 + 2**-8) * np.sign(features[:20])  # halfway above 1: down to the even 1
    features[20:40] = np.float32(1 + 3 * 2**-8)  # halfway above 1 + 2^-7: up to the even 1 + 2^-6
    features[40] = np.float32(2 - 2**-9)
    write(tmp_path / "run.zarr", features, labels, dtype="bfloat16")
    exponent = np.floor(np.log2(np.abs(features.astype(np.float64))))
    unit = 2.0 ** (exponent - 7)  # bfloat16 has 8 significant bits
    stored = np.rint(features / unit) * unit  # rint rounds halves to even
    assert (stored[:40] == np.where(np.arange(40)[:, None] < 20, np.sign(features[:40]), 1 + 2.0**-6)).all()
    found = featlab.analyze(tmp_path / "run.zarr", permutations=0)
    row = {**found.geometry.iloc[0], **found.collapse.iloc[0]}
    for column, value in snapshot_columns(stored, labels).items():
        assert row[column] == pytest.approx(value, rel=1e-5, abs=1e-9), column


def test_the_line_of_the_references_tree():
    assert line_of(PARENTS, "pug") == ["pug", "dog", "animal", "all"]
    assert tree_distance(PARENTS, "pug", "cat", "path") == 3
    assert tree_distance(PARENTS, "pug", "car", "lca_height") == 3
