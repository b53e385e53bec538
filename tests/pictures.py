"""Draws the pictures of the pages: of each score a low and a high value, the accuracy of the demo, and badges.

    python tests/pictures.py [--runs FOLDER] [NAME ...]

Everything is drawn from runs of `featlab demo` on real data: images of Fashion-MNIST (10 classes, a small convolutional
network) and definitions of WordNet's nouns (155 classes, a perceptron). What is in the folder already is taken from
there. The numbers in the titles are those of the tables; they are written to docs/pictures/numbers.json, from which
`make measures` tells them on the page.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from debian_data import set_variables
from matplotlib.collections import Collection, LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from scipy.cluster.hierarchy import cophenet

import featlab
from featlab.demo.findings import SPLIT
from featlab.demo.story import run_demo
from featlab.hierarchy.builtin import builtin_taxonomy
from featlab.hierarchy.taxonomy_distances import taxonomy_distances
from featlab.plot.draw_matplotlib import save_figure
from featlab.plot.palette import GROUPS, INK, MIXED, SOFT, group_style, scale_stops
from featlab.statistics.calibration import BINS

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "pictures"
NUMBERS = FOLDER / "numbers.json"
MEASURES = ("probes", "neighbours", "similarity")
YES, NO = "#3b5bdb", "#ea8a5c"
CLASSES = (*GROUPS, MIXED, INK)  # colours of ten
DARK, DARK_INK, DARK_SOFT = "#0d1117", "#e6edf3", "#9198a1"
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "featlab",
}


@dataclass(frozen=True)
class Side:
    """One half of a picture: what it is of, and the value of each score there."""

    of: str
    numbers: Mapping[str, float]
    draw: Callable[[Any], None]


@dataclass(frozen=True)
class Picture:
    """A low and a high value of a score, and of others that are seen in the same picture.

    Attributes
    ----------
    shows
        Sentences that say what is drawn.
    low, high
        By the score that is named first.
    also
        Scores that are the same number, or are seen alike, but are not told.
    """

    shows: str
    low: Side
    high: Side
    also: tuple[str, ...] = ()
    height: float = 2.7


class Trained:
    """A run of a demo with its results, trained and analysed where they are not in the folder yet."""

    def __init__(self, data: str, folder: Path, hierarchy: str | None = None) -> None:
        self._data, self._folder, self._hierarchy = data, folder / data, hierarchy

    @cached_property
    def results(self) -> featlab.Results:
        """Tables, with those of the measures."""
        path = self._folder / "pictures.results"
        if not path.exists():
            if not (self._folder / "run.results").exists():
                run_demo(self._data, self._folder)
            if self._hierarchy is None:
                return featlab.load_results(self._folder / "run.results")
            featlab.analyze(self._folder / "run.zarr", hierarchy=self._hierarchy, measures=MEASURES).save(path)
        return featlab.load_results(path)

    @cached_property
    def run(self) -> featlab.Run:
        """The stored activations."""
        _ = self.results  # which are made with it
        return featlab.open_run(self._folder / "run.zarr")

    def rows(self, layer: str, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Features and classes of a layer."""
        snapshot = self.run.snapshot(epoch=epoch, split=SPLIT, layer=layer)
        return snapshot.features.compute().astype(np.float64), np.asarray(snapshot.labels)

    def means(self, layer: str, epoch: int) -> np.ndarray:
        """Class means less their mean."""
        features, labels = self.rows(layer, epoch)
        means = np.stack([features[labels == number].mean(axis=0) for number in range(len(self.run.classes))])
        return means - means.mean(axis=0)

    def table(self, name: str, **where: Any) -> pd.DataFrame:
        """Rows of a table with these values; a condition that no row is under, such as one of other scores, is none."""
        found = self.results[name]
        for key, wanted in where.items():
            if key in found and (found[key] == wanted).any():
                found = found[found[key] == wanted]
        return found

    def value(self, score: str, **where: Any) -> float:
        """The number of a table, which the conditions must leave alone."""
        table, _, column = score.partition(".")
        if "score" in self.results[table]:
            column, where = "value", {"score": column, **where}
        found = self.table(table, **where)
        values = found[column].to_numpy(float)
        if len(values) != 1:
            raise ValueError(f"{score} has {len(values)} values for {where}")
        return float(values[0])

    def values(self, scores: Sequence[str], **where: Any) -> dict[str, float]:
        """Numbers of several scores."""
        return {score: self.value(score, **where) for score in scores}

    @cached_property
    def kinds(self) -> list[int]:
        """Number of the broad group that each class is in."""
        found = self.results.spaces.query("space == 'kind'").sort_values("class")
        return found["group"].tolist()


def plane(means: np.ndarray) -> np.ndarray:
    """The two directions in which means differ most, as columns."""
    return np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][:2].T


def every(labels: np.ndarray, count: int) -> np.ndarray:
    """The first so many rows of each class."""
    return np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)])


def bare(ax: Any, adjustable: Literal["box", "datalim"] = "datalim") -> None:
    """Take the axes away, and let both directions have one scale."""
    ax.set(xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable=adjustable)
    for spine in ax.spines.values():
        spine.set_visible(False)


def dots(ax: Any, places: np.ndarray, tints: Any, size: float = 5, **more: Any) -> None:
    """Points, as pixels: hundreds of them would make a large drawing."""
    ax.scatter(*places.T, c=tints, s=size, linewidths=0, rasterized=True, **more)


