"""A taxonomy: a rooted acyclic graph whose leaves are the classes; a node may have several parents."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from featlab.errors import FeatlabWarning, TaxonomyError
from featlab.hierarchy import formats
from featlab.hierarchy.graph import RootedGraph
from featlab.hierarchy.labelspace import LabelSpace, cut
from featlab.hierarchy.newick import parents_from_newick
from featlab.hierarchy.parent_table import Parentage, is_text
from featlab.messages import NAME_CLASSES, listed
from featlab.notebook import html_facts, html_page, html_tree

_NAMED = 5  # missing classes that a message names, each with its near names
_RESERVED = re.compile(r"hyponym|(cut|depth|height)\d+")


class Taxonomy(RootedGraph):
    """A rooted acyclic graph over classes, which are its leaves.

    Build one with ``from_parents``, ``from_nested``, ``from_superclasses``, ``from_names``, ``from_newick`` or
    ``read``; all of them raise `TaxonomyError` for a cycle, two roots, a repeated class or an empty hierarchy.

    Attributes
    ----------
    root : str
        The one node without parents.
    nodes : tuple of str
        Every node, the root first, parents before children.
    leaves : tuple of str
        The classes: in the order of the source, or of the caller after `restrict`.
    level_names : dict of str to int
        Named levels and their depths; the root has depth 0. Empty where no level has a name.

    Examples
    --------
    >>> taxonomy = Taxonomy.from_nested({"animal": ["cat", "dog"], "vehicle": ["car"]})
    >>> taxonomy.root, taxonomy.leaves
    ('root', ('cat', 'dog', 'car'))
    >>> taxonomy.path_distances(["cat", "car"]).tolist()
    [[0.0, 4.0], [4.0, 0.0]]
    """

    def __init__(
        self,
        parents: Mapping[str, Parentage],
        *,
        level_names: Mapping[str, int] | None = None,
        leaves: Sequence[str] | None = None,
    ) -> None:
        super().__init__(parents)
        if leaves is not None:
            self.leaves = _ordered(self.leaves, list(leaves))
        self.level_names: dict[str, int] = _checked_levels(level_names or {})

    @classmethod
    def from_parents(cls, parents: Mapping[str, Parentage], *, levels: Sequence[str] = ()) -> Self:
        """Build from child -> parent, or child -> list of parents; the root is left out or has no parent.

        Parameters
        ----------
        parents
            One entry for each node below the root.
        levels
            Names of the levels at depth 1, 2, ...

        Examples
        --------
        >>> Taxonomy.from_parents({"cat": ["pet", "feline"], "pet": "animal", "feline": "animal"}).parents("cat")
        ('pet', 'feline')
        """
        return cls(parents, level_names=_by_depth(levels))

    @classmethod
    def from_nested(cls, nested: Any, *, levels: Sequence[str] = ()) -> Self:
        """Build from nested mappings and lists; a node that stands in two places has two parents.

        The single name at the top is the root; above several stands an implied ``"root"``. A name at the top that
        stands below another too has only its place below, so a flat table of parent -> children can be read.

        Examples
        --------
        >>> Taxonomy.from_nested({"thing": {"animal": ["cat", "dog"], "car": None}}).children("thing")
        ('animal', 'car')
        """
        return cls(formats.parents_from_nested(nested), level_names=_by_depth(levels))

    @classmethod
    def from_superclasses(cls, superclasses: Mapping[str, Sequence[str]], *, level: str = "superclass") -> Self:
        """Build from superclass -> its classes, below an implied root; the level has a name.

        Examples
        --------
        >>> Taxonomy.from_superclasses({"fish": ["shark", "trout"], "people": ["baby"]}).level_names
        {'superclass': 1}
        """
        return cls(formats.parents_from_superclasses(superclasses), level_names={level: 1})

    @classmethod
    def from_names(cls, names: Sequence[str], separator: str = ".", *, levels: Sequence[str] = ()) -> Self:
        """Build from dotted or slashed class names: inner nodes are their prefixes, below an implied ``"root"``.

        A class that is also a prefix of another ("pkg" beside "pkg.mod") stays a leaf under its own name; both
        stand inside the node "pkg.*". Names may differ in their number of parts: at a level deeper than a class has
        parts, the class stands for itself.

        Parameters
        ----------
        names
            The classes.
        separator
            What stands between the parts of a name.
        levels
            Names of the levels at depth 1, 2, ...; by default every depth above the deepest class is a level
            named "depth1", "depth2", ...

        Examples
        --------
        >>> taxonomy = Taxonomy.from_names(["scipy.stats.qmc", "scipy.linalg", "numpy.fft"], levels=["library"])
        >>> taxonomy.ancestors("scipy.stats.qmc") == {"scipy.stats.qmc", "scipy.stats", "scipy", "root"}
        True
        """
        names = list(map(str, names))
        table, deepest = formats.parents_from_names(names, separator)
        named = _by_depth(levels) or {f"depth{depth}": depth for depth in range(1, deepest)}
        return cls(table, level_names=named, leaves=names)

    @classmethod
    def from_newick(cls, text: str) -> Self:
        """Build from one Newick tree; branch lengths and comments are dropped, unnamed inner nodes get names.

        Underscores stay as they are, so that names match those of the classes.

        Examples
        --------
        >>> Taxonomy.from_newick("((cat:1,dog:1)animal:2,'sports car':3);").leaves
        ('cat', 'dog', 'sports car')
        """
        return cls(parents_from_newick(text))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Build from what `to_json` returned: "parents", and perhaps "levels" (or their names by depth), "classes"."""
        if not isinstance(document.get("parents"), Mapping):
            raise TaxonomyError(f"a hierarchy with the keys {sorted(document)} has no table 'parents'; add it.")
        levels, classes = document.get("levels") or {}, document.get("classes")
        named = levels if isinstance(levels, Mapping) else _by_depth(levels)
        if classes is not None and not _is_list_of_names(classes):
            raise TaxonomyError(f"'classes' of a hierarchy is {_shown(classes)}; give a list of names.")
        return cls(document["parents"], level_names=named, leaves=classes)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Build from whichever mapping this is.

        ``{"parents": {...}}`` is a parent table (with "levels" and "classes" where `to_json` wrote it); a mapping
        with a string among its values is child -> parent; one whose values are all flat lists of names, none of them
        a key, is superclass -> classes; anything else is nested.
        """
        if isinstance(mapping.get("parents"), Mapping) and set(mapping) <= {"parents", "levels", "classes"}:
            return cls.from_json(mapping)
        values = list(mapping.values())
        if any(isinstance(value, str) for value in values):
            return cls.from_parents(mapping)
        lists = [value for value in values if isinstance(value, list | tuple)]
        names = [name for value in lists for name in value]
        flat = all(isinstance(name, str) and name not in mapping for name in names)
        if len(values) > 1 and len(lists) == len(values) and flat and len(set(names)) == len(names):
            return cls.from_superclasses(mapping)
        return cls.from_nested(mapping)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file: .csv (columns child, parent and perhaps level), .json (see `from_mapping`), .nwk or .newick.

        The column level of a CSV names the level of its child: a name of its own for a depth, as "levels" of a JSON
        file are. A level with nodes at several depths is left out with a warning, and the root is on none.

        Raises
        ------
        TaxonomyError
            For a path that does not exist, an unknown suffix, text that cannot be parsed, or a bad hierarchy.
        """
        source = Path(path)
        text = formats.text_of(source, (".csv", ".json", ".nwk", ".newick"))
        suffix = source.suffix.lower()
        if suffix == ".csv":
            table, level_of = formats.parents_from_csv(text, source.name)
            taxonomy = cls(table)
            return cls(table, level_names=_depths(taxonomy, level_of, source.name)) if level_of else taxonomy
        if suffix == ".json":
            document = formats.json_document(text, source.name)
            return cls.from_mapping(document) if isinstance(document, Mapping) else cls.from_nested(document)
        return cls.from_newick(text)

    def to_json(self) -> dict[str, Any]:
        """Return a plain mapping from which `from_json` builds the same taxonomy; `read` accepts it in a file."""
        return {
            "parents": {node: list(above) for node, above in self._parents.items()},
            "levels": dict(self.level_names),
            "classes": list(self.leaves),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Taxonomy) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.root, self.leaves))

    def __repr__(self) -> str:
        return f"Taxonomy({len(self.leaves)} classes, {len(self.nodes)} nodes, root {self.root!r})"

    def _repr_html_(self) -> str:
        """Show the numbers and the top of the tree in a notebook."""
        levels = ", ".join(f"{name} (depth {depth})" for name, depth in self.level_names.items())
        facts = {"classes": str(len(self.leaves)), "nodes": str(len(self.nodes)), "levels": levels or "none is named"}
        return html_page("Taxonomy", html_facts(facts), html_tree(self.root, self._children, self.class_counts))

    def cut(self, n: int) -> LabelSpace:
        """Cut the taxonomy into at least n groups, broad ones first: `--space cut8` of the command line.

        The group with most classes is split into its node's children until there are n groups or more; there are more
        where a node with many children is the last to be split.

        Parameters
        ----------
        n
            Number of groups, 1 to the number of classes.

        Returns
        -------
        LabelSpace
            Its labels are in the order of `leaves`; in that of a run: ``taxonomy.restrict(run.classes).cut(8)``.

        Raises
        ------
        OptionError
            For n below 1 or above the number of classes.

        Examples
        --------
        >>> taxonomy = Taxonomy.from_nested({"animal": {"pet": ["cat", "dog"], "fish": ["cod"]}, "car": None})
        >>> taxonomy.cut(3)
        LabelSpace('cut3': 4 classes in 3 groups, 'pet', 'cod', 'car')
        """
        return cut(self, self.leaves, n)

    def restrict(self, classes: Sequence[str]) -> Taxonomy:
        """Return the taxonomy of these classes and their ancestors, with the classes in the order given.

        Heights, class counts and primary parents are those of the restriction: a node's height is the longest way
        down to one of *these* classes. A node may be a class if no other class stands below it. The root and the
        nodes with a single child stay, so distances between the classes do not shrink.

        Raises
        ------
        TaxonomyError
            For a class that is not there (with near names), listed twice, or above another class.

        Examples
        --------
        >>> Taxonomy.from_superclasses({"fish": ["shark", "trout"], "people": ["baby"]}).restrict(["trout", "baby"])
        Taxonomy(2 classes, 5 nodes, root 'root')
        """
        names = list(map(str, classes))
        self._check_classes(names)
        wanted = set(names)
        kept = set(wanted)
        pending = list(names)
        while pending:
            new = set(self._parents[pending.pop()]) - kept
            kept |= new
            pending.extend(new)
        table = {node: self._parents[node] for node in self.nodes if node in kept and node not in wanted}
        table.update((name, self._parents[name]) for name in names)
        inner = {parent for above in table.values() for parent in above}
        if broad := next((name for name in names if name in inner), None):
            below = self._descendants(broad)
            narrow = next(name for name in names if name in below)
            raise TaxonomyError(
                f"the class {broad!r} is an inner node of the taxonomy, above the class {narrow!r}, but classes must "
                "be leaves; drop one of the two, or put a leaf for the broader class below its node."
            )
        return Taxonomy(table, level_names=self.level_names, leaves=names)

    def _descendants(self, node: str) -> set[str]:
        found: set[str] = set()
        pending = [node]
        while pending:
            new = set(self._children[pending.pop()]) - found
            found |= new
            pending.extend(new)
        return found

    def _check_classes(self, names: list[str]) -> None:
        if not names:
            raise TaxonomyError("there are no classes to restrict the taxonomy to: []; give at least one.")
        if len(set(names)) < len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise TaxonomyError(f"the class {twice!r} is listed twice; list it once.")
        missing = [name for name in names if name not in self._parents]
        if missing:
            shown = listed(missing, _NAMED, show=lambda name: f"{name!r}{self._near(name)}")
            raise TaxonomyError(
                f"the taxonomy lacks {len(missing)} of the {len(names)} classes: {shown}; "
                f"add them to it, or correct the class names ({NAME_CLASSES})."
            )


