"""`python -m benchmarks.alignment_peers`: featlab's alignment of one snapshot beside what others have for a part of it.

Each peer computes one score with its null, featlab all scores of two metrics with two linkages, under 999 permutations.
CPU seconds of one run on one thread; of slow peers a few permutations, as seconds for each.

scikit-bio     `mantel`, Spearman, in the tests' requirements
rsatoolbox     `compare` with "rho-a" or "spearman" over `permute_rdms`, where it is installed
dendextend     `cor_bakers_gamma` over `sample.dendrogram`, where R has it (Debian: r-cran-dendextend)
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy.spatial.distance import squareform
from threadpoolctl import threadpool_limits

from benchmarks.alignment import summary
from featlab.analysis.alignment_table import align
from featlab.analysis.reference import make_reference
from featlab.hierarchy.builtin import builtin_taxonomy

PERMUTATIONS = 999
DENDEXTEND = """
suppressPackageStartupMessages(library(dendextend))
read <- function(file) as.dist(as.matrix(read.csv(file, header = FALSE)))
files <- commandArgs(trailingOnly = TRUE)
trees <- lapply(files[1:2], function(file) as.dendrogram(hclust(read(file), "average")))
spent <- system.time(for (turn in 1:as.integer(files[3])) cor_bakers_gamma(trees[[1]], sample.dendrogram(trees[[2]])))
cat(sum(spent[c("user.self", "sys.self")]))
"""


def main() -> None:
    """Print a line for each peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hierarchy", default="imagenet1k", help="a built-in one")
    parser.add_argument("--few", type=int, default=20, help="permutations of slow peers")
    given = parser.parse_args()
    taxonomy = builtin_taxonomy(given.hierarchy)
    names = taxonomy.leaves
    reference = make_reference(names, taxonomy, ("path", "lca_height"), [], PERMUTATIONS, 0)
    member = summary(taxonomy, 5, 0)
    for library in ("skbio.stats.distance", "rsatoolbox.rdm.rdms"):  # to import them is not what is timed
        with suppress(ImportError):
            importlib.import_module(library)
    with threadpool_limits(1):
        align([member], reference)  # what is loaded or compiled once
        own = _spent(lambda: align([member], reference))
        scores = len(align([member], reference))
        print(f"featlab, {scores} scores, {PERMUTATIONS} permutations: {own:.2f} CPU s")
        path, lca = taxonomy.path_distances(names), taxonomy.lca_heights(names)
        found = member.distances["euclidean"]
        _line("scikit-bio's mantel, one score", _spent(lambda: _mantel(found, path)), own, scores)
        if importlib.util.find_spec("rsatoolbox"):
            for method in ("rho-a", "spearman"):
                spent = _spent(lambda method=method: _rsatoolbox(found, path, method, given.few))  # type: ignore[misc]
                _line(f"rsatoolbox, {method}", spent * PERMUTATIONS / given.few, own, scores)
        else:
            print("rsatoolbox is not installed")
    spent = _dendextend(found, lca, max(1, given.few // 10))
    if spent is None:
        print("R has no dendextend")
    else:
        _line("dendextend's cor_bakers_gamma", spent * PERMUTATIONS / max(1, given.few // 10), own, scores)


def _line(what: str, spent: float, own: float, scores: int) -> None:
    print(f"{what:<34}{spent:>9.2f} CPU s for {PERMUTATIONS}: {spent / own:>8.1f} x all {scores} scores of featlab")


def _spent(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _mantel(found: np.ndarray, path: np.ndarray) -> None:
    from skbio.stats.distance import DistanceMatrix, mantel

    mantel(DistanceMatrix(squareform(found)), DistanceMatrix(path), method="spearman", permutations=PERMUTATIONS)


def _rsatoolbox(found: np.ndarray, path: np.ndarray, method: str, permutations: int) -> list[float]:
    from rsatoolbox.rdm import RDMs, compare
    from rsatoolbox.rdm.rdms import permute_rdms

    model, data = RDMs(path[None]), RDMs(found[None])
    generator = np.random.default_rng(0)
    orders = [generator.permutation(model.n_cond) for _ in range(permutations)]
    return [float(compare(permute_rdms(model, order), data, method=method)[0, 0]) for order in orders]


def _dendextend(found: np.ndarray, lca: np.ndarray, permutations: int) -> float | None:
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.csv") for name in ("found", "lca")]
        for file, square in zip(files, (squareform(found), lca), strict=True):
            np.savetxt(file, square, delimiter=",")
        command = ["Rscript", "-e", DENDEXTEND, *map(str, files), str(permutations)]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
    return float(said.stdout) if said.returncode == 0 else None


if __name__ == "__main__":
    main()
