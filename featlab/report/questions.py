"""Questions of the page, in the order of docs/measures.md: each with its figures and its numbers.

A figure is drawn as soon as its kind stands in `featlab.plot.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from featlab.plot.choose import Tables
from featlab.report import answers
from featlab.report.answers import Answer
from featlab.report.variants import Choices, Drawn


@dataclass(frozen=True)
class Question:
    """A section: its name in the page, the question, its figures, and where its numbers come from."""

    name: str
    question: str
    figures: tuple[Drawn, ...]
    answers: tuple[Callable[[Tables, Choices], Iterator[Answer]], ...]


_SERIES = (
    ("accuracy", "accuracy"),
    ("ncc_accuracy", "nearest-mean accuracy"),
    ("nc1_pinv", "NC1 · nc1_pinv"),
    ("nc1_trace_ratio", "NC1 · nc1_trace_ratio"),
    ("nc2_etf", "NC2 · nc2_etf"),
    ("nc3_duality", "NC3 · nc3_duality"),
    ("nc4_agreement", "NC4 · nc4_agreement"),
)
_COLLAPSE = (
    (None, "NC1 to NC4"),
    ("nc1_trace_ratio", "NC1 · nc1_trace_ratio"),
    ("nc1_cdnv", "NC1 · nc1_cdnv"),
    ("nc2_equinorm", "NC2 · nc2_equinorm"),
    ("nc2_equiangular", "NC2 · nc2_equiangular"),
    ("nc2_max_angle", "NC2 · nc2_max_angle"),
    ("ncc_accuracy", "nearest-mean accuracy"),
)
_ALIGNMENT = tuple(
    (name, name)
    for name in (
        "rsa_spearman",
        "rsa_pearson",
        "rsa_kendall",
        "cophenetic_spearman",
        "cophenetic_self",
        "ari",
        "ami",
        "nearest_neighbor_share",
    )
)
_MEASURES = tuple(
    (name, name)
    for name in (
        "rsa_spearman",
        "nc1_pinv",
        "nc1_trace_ratio",
        "nc2_etf",
        "nc3_duality",
        "nc4_agreement",
        "ncc_accuracy",
        "cka_linear",
        "means_participation",
        "snr",
    )
)

QUESTIONS = (
    Question(
        "levels",
        "When was each level of the hierarchy learned, and is broad before specific?",
        (
            Drawn("accuracy", ("split", "space")),
            Drawn("onsets", ("split", "layer", "score"), _SERIES),
        ),
        (answers.level_answers,),
    ),
    Question(
        "collapse",
        "Did neural collapse come earlier in broad label spaces?",
        (Drawn("collapse", ("split", "layer", "space", "score"), _COLLAPSE),),
        (answers.collapse_answers,),
    ),
    Question(
        "layers",
        "Which layer follows the hierarchy, and was that learned?",
        (
            Drawn("alignment", ("split", "score"), _ALIGNMENT),
            Drawn("heatmap", ("split", "score"), _MEASURES),
            Drawn("layers", ("split", "epoch")),
        ),
        (answers.alignment_answers,),
    ),
    Question(
        "confusion",
        "Which classes are confused with which superclass?",
        (Drawn("confusion", ("split", "epoch", "space")),),
        (answers.confusion_answers,),
    ),
    Question(
        "nearness",
        "Are the classes that are confused near each other, in the hierarchy and in each layer?",
        (Drawn("distances", ("split", "layer", "epoch")),),
        (answers.nearness_answers,),
    ),
    Question(
        "nodes",
        "Which hypernym was learned first, which last?",
        (Drawn("nodes", ("split",)),),
        (answers.node_answers,),
    ),
    Question(
        "splits",
        "Where in the hierarchy, in which layer, do the features tell classes apart, and since when?",
        (
            Drawn("trajectory", ("split", "layer")),
            Drawn("dendrogram", ("split", "layer", "epoch")),
            Drawn("tanglegram", ("split", "layer", "epoch")),
        ),
        (answers.split_answers,),
    ),
)
