"""What cannot be told is NaN, or infinite, and never a number made of rounding: through `analyze`."""

from __future__ import annotations

import numpy as np
import pytest

import featlab
from featlab.errors import FeatlabWarning
from featlab.metrics import permutations

COSINES = ["cosine_mean", "cosine_std"]
ANGLES = ["nc2_equiangular", "nc2_max_angle"]


def write(path, features, labels, classes=None, **options):
    names = classes or [f"class{number:02d}" for number in range(int(np.max(labels)) + 1)]
    options = {"epoch": 0, "dtype": "float32", "classes": names, **options}
    featlab.write_epoch(path, features={"last": features}, labels=labels, **options)


def clouds(means, rows, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(means)), rows)
    return (means[labels] + noise * rng.normal(size=(len(labels), means.shape[1]))).astype(np.float32), labels


DEBIASED = {"metrics": ("euclidean",), "linkages": ("average",), "permutations": 0, "debias": True}
SIMPLEX = np.repeat(3 * np.eye(40), 5, axis=1) / np.sqrt(5)  # forty means in 200 dimensions, 18 apart squared


@pytest.mark.defect("B10", "the noise taken off by debias=True came from variances with ddof=0: half of it at two rows")
@pytest.mark.parametrize("rows", [2, 3])
def test_debias_takes_off_what_estimation_adds(tmp_path, rows):
    """Noise of 0.5 in 200 dimensions adds 50 or 33 to the squared distances of noisy means, and debias takes it off."""
    write(tmp_path / "run.zarr", *clouds(SIMPLEX, rows, noise=0.5))
    found = featlab.analyze(tmp_path / "run.zarr", **DEBIASED)
    assert np.square(found.distances.distance).mean() == pytest.approx(18, abs=1)


@pytest.mark.defect("B10", "the noise taken off by debias=True was zero for a class of one row")
def test_debias_of_a_class_with_one_row_is_unknown(tmp_path):
    features, labels = clouds(3 * np.eye(4), 5)
    kept = (labels != 2) | (np.arange(len(labels)) == 2)
    write(tmp_path / "run.zarr", features[kept], labels[kept])
    with pytest.warns(FeatlabWarning, match=r"'class02' has one row at epoch 0, layer 'last'.* debias"):
        tree = featlab.Taxonomy.from_superclasses({"a": ["class00", "class01"], "b": ["class02", "class03"]})
        options = {"metrics": ("euclidean",), "debias": True, "permutations": 9, "hierarchy": tree}
        found = featlab.analyze(tmp_path / "run.zarr", **options)
    alone = (found.distances.class_a == "class02") | (found.distances.class_b == "class02")
    assert found.distances.distance[alone].isna().all()
    assert found.distances.distance[~alone].notna().all()
    assert found.linkage.empty
    assert found.alignment.value.isna().all()


@pytest.mark.defect("B10", "the noise taken off by debias=True came from variances about the means of another split")
def test_debias_with_means_of_another_split(tmp_path):
    """Rows scatter about the means of w others by sigma^2 (1 + 1 / w); such a mean has the noise sigma^2 / w."""
    for split, rows in (("train", 3), ("val", 6)):
        write(tmp_path / "run.zarr", *clouds(SIMPLEX, rows, noise=0.5, seed=rows), split=split)
    found = featlab.analyze(tmp_path / "run.zarr", splits="val", means_from="train", **DEBIASED)
    assert np.square(found.distances.distance).mean() == pytest.approx(18, abs=1)


