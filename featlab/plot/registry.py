"""The registry of figures: what each shows and which choices it takes. `featlab/plot/kinds` has a file for each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featlab.errors import OptionError
from featlab.messages import joined, near_names

if TYPE_CHECKING:
    from featlab.plot.chart import Chart
    from featlab.plot.choose import Tables

OPTIONS = ("split", "layer", "epoch", "space", "score", "metric", "linkage")


@dataclass(frozen=True)
class Kind:
    """A kind of figure: what it shows, in a few words, and the options that its `make_chart` takes."""

    about: str
    takes: tuple[str, ...]


# Each is the function `make_chart(results, *, ...)` of the module of its name in `featlab.plot.kinds`.
KINDS: dict[str, Kind] = {
    "accuracy": Kind("accuracy by label space over the epochs, beside random groups", ("split", "space")),
    "onsets": Kind("when each label space was learned, beside random groups", ("split", "layer", "space", "score")),
    "collapse": Kind("NC1 to NC4 by label space over the epochs", ("split", "layer", "space", "score")),
    "alignment": Kind("agreement of the layers with the hierarchy", ("split", "layer", "space", "score")),
    "heatmap": Kind("one measure of every layer at every epoch", ("split", "space", "score")),
    "layers": Kind("measures over the layers at one epoch", ("split", "epoch", "space", "score")),
    "dendrogram": Kind("the tree of class means", ("split", "layer", "epoch", "space", "metric", "linkage")),
    "distances": Kind(
        "distances of class means, as their tree orders them", ("split", "layer", "epoch", "space", "metric", "linkage")
    ),
    "confusion": Kind("which group is taken for which", ("split", "epoch", "space")),
    "tanglegram": Kind(
        "the hierarchy against the tree of class means", ("split", "layer", "epoch", "space", "metric", "linkage")
    ),
    "trajectory": Kind("class means in two dimensions over the epochs", ("split", "layer", "epoch", "space", "metric")),
    "nodes": Kind("the hierarchy, coloured by when each node was learned", ("split", "layer", "score")),
}


def make_chart(results: Tables, kind: str, **options: Any) -> Chart:
    """Make the chart of a kind.

    Parameters
    ----------
    results
        Tables of an analysis.
    kind
        A name of `KINDS`.
    **options
        Its choices; one that is None is left to its default.

    Raises
    ------
    OptionError
        For a kind that is none, an option that the kind does not take, or a choice that the tables do not hold.
    DataError
        When the tables hold nothing to draw.
    """
    if kind not in KINDS:
        raise OptionError(f"there is no figure {kind!r}{near_names(kind, KINDS)}: choose from {', '.join(KINDS)}.")
    given = {name: value for name, value in options.items() if value is not None}
    takes = KINDS[kind].takes
    if foreign := [name for name in given if name not in takes]:
        raise OptionError(f"the figure {kind!r} takes no {foreign[0]!r}: it takes {joined(takes)}.")
    chart: Chart = importlib.import_module(f"featlab.plot.kinds.{kind}").make_chart(results, **given)
    return chart