def collapse_of_variability(fashion: Trained, _: Trained) -> Picture:
    scores = ("collapse.nc1_pinv", "collapse.nc1_trace_ratio", "collapse.nc1_cdnv", "geometry.snr",
              "geometry.within_trace", "geometry.between_trace")  # fmt: skip

    def side(epoch: int) -> Side:
        def draw(ax: Any) -> None:
            features, labels = fashion.rows("hidden", epoch)
            means = fashion.means("hidden", epoch)
            axes, centre = plane(means), features.mean(axis=0)
            chosen = every(labels, 30)
            tints = [CLASSES[label] for label in labels[chosen]]
            dots(ax, (features[chosen] - centre) @ axes, tints)
            places = means @ axes
            ax.scatter(*places.T, c=[CLASSES[label] for label in range(10)], s=55, edgecolors=INK, linewidths=1)
            bare(ax)

        return Side(f"epoch {epoch}", fashion.values(scores, layer="hidden", epoch=epoch, space="hyponym"), draw)

    return Picture(
        "Small: 30 images of each of 10 classes, in the plane in which the class means (large) differ most. Scatter "
        "within classes is compared with that between their means. The trace of the untrained layer is tiny since its "
        "features are, which says nothing.",
        side(4), side(0), height=3.0,
    )  # fmt: skip


def frame(fashion: Trained, _: Trained) -> Picture:
    scores = ("collapse.nc2_etf", "collapse.nc2_equinorm", "collapse.nc2_equiangular", "collapse.nc2_max_angle",
              "geometry.cosine_mean", "geometry.means_participation")  # fmt: skip

    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            means = fashion.means(layer, epoch)
            lengths = np.linalg.norm(means, axis=1)
            cosines = (means / lengths[:, None]) @ (means / lengths[:, None]).T
            order = np.argsort(fashion.kinds, kind="stable")
            lengths = lengths[order]
            matrix(ax, cosines[np.ix_(order, order)], [fashion.run.classes[number] for number in order], (-1, 1))
            bars = ax.inset_axes((1.04, 0, 0.22, 1))
            bars.barh(range(10), lengths / lengths.mean(), color=MIXED, height=0.7)
            bars.axvline(1, color=INK, linewidth=0.8)
            bars.set(ylim=(9.5, -0.5), yticks=[], xticks=[0, 1], xlabel="length")

        values = fashion.values(scores, layer=layer, epoch=epoch, space="hyponym")
        return Side(f"layer {layer}, epoch {epoch}", values, draw)

    return Picture(
        "Cosines of the 10 centred class means (blue below 0, orange above), and their lengths over the mean length. "
        "In a simplex frame all cosines off the diagonal are -1/9, and all lengths 1. At the right all means lie on "
        "one line. The mean cosine is a little below 0 in both: centring alone brings it there.",
        side("hidden", 4), side("conv1", 0),
        also=("geometry.mean_norm", "geometry.mean_norm_cv", "geometry.cosine_std", "geometry.means_rank"),
        height=3.0,
    )  # fmt: skip


def matrix(ax: Any, values: np.ndarray, names: Sequence[str], limits: tuple[float, float], kind: str = "") -> None:
    """A matrix of classes by classes in colours."""
    stops = scale_stops("diverging") if limits[0] < 0 else [(0, "#ffffff"), (1, YES)]
    if kind == "gram":
        stops = scale_stops("diverging")
    ax.imshow(values, vmin=limits[0], vmax=limits[1], cmap=LinearSegmentedColormap.from_list("featlab", stops))
    ax.set_yticks(range(len(names)), names, fontsize=6)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def duality(fashion: Trained, _: Trained) -> Picture:
    def side(epoch: int) -> Side:
        def draw(ax: Any) -> None:
            means = fashion.means("hidden", epoch)
            weight = np.asarray(fashion.run.classifier(epoch).weight, np.float64)
            sides = [each / np.linalg.norm(each) for each in (means, weight)]
            axes = plane(np.concatenate(sides))
            of_means, of_rows = (each @ axes for each in sides)
            for mean, row, label in zip(of_means, of_rows, range(10), strict=True):
                tint = CLASSES[label]
                ax.plot(*np.transpose([mean, row]), color=MIXED, linewidth=0.7)
                ax.plot(*mean, "o", color=tint, markersize=6)
                ax.plot(*row, "o", color=tint, markersize=6, fillstyle="none", markeredgewidth=1.6)
            bare(ax)
            ax.margins(0.1)

        values = {"collapse.nc3_duality": fashion.value(
            "collapse.nc3_duality", layer="hidden", epoch=epoch, space="hyponym")}  # fmt: skip
        return Side(f"epoch {epoch}", values, draw)

    return Picture(
        "Of each class the mean of its features (filled) and its row of the classifier (ring), all at unit norm, in "
        "the plane in which they differ most. Long lines: rows and means have nothing to do with each other.",
        side(4), side(0),
    )  # fmt: skip


def agreement(fashion: Trained, _: Trained) -> Picture:
    scores = ("collapse.nc4_agreement", "collapse.ncc_accuracy")

    def side(epoch: int) -> Side:
        def draw(ax: Any) -> None:
            features, labels = fashion.rows("hidden", epoch)
            means, centre = fashion.means("hidden", epoch), features.mean(axis=0)
            snapshot = fashion.run.snapshot(epoch=epoch, split=SPLIT, layer="hidden")
            predicted = snapshot.logits.compute().argmax(axis=1)
            nearest = np.square((features - centre)[:, None] - means).sum(axis=2).argmin(axis=1)
            chosen = every(labels, 40)
            agree = (predicted == nearest)[chosen]
            places = (features[chosen] - centre) @ plane(means)
            dots(ax, places[~agree], NO, 7)
            dots(ax, places[agree], YES, 7)
            ax.scatter(*(means @ plane(means)).T, c=INK, s=26, marker="x", linewidths=1.4)
            bare(ax)

        return Side(f"epoch {epoch}", fashion.values(scores, layer="hidden", epoch=epoch, space="hyponym"), draw)

    return Picture(
        "Blue: images for which the classifier and the nearest class mean (crosses) name the same class; orange: they "
        "differ. Untrained, the classifier names one class for all, while the nearest means are often right.",
        side(0), side(4), height=3.0,
    )  # fmt: skip


