"""Definitions of the names that key columns hold: scores, distances, linkages, and series over the epochs."""

from __future__ import annotations

from collections.abc import Mapping

from featlab.results.definitions import COLUMNS, Definition

_KRIEGESKORTE = (
    "Kriegeskorte, Mur, Bandettini 2008, Representational similarity analysis, Frontiers in Systems Neuroscience"
)
_SOKAL = "Sokal, Rohlf 1962, The comparison of dendrograms by objective methods, Taxon"
_PERMUTATIONS = "permutations of the classes"
_TIED = "all distances are equal within rounding, or one is unknown"
_FLAT = f"{_TIED}, or all merges of the tree are at one height"

ALIGNMENT_SCORES: Mapping[str, Definition] = {
    "rsa_spearman": Definition(
        "Rank correlation of the distances between class means with those in the hierarchy; the score to begin with.",
        "Spearman's rho over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_KRIEGESKORTE,
        null=_PERMUTATIONS,
        unknown=_TIED,
        misread="Pairs share classes, so thousands of pairs are no large sample: go by p. Ties in the hierarchy keep "
        "it below 1: see ceiling.",
    ),
    "rsa_pearson": Definition(
        "Linear correlation of the distances between class means with those in the hierarchy.",
        "Pearson's r over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_KRIEGESKORTE,
        null=_PERMUTATIONS,
        unknown=_TIED,
        misread="It takes links for lengths, and a few far classes rule it.",
    ),
    "rsa_kendall": Definition(
        "Concordant less discordant pairs of distances, over all of them: ties keep it below 1, see ceiling.",
        "Kendall's tau-a over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source="Kendall 1938, A new measure of rank correlation, Biometrika",
        null=_PERMUTATIONS,
        unknown=_TIED,
        misread="Compare it with ceiling, not with 1, and not with rsa_spearman, which is higher by itself.",
    ),
    "nearest_neighbor_distance": Definition(
        "Mean distance in the hierarchy from a class to the class with the nearest mean; it catches labels that are "
        "shifted, which a permutation test does not.",
        "mean_k d(k, argmin_j |mu_k - mu_j|)",
        unit="that of the taxonomy distance",
        range=">= 0",
        direction="falls",
        null=_PERMUTATIONS,
        unknown=_TIED,
        misread="Low is good, and the least possible is ceiling, not 0. It sees a class's nearest one alone, and "
        "nothing of the broad order.",
    ),
    "nearest_neighbor_share": Definition(
        "Share of the classes, not alone in their group of the label space, whose nearest class is in their group.",
        "mean_k [g(argmin_j |mu_k - mu_j|) = g(k)]",
        unit="share",
        range="0 to 1",
        direction="rises",
        null=_PERMUTATIONS,
        unknown=_TIED,
        misread="Chance is as high as the groups are large: compare with null_mean.",
    ),
    "cophenetic_self": Definition(
        "Correlation of the tree's distances with the distances of the class means that it was built on.",
        "Pearson's r over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_SOKAL,
        null=_PERMUTATIONS,
        unknown=_FLAT,
        misread="It knows no hierarchy: a high one says that some tree fits the means, be it the wrong one.",
    ),
    "cophenetic_pearson": Definition(
        "Linear correlation of the tree's distances with those in the hierarchy.",
        "Pearson's r over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_SOKAL,
        null=_PERMUTATIONS,
        unknown=_FLAT,
        misread="The linkage has a part in it: where rsa_pearson disagrees, the tree fits the means badly, see "
        "cophenetic_self.",
    ),
    "cophenetic_spearman": Definition(
        "Rank correlation of the tree's distances with those in the hierarchy.",
        "Spearman's rho over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_SOKAL,
        null=_PERMUTATIONS,
        unknown=_FLAT,
        misread="The linkage has a part in it: where rsa_spearman disagrees, the tree fits the means badly, see "
        "cophenetic_self.",
    ),
    "bakers_gamma": Definition(
        "Agreement of the heights at which pairs of classes merge in the tree and in the hierarchy; ties left out.",
        "(concordant - discordant) / (concordant + discordant) over pairs of pairs",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source="Baker 1974, Stability of two hierarchical grouping techniques, JASA",
        null=_PERMUTATIONS,
        unknown=f"{_FLAT}, or the hierarchy has a single level",
        misread="Ties are left out, so in a flat hierarchy a high one may rest on few pairs of pairs.",
    ),
    "triplet_agreement": Definition(
        "Share of the triplets ab|c, a and b nearer to each other than to c, that the tree resolves as the hierarchy "
        "does; about a third by chance.",
        unit="share",
        range="0 to 1",
        direction="rises",
        source="Critchlow, Pearl, Qian 1996, The triples distance for rooted bifurcating phylogenetic trees, "
        "Systematic Biology",
        null=_PERMUTATIONS,
        unknown=f"{_FLAT}, or the hierarchy resolves no triplet",
        formula="share of the triplets ab|c of the hierarchy with height(a, b) < height(a, c), height(b, c) in the "
        "tree",
        misread="A third is chance, not 0, and triplets that the hierarchy leaves open do not count.",
    ),
    "clade_recall": Definition(
        "Share of the hierarchy's groups of classes that are clusters of the tree, class by class.",
        unit="share",
        range="0 to 1",
        direction="rises",
        source="after Robinson, Foulds 1981, Comparison of phylogenetic trees, Mathematical Biosciences",
        null=_PERMUTATIONS,
        unknown=f"{_FLAT}, or the hierarchy has no inner node below its root",
        formula="groups of the hierarchy below its root that are clusters of the tree / all such groups",
        misread="It is all or nothing: one class astray breaks every group that it belongs to, however near the rest "
        "is.",
    ),
    "dendrogram_purity": Definition(
        "Mean share of a group's classes in the smallest cluster that holds two of them, over pairs of one group.",
        unit="share",
        range="0 to 1",
        direction="rises",
        source="Heller, Ghahramani 2005, Bayesian hierarchical clustering, ICML",
        null=_PERMUTATIONS,
        unknown=_FLAT,
        formula="mean over pairs i, j of one group g of |C and g| / |C|, C the smallest cluster that holds both",
        misread="Chance is as high as the groups are large: compare with null_mean.",
    ),
    "ami": Definition(
        "Adjusted mutual information of the label space with the tree cut into as many groups; 0 by chance.",
        "(I - E I) / (mean of the entropies - E I)",
        unit="ratio",
        range="<= 1",
        direction="rises",
        source="Vinh, Epps, Bailey 2010, Information theoretic measures for clusterings comparison, JMLR",
        null=_PERMUTATIONS,
        unknown=f"{_FLAT}, or both partitions are trivial",
        misread="The cut may give one large cluster and single classes: a low one may be the cut's fault, not that of "
        "the tree.",
    ),
    "ari": Definition(
        "Adjusted Rand index of the label space with the tree cut into as many groups; 0 by chance.",
        "(pairs together in both - expected) / (mean of the pairs together in either - expected)",
        unit="ratio",
        range="-1 to 1",
        direction="rises",
        source="Hubert, Arabie 1985, Comparing partitions, Journal of Classification",
        null=_PERMUTATIONS,
        unknown=f"{_FLAT}, or both partitions are trivial",
        misread="The cut may give one large cluster and single classes: a low one may be the cut's fault, not that of "
        "the tree.",
    ),
    "fowlkes_mallows": Definition(
        "Geometric mean of precision and recall of pairs of classes together, of the tree cut into as many groups as "
        "the label space.",
        "pairs together in both / sqrt(pairs together in one * in the other)",
        unit="share",
        range="0 to 1",
        direction="rises",
        source="Fowlkes, Mallows 1983, A method for comparing two hierarchical clusterings, JASA",
        null=_PERMUTATIONS,
        unknown=f"{_FLAT}, or no two classes are together in one of the partitions",
        misread="It is not corrected for chance, which is as high as the groups are large: compare with null_mean.",
    ),
}

