"""The verdict: each claim rests on numbers of the tables, and nothing is claimed that these do not carry."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import featlab
from featlab.demo.planted import PlantedCourse, planted_tree, write_course
from featlab.results.verdict import COLUMNS, Interval, Tables, make_verdict, order_claim
from featlab_cli.show import command as show_command

NAN = math.nan
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w])")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Nine kinds of three classes, told apart at epoch 1 by their three families, at 2 by kind, and at 4 by class."""
    tree = planted_tree(depth=3, branching=3, dim=48, samples_per_class=20, noise=0.05)
    path = tmp_path_factory.mktemp("verdict") / "run.zarr"
    for _ in write_course(path, PlantedCourse(tree, onsets=(1, 2, 4), epochs=5)):
        pass
    return featlab.analyze(path, hierarchy=tree.taxonomy, permutations=99)


@pytest.fixture(scope="module")
def saved(planted, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "a.results"
    planted.save(path)
    return str(path)


def headline(results, layer=None, split="val"):
    table = results["verdict"]
    mine = table[(table.split == split) & (table.layer.isna() if layer is None else table.layer == layer)]
    return mine[mine.space.isna() & mine.series.isin(["accuracy", "ncc_accuracy"])].iloc[0]


def test_a_planted_order_is_the_headline(planted):
    told = headline(planted)
    assert (told.claim, told.against) == ("broad_first", "classes")
    assert told.sentence.startswith("Broad before specific: accuracy was half-way ")
    assert 0 < told.low <= told.difference <= told.high


def test_columns_and_places(planted):
    verdict = planted["verdict"]
    assert list(verdict.columns) == COLUMNS
    pd.testing.assert_frame_equal(verdict, planted.verdict())
    places = verdict.drop_duplicates(["split", "layer"])
    assert places.layer.tolist() == [None, "layer1", "layer2", "layer3"]
    assert verdict.sentence.str.endswith(".").all()
    assert not verdict.sentence.str.contains("nan|None|\n").any()


def test_loaded_results_have_the_same_verdict(planted, saved):
    pd.testing.assert_frame_equal(featlab.load_results(saved).verdict(), planted.verdict())


def numbers_of(row, results):
    """All numbers that a sentence may tell: of its row, of the onsets that it compares, and of the alignment tables."""
    known = [row.difference, row.low, row.high, 95.0]
    place = {"split": row.split, "layer": row.layer}

    def at(table):
        mine = table[table.split == place["split"]]
        return mine[mine.layer.isna() if place["layer"] is None else mine.layer == place["layer"]]

    for table in (results.onset, results.precedence, results.trend):
        mine = at(table)
        mine = mine[(mine.series == row.series) & (mine.fraction == 0.5)]
        if "space" in mine and row.space is not None:
            mine = mine[mine.space.isin([row.space, "hyponym"])]
        known += mine.select_dtypes("number").to_numpy(float).ravel().tolist()
        if table is results.trend:
            known += (mine.spaces - 1).tolist()  # those broader than the classes
    known += results.spaces.groups.unique().tolist()
    for table in (results.alignment, results.alignment_change):
        mine = at(table)
        known += mine[mine.score == row.series].select_dtypes("number").to_numpy(float).ravel().tolist()
    return np.array([number for number in known if math.isfinite(number)])


def test_every_number_of_a_sentence_stands_in_the_tables(planted):
    for row in planted["verdict"].itertuples():
        known = numbers_of(row, planted)
        words = row.sentence
        for name in (row.space, row.layer, row.series):
            words = words.replace(str(name), "") if name else words
        found = NUMBER.findall(words)
        assert found or row.claim == "no_course"
        for text in found:
            digits = len(text.split(".")[1]) if "." in text and "e" not in text else 0
            near = np.abs(known - float(text)) <= 0.5 * 10.0**-digits * 1.0001
            near |= np.abs(np.abs(known) - float(text)) <= 0.5 * 10.0**-digits * 1.0001
            near |= np.array([f"{number:.3g}" == text for number in known])
            assert near.any(), f"{text} of {row.sentence!r} stands in no table"


def test_every_claim_has_an_interval_on_its_side(planted):
    verdict = planted["verdict"].set_index("claim")
    for claim, sign in (("broad_first", 1), ("specific_first", -1), ("learned", 1), ("lost", -1)):
        claimed = verdict[verdict.index == claim]
        near = claimed.low if sign > 0 else claimed.high
        assert (sign * near > 0).all()
    assert {"broad_first", "learned", "aligned"} <= set(verdict.index)


@pytest.mark.parametrize(
    ("classes", "random", "claim"),
    [
        ((0.8, 0.7, 1.0), (0.5, 0.2, 0.7), "broad_first"),
        ((0.8, 0.7, 1.0), (NAN, NAN, NAN), "broad_first"),
        ((0.8, 0.7, 1.0), (0.1, -0.2, 0.3), "undecided"),
        ((0.8, 0.7, 1.0), (-0.5, -0.7, -0.2), "undecided"),
        ((0.8, -0.1, 1.7), (0.5, 0.2, 0.7), "undecided"),
        ((0.8, 0.0, 1.7), (0.5, 0.2, 0.7), "undecided"),
        ((0.8, NAN, NAN), (0.5, 0.2, 0.7), "undecided"),
        ((-0.8, -1.0, -0.7), (-0.5, -0.7, -0.2), "specific_first"),
        ((-0.8, -1.0, -0.7), (0.5, 0.2, 0.7), "undecided"),
        ((NAN, NAN, NAN), (0.5, 0.2, 0.7), "no_course"),
    ],
)
def test_claims(classes, random, claim):
    assert order_claim(Interval(*classes), Interval(*random)) == claim


KEY = {"split": "val", "layer": None, "series": "accuracy", "fraction": 0.5}
KINDS = {"hyponym": 8, "kind": 4, "family": 2}


def tables(
    pairs,
    ahead=(NAN, NAN, NAN),
    slope=(NAN, NAN, NAN),
    *,
    balanced=(1.0, 1.0, 1.0),
    course=("moved",) * 3,
    onsets=(2.0, 1.5, 1.0),
    **key,
):
    """Tables of one series in classes, kinds and families; `pairs` has (difference, low, high) of the last two."""
    key = KEY | key
    spaces = pd.DataFrame({"space": list(KINDS), "groups": list(KINDS.values()), "balanced": list(balanced)})
    onset = pd.DataFrame(
        [
            key | {"space": space, "onset": at, "course": kind, "resolution": 1.0}
            for space, at, kind in zip(KINDS, onsets, course, strict=True)
        ]
    )
    population = {"population": "branches of the hierarchy", "sampled": 4.0, "needed": 6.0, "interval": "too few"}
    precedence = [
        key | population | {"space": space, "groups": KINDS[space]}
        | dict(zip(("difference", "low", "high"), found, strict=True))
        | {"control_difference": NAN, "control_low": NAN, "control_high": NAN}
        for space, found in zip(("kind", "family"), pairs, strict=True)
    ]  # fmt: skip
    names = ("ahead", "ahead_low", "ahead_high", "slope", "low", "high")
    slopes = [key | population | dict(zip(names, (*ahead, *slope), strict=True))]
    nothing = pd.DataFrame()
    return Tables(spaces, nothing, onset, pd.DataFrame(precedence), pd.DataFrame(slopes), nothing, nothing)


CLEAR = ((0.5, 0.4, 0.6), (1.0, 0.9, 1.1))


def test_the_headline_is_of_all_levels_at_once():
    told = make_verdict(tables(CLEAR, (0.75, 0.6, 0.9), (0.5, 0.4, 0.6)))
    assert told.claim[:2].tolist() == ["broad_first", "broad_first"]
    assert told.difference[:2].tolist() == [0.75, 0.5]
    assert told.against[:2].tolist() == ["classes", "number of groups"]
    assert told.sentence[:2].tolist() == [
        "Broad before specific: accuracy was half-way 0.75 epochs earlier in 2 broader label spaces on average than in "
        "the 8 classes (95 % interval 0.60 to 0.90), not compared with random groups.",
        "Onsets of accuracy come 0.50 epochs later for each doubling of the groups (95 % interval 0.40 to 0.60), not "
        "compared with random groups.",
    ]


def test_a_level_that_says_the_contrary_leaves_the_headline_undecided():
    told = make_verdict(tables(((-0.5, -0.6, -0.4), (1.0, 0.9, 1.1)), (0.25, 0.1, 0.4))).iloc[0]
    assert told.claim == "undecided"
    assert told.sentence.endswith("(95 % interval 0.10 to 0.40), but not in kind.")


def test_an_undecided_headline_names_the_levels_that_are_decided():
    told = make_verdict(tables(((0.5, 0.4, 0.6), (1.0, -0.9, 2.1)), (0.75, -0.1, 1.6))).iloc[0]
    assert told.claim == "undecided"
    assert told.sentence.endswith(" (95 % interval -0.10 to 1.60, which holds zero); kind on its own, see there.")


def test_an_unbalanced_space_is_no_ground_of_a_claim():
    told = make_verdict(tables(CLEAR, balanced=(1.0, 0.0, 0.0)))
    assert told.claim.tolist() == ["no_course"]
    assert told.sentence[0] == (
        "Only the classes to tell of, as there is no broader label space that is balanced: accuracy was half-way at "
        "epoch 2.00."
    )


def test_too_few_groups_are_told():
    told = make_verdict(tables(((0.5, NAN, NAN), (1.0, NAN, NAN)), (0.75, NAN, NAN))).iloc[0]
    assert told.claim == "undecided"
    assert told.sentence.endswith(" (branches of the hierarchy count as 4.0, and an interval takes 6).")


@pytest.mark.parametrize(
    ("kinds", "said"),
    [(("away",) * 3, "ended worse than it began in the 8 classes"), (("still",) * 3, "did not move in the 8 classes")],
)
def test_what_got_worse_or_did_not_move_has_no_course(kinds, said):
    told = make_verdict(tables(((NAN,) * 3,) * 2, course=kinds, onsets=(NAN,) * 3)).iloc[0]
    assert told.claim == "no_course"
    assert told.sentence == f"No course to tell: accuracy {said}."


def test_an_onset_before_the_first_captured_epoch_is_told():
    told = make_verdict(tables(CLEAR, course=("moved", "first interval", "first interval")))
    assert (
        told.sentence[told.space == "kind"]
        .iloc[0]
        .endswith("; the 4 groups of kind within the first 1 epoch, of which only the ends were captured.")
    )


def test_collapse_is_compared_with_random_groups():
    found = tables(((0.5, NAN, NAN), (1.0, NAN, NAN)), series="nc1_cdnv", layer="fc")
    found.precedence[["control_difference", "control_low", "control_high"]] = [(0.4, 0.2, 0.6), (0.3, -0.1, 0.7)]
    told = make_verdict(found)
    assert told.claim.tolist() == ["undecided", "broad_first"]  # coarse to fine
    assert told.against.tolist() == ["random groups"] * 2
    assert told.sentence[1] == (
        "nc1_cdnv in fc was half-way in the 4 groups of kind at epoch 1.50, 0.40 epochs earlier than in random groups "
        "(range 0.20 to 0.60); in the 8 classes at 2.00."
    )


def test_no_claim_rests_on_nc1_where_ranks_differ():
    found = tables(((0.5, NAN, NAN), (1.0, NAN, NAN)), series="nc1_pinv", layer="fc")
    found.precedence[["control_difference", "control_low", "control_high"]] = (0.4, 0.2, 0.6)
    key = {"split": "val", "layer": "fc", "space": "kind"}
    geometry = pd.DataFrame([key | {"epoch": epoch, "means_rank": rank} for epoch, rank in enumerate((31, 32, 32))])
    told = make_verdict(replace(found, geometry=geometry)).set_index("space")
    assert told.claim.to_dict() == {"family": "broad_first", "kind": "undecided"}
    assert told.sentence["kind"].endswith("; the means have ranks from 31 to 32 over the epochs: undecided.")


def test_random_groups_that_never_moved_count_as_later():
    found = tables(((0.5, 0.4, 0.6), (1.0, 0.9, 1.1)))
    found.precedence[["control_difference", "control_low", "control_high"]] = [(NAN, 0.2, NAN), (0.3, -0.1, NAN)]
    told = make_verdict(found)
    beside = told[told.against == "random groups"].set_index("space")
    assert beside.claim.to_dict() == {"family": "undecided", "kind": "broad_first"}
    assert beside.high.isna().all()
    assert "before most random groups of the same sizes (range from 0.20 on)" in beside.sentence["kind"]
    classes = told[told.against == "classes"].set_index("space").claim
    assert classes[["family", "kind"]].tolist() == ["undecided", "broad_first"]


def test_a_collapse_column_that_turns_back_is_undecided():
    kinds = ("moved", "turned", "away")
    found = tables(((0.5, NAN, NAN), (1.0, NAN, NAN)), series="nc1_cdnv", layer="fc", course=kinds)
    found.precedence[["control_difference", "control_low", "control_high"]] = (0.4, 0.2, 0.6)
    told = make_verdict(found).set_index("space")
    assert told.claim.to_dict() == {"family": "no_course", "kind": "undecided"}
    assert "and turned back behind it later" in told.sentence["kind"]
    assert "led away from collapse" in told.sentence["family"]


def aligned(**found):
    """Verdict on one layer's change, of which the tables say this."""
    key = {"split": "val", "layer": "fc", "score": "rsa_spearman", "metric": "cosine", "taxonomy_distance": "path"}
    row = {"first_epoch": 0, "last_epoch": 4, "first": 0.25, "last": 0.5, "change": 0.25, "change_p": 0.001}
    row |= {"change_low": 0.125, "change_high": 0.375, "low": 0.25, "high": 0.75}
    judged = {"epoch": 4, "value": 0.5, "null_mean": 0.0, "p": 0.001, "p_corrected": 0.001}
    change = pd.DataFrame([key | row | {name: value for name, value in found.items() if name in row}])
    alignment = pd.DataFrame([key | judged | {name: value for name, value in found.items() if name in judged}])
    told = tables(CLEAR, series="ncc_accuracy", layer="fc")
    told = make_verdict(replace(told, alignment=alignment, alignment_change=change))
    return told[told.series == "rsa_spearman"].reset_index(drop=True)


def test_alignment_is_told_with_its_p_over_all_epochs_and_layers():
    told = aligned()
    assert told.claim.tolist() == ["learned", "aligned"]
    assert told.sentence.tolist() == [
        "rsa_spearman (cosine, path) of fc went from 0.25 at epoch 0 to 0.50 at epoch 4 (change 95 % interval 0.12 to "
        "0.38, p = 0.001): it was learned.",
        "rsa_spearman (cosine, path) of fc is 0.50 at epoch 4, 0.50 more than with shuffled classes (p = 0.001 over "
        "all epochs and layers): it follows the hierarchy.",
    ]
    assert aligned(p_corrected=0.2).claim.tolist() == ["learned", "undecided"]


@pytest.mark.parametrize(
    ("low", "high", "p", "claim"),
    [
        (0.1, 0.4, 0.05, "learned"),
        (0.1, 0.4, 0.06, "undecided"),
        (-0.1, 0.4, 0.001, "undecided"),
        (-0.4, -0.1, 0.95, "lost"),
        (-0.4, -0.1, 0.5, "undecided"),
        (NAN, NAN, 0.001, "undecided"),
    ],
)
def test_learned_and_lost_take_interval_and_p(low, high, p, claim):
    assert aligned(change_low=low, change_high=high, change_p=p).claim[0] == claim


def test_without_permutations_or_a_value_it_says_so():
    told = aligned(change_p=NAN, p_corrected=NAN, null_mean=NAN)
    assert told.claim.tolist() == ["undecided", "undecided"]
    assert told.sentence.str.contains("without permutations there is no p").all()
    none = aligned(last=NAN, change=NAN)
    assert none.claim.tolist() == ["no_course"]
    assert not pd.concat([told, none]).sentence.str.contains("nan").any()


def test_one_epoch_has_no_course(tmp_path):
    tree = planted_tree(depth=2, branching=2, dim=8)
    featlab.write_epoch(
        tmp_path / "run.zarr", epoch=0, features={"last": tree.features}, labels=tree.labels, classes=tree.classes
    )
    results = featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, permutations=19)
    assert headline(results, "last").claim == "no_course"
    assert set(results["verdict"].claim) <= {"no_course", "aligned", "undecided"}


def test_show_prints_the_verdict_plain_in_a_pipe(saved, planted):
    outcome = CliRunner().invoke(show_command, [saved, "verdict", "--where", "layer == 'layer2'"])
    assert outcome.exit_code == 0
    table = pd.read_csv(io.StringIO(outcome.stdout))
    expected = planted["verdict"]
    assert table.sentence.tolist() == expected.sentence[expected.layer == "layer2"].tolist()
    listing = CliRunner().invoke(show_command, [saved]).stdout
    assert listing.splitlines()[-1].split()[0] == "verdict"


def test_show_gives_json(saved, planted):
    outcome = CliRunner().invoke(show_command, [saved, "verdict", "--format", "json"])
    table = pd.read_json(io.StringIO(outcome.stdout), orient="records")
    assert table.claim.tolist() == planted["verdict"].claim.tolist()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_show_fits_the_terminal(saved, planted, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = CliRunner().invoke(show_command, [saved, "verdict", "--format", "table"])
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= width
    places = ["val, classifier", "val, layer1", "val, layer2", "val, layer3"]
    assert [line for line in lines if line.startswith("val, ")] == places
    words = " ".join(" ".join(lines).split())
    assert headline(planted).sentence in words
    assert "hyponym" in words
