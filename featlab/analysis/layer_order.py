"""The layers from the model's input to its output, as the run tells their order or somebody gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featlab.errors import OptionError
from featlab.messages import listed, near_names
from featlab.store.reader import Run

BY_HAND = "by hand"


@dataclass(frozen=True)
class Depth:
    """Hidden layers of a run in their order.

    Attributes
    ----------
    layers
        From the input to the output; without those that come after what the classifier reads: they are outputs.
    found
        How the order is known: "called", "given" or "by hand"; None where it is not.
    outputs
        Layers that were left out as outputs.
    """

    layers: tuple[str, ...]
    found: str | None
    outputs: tuple[str, ...] = ()


def choose_depth(run: Run, epochs: Sequence[int], given: Sequence[str] | None) -> Depth:
    """Take the order that was given, with the layers that it names, or else that of the run, without outputs.

    Parameters
    ----------
    run
        The run.
    epochs
        Those whose classifiers tell which layers are outputs.
    given
        Names of layers from the input to the output; None to ask the run.

    Raises
    ------
    OptionError
        A name that is no layer of the run, or that stands twice; fewer than two.
    """
    if given is not None:
        return Depth(_checked(run, given), BY_HAND)
    layers = tuple(run.layers_in_order)
    fed = {layer for epoch in epochs for layer in run.feeds(epoch)}
    ends = [number for number, layer in enumerate(layers, 1) if layer in fed]
    hidden = layers[: max(ends, default=len(layers))]
    found = run.attrs.get("layers_order", {}).get("found") if layers else None
    return Depth(hidden, found, layers[len(hidden) :])


def _checked(run: Run, given: Sequence[str]) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in run.layers:
            near = near_names(str(name), run.layers)
            raise OptionError(f"layers_order names {name!r}{near}: choose from {listed(run.layers)}.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise OptionError(f"layers_order names {twice!r} twice: name each layer once, from the input to the output.")
    if len(names) < 2:
        alone = f"{names[0]!r} alone" if names else "no layer"
        raise OptionError(
            f"layers_order names {alone}: give two or more, from the input to the output, or leave it out."
        )
    return tuple(names)