def confused(fashion: Trained, _: Trained) -> Picture:
    scores = ("accuracy.accuracy", "accuracy.relative_accuracy", "accuracy.residual_error", "accuracy.mistake_severity",
              "accuracy.hierarchical_precision", "accuracy.hierarchical_recall",
              "accuracy.hierarchical_f")  # fmt: skip

    def side(epoch: int) -> Side:
        def draw(ax: Any) -> None:
            order = np.argsort(fashion.kinds, kind="stable")
            names = [fashion.run.classes[number] for number in order]
            matrix(ax, shares(fashion, epoch)[np.ix_(order, order)], names, (0, 1))
            ax.set_xlabel("taken for (in the same order)")

        values = fashion.values(scores, epoch=epoch, space="hyponym")
        gain = fashion.value("accuracy.hypernym_gain", epoch=epoch, space="kind")
        return Side(f"epoch {epoch}", values | {"accuracy.hypernym_gain": gain}, draw)

    return Picture(
        "Shares of the images of each class (rows) that are taken for each class (columns). hypernym_gain is that of "
        "the three kinds: clothing, footwear, bags. At epoch 0 all images are taken for one class, which is of the "
        "largest kind: that alone is a gain over random kinds, and no knowledge.",
        side(0), side(4), height=3.0,
    )  # fmt: skip


def shares(fashion: Trained, epoch: int) -> np.ndarray:
    """Shares of each class that are taken for each class."""
    table = fashion.table("confusion", space="hyponym", epoch=epoch)
    counts = np.zeros((10, 10))
    counts[table["group"], table["predicted_group"]] = table["rows"]
    return counts / counts.sum(axis=1, keepdims=True)


def one_group(fashion: Trained, _: Trained) -> Picture:
    scores = ("groups.recall", "groups.precision", "groups.accuracy", "groups.mistake_severity")

    def side(name: str) -> Side:
        number = fashion.run.classes.index(name)

        def draw(ax: Any) -> None:
            taken = shares(fashion, 4)[number]
            tints = [YES if other == number else NO for other in range(10)]
            ax.barh(range(10), taken, color=tints, height=0.75)
            ax.set_yticks(range(10), fashion.run.classes, fontsize=6.5)
            ax.set(xlim=(0, 1), ylim=(9.6, -0.6), xlabel=f"share of the images of {name.lower()}s taken for")

        return Side(f"{name}, epoch 4", fashion.values(scores, epoch=4, space="hyponym", group_name=name), draw)

    return Picture(
        "What the images of one class are taken for: recall is the blue bar. Precision is about other rows, those "
        "taken for the class, wherever they are from.",
        side("Shirt"), side("Trouser"),
    )  # fmt: skip


def of_pairs(fashion: Trained, layer: str, epoch: int) -> pd.DataFrame:
    """Distances of class means, with the links between the classes, a row for each pair."""
    table = fashion.table("distances", layer=layer, epoch=epoch, metric="cosine")
    classes = list(fashion.run.classes)
    links = taxonomy_distances(builtin_taxonomy("fashion-mnist"), classes, "path")["path"]
    number = {name: place for place, name in enumerate(classes)}
    pairs = zip(table["class_a"], table["class_b"], strict=True)
    return table.assign(links=[links[number[a], number[b]] for a, b in pairs])


def rsa(fashion: Trained, _: Trained) -> Picture:
    scores = ("alignment.rsa_spearman", "alignment.rsa_pearson", "alignment.rsa_kendall")

    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            pairs = of_pairs(fashion, layer, epoch)
            shift = np.random.default_rng(0).uniform(-0.13, 0.13, len(pairs))
            ax.plot(pairs["links"] + shift, pairs["distance"], "o", color=YES, alpha=0.6, markersize=4, linewidth=0)
            middle = pairs.groupby("links")["distance"].median()
            ax.hlines(middle, middle.index - 0.3, middle.index + 0.3, color=INK, linewidth=1.6)
            ax.set(xticks=middle.index, xlabel="links between two classes in the hierarchy", ylabel="cosine distance",
                   ylim=(0, 2))  # fmt: skip

        where = {"layer": layer, "epoch": epoch, "metric": "cosine", "taxonomy_distance": "path"}
        return Side(f"layer {layer}, epoch {epoch}", fashion.values(scores, **where), draw)

    return Picture(
        "Each point is a pair of classes: links between them in the hierarchy, and cosine distance of their means; "
        "lines are medians. Where a layer follows the hierarchy, they rise.",
        side("conv1", 4), side("hidden", 4),
    )  # fmt: skip


def nearest_classes(fashion: Trained, _: Trained) -> Picture:
    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            means = fashion.means(layer, epoch)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            apart = 1 - means @ means.T + 9 * np.eye(10)
            angle = np.empty(10)
            angle[np.argsort(fashion.kinds, kind="stable")] = 2 * np.pi * np.arange(10) / 10
            places = np.column_stack([np.cos(angle), np.sin(angle)])
            for here, there in enumerate(apart.argmin(axis=1)):
                tint = YES if fashion.kinds[here] == fashion.kinds[there] else NO
                ax.annotate("", places[there], places[here], arrowprops={
                    "arrowstyle": "-|>", "color": tint, "linewidth": 1.3, "shrinkA": 4, "shrinkB": 5})  # fmt: skip
            for (x, y), name, kind in zip(places, fashion.run.classes, fashion.kinds, strict=True):
                ax.plot(x, y, "o", color=group_style(kind)[0], markersize=6)
                side = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
                ax.text(1.12 * x, 1.15 * y, name, ha=side, va="center", fontsize=7)
            ax.set(xlim=(-1.8, 1.8), ylim=(-1.25, 1.25))
            bare(ax, "box")

        where = {"layer": layer, "epoch": epoch, "metric": "cosine", "taxonomy_distance": "path", "space": "kind"}
        scores = ("alignment.nearest_neighbor_share", "alignment.nearest_neighbor_distance")
        return Side(f"layer {layer}, epoch {epoch}", fashion.values(scores, **where), draw)

    return Picture(
        "An arrow leads from each class to the one with the nearest mean (cosine): blue within a kind, orange to "
        "another. Classes stand in the order of the hierarchy. The bag is alone in its kind: nearest_neighbor_share "
        "leaves it out.",
        side("conv1", 1), side("hidden", 4),
    )  # fmt: skip


