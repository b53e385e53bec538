"""Tables of an analysis: their columns, in which order, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schema:
    """Schema of a table: its subject, its key columns, which come first, and its measured columns."""

    about: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    later: tuple[str, ...] = ()  # added since results were first saved; NaN in those that lack them
    controlled: bool = False  # each measured column has its distribution over random controls beside it
    uncontrolled: tuple[str, ...] = ("groups", "rows")  # columns that have not
    added: bool = False  # since results were first saved; empty in those that lack it


_GEOMETRY = (
    "within_trace",
    "between_trace",
    "mean_norm",
    "mean_norm_cv",
    "cosine_mean",
    "cosine_std",
    "means_rank",
    "means_participation",
    "snr",
)


_COLLAPSE = (
    "nc1_pinv",
    "nc1_trace_ratio",
    "nc1_cdnv",
    "nc2_equinorm",
    "nc2_equiangular",
    "nc2_max_angle",
    "nc2_etf",
    "nc3_duality",
    "nc4_agreement",
    "ncc_accuracy",
)


_BIAS = (
    "accuracy",
    "relative_accuracy",
    "residual_error",
    "random_expected",
    "hypernym_gain",
    "mistake_severity",
    "hierarchical_precision",
    "hierarchical_recall",
)


_NULL = ("value", "null_mean", "null_std", "z", "p", "p_corrected", "ceiling", "permutations")


_POPULATION = ("population", "sampled", "needed", "interval")


_SNAPSHOT = ("epoch", "split", "layer")


_RATIO = ("ratio", "null_mean", "null_std", "z", "p", "class_ratio")


_SIBLINGS = ("cdnv", "equinorm", "equiangular", "max_angle", "etf")


TABLES: dict[str, Schema] = {
    "classes": Schema("the classes, by id", ("class",), ("name", "synset")),
    "spaces": Schema(
        "the group of every class in every label space",
        ("space", "class"),
        ("class_name", "group", "group_name", "groups"),
        ("largest", "entropy", "singletons", "balanced"),
    ),
    "accuracy": Schema(
        "accuracy and mistakes in every label space",
        ("epoch", "split", "space"),
        ("groups", "rule", "rows", *_BIAS),
        ("random_expected_error", "hierarchical_f"),
    ),
    "geometry": Schema(
        "norms, angles and traces of the means", (*_SNAPSHOT, "space"), ("groups", "rows", *_GEOMETRY), controlled=True
    ),
    "collapse": Schema(
        "neural collapse",
        (*_SNAPSHOT, "space"),
        ("groups", "rows", *_COLLAPSE),
        ("ncc_means", "nc1_rank"),
        controlled=True,
    ),
    "distances": Schema("distances between class means", (*_SNAPSHOT, "metric", "class_a", "class_b"), ("distance",)),
    "linkage": Schema(
        "trees over the class means, as SciPy numbers them",
        (*_SNAPSHOT, "metric", "linkage", "step"),
        ("left", "right", "height", "size"),
        ("left_name", "right_name"),
    ),
    "alignment": Schema(
        "agreement of class-mean distances with the hierarchy, beside permutations of the classes",
        (*_SNAPSHOT, "metric", "linkage", "taxonomy_distance", "space", "score"),
        _NULL,
    ),
    "evolution": Schema(
        "class-mean geometry against the last and the previous epoch",
        (*_SNAPSHOT, "reference", "metric", "linkage", "score"),
        ("value",),
    ),
    "onset": Schema(
        "the epoch by which a series has covered a fraction of its way",
        ("split", "layer", "space", "series", "fraction"),
        ("onset", "low", "high", "control_onset"),
        (*_POPULATION, "missing", "start", "course", "resolution", "control_low", "control_high", "control_p"),
    ),
    "precedence": Schema(
        "how much earlier a space was learned, in pairs",
        ("split", "layer", "series", "space", "fraction"),
        ("groups", "difference", "low", "high", "control_difference", "control_low", "control_high", *_POPULATION),
        added=True,
    ),
    "trend": Schema(
        "how far the classes are behind all broader spaces",
        ("split", "layer", "series", "fraction"),
        (
            *("spaces", "slope", "low", "high", "control_difference", "control_low", "control_high"),
            *("ahead", "ahead_low", "ahead_high"),
            *("ahead_control_difference", "ahead_control_low", "ahead_control_high", *_POPULATION),
        ),
        added=True,
    ),
    "node_onset": Schema(
        "when each node was learned, and in which order",
        ("split", "series", "node", "fraction"),
        ("parent", "depth", "classes", "first", "last", "onset", "low", "high", "rank", "rank_low", "rank_high"),
        added=True,
    ),
    "differentiation": Schema(
        "variance between classes, node by node",
        (*_SNAPSHOT, "node"),
        ("children", "classes", "rows", "variance", "share", "signal"),
        added=True,
    ),
    "split_onset": Schema(
        "when each node was split in a layer",
        ("split", "layer", "node", "fraction"),
        ("first", "last", "onset", "course", "rank"),
        added=True,
    ),
    "orthogonality": Schema(
        "angles of nodes and children, by random trees",
        (*_SNAPSHOT, "node"),
        ("children", "cosine", "null_mean", "null_std", "z", "p"),
        added=True,
    ),
    "depth_law": Schema(
        "how measures run over the layers, and a tunnel",
        ("epoch", "split", "space", "series"),
        (
            *("layers", "first_layer", "last_layer", "rank", "slope", "intercept", "r2", "p", "orders"),
            *("control_slope", "control_low", "control_high", "control_p", "last", "reached_layer", "reached"),
            *("control_reached", "control_reached_low", "control_reached_high", "control_reached_p"),
        ),
        added=True,
    ),
    "nested_collapse": Schema(
        "neural collapse among each node's children",
        (*_SNAPSHOT, "node"),
        ("level", "children", "classes", "rows", "between", "within", *_RATIO, *_SIBLINGS),
        added=True,
    ),
    "level_collapse": Schema(
        "that collapse by level of the hierarchy",
        (*_SNAPSHOT, "level"),
        ("nodes", *_RATIO, *_SIBLINGS),
        added=True,
    ),
    "level_onset": Schema(
        "when each level collapsed in a layer",
        ("split", "layer", "level", "series", "fraction"),
        ("first", "last", "onset", "course", "rank"),
        added=True,
    ),
    "tree_frame": Schema(
        "class means against the hierarchy's frame",
        _SNAPSHOT,
        ("classes", "distance", "null_mean", "null_std", "z", "p"),
        added=True,
    ),
    "calibration": Schema(
        "whether probabilities of groups come true",
        ("epoch", "split", "space"),
        ("groups", "rows", "accuracy", "confidence", "ece", "mce", "brier", "log_loss"),
        added=True,
    ),
    "neighbours": Schema(
        "nearest samples of the own group; only when asked for",
        (*_SNAPSHOT, "space"),
        ("groups", "rows", "k", "overlap", "low", "high", "expected", "ceiling", "accuracy"),
        controlled=True,
        uncontrolled=("groups", "rows", "k", "low", "high", "expected", "ceiling"),
        added=True,
    ),
    "similarity": Schema(
        "likeness of layers, epochs and runs; only when asked for",
        (*_SNAPSHOT, "other_run", "other_epoch", "other_layer", "score"),
        ("value", "null_mean", "null_std", "z", "p", "samples", "permutations"),
        added=True,
    ),
    "groups": Schema(
        "how well each group of each label space is told",
        ("epoch", "split", "space", "group"),
        ("group_name", "classes", "rows", "predicted", "accuracy", "recall", "precision", "mistake_severity"),
        added=True,
    ),
    "confusion": Schema(
        "rows by group and by the group taken for",
        ("epoch", "split", "space", "group", "predicted_group"),
        ("group_name", "predicted_name", "rows"),
        added=True,
    ),
    "confusion_alignment": Schema(
        "agreement of confusion with hierarchy and layers",
        ("epoch", "split", "layer", "metric", "taxonomy_distance", "score"),
        ("classes", "confused_pairs", *_NULL),
        added=True,
    ),
    "alignment_change": Schema(
        "change of that agreement; which layer has most",
        ("split", "layer", "metric", "linkage", "taxonomy_distance", "space", "score"),
        (
            *("first_epoch", "last_epoch", "first", "last", "change", "change_low", "change_high", "change_p"),
            *("low", "high", "rank", "behind", "behind_low", "behind_high", *_POPULATION),
        ),
        added=True,
    ),
    # Made only when they are asked for, and empty otherwise.
    "probes": Schema(
        "linear probes of each layer; only when asked for",
        (*_SNAPSHOT, "space"),
        (
            *("groups", "rows", "accuracy", "balanced_accuracy", "chance"),
            *("control_accuracy", "control_low", "control_high", "control_p"),
            *("regularization", "fitted_on", "fitted_rows", "dimensions"),
        ),
        added=True,
    ),
}

# Tables that are made of the others when they are asked for, and not saved.
VERDICT = "verdict"
COMPUTED: dict[str, Schema] = {
    VERDICT: Schema(
        "what the tables carry, one claim a row",
        ("series", "split", "layer", "claim", "space", "against"),
        ("difference", "low", "high", "sentence"),
    ),
}


def control_columns(measure: str) -> tuple[str, str, str]:
    """Names of a measure's control columns: mean and spread over random spaces, and the difference to that mean."""
    return f"{measure}_control", f"{measure}_control_std", f"{measure}_difference"