@pytest.mark.defect("B10", "cosines of a class mean at the mean of all were made of rounding: 1.97 for NaN")
@pytest.mark.parametrize("dim", [6, 64])
def test_a_mean_at_the_mean_of_all_has_no_cosine(tmp_path, dim):
    """Six classes on both sides of an axis each, and one whose rows lie round the middle in pairs."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(dim, 3)))[0].T
    means = np.concatenate([axes, -axes, np.zeros((1, dim))])
    noise = rng.normal(size=(7, 10, dim)) * 0.1
    features = (means[:, None] + np.concatenate([noise, -noise], axis=1) + 0.3).reshape(-1, dim).astype(np.float32)
    labels = np.repeat(np.arange(7), 20)
    write(tmp_path / "run.zarr", features, labels)
    with pytest.warns(FeatlabWarning, match="coincides with the mean of all at epoch 0, layer 'last'"):
        found = featlab.analyze(tmp_path / "run.zarr", permutations=9, spaces={"two": [0, 0, 0, 1, 1, 1, 2]})
    assert found.geometry[COSINES].isna().all(axis=None)
    assert found.collapse[ANGLES].isna().all(axis=None)
    assert found.collapse.nc1_pinv.notna().all()
    cosine = found.distances.query("metric == 'cosine'").set_index(["class_a", "class_b"]).distance
    assert cosine.xs("class06", level="class_b").isna().all()
    assert set(found.linkage.metric) == {"euclidean"}


@pytest.mark.defect("B10", "class means that coincide gave nc1_cdnv 7e29 for infinity, and an onset")
@pytest.mark.filterwarnings("ignore:the class means of layer 'last'.* have ranks from 3 to 4:featlab.FeatlabWarning")
@pytest.mark.parametrize("dim", [4, 64])
def test_means_that_coincide_have_an_infinite_cdnv_and_no_onset(tmp_path, dim):
    rng = np.random.default_rng(0)
    for epoch in range(3):
        features, labels = clouds((1 + epoch) * rng.normal(size=(5, dim)), 20, noise=1.0, seed=epoch)
        if epoch == 0:
            features[labels == 3] = features[labels == 1][::-1]  # the same rows in another order
        write(tmp_path / "run.zarr", features, labels, epoch=epoch)
    found = featlab.analyze(tmp_path / "run.zarr", permutations=0)
    assert np.isinf(found.collapse.nc1_cdnv).tolist() == [True, False, False]
    assert found.onset.query("series == 'nc1_cdnv'").onset.isna().all()


@pytest.mark.defect("B10", "evolution scores over at most one common class were 0 for NaN")
@pytest.mark.parametrize("common", [0, 1])
@pytest.mark.filterwarnings("ignore:.*classes have no row in some snapshot:featlab.FeatlabWarning")
def test_evolution_over_too_few_common_classes_is_unknown(tmp_path, common):
    features, labels = clouds(np.random.default_rng(0).normal(size=(9, 16)), 6)
    for epoch, kept in ((0, labels < 4 + common), (1, labels >= 4)):
        write(tmp_path / "run.zarr", features[kept], labels[kept], epoch=epoch, classes=list("abcdefghi"))
    found = featlab.analyze(tmp_path / "run.zarr", permutations=0)
    scores = {"cka_linear", "procrustes", "evolution_pearson", "evolution_spearman", "evolution_cophenetic"}
    assert set(found.evolution.score) == scores
    assert found.evolution.value.isna().all()


@pytest.mark.defect("B10", "z on a constant null was 1 or 7e16 for NaN")
def test_a_constant_null_has_no_z(tmp_path):
    for null in (np.full(9, 0.1 + 0.2), np.r_[np.full(8, 0.3), 0.1 + 0.2]):
        judged = permutations.judge(0.3, null)
        assert np.isnan(judged.z)
        assert judged.p == 1
    features, labels = clouds(np.random.default_rng(0).normal(size=(3, 8)), 6)
    write(tmp_path / "run.zarr", features, labels)
    found = featlab.analyze(tmp_path / "run.zarr", spaces={"odd": [0, 1, 1]}, permutations=19)
    same = found.alignment.groupby(["metric", "linkage", "score"], dropna=False).null_std.transform("max") < 1e-9
    assert found.alignment[same].z.isna().all()


@pytest.mark.defect("B10", "hierarchical precision and recall of the classes were NaN as soon as spaces were named")
def test_hierarchical_scores_of_the_classes_do_not_depend_on_the_choice_of_spaces(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    logits = rng.normal(size=(60, 4)) + 2 * np.eye(4)[labels]
    names = ["shark", "trout", "baby", "boy"]
    write(tmp_path / "run.zarr", rng.normal(size=(60, 8)), labels, classes=names, logits=logits)
    tree = featlab.Taxonomy.from_superclasses({"fish": ["shark", "trout"], "people": ["baby", "boy"]})
    columns = ["hierarchical_precision", "hierarchical_recall", "hierarchical_f"]
    default = featlab.analyze(tmp_path / "run.zarr", hierarchy=tree, permutations=0).accuracy
    for spaces in (["superclass"], ["cut2"], ["hyponym"], {"odd": [0, 1, 0, 1]}):
        chosen = featlab.analyze(tmp_path / "run.zarr", hierarchy=tree, permutations=0, spaces=spaces).accuracy
        assert chosen.query("space == 'hyponym'")[columns].equals(default.query("space == 'hyponym'")[columns])
    assert default.query("space == 'hyponym'")[columns].notna().all(axis=None)


@pytest.mark.defect("B10", "nc1_pinv, cosines and angles of class means that all coincide were made of rounding")
@pytest.mark.parametrize("dim", [4, 64])
@pytest.mark.filterwarnings("ignore::featlab.FeatlabWarning")
def test_classes_of_the_same_rows_have_no_geometry(tmp_path, dim):
    """Every class has the same rows, each time in another order."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, dim)) + 5
    features = np.concatenate([rng.permutation(rows) for _ in range(6)]).astype(np.float32)
    write(tmp_path / "run.zarr", features, np.repeat(np.arange(6), 30))
    found = featlab.analyze(tmp_path / "run.zarr", permutations=0, spaces={"two": [0, 0, 0, 0, 1, 1]})
    assert found.geometry[[*COSINES, "mean_norm_cv", "means_participation"]].isna().all(axis=None)
    assert found.collapse[["nc1_pinv", "nc2_equinorm", "nc2_etf", *ANGLES]].isna().all(axis=None)
    assert np.isinf(found.collapse[["nc1_cdnv", "nc1_trace_ratio"]]).all(axis=None)
    assert (found.geometry[["means_rank", "between_trace", "snr"]] == 0).all(axis=None)