def trees(fashion: Trained, _: Trained) -> Picture:
    scores = ("triplet_agreement", "bakers_gamma", "clade_recall", "dendrogram_purity", "ami", "ari",
              "fowlkes_mallows", "cophenetic_pearson", "cophenetic_spearman")  # fmt: skip

    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            fashion.results.plot.dendrogram(
                layer=layer, epoch=epoch, metric="cosine", linkage="average", space="kind", ax=ax
            )
            ax.get_legend().remove()
            ax.set_xlabel("cosine distance")
            ax.tick_params(axis="y", labelsize=7)

        where = {"layer": layer, "epoch": epoch, "metric": "cosine", "linkage": "average",
                 "taxonomy_distance": "path", "space": "kind"}  # fmt: skip
        values = fashion.values([f"alignment.{score}" for score in scores], **where)
        return Side(f"layer {layer}, epoch {epoch}", values, draw)

    return Picture(
        "Trees of the class means (cosine distance, average linkage). Branches of one kind have a colour: blue is "
        "clothing, red footwear, violet the bag; grey is mixed. A tree follows the hierarchy where kinds, and within "
        "clothing the tops, are branches of their own. ami, ari and fowlkes_mallows judge the cut of the tree into "
        "three.",
        side("conv1", 4), side("hidden", 1), height=3.0,
    )  # fmt: skip


def fit_of_tree(fashion: Trained, _: Trained) -> Picture:
    def side(layer: str, epoch: int) -> Side:
        where = {"layer": layer, "epoch": epoch, "metric": "cosine", "linkage": "average"}

        def draw(ax: Any) -> None:
            steps = fashion.table("linkage", **where).sort_values("step")
            merged = cophenet(steps[["left", "right", "height", "size"]].to_numpy(float))
            distances = fashion.table("distances", **where)["distance"].to_numpy()
            top = max(distances.max(), merged.max()) * 1.05
            ax.plot([0, top], [0, top], color=MIXED, linewidth=1)
            ax.plot(distances, merged, "o", color=YES, alpha=0.6, markersize=4, linewidth=0)
            ax.set(xlabel="cosine distance of two class means", ylabel="height at which they join", xlim=(0, top),
                   ylim=(0, top))  # fmt: skip

        value = fashion.value("alignment.cophenetic_self", **where)
        return Side(f"layer {layer}, epoch {epoch}", {"alignment.cophenetic_self": value}, draw)

    return Picture(
        "Each point is a pair of classes: distance of their means, and height at which the tree joins them. The first "
        "layer fits its tree best, and that tree does not follow the hierarchy.",
        side("hidden", 0), side("conv1", 4),
    )  # fmt: skip


def evolution(fashion: Trained, _: Trained) -> Picture:
    scores = ("cka_linear", "procrustes", "evolution_pearson", "evolution_spearman", "evolution_cophenetic")

    def side(epoch: int) -> Side:
        def draw(ax: Any) -> None:
            last, then = (fashion.means("hidden", number) for number in (4, epoch))
            last, then = last / np.linalg.norm(last), then / np.linalg.norm(then)
            left, _, right = np.linalg.svd(then.T @ last)
            turned = then @ left @ right
            for here, there, label in zip(turned @ plane(last), last @ plane(last), range(10), strict=True):
                tint = CLASSES[label]
                ax.plot(*np.transpose([here, there]), color=tint, linewidth=1)
                ax.plot(*there, "o", color=tint, markersize=6)
                ax.plot(*here, "o", color=tint, markersize=6, fillstyle="none", markeredgewidth=1.6)
            bare(ax)
            ax.margins(0.1)

        where = {"layer": "hidden", "epoch": epoch, "metric": "cosine", "linkage": "average", "reference": "last"}
        return Side(f"epoch {epoch}", fashion.values([f"evolution.{score}" for score in scores], **where), draw)

    return Picture(
        "Class means at the epoch (rings) and at the last one (filled), each set at unit norm, and turned onto the "
        "other as far as rotation goes.",
        side(0), side(3),
    )  # fmt: skip


def onsets(fashion: Trained, glosses: Trained) -> Picture:
    def side(data: Trained, of: str, space: str) -> Side:
        groups = data.results.spaces.groupby("space")["groups"].max()

        def draw(ax: Any) -> None:
            ends = []
            for name, tint in zip((space, "hyponym"), (YES, NO), strict=True):
                rows = data.table("accuracy", space=name).sort_values("epoch")
                accuracies = rows["accuracy"].to_numpy()
                way = (accuracies - accuracies[0]) / (accuracies[-1] - accuracies[0])
                told = f"{groups[name]} {'classes' if name == 'hyponym' else 'groups'}"
                ax.plot(rows["epoch"], way, "-o", color=tint, markersize=3.5, linewidth=1.6, label=told)
                ends.append(data.value("onset.onset", series="accuracy", space=name, fraction=0.5))
                ax.vlines(ends[-1], 0, 0.5, color=tint, linestyle="--", linewidth=1.2)
            ax.hlines(0.5, *sorted(ends), color=INK, linewidth=2.4)
            ax.set(xlabel="epoch", ylabel="accuracy, share of its way", ylim=(0, 1.05), xlim=(0, 4))
            ax.legend(loc="lower right")

        where = {"series": "accuracy", "space": space, "fraction": 0.5}
        values = data.values(("precedence.difference", "onset.onset"), **where)
        return Side(f"{of}, label space {space}", values, draw)

    return Picture(
        "Accuracy as a share of the way from its first to its last value, of a label space and of the classes. Dashed: "
        "their onsets at half of the way; the black line between them is `difference`. Of the images both were learned "
        "within one epoch, too early to tell which was first: capture within the epoch.",
        side(fashion, "images", "kind"), side(glosses, "definitions", "cut16"),
    )  # fmt: skip


