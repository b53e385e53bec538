"""One measure of every layer at every epoch, as a heat map."""

from __future__ import annotations

from featlab.plot.chart import Axis, Cell, Chart, ColourScale
from featlab.plot.choose import EPOCHS, Tables, depth_title, layers_in_order, said
from featlab.plot.measures import find_measure

_ROW_INCHES, _FEWEST, _MOST = 0.18, 2.4, 11.0


def make_chart(
    results: Tables, *, split: str | None = None, space: str | None = None, score: str | None = None
) -> Chart:
    """Describe the figure: layers in their order, from the bottom; `score` as in `find_measure`."""
    measure = find_measure(results, score, split=split, space=space)
    layers = layers_in_order(results, measure.rows)
    epochs = [str(epoch) for epoch in sorted(measure.rows["epoch"].unique())]
    rows = measure.rows.assign(epoch=measure.rows["epoch"].astype(str))
    known = rows["value"].dropna()
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    crossing = measure.signed and low < 0 < high
    ends = (-max(-low, high), max(-low, high)) if crossing else (low, high)
    height = min(max(_ROW_INCHES * len(layers) + 1.3, _FEWEST), _MOST)
    return Chart(
        title=f"{measure.title} by layer and epoch",
        subtitle=said(split=measure.split, space=measure.space_label),
        marks=(Cell(data=rows, x="epoch", y="layer", value="value", hover="{layer}, epoch {epoch}\n{value:.4g}"),),
        x=Axis(EPOCHS, order=tuple(epochs), most=16),
        y=Axis(depth_title(results), order=tuple(layers), most=60),
        colours=ColourScale(measure.name, *ends, "diverging" if crossing else "sequential", log=measure.logarithmic),
        panel_size=(6.4, height),
        how=f"A row is a layer, the first at the bottom; a column is an epoch. {_colours(crossing)} Empty cells are "
        "unknown.",
    )


def _colours(crossing: bool) -> str:
    return "Orange is above 0, blue below." if crossing else "The lighter, the higher the value."