EVOLUTION_SCORES: Mapping[str, Definition] = {
    "cka_linear": Definition(
        "Centred kernel alignment of the class means at the two epochs, unbiased: 1 for the same geometry up to "
        "rotation and scale.",
        "HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))",
        unit="ratio",
        range="-1 to 1",
        direction="rises",
        source="Kornblith et al. 2019, Similarity of neural network representations revisited, ICML",
        unknown="fewer than four classes",
        misread="The directions of largest variance rule it: fine changes between classes hardly move it.",
    ),
    "procrustes": Definition(
        "Least distance of the class means at the two epochs over all rotations, each centred and at unit norm.",
        "min over Q of || X - Y Q ||_F",
        unit="ratio",
        range="0 to sqrt(2)",
        direction="falls",
        source="Williams et al. 2021, Generalized shape metrics on neural representations, NeurIPS",
        unknown="one class alone, or means that coincide",
        misread="Low means alike here. High likeness to the last epoch is no merit: the last may be poor.",
    ),
    "evolution_pearson": Definition(
        "Linear correlation of the distances between class means at the two epochs.",
        "Pearson's r over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_KRIEGESKORTE,
        unknown=_TIED,
        misread="At the last epoch it is 1 by definition; high with the previous epoch means slow, not good.",
    ),
    "evolution_spearman": Definition(
        "Rank correlation of the distances between class means at the two epochs.",
        "Spearman's rho over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_KRIEGESKORTE,
        unknown=_TIED,
        misread="At the last epoch it is 1 by definition; high with the previous epoch means slow, not good.",
    ),
    "evolution_cophenetic": Definition(
        "Linear correlation of the distances in the trees of the two epochs.",
        "Pearson's r over pairs of classes",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source=_SOKAL,
        unknown=_FLAT,
        misread="Trees jump where distances move a little: a low one alone does not tell of a large change.",
    ),
}