def trend(_: Trained, glosses: Trained) -> Picture:
    def side(series: str, layer: str | None) -> Side:
        def draw(ax: Any) -> None:
            table = glosses.results.onset
            table = table[(table["series"] == series) & (table["fraction"] == 0.5)]
            table = table[table["layer"].isna() if layer is None else table["layer"] == layer]
            balanced = glosses.results.spaces.groupby("space")["balanced"].first()
            table = table[(table["space"] == "hyponym") | table["space"].map(balanced).eq(1)].dropna(subset="onset")
            groups = table["space"].map(glosses.results.spaces.groupby("space")["groups"].max()).astype(float)
            x, y = np.log2(groups.to_numpy()), table["onset"].to_numpy(float)
            slope, at = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            ax.plot(ends, slope * ends + at, color=MIXED, linewidth=1.2)
            ax.plot(x, y, "o", color=YES, markersize=5)
            ax.set_xticks(x, [f"{number:.0f}" for number in groups])
            ax.set(xlabel="groups of the label space", ylabel="onset (epochs)", ylim=(0, 1.6))

        where = {"series": series, "layer": layer, "fraction": 0.5}
        name = f"{series} of {layer}" if layer else series
        return Side(name, glosses.values(("trend.slope", "trend.ahead"), **where), draw)

    return Picture(
        "Onset of each label space over the number of its groups (definitions of nouns, logarithmic). `slope` is that "
        "of the line, `ahead` how much later the classes, at the right end, are than the mean of the others. In the "
        "left panel all onsets lie within the first epoch, of which only the ends were captured: they tell no order.",
        side("nc1_trace_ratio", "hidden3"), side("accuracy", None),
    )  # fmt: skip


def told(fashion: Trained, _: Trained) -> Picture:
    def side(node: str) -> Side:
        def draw(ax: Any) -> None:
            number = fashion.run.classes.index(node)
            taken = shares(fashion, 4)[:, number]
            own, other = taken[number], np.delete(taken, number).mean()
            ax.bar((0, 1), (own, other), color=(YES, NO), width=0.6)
            ax.annotate("", (1, own), (1, other), arrowprops={"arrowstyle": "<->", "color": INK})
            ax.text(1.06, (own + other) / 2, "J", fontsize=9)
            ax.hlines(own, 0.3, 1.3, color=INK, linewidth=0.6, linestyle=":")
            ax.set(xticks=(0, 1), ylim=(0, 1), ylabel=f"share taken for {node}")
            ax.set_xticklabels((f"images of {node}", "all other images"))

        where = {"node": node, "fraction": 0.5}
        both = {
            f"node_onset.{series}": fashion.value("node_onset.last", series=series, **where)
            for series in ("told_apart", "told_from_siblings")
        }
        return Side(f"{node}, epoch 4", both, draw)

    return Picture(
        "Share of a class's own images, and of all others, that are taken for it: told_apart is the difference of the "
        "two, told_from_siblings the same beside images of its siblings alone. The values are those of the last epoch.",
        side("Shirt"), side("Trouser"), also=("node_onset.first", "node_onset.last", "node_onset.onset"),
    )  # fmt: skip


def siblings(fashion: Trained, _: Trained) -> Picture:
    columns = ("class_ratio", "ratio", "cdnv", "equinorm", "equiangular", "max_angle", "etf")
    scores = [f"nested_collapse.{column}" for column in columns]

    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            features, labels = fashion.rows(layer, epoch)
            number = [fashion.run.classes.index(name) for name in ("T-shirt/top", "Pullover", "Coat", "Shirt")]
            means = fashion.means(layer, epoch)[number]
            axes = plane(means)
            centre = np.stack([features[labels == one].mean(axis=0) for one in number]).mean(axis=0)
            means = means - means.mean(axis=0)
            for place, one in enumerate(number):
                dots(ax, (features[labels == one][:90] - centre) @ axes, group_style(place)[0])
            for place, one in enumerate(number):
                ax.plot(*(means[place] @ axes), "o", color=group_style(place)[0], markersize=8, markeredgecolor=INK,
                        label=fashion.run.classes[one])  # fmt: skip
            bare(ax)
            ax.legend(loc="upper left", handletextpad=0.1, borderaxespad=0)

        where = {"layer": layer, "epoch": epoch, "node": "tops"}
        values = fashion.values([*scores, "differentiation.signal", "differentiation.share"], **where)
        return Side(f"tops, layer {layer}, epoch {epoch}", values, draw)

    return Picture(
        "The children of the node tops: 90 images of each, and their means, in the plane of these. Rows within a "
        "child are compared with the distances between the children.",
        side("conv1", 4), side("hidden", 4), height=3.0,
        also=("differentiation.variance", "split_onset.last", "split_onset.onset"),
    )  # fmt: skip


def orthogonality(fashion: Trained, _: Trained) -> Picture:
    def side(node: str, layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            features, labels = fashion.rows(layer, epoch)
            below = NODES[node]
            number = {name: place for place, name in enumerate(fashion.run.classes)}
            top = features.mean(axis=0)
            rows = {child: np.isin(labels, [number[name] for name in names]) for child, names in below.items()}
            middle = features[np.any(list(rows.values()), axis=0)].mean(axis=0)
            way = middle - top
            length = np.linalg.norm(way)
            ax.annotate("", (1, 0), (0, 0), arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.8})
            ax.text(0.5, 0.04, f"to {node}", ha="center", va="bottom")
            ends = [(0.0, 0.0), (1.0, 0.0)]
            for place, (child, chosen) in enumerate(rows.items()):
                step = features[chosen].mean(axis=0) - middle
                along = float(step @ way) / length**2
                across = float(np.sqrt(max(step @ step / length**2 - along**2, 0)))
                ends.append((1 + along, across if place == 1 else -across))
                tint = group_style(place)[0]
                ax.annotate("", ends[-1], (1, 0), arrowprops={"arrowstyle": "-|>", "color": tint, "linewidth": 1.5})
                at = {"ha": ("right", "center", "left")[place], "va": "bottom" if place == 1 else "top"}
                ax.annotate(child, ends[-1], (0, 3 if place == 1 else -3), textcoords="offset points", fontsize=7, **at)
            x, y = np.transpose(ends)
            high = 1.2 * np.abs(y).max() + 0.1
            ax.set(xlim=(x.min() - 0.3, x.max() + 0.45), ylim=(-high, high))
            bare(ax, "box")

        where = {"layer": layer, "epoch": epoch, "node": node}
        value = fashion.value("orthogonality.cosine", **where)
        return Side(f"{node}, layer {layer}, epoch {epoch}", {"orthogonality.cosine": value}, draw)

    return Picture(
        "The way from the mean of all images to the node's, and from there to each of its children, at the angle that "
        "they have to it; above or below is chosen for the eye. At right angles the cosine is 0.",
        side("footwear", "hidden", 4), side("footwear", "conv1", 0), height=2.8,
    )  # fmt: skip


