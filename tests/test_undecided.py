"""Rows whose logits tell no class: refused, or left out of every table alike."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.errors import DataError, FeatlabWarning
from featlab_cli.main import run as featlab_command

CLASSES, DIM = 4, 6
SPACES = {"half": [0, 0, 1, 1]}
COUNTED = ("accuracy", "geometry", "collapse")


def planted(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(rows) % CLASSES)
    weight = rng.normal(size=(CLASSES, DIM))
    features = (weight[labels] + rng.normal(size=(rows, DIM))).astype(np.float32)
    return features, labels, weight, np.zeros(CLASSES)


def write(path, features, labels, logits, classifier=None, *, epoch=0, **layers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatlabWarning)
        featlab.write_epoch(
            path,
            epoch=epoch,
            split="val",
            features={"last": features, **layers},
            labels=labels,
            logits=logits,
            classifier=classifier,
            feeds=("last",) if classifier is not None else (),
            dtype="float32",
        )


def analyzed(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatlabWarning)
        return featlab.analyze(path, permutations=0, cache=False, **options)


@pytest.mark.defect("A4", "logits that are NaN were counted as class 0, without a word")
@pytest.mark.parametrize("rule", ["greedy", "sum"])
@pytest.mark.parametrize("share", [slice(None), slice(0, 1), slice(7, None, 2)])
def test_nan_logits_are_refused(store, rule, share):
    features, labels, weight, _ = planted()
    logits = features @ weight.T
    logits[share, 2] = np.nan
    write(store, features, labels, logits)
    found = (
        rf"logits at epoch 0, split 'val' hold NaN.* in {np.isnan(logits).any(1).sum()} of 400 rows.*--allow-nonfinite"
    )
    with pytest.raises(DataError, match=found):
        analyzed(store, spaces=SPACES, rule=rule)


@pytest.mark.defect("A4", "with allow_nonfinite, accuracy counted rows that geometry left out")
@pytest.mark.parametrize("rule", ["greedy", "sum"])
@pytest.mark.parametrize("spoilt", ["logits", "features", "another layer", "both"])
def test_every_table_counts_the_same_rows(store, rule, spoilt):
    """As if the rows had never been: the same numbers but for rounding."""
    features, labels, weight, bias = planted()
    logits = (features @ weight.T).astype(np.float32)
    other = features[:, ::-1].copy()
    good = np.ones(400, bool)
    if spoilt in ("logits", "both"):
        logits[np.arange(0, 300, 3), np.arange(100) % CLASSES] = np.nan
        logits[1] = -np.inf
        logits[2, 3] = np.inf
        good[:300:3] = good[[1, 2]] = False
    if spoilt in ("features", "both"):
        features[::2, 1] = np.nan
        good[::2] = False
    if spoilt == "another layer":
        other[50:100, 0] = np.inf
        good[50:100] = False
    write(store, features, labels, logits, (weight, bias), other=other)
    write(store + "2", features[good], labels[good], logits[good], (weight, bias), other=other[good])
    options = {"spaces": SPACES, "rule": rule}
    found = analyzed(store, allow_nonfinite=True, **options)
    expected = analyzed(store + "2", **options)
    for name in COUNTED:
        assert set(getattr(found, name).rows) == {good.sum()}
    for name in ("accuracy", "geometry", "collapse", "distances"):
        numbers, right = getattr(found, name), getattr(expected, name)
        if name == "accuracy" and rule == "sum":  # of random groups that are drawn for every few rows
            apart, error = numbers.random_expected - right.random_expected, numbers.random_expected_error
            assert (apart.abs() <= 5 * error + 1e-12).all()
            drawn = ["random_expected", "random_expected_error", "hypernym_gain"]
            numbers, right = numbers.drop(columns=drawn), right.drop(columns=drawn)
        np.testing.assert_allclose(
            numbers.select_dtypes("number"), right.select_dtypes("number"), rtol=1e-5, atol=1e-7, err_msg=name
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        featlab.analyze(store, permutations=0, cache=False, allow_nonfinite=True, **options)
    said = f"{400 - good.sum()} of 400 rows at epoch 0, split 'val' hold NaN or inf"
    assert sum(str(one.message).startswith(said) for one in caught) == 1


def test_rows_are_left_out_block_by_block(small_chunks, store):
    """The same rows, where a snapshot is read in many blocks."""
    features, labels, weight, bias = planted()
    logits = (features @ weight.T).astype(np.float32)
    good = np.ones(400, bool)
    good[250:390:2] = False
    logits[~good, 1] = np.nan
    write(store, features, labels, logits, (weight, bias))
    write(store + "2", features[good], labels[good], logits[good], (weight, bias))
    found = analyzed(store, allow_nonfinite=True, spaces=SPACES, rule="sum")
    expected = analyzed(store + "2", spaces=SPACES, rule="sum")
    for name, columns in {"accuracy": ["rows", "accuracy"], "collapse": ["rows", "nc1_cdnv", "nc4_agreement"]}.items():
        np.testing.assert_allclose(getattr(found, name)[columns], getattr(expected, name)[columns], rtol=1e-5)


def test_which_rows_count_is_a_part_of_what_the_cache_holds(store):
    """A layer alone, then beside one of which rows are left out, on one cache."""
    features, labels, weight, bias = planted()
    other = features[:, ::-1].copy()
    other[50:150, 0] = np.inf
    write(store, features, labels, features @ weight.T, (weight, bias), other=other)
    options = {"allow_nonfinite": True, "permutations": 0, "spaces": SPACES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatlabWarning)
        alone = featlab.analyze(store, layers="last", **options)
        beside = featlab.analyze(store, **options)
        anew = featlab.analyze(store, cache=False, **options)
    assert set(alone.accuracy.rows) == {400}
    for name in COUNTED:
        assert set(getattr(beside, name).rows) == {300}
        pd.testing.assert_frame_equal(getattr(beside, name), getattr(anew, name))


def test_classes_masked_by_minus_infinity_are_decisions(store):
    """-inf says that a class is out of the question; the argmax of the others is as it was."""
    features, labels, weight, _ = planted()
    logits = features @ weight.T
    masked = logits.copy()
    masked[np.arange(400), logits.argmin(1)] = -np.inf
    write(store, features, labels, logits, epoch=0)
    write(store, features, labels, masked, epoch=1)
    accuracy = analyzed(store, spaces=SPACES).accuracy
    for _, rows in accuracy.groupby("space"):
        assert len(set(rows.accuracy)) == 1
    assert set(analyzed(store, spaces=SPACES, rule="sum").accuracy.rows) == {400}


def test_what_the_classifier_makes_of_features_is_told_alike(store):
    """Without logits, predictions come from W h + b."""
    features, labels, weight, bias = planted()
    features[:40, 0] = np.nan
    write(store, features, labels, None, (weight, bias))
    with pytest.raises(DataError):
        analyzed(store)
    results = analyzed(store, allow_nonfinite=True)
    expected = ((features[40:] @ weight.T.astype(np.float32)).argmax(1) == labels[40:]).mean()
    assert results.accuracy.rows.tolist() == [360]
    assert results.accuracy.accuracy.tolist() == pytest.approx([expected])
    assert results.geometry.rows.tolist() == [360]


def test_an_epoch_without_any_such_row_is_named(store):
    features, labels, weight, _ = planted()
    write(store, features, labels, features @ weight.T, epoch=0)
    write(store, features, labels, np.full((400, CLASSES), np.nan), epoch=1)
    with pytest.raises(DataError, match=r"all 400 rows at epoch 1.*--epochs"):
        analyzed(store, allow_nonfinite=True)
    assert analyzed(store, allow_nonfinite=True, epochs=0).accuracy.rows.tolist() == [400]


def test_means_of_another_split_leave_out_its_own_rows(store):
    features, labels, weight, bias = planted()
    good = np.arange(400) % 5 > 0
    logits = (features @ weight.T).astype(np.float32)
    spoilt = logits.copy()
    spoilt[~good] = np.nan
    for where, rows, said in ((store, slice(None), spoilt), (store + "2", good, logits)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FeatlabWarning)
            for split, sub, values in (("train", rows, said[rows]), ("val", slice(None), logits)):
                featlab.write_epoch(
                    where,
                    epoch=0,
                    split=split,
                    features={"last": features[sub]},
                    labels=labels[sub],
                    logits=values,
                    classifier=(weight, bias),
                    feeds=("last",),
                    dtype="float32",
                )
    found = analyzed(store, means_from="train", splits="val", allow_nonfinite=True)
    expected = analyzed(store + "2", means_from="train", splits="val")
    np.testing.assert_allclose(
        found.collapse.select_dtypes("number"), expected.collapse.select_dtypes("number"), rtol=1e-5
    )


def test_what_is_cached_with_and_without_those_rows_is_kept_apart(store):
    features, labels, weight, bias = planted()
    logits = (features @ weight.T).astype(np.float32)
    write(store, features, labels, logits, (weight, bias), other=features * 2)
    first = featlab.analyze(store, permutations=0, allow_nonfinite=True)
    logits[:100] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatlabWarning)
        featlab.write_epoch(
            store,
            epoch=0,
            split="val",
            features={"last": features, "other": features * 2},
            labels=labels,
            logits=logits,
            classifier=(weight, bias),
            feeds=("last",),
            dtype="float32",
            overwrite=True,
        )
        for _ in range(2):
            again = featlab.analyze(store, permutations=0, allow_nonfinite=True)
            assert set(again.geometry.rows) == set(again.accuracy.rows) == {300}
    assert set(first.geometry.rows) == {400}


@pytest.mark.defect("A4", "a commit of logits that are NaN was not remarked upon")
def test_the_commit_and_the_command_say_it(store, monkeypatch, capsys):
    features, labels, _, _ = planted(40)
    with pytest.warns(FeatlabWarning, match="160 NaN in the logits"):
        featlab.write_epoch(
            store, epoch=0, split="val", features={"last": features}, labels=labels, logits=np.full((40, 4), np.nan)
        )
    monkeypatch.setattr(sys, "argv", ["featlab", "analyze", store, "--out", store + ".results", "--no-cache"])
    with pytest.raises(SystemExit) as caught:
        featlab_command()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert "hold NaN" in said and "--allow-nonfinite" in said
    assert "Traceback" not in said