TAXONOMY_DISTANCES: Mapping[str, Definition] = {
    "path": Definition(
        "Links on the shortest way from one class to the other through a common ancestor; where nodes have several "
        "parents, over all of them.",
        "min_c up(a, c) + up(b, c)",
        unit="links",
        range=">= 0",
        source="Rada et al. 1989, Development and application of a metric on semantic nets, IEEE SMC",
    ),
    "lca_height": Definition(
        "Height of the lowest common ancestor: the longest way down from it to a leaf.",
        "min_c height(c)",
        unit="links",
        range=">= 0",
        source="Bertinetto et al. 2020, Making better mistakes, CVPR",
    ),
    "lca_depth": Definition(
        "Depth of the deepest node less that of the deepest common ancestor.",
        "max depth - max_c depth(c)",
        unit="links",
        range=">= 0",
    ),
    "wup": Definition(
        "Similarity of Wu and Palmer as a distance: the links to the deepest common ancestor, against its depth.",
        "1 - 2 N3 / (N1 + N2 + 2 N3), N3 nodes from the root to c, N1 and N2 links up to it",
        unit="ratio",
        range="0 to 1",
        source="Wu, Palmer 1994, Verb semantics and lexical selection, ACL",
    ),
    "lch": Definition(
        "Similarity of Leacock and Chodorow as a distance.",
        "log(path + 1)",
        unit="log links",
        range=">= 0",
        source="Leacock, Chodorow 1998, Combining local context and WordNet similarity, in Fellbaum, WordNet",
    ),
    "jcn": Definition(
        "Information that the two classes do not share.",
        "IC(a) + IC(b) - 2 IC(c), IC(c) = 1 - log(nodes at or below c) / log(nodes)",
        unit="information",
        range="0 to 2",
        source="Jiang, Conrath 1997, Semantic similarity based on corpus statistics and lexical taxonomy, ROCLING; "
        "IC of Seco, Veale, Hayes 2004, ECAI",
    ),
    "lin": Definition(
        "Share of the information of the two classes that they do not share.",
        "1 - 2 IC(c) / (IC(a) + IC(b))",
        unit="ratio",
        range="0 to 1",
        source="Lin 1998, An information-theoretic definition of similarity, ICML; IC of Seco, Veale, Hayes 2004, ECAI",
    ),
    "resnik": Definition(
        "Information that the most telling common ancestor lacks.",
        "1 - IC(c)",
        unit="information",
        range="0 to 1",
        source="Resnik 1995, Using information content to evaluate semantic similarity, IJCAI; IC of Seco, Veale, "
        "Hayes 2004, ECAI",
    ),
}

