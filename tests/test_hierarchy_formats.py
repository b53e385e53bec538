"""Hierarchy files and Newick text: every format gives the same taxonomy, bad text is refused where it is bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from taxonomy_strategies import trees

from featlab.errors import FeatlabWarning, TaxonomyError
from featlab.hierarchy.labelspace import default_spaces, level
from featlab.hierarchy.taxonomy import Taxonomy

ANIMALS = {"cat": "animal", "dog": "animal", "car": "vehicle", "animal": "root", "vehicle": "root"}


@given(trees())
def test_newick_round_trip(taxonomy: Taxonomy) -> None:
    def text(node: str) -> str:
        below = ",".join(map(text, taxonomy.children(node)))
        return f"({below}) '{node}':0.5" if below else f"'{node}':1e-3"

    read = Taxonomy.from_newick(f"[a comment] {text(taxonomy.root)};\n")
    assert read.restrict(taxonomy.leaves).to_json()["parents"] == taxonomy.to_json()["parents"]


def test_newick_quotes_comments_lengths_and_unnamed_nodes() -> None:
    taxonomy = Taxonomy.from_newick("((cat:1[fast],'dog''s_(best)':2)'pets, all':.5,(car,bus),node1):0")
    assert taxonomy.leaves == ("cat", "dog's_(best)", "car", "bus", "node1")
    assert taxonomy.children("root") == ("pets, all", "node2", "node1")
    assert taxonomy.children("node2") == ("car", "bus")


def test_a_deep_newick_chain_is_read() -> None:
    deep = 3000
    taxonomy = Taxonomy.from_newick("(" * deep + "a" + "".join(f",b{number})" for number in range(deep)) + ";")
    assert taxonomy.heights["root"] == deep


def test_files_give_the_same_taxonomy(tmp_path: Path) -> None:
    expected = Taxonomy.from_parents(ANIMALS)
    rows = "\n".join(f"{child}, {parent},x" for child, parent in ANIMALS.items())
    (tmp_path / "a.csv").write_text(f"\ufeffchild,parent,note\n{rows}\n\nroot,\n")
    (tmp_path / "b.json").write_text(json.dumps({"animal": ["cat", "dog"], "vehicle": {"car": {}}}))
    (tmp_path / "c.json").write_text(json.dumps({"parents": ANIMALS, "levels": ["kind"]}))
    (tmp_path / "d.json").write_text(json.dumps(expected.to_json()))
    (tmp_path / "e.json").write_text(json.dumps([{"animal": ["cat", "dog"]}, {"vehicle": ["car"]}]))
    (tmp_path / "f.nwk").write_text("((cat,dog)animal,(car)vehicle)root;")
    (tmp_path / "G.NEWICK").write_text("((cat,dog)animal,(car)vehicle)root;")
    (tmp_path / "h.json").write_text(json.dumps({"animal": ["cat", "dog"], "vehicle": ["car"]}))
    for path in sorted(tmp_path.iterdir()):
        assert Taxonomy.read(path).to_json()["parents"] == expected.to_json()["parents"], path.name
    assert Taxonomy.read(tmp_path / "c.json").level_names == {"kind": 1}
    assert Taxonomy.read(tmp_path / "h.json").level_names == {"superclass": 1}


def test_several_rows_of_a_child_are_several_parents(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("parent,child\n,thing\nthing,pet\nthing,feline\npet,cat\nfeline,cat\nfeline,cat\n")
    assert Taxonomy.read(path).parents("cat") == ("pet", "feline")


SHOP = """child,parent,level
goods,,everything
food,goods,department
fruit,food,shelf
apple,fruit,article
pear,fruit,article
bread,food,article
tools,goods,department
saw,tools,article
"""


def test_a_csv_names_levels_as_json_does(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(SHOP)
    taxonomy = Taxonomy.read(tmp_path / "shop.csv")
    assert taxonomy.level_names == {"department": 1, "shelf": 2, "article": 3}
    (tmp_path / "shop.json").write_text(json.dumps(taxonomy.to_json()))
    assert Taxonomy.read(tmp_path / "shop.json") == taxonomy
    departments = level(taxonomy, taxonomy.leaves, "department")
    assert departments.groups == ("food", "tools")
    assert level(taxonomy, taxonomy.leaves, "article").is_identity
    spaces = [space.name for space in default_spaces(taxonomy.leaves, taxonomy)]
    assert spaces == ["hyponym", "department", "shelf"]


def test_a_level_at_several_depths_is_left_out_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(SHOP.replace("tools,goods,department", "tools,goods,shelf"))
    with pytest.warns(
        FeatlabWarning, match=r"'shelf' of 'shop.csv' is left out: .* depths 1 \('tools'\) and 2 \('fruit'"
    ):
        taxonomy = Taxonomy.read(tmp_path / "shop.csv")
    assert taxonomy.level_names == {"department": 1, "article": 3}


BAD_NEWICK = {
    "": "position 0: the text ends",
    "(a,b": "position 4: the text ends",
    "(a,b)) ;": r"position 5: '\)' is out of place",
    "(a,b);c": "position 6: 'c' follows the final ';'",
    "(a,b) c d;": "position 8: 'd' follows a node that has ended",
    "(a(b,c));": r"position 2: '\(' is out of place",
    "(a,,b);": "position 3: a leaf has no name",
    "(a,'b);": 'position 3: "\'" has no partner',
    "(a,b]);": "position 4: ']' has no partner",
    "(a,b:x);": "position 4: ':x' is not the length",
    "(a,b:);": "position 4: ':' is not the length",
    "(a:1:2,b);": "position 4: ':2' is not the length",
    "(a,(a,b)c);": "position 4: the name 'a' stands for two nodes",
    "((a,b)x,(c,d)x);": "position 8: the name 'x' stands for two nodes",
    "a,b;": "position 1: ',' is out of place",
}


@pytest.mark.parametrize(("text", "message"), BAD_NEWICK.items())
def test_bad_newick(text: str, message: str) -> None:
    with pytest.raises(TaxonomyError, match=f"Newick text is wrong at {message}"):
        Taxonomy.from_newick(text)


BAD_FILES = {
    "header.csv": (b"node,above\na,b\n", r"first line of 'header.csv' reads \['node', 'above'\]"),
    "empty.csv": (b"", r"first line of 'empty.csv' reads \[\]"),
    "childless.csv": (b"child,parent\na,b\n,b\n", "line 3 of 'childless.csv' has no child beside its parent 'b'"),
    "roots.csv": (b"child,parent\na,x\nb,y\n", "two roots, 'x' and 'y'"),
    "short.csv": (b"child,parent\na,x\nb\n", "two roots, 'b' and 'x'"),
    "levels.csv": (
        b"child,parent,level\na,x,b\na,x,c\n",
        "line 3 of 'levels.csv' puts 'a' on the level 'c', and an ear",
    ),
    "huge.csv": (b"child,parent\na," + b"x" * 200_000, "line 2 of 'huge.csv' is not CSV"),
    "broken.json": (b'{"a": [}', r"'broken.json' is not JSON \(line 1, column 8"),
    "twice.json": (b'{"a": ["b"], "a": ["c"]}', "'twice.json' has the key 'a' twice"),
    "deep.json": (b"[" * 100_000, "'deep.json' nests its objects too deeply"),
    "number.json": (b"3", "not 3"),
    "latin.nwk": ("(é,b);".encode("latin-1"), r"latin.nwk' is not UTF-8 text \(byte 1\)"),
    "tree.txt": (b"(a,b);", "tree.txt' has the unknown suffix '.txt'"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, tmp_path: Path) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.read(tmp_path / name)


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "t.json").write_text("{}")
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(TaxonomyError, match=r"t.json' cannot be read \(Permission denied\)"):
        Taxonomy.read(tmp_path / "t.json")
