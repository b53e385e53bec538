"""WordNet through NLTK: what classes mean, where the data is found, and what is said when it is not there."""

from __future__ import annotations

import itertools
import shutil
import warnings
import zipfile
from pathlib import Path

import nltk.data
import pytest
from debian_data import place_of

from featlab.errors import FeatlabWarning, TaxonomyError
from featlab.hierarchy import wordnet_data
from featlab.hierarchy.load import load_taxonomy
from featlab.hierarchy.synsets import plain_words
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.hierarchy.wordnet import meanings_of, read_senses, wordnet_taxonomy
from featlab.hierarchy.wordnet_data import _installed, version_of, wordnet_reader

WORDNET = place_of("WordNet") or Path("/usr/share/wordnet")


def synset_of(word: str) -> str:
    return meanings_of([word])[word].synset


@pytest.mark.needs("WordNet")
def test_wnids_synsets_and_words_name_the_same_place() -> None:
    taxonomies = [wordnet_taxonomy([name, "n02123045"]) for name in ("n02099601", "golden_retriever.n.01")]
    taxonomies.append(wordnet_taxonomy(["golden retriever", "n02123045"]))
    for taxonomy in taxonomies:
        name = taxonomy.leaves[0]
        assert taxonomy.parents(name) == ("retriever.n.01",)
        assert taxonomy.root == "entity.n.01"
        assert taxonomy.path_distances(taxonomy.leaves)[0, 1] == 7


@pytest.mark.needs("WordNet")
def test_every_hypernym_is_kept_and_instances_have_theirs() -> None:
    taxonomy = wordnet_taxonomy(["dog.n.01", "einstein.n.01"])
    assert taxonomy.parents("dog.n.01") == ("canine.n.02", "domestic_animal.n.01")
    assert taxonomy.parents("einstein.n.01") == ("physicist.n.01",)  # an instance hypernym
    for node in taxonomy.nodes:
        found = wordnet_reader().synset(node)
        above = [*found.hypernyms(), *found.instance_hypernyms()]
        assert taxonomy.parents(node) == tuple(sorted(parent.name() for parent in above))


@pytest.mark.needs("WordNet")
@pytest.mark.parametrize(
    ("word", "synset"),
    [
        ("golden retriever", "golden_retriever.n.01"),
        ("Golden_Retriever", "golden_retriever.n.01"),
        ("GoldenRetriever", "golden_retriever.n.01"),
        ("golden retrievers", "golden_retriever.n.01"),
        ("school-bus", "school_bus.n.01"),
        ("T-shirt", "jersey.n.03"),
        ("t_shirt", "jersey.n.03"),
        ("teddy_bear", "teddy.n.01"),
        ("soft_ball", "softball.n.01"),
        ("lawn_mower", "lawn_mower.n.01"),
        ("kite (bird of prey)", "kite.n.01"),
    ],
)
def test_words_are_found_as_people_write_them(word: str, synset: str) -> None:
    assert synset_of(word) == synset


def test_plain_words_keep_abbreviations_whole() -> None:
    assert [plain_words(name) for name in ("TV", "pickup  truck", "MeanOfTransportation", "T-shirt")] == [
        *["tv", "pickup_truck", "mean_of_transportation", "t-shirt"]
    ]


@pytest.mark.needs("WordNet")
def test_ambiguous_words_take_the_first_sense_and_say_so() -> None:
    with pytest.warns(FeatlabWarning, match=r"1 class has several senses .* 'crane' \(crane.n.01, of 5"):
        taxonomy = wordnet_taxonomy(["crane", "golden retriever"])
    assert taxonomy.parents("crane") == ("writer.n.01",)
    senses = meanings_of(["crane"])["crane"].senses
    assert [name for name, _ in senses] == ["crane.n.01", "crane.n.02", "grus.n.01", "crane.n.04", "crane.n.05"]
    assert senses[4][1].startswith("large long-necked wading bird")


@pytest.mark.needs("WordNet")
@pytest.mark.parametrize("chosen", ["crane.n.05", "n02012849"])
def test_senses_choose(chosen: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'word,synset,note\n"Crane", {chosen},a bird\n\n')
    (tmp_path / "b.tsv").write_text(f"crane\t{chosen}\n")
    (tmp_path / "c.json").write_text(f'{{"crane": "{chosen}", "mouse": "mouse.n.01"}}')
    sources = [{"crane": chosen}, {"CRANE": chosen}, *sorted(tmp_path.iterdir())]
    for senses in sources:
        assert wordnet_taxonomy(["crane"], senses=senses).parents("crane") == ("wading_bird.n.01",)
    assert wordnet_taxonomy(["crane"], synsets=[chosen]).parents("crane") == ("wading_bird.n.01",)
    assert load_taxonomy("wordnet", ["crane"], senses=tmp_path / "a.csv").leaves == ("crane",)