def _ordered(found: Sequence[str], wanted: list[str]) -> tuple[str, ...]:
    if len(wanted) != len(found) or set(wanted) != set(found):
        raise TaxonomyError(
            f"the listed classes {listed(wanted, 3)} are not the leaves {listed(found, 3)} of the taxonomy; "
            "list each leaf once."
        )
    return tuple(wanted)


def _is_list_of_names(given: object) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _by_depth(levels: Sequence[str]) -> dict[str, int]:
    if not _is_list_of_names(levels) or len(set(levels)) < len(levels):
        raise TaxonomyError(
            f"the level names {_shown(levels)} are not a list of different names; name each depth once."
        )
    return {name: depth for depth, name in enumerate(levels, start=1)}


def _depths(taxonomy: Taxonomy, level_of: Mapping[str, str], name: str) -> dict[str, int]:
    """Return the depth of each level that a file gives nodes; warn of those whose nodes stand at several.

    A level of classes only is the deepest that they have: there, each stands for itself. The root is no level.
    """
    depth = {taxonomy.root: 0}
    for node in taxonomy.nodes[1:]:  # parents first
        depth[node] = depth[taxonomy.primary_parents[node]] + 1
    nodes_of: dict[str, list[str]] = {}
    for node, level in level_of.items():
        nodes_of.setdefault(level, []).append(node)
    named: dict[str, int] = {}
    for level, nodes in nodes_of.items():
        found = {depth[node]: node for node in reversed(nodes)}
        if len(found) == 1 or not any(taxonomy.children(node) for node in nodes):
            named[level] = max(found)
        else:
            shown = " and ".join(f"{at} ({found[at]!r})" for at in sorted(found)[:2])
            warnings.warn(
                f"the level {level!r} of {name!r} is left out: it has nodes at the depths {shown}, and a level has "
                "one; put nodes in between.",
                FeatlabWarning,
                stacklevel=3,
            )
    return {level: at for level, at in named.items() if at}


def _is_depth(depth: object) -> bool:
    return isinstance(depth, int) and not isinstance(depth, bool) and depth >= 1


def _checked_levels(level_names: Mapping[str, int]) -> dict[str, int]:
    for name, depth in level_names.items():
        taken = _RESERVED.fullmatch(str(name)) and name != f"depth{depth}"
        if taken or not str(name).strip() or not is_text(str(name)) or not _is_depth(depth):
            raise TaxonomyError(
                f"the level {name!r} at depth {depth!r} cannot be used; give it a depth of at least 1 and a name other "
                "than 'hyponym', 'cut2', 'depth1', 'height1' and the like."
            )
    return dict(level_names)