METRICS: Mapping[str, Definition] = {
    "euclidean": Definition(
        "Euclidean distance of class means; with debias, less what their estimation adds to its square.",
        "|mu_i - mu_j|",
        unit="features' own units",
        range=">= 0",
    ),
    "cosine": Definition(
        "Cosine distance of class means about the mean of all: raw means after a ReLU all point one way.",
        "1 - cos(m_i, m_j)",
        unit="cosine",
        range="0 to 2",
        unknown="a class mean at the mean of all",
    ),
}

LINKAGES: Mapping[str, Definition] = {
    "average": Definition(
        "Clusters are as far apart as their classes on average.",
        source="Sokal, Michener 1958, A statistical method for evaluating systematic relationships, University of "
        "Kansas Science Bulletin",
    ),
    "ward": Definition(
        "Those clusters are merged whose union scatters least; means are brought to unit length first for the cosine.",
        source="Ward 1963, Hierarchical grouping to optimize an objective function, JASA",
    ),
    "single": Definition("Clusters are as far apart as their nearest classes."),
    "complete": Definition("Clusters are as far apart as their farthest classes."),
}

SERIES: Mapping[str, Definition] = {
    "accuracy": COLUMNS["accuracy.accuracy"],
    **{
        column.removeprefix("collapse."): definition
        for column, definition in COLUMNS.items()
        if column.startswith("collapse.") and definition.direction
    },
}

NODE_SERIES: Mapping[str, Definition] = {
    "told_apart": Definition(
        "How well the rows below a node are told from all others, Youden's J; it rises with the nodes above, too.",
        "J = share of them taken for classes below the node - that share of the others",
        unit="share",
        range="-1 to 1",
        direction="rises",
        source="Youden 1950, Index for rating diagnostic tests, Cancer",
        null="0: guessing",
        unknown="no row below the node, or no other",
        misread="It rises with the nodes above: early may mean no more than that its broad kin was told apart.",
    ),
    "told_from_siblings": Definition(
        "How well the rows below a node are told from the other rows below its parent, Youden's J.",
        "J = share of them taken for classes below the node - that share of its siblings' rows",
        unit="share",
        range="-1 to 1",
        direction="rises",
        source="Youden 1950, Index for rating diagnostic tests, Cancer",
        null="0: guessing",
        unknown="no row below the node, or none below its siblings",
        misread="A node that is never named is at 0, and so is one that is guessed at.",
    ),
}

DEPTH_SERIES: Mapping[str, Definition] = {
    **{column: COLUMNS[f"collapse.{column}"] for column in ("nc1_pinv", "nc1_trace_ratio", "nc1_cdnv", "ncc_accuracy")},
    "rsa_spearman": ALIGNMENT_SCORES["rsa_spearman"],
}

LEVEL_SERIES: Mapping[str, Definition] = {
    name: COLUMNS[name] for name in ("ratio", "class_ratio", "cdnv", "equinorm", "equiangular", "max_angle", "etf")
}

CONFUSION_SCORES: Mapping[str, Definition] = {
    "rsa_spearman": Definition(
        "Rank correlation of how seldom two classes are taken for each other with how far apart they are, in the "
        "hierarchy or in a layer's class means; above 0 where near classes are confused.",
        "Spearman's rho over pairs of classes, of 1 - (share of i's rows taken for j + share of j's taken for i) / 2",
        unit="correlation",
        range="-1 to 1",
        direction="rises",
        source="Alsallakh et al. 2018, Do convolutional neural networks learn class hierarchy?, IEEE TVCG",
        null=_PERMUTATIONS,
        unknown="no class is taken for another, all pairs are confused alike, or all distances are equal",
        misread="Where few classes are confused most pairs are tied, so small values are much: read it beside ceiling.",
    ),
}