def control_place_columns(measure: str) -> tuple[str, str, str]:
    """Names of a measure's further control columns: quantiles at 2.5 % and 97.5 %, and its two-sided rank as a p."""
    return f"{measure}_control_low", f"{measure}_control_high", f"{measure}_control_p"


def later_columns(name: str) -> list[str]:
    """Columns of a table that were added since results were first saved; NaN in those that lack them."""
    schema = TABLES.get(name) or COMPUTED[name]
    return [*schema.later, *([] if schema.added else _places(schema))]


def table_columns(name: str) -> list[str]:
    """All columns of a table, saved or computed, in order.

    Examples
    --------
    >>> table_columns("classes")
    ['class', 'name', 'synset']
    """
    schema = TABLES.get(name) or COMPUTED[name]
    controls = [column for measure in _controlled(schema) for column in control_columns(measure)]
    return [*schema.keys, *schema.columns, *controls, *(_places(schema) if schema.added else []), *later_columns(name)]


def _controlled(schema: Schema) -> list[str]:
    """Measures of a table that have random controls beside them."""
    return [column for column in schema.columns if column not in schema.uncontrolled] if schema.controlled else []


def _places(schema: Schema) -> list[str]:
    return [column for measure in _controlled(schema) for column in control_place_columns(measure)]