@pytest.mark.needs("WordNet")
def test_senses_come_before_the_synsets_of_a_run() -> None:
    taxonomy = wordnet_taxonomy(["crane", "tabby"], synsets=["crane.n.05", "n02123045"], senses={"crane": "crane.n.04"})
    assert taxonomy.parents("crane") == ("lifting_device.n.01",)


@pytest.mark.needs("WordNet")
def test_words_that_wordnet_lacks_stand_below_their_last_one() -> None:
    with pytest.warns(FeatlabWarning, match=r"2 classes are not in WordNet .*'aquarium_fish' \(below fish.n.01\)"):
        taxonomy = wordnet_taxonomy(["aquarium_fish", "maple tree", "goldfish.n.01"])
    assert taxonomy.parents("aquarium_fish") == ("fish.n.01",)
    assert taxonomy.parents("maple tree") == ("tree.n.01",)
    assert "fish.n.01" in taxonomy.ancestors("goldfish.n.01")


@pytest.mark.needs("WordNet")
def test_a_broader_class_is_a_leaf_below_its_synset() -> None:
    with pytest.warns(FeatlabWarning, match=r"1 class is broader than another .*'n02084071' \(dog.n.01\)"):
        taxonomy = wordnet_taxonomy(["n02084071", "golden retriever"])
    assert taxonomy.parents("n02084071") == ("dog.n.01",)
    assert taxonomy.leaves == ("n02084071", "golden retriever")
    assert "dog.n.01" in taxonomy.ancestors("golden retriever")
    with pytest.warns(FeatlabWarning, match="is broader than another"):
        named = wordnet_taxonomy(["dog.n.01", "golden retriever"])
    assert named.parents("dog.n.01") == ("(dog.n.01)",)  # two nodes cannot bear one name: the class keeps it
    assert named.restrict(["golden retriever"]).leaves == ("golden retriever",)


# Errors: one sentence that names the offending value


@pytest.mark.needs("WordNet")
@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ([], {}, r"no classes to look up in WordNet: \[\]"),
        (["cat.n.01", "cat.n.01"], {}, "class 'cat.n.01' is listed twice"),
        (["n02099602"], {}, "WordNet 3.0 has no noun for 1 of 1 classes: 'n02099602'"),
        (["dog.n.99", "cat.n.01"], {}, "no noun for 1 of 2 classes: 'dog.n.99'"),
        (["dog.n.00"], {}, "'dog.n.00'"),
        (["run.v.01"], {}, "'run.v.01'"),
        (["qwxyz", "some qwxyz", *map("zz{}q".format, range(9))], {}, "11 of 11 classes: 'qwxyz', .*and 6 more; give"),
        (["crane"], {"senses": {"crane": "heron"}}, r"'crane' \(sense 'heron'\)"),
        (["crane"], {"synsets": ["a", "b"]}, "2 synsets are given for 1 classes"),
        (["sofa.n.01", "n04256520"], {}, "classes 'sofa.n.01' and 'n04256520' both mean 'sofa.n.01'"),
        (["cat"], {"senses": "gone.csv"}, "no hierarchy file at 'gone.csv'"),
    ],
)
def test_what_cannot_be_looked_up(classes: list[str], options: dict[str, object], message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        wordnet_taxonomy(classes, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "crane,crane.n.05\ncrane,crane.n.04\n", "line 2 of 'a.csv' gives 'crane' a second sense"),
        ("a.csv", "crane,the bird\n", "line 1 of 'a.csv' reads 'crane,the bird'"),
        ("a.tsv", "crane,crane.n.05\n", "line 1 of 'a.tsv' reads 'crane,crane.n.05'"),
        ("a.json", '["crane"]', "'a.json' is not a mapping of words to synsets"),
        ("a.json", '{"crane": 5}', "'a.json' is not a mapping of words to synsets"),
        ("a.txt", "crane,crane.n.05", "unknown suffix '.txt'"),
    ],
)
def test_senses_files_that_cannot_be_read(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TaxonomyError, match=message):
        read_senses(tmp_path / name)


# Where the data is


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without WordNet; the folder is one of NLTK's own."""
    monkeypatch.delenv("WNHOME", raising=False)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    monkeypatch.setattr(wordnet_data, "_PLACES", ())
    return tmp_path