NODES = {
    "footwear": {"Sandal": ["Sandal"], "Sneaker": ["Sneaker"], "Ankle boot": ["Ankle boot"]},
    "clothing": {
        "tops": ["T-shirt/top", "Pullover", "Coat", "Shirt"], "Trouser": ["Trouser"], "Dress": ["Dress"],
    },
}  # fmt: skip


def depth(fashion: Trained, _: Trained) -> Picture:
    def side(epoch: int) -> Side:
        def draw(ax: Any) -> None:
            table = fashion.table("collapse", space="kind", epoch=epoch)
            values = np.log(table["nc1_pinv"].to_numpy(float))
            slope, at = np.polyfit(range(4), values, 1)
            ax.plot((0, 3), (at, at + 3 * slope), color=MIXED, linewidth=1.4)
            ax.plot(range(4), values, "o", color=YES, markersize=5)
            ax.set_xticks(range(4), table["layer"])
            ax.set(ylabel="log of nc1_pinv", xlim=(-0.3, 3.3), ylim=(-3, 1.8))

        where = {"series": "nc1_pinv", "space": "kind", "epoch": epoch}
        return Side(f"epoch {epoch}", fashion.values(("depth_law.slope", "depth_law.r2"), **where), draw)

    return Picture(
        "The logarithm of nc1_pinv of the three kinds over the layers, with the line through it. Steeper means that "
        "each layer takes away a larger share of what is left; r2 is how well the line fits.",
        side(4), side(0),
    )  # fmt: skip


def tunnel(fashion: Trained, glosses: Trained) -> Picture:
    def side(data: Trained, of: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            table = data.table("collapse", space="hyponym", epoch=epoch)
            values = table["ncc_accuracy"].to_numpy(float)
            ax.axhline(0.95 * values[-1], color=MIXED, linewidth=1.2, linestyle="--")
            ax.plot(range(len(values)), values, "-o", color=YES, markersize=5)
            reached = int(np.flatnonzero(values >= 0.95 * values[-1])[0])
            ax.plot(reached, values[reached], "o", color=NO, markersize=9)
            ax.set_xticks(range(len(values)), table["layer"])
            ax.set(ylabel="ncc_accuracy", ylim=(0, 1), xlim=(-0.3, len(values) - 0.7))

        where = {"series": "ncc_accuracy", "space": "hyponym", "epoch": epoch}
        return Side(f"{of}, epoch {epoch}", data.values(("depth_law.reached",), **where), draw)

    return Picture(
        "ncc_accuracy of the classes over the layers, and 95 % of that of the last one (dashed): the first layer to "
        "reach it is orange. On definitions the first layer tells more than the last, and what is behind it is tunnel.",
        side(glosses, "definitions", 6), side(fashion, "images", 4),
    )  # fmt: skip


def gram(fashion: Trained, _: Trained) -> Picture:
    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            means = fashion.means(layer, epoch)
            order = np.argsort(fashion.kinds, kind="stable")
            inner = (means @ means.T)[np.ix_(order, order)]
            top = 0.5
            matrix(ax, inner / np.linalg.norm(inner), [fashion.run.classes[number] for number in order], (-top, top))

        value = fashion.value("tree_frame.distance", layer=layer, epoch=epoch)
        z = fashion.value("tree_frame.z", layer=layer, epoch=epoch)
        return Side(f"layer {layer}, epoch {epoch}", {"tree_frame.distance": value, "tree_frame.z": z}, draw)

    return Picture(
        "Inner products of the centred class means, at unit size (blue below 0, orange above), classes in the order of "
        "the hierarchy. In its frame they are highest within the tops, then within clothing and within footwear, and "
        "below 0 between kinds.",
        side("hidden", 4), side("conv1", 0), height=3.0,
    )  # fmt: skip


def calibration(fashion: Trained, glosses: Trained) -> Picture:
    scores = ("calibration.ece", "calibration.mce", "calibration.accuracy", "calibration.confidence",
              "calibration.brier", "calibration.log_loss")  # fmt: skip

    def side(data: Trained, of: str, layer: str) -> Side:
        epoch = int(data.results.calibration["epoch"].max())

        def draw(ax: Any) -> None:
            snapshot = data.run.snapshot(epoch=epoch, split=SPLIT, layer=layer)
            logits = snapshot.logits.compute().astype(np.float64)
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            sure = (odds / odds.sum(axis=1, keepdims=True)).max(axis=1)
            right = logits.argmax(axis=1) == np.asarray(snapshot.labels)
            number = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)  # each bin without its lower end
            counts = np.bincount(number, minlength=BINS)
            held = counts > 0
            shares = np.bincount(number, right, BINS)[held] / counts[held]
            means = np.bincount(number, sure, BINS)[held] / counts[held]
            ax.plot((0, 1), (0, 1), color=MIXED, linewidth=1.2)
            ax.vlines(means, means, shares, color=NO, linewidth=1.4)
            ax.scatter(means, shares, s=5 + 200 * counts[held] / counts.sum(), color=YES, zorder=3, linewidths=0)
            ax.set(xlim=(0, 1.05), ylim=(0, 1.05), xlabel="probability of the class that is named",
                   ylabel="share that is right")  # fmt: skip

        return Side(f"{of}, epoch {epoch}", data.values(scores, epoch=epoch, space="hyponym"), draw)

    return Picture(
        "Rows by the probability of the class that is named: the share of them that is right, in 15 bins, larger where "
        "there are more rows. ece is the mean length of the orange lines, weighed by rows, mce the longest. The "
        "network on definitions has learned its few training rows by heart, and is far too sure of others.",
        side(fashion, "images", "hidden"), side(glosses, "definitions", "hidden3"),
    )  # fmt: skip


