"""Nodes of WordNet that a network's layers split first and last, and what probes of its layers tell, over seeds.

    python -m benchmarks.glosses [--seeds 3] [--out FOLDER] [--layer hidden3]

Each seed is `featlab demo --data wordnet-glosses`, analysed with `--measure probes`. What is in the folder already is
taken from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import featlab
from featlab.demo.story import run_demo
from featlab.metrics.concordance import kendall_w
from featlab.results.tables import Results

FRACTION = 0.5  # of a node's way
ENDS = 10  # nodes that are shown from either end of the order
LARGE = 10  # classes below a node that is called broad
LEVEL = 0.95


def analysed(folder: Path, seed: int) -> Results:
    """Train, capture and analyse one seed."""
    path = folder / f"seed{seed}"
    if not (path / "probed.results").exists():
        story = run_demo("wordnet-glosses", path, seed=seed)
        hierarchy = story.results.parameters["hierarchy"]
        featlab.analyze(story.run, hierarchy=hierarchy, seed=seed, measures=("probes",)).save(path / "probed.results")
    return featlab.load_results(path / "probed.results")


def splits_over_seeds(results: Sequence[Results], layer: str) -> tuple[pd.DataFrame, float, float]:
    """Onset of each node's split in a layer: mean over seeds with Student's interval, and Kendall's W with its p.

    Nodes that have no onset at some seed are left out.
    """
    tables = [each.split_onset for each in results]
    tables = [table[(table["layer"] == layer) & (table["fraction"] == FRACTION)] for table in tables]
    onsets = pd.concat([table.set_index("node")["onset"].astype(float) for table in tables], axis=1).dropna()
    nodes = results[0].differentiation
    children = nodes[nodes["layer"] == layer].groupby("node")["classes"].max()
    half = stats.t.ppf((1 + LEVEL) / 2, len(results) - 1) * onsets.std(axis=1, ddof=1) / np.sqrt(len(results))
    found = pd.DataFrame({"classes": children.reindex(onsets.index).astype(int), "onset": onsets.mean(axis=1)})
    found = found.assign(low=found["onset"] - half, high=found["onset"] + half).sort_values("onset")
    w, p = kendall_w(onsets.to_numpy().T)
    return found, w, p


def probed(results: Sequence[Results]) -> pd.DataFrame:
    """Mean accuracy over seeds of probes at the last epoch, a row for each layer and label space, finest first."""
    tables = [each["probes"].query("epoch == epoch.max()") for each in results]
    joined = (
        pd.concat(tables).groupby(["layer", "space"], sort=False)[["groups", "accuracy", "control_accuracy"]].mean()
    )
    return joined.reset_index().sort_values("groups", ascending=False, kind="stable")


def layers_by_spaces(joined: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of probes beside that of random groups, layers by label spaces."""
    beside = [f"{own:.3f} ({drawn:.3f})" for own, drawn in zip(joined.accuracy, joined.control_accuracy, strict=True)]
    spaces = [f"{name} ({groups:.0f})" for name, groups in zip(joined.space, joined.groups, strict=True)]
    named = pd.DataFrame({"layer": joined.layer, "space": spaces, "told": beside})
    return named.set_index(["layer", "space"])["told"].unstack()[list(dict.fromkeys(spaces))]  # noqa: PD010


def told_of_splits(found: pd.DataFrame, ends: int = ENDS) -> str:
    """Say how large the nodes are that were split first and last.

    Examples
    --------
    >>> told_of_splits(pd.DataFrame({"classes": [30, 12, 2, 3], "onset": [0.3, 0.4, 1.5, 1.9]}), ends=2)
    'Of the 2 nodes that were split first 2 hold 10 classes or more, of the 2 split last 0; the largest holds 3.'
    """
    first, last = found["classes"].head(ends), found["classes"].tail(ends)
    return (
        f"Of the {len(first)} nodes that were split first {(first >= LARGE).sum()} hold {LARGE} classes or more, of "
        f"the {len(last)} split last {(last >= LARGE).sum()}; the largest holds {last.max()}."
    )


def told_of_probes(joined: pd.DataFrame) -> str:
    """Say what probes of the classes and of the broadest space gain or lose from the first layer to the last.

    Examples
    --------
    >>> table = {"layer": ["a", "a", "b", "b"], "space": ["hyponym", "cut2"] * 2, "groups": [9, 2] * 2}
    >>> told_of_probes(pd.DataFrame(table | {"accuracy": [0.5, 0.9, 0.4, 0.95]}))
    'From a to b, probes of the 9 classes go from 0.500 to 0.400, those of the 2 groups of cut2 from 0.900 to 0.950.'
    """
    layers = list(dict.fromkeys(joined["layer"]))
    ends = joined[joined["layer"].isin([layers[0], layers[-1]])].set_index(["space", "layer"])["accuracy"].unstack()  # noqa: PD010
    sizes = joined.groupby("space")["groups"].first()
    broadest, finest = sizes.idxmin(), sizes.idxmax()
    way = {
        space: f"from {ends.loc[space, layers[0]]:.3f} to {ends.loc[space, layers[-1]]:.3f}" for space in sizes.index
    }
    return (
        f"From {layers[0]} to {layers[-1]}, probes of the {sizes[finest]:.0f} classes go {way[finest]}, those of the "
        f"{sizes[broadest]:.0f} groups of {broadest} {way[broadest]}."
    )


def markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown."""
    columns = [table.index.name or "", *map(str, table.columns)]
    rows = [
        [str(index), *(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row)]
        for index, *row in table.itertuples()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ["---"] * len(columns), *rows])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("glosses"))
    parser.add_argument("--layer", default="hidden3")
    options = parser.parse_args()
    results = [analysed(options.out, seed) for seed in range(options.seeds)]
    found, w, p = splits_over_seeds(results, options.layer)
    broad = stats.spearmanr(found["classes"], found["onset"])
    print(f"{len(found)} nodes with an onset in {options.layer} at every one of {options.seeds} seeds; Kendall's W")
    print(f"{w:.2f} (p = {p:.2g}); rank correlation of onset with the classes below a node {broad.statistic:.2f}.\n")
    print("First:\n", markdown(found.head(ENDS)), "\nLast:\n", markdown(found.tail(ENDS)), sep="\n")
    print(f"\n{told_of_splits(found)}\n\nAccuracy of linear probes at the last epoch (of random groups):\n")
    joined = probed(results)
    print(markdown(layers_by_spaces(joined)), told_of_probes(joined), sep="\n\n")


if __name__ == "__main__":
    main()
