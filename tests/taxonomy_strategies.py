"""Random taxonomies for Hypothesis: rooted graphs with several parents a node, and trees."""

from __future__ import annotations

from hypothesis import strategies as st

from featlab.hierarchy.taxonomy import Taxonomy


@st.composite
def taxonomies(draw: st.DrawFn, max_parents: int = 3, max_classes: int = 12) -> Taxonomy:
    """Draw a taxonomy over its classes "c...", its nodes named so that the order of ids is not that of creation."""
    inner = draw(st.permutations([f"n{number}" for number in range(draw(st.integers(1, 8)))]))
    classes = draw(st.permutations([f"c{number}" for number in range(draw(st.integers(1, max_classes)))]))
    table: dict[str, list[str]] = {}
    for number, node in enumerate([*inner[1:], *classes], start=1):
        above = st.lists(st.sampled_from(inner[:number]), min_size=1, max_size=max_parents, unique=True)
        table[node] = draw(above)
    return Taxonomy(table).restrict(classes)


def trees(max_classes: int = 12) -> st.SearchStrategy[Taxonomy]:
    """Draw a taxonomy in which every node has one parent."""
    return taxonomies(max_parents=1, max_classes=max_classes)