def neighbours(fashion: Trained, _: Trained) -> Picture:
    scores = ("neighbours.overlap", "neighbours.accuracy")

    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            features, labels = fashion.rows(layer, epoch)
            features, labels = features[:1500], labels[:1500]
            shown = every(labels, 5)
            places = (features - features.mean(axis=0)) @ plane(features)
            apart = np.square(features[shown][:, None] - features).sum(axis=2)
            apart[np.arange(len(shown)), shown] = np.inf
            near = np.argsort(apart, axis=1)[:, :3]
            lines = [(places[a], places[b]) for a, found in zip(shown, near, strict=True) for b in found]
            same = [labels[a] == labels[b] for a, found in zip(shown, near, strict=True) for b in found]
            tints = [YES if one else NO for one in same]
            ax.add_collection(LineCollection(lines, colors=tints, linewidths=0.6, rasterized=True))
            dots(ax, places[shown], [CLASSES[label] for label in labels[shown]], 12)
            bare(ax)
            ax.autoscale_view()

        return Side(f"layer {layer}, epoch {epoch}",
                    fashion.values(scores, layer=layer, epoch=epoch, space="hyponym"), draw)  # fmt: skip

    return Picture(
        "5 images of each class, each with lines to its three nearest among 1,500: blue to images of its own class, "
        "orange to others. (The table takes more images and more of the nearest.)",
        side("conv1", 4), side("hidden", 4), height=3.0,
    )  # fmt: skip


def similarity(fashion: Trained, _: Trained) -> Picture:
    scores = ("similarity.cka", "similarity.class_cka", "similarity.mutual_neighbours")

    def side(layer: str, other: str) -> Side:
        def draw(ax: Any) -> None:
            inner = []
            for name in (layer, other):
                features, labels = fashion.rows(name, 4)
                chosen = every(labels, 6)
                rows = features[chosen] - features.mean(axis=0)
                product = (rows @ rows.T)[np.triu_indices(len(chosen), 1)]
                inner.append(product / np.abs(product).max())
            dots(ax, np.column_stack(inner), YES, 4)
            ax.set(xticks=[0], yticks=[0], xlabel=f"inner product in {layer}", ylabel=f"in {other}")

        where = {"layer": layer, "other_layer": other, "epoch": 4, "other_epoch": 4}
        return Side(f"{layer} and {other}, epoch 4", fashion.values(scores, **where), draw)

    return Picture(
        "Each point is a pair of images: inner product of their centred features in one layer, and in the other. cka "
        "is, but for a correction, the correlation of the two.",
        side("conv1", "hidden"), side("conv1", "conv2"),
    )  # fmt: skip


def confusion_and_distance(fashion: Trained, _: Trained) -> Picture:
    def side(layer: str) -> Side:
        def draw(ax: Any) -> None:
            taken = shares(fashion, 4)
            pairs = of_pairs(fashion, layer, 4)
            number = {name: place for place, name in enumerate(fashion.run.classes)}
            both = [(number[a], number[b]) for a, b in zip(pairs["class_a"], pairs["class_b"], strict=True)]
            confused = [100 * (taken[a, b] + taken[b, a]) / 2 for a, b in both]
            ax.plot(pairs["distance"], confused, "o", color=YES, alpha=0.6, markersize=4.5, linewidth=0)
            ax.set(xlabel=f"cosine distance of class means in {layer}", ylabel="confused (% of images)", xlim=(0, 2),
                   ylim=(-0.4, None))  # fmt: skip

        where = {"layer": layer, "epoch": 4, "metric": "cosine"}
        value = fashion.value("confusion_alignment.rsa_spearman", **where)
        return Side(f"layer {layer}, epoch 4", {"confusion_alignment.rsa_spearman": value}, draw)

    return Picture(
        "Each point is a pair of classes: distance of their means, and share of their images taken for the other. Near "
        "classes are confused; in the first layer, also far ones are.",
        side("conv1"), side("hidden"),
    )  # fmt: skip


def probes(fashion: Trained, _: Trained) -> Picture:
    scores = ("probes.accuracy", "probes.balanced_accuracy")

    def side(layer: str, epoch: int) -> Side:
        def draw(ax: Any) -> None:
            table = fashion.table("probes", layer=layer, epoch=epoch).set_index("space")
            names = {"hyponym": "10 classes", "kind": "3 kinds"}
            for place, space in enumerate(names):
                row = table.loc[space]
                ax.plot(row["accuracy"], place, "o", color=YES, markersize=8, label="" if place else "accuracy")
                ax.vlines(row["chance"], place - 0.25, place + 0.25, color=INK, linewidth=1.5,
                          label="" if place else "chance")  # fmt: skip
                if pd.notna(row["control_low"]):
                    ax.hlines(place, row["control_low"], row["control_high"], color=MIXED, linewidth=9, alpha=0.55,
                              label="random groups", zorder=1)  # fmt: skip
            ax.set_yticks((0, 1), list(names.values()))
            ax.set(ylim=(1.5, -0.6), xlim=(0, 1.03), xlabel="accuracy of linear probes")
            ax.legend(
                loc="center", bbox_to_anchor=(0.5, 0.5), ncols=3, columnspacing=1, handletextpad=0.4, handlelength=1.2
            )

        return Side(f"layer {layer}, epoch {epoch}",
                    fashion.values(scores, layer=layer, epoch=epoch, space="hyponym"), draw)  # fmt: skip

    return Picture(
        "Accuracy of a linear probe of a layer, for the classes and for the kinds; the numbers are those of the "
        "classes. A probe of kinds tells of them where it is above those of random groups.",
        side("conv1", 0), side("hidden", 4), height=2.2,
    )  # fmt: skip


