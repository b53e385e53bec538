"""`analyze`: every table for a stored run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from featlab.analysis.accuracy import accuracy_table
from featlab.analysis.alignment_change import Change, alignment_change, changes, missing, siblings
from featlab.analysis.alignment_table import Corrections
from featlab.analysis.asked_tables import AskedTables
from featlab.analysis.calibration_table import calibration_table
from featlab.analysis.class_order import Comparison, warn_class_order
from featlab.analysis.common_rank import with_common_rank
from featlab.analysis.confusion_alignment import ConfusionAlignment, confusion_alignment_rows
from featlab.analysis.confusion_tables import UNDECIDED, confusion_tables, count_decisions
from featlab.analysis.depth_table import DepthTable
from featlab.analysis.differentiation_tables import DifferentiationTables
from featlab.analysis.distance_table import distance_table, table_bytes
from featlab.analysis.evolution import evolution
from featlab.analysis.induced import SOURCES, data_driven_taxonomy
from featlab.analysis.judged_entries import Names
from featlab.analysis.judged_layer import Judged
from featlab.analysis.judged_work import Slimming, Work
from featlab.analysis.judging import Judging
from featlab.analysis.layer_order import Depth, choose_depth
from featlab.analysis.left_out import refuse_undecided, warn_left_out
from featlab.analysis.nested_measure import nested_measure
from featlab.analysis.nested_tables import NestedTables
from featlab.analysis.node_onset_table import node_onset_table
from featlab.analysis.onset_graph import onset_tables
from featlab.analysis.onsets import Series, accuracy_series, layer_series
from featlab.analysis.orthogonality_table import OrthogonalityTable
from featlab.analysis.other_runs import Against, open_others
from featlab.analysis.plan import (
    Hierarchy,
    Options,
    Plan,
    Senses,
    Spaces,
    choose_references,
    choose_snapshots,
    last_epochs,
    make_plan,
    one_or_several,
)
from featlab.analysis.population import choose_population
from featlab.analysis.reference import ReferenceRecipe
from featlab.analysis.snapshots import (
    Row,
    SnapshotSummary,
    join_measures,
    linkage_columns,
    linkage_frame,
    snapshot_measures,
    warn_gaps,
    warn_ties,
)
from featlab.analysis.stacked import Columns
from featlab.errors import OptionError
from featlab.hierarchy.load import load_taxonomy
from featlab.measures.joint_pass import Counting
from featlab.measures.loaded import find_measures
from featlab.measures.measure import Measure
from featlab.measures.similarity import NAME as SIMILARITY
from featlab.metrics.rsa.ranks import SORTED_AT_ONCE
from featlab.metrics.trees.draws import name_keys
from featlab.metrics.trees.linkage import Method
from featlab.progress import progress_bar
from featlab.results.tables import Results
from featlab.statistics.cache import StatisticsCache, cache_beside
from featlab.statistics.decisions import Decisions, decide
from featlab.statistics.device import open_device
from featlab.statistics.engine import Engine, Footprint, nothing_kept
from featlab.statistics.gather import Request, SnapshotGraph, footprint
from featlab.statistics.shared import shared
from featlab.statistics.usable import Pair, counted_rows, finite_rows
from featlab.store.reader import Run, open_run
from featlab.store.uncommitted import warn_uncommitted
from featlab.typing import Bools
from featlab.version import __version__

DISTANCE_ROWS = 5_000_000  # a larger table keeps the last epoch of each layer, or if that is larger still nothing
LAST_EPOCH = "the last epoch of each layer"


def analyze(
    run: Run | str | os.PathLike[str],
    *,
    hierarchy: Hierarchy | None = None,
    senses: Senses | None = None,
    spaces: Spaces | None = None,
    epochs: slice | int | Sequence[int] | None = None,
    splits: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    layers_order: Sequence[str] | None = None,
    metrics: str | Sequence[str] = ("euclidean", "cosine"),
    linkages: Method | Sequence[Method] = ("average", "ward"),
    distances: str | Sequence[str] = ("path", "lca_height"),
    measures: str | Measure | Sequence[str | Measure] = (),
    against: Against | Sequence[Against] = (),
    permutations: int = 999,
    controls: int = 20,
    means_from: str | None = None,
    rule: str = "greedy",
    debias: bool = False,
    allow_nonfinite: bool = False,
    seed: int = 0,
    client: Any = None,
    memory_limit: int | None = None,
    cache: bool | str | os.PathLike[str] = True,
    device: str | None = None,
    progress: bool | None = None,
) -> Results:
    """Compute class-mean geometry, neural collapse, hypernym bias, linkage and alignment for a stored run.

    The features are read once or twice, chunk by chunk, and those of the split "train" once more where others are
    compared with its class means; memory does not grow with the number of rows.

    Parameters
    ----------
    run
        A run or its path.
    hierarchy
        A `Taxonomy`, a mapping, a file (CSV, JSON, Newick); "dotted" or "slashed" where class names are paths;
        "wordnet", or the name of a built-in one such as "imagenet1k"; "induced" for the tree over the class means of
        the last layer at the last epoch, "induced:classifier" for the one over its classifier's rows.
    senses
        Synsets of ambiguous class names, for "wordnet": a mapping, or a file of words and synsets.
    spaces
        Label spaces beside the hyponym space: names ("cut8", "depth2", "height1", a level), `LabelSpace` objects, or
        a mapping from a name to the group of each class. By default the hierarchy's levels, and cuts near 2, 4, 8, ...
        groups where no level is near, all of them balanced (`featlab.hierarchy.labelspace.default_spaces`).
    epochs, splits, layers
        What to analyse, by default all: a slice or list of epoch numbers, split names, globs of layers.
    layers_order
        Names of layers from the input to the output, for what runs over depth; others are left out of that. By default
        the order that the run keeps, without layers after those that the classifier reads: these are outputs.
    metrics, linkages
        Distances between class means, and how trees are built on them.
    distances
        Between classes in the hierarchy, to compare with: path, lca_height (the defaults), lca_depth, wup,
        lch, jcn, lin, resnik; see `featlab.hierarchy.taxonomy_distances`.
    measures
        Further ones, each with a table of its name: names of featlab's own or of those that an installed package
        offers, or `featlab.measures.Measure` objects. Those that need the rows share one more reading of them.
    against
        Other runs of the same data, such as other seeds, that the measure "similarity" compares this one with.
    permutations
        Of classes, for the null of each alignment score.
    controls
        Random label spaces of the same group sizes beside each hypernym space; their distribution (mean, spread, 95 %
        interval) and the space's rank in it stand beside each measure. The rank's p is 2 / (controls + 1) at the least.
    means_from
        A split whose class means are used in place of each split's own. Without it, only `ncc_accuracy` takes those of
        the split "train", where that was captured too. In the split of the means itself, a row is left out of the mean
        of its class; `ncc_means` in the table says which means were taken.
    rule
        "greedy": a group is right when it holds the most probable class; "sum": when its classes' probabilities sum
        highest. For the latter `random_expected` is estimated, as no formula tells it.
    debias
        Take the share of estimation noise off squared Euclidean distances.
    allow_nonfinite
        Leave out rows with NaN or inf in one of the layers, or with logits that tell no class (NaN, +inf, or -inf
        throughout), rather than refuse them; every table then counts the same rows.
    seed
        Of controls, permutations and bootstrap, and of the random groups that are drawn with the "sum" rule.
    client
        A `dask.distributed.Client`; by default threads of this process.
    memory_limit
        Bytes that a process which does nothing else may take (with a client, all its workers together); what yours
        holds already comes on top. By default what the statistics need, and a few hundred megabytes.
    cache
        Keep the statistics of committed snapshots in this directory, by default next to the run (`run.cache` for
        `run.zarr`), and start from what is kept there. False for neither.
    device
        Of PyTorch, for the large products: those of the second pass, logits from W h + b, and from 256 classes on null
        correlations. "cuda" or "cuda:1" for a GPU (of each of the client's workers); "cpu" is there to try the same on.
        By default NumPy makes them.
    progress
        Draw a progress bar; by default when standard error is a terminal.

    Returns
    -------
    Results
        With the tables of `featlab.results.schema.TABLES`.

    Raises
    ------
    FeatlabError
        One of its children, with the cause, the offending value and the remedy.

    Examples
    --------
    >>> import numpy as np, tempfile, featlab
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(np.arange(4), 25)
    >>> features = np.eye(4)[labels] + 0.1 * rng.normal(size=(100, 4))
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> featlab.write_epoch(path, epoch=0, split="val", features={"last": features}, labels=labels)
    >>> results = featlab.analyze(path, spaces={"half": [0, 0, 1, 1]})
    >>> results.collapse.query("space == 'hyponym'").ncc_accuracy.tolist()
    [1.0]
    """
    run = run if isinstance(run, Run) else open_run(run)
    asked_measures = find_measures(measures)
    if against and SIMILARITY not in (loaded.name for loaded in asked_measures):
        raise OptionError(
            f"runs to compare with are for the measure {SIMILARITY!r}: ask for it (--measure {SIMILARITY})."
        )
    warn_uncommitted(run)
    options = Options(
        metrics=one_or_several(metrics),
        linkages=one_or_several(linkages),
        distances=one_or_several(distances),
        permutations=permutations,
        controls=controls,
        means_from=means_from,
        seed=seed,
        rule=rule,
        debias=debias,
        allow_nonfinite=allow_nonfinite,
        device=device,
    )
    if device is not None and client is None:
        open_device(device)  # to refuse at once what is not there; the client's workers see for themselves
    directory = cache_beside(run.path) if cache is True else None if cache is False else os.fspath(cache)
    engine = Engine(client, memory_limit, progress, StatisticsCache(directory), device)
    taxonomy = None
    if hierarchy is not None and hierarchy not in SOURCES:
        taxonomy = load_taxonomy(hierarchy, run.classes, synsets=run.synsets, senses=senses)
    requests = choose_snapshots(run, epochs=epochs, splits=splits, layers=layers, options=options)
    others = open_others(against, run, requests, options)
    if hierarchy in SOURCES:  # only the chosen snapshots tell which is the last
        taxonomy = data_driven_taxonomy(engine, run, requests, str(hierarchy), finite_only=allow_nonfinite)
    plan = make_plan(run, requests, taxonomy, spaces, options)
    depth = choose_depth(run, sorted({request.epoch for request in requests}), layers_order)
    decisions, rows = _decide(engine, run, plan)
    asked = AskedTables.of(asked_measures, plan, run.classes, others)
    asked.prepare(engine, run, plan.requests, Counting(allow_nonfinite, rows))
    tables = _Tables(engine, run, plan, decisions, depth, asked)
    groups = [list(group) for _, group in groupby(plan.requests, key=lambda request: (request.split, request.layer))]
    with nothing_kept(engine.client):
        judging = tables.judging(choose_references(run, requests, options), rows)
        with progress_bar("analysing", judging.steps(plan.requests), show=engine.progress) as advance:
            tables.confusion.add(judging.confused_with_hierarchy(advance))
            for judged in judging(groups, advance):
                tables.add(judged)
    asked.read_rows(engine)
    return tables.results()


def _decide(engine: Engine, run: Run, plan: Plan) -> tuple[dict[Pair, Decisions], dict[Pair, Bools]]:
    """Take the classifier's decisions, and find the rows that count where not all do."""
    options, spaces = plan.options, plan.groups
    if not options.allow_nonfinite:
        decisions = decide(engine, run, plan.pairs, spaces, rule=options.rule, seed=options.seed)
        refuse_undecided(run, decisions)
        return decisions, {}
    sources = [replace(request, split=options.means_from or request.split) for request in plan.requests]
    finite = finite_rows(engine, run, [*plan.requests, *sources])
    pairs = list(dict.fromkeys([*plan.pairs, *((source.epoch, source.split) for source in sources)]))
    decisions = decide(engine, run, pairs, spaces, rule=options.rule, seed=options.seed, rows=finite)
    counted = counted_rows(finite, decisions)
    warn_left_out(counted)
    return {pair: decisions[pair] for pair in plan.pairs if pair in decisions}, counted


class _Tables:
    """Gathers the rows of every table, one layer of one split at a time."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        plan: Plan,
        decisions: Mapping[Pair, Decisions],
        depth: Depth,
        asked: AskedTables,
    ) -> None:
        self.engine = engine
        self.run, self.plan, self.decisions, self.depth, self.asked = run, plan, decisions, depth, asked
        self.rows: dict[str, list[Row]] = {name: [] for name in ("geometry", "collapse", "evolution")}
        self.series: list[list[Series]] = []  # of each layer
        self.alignment, self.confusion = Corrections(), Corrections()
        self.changes: list[Change] = []
        self.shifts: dict[Comparison, tuple[int, float]] = {}
        self.with_distances: list[SnapshotSummary] = []
        self.trees: list[Columns] = []
        self.laws = DepthTable(plan, depth)
        self.angles = OrthogonalityTable(plan, run.classes)
        self.of_nodes: list[DifferentiationTables | OrthogonalityTable | NestedTables] = [
            DifferentiationTables(plan, run.classes),
            self.angles,
            NestedTables(plan, run.classes),
        ]
        self.single = False  # some snapshot has one row a class
        n_classes = len(run.classes)
        per_snapshot = n_classes * (n_classes - 1) // 2 * len(plan.options.metrics)
        self.distances_kept = "every epoch" if per_snapshot * len(plan.requests) <= DISTANCE_ROWS else LAST_EPOCH
        if per_snapshot > DISTANCE_ROWS:
            self.distances_kept = "none"
        self.sampled = choose_population(run.classes, plan.taxonomy, plan.spaces)
        self.siblings = siblings(run.classes, plan.taxonomy)
        options = plan.options
        drawn = options.permutations, options.seed, options.device
        self.recipe = ReferenceRecipe(tuple(run.classes), plan.taxonomy, options.distances, plan.spaces, *drawn)
        self.reference = shared(self.recipe)
        counted = count_decisions(run, decisions)
        self.confused = ConfusionAlignment.of(counted, self.reference, len(plan.requests), len(options.metrics))

    def judging(self, references: Mapping[Request, Request], rows: Mapping[Pair, Bools]) -> Judging:
        """Prepare to measure and judge all snapshots.

        Parameters
        ----------
        references
            From `choose_references`.
        rows
            Those that count, where some do not.
        """
        engine, run, plan, options = self.engine, self.run, self.plan, self.plan.options
        classes, finite_only = run.classes, options.allow_nonfinite
        keys, nested = name_keys(classes, options.seed), nested_measure(plan, classes)
        slimming = Slimming(
            means=self.asked.compared,
            distances=self._with_distances(),
            angles=self.angles.chosen(plan.requests),
            parents=self.angles.parents,
            trees=self.angles.trees,
        )
        join = partial(
            join_measures,
            n_classes=len(classes),
            means_from=options.means_from,
            references=references,
            further=self.asked.of_classes,
        )
        measures = snapshot_measures(plan.families, options.metrics, options.linkages, options.debias, keys, nested)
        work = Work(measures, join, slimming, self.recipe, self.reference, self.confused, self.siblings)
        needed = footprint(run, plan.requests, references) + work.footprint(len(classes))
        if engine.client is None:  # tables are joined in the client, which is none of the workers that the limit is for
            table = table_bytes(len(slimming.distances) * len(options.metrics), len(classes))
            needed += Footprint(task=0, snapshot=0, process=table)
        schedule = engine.schedule(needed)
        graph = SnapshotGraph(
            engine, run, schedule, plan.partitions, self.decisions, options.means_from, references, finite_only, rows
        )
        names = Names(
            plan,
            classes,
            graph,
            self.reference,
            self.confused,
            slimming.kept,
            is_own=not self.asked.of_classes.measures,
        )
        return Judging(engine, graph, schedule, work, names)

    def _with_distances(self) -> frozenset[Request]:
        """Find the snapshots whose distances the table has."""
        requests = self.plan.requests
        if self.distances_kept == "none":
            return frozenset()
        return last_epochs(requests) if self.distances_kept == LAST_EPOCH else frozenset(requests)

    def add(self, judged: Judged) -> None:
        """Take up the epochs of one layer and split."""
        summaries = with_common_rank(judged.summaries)
        warn_gaps(summaries, self.run.classes)
        warn_ties(summaries)
        self.single |= any(summary.counts.max() == 1 for summary in summaries)
        for summary in summaries:
            self.rows["geometry"] += summary.geometry.values()
            self.rows["collapse"] += summary.collapse.values()
            self.trees += linkage_columns(summary)
        self.with_distances += (summary for summary in summaries if summary.distances)
        self.rows["evolution"] += evolution([summary.request for summary in summaries], judged.compared)
        for tables in self.of_nodes:
            tables.add(summaries)
        self.asked.add(summaries)
        self.laws.add(summaries)
        self.series.append(layer_series(summaries, self.plan))
        self.alignment.add(judged.scored)
        self.changes += changes(judged.scored, judged.left_out, self.siblings)
        self.confusion.add(judged.confused)
        self.shifts |= judged.shifts

    def results(self) -> Results:
        """Assemble the results."""
        accuracy, answers = accuracy_table(self.run, self.plan, self.decisions, self.confused.counted)
        alignment = self.alignment.rows()
        aligned = pd.DataFrame(alignment)
        change = alignment_change(self.changes)
        warn_class_order(alignment, self.shifts)
        confused = confusion_tables(self.run, self.plan, self.confused.counted)
        confusion_alignment = confusion_alignment_rows(self.confusion.rows())
        nodes = node_onset_table(self.run, self.plan, self.decisions)
        classifier = [[series] for series in accuracy_series(answers, self.plan)]
        onsets = onset_tables(self.engine, [*classifier, *self.series], self.sampled, self.plan.options.seed)
        asked, lacking, measured = self.asked.finish()
        tables = {
            "classes": self._classes(),
            "spaces": self._spaces(),
            "accuracy": accuracy,
            "node_onset": nodes.rows,
            **{name: frame for each in self.of_nodes for name, frame in each.frames().items()},
            "calibration": calibration_table(self.plan, self.decisions),
            "groups": confused.groups,
            "confusion": confused.confusion,
            "confusion_alignment": pd.DataFrame(confusion_alignment),
            "distances": distance_table(self.with_distances, self.run.classes),
            "linkage": linkage_frame(self.trees, self.run.classes),
            "alignment": aligned,
            "depth_law": self.laws.frame(aligned),
            "alignment_change": pd.DataFrame(change),
            **{name: pd.DataFrame(rows) for name, rows in {**self.rows, **onsets}.items()},
            **asked,
        }
        unknown = "" if self.decisions else UNDECIDED
        said = {
            "calibration": unknown,
            "confusion_alignment": self.confused.note(confusion_alignment),
            "node_onset": nodes.note,
        }
        notes = {
            **self._notes(alignment, change),
            **confused.notes,
            **{name: note for name, note in said.items() if note},
            **{name: note for each in self.of_nodes for name, note in each.notes().items()},
            **lacking,
            **self.laws.notes(),
        }
        return Results(tables, {**self._parameters(), **measured, "notes": notes})

    def _notes(self, alignment: Sequence[Row], change: Sequence[Row]) -> dict[str, str]:
        """Say of tables that lack what one would look for in them why they do."""
        notes = {}
        if self.plan.taxonomy is not None and all(space.is_identity for space in self.plan.spaces):
            notes["spaces"] = (
                "it has the classes only: the hierarchy names no level, and no cut of it is balanced; name a space, "
                "such as cut4, to look at it all the same."
            )
        n_classes = len(self.run.classes)
        pairs = n_classes * (n_classes - 1) // 2
        if self.distances_kept == "none":
            notes["distances"] = (
                f"it is empty: {pairs:,} pairs of {n_classes:,} classes, times {len(self.plan.options.metrics)} for "
                f"metrics, are more than the {DISTANCE_ROWS:,} rows that are kept; the other tables do without."
            )
        elif self.distances_kept == LAST_EPOCH:
            notes["distances"] = f"it has {LAST_EPOCH} only: all epochs are more than {DISTANCE_ROWS:,} rows."
        if self.single:
            notes["collapse"] = notes["geometry"] = (
                "where each class has one row, as class vectors have, its scatter is unknown: columns that need it are "
                "NaN for the classes."
            )
        if self.plan.taxonomy is None:
            notes["alignment"] = "without a hierarchy to compare class means with, most scores are missing; give one."
        elif self.plan.options.permutations and any(
            row["score"] == "rsa_kendall" and not row["permutations"] for row in alignment
        ):
            notes["alignment"] = (
                f"rsa_kendall has no null and no p: permutations are not counted above {SORTED_AT_ONCE:,} pairs of "
                "classes; rsa_spearman, which compares ranks too, has them."
            )
        if said := missing(change, self.siblings):
            notes["alignment_change"] = said
        return notes

    def _classes(self) -> pd.DataFrame:
        names = self.run.classes
        synsets: Sequence[str | None] = self.run.synsets or [None] * len(names)
        return pd.DataFrame({"class": np.arange(len(names)), "name": names, "synset": synsets})

    def _spaces(self) -> pd.DataFrame:
        return pd.concat(
            [
                pd.DataFrame(
                    {
                        "space": space.name,
                        "class": np.arange(len(self.run.classes)),
                        "class_name": self.run.classes,
                        "group": space.labels,
                        "group_name": [space.groups[group] for group in space.labels],
                        "groups": space.n_groups,
                        "largest": space.largest_share,
                        "entropy": space.entropy,
                        "singletons": float(space.singletons),
                        "balanced": float(space.is_balanced),
                    }
                )
                for space in self.plan.spaces
            ],
            ignore_index=True,
        )

    def _parameters(self) -> dict[str, Any]:
        options, requests = self.plan.options, self.plan.requests
        return {
            "featlab_version": __version__,
            "run": self.run.path,
            "model": self.run.attrs.get("model"),
            "epochs": sorted({request.epoch for request in requests}),
            "splits": list(dict.fromkeys(request.split for request in requests)),
            "layers": list(dict.fromkeys(request.layer for request in requests)),
            "layers_order": list(self.depth.layers),
            "layers_order_found": self.depth.found,
            "spaces": [space.name for space in self.plan.spaces],
            "hierarchy": None if self.plan.taxonomy is None else self.plan.taxonomy.to_json(),
            **{name: list(value) if isinstance(value, tuple) else value for name, value in vars(options).items()},
            "distances_kept": self.distances_kept,
        }
