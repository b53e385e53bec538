"""Time of all onsets, differences and trends of a large run, and of counting decisions in random groups.

    python -m benchmarks.onsets

1,000 classes of 50 rows, 90 epochs, 9 label spaces with 20 random groupings each, the classifier and 5 layers; 50
branches are the sample.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.onsets import Counted, Course, Series, onset_rows
from featlab.analysis.population import Population
from featlab.hierarchy.labelspace import LabelSpace, controls
from featlab.metrics.confusion import confusion

CLASSES, EPOCHS, ROWS, CONTROLS, LAYERS = 1000, 90, 50, 20, 5


def label_spaces() -> list[LabelSpace]:
    """The classes, and eight coarser spaces."""
    cuts = (2**power for power in range(1, 9))
    coarse = [
        LabelSpace.from_groups(f"cut{cut}", [str(place * cut // CLASSES) for place in range(CLASSES)]) for cut in cuts
    ]
    return [LabelSpace.identity([f"class{place:04d}" for place in range(CLASSES)]), *coarse]


def series(layer: str | None, spaces: list[LabelSpace], generator: np.random.Generator) -> Series:
    """An accuracy that is learned from coarse to fine."""
    epochs = np.arange(float(EPOCHS))
    counts = np.full((EPOCHS, CLASSES), ROWS)

    def rise(middle: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-0.3 * (epochs[:, None] - middle)))

    courses = []
    for place, space in enumerate(spaces):
        correct = generator.binomial(ROWS, rise(generator.normal(15 + 3 * (place or 9), 5, CLASSES)))
        drawn = rise(generator.normal(42, 1, 0 if space.is_identity else CONTROLS)).T
        share = correct.sum(axis=1) / counts.sum(axis=1)
        courses.append(Course(space, "epoch 0", epochs, share, drawn, None, Counted(epochs, correct, counts)))
    return Series("val", layer, "ncc_accuracy" if layer else "accuracy", tuple(courses))


def main() -> None:
    """Print the seconds."""
    generator = np.random.default_rng(0)
    spaces = label_spaces()
    every = [series(layer, spaces, generator) for layer in (None, *(f"layer{place}" for place in range(LAYERS)))]
    sampled = Population("branches of the hierarchy", np.arange(CLASSES) // 20)
    begun = time.perf_counter()
    tables = onset_rows(every, sampled, seed=0)
    rows = ", ".join(f"{len(found)} of {name}" for name, found in tables.items())
    print(f"rows ({rows}): {time.perf_counter() - begun:.1f} s")
    labels = np.repeat(np.arange(CLASSES), ROWS)
    said = np.where(generator.random(len(labels)) < 0.5, labels, generator.integers(0, CLASSES, len(labels)))
    drawn = [np.stack([each.labels for each in controls(space, CONTROLS, 0)]) for space in spaces[1:]]
    begun = time.perf_counter()
    counted = confusion(labels, said, CLASSES)
    for groups in drawn:
        counted.right(groups)
    seconds = EPOCHS * (time.perf_counter() - begun)
    print(f"decisions in {CONTROLS * len(drawn)} random groupings, {EPOCHS} x {len(labels):,} rows: {seconds:.1f} s")


if __name__ == "__main__":
    main()