PICTURES: dict[str, Callable[[Trained, Trained], Picture]] = {
    "accuracy": confused,
    "nc1": collapse_of_variability,
    "nc2": frame,
    "nc3": duality,
    "nc4": agreement,
    "rsa": rsa,
    "nearest-class": nearest_classes,
    "trees": trees,
    "fit-of-tree": fit_of_tree,
    "evolution": evolution,
    "onset": onsets,
    "trend": trend,
    "node": told,
    "siblings": siblings,
    "orthogonality": orthogonality,
    "depth": depth,
    "tunnel": tunnel,
    "tree-frame": gram,
    "calibration": calibration,
    "neighbours": neighbours,
    "similarity": similarity,
    "group": one_group,
    "confusion": confusion_and_distance,
    "probes": probes,
}


def written(value: float) -> str:
    """A number as the page tells it: three digits.

    Examples
    --------
    >>> written(0.54939), written(94.636), written(0.0031), written(1.0)
    ('0.549', '94.6', '0.0031', '1.00')
    """
    if value == 0:
        return "0"
    digits = max(2 - int(np.floor(np.log10(abs(value)))), 0)
    return f"{value:.{min(digits, 4)}f}" if abs(value) < 0.1 else f"{value:.{digits}f}"


def draw(name: str, picture: Picture) -> dict[str, Any]:
    """Write a picture, and return what the page tells of it."""
    first = next(iter(picture.low.numbers))
    if not picture.low.numbers[first] < picture.high.numbers[first]:
        raise ValueError(f"{name}: the low {first} is not below the high one")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6, picture.height), layout="constrained")
        figure.get_layout_engine().set(wspace=0.06, w_pad=0.06)
        for ax, which, side in zip(figure.subplots(1, 2), ("low", "high"), (picture.low, picture.high), strict=True):
            side.draw(ax)
            short = first.partition(".")[2]
            ax.set_title(f"{which}: {short} {written(side.numbers[first])}\n{side.of}", loc="left", fontweight="normal")
        figure.savefig(FOLDER / f"{name}.svg", dpi=130, metadata={"Date": None})
    return {
        "shows": picture.shows,
        "sides": [picture.low.of, picture.high.of],
        "values": {score: [written(side.numbers[score]) for side in (picture.low, picture.high)]
                   for score in picture.low.numbers},
        "also": list(picture.also),
    }  # fmt: skip


def draw_start(glosses: Trained) -> dict[str, Any]:
    """Write the picture of the start page and the README, light and dark, and return the onsets that they tell of."""
    figure = glosses.results.plot.accuracy(backend="matplotlib")
    save_figure(figure, DOCS / "start.svg")
    darken(figure)
    save_figure(figure, DOCS / "start-dark.svg")
    onset = glosses.table("onset", series="accuracy", fraction=0.5)
    return {"onsets": {space: f"{value:.1f}" for space, value in zip(onset["space"], onset["onset"], strict=True)}}


def draw_badges() -> None:
    """Write what the badges of the README say, as the project's own files tell it."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    least = project["project"]["requires-python"].removeprefix(">=")
    badges = {
        "licence": ("licence", project["project"]["license"]),
        "python": ("python", f"{least} or newer"),
        "tests": ("tests", "make test"),
        "types": ("types", "mypy strict" if project["tool"]["mypy"]["strict"] else "mypy"),
    }
    (DOCS / "badges").mkdir(exist_ok=True)
    for name, sides in badges.items():
        widths = [12 + 6.4 * len(side) for side in sides]
        total = sum(widths)
        (DOCS / "badges" / f"{name}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:.0f}" height="20" font-size="11" '
            'font-family="DejaVu Sans, Verdana, sans-serif" text-anchor="middle">\n'
            f'<rect width="{total:.0f}" height="20" rx="3" fill="{SOFT}"/>\n'
            f'<path d="M{widths[0]:.1f} 0h{widths[1] - 3:.1f}a3 3 0 0 1 3 3v14a3 3 0 0 1 -3 3h-{widths[1] - 3:.1f}z" '
            f'fill="{YES}"/>\n'
            f'<text x="{widths[0] / 2:.1f}" y="14" fill="#ffffff">{sides[0]}</text>\n'
            f'<text x="{widths[0] + widths[1] / 2:.1f}" y="14" fill="#ffffff">{sides[1]}</text>\n</svg>\n',
            encoding="utf-8",
        )


def darken(figure: Figure) -> None:
    """Give a figure a dark ground, and its words and axes colours that are read on it."""
    figure.set_facecolor(DARK)
    for ax in figure.axes:
        ax.set_facecolor(DARK)
        ax.tick_params(colors=DARK_SOFT, labelcolor=DARK_INK)
        for spine in ax.spines.values():
            spine.set_edgecolor(DARK_SOFT)
    for mark in figure.findobj(Line2D):  # rings are filled with the ground
        if to_hex(mark.get_markerfacecolor()) == "#ffffff":
            mark.set_markerfacecolor(DARK)
    for marks in figure.findobj(Collection):
        marks.set_facecolor([DARK if to_hex(face) == "#ffffff" else face for face in marks.get_facecolor()])
    for words in figure.findobj(Text):
        words.set_color({INK: DARK_INK, SOFT: DARK_SOFT}.get(words.get_color(), words.get_color()))


def main() -> None:
    """Draw the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("build/pictures"))
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    set_variables()
    fashion = Trained("fashion-mnist", options.runs, "fashion-mnist")
    glosses = Trained("wordnet-glosses", options.runs)
    FOLDER.mkdir(exist_ok=True)
    draw_badges()
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.exists() else {}
    for name in options.names or ("start", *PICTURES):
        numbers[name] = draw_start(glosses) if name == "start" else draw(name, PICTURES[name](fashion, glosses))
    ordered = {name: numbers[name] for name in ("start", *PICTURES) if name in numbers}
    NUMBERS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
