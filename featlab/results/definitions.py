"""Definitions: meaning, formula, unit, range, direction, source and null of every column and of every named value.

A column is found under "table.column", or where it means the same wherever it stands, under its name alone. Those of
random controls follow from the measure that they stand beside. `featlab.results.registry` looks them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Definition:
    """Definition of a column, or of a name that a key column holds, such as a score; an empty text says nothing of it.

    Attributes
    ----------
    meaning
        One plain sentence.
    formula
        In the symbols of `docs/measures.md`.
    unit
        Such as "epochs", "rows" or "share".
    range
        As "0 to 1", ">= 0" or "<= 1", ends included.
    direction
        "falls" or "rises": where a value goes as classes collapse, or the more it agrees with the hierarchy.
    source
        Author, year, title and venue.
    null
        Values that it is to be compared with.
    misread
        Of a score, the mistake that its readers make easily.
    unknown
        Where it is NaN or None, or "never".
    kind
        Of its values: "text" for names and sentences, "whole" for counts and numbers of things, "number" for
        measurements.
    """

    meaning: str
    formula: str = ""
    unit: str = ""
    range: str = ""
    direction: str = ""
    source: str = ""
    null: str = ""
    misread: str = ""
    unknown: str = "never"
    kind: Literal["text", "whole", "number"] = "number"


# Symbols of the formulas.
_INNER_NODE = Definition(
    "Inner node of the tree of primary parents at which classes part; one with a single child is passed through.",
    kind="text",
)

SYMBOLS: Mapping[str, str] = {
    "h, y": "features and class of a row",
    "z": "its logits",
    "N, K, G": "numbers of rows, classes and groups",
    "g": "a group, or the group of a class",
    "n_s": "classes in group s",
    "mu_g": "mean of a group's rows",
    "m_g": "mu_g less the mean of the group means, each weighing the same",
    "M": "the m_g as rows",
    "v_g": "mean squared distance of a group's rows from mu_g",
    "S_W, S_B": "covariance of the rows within groups, and of the group means",
    "W, b": "the classifier's weight and bias",
    "x(t)": "a series at epoch t",
    "f": "a fraction of its way",
    "c": "a common ancestor of two classes",
    "v, mu_v": "a node of the hierarchy, and the mean of all rows below it",
}
# Sources that several definitions share.
_PAPYAN = (
    "Papyan, Han, Donoho 2020, Prevalence of neural collapse during the terminal phase of deep learning training, PNAS"
)
_BERTINETTO = "Bertinetto et al. 2020, Making better mistakes, CVPR"
_KIRITCHENKO = "Kiritchenko et al. 2006, Learning and evaluation in the presence of class hierarchies, Canadian AI"
_FIELLER = "Fieller 1954, Some problems in interval estimation, JRSS B"
_YOUDEN = "Youden 1950, Index for rating diagnostic tests, Cancer"
_KISH = "Kish 1965, Survey sampling"
_HESTERBERG = "Hesterberg 2015, What teachers should know about the bootstrap, The American Statistician"
_DOIMO = "Doimo, Glielmo, Ansuini, Laio 2020, Hierarchical nucleation in deep neural networks, NeurIPS"
_JAECKEL = "Jaeckel 1972, The infinitesimal jackknife, Bell Laboratories"
_MANTEL = "Mantel 1967, The detection of disease clustering and a generalized regression approach, Cancer Research"
_RIZZO = (
    "Székely, Rizzo 2013, The distance correlation t-test of independence in high dimension, Journal of Multivariate "
    "Analysis"
)
_NO_COMPANY = "no sample has another one in its group, or all are at one place"
_KLEIN = "Klein, Wright, Wieczorek 2020, A joint confidence region for an overall ranking of populations, JRSS C"
_SAXE = "Saxe, McClelland, Ganguli 2019, A mathematical theory of semantic development in deep neural networks, PNAS"
_PARK = "Park et al. 2024, The geometry of categorical and hierarchical concepts in large language models, arXiv"
_GUO = "Guo et al. 2017, On calibration of modern neural networks, ICML"
_TUKEY = "Tukey 1958, Bias and confidence in not-quite large samples, Annals of Mathematical Statistics"
_HE = "He, Su 2023, A law of data separation in deep learning, PNAS (arXiv 2210.17020)"
_MASARCZYK = (
    "Masarczyk et al. 2023, The tunnel effect: building data representations in deep neural networks, NeurIPS (arXiv "
    "2305.19753)"
)
_NO_LINE = "fewer than two layers with a value"
_NO_RANDOM_LINE = "fewer than two random groups, or one without a value in some layer"
_NO_TUNNEL = "a measure of separation, a value of the last layer that is not above 0, or fewer than two layers"
# What several are compared with, or unknown by.
_RANDOM_SPACES = "random label spaces of the same group sizes"
_CLASS_PERMUTATIONS = "permutations of the classes"
_NO_TREES = "no random trees, or no cosine in one of them"
_NO_FRAMES = "no random trees, or no distance"
_ONE_CHILD = "fewer than two children of the node have rows"
_UNPROBED = "no row to fit on, or none to score"
_UNDRAWN = f"{_UNPROBED}, or fewer than two random label spaces, as for the classes"
_PHIPSON = (
    "Phipson, Smyth 2010, Permutation p-values should never be zero, Statistical Applications in Genetics and "
    "Molecular Biology"
)
_ALAIN = "Alain, Bengio 2016, Understanding intermediate layers using linear classifier probes, arXiv"
_TWO_CHILDREN = (
    "fewer than three children of the node have a mean, as two are always as far from theirs, or means that coincide"
)
_ONE_GROUP = "one group alone, or means that coincide"
_NO_CLASSIFIER = "the layer does not feed a classifier that the run stores"
_TOO_FEW = "fewer than `needed` classes or groups"
_NO_JACKKNIFE = "a score other than rsa_spearman and rsa_pearson, or fewer than `needed` classes or groups"


def _tree_null(table: str) -> dict[str, Definition]:
    """Definitions of the columns that place the ratio among those of random trees."""
    unknown = "no random trees, or a ratio that is unknown or infinite, if only in one of them"
    return {
        f"{table}.null_mean": Definition(
            "Mean of the ratio over random trees: the same tree over permuted classes, each with its rows; as many as "
            "`controls` says.",
            unit="ratio",
            range=">= 0",
            unknown=unknown,
        ),
        f"{table}.null_std": Definition(
            "Standard deviation of the ratio over the random trees, ddof = 1.",
            unit="ratio",
            range=">= 0",
            unknown=unknown,
        ),
        f"{table}.z": Definition(
            "Ratio less its mean over the random trees, in their standard deviations. Where features follow the "
            "hierarchy, broad splits are clearer than among random classes, above 0, and the lowest siblings lie "
            "nearer together, below 0.",
            "(ratio - null_mean) / null_std",
            unit="standard deviations",
            null="0",
            unknown=f"{unknown}, or the same in all",
        ),
        f"{table}.p": Definition(
            "Place of the ratio among the random trees, two-sided: 2 / (controls + 1) at the least.",
            "min(1, 2 (b + 1) / (n + 1)), b the fewer of n random trees with a ratio at most and at least as high",
            unit="share",
            range="0 to 1",
            unknown=unknown,
        ),
    }


_COLUMNS = {
    # Keys and names that mean the same in every table.
    "epoch": Definition(
        "Epoch of the snapshot, as the run numbers it; 0 is the untrained network where that was captured.",
        unit="epochs",
        range=">= 0",
        kind="whole",
    ),
    "split": Definition("Split of the data, such as train or val.", kind="text"),
    "layer": Definition("Layer whose features are measured, by its name in the model.", kind="text"),
    "space": Definition(
        "Label space: hyponym for the classes themselves, or a grouping of them such as a level or a cut of the "
        "hierarchy.",
        kind="text",
    ),
    "class": Definition("Number of the class: the label that the run stores.", range=">= 0", kind="whole"),
    "group": Definition("Number of the group in its label space.", range=">= 0", kind="whole"),
    "group_name": Definition("Name of the group: that of its node in the hierarchy where it has one.", kind="text"),
    "metric": Definition("Distance between class means.", kind="text"),
    "linkage": Definition("Method by which the tree over the class means is built.", kind="text"),
    "taxonomy_distance": Definition("Distance between classes in the hierarchy.", kind="text"),
    "score": Definition("Score whose value the row holds.", kind="text"),
    "series": Definition("Series over the epochs whose onset the row is about.", kind="text"),
    "fraction": Definition(
        "Fraction of its way, from its first to its last value, that the series has to cover.",
        unit="share",
        range="0 to 1",
    ),
    "groups": Definition("Number of groups.", unit="groups", range=">= 1", kind="whole"),
    "rows": Definition("Rows of the split that count.", unit="rows", range=">= 0", kind="whole"),
    "population": Definition(
        "Population that the interval speaks of, of which this run's classes are a sample: classes, branches of the "
        "hierarchy, or groups of a label space.",
        unknown="a value without an interval",
        kind="text",
    ),
    "sampled": Definition(
        "Effective number of sampled classes or groups behind the interval.",
        "(sum n)^2 / sum n^2 over the rows or classes n of each",
        unit="groups",
        range=">= 0",
        source=_KISH,
        unknown="a value without an interval",
    ),
    "needed": Definition(
        "Least number of them that an interval takes, for an onset at this fraction.",
        "ceil(log(0.025) / log(max(f, 1 - f)))",
        unit="groups",
        range=">= 1",
        source="Thompson 1936, On confidence ranges for the median and other expectation distributions, Annals of "
        "Mathematical Statistics",
        unknown="a value without an interval",
    ),
    "interval": Definition(
        "How the interval is made: student-t, bootstrap-t, percentile (of the bootstrap, with bootstrap-t for the end "
        "that is farther from 0 where groups are few) or jackknife; too few where the sample has not the groups for "
        "one.",
        unknown="a value without an interval",
        kind="text",
    ),
    # classes, spaces
    "classes.name": Definition("Name of the class.", kind="text"),
    "classes.synset": Definition(
        "WordNet synset of the class, such as dog.n.01.", unknown="the run stores no synsets", kind="text"
    ),
    "class_name": Definition("Name of the class.", kind="text"),
    "spaces.largest": Definition("Share of the classes in the largest group.", unit="share", range="0 to 1"),
    "spaces.entropy": Definition(
        "Evenness of the groups: entropy of their sizes over that of equal ones; 1 for equal ones, 0 for a single "
        "group.",
        "-sum_s (n_s / K) log(n_s / K) / log G",
        unit="ratio",
        range="0 to 1",
        source="Pielou 1966, The measurement of diversity in different types of biological collections, Journal of "
        "Theoretical Biology",
    ),
    "spaces.singletons": Definition("Groups of one class.", unit="groups", range=">= 0", kind="whole"),
    "spaces.balanced": Definition(
        "1 where the largest group holds at most half of the classes and at most half of the groups are of one class, "
        "so that a default or a headline may rest on the space; 0 elsewhere.",
        range="0 to 1",
        source="after Santurkar, Tsipras, Madry 2021, BREEDS: benchmarks for subpopulation shift, ICLR",
        kind="whole",
    ),
    # accuracy
    "accuracy.rule": Definition(
        "How the classifier's group is taken: greedy, the group of the most probable class, or sum, the group whose "
        "probabilities sum highest.",
        kind="text",
    ),
    "accuracy.accuracy": Definition(
        "Share of rows whose predicted group is the right one.",
        "share with g(argmax_k z_k) = g(y)",
        unit="share",
        range="0 to 1",
        direction="rises",
        null="random_expected: random groups of the same sizes",
        misread="Fewer groups are right more often by size alone: compare a label space with random_expected, not "
        "with the classes.",
    ),
    "accuracy.relative_accuracy": Definition(
        "Accuracy over that at the last epoch of the split.",
        "accuracy(t) / accuracy(T)",
        unit="ratio",
        range=">= 0",
        direction="rises",
        unknown="the last accuracy is 0",
        misread="It is 1 at the last epoch by definition, however poor the classifier is there.",
    ),
    "accuracy.residual_error": Definition(
        "What the accuracy lacks of that at the last epoch, relative to it.",
        "1 - relative_accuracy",
        unit="ratio",
        range="<= 1",
        direction="falls",
        unknown="the last accuracy is 0",
        misread="It is 0 at the last epoch by definition, and tells nothing of what was never learned.",
    ),
    "accuracy.random_expected": Definition(
        "Accuracy to expect in random groups of the same sizes: wrong answers are right by luck where both classes "
        "fall into one group.",
        "acc + (1 - acc) sum_s n_s (n_s - 1) / (K (K - 1)), acc over the classes; with the sum rule, estimated from "
        "random groups",
        unit="share",
        range="0 to 1",
    ),
    "accuracy.random_expected_error": Definition(
        "Standard error of random_expected where it is estimated; 0 where the formula is exact.",
        unit="share",
        range=">= 0",
    ),
    "accuracy.hypernym_gain": Definition(
        "Accuracy above that of random groups: what the hierarchy's groups are worth to the classifier.",
        "accuracy - random_expected",
        unit="share",
        range="-1 to 1",
        direction="rises",
        null="0: random groups of the same sizes",
        misread="It shrinks again as the classes are learned, for where few answers are wrong little can be gained.",
    ),
    "mistake_severity": Definition(
        "Mean height of the lowest common ancestor of right and predicted class, over rows taken for another group.",
        "mean of least height(c) over the common ancestors c",
        unit="links",
        range=">= 0",
        direction="falls",
        source=_BERTINETTO,
        unknown="no hierarchy, or no such row",
        misread="It is a mean over the mistakes alone, other and fewer ones at each epoch: it may rise while the "
        "accuracy rises.",
    ),
    "accuracy.hierarchical_precision": Definition(
        "Share of the ancestors of the predicted groups that are ancestors of the right ones; a node counts as its "
        "own, the root never.",
        "sum |A(p) and A(y)| / sum |A(p)| over the rows, A(x) the ancestors of x",
        unit="share",
        range="0 to 1",
        direction="rises",
        source=_KIRITCHENKO,
        unknown="no hierarchy, or a label space that is not of it",
        misread="Many classes share their broad ancestors, so guessing is well above 0.",
    ),
    "accuracy.hierarchical_recall": Definition(
        "Share of the ancestors of the right groups that are ancestors of the predicted ones; a node counts as its "
        "own, the root never.",
        "sum |A(p) and A(y)| / sum |A(y)| over the rows",
        unit="share",
        range="0 to 1",
        direction="rises",
        source=_KIRITCHENKO,
        unknown="no hierarchy, or a label space that is not of it",
        misread="Many classes share their broad ancestors, so guessing is well above 0.",
    ),
    "accuracy.hierarchical_f": Definition(
        "Harmonic mean of hierarchical precision and recall.",
        "2 P R / (P + R)",
        unit="share",
        range="0 to 1",
        direction="rises",
        source=_KIRITCHENKO,
        unknown="precision or recall is unknown",
        misread="Many classes share their broad ancestors, so guessing is well above 0.",
    ),
    # geometry
    "geometry.within_trace": Definition(
        "Scatter of the rows about their group's mean: the trace of the pooled within-group covariance.",
        "tr S_W = (1/N) sum |h - mu_g(y)|^2",
        unit="features' own units, squared",
        range=">= 0",
        direction="falls",
        null=_RANDOM_SPACES,
        unknown="no row",
        misread="It grows with the square of the features' scale: across layers or epochs compare ratios, such as snr.",
    ),
    "geometry.between_trace": Definition(
        "Scatter of the group means about their mean, each group once: the trace of the between-group covariance.",
        "tr S_B = (1/G) sum_g |m_g|^2",
        unit="features' own units, squared",
        range=">= 0",
        null=_RANDOM_SPACES,
        misread="It grows with the square of the features' scale: across layers or epochs compare ratios, such as snr.",
    ),
    "geometry.mean_norm": Definition(
        "Mean length of the centred group means.",
        "mean_g |m_g|",
        unit="features' own units",
        range=">= 0",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        misread="It grows with the features' scale, which training changes by itself.",
    ),
    "geometry.mean_norm_cv": Definition(
        "Spread of the lengths of the centred group means, over their mean; the same number as nc2_equinorm.",
        "std_g |m_g| / mean_g |m_g|, ddof = 1",
        unit="ratio",
        range=">= 0",
        direction="falls",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown=_ONE_GROUP,
        misread="The mean of a group of many classes lies nearer to the centre, so groups of unequal size are unequal "
        "by themselves.",
    ),
    "geometry.cosine_mean": Definition(
        "Mean cosine of two centred group means; -1 / (G - 1) in a simplex frame.",
        "mean over i != j of cos(m_i, m_j)",
        unit="cosine",
        range="-1 to 1",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown="one group alone, or a group mean at the mean of all",
        misread="Centring alone brings it near -1 / (G - 1): that it is there is no sign of collapse.",
    ),
    "geometry.cosine_std": Definition(
        "Spread of the cosines of two centred group means; the same number as nc2_equiangular.",
        "std over i != j of cos(m_i, m_j), ddof = 1",
        unit="cosine",
        range=">= 0",
        direction="falls",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown="one group alone, or a group mean at the mean of all",
        misread="In wide layers the cosines of random means are alike, too: compare with the first epoch and with "
        "random groups.",
    ),
    "geometry.means_rank": Definition(
        "Number of directions that the centred group means span: eigenvalues of S_B above rounding.",
        "rank M",
        unit="directions",
        range=">= 0",
        null=_RANDOM_SPACES,
        misread="It is at most G - 1; a full rank does not tell that the directions are used evenly.",
    ),
    "geometry.means_participation": Definition(
        "Number of directions that the centred group means fill evenly: the participation ratio.",
        "(sum l)^2 / sum l^2 over the eigenvalues l of S_B",
        unit="directions",
        range=">= 1",
        null=_RANDOM_SPACES,
        unknown=_ONE_GROUP,
        misread="It is at most G - 1, so broad label spaces have less of it by size alone.",
    ),
    "geometry.snr": Definition(
        "Scatter between groups over scatter within: the signal-to-noise ratio.",
        "tr S_B / tr S_W",
        unit="ratio",
        range=">= 0",
        direction="rises",
        null=_RANDOM_SPACES,
        unknown="no scatter at all; infinite where there is none within groups",
        misread="Means of few rows differ by chance: without any signal it is about one over the rows of a group.",
    ),
    # collapse
    "collapse.nc1_pinv": Definition(
        "Variability collapse: scatter within groups over scatter between them, direction by direction of the latter, "
        "along as many of them at each epoch (nc1_rank).",
        "tr(S_W S_B^+) / G",
        unit="ratio",
        range=">= 0",
        direction="falls",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown=_ONE_GROUP,
        misread="The weakest directions between groups rule it, so layers of different nc1_rank do not compare.",
    ),
    "collapse.nc1_rank": Definition(
        "Number of directions of S_B, the strongest, that nc1_pinv is taken along: the least that an epoch of the "
        "layer has.",
        unit="directions",
        range=">= 0",
        kind="whole",
    ),
    "collapse.nc1_trace_ratio": Definition(
        "Variability collapse: scatter within groups over scatter between them, all directions together.",
        "tr S_W / tr S_B",
        unit="ratio",
        range=">= 0",
        direction="falls",
        source="Tirer, Huang, Niles-Weed 2023, Perturbation analysis of neural collapse, ICML",
        null=_RANDOM_SPACES,
        unknown="no scatter at all; infinite where all means coincide",
        misread="The strongest directions rule it: it may be low though two groups lie on top of each other.",
    ),
    "collapse.nc1_cdnv": Definition(
        "Class-distance normalised variance: scatter of two groups over the distance of their means, over all pairs.",
        "mean over i != j of (v_i + v_j) / (2 |mu_i - mu_j|^2)",
        unit="ratio",
        range=">= 0",
        direction="falls",
        source="Galanti, György, Hutter 2022, On the role of neural collapse in transfer learning, ICLR",
        null=_RANDOM_SPACES,
        unknown="fewer than two groups with rows; infinite where two means coincide",
        misread="It is a mean over pairs, so a single pair of near groups makes it high.",
    ),
    "collapse.nc2_equinorm": Definition(
        "Equal lengths: spread of the lengths of the centred group means, over their mean.",
        "std_g |m_g| / mean_g |m_g|, ddof = 1",
        unit="ratio",
        range=">= 0",
        direction="falls",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown=_ONE_GROUP,
        misread="The mean of a group of many classes lies nearer to the centre, so groups of unequal size are unequal "
        "by themselves.",
    ),
    "collapse.nc2_equiangular": Definition(
        "Equal angles: spread of the cosines of two centred group means.",
        "std over i != j of cos(m_i, m_j), ddof = 1",
        unit="cosine",
        range=">= 0",
        direction="falls",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown="one group alone, or a group mean at the mean of all",
        misread="In wide layers the cosines of random means are alike, too: compare with the first epoch and with "
        "random groups.",
    ),
    "collapse.nc2_max_angle": Definition(
        "Largest angles: distance of the cosines of two centred group means from that of a simplex frame.",
        "mean over i != j of |cos(m_i, m_j) + 1 / (G - 1)|",
        unit="cosine",
        range="0 to 2",
        direction="falls",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown="one group alone, or a group mean at the mean of all",
        misread="With many groups the frame's cosine is near 0, and so are those of random means in a wide layer.",
    ),
    "collapse.nc2_etf": Definition(
        "Distance of the centred group means from a simplex equiangular tight frame, as normed Gram matrices.",
        "|| M M^T / ||M M^T||_F - (I - 11^T / G) / sqrt(G - 1) ||_F",
        unit="ratio",
        range="0 to sqrt(2)",
        direction="falls",
        source="Kothapalli 2023, Neural collapse: a review on modelling principles and generalization, TMLR",
        null=_RANDOM_SPACES,
        unknown=_ONE_GROUP,
        misread="It looks at the means alone, which may form a frame while rows scatter widely; in a layer narrower "
        "than G - 1 it cannot reach 0.",
    ),
    "collapse.nc3_duality": Definition(
        "Self-duality: squared distance of the classifier's rows from the centred group means, each at unit norm; a "
        "group's row is the mean of its classes'.",
        "|| W / ||W||_F - M / ||M||_F ||_F^2",
        unit="ratio",
        range="0 to 4",
        direction="falls",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown=f"{_NO_CLASSIFIER}, or means that coincide",
        misread="Rows of the classifier and means that have nothing to do with each other are at 2; 4 is the opposite "
        "direction.",
    ),
    "collapse.nc4_agreement": Definition(
        "Share of rows for which the classifier and the nearest group mean name the same group.",
        "share with g(argmax_k (W h + b)_k) = argmin_g |h - mu_g|",
        unit="share",
        range="0 to 1",
        direction="rises",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown=_NO_CLASSIFIER,
        misread="It is no accuracy: both may name the same wrong group.",
    ),
    "collapse.ncc_accuracy": Definition(
        "Share of rows that lie nearest to the mean of their own group, that of the other rows: accuracy of the "
        "nearest-mean classifier; ncc_means says which rows.",
        "share with argmin_g |h - mu_g| = g(y), mu_g(y) less h",
        unit="share",
        range="0 to 1",
        direction="rises",
        source=_PAPYAN,
        null=_RANDOM_SPACES,
        unknown="no row",
        misread="A low one does not mean that the layer cannot tell the groups apart: a linear probe may.",
    ),
    "collapse.ncc_means": Definition(
        "Rows that the means of ncc_accuracy are of: those of another split, by its name, or leave-one-out, those of "
        "the split without the row that is judged.",
        source="Lachenbruch, Mickey 1968, Estimation of error rates in discriminant analysis, Technometrics",
        kind="text",
    ),
    # distances, linkage
    "class_a": Definition("First class of the pair, by name.", kind="text"),
    "class_b": Definition("Second class of the pair, by name.", kind="text"),
    "distances.distance": Definition(
        "Distance between the means of the two classes in the row's metric.",
        unit="features' own units; none for the cosine",
        range=">= 0",
        unknown="the cosine of a class mean at the mean of all, or debias for a class of one row",
    ),
    "linkage.step": Definition(
        "Number of the merge, from the lowest, 0, to the root of the tree.", range=">= 0", kind="whole"
    ),
    "linkage.left": Definition(
        "First of the two that are merged: a class by its place among those with rows, or classes + step of an earlier "
        "merge, as SciPy numbers them.",
        range=">= 0",
        kind="whole",
    ),
    "linkage.right": Definition("Second of the two that are merged, numbered alike.", range=">= 0", kind="whole"),
    "linkage.height": Definition(
        "Distance at which the two are merged.", unit="that of the metric, by the linkage", range=">= 0"
    ),
    "linkage.size": Definition("Number of classes below the merge.", unit="classes", range=">= 2", kind="whole"),
    "linkage.left_name": Definition(
        "Name of the class on the left.", unknown="an earlier merge, not a class", kind="text"
    ),
    "linkage.right_name": Definition(
        "Name of the class on the right.", unknown="an earlier merge, not a class", kind="text"
    ),
    # alignment
    "alignment.value": Definition(
        "Value of the score.", unit="by score", null=_CLASS_PERMUTATIONS, unknown="see the score"
    ),
    "alignment.null_mean": Definition(
        "Mean of the score over permutations of the classes.", unit="by score", unknown="no permutations, or no value"
    ),
    "alignment.null_std": Definition(
        "Standard deviation of the score over permutations of the classes, ddof = 1.",
        unit="by score",
        range=">= 0",
        unknown="fewer than two permutations, or no value",
    ),
    "alignment.z": Definition(
        "Value above the mean of its null, in standard deviations of it.",
        "(value - null_mean) / null_std",
        unit="standard deviations",
        unknown="fewer than two permutations, no value, or a null that is one number throughout",
    ),
    "alignment.p": Definition(
        "Share of class orders, the real one among them, that agree with the hierarchy as well as the real one.",
        "(b + 1) / (n + 1), b of n permutations at least as good",
        unit="share",
        range="0 to 1",
        source="Mantel 1967, The detection of disease clustering and a generalized regression approach, Cancer "
        "Research",
        unknown="no permutations, or no value",
    ),
    "alignment.p_corrected": Definition(
        "The same against the best that each permutation reaches in any epoch and layer of the analysis.",
        "(b + 1) / (n + 1), b of n maxima at least as good",
        unit="share",
        range="0 to 1",
        source="Westfall, Young 1993, Resampling-based multiple testing",
        unknown="no permutations, or no value",
    ),
    "alignment.ceiling": Definition(
        "Best value that ties in the hierarchy leave possible; for nearest_neighbor_distance the least.",
        unit="by score",
        unknown="scores that ties do not bound",
    ),
    "alignment.permutations": Definition(
        "Number of permutations behind the null; fewer where they are dear, 0 where there is none.",
        unit="permutations",
        range=">= 0",
        kind="whole",
    ),
    # evolution
    "evolution.reference": Definition("Epoch to compare with: last or previous.", kind="text"),
    "evolution.value": Definition("Value of the score.", unit="by score", unknown="see the score"),
    # onset
    "onset.onset": Definition(
        "First epoch by which the series has covered the fraction of its way, linear between epochs.",
        "least t with (x(t) - x(first)) / (x(last) - x(first)) >= f",
        unit="epochs",
        range=">= 0",
        null="control_onset, control_low, control_high and control_p: random groups of the same sizes",
        unknown="the series ends where it began, has fewer than two values or an infinite one",
        misread="It is a place on the series' own way: an early one does not tell that the series ends well.",
    ),
    "onset.low": Definition(
        "Lower end of the 95 % interval for the onset, over the sampled classes or groups.",
        unit="epochs",
        range=">= 0",
        source=_FIELLER,
        unknown=f"{_TOO_FEW}, or a series that is no share of rows",
    ),
    "onset.high": Definition(
        "Upper end of the 95 % interval for the onset, over the sampled classes or groups.",
        unit="epochs",
        range=">= 0",
        source=_FIELLER,
        unknown=f"{_TOO_FEW}, or a series that is no share of rows",
    ),
    "onset.control_onset": Definition(
        "Median onset of the same series in random groups of the same sizes.",
        unit="epochs",
        range=">= 0",
        unknown="no random groups, as for the classes, or none whose series gains",
    ),
    "onset.control_low": Definition(
        "Lower end of the range of onsets in the random groups: of 19 to 40 all of them, of more the middle 95 %.",
        unit="epochs",
        range=">= 0",
        unknown="fewer than 19 random groups with an onset",
    ),
    "onset.control_high": Definition(
        "Upper end of the range of onsets in the random groups: of 19 to 40 all of them, of more the middle 95 %.",
        unit="epochs",
        range=">= 0",
        unknown="fewer than 19 random groups with an onset",
    ),
    "onset.control_p": Definition(
        "Share of random groups, the space itself among them, with an onset at least as early.",
        "(1 + b) / (1 + n)",
        unit="share",
        range="0 to 1",
        unknown="no random groups with an onset, or a course that is still, away or unknown",
    ),
    "onset.missing": Definition("Epochs at which the series has no value.", unit="epochs", range=">= 0", kind="whole"),
    "onset.start": Definition(
        "Where the way begins: epoch 0, or where the untrained network was not captured chance for the classifier, and"
        " the first epoch with a value, as epoch K, for a layer.",
        kind="text",
    ),
    "onset.course": Definition(
        "Course of the series: moved, first interval (past the mark before the second captured epoch), turned (fell "
        "back by over a quarter of its gains, or to where it began), away (worse at the end), still, or unknown.",
        kind="text",
    ),
    "onset.resolution": Definition(
        "Length of the interval between captured epochs in which the onset lies: it is no finer than that.",
        unit="epochs",
        range=">= 0",
        unknown="no onset",
    ),
    # precedence, trend
    "precedence.difference": Definition(
        "Onset of the classes less that of the label space; above 0, the space was learned earlier.",
        "onset(hyponym) - onset(space)",
        unit="epochs",
        null="0, by low and high; and random groups of the same sizes, by the control columns",
        unknown="one of the two has no onset, or is still or away",
        misread="A space of few groups may be early by its size alone: the control columns take that out.",
    ),
    "precedence.low": Definition(
        "Lower end of the 95 % interval for the difference, both series on the same resampled classes or groups.",
        unit="epochs",
        source=_HESTERBERG,
        unknown=f"{_TOO_FEW}, no difference, or a series that is no share of rows",
    ),
    "precedence.high": Definition(
        "Upper end of the 95 % interval for the difference, both series on the same resampled classes or groups.",
        unit="epochs",
        source=_HESTERBERG,
        unknown=f"{_TOO_FEW}, no difference, or a series that is no share of rows",
    ),
    "precedence.control_difference": Definition(
        "Median onset of random groups of the same sizes less that of the label space; above 0, the space was learned "
        "earlier than they.",
        "median onset(random groups) - onset(space)",
        unit="epochs",
        null="0",
        unknown="no random groups, or no onset",
    ),
    "precedence.control_low": Definition(
        "Lower end of the range of onsets of random groups, less that of the label space; above 0, earlier than "
        "chance groups are.",
        unit="epochs",
        null="0",
        unknown="fewer than 19 random groups with an onset, or no onset",
    ),
    "precedence.control_high": Definition(
        "Upper end of the range of onsets of random groups, less that of the label space.",
        unit="epochs",
        null="0",
        unknown="fewer than 19 random groups with an onset, or no onset",
    ),
    "trend.spaces": Definition(
        "Number of label spaces that the line is fitted to: the classes, and balanced ones with an onset.",
        unit="label spaces",
        range=">= 0",
        kind="whole",
    ),
    "trend.slope": Definition(
        "Epochs by which the onset is later for each doubling of the number of groups; above 0, broad comes first.",
        "least squares of onset on log2 G",
        unit="epochs per doubling",
        null="0, by low and high: no order of the levels",
        unknown="fewer than three such label spaces",
        misread="Label spaces are nested in each other, so its points are not independent: go by low and high.",
    ),
    "trend.low": Definition(
        "Lower end of the 95 % interval for the slope, all spaces on the same resampled classes or groups.",
        unit="epochs per doubling",
        source=_HESTERBERG,
        unknown=f"{_TOO_FEW}, no slope, or a series that is no share of rows",
    ),
    "trend.high": Definition(
        "Upper end of the 95 % interval for the slope, all spaces on the same resampled classes or groups.",
        unit="epochs per doubling",
        source=_HESTERBERG,
        unknown=f"{_TOO_FEW}, no slope, or a series that is no share of rows",
    ),
    "trend.control_difference": Definition(
        "Slope less the median slope of random groups of the same sizes; above 0, broad comes first by more than "
        "sizes alone bring about.",
        "slope - median slope(random groups)",
        unit="epochs per doubling",
        null="0",
        unknown="no random groups, or no slope",
    ),
    "trend.control_low": Definition(
        "Lower end of the slope less the range of slopes of random groups, one of each label space.",
        unit="epochs per doubling",
        null="0",
        unknown="fewer than 19 random groups, or no slope",
    ),
    "trend.control_high": Definition(
        "Upper end of the slope less the range of slopes of random groups, one of each label space.",
        unit="epochs per doubling",
        null="0",
        unknown="fewer than 19 random groups, or no slope",
    ),
    "trend.ahead": Definition(
        "Onset of the classes less the mean onset of the balanced label spaces broader than they; above 0, broad comes "
        "first.",
        "onset(classes) - mean onset(broader spaces)",
        unit="epochs",
        null="0, by ahead_low and ahead_high: no order",
        unknown="no onset of the classes, or of any broader space",
        misread="A space of few groups may be early by its size alone: ahead_control_difference takes that out.",
    ),
    "trend.ahead_low": Definition(
        "Lower end of the 95 % interval for that, all spaces on the same resampled classes or groups.",
        unit="epochs",
        source=_HESTERBERG,
        unknown=f"{_TOO_FEW}, no such difference, or a series that is no share of rows",
    ),
    "trend.ahead_high": Definition(
        "Upper end of the 95 % interval for that, all spaces on the same resampled classes or groups.",
        unit="epochs",
        source=_HESTERBERG,
        unknown=f"{_TOO_FEW}, no such difference, or a series that is no share of rows",
    ),
    "trend.ahead_control_difference": Definition(
        "The same less its median in random groups of the same sizes; above 0, by more than sizes alone bring about.",
        "ahead - median ahead(random groups)",
        unit="epochs",
        null="0",
        unknown="no random groups, or no such difference",
    ),
    "trend.ahead_control_low": Definition(
        "Lower end of it less the range in random groups, one of each label space.",
        unit="epochs",
        null="0",
        unknown="fewer than 19 random groups, or no such difference",
    ),
    "trend.ahead_control_high": Definition(
        "Upper end of it less the range in random groups, one of each label space.",
        unit="epochs",
        null="0",
        unknown="fewer than 19 random groups, or no such difference",
    ),
    # node_onset
    "node": Definition(
        "Node of the hierarchy, a class or an inner node; of nodes that hold the same classes the lowest.", kind="text"
    ),
    "parent": Definition("Next node above that holds more classes, over primary parents.", kind="text"),
    "node_onset.depth": Definition(
        "Links from the root down to the node, over primary parents.", unit="links", range=">= 1", kind="whole"
    ),
    "node_onset.classes": Definition(
        "Number of classes at or below the node.", unit="classes", range=">= 1", kind="whole"
    ),
    "node_onset.first": Definition(
        "Value of the series at the first epoch; where epoch 0 was not captured, 0 for chance.",
        unit="share",
        range="-1 to 1",
        direction="rises",
        source=_YOUDEN,
        null="0: guessing",
        unknown="no row below the node, or none that it is told from",
        formula="J at the first epoch",
        misread="The same value above 0 says less of a node of many classes, which is easier to tell from the rest.",
    ),
    "node_onset.last": Definition(
        "Value of the series at the last epoch.",
        unit="share",
        range="-1 to 1",
        direction="rises",
        source=_YOUDEN,
        null="0: guessing",
        unknown="no row below the node, or none that it is told from",
        formula="J at the last epoch",
        misread="The same value above 0 says less of a node of many classes, which is easier to tell from the rest.",
    ),
    "node_onset.onset": Definition(
        "First epoch by which the series has covered the fraction of its way, linear between epochs.",
        unit="epochs",
        range=">= 0",
        unknown="the node is told apart no better at the end than at the beginning",
    ),
    "node_onset.low": Definition(
        "Lower end of the 95 % interval for the onset, over other rows of the same classes.",
        unit="epochs",
        range=">= 0",
        source=_FIELLER,
        unknown="no onset, or fewer rows than an interval takes: 6 at 50 %, 36 at 90 %",
    ),
    "node_onset.high": Definition(
        "Upper end of the 95 % interval for the onset, over other rows of the same classes.",
        unit="epochs",
        range=">= 0",
        source=_FIELLER,
        unknown="no onset, or fewer rows than an interval takes: 6 at 50 %, 36 at 90 %",
    ),
    "node_onset.rank": Definition(
        "Rank of the onset among all nodes, ties averaged; 1 was learned first.",
        unit="rank",
        range=">= 1",
        unknown="no onset",
    ),
    "node_onset.rank_low": Definition(
        "Lowest rank that the node may have: one more than the nodes whose intervals end before its own begins.",
        unit="rank",
        range=">= 1",
        source=_KLEIN,
        unknown="no interval",
    ),
    "node_onset.rank_high": Definition(
        "Highest rank that the node may have: all nodes but those whose intervals begin after its own ends.",
        unit="rank",
        range=">= 1",
        source=_KLEIN,
        unknown="no interval",
    ),
    # differentiation, split_onset
    "differentiation.node": _INNER_NODE,
    "split_onset.node": _INNER_NODE,
    "differentiation.children": Definition(
        "Number of the node's children that have rows.", unit="children", range=">= 0", kind="whole"
    ),
    "differentiation.classes": Definition(
        "Number of classes below the node that have rows.", unit="classes", range=">= 0", kind="whole"
    ),
    "differentiation.rows": Definition("Rows below the node.", unit="rows", range=">= 0", kind="whole"),
    "differentiation.variance": Definition(
        "Variance between the node's children about the node's mean, means and distances weighed by rows. Over the "
        "nodes it sums to sum n_k |mu_k - mu|^2 / N over the classes k, which is `between_trace` of geometry where "
        "classes have equally many rows: there each class weighs the same.",
        "s_v = sum n_u |mu_u - mu_v|^2 / N over the children u of the node v, n_u rows below each",
        unit="squared feature units",
        range=">= 0",
        source=f"after {_SAXE}",
        unknown=_ONE_CHILD,
        misread="It grows with the square of the features' scale: across layers or epochs compare signal.",
    ),
    "differentiation.share": Definition(
        "The node's part of the variance between classes, which sums to 1 over the nodes.",
        "s_v / sum s_w over all nodes w",
        unit="share",
        range="0 to 1",
        source=f"after {_SAXE}",
        unknown=f"{_ONE_CHILD}, or means that coincide",
        misread="Shares sum to 1: one falls where another grows, though its own split is as clear as before.",
    ),
    "differentiation.signal": Definition(
        "The node's variance over that of the rows within classes, so that the scale of the features drops out; times "
        "(N - K) / (children - 1) it is the F of an analysis of variance.",
        "s_v / tr(S_W)",
        unit="ratio",
        range=">= 0",
        direction="rises",
        source=f"after {_SAXE}",
        null="(children - 1) / (N - K): about its mean where classes do not differ and scatter alike",
        unknown=f"{_ONE_CHILD}, or a single row in each class",
        misread="By chance alone it is above 0, the more so the more children a node has: compare epochs before nodes.",
    ),
    "split_onset.first": Definition(
        "Signal of the node at the first epoch that has one.",
        "s_v / tr(S_W)",
        unit="ratio",
        range=">= 0",
        unknown="no epoch has one",
    ),
    "split_onset.last": Definition(
        "Signal of the node at the last epoch that has one.",
        "s_v / tr(S_W)",
        unit="ratio",
        range=">= 0",
        direction="rises",
        unknown="no epoch has one",
        misread="By chance alone it is above 0, the more so the more children a node has: compare epochs before nodes.",
    ),
    "split_onset.onset": Definition(
        "First epoch by which the signal has covered the fraction of its way, linear between epochs.",
        "least t with (x(t) - x(first)) / (x(last) - x(first)) >= f",
        unit="epochs",
        range=">= 0",
        source=f"after {_SAXE}",
        unknown="the signal ends no higher than it began, has fewer than two values or an infinite one",
        misread="It is a place on the signal's own way: an early one may be of a split that stays faint.",
    ),
    "split_onset.course": Definition(
        "Course of the signal: moved, first interval (past the mark before the second captured epoch), turned (fell "
        "back by over a quarter of its gains, or to where it began), away (lower at the end), still, or unknown.",
        kind="text",
    ),
    "split_onset.rank": Definition(
        "Rank of the onset among the nodes of the layer, ties averaged; 1 was split first.",
        unit="rank",
        range=">= 1",
        unknown="no onset",
    ),
    # orthogonality
    "orthogonality.node": Definition(
        "Inner node of the tree of primary parents at which classes part, but the root; one with a single child is "
        "passed through.",
        kind="text",
    ),
    "orthogonality.children": Definition(
        "Number of the node's children that have rows.", unit="children", range=">= 0", kind="whole"
    ),
    "orthogonality.cosine": Definition(
        "Mean over the children of the absolute cosine between the way from the mean of all rows to the node's mean, "
        "and that from there to the child's. Absolute, as the signed products weighed by rows sum to 0 at any node, "
        "whose mean is that of its children.",
        "mean |cos(mu_v - mu, mu_u - mu_v)| over the children u of the node v",
        unit="cosine",
        range="0 to 1",
        direction="falls",
        source=f"after {_PARK}",
        null="null_mean, z and p: random trees; in many dimensions it is near 0 by itself",
        unknown=f"{_ONE_CHILD}, or means that coincide",
        misread="In a wide layer it is near 0 for any tree: only z and p tell that the hierarchy has a part in it.",
    ),
    "orthogonality.null_mean": Definition(
        "Mean of the cosine over random trees: the same with the classes permuted, each with its rows; as many as "
        "`controls` says.",
        unit="cosine",
        range="0 to 1",
        unknown=_NO_TREES,
    ),
    "orthogonality.null_std": Definition(
        "Standard deviation of the cosine over the random trees, ddof = 1.",
        unit="cosine",
        range=">= 0",
        unknown=_NO_TREES,
    ),
    "orthogonality.z": Definition(
        "Cosine less its mean over the random trees, in their standard deviations; below 0, node and children are more "
        "orthogonal than chance makes them.",
        "(cosine - null_mean) / null_std",
        unit="standard deviations",
        direction="falls",
        null="0",
        unknown=_NO_TREES,
    ),
    "orthogonality.p": Definition(
        "Share of the random trees, the hierarchy among them, with a cosine as low.",
        "(b + 1) / (n + 1), b of n random trees at least as low",
        unit="share",
        range="0 to 1",
        unknown=_NO_TREES,
    ),
    # depth_law
    "depth_law.series": Definition(
        "What runs over the layers: a measure of collapse, of which the logarithm is taken, ncc_accuracy, or the score "
        "of alignment to begin with (cosine and path distances; without these, the first that were asked for).",
        kind="text",
    ),
    "depth_law.layers": Definition(
        "Number of hidden layers that the line is fitted to. Layers behind what the classifier reads are outputs and "
        "do not count, nor do layers without a finite value. Of nc1_pinv, which sums over directions, only layers of "
        "the largest rank do: sums over different numbers of directions do not compare.",
        unit="layers",
        range=">= 0",
        kind="whole",
    ),
    "depth_law.first_layer": Definition("First of these layers.", kind="text", unknown="no layer has a value"),
    "depth_law.last_layer": Definition("Last of these layers.", kind="text", unknown="no layer has a value"),
    "depth_law.rank": Definition(
        "Number of directions that nc1_pinv is summed over in each of these layers, their nc1_rank.",
        unit="directions",
        range=">= 1",
        unknown="a measure other than nc1_pinv, or no layer with a value",
    ),
    "depth_law.slope": Definition(
        "Slope of the least-squares line through the logarithm of a measure of separation, or through another measure "
        "itself, over the places 0, 1, 2, ... of the layers in their order. exp(slope) is the factor from layer to "
        "layer in the law of equi-separation. Places follow the layers that were captured: take one a block.",
        "sum_l (l - mean l) y_l / sum_l (l - mean l)^2, y = log tr(S_W S_B^+) / G, or that of the measure",
        unit="log of the measure, or the measure, a layer",
        source=_HE,
        null="p: other orders of the layers; control_slope to control_p: random groups of the same sizes",
        unknown=_NO_LINE,
        misread="It is per captured layer: a network captured at every second block has twice the slope.",
    ),
    "depth_law.intercept": Definition(
        "Value of the line at the place of the first hidden layer.",
        "mean y - slope mean l",
        unit="log of the measure, or the measure",
        unknown=_NO_LINE,
    ),
    "depth_law.r2": Definition(
        "Share of the variance over the layers that the line accounts for; near 1 where the law holds.",
        "1 - sum (y - line)^2 / sum (y - mean y)^2",
        unit="share",
        range="0 to 1",
        source=_HE,
        unknown="fewer than three layers with a value, or the same value in all",
        misread="Whatever drifts from layer to layer looks like a line: with four layers a high one comes easily.",
    ),
    "depth_law.p": Definition(
        "Share of the orders of these layers, their own among them, in which the line falls as steeply, or of "
        "ncc_accuracy and alignment rises so. Each layer is computed from the one before, so what "
        "drifts at random from layer to layer is often steep too.",
        "(b + 1) / n, b of the other n - 1 orders at least as steep",
        unit="share",
        range="0 to 1",
        source="after Pitman 1937, Significance tests which may be applied to samples from any populations II, "
        "Supplement to the JRSS",
        unknown="fewer than 4 layers, with which no p comes below 0.05, or the same value in all",
    ),
    "depth_law.orders": Definition(
        "Number of orders that p is a share of: up to 7 layers all, of more their own and 4,999 at random.",
        unit="orders",
        range=">= 24",
        unknown="fewer than 4 layers",
    ),
    "depth_law.control_slope": Definition(
        "Mean slope over random groups of the same sizes, each over the same layers.",
        unit="as of slope",
        unknown=_NO_RANDOM_LINE,
    ),
    "depth_law.control_low": Definition(
        "2.5 % quantile of the slope over the random groups.", unit="as of slope", unknown=_NO_RANDOM_LINE
    ),
    "depth_law.control_high": Definition(
        "97.5 % quantile of the slope over the random groups.", unit="as of slope", unknown=_NO_RANDOM_LINE
    ),
    "depth_law.control_p": Definition(
        "Rank of the slope among those of the random groups, as a two-sided p.",
        "min(1, 2 (b + 1) / (n + 1)), b of n random groups beyond it on the side with fewer",
        unit="share",
        range="0 to 1",
        unknown=f"{_NO_RANDOM_LINE}; no slope",
    ),
    "depth_law.last": Definition(
        "Value in the last hidden layer that has one.",
        unit="share, or correlation",
        range="-1 to 1",
        unknown="a measure of separation, or no layer with a value",
    ),
    "depth_law.reached_layer": Definition(
        "First layer with 95 % of the last one's value: the tunnel, where nothing is added any more, begins there.",
        kind="text",
        source=f"after {_MASARCZYK}",
        unknown=_NO_TUNNEL,
    ),
    "depth_law.reached": Definition(
        "Place of that layer among the hidden layers; 1 is the first.",
        "least l with x_l >= 0.95 x_last",
        unit="layers",
        range=">= 1",
        source=f"after {_MASARCZYK}",
        null="control_reached to control_reached_p: random groups of the same sizes",
        unknown=_NO_TUNNEL,
        misread="It is relative to the last layer: where that tells little, the first layer may reach it.",
    ),
    "depth_law.control_reached": Definition(
        "Mean of that place over random groups of the same sizes, each against its own last value.",
        unit="layers",
        range=">= 1",
        unknown=f"{_NO_RANDOM_LINE}; alignment; a measure of separation",
    ),
    "depth_law.control_reached_low": Definition(
        "2.5 % quantile of that place over the random groups.",
        unit="layers",
        range=">= 1",
        unknown=f"{_NO_RANDOM_LINE}; alignment; a measure of separation",
    ),
    "depth_law.control_reached_high": Definition(
        "97.5 % quantile of that place over the random groups.",
        unit="layers",
        range=">= 1",
        unknown=f"{_NO_RANDOM_LINE}; alignment; a measure of separation",
    ),
    "depth_law.control_reached_p": Definition(
        "Rank of the place among those of the random groups, as a two-sided p.",
        "min(1, 2 (b + 1) / (n + 1)), b of n random groups beyond it on the side with fewer",
        unit="share",
        range="0 to 1",
        unknown=f"{_NO_RANDOM_LINE}; alignment; a measure of separation",
    ),
    # nested_collapse, level_collapse, level_onset
    "level": Definition(
        "Level of the hierarchy: links from the root down to the node, over primary parents and the nodes at which "
        "classes part; 0 is the root alone.",
        unit="links",
        range=">= 0",
        kind="whole",
    ),
    "nested_collapse.node": _INNER_NODE,
    "nested_collapse.children": Definition(
        "Number of the node's children that have a mean.", unit="children", range=">= 0", kind="whole"
    ),
    "nested_collapse.classes": Definition(
        "Number of classes below the node that have a mean.", unit="classes", range=">= 0", kind="whole"
    ),
    "nested_collapse.rows": Definition("Rows below the node.", unit="rows", range=">= 0", kind="whole"),
    "nested_collapse.between": Definition(
        "Variance between the node's children about the node's mean, weighed by rows.",
        "B_v = sum n_u |mu_u - mu_v|^2 / n_v over the children u of the node v, n rows below each",
        unit="squared feature units",
        range=">= 0",
        unknown=_ONE_CHILD,
    ),
    "nested_collapse.within": Definition(
        "Variance within the node's children: of the rows below each about its mean, the variance between the classes "
        "below it included.",
        "W_v = sum n_u v_u / n_v over the children u, v_u the mean squared distance of u's rows from mu_u",
        unit="squared feature units",
        range=">= 0",
        unknown=f"{_ONE_CHILD}, or its children are classes of a single row each",
    ),
    "level_collapse.nodes": Definition(
        "Number of nodes of the level of which several children have a mean.", unit="nodes", range=">= 0", kind="whole"
    ),
    "ratio": Definition(
        "Variance between siblings over that within them: the higher, the clearer the split; of a level, of the sums "
        "over its nodes. It falls again where the children themselves split later: see class_ratio.",
        "B_v / W_v; of a level, sum n_v B_v / sum n_v W_v",
        unit="ratio",
        range=">= 0",
        direction="rises",
        null="null_mean, z and p: random trees; some classes always lie farther apart than others",
        unknown=f"{_ONE_CHILD}, or its children are classes of a single row each; infinite where nothing scatters",
        misread="It falls as soon as the children come apart themselves, which is no loss: see class_ratio.",
    ),
    "class_ratio": Definition(
        "Variance between siblings over that within the classes below them; of a level, of the sums over its nodes. "
        "Splits further down do not touch it, so its onset tells when a level came apart.",
        "B_v / (sum n_k v_k / n_v) over the classes k below v; of a level, of the sums over its nodes",
        unit="ratio",
        range=">= 0",
        direction="rises",
        unknown=f"{_ONE_CHILD}, or a single row in each class; infinite where classes are points",
        misread="Means of few rows differ by chance: without any signal it is about (children - 1) over the node's "
        "rows.",
    ),
    "cdnv": Definition(
        "Class-distance normalised variance of siblings: scatter within two children of a node over the distance of "
        "their means, over all pairs; of a level, the mean over its nodes.",
        "mean over children i != j of v of (v_i + v_j) / (2 |mu_i - mu_j|^2)",
        unit="ratio",
        range=">= 0",
        direction="falls",
        source="after Galanti, György, Hutter 2022, On the role of neural collapse in transfer learning, ICLR",
        unknown=f"{_ONE_CHILD}, or they are classes of a single row each; infinite where two means coincide",
        misread="It is a mean over pairs, so a single pair of near siblings makes it high.",
    ),
    "equinorm": Definition(
        "Equal lengths among siblings: spread of the distances of the children's means from the mean of these, each "
        "counting once, over their mean; of a level, the mean over its nodes.",
        "std_u |m_u| / mean_u |m_u|, ddof = 1, over the children u of v",
        unit="ratio",
        range=">= 0",
        direction="falls",
        source=f"after {_PAPYAN}",
        unknown=_TWO_CHILDREN,
        misread="A child of many classes has its mean nearer to the centre, so children of unequal size are unequal "
        "by themselves.",
    ),
    "equiangular": Definition(
        "Equal angles among siblings: spread of the cosines of two children's means about the mean of all; of a level, "
        "the mean over its nodes.",
        "std over i != j of cos(m_i, m_j), ddof = 1, over the children of v",
        unit="cosine",
        range=">= 0",
        direction="falls",
        source=f"after {_PAPYAN}",
        unknown=f"{_TWO_CHILDREN}, or one at the mean of all",
        misread="Three siblings have little room for angles: compare with the first epoch, and nodes of as many "
        "children.",
    ),
    "max_angle": Definition(
        "Largest angles among siblings: distance of these cosines from those of a simplex of as many; of a level, the "
        "mean over its nodes.",
        "mean over i != j of |cos(m_i, m_j) + 1 / (n - 1)|, n children of v",
        unit="cosine",
        range=">= 0",
        direction="falls",
        source=f"after {_PAPYAN}",
        unknown=f"{_TWO_CHILDREN}, or one at the mean of all",
        misread="Three siblings have little room for angles: compare with the first epoch, and nodes of as many "
        "children.",
    ),
    "etf": Definition(
        "Distance of siblings to a simplex frame, of unit size both; of a level, the mean over its nodes.",
        "|M M^T / |M M^T| - (I - 11^T / n) / sqrt(n - 1)|, M the m_u of n children u as rows",
        unit="Frobenius norm",
        range="0 to sqrt(2)",
        direction="falls",
        source="after Kothapalli 2023, Neural collapse: a review on modelling principles and generalization, TMLR",
        unknown=_TWO_CHILDREN,
        misread="It looks at means alone, which may form a frame while rows scatter widely.",
    ),
    **_tree_null("nested_collapse"),
    **_tree_null("level_collapse"),
    "level_onset.first": Definition(
        "Value of the series at the first epoch that has one.", unit="the series' own", unknown="no epoch has one"
    ),
    "level_onset.last": Definition(
        "Value of the series at the last epoch that has one.", unit="the series' own", unknown="no epoch has one"
    ),
    "level_onset.onset": Definition(
        "First epoch by which the series has covered the fraction of its way, linear between epochs.",
        "least t with (x(t) - x(first)) / (x(last) - x(first)) >= f",
        unit="epochs",
        range=">= 0",
        unknown="the series ends no better than it began, has fewer than two values or an infinite one",
    ),
    "level_onset.course": Definition(
        "Course of the series: moved, first interval (past the mark before the second captured epoch), turned (gave "
        "back over a quarter of its gains, or all of them), away (worse at the end), still, or unknown.",
        kind="text",
    ),
    "level_onset.rank": Definition(
        "Rank of the onset among the levels of the layer, ties averaged; 1 came first.",
        unit="rank",
        range=">= 1",
        unknown="no onset",
    ),
    # tree_frame
    "tree_frame.classes": Definition("Number of classes that have a mean.", unit="classes", range=">= 1", kind="whole"),
    "tree_frame.distance": Definition(
        "Distance of the inner products of the centred class means to those of the hierarchy's frame, both of unit "
        "size. In the frame, squared distances of classes are in proportion to the height of their lowest common "
        "ancestor, the links from there to the farthest class. With all classes below the root it is a simplex, and "
        "the distance is nc2_etf. HAFrame's cosines (1 - s) exp(-g height / greatest) + s, s the least possible, come "
        "to this for small g where the tree is balanced.",
        "|M M^T / |M M^T| - F / |F||, F = -J D J / 2, D the heights, J = I - 11^T / K",
        unit="Frobenius norm",
        range="0 to sqrt(2)",
        direction="falls",
        source="after Liang, Davis 2023, Inducing neural collapse to a fixed hierarchy-aware frame for reducing "
        "mistake severity, ICCV",
        null="null_mean, z and p: random trees; with many classes it is near sqrt(2) for means at random",
        unknown="one class alone, or means that coincide",
        misread="The scale has no natural middle: what chance gives depends on tree and width, so go by z and p.",
    ),
    "tree_frame.null_mean": Definition(
        "Mean of the distance over random trees: the same tree over permuted classes; as many as `controls` says.",
        unit="Frobenius norm",
        range="0 to sqrt(2)",
        unknown=_NO_FRAMES,
    ),
    "tree_frame.null_std": Definition(
        "Standard deviation of the distance over the random trees, ddof = 1.",
        unit="Frobenius norm",
        range=">= 0",
        unknown=_NO_FRAMES,
    ),
    "tree_frame.z": Definition(
        "Distance less its mean over the random trees, in their standard deviations; below 0, the means are nearer to "
        "the hierarchy's frame than chance brings them.",
        "(distance - null_mean) / null_std",
        unit="standard deviations",
        direction="falls",
        null="0",
        unknown=f"{_NO_FRAMES}, or the same in all, as in a tree of one node",
    ),
    "tree_frame.p": Definition(
        "Share of the random trees, the hierarchy among them, with a distance as low.",
        "(b + 1) / (n + 1), b of n random trees at least as low",
        unit="share",
        range="0 to 1",
        unknown=_NO_FRAMES,
    ),
    # calibration
    "calibration.accuracy": Definition(
        "Share of rows whose most probable group is the right one, where a group's probability is the sum over its "
        'classes; that of the "sum" rule.',
        "share with argmax_g p_g = g(y), p_g = sum of softmax(z)_k over the classes k of g",
        unit="share",
        range="0 to 1",
        direction="rises",
        misread="It is of summed probabilities, and so not the greedy one in the table accuracy.",
    ),
    "calibration.confidence": Definition(
        "Mean probability of the most probable group; above the accuracy, the classifier is too sure of itself.",
        "mean of max_g p_g",
        unit="probability",
        range="0 to 1",
        misread="A high one is no merit by itself: beside a lower accuracy it is an error.",
    ),
    "calibration.ece": Definition(
        "Expected calibration error: rows are put into 15 bins of equal width by the probability of their most "
        "probable group, and the gaps between accuracy and mean confidence in these averaged by rows. By chance alone "
        "it is about 1 / sqrt(rows of a bin) for a calibrated classifier, so compare equally many rows; and gaps "
        "within a bin may make up for each other.",
        "sum_b (n_b / N) |accuracy_b - confidence_b|",
        unit="probability",
        range="0 to 1",
        source=f"after {_GUO}",
        misread="A low one is no merit either: who always names the frequencies of the groups has one, and knows "
        "nothing.",
    ),
    "calibration.mce": Definition(
        "Largest gap between accuracy and mean confidence in a bin, be there a single row in it.",
        "max_b |accuracy_b - confidence_b|",
        unit="probability",
        range="0 to 1",
        source=f"after {_GUO}",
        misread="A bin with a single row may make it: look at ece first.",
    ),
    "calibration.brier": Definition(
        "Brier score: mean squared distance of the groups' probabilities from 1 for the right group and 0 for all "
        "others, least for true probabilities. It compares runs in one label space: with fewer groups it is lower by "
        "itself.",
        "mean of sum_g (p_g - [g = g(y)])^2",
        unit="squared probability",
        range="0 to 2",
        source="Brier 1950, Verification of forecasts expressed in terms of probability, Monthly Weather Review",
        null="1 - 1 / G: all G groups as probable as each other",
        misread="With fewer groups it is lower by itself, so it does not compare label spaces.",
    ),
    "calibration.log_loss": Definition(
        "Mean negative log probability of the right group; infinite where it has none, as where all its classes are "
        "masked.",
        "mean of -log p_g(y)",
        unit="nats",
        range=">= 0",
        null="log G: all G groups as probable as each other",
        misread="A few rows that are wrong for sure rule it, whatever the rest does.",
    ),
    # neighbours
    "neighbours.groups": Definition(
        "Number of groups that the samples are of.", unit="groups", range=">= 1", kind="whole"
    ),
    "neighbours.rows": Definition(
        "Samples that are looked at: of the split, those whose ids have the smallest hashes, at most 10,000, the same "
        "at every epoch and layer; fewer of layers so wide that they would take more than half a gigabyte.",
        unit="rows",
        range=">= 1",
        kind="whole",
    ),
    "neighbours.k": Definition(
        "Number of nearest samples; all others where there are fewer.", unit="rows", range=">= 0", kind="whole"
    ),
    "neighbours.overlap": Definition(
        "Mean share of a sample's nearest others, in Euclidean distance, that are of its own group. Of samples equally "
        "far, those count that follow in a random order.",
        "mean_i of the share of the k nearest j of i with g(j) = g(i)",
        unit="share",
        range="0 to 1",
        direction="rises",
        source=_DOIMO,
        null="expected, and random label spaces of the same group sizes",
        unknown=_NO_COMPANY,
        misread="It is as high by chance as groups are large, and as low at best as they have few samples: see "
        "expected and ceiling.",
    ),
    "neighbours.low": Definition(
        "Lower end of a 95 % interval of the overlap for other samples of the same classes, as many of each.",
        "overlap - 1.96 standard errors, from what each sample adds as a centre and as a neighbour, less the mean of "
        "its class",
        unit="share",
        range="0 to 1",
        source=_JAECKEL,
        unknown=f"{_NO_COMPANY}, or no class has two",
    ),
    "neighbours.high": Definition(
        "Upper end of that interval.",
        unit="share",
        range="0 to 1",
        unknown=f"{_NO_COMPANY}, or no class has two",
    ),
    "neighbours.expected": Definition(
        "Overlap where samples have nothing to do with groups: the mean share of the other samples that are of the own "
        "group.",
        "mean_i (N_g(i) - 1) / (N - 1), N_g rows in group g",
        unit="share",
        range="0 to 1",
        unknown=_NO_COMPANY,
    ),
    "neighbours.ceiling": Definition(
        "Largest overlap there can be, where groups have no more than k samples.",
        "mean_i min(1, (N_g(i) - 1) / k)",
        unit="share",
        range="0 to 1",
        unknown=_NO_COMPANY,
    ),
    "neighbours.accuracy": Definition(
        "Accuracy of the majority vote of the k nearest others; where several groups have most votes, each counts its "
        "share.",
        unit="share",
        range="0 to 1",
        direction="rises",
        source="Fix, Hodges 1951, Discriminatory analysis: nonparametric discrimination",
        null="random label spaces of the same group sizes",
        unknown=_NO_COMPANY,
        formula="share with argmax_g #(the k nearest j of i with g(j) = g) = g(i)",
        misread="Chance is as high as the groups are large: compare with random groups of the same sizes.",
    ),
    # similarity
    "similarity.other_run": Definition(
        "Run that is compared with, as it was given; empty for the same run.", kind="text"
    ),
    "similarity.other_epoch": Definition("Epoch that is compared with.", unit="epochs", range=">= 0", kind="whole"),
    "similarity.other_layer": Definition("Layer that is compared with.", kind="text"),
    "similarity.value": Definition(
        "Likeness of the two layers, by the score.",
        unit="that of the score",
        null="null_mean, null_std and p: the samples of one side in other orders",
        unknown="fewer than four samples in common, or all at one place",
    ),
    "similarity.null_mean": Definition(
        "Mean of the value over all orders of the samples of one side, exactly: 0 for cka and class_cka.",
        "k / (n - 1) for mutual_neighbours",
        unit="that of the score",
        source=_MANTEL,
        unknown="fewer than four samples in common, or all at one place",
    ),
    "similarity.null_std": Definition(
        "Standard deviation of the value over all orders of the samples of one side, exactly.",
        "sqrt(2 / (n (n - 3))) for cka and class_cka, whatever the layers",
        unit="that of the score",
        range=">= 0",
        source=f"{_MANTEL}; for cka: {_RIZZO}",
        unknown="fewer than four samples in common, or all at one place",
    ),
    "similarity.z": Definition(
        "Value less its mean over all orders, in their standard deviations.",
        "(value - null_mean) / null_std",
        unit="standard deviations",
        null="0",
        unknown="the value is unknown, or all orders give the same",
    ),
    "similarity.p": Definition(
        "Share of drawn orders of the samples, the own one among them, with a value as high.",
        "(b + 1) / (n + 1), b of n orders at least as high",
        unit="share",
        range="0 to 1",
        unknown="the value is unknown, or no orders were drawn",
    ),
    "similarity.samples": Definition(
        "Samples that both sides share and that are compared, at most 1,000; for class_cka, classes.",
        unit="rows",
        range=">= 0",
        kind="whole",
    ),
    "similarity.permutations": Definition(
        "Number of orders drawn for p, at most 99.", unit="orders", range=">= 0", kind="whole"
    ),
    # groups, confusion
    "groups.classes": Definition("Number of classes in the group.", unit="classes", range=">= 1", kind="whole"),
    "groups.rows": Definition("Rows of the group.", unit="rows", range=">= 0", kind="whole"),
    "groups.predicted": Definition(
        "Rows that were taken for one of the group's classes.", unit="rows", range=">= 0", kind="whole"
    ),
    "groups.accuracy": Definition(
        "Share of the group's rows whose class is right.",
        unit="share",
        range="0 to 1",
        direction="rises",
        unknown="no row of the group",
        formula="share with argmax_k z_k = y, over the group's rows",
        misread="It counts the class, not the group: mistakes within the group are wrong here, and right in recall.",
    ),
    "groups.recall": Definition(
        "Share of the group's rows that were taken for the group.",
        "hits / rows",
        unit="share",
        range="0 to 1",
        direction="rises",
        unknown="no row of the group",
        misread="It is high for a group that everything is taken for: read it with precision.",
    ),
    "groups.precision": Definition(
        "Share of the rows taken for the group that are its own.",
        "hits / predicted",
        unit="share",
        range="0 to 1",
        direction="rises",
        unknown="no row taken for the group",
        misread="It is high for a group that is hardly ever named: read it with recall.",
    ),
    "confusion.rows": Definition(
        "Rows of the group that were taken for the other.", unit="rows", range=">= 1", kind="whole"
    ),
    "confusion.predicted_group": Definition(
        "Number of the group that the rows were taken for.", range=">= 0", kind="whole"
    ),
    "predicted_name": Definition("Name of the group that the rows were taken for.", kind="text"),
    # confusion_alignment
    "confusion_alignment.classes": Definition(
        "Number of classes compared: those with rows whose predictions are known, and with a mean in the layer.",
        unit="classes",
        range=">= 1",
        kind="whole",
    ),
    "confusion_alignment.confused_pairs": Definition(
        "Number of pairs of these classes of which one is taken for the other at least once. All other pairs are tied "
        "at the largest distance.",
        unit="pairs",
        range=">= 0",
        kind="whole",
    ),
    "confusion_alignment.value": Definition(
        "Value of the score.", unit="by score", null=_CLASS_PERMUTATIONS, unknown="see the score"
    ),
    "confusion_alignment.null_mean": Definition(
        "Mean of the score over permutations of the classes.", unit="by score", unknown="no permutations, or no value"
    ),
    "confusion_alignment.null_std": Definition(
        "Standard deviation of the score over permutations of the classes, ddof = 1.",
        unit="by score",
        range=">= 0",
        unknown="fewer than two permutations, or no value",
    ),
    "confusion_alignment.z": Definition(
        "Value above the mean of its null, in standard deviations of it.",
        "(value - null_mean) / null_std",
        unit="standard deviations",
        unknown="fewer than two permutations, no value, or a null that is one number throughout",
    ),
    "confusion_alignment.p": Definition(
        "Share of class orders, the real one among them, in which the confusion agrees as well as in the real one.",
        "(b + 1) / (n + 1), b of n permutations at least as good",
        unit="share",
        range="0 to 1",
        source="Mantel 1967, The detection of disease clustering and a generalized regression approach, Cancer "
        "Research",
        unknown="no permutations, or no value",
    ),
    "confusion_alignment.p_corrected": Definition(
        "The same against the best that each permutation reaches in any epoch, split and layer of the analysis.",
        "(b + 1) / (n + 1), b of n maxima at least as good",
        unit="share",
        range="0 to 1",
        source="Westfall, Young 1993, Resampling-based multiple testing",
        unknown="no permutations, or no value",
    ),
    "confusion_alignment.ceiling": Definition(
        "Largest value that any order of the pairs reaches: most pairs are tied where few are confused, and so are "
        "many in a hierarchy.",
        unit="by score",
        range="0 to 1",
        unknown="no value",
    ),
    "confusion_alignment.permutations": Definition(
        "Number of permutations behind the null, one for all rows of the table; fewer where many epochs make them "
        "dear.",
        unit="permutations",
        range=">= 0",
        kind="whole",
    ),
    # alignment_change
    "alignment_change.first_epoch": Definition(
        "First epoch at which the score has a value.", unit="epochs", range=">= 0", kind="whole"
    ),
    "alignment_change.last_epoch": Definition(
        "Last epoch at which the score has a value.", unit="epochs", range=">= 0", kind="whole"
    ),
    "alignment_change.first": Definition("Score at the first epoch.", unit="by score", unknown="no epoch with a value"),
    "alignment_change.last": Definition("Score at the last epoch.", unit="by score", unknown="no epoch with a value"),
    "alignment_change.change": Definition(
        "Score at the last epoch less that at the first: what training has added to the agreement.",
        "last - first",
        unit="by score",
        null="change_p: permutations of the classes, the same at both epochs",
        unknown="fewer than two epochs with a value",
    ),
    "alignment_change.change_low": Definition(
        "Lower end of the 95 % interval for the change, the same classes or groups left out of both epochs.",
        unit="by score",
        source=_TUKEY,
        unknown=f"{_NO_JACKKNIFE}, or no change",
    ),
    "alignment_change.change_high": Definition(
        "Upper end of the 95 % interval for the change, the same classes or groups left out of both epochs.",
        unit="by score",
        source=_TUKEY,
        unknown=f"{_NO_JACKKNIFE}, or no change",
    ),
    "alignment_change.change_p": Definition(
        "Share of class orders, the real one among them, by which the agreement grows at least as much.",
        "(b + 1) / (n + 1), b of n permutations of both epochs alike",
        unit="share",
        range="0 to 1",
        unknown="no permutations, or no change",
    ),
    "alignment_change.low": Definition(
        "Lower end of the 95 % interval for the score at the last epoch.",
        unit="by score",
        source=_TUKEY,
        unknown=_NO_JACKKNIFE,
    ),
    "alignment_change.high": Definition(
        "Upper end of the 95 % interval for the score at the last epoch.",
        unit="by score",
        source=_TUKEY,
        unknown=_NO_JACKKNIFE,
    ),
    "alignment_change.rank": Definition(
        "Rank of the layer among those of the split by its score at the last epoch; 1 agrees best with the hierarchy.",
        unit="rank",
        range=">= 1",
        unknown="no epoch with a value",
    ),
    "alignment_change.behind": Definition(
        "How far the layer's agreement at the last epoch is behind that of the first in rank; 0 for that one.",
        unit="by score",
        range=">= 0",
        unknown="no epoch with a value",
    ),
    "alignment_change.behind_low": Definition(
        "Lower end of the 95 % interval for that, those of all layers holding together; one that reaches 0 may be the "
        "best.",
        unit="by score",
        source="Hsu 1984, Constrained simultaneous confidence intervals for multiple comparisons with the best, Annals"
        " of Statistics",
        unknown=f"{_NO_JACKKNIFE}, or the first layer itself",
    ),
    "alignment_change.behind_high": Definition(
        "Upper end of the 95 % interval for that, those of all layers holding together; one that reaches 0 may be the "
        "best.",
        unit="by score",
        source="Hsu 1984, Constrained simultaneous confidence intervals for multiple comparisons with the best, Annals"
        " of Statistics",
        unknown=f"{_NO_JACKKNIFE}, or the first layer itself",
    ),
    # verdict
    "verdict.claim": Definition(
        "Claim that the row's interval carries: of onsets broad_first, specific_first, undecided or no_course; of "
        "alignment learned, lost, aligned or undecided.",
        kind="text",
    ),
    "verdict.against": Definition(
        "Compared with: number of groups (a trend over all levels), classes, random groups, first epoch or shuffled "
        "classes.",
        kind="text",
        unknown="nothing to compare",
    ),
    "verdict.difference": Definition(
        "Number that the claim rests on: onset of what is compared with less that of the space (precedence), slope of "
        "the onsets (trend), change of a score (alignment_change), or the score less its null mean.",
        unit="epochs, or by score",
        unknown="no course to tell of",
    ),
    "verdict.low": Definition("Lower end of its 95 % interval.", unit="epochs, or by score", unknown="no interval"),
    "verdict.high": Definition("Upper end of its 95 % interval.", unit="epochs, or by score", unknown="no interval"),
    "verdict.sentence": Definition("The claim in a sentence, with its numbers.", kind="text"),
    # probes
    "probes.groups": Definition(
        "Groups of the label space that the probe was fitted on rows of.", unit="groups", range=">= 0", kind="whole"
    ),
    "probes.rows": Definition(
        "Rows that are scored, none of which the probe was fitted on; one of a group without rows to fit on counts as "
        "wrong.",
        unit="rows",
        range=">= 0",
        kind="whole",
    ),
    "probes.accuracy": Definition(
        "Accuracy of a linear probe of the layer: ridge regression of one-hot groups, of which the largest is named.",
        "share of rows with g = argmax_j (W_j h + b_j), W = (X^T X + lambda I)^-1 X^T Y of centred rows",
        unit="share",
        range="0 to 1",
        direction="rises",
        source=_ALAIN,
        null="control_accuracy, control_low, control_high and control_p: random groups of the same sizes; and chance",
        unknown=_UNPROBED,
        misread="It tells what can be read out of a layer by a line, not what the network uses.",
    ),
    "probes.balanced_accuracy": Definition(
        "Mean over the groups of the share of their rows that is right: each weighs the same.",
        unit="share",
        range="0 to 1",
        direction="rises",
        null="1 / groups",
        unknown=_UNPROBED,
        formula="mean_g of the share of right rows of g",
        misread="It tells what can be read out of a layer by a line, not what the network uses.",
    ),
    "probes.chance": Definition(
        "Accuracy of naming always the group with most rows to fit on.",
        unit="share",
        range="0 to 1",
        unknown=_UNPROBED,
    ),
    "probes.control_accuracy": Definition(
        "Mean accuracy of probes for random groups of the same sizes, each with a lambda of its own.",
        unit="share",
        range="0 to 1",
        unknown=f"{_UNPROBED}, or no random label spaces, as for the classes",
    ),
    "probes.control_low": Definition(
        "2.5 % quantile of accuracy over the random groups.", unit="share", range="0 to 1", unknown=_UNDRAWN
    ),
    "probes.control_high": Definition(
        "97.5 % quantile of accuracy over the random groups.", unit="share", range="0 to 1", unknown=_UNDRAWN
    ),
    "probes.control_p": Definition(
        "Rank of accuracy among the random groups, as a two-sided p.",
        "min(1, 2 (b + 1) / (n + 1)), b of n random groups beyond it on the side with fewer",
        unit="share",
        range="0 to 1",
        source=_PHIPSON,
        unknown=_UNDRAWN,
    ),
    "probes.regularization": Definition(
        "Penalty lambda, chosen among decades by generalised cross-validation on the rows that the probe is fitted on.",
        "argmin N |Y - H Y|^2 / (N - tr H)^2, lambda from 1e-7 to 10 times the largest eigenvalue of X^T X",
        unit="that of squared features",
        range=">= 0",
        source="Golub, Heath, Wahba 1979, Generalized cross-validation as a method for choosing a good ridge "
        "parameter, Technometrics",
        unknown="features that are constant, or one group alone: the probe then names the largest",
    ),
    "probes.fitted_on": Definition(
        "Rows that the probe is fitted on: the split train, or where that was not captured, half of the samples of the "
        "split itself, by their ids, of which the other half is scored.",
        unknown="no row to fit on",
        kind="text",
    ),
    "probes.fitted_rows": Definition("Number of these rows.", unit="rows", range=">= 0", kind="whole"),
    "probes.dimensions": Definition(
        "Features that the probe uses; beyond 8,192 that many random sums of them, each in one with a random sign.",
        unit="features",
        range=">= 0",
        source="Weinberger et al. 2009, Feature hashing for large scale multitask learning, ICML",
        kind="whole",
    ),
}

# Keys that say nothing of some rows, by the tables in which that is so.
_UNKEYED = {
    ("onset", "precedence", "trend", "verdict"): {"layer": "a series of the classifier, which has no layer"},
    ("alignment", "alignment_change"): {
        "linkage": "a score of the distances themselves, without a tree",
        "taxonomy_distance": "a score of trees and label spaces, or cophenetic_self",
        "space": "a score that needs no label space",
    },
    ("confusion_alignment",): {
        "layer": "compared with the hierarchy",
        "metric": "compared with the hierarchy",
        "taxonomy_distance": "compared with a layer",
    },
    ("depth_law",): {"space": "alignment, which is of no label space"},
    ("evolution",): {
        "metric": "cka_linear and procrustes, which take the means as they are",
        "linkage": "a score of the means or distances themselves, without a tree",
    },
    ("verdict",): {"space": "a claim about all levels, or about alignment"},
}
COLUMNS: Mapping[str, Definition] = _COLUMNS | {
    f"{table}.{column}": replace(_COLUMNS[column], unknown=unknown)
    for tables, keys in _UNKEYED.items()
    for table in tables
    for column, unknown in keys.items()
}

# Columns of a measure's random controls, by what their names add to that of the measure. In braces stands what is
# the measure's.
CONTROLS: Mapping[str, Definition] = {
    "_control": Definition(
        "Mean of {measure} over the random label spaces.",
        unit="{unit}",
        range="{range}",
        unknown="no random label spaces",
    ),
    "_control_std": Definition(
        "Standard deviation of {measure} over the random label spaces, ddof = 1.",
        unit="{unit}",
        range=">= 0",
        unknown="fewer than two random label spaces",
    ),
    "_difference": Definition(
        "{measure} less its mean over the random label spaces.",
        "{measure} - {measure}_control",
        unit="{unit}",
        direction="{direction}",
        null="0: random label spaces of the same group sizes",
        unknown="no random label spaces",
    ),
    "_control_low": Definition(
        "2.5 % quantile of {measure} over the random label spaces.",
        unit="{unit}",
        range="{range}",
        unknown="fewer than two random label spaces, or one without a value",
    ),
    "_control_high": Definition(
        "97.5 % quantile of {measure} over the random label spaces.",
        unit="{unit}",
        range="{range}",
        unknown="fewer than two random label spaces, or one without a value",
    ),
    "_control_p": Definition(
        "Rank of {measure} among the random label spaces, as a two-sided p.",
        "min(1, 2 (b + 1) / (n + 1)), b of n random label spaces beyond it on the side with fewer",
        unit="share",
        range="0 to 1",
        source=_PHIPSON,
        unknown="fewer than two random label spaces, or one without a value",
    ),
}
