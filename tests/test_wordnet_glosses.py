"""The demo on WordNet's glosses: its classes, its samples, and what comes out of a small one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from featlab.demo import wordnet_glosses
from featlab.demo.story import run_demo
from featlab.demo.wordnet_glosses import Nouns, choose_classes, gloss_features, load_glosses, read_nouns
from featlab.errors import DataError, TaxonomyError
from featlab.hierarchy import wordnet_data
from featlab_cli.demo import command as demo_command

SMALL = {"least": 1200, "glosses": 160}


# 1 > 2 > (3 > 31..34, 4 > 41..44), 1 > 5 > 51..53 and 34
PARENTS = {2: (1,), 3: (2,), 4: (2,), 5: (1,), 34: (3, 5)}
PARENTS |= {child: (child // 10,) for child in (31, 32, 33, 41, 42, 43, 44, 51, 52, 53)}
NOUNS = Nouns({1: (), **PARENTS}, {synset: f"gloss {synset}" for synset in (1, *PARENTS)})


class TestChoice:
    def test_the_lowest_with_enough_below(self) -> None:
        assert list(choose_classes(NOUNS, least=4, glosses=1)) == [3, 4, 5]
        assert list(choose_classes(NOUNS, least=5, glosses=1)) == [2]

    def test_what_is_below_two_classes_tells_neither(self) -> None:
        assert choose_classes(NOUNS, least=4, glosses=3) == {3: [31, 32, 33], 4: [41, 42, 43, 44], 5: [51, 52, 53]}
        assert list(choose_classes(NOUNS, least=4, glosses=4)) == [4]

    def test_a_text_counts_once(self) -> None:
        nouns = Nouns(NOUNS.parents, {**NOUNS.glosses, 42: "gloss 31", 44: "gloss 43"})
        assert choose_classes(nouns, least=4, glosses=2)[4] == [41, 43]

    def test_lines_that_are_none_are_refused(self) -> None:
        with pytest.raises((ValueError, IndexError)):
            read_nouns(["not a line of WordNet's"])


@pytest.mark.needs("WordNet")
class TestGlosses:
    def test_about_160_classes_none_above_another(self) -> None:
        """Against NLTK's own walk up the hierarchy."""
        reader = wordnet_data.wordnet_reader()
        data = load_glosses()
        assert 140 <= len(data.classes) <= 180
        assert data.classes == sorted(data.classes)
        synsets = {name: reader.synset(name) for name in data.classes}
        for name, synset in synsets.items():
            above = {found.name() for found in synset.closure(lambda one: one.hypernyms())}
            assert not above & synsets.keys(), name
        by_text: dict[str, list[str]] = {}
        for name in data.classes[::80]:
            for below in synsets[name].closure(lambda one: one.hyponyms()):
                by_text.setdefault(below.definition(), []).append(name)
        mine = [
            (text, data.classes[label]) for text, label in zip(data.texts, data.labels, strict=True) if label % 80 == 0
        ]
        assert len(mine) > 200
        # NLTK cuts examples off in another way where a definition has quotes of its own.
        assert np.mean([name in by_text.get(text, ()) for text, name in mine]) > 0.97

    def test_classes_are_balanced_and_no_text_stands_on_both_sides(self) -> None:
        data, again = load_glosses(**SMALL), load_glosses(**SMALL)
        assert data.texts == again.texts
        assert (np.bincount(data.labels) == 160).all()
        assert (np.bincount(data.labels[data.held_out]) == 40).all()
        assert len(set(data.texts)) == len(data.texts)

    def test_demo_tells_classes_and_follows_the_hierarchy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wordnet_glosses, "load_glosses", partial(load_glosses, **SMALL))
        story = run_demo("wordnet-glosses", tmp_path, epochs=4, permutations=99)
        assert "entity.n.01" in json.dumps(story.results.parameters["hierarchy"])
        last = story.onsets.set_index("space")["last"]
        assert last["hyponym"] > 4 / len(story.results.classes)
        assert last.iloc[0] > last["hyponym"]
        aligned = story.alignment.set_index("layer")
        assert (aligned["p"] == 0.01).all()
        change = story.results.alignment_change.query("score == 'rsa_spearman' and metric == 'cosine'")
        assert (change.query("layer == 'hidden3'")["change"] > 0).all()

    def test_too_few_glosses_are_told(self) -> None:
        with pytest.raises(DataError, match="has 0 synsets with 99000 others and 128 glosses"):
            load_glosses(least=99_000)


def test_without_wordnet_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet_data, "_installed", lambda: iter(()))
    outcome = CliRunner().invoke(demo_command, ["--data", "wordnet-glosses", "--out", str(tmp_path / "demo")])
    assert isinstance(outcome.exception, TaxonomyError)
    assert "WordNet's database is not on this machine" in str(outcome.exception)
    assert not (tmp_path / "demo").exists()


def test_features_are_of_length_one() -> None:
    found = gloss_features(["a large snake", "the smallest snakes", "a law of thermodynamics"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    assert found[0] @ found[1] > 2 * found[0] @ found[2]
