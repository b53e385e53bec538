"""`nc1_pinv` keeps one rank over the epochs of a layer, and with it its onset."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from reference import onset, snapshot_columns

import featlab
from featlab.errors import FeatlabWarning
from featlab.hierarchy.labelspace import LabelSpace, controls

CLASSES, DIM, ROWS = 40, 32, 12
LABELS = np.repeat(np.arange(CLASSES), ROWS)
PAIRS = (np.arange(CLASSES) // 2).tolist()
COURSE = np.array([1.0, 0.4, 0.2, 0.1])  # of within to between variance, in every direction


def planted(amplitude, share, *, faint=1000.0, seed=0):
    """Features whose class means fill 32 directions, the last of them faintly, and noisier by far than the others.

    Noise is the same in all epochs but for its size, and has no mean in any class; S_W S_B^+ over all directions is
    then proportional to `share`.
    """
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(CLASSES, DIM))
    noise = rng.normal(size=(len(LABELS), DIM))
    noise -= np.stack([noise[k == LABELS].mean(axis=0) for k in range(CLASSES)])[LABELS]
    noise[:, -1] *= np.sqrt(faint)
    scale = np.append(np.ones(DIM - 1), amplitude)
    return ((means[LABELS] + np.sqrt(share) * noise) * scale).astype(np.float32)


def exact_nc1(features, groups=None):
    """By a pseudo-inverse in float64 over all directions, however faint."""
    labels = LABELS if groups is None else np.asarray(groups)[LABELS]
    wide = features.astype(np.float64)
    means = np.stack([wide[labels == k].mean(axis=0) for k in np.unique(labels)])
    centred, residuals = means - means.mean(axis=0), wide - means[labels]
    # Directions in units of their scale: trace(S_W S_B^-1) does not change, and no digit is lost.
    scale = centred.std(axis=0)
    s_b = (centred / scale).T @ (centred / scale) / len(means)
    s_w = (residuals / scale).T @ (residuals / scale) / len(wide)
    return np.trace(np.linalg.solve(s_b, s_w)) / len(means)


def run(path, amplitudes):
    for epoch, (amplitude, share) in enumerate(zip(amplitudes, COURSE, strict=True)):
        featlab.write_epoch(
            path, epoch=epoch, features={"fc": planted(amplitude, share)}, labels=LABELS, dtype="float32"
        )
    return path


def test_the_onset_is_the_exact_one_where_the_rank_moves_between_31_and_32(tmp_path):
    path = run(tmp_path / "run.zarr", [1e-7, 1e-3, 1e-3, 1e-3])
    with pytest.warns(
        FeatlabWarning, match=r"layer 'fc', split 'val', have ranks from 31 to 32 .*\('hyponym'|'hyponym'"
    ):
        found = featlab.analyze(path, permutations=0)
    collapse = found.collapse
    assert collapse.nc1_rank.tolist() == [31] * 4
    assert found.geometry.means_rank.tolist() == [31, 32, 32, 32]
    exact = [exact_nc1(planted(amplitude, share)) for amplitude, share in zip([1e-3] * 4, COURSE, strict=True)]
    assert np.array(exact) / exact[0] == pytest.approx(COURSE, rel=1e-4)
    assert (collapse.nc1_pinv / collapse.nc1_pinv[0]).to_numpy() == pytest.approx(COURSE, rel=1e-3)
    rows = found.onset[found.onset.series == "nc1_pinv"].set_index("fraction")
    for fraction in (0.5, 0.9):
        assert rows.onset[fraction] == pytest.approx(onset(range(4), exact, fraction), rel=1e-3)
    # Each epoch with the rank of its own would have turned round: it comes out 1.03 times as high as it began.
    own = [featlab.analyze(path, epochs=epoch, permutations=0).collapse.nc1_pinv[0] for epoch in range(4)]
    assert own[0] == collapse.nc1_pinv[0]
    assert own[3] > own[0]


def nc1_along(features, groups, rank):
    """trace(S_W S_B^+) / G in float64 along so many of the strongest directions."""
    labels, wide = np.asarray(groups)[LABELS], features.astype(np.float64)
    means = np.stack([wide[labels == g].mean(axis=0) for g in np.unique(labels)])
    residuals = wide - means[labels]
    values, vectors = np.linalg.eigh(np.cov(means.T, ddof=0))
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    return np.square(residuals @ vectors).mean(axis=0) @ (1 / values) / len(means)


def test_controls_keep_one_rank_each(tmp_path):
    """36 groups fill all directions but for the faint one in the first epoch, whatever classes they join."""
    amplitudes = [1e-7, 1e-3, 1e-3, 1e-3]
    path = run(tmp_path / "run.zarr", amplitudes)
    space = LabelSpace.from_groups("fewer", [str(k % 36) for k in range(CLASSES)])
    with pytest.warns(FeatlabWarning, match="ranks from 31 to 32"):
        found = featlab.analyze(path, spaces=[space], permutations=0, controls=4, seed=2)
    rows = found.collapse[found.collapse.space == "fewer"].reset_index(drop=True)
    for epoch, row in rows.iterrows():
        features = planted(amplitudes[epoch], COURSE[epoch])
        drawn = [nc1_along(features, control.labels, 31) for control in controls(space, 4, 2)]
        assert row.nc1_pinv == pytest.approx(nc1_along(features, space.labels, 31), rel=1e-4)
        assert row.nc1_pinv_control == pytest.approx(np.mean(drawn), rel=1e-4)
        assert row.nc1_pinv_control_std == pytest.approx(np.std(drawn, ddof=1), rel=1e-3)
        assert row.nc1_pinv_difference == row.nc1_pinv - row.nc1_pinv_control
        assert row.nc1_pinv_control_low == pytest.approx(np.percentile(drawn, 2.5), rel=1e-4)


def test_epochs_of_one_rank_are_as_they_were(tmp_path):
    path = run(tmp_path / "run.zarr", [1e-3] * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = featlab.analyze(path, spaces={"pairs": PAIRS}, permutations=0, controls=2)
        alone = [featlab.analyze(path, epochs=e, spaces={"pairs": PAIRS}, permutations=0, controls=2) for e in range(4)]
    for epoch, single in enumerate(alone):
        rows = found.collapse[found.collapse.epoch == epoch].reset_index(drop=True)
        assert rows.equals(single.collapse)
    expected = snapshot_columns(planted(1e-3, COURSE[3]), LABELS, np.array(PAIRS))["nc1_pinv"]
    assert found.collapse.query("epoch == 3 and space == 'pairs'").nc1_pinv.iloc[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.filterwarnings("ignore:.*classes have no row:featlab.FeatlabWarning")
def test_epochs_that_lack_classes_do_not_lower_the_rank_of_the_others(tmp_path):
    path, kept = tmp_path / "run.zarr", LABELS < 20
    names = [f"class{k:02d}" for k in range(CLASSES)]
    for epoch, rows in enumerate((np.ones(len(LABELS), bool), kept)):
        features = planted(1.0, COURSE[epoch])[rows]
        featlab.write_epoch(
            path, epoch=epoch, features={"fc": features}, labels=LABELS[rows], dtype="float32", classes=names
        )
    found = featlab.analyze(path, permutations=0).collapse
    assert found.nc1_rank.tolist() == [32, 19]


def test_means_without_any_direction_have_no_say(tmp_path):
    path = tmp_path / "run.zarr"
    for epoch, features in enumerate((np.ones((len(LABELS), 4)), planted(1.0, 0.1))):
        featlab.write_epoch(path, epoch=epoch, features={"fc": features[:, :4]}, labels=LABELS, dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatlabWarning)
        found = featlab.analyze(path, permutations=0).collapse
    assert found.nc1_rank.tolist() == [0, 4]
    assert np.isnan(found.nc1_pinv[0])
    assert found.nc1_pinv[1] > 0