def link(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file in WORDNET.glob("*.*"):
        (folder / file.name).symlink_to(file)
    return folder


def works(taxonomy: Taxonomy) -> bool:
    return taxonomy.parents("n02099601") == ("retriever.n.01",)


def test_absent_data_is_said_with_the_command_that_gets_it(nowhere: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"not on this machine; .*`python -m nltk.downloader wordnet`.*apt-get"):
        wordnet_taxonomy(["golden retriever"])


@pytest.mark.needs("WordNet")
def test_found_through_wnhome_and_nltk_paths(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = link(nowhere / "princeton" / "dict").parent
    monkeypatch.setenv("WNHOME", str(home))
    assert list(_installed()) == [home / "dict"]
    assert works(wordnet_taxonomy(["n02099601"]))
    monkeypatch.setenv("WNHOME", str(nowhere / "gone"))
    own = link(nowhere / "nltk_data" / "corpora" / "wordnet")
    assert list(_installed()) == [own]
    (own / "data.verb").unlink()  # an install that was cut off is none
    with pytest.raises(TaxonomyError, match="not on this machine"):
        wordnet_reader()


@pytest.mark.needs("WordNet")
def test_found_where_packages_put_it(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet_data, "_PLACES", (str(nowhere / "gone"), str(WORDNET)))
    assert list(_installed()) == [WORDNET]
    monkeypatch.undo()
    assert {"/usr/share/wordnet", "/usr/share/wordnet-3.0", "/opt/homebrew/opt/wordnet"} <= set(wordnet_data._PLACES)


@pytest.mark.needs("WordNet")
def test_found_in_the_archive_that_nltk_downloads(nowhere: Path) -> None:
    corpora = nowhere / "nltk_data" / "corpora"
    corpora.mkdir(parents=True)
    with zipfile.ZipFile(corpora / "wordnet.zip", "w") as archive:
        archive.mkdir("wordnet")
        for file in WORDNET.glob("*.*"):
            archive.write(file, f"wordnet/{file.name}")
    assert works(wordnet_taxonomy(["n02099601"]))


@pytest.mark.needs("WordNet")
def test_another_version_serves_words_but_not_wnids(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = link(nowhere / "later")
    (later / "data.noun").unlink()
    text = (WORDNET / "data.noun").read_bytes().replace(b"WordNet 3.0 Copyright", b"WordNet 3.1 Copyright", 1)
    (later / "data.noun").write_bytes(text)
    monkeypatch.setenv("WNHOME", str(later))
    assert version_of(later) == "3.1"
    assert wordnet_taxonomy(["golden retriever"]).parents("golden retriever") == ("retriever.n.01",)
    with pytest.raises(TaxonomyError, match=r"byte offsets in WordNet 3.0, and the version here is 3.1 in '.*later'"):
        wordnet_taxonomy(["n02099601"])
    with pytest.raises(TaxonomyError, match=r"byte offsets in WordNet 3.0"):
        wordnet_taxonomy(["golden retriever"], synsets=["n02099601"])
    link(nowhere / "nltk_data" / "corpora" / "wordnet")  # a second one that fits is taken
    assert works(wordnet_taxonomy(["n02099601"]))


@pytest.mark.needs("WordNet")
def test_broken_files_are_named(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = nowhere / "broken"
    shutil.copytree(link(nowhere / "linked"), broken, symlinks=True)
    (broken / "index.noun").unlink()
    (broken / "index.noun").write_text("dog n one 0 1 0 0\n")
    monkeypatch.setenv("WNHOME", str(broken))
    with pytest.raises(TaxonomyError, match=r"WordNet's files in '.*broken' are unreadable .*install them anew"):
        wordnet_taxonomy(["dog"])


@pytest.mark.needs("WordNet")
def test_the_files_that_packages_leave_out_are_rebuilt() -> None:
    rows = [line.split("\t") for line in wordnet_reader().open("lexnames").read().splitlines()]
    assert [int(number) for number, _, _ in rows] == list(range(45))
    numbers = {name: int(number) for number, name, _ in rows}
    codes = {name: code for _, name, code in rows}
    assert [codes[name] for name in ("noun.Tops", "verb.weather", "adj.ppl", "adv.all")] == ["1", "2", "3", "4"]
    # Every noun line of the database states the number of its file: known members of the 26 noun files.
    known = {"dog": "animal", "hammer": "artifact", "fist": "body", "bread": "food", "nurse": "person", "oak": "plant"}
    known |= {"week": "time", "sand": "substance", "cube": "shape", "joy": "feeling", "crowd": "group"}
    for word, kind in known.items():
        assert wordnet_reader().synsets(word, "n")[0].lexname() == f"noun.{kind}"
    assert numbers["noun.time"] == 28


@pytest.mark.needs("WordNet")
def test_nltk_finds_the_same_hypernyms_by_its_own_paths() -> None:
    taxonomy = wordnet_taxonomy(["dog.n.01", "teapot.n.01", "banana.n.02"])
    reader = wordnet_reader()
    for one, other in itertools.combinations(taxonomy.leaves, 2):
        expected = reader.synset(one).shortest_path_distance(reader.synset(other))
        assert taxonomy.path_distances([one, other])[0, 1] == expected


@pytest.mark.needs("WordNet")
def test_no_other_warning_escapes() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wordnet_data._opened.cache_clear()
        wordnet_taxonomy(["n02099601"])
    assert caught == []