SIMILARITY_SCORES: Mapping[str, Definition] = {
    "cka": Definition(
        "Linear CKA over samples, with the unbiased estimate of HSIC: 1 for the same geometry up to rotation and "
        "scale, 0 on average for independent ones.",
        "HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))",
        unit="correlation",
        range="-1 to 1",
        source="Kornblith et al. 2019, Similarity of neural network representations revisited, ICML; Song et al. 2012, "
        "Feature selection via dependence maximization, JMLR; Murphy, Zylberberg, Fyshe 2024, Correcting biased "
        "centered kernel alignment measures in biological and artificial neural networks, Re-Align",
        null="0, exactly; null_std and p",
        unknown="fewer than four samples in common, or all at one place",
        misread="The directions of largest variance rule it: layers that tell broad groups alike are alike, whatever "
        "else they tell.",
    ),
    "class_cka": Definition(
        "The same over class means, each class a sample; of all rows.",
        "HSIC(M, M') / sqrt(HSIC(M, M) HSIC(M', M'))",
        unit="correlation",
        range="-1 to 1",
        source="Kornblith et al. 2019, Similarity of neural network representations revisited, ICML; Song et al. 2012, "
        "Feature selection via dependence maximization, JMLR",
        null="0, exactly; null_std and p",
        unknown="fewer than four classes in common, or all means at one place",
        misread="It sees class means alone: rows may scatter quite differently about them.",
    ),
    "mutual_neighbours": Definition(
        "Mean share of the 10 nearest samples of a sample that both sides have in common; it tells who is near to "
        "whom, however far apart groups are.",
        "mean_i #(the k nearest of i on either side) / k",
        unit="share",
        range="0 to 1",
        source="Doimo, Glielmo, Ansuini, Laio 2020, Hierarchical nucleation in deep neural networks, NeurIPS",
        null="k / (n - 1), exactly; null_std and p",
        unknown="fewer than four samples in common, or all at one place",
        misread="It is far below 1 even for layers alike: chance is k / (n - 1), not 0, and small values are much.",
    ),
}

CLAIMS: Mapping[str, Definition] = {
    "broad_first": Definition(
        "The label space was learned before what it is compared with; of a trend, the fewer groups the earlier."
    ),
    "specific_first": Definition(
        "The label space was learned after what it is compared with; of a trend, the fewer groups the later."
    ),
    "undecided": Definition(
        "The interval holds 0 or is unknown, random groups are as early, or the course gives no ground for a claim."
    ),
    "no_course": Definition("There is no onset to compare: the series did not move, or ended worse than it began."),
    "aligned": Definition("The layer follows the hierarchy beyond shuffled classes, at p_corrected = 0.05 or less."),
    "learned": Definition("The layer follows the hierarchy better than at the first epoch, beyond the uncertainty."),
    "lost": Definition("The layer follows the hierarchy less than at the first epoch, beyond the uncertainty."),
}

# Tables, the key columns that hold such names, and the names.
NAMED_VALUES: Mapping[str, Mapping[str, Mapping[str, Definition]]] = {
    "distances": {"metric": METRICS},
    "linkage": {"metric": METRICS, "linkage": LINKAGES},
    "alignment": {
        "score": ALIGNMENT_SCORES, "taxonomy_distance": TAXONOMY_DISTANCES, "metric": METRICS, "linkage": LINKAGES
    },
    "evolution": {"score": EVOLUTION_SCORES, "metric": METRICS, "linkage": LINKAGES},
    "onset": {"series": SERIES},
    "precedence": {"series": SERIES},
    "trend": {"series": SERIES},
    "node_onset": {"series": NODE_SERIES},
    "depth_law": {"series": DEPTH_SERIES},
    "level_onset": {"series": LEVEL_SERIES},
    "confusion_alignment": {
        "score": CONFUSION_SCORES, "taxonomy_distance": TAXONOMY_DISTANCES, "metric": METRICS
    },
    "similarity": {"score": SIMILARITY_SCORES},
    "alignment_change": {
        "score": ALIGNMENT_SCORES, "taxonomy_distance": TAXONOMY_DISTANCES, "metric": METRICS, "linkage": LINKAGES
    },
    "verdict": {"claim": CLAIMS},
}  # fmt: skip
