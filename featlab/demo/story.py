"""The demo as a story: train, capture, analyse, report, and say what came out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from featlab.demo.findings import SPLIT, alignment_table, onset_table, tell
from featlab.errors import NotAStoreError, OptionError
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import nn

    from featlab.results.tables import Results

EPOCHS = {"snippets": 8, "planted": 6, "fashion-mnist": 4, "wordnet-glosses": 6}


@dataclass(frozen=True)
class Story:
    """Outputs of a demo: its files, tables and findings.

    Attributes
    ----------
    run, results_path, report
        Paths of the store, the results and the report.
    results
        The tables.
    onsets
        One row a label space, coarse to fine: the epoch by which accuracy was half, and nine tenths, of its way up.
    alignment
        One row a layer: `rsa_spearman` of cosine distances untrained and at the last epoch, with the null
        and p, and with the interval and p of the change.
    sentence
        What the verdict says of the order of learning and of the last layer's alignment.
    seconds
        Time spent by stage.
    """

    run: Path
    results_path: Path
    report: Path
    results: Results
    onsets: pd.DataFrame
    alignment: pd.DataFrame
    sentence: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Trainee:
    """A network with its data, ready to train."""

    model: nn.Sequential
    train: tuple[NDArray[np.float32], NDArray[np.int64]]
    held_out: tuple[NDArray[np.float32], NDArray[np.int64]]
    classes: list[str]
    taxonomy: Taxonomy
    batch_size: int = 64


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run_demo(
    data: str = "snippets",
    out: str | PathLike[str] = "featlab-demo",
    *,
    seed: int = 0,
    epochs: int | None = None,
    data_dir: str | PathLike[str] | None = None,
    permutations: int = 999,
) -> Story:
    """Train a network, capture it at every epoch, analyse it against its hierarchy and write the report.

    A store, results and report of an earlier demo in the same folder are replaced; nothing else there is touched.

    Parameters
    ----------
    data
        "snippets" (source of installed libraries), "planted" (a tree with known answers), "fashion-mnist", or
        "wordnet-glosses" (definitions of nouns, with WordNet's hierarchy above them).
    out
        Folder to write to.
    seed
        Of the weights, the order of samples, the planted noise, the permutations and the controls.
    epochs
        Training passes.
    data_dir
        Where Fashion-MNIST lies.
    permutations
        Of the classes, for the null of the alignment.

    Returns
    -------
    Story

    Raises
    ------
    OptionError
        For unknown data, or epochs below 1.
    DataError, TaxonomyError
        When the data, or WordNet, cannot be found.
    NotAStoreError
        When the place of the store holds something else.
    """
    import featlab

    if data not in EPOCHS:
        raise OptionError(f"there is no demo on {data!r}; choose from {', '.join(EPOCHS)}.")
    passes = EPOCHS[data] if epochs is None else epochs
    if passes < 1:
        raise OptionError(f"a demo of {passes} epochs has nothing to show; give 1 or more.")
    folder = Path(out)
    store, tables, page = folder / "run.zarr", folder / "run.results", folder / "report.html"
    clock = _Clock()
    if data == "planted":
        _clear(store)
        with clock.stage("data and training"):
            taxonomy = _plant(store, passes, seed)
    else:
        with clock.stage("data"):
            if data == "fashion-mnist":
                trainee = _fashion_mnist(data_dir, seed)
            else:
                trainee = _snippets(seed) if data == "snippets" else _wordnet_glosses(seed)
        _clear(store)
        with clock.stage("training and capture"):
            _train(trainee, store, passes, seed)
        taxonomy = trainee.taxonomy
    with clock.stage("analysis"):
        results = featlab.analyze(store, hierarchy=taxonomy, seed=seed, permutations=permutations)
    with clock.stage("report"):
        results.save(tables)
        results.report(page)
    finest = [name for name in taxonomy.level_names if name not in set(results.spaces["space"])][-1:]
    onsets, alignment = onset_table(results, *finest), alignment_table(results)
    sentence = tell(results.verdict())
    return Story(store, tables, page, results, onsets, alignment, sentence, clock.seconds)


def _clear(store: Path) -> None:
    """Remove an earlier run, and only a run."""
    import featlab

    if store.exists():
        try:
            featlab.open_run(store)
        except NotAStoreError as error:
            raise NotAStoreError(
                f"{str(store)!r} exists and is no featlab run, so the demo will not replace it; choose another --out."
            ) from error
        shutil.rmtree(store)
    store.parent.mkdir(parents=True, exist_ok=True)


def _snippets(seed: int) -> _Trainee:
    from featlab.demo.snippets import LEVELS, hash_features, load_snippets
    from featlab.demo.train import mlp

    data = load_snippets()
    features = hash_features(data.texts)
    taxonomy = Taxonomy.from_names(data.classes, levels=LEVELS)
    model = mlp(features.shape[1], len(data.classes), seed=seed)
    late = data.held_out
    train, held_out = (features[~late], data.labels[~late]), (features[late], data.labels[late])
    return _Trainee(model, train, held_out, data.classes, taxonomy)


def _wordnet_glosses(seed: int) -> _Trainee:
    from featlab.demo.train import mlp
    from featlab.demo.wordnet_glosses import gloss_features, load_glosses
    from featlab.hierarchy.wordnet import wordnet_taxonomy

    data = load_glosses()
    features, late = gloss_features(data.texts), data.held_out
    model = mlp(features.shape[1], len(data.classes), seed=seed)
    train, held_out = (features[~late], data.labels[~late]), (features[late], data.labels[late])
    return _Trainee(model, train, held_out, data.classes, wordnet_taxonomy(data.classes))


def _fashion_mnist(data_dir: str | PathLike[str] | None, seed: int) -> _Trainee:
    import numpy as np

    from featlab.demo.fashion_mnist import find_fashion_mnist, load_fashion_mnist
    from featlab.demo.train import small_cnn
    from featlab.hierarchy.builtin import builtin_taxonomy

    folder = find_fashion_mnist(data_dir)
    train, test = (load_fashion_mnist(folder, split) for split in ("train", "test"))
    scaled = [(np.divide(images[:, None], 255, dtype=np.float32), labels) for images, labels in (train, test)]
    taxonomy = builtin_taxonomy("fashion-mnist")
    classes = list(taxonomy.leaves)
    model = small_cnn(len(classes), seed=seed)
    return _Trainee(model, scaled[0], scaled[1], classes, taxonomy, batch_size=128)


def _plant(store: Path, epochs: int, seed: int) -> Taxonomy:
    from featlab.demo.planted import PlantedCourse, default_onsets, planted_tree, write_course

    tree = planted_tree(seed=seed)
    depth = len(tree.steps)
    course = PlantedCourse(tree, default_onsets(depth, epochs), epochs)
    with progress_bar("planting", epochs + 1) as advance:
        for _ in write_course(store, course):
            advance(1)
    return tree.taxonomy


def _train(trainee: _Trainee, store: Path, epochs: int, seed: int) -> None:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    import featlab
    from featlab.demo.train import threads, training_passes

    inputs, labels = (torch.from_numpy(array) for array in trainee.train)
    held_out = DataLoader(TensorDataset(*(torch.from_numpy(array) for array in trainee.held_out)), batch_size=256)
    layers = [name for name, _ in trainee.model.named_children() if name != "classifier"]
    # On one thread the numbers are the same on any number of cores; networks this small gain little from more.
    with (
        threads(1),
        featlab.Capture(trainee.model, store, layers=layers, classes=trainee.classes) as capture,
        progress_bar("training", epochs + 1) as advance,
    ):
        capture.evaluate(held_out, epoch=0, split=SPLIT)
        advance(1)
        passes = training_passes(trainee.model, inputs, labels, epochs=epochs, batch_size=trainee.batch_size, seed=seed)
        for epoch in passes:
            capture.evaluate(held_out, epoch=epoch, split=SPLIT)
            advance(1)
