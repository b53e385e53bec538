"""`python -m benchmarks.alignment`: agreement with a hierarchy at scale, each part in a process of its own.

snapshots   999 class permutations of the Spearman, cophenetic and triplet scores of 20 epochs x 4 layers at K = 1,000,
            with the CPU seconds of each part, beside scikit-bio's `mantel`, 999 permutations for one pair of matrices
classes     K = 21,841 noun synsets of WordNet (through NLTK), D = 1,024: `featlab.analyze` from the store to the tables
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import squareform

import featlab
from featlab.analysis import alignment_table
from featlab.analysis.alignment_table import align, corrected
from featlab.analysis.reference import make_reference
from featlab.analysis.snapshots import SnapshotSummary
from featlab.hierarchy.builtin import builtin_taxonomy
from featlab.hierarchy.load import load_taxonomy
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.trees.linkage import class_distances, linkage_tree
from featlab.statistics.gather import Request

SECTIONS = ("snapshots", "classes")
# Parts of the scores by what computes them. Some are computed in several threads, others by a thread among several.
PARTS = {
    "correlations": ("_correlate", time.process_time),
    "Kendall": ("_kendall", time.process_time),
    "trees (triplets, gamma, recall, purity, cuts)": ("_tree", time.thread_time),
    "distances with their own trees": ("_cophenetic_self", time.thread_time),
    "neighbours": ("_neighbours", time.thread_time),
}
ROWS = 2  # of each class in the section "classes"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    parser.add_argument("--section", choices=SECTIONS, action="append", help="by default both")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few snapshots, few classes")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for section in arguments.section or SECTIONS:
        if arguments.inside:
            (snapshots if section == "snapshots" else many_classes)(quick=arguments.quick)
            print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
        else:
            quick = ["--quick"] * arguments.quick
            command = [sys.executable, "-m", "benchmarks.alignment", "--inside", "--section", section, *quick]
            subprocess.run(command, check=True)


def planted(taxonomy: Taxonomy, dim: int, strength: float, seed: int) -> np.ndarray:
    """Class means along the taxonomy: each node adds a direction to all classes below it."""
    generator = np.random.default_rng(seed)
    moved = {node: generator.standard_normal(dim, np.float32) for node in taxonomy.nodes}
    means = [strength * sum(moved[node] for node in taxonomy.primary_path(name)) for name in taxonomy.leaves]
    return np.stack(means) + generator.standard_normal((len(means), dim), np.float32)


def snapshots(*, quick: bool) -> None:
    taxonomy = builtin_taxonomy("imagenet1k")
    names = taxonomy.leaves
    epochs, layers = (1, 1) if quick else (20, 4)
    reference = make_reference(names, taxonomy, ("path", "lca_height"), [], 999, 0)
    everything = []
    seconds = used = 0.0
    spent: Counter[str] = Counter()
    for part, (name, clock) in PARTS.items():
        setattr(alignment_table, name, timed(getattr(alignment_table, name), clock, part, spent))
    for layer in range(layers):
        members = [summary(taxonomy, epoch, layer) for epoch in range(epochs)]
        start, begin = time.perf_counter(), time.process_time()
        everything += align(members, reference)
        seconds, used = seconds + time.perf_counter() - start, used + time.process_time() - begin
    rows = corrected(everything)
    permutations = {row["score"]: row["permutations"] for row in rows}
    beside = mantel_seconds(members[0], taxonomy)
    what = f"{epochs} epochs x {layers} layers, K = {len(names)}"
    print(f"{what}: {len(rows)} scores in {seconds:.1f} s ({used:.1f} CPU s)")
    parts = ", ".join(f"{part} {spent[part]:.1f}" for part in PARTS)
    print(f"CPU s by part: {parts}, the rest {used - sum(spent.values()):.1f}")
    print("permutations: " + ", ".join(f"{score} {number}" for score, number in permutations.items()))
    print(f"scikit-bio's mantel, Spearman, 999 permutations, one pair of matrices: {beside:.1f} s")
    print(f"all scores of all snapshots cost what {seconds / beside:.1f} of them do")


def timed(function: Callable[..., Any], clock: Callable[[], float], part: str, spent: Counter[str]) -> Any:
    """Add what each call of a function takes to what its part has spent."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        start = clock()
        try:
            return function(*arguments)
        finally:
            spent[part] += clock() - start

    return call


def summary(taxonomy: Taxonomy, epoch: int, layer: int) -> SnapshotSummary:
    means = planted(taxonomy, 256, 0.02 * (epoch + 1), seed=100 * layer + epoch).astype(np.float64)
    means -= means.mean(axis=0)
    distances = {metric: class_distances(means, metric) for metric in ("euclidean", "cosine")}
    trees = {
        (metric, method): linkage_tree(values, metric, method)
        for metric, values in distances.items()
        for method in ("average", "ward")
    }
    counts = np.full(len(means), 50)
    request = Request(epoch, "val", f"layer{layer}")
    return SnapshotSummary(request, np.arange(len(means)), means, {}, {}, distances, trees, counts, {}, 0)


def mantel_seconds(member: SnapshotSummary, taxonomy: Taxonomy) -> float:
    from skbio.stats.distance import DistanceMatrix, mantel

    sides = [
        DistanceMatrix(squareform(member.distances["euclidean"])),
        DistanceMatrix(taxonomy.path_distances(taxonomy.leaves)),
    ]
    start = time.perf_counter()
    mantel(*sides, method="spearman", permutations=999)
    return time.perf_counter() - start


def many_classes(*, quick: bool) -> None:
    names = noun_synsets(1000 if quick else 21_841)
    dim = 64 if quick else 1024
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "run.zarr"))
        taxonomy = load_taxonomy("wordnet", names)
        write(path, taxonomy, names, dim)
        start, begin = time.perf_counter(), time.process_time()
        results = featlab.analyze(path, hierarchy=taxonomy, spaces=["cut8", "cut512"], controls=1)
        seconds, used = time.perf_counter() - start, time.process_time() - begin
    print(f"K = {len(names)}, D = {dim}, {ROWS} rows a class: featlab.analyze took {seconds:.0f} s ({used:.0f} CPU s)")
    columns = ["metric", "linkage", "taxonomy_distance", "space", "score", "value", "z", "p", "permutations"]
    print(results.alignment[columns].to_string(index=False))


def noun_synsets(count: int) -> list[str]:
    from featlab.hierarchy.wordnet_data import wordnet_reader

    nouns = wordnet_reader().all_synsets("n")
    leaves = sorted(found.name() for found in nouns if not found.hyponyms() and not found.instance_hyponyms())
    return sorted(np.random.default_rng(0).permutation(leaves)[:count].tolist())


def write(path: str, taxonomy: Taxonomy, names: Sequence[str], dim: int) -> None:
    means = planted(taxonomy, dim, 0.3, seed=0)
    generator = np.random.default_rng(1)

    def batches() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        for start in range(0, len(names), 2048):
            own = np.repeat(np.arange(start, min(start + 2048, len(names))), ROWS)
            yield {"features": means[own] + generator.standard_normal((len(own), dim), np.float32)}, own

    featlab.write_epoch(path, epoch=0, features=batches(), labels=None, classes=list(names))


if __name__ == "__main__":
    main()
