"""`results.plot`: a method for each kind of figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from featlab.errors import OptionError
from featlab.plot.registry import KINDS, make_chart

if TYPE_CHECKING:
    from featlab.plot.chart import Chart
    from featlab.plot.choose import Tables

Backend = Literal["matplotlib", "plotly"]


class Figures:
    """Figures of results.

    Each method returns a figure: of plotly, which tells what a point is on hover, or with `backend="matplotlib"` or
    `ax=`, of matplotlib, for papers: `figure.savefig("figure.pdf")`. Both are drawn from one description, `chart()`.
    What is not asked for is chosen: the split is validation where there is one, the layer the penultimate, the epoch
    the last; the subtitle says so.

    A figure of matplotlib shows itself in a notebook and is not known to `pyplot`; give `ax=plt.gca()` for one that is.

    Parameters
    ----------
    results
        Tables of an analysis.

    Examples
    --------
    >>> import pandas as pd
    >>> class Held(dict):
    ...     parameters = {}
    >>> row = {"split": "val", "space": "hyponym", "groups": 4, "rule": "greedy", "random_expected": 0.5}
    >>> table = pd.DataFrame([row | {"epoch": t, "accuracy": t / 2} for t in (0, 1)])
    >>> empty = pd.DataFrame({"space": [], "groups": []})
    >>> figure = Figures(Held(accuracy=table, spaces=empty, onset=pd.DataFrame())).accuracy()
    >>> [list(trace.y) for trace in figure.data][:1]
    [[0, 0.5]]
    """

    def __init__(self, results: Tables) -> None:
        self._results = results

    def __repr__(self) -> str:
        width = max(map(len, KINDS))
        return "\n".join(["Figures", *(f"  {name:<{width}}  {kind.about}" for name, kind in KINDS.items())])

    def chart(self, kind: str, **options: Any) -> Chart:
        """Describe what the figure of a kind draws, as frames and encodings, without drawing it."""
        return make_chart(self._results, kind, **options)

    def accuracy(
        self,
        *,
        split: str | None = None,
        space: str | Sequence[str] | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """Accuracy by label space over the epochs, beside random groups of the same sizes."""
        return self._draw("accuracy", backend, ax, split=split, space=space)

    def onsets(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        space: str | Sequence[str] | None = None,
        score: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """By when each label space was learned, with intervals, beside the classes and random groups.

        `score` is a series of the table `onset`: accuracy, or a column of `collapse`, of `layer`.
        """
        return self._draw("onsets", backend, ax, split=split, layer=layer, space=space, score=score)

    def collapse(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        space: str | Sequence[str] | None = None,
        score: str | Sequence[str] | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """NC1 to NC4 by label space over the epochs, with the bands of random groups.

        `score` names columns of `collapse` in place of one for each property.
        """
        return self._draw("collapse", backend, ax, split=split, layer=layer, space=space, score=score)

    def alignment(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        space: str | None = None,
        score: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """Agreement of the layers with the hierarchy over the epochs, beside shuffled classes."""
        return self._draw("alignment", backend, ax, split=split, layer=layer, space=space, score=score)

    def heatmap(
        self,
        *,
        split: str | None = None,
        space: str | None = None,
        score: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """One measure of every layer at every epoch.

        `score` is a score of `alignment` or `evolution`, or a column of `collapse` or `geometry`.
        """
        return self._draw("heatmap", backend, ax, split=split, space=space, score=score)

    def layers(
        self,
        *,
        split: str | None = None,
        epoch: int | None = None,
        space: str | Sequence[str] | None = None,
        score: str | Sequence[str] | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """Measures over the layers at one epoch; `score` names them, as in `heatmap`."""
        return self._draw("layers", backend, ax, split=split, epoch=epoch, space=space, score=score)

    def confusion(
        self,
        *,
        split: str | None = None,
        epoch: int | None = None,
        space: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """Which group of a label space is taken for which at one epoch, as shares of each row."""
        return self._draw("confusion", backend, ax, split=split, epoch=epoch, space=space)

    def dendrogram(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        epoch: int | None = None,
        space: str | None = None,
        metric: str | None = None,
        linkage: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """The tree of a layer's class means at one epoch, its branches coloured by a label space."""
        chosen = {"split": split, "layer": layer, "epoch": epoch, "space": space, "metric": metric, "linkage": linkage}
        return self._draw("dendrogram", backend, ax, **chosen)

    def distances(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        epoch: int | None = None,
        space: str | None = None,
        metric: str | None = None,
        linkage: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """Distances of a layer's class means at one epoch, in the order of their tree, beside groups of `space`."""
        chosen = {"split": split, "layer": layer, "epoch": epoch, "space": space, "metric": metric, "linkage": linkage}
        return self._draw("distances", backend, ax, **chosen)

    def nodes(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        score: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """The hierarchy, its nodes coloured by when the classifier told them apart, or `layer` split them.

        `score` is "told_apart" or "told_from_siblings".
        """
        return self._draw("nodes", backend, ax, split=split, layer=layer, score=score)

    def tanglegram(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        epoch: int | None = None,
        space: str | None = None,
        metric: str | None = None,
        linkage: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """The hierarchy face to face with the tree of a layer's class means, each class linked with itself."""
        chosen = {"split": split, "layer": layer, "epoch": epoch, "space": space, "metric": metric, "linkage": linkage}
        return self._draw("tanglegram", backend, ax, **chosen)

    def trajectory(
        self,
        *,
        split: str | None = None,
        layer: str | None = None,
        epoch: int | None = None,
        space: str | None = None,
        metric: str | None = None,
        backend: Backend | None = None,
        ax: Any = None,
    ) -> Any:
        """Class means of a layer in two dimensions over the epochs: a film in plotly, and a row of maps in print."""
        chosen = {"split": split, "layer": layer, "epoch": epoch, "space": space, "metric": metric}
        return self._draw("trajectory", backend, ax, **chosen)

    def _draw(self, kind: str, backend: Backend | None, ax: Any, **options: Any) -> Any:
        return draw(make_chart(self._results, kind, **options), backend, ax)


def draw(chart: Chart, backend: Backend | None = None, ax: Any = None) -> Any:
    """Draw a chart with a library: plotly, or matplotlib where axes are given.

    Raises
    ------
    OptionError
        For another library, or axes of matplotlib for plotly.
    """
    if backend not in (None, "matplotlib", "plotly"):
        raise OptionError(f"backend is {backend!r}: give 'matplotlib' or 'plotly'.")
    if backend == "plotly" and ax is not None:
        raise OptionError("`ax` belongs to matplotlib, and backend is 'plotly': leave one of them out.")
    if backend == "matplotlib" or ax is not None:
        from featlab.plot.draw_matplotlib import draw_matplotlib

        return draw_matplotlib(chart, ax)
    from featlab.plot.draw_plotly import draw_plotly

    return draw_plotly(chart)
