"""Oracles written from the formulas of the literature alone, in float64, with D x D matrices and plain loops.

They share no code with featlab and make no attempt to be fast.
"""

from __future__ import annotations

import numpy as np


def snapshot_columns(features, labels, groups=None, classifier=None, source=None):
    """Every geometry and collapse column of one label space, by definition.

    features (N, D), labels (N,) classes, groups (K,) map from class to group or None, classifier (W, b) or None;
    source: (features, labels) of another split whose means are used, or None.
    """
    h = np.asarray(features, np.float64)
    y = np.asarray(labels)
    n_classes = int(y.max()) + 1 if groups is None else len(groups)
    groups = np.arange(n_classes) if groups is None else np.asarray(groups)
    source_h, source_y = (h, y) if source is None else (np.asarray(source[0], np.float64), np.asarray(source[1]))
    kept = np.isin(y, source_y)
    h, y = h[kept], y[kept]
    g, source_g = groups[y], groups[source_y]
    present = [s for s in np.unique(groups) if (source_g == s).any()]
    means = np.stack([source_h[source_g == s].mean(axis=0) for s in present])
    seen = [i for i, s in enumerate(present) if (g == s).any()]
    variances = {i: np.square(h[g == present[i]] - means[i]).sum(axis=1).mean() for i in seen}
    grand = means.mean(axis=0)
    m = means - grand
    n, k = len(h), len(present)
    position = {s: i for i, s in enumerate(present)}
    own = means[[position[s] for s in g]]
    s_w = (h - own).T @ (h - own) / n
    s_b = m.T @ m / k
    norms = np.linalg.norm(m, axis=1)
    cosines = (m @ m.T) / np.outer(norms, norms)
    off = cosines[~np.eye(k, dtype=bool)]
    eigenvalues = np.linalg.eigvalsh(s_b)
    gram = m @ m.T
    cdnv = [
        (variances[i] + variances[j]) / (2 * np.square(means[i] - means[j]).sum()) for i in seen for j in seen if i != j
    ]
    nearest = np.array([np.square(means - row).sum(axis=1).argmin() for row in h])
    truth = np.array([position[s] for s in g])
    right = nearest == truth if source is not None else leave_one_out(h, truth, means)
    out = {
        "within_trace": np.trace(s_w),
        "between_trace": np.trace(s_b),
        "mean_norm": norms.mean(),
        "mean_norm_cv": norms.std(ddof=1) / norms.mean(),
        "cosine_mean": off.mean(),
        "cosine_std": off.std(ddof=1),
        "means_rank": np.linalg.matrix_rank(m, tol=1e-5 * np.linalg.norm(m, 2)),
        "means_participation": eigenvalues.sum() ** 2 / np.square(eigenvalues).sum(),
        "snr": np.trace(s_b) / np.trace(s_w),
        "nc1_pinv": np.trace(s_w @ np.linalg.pinv(s_b, rcond=1e-9, hermitian=True)) / k,
        "nc1_trace_ratio": np.trace(s_w) / np.trace(s_b),
        "nc1_cdnv": np.mean(cdnv),
        "nc2_equinorm": norms.std(ddof=1) / norms.mean(),
        "nc2_equiangular": off.std(ddof=1),
        "nc2_max_angle": np.abs(off + 1 / (k - 1)).mean(),
        "nc2_etf": np.linalg.norm(gram / np.linalg.norm(gram) - (np.eye(k) - 1 / k) / np.sqrt(k - 1)),
        "ncc_accuracy": np.mean(right),
    }
    if classifier is not None:
        w, b = (np.asarray(part, np.float64) for part in classifier)
        guess = groups[(h @ w.T + b).argmax(axis=1)]
        known = [c for c in range(len(groups)) if (source_y == c).any()]
        w_g = np.stack([w[[c for c in known if groups[c] == s]].mean(axis=0) for s in present])
        out["nc3_duality"] = np.square(w_g / np.linalg.norm(w_g) - m / np.linalg.norm(m)).sum()
        out["nc4_agreement"] = np.mean([present[i] == s for i, s in zip(nearest, guess, strict=True)])
    return out


def leave_one_out(rows, groups, means):
    """Tell of each row whether its group's mean is the nearest, that mean taken over the other rows of the group."""
    hits = []
    for i, row in enumerate(rows):
        others = (groups == groups[i]) & (np.arange(len(rows)) != i)
        if not others.any():
            hits.append(False)
            continue
        moved = means.copy()
        moved[groups[i]] = rows[others].mean(axis=0)
        hits.append(np.square(moved - row).sum(axis=1).argmin() == groups[i])
    return hits


def right_by_sum(logits, labels, groups):
    """For each row, 1 where its own group has the highest sum of softmax probabilities, as a list; float16 logits."""
    logits = np.asarray(logits, np.float16).astype(np.float64)
    hits = []
    for row, label in zip(logits, labels, strict=True):
        chances = [np.exp(value - max(row)) for value in row]
        sums = {}
        for chance, group in zip(chances, groups, strict=True):
            sums[group] = sums.get(group, 0.0) + chance
        hits.append(int(max(sums, key=sums.get) == groups[label]))
    return hits


def line_of(parents, node):
    """A node and all above it, from the node up, in a tree given as {node: parent}."""
    line = [node]
    while line[-1] in parents:
        line.append(parents[line[-1]])
    return line


def node_height(parents, node):
    """Steps down from a node to the farthest leaf below it."""
    children = [child for child, parent in parents.items() if parent == node]
    return 1 + max(node_height(parents, child) for child in children) if children else 0


def common_ancestor(parents, one, other):
    """The lowest node that is above, or is, both."""
    return next(node for node in line_of(parents, one) if node in line_of(parents, other))


def tree_distance(parents, one, other, kind):
    """Steps between two nodes ("path"), or the height of their lowest common ancestor ("lca_height")."""
    common = common_ancestor(parents, one, other)
    if kind == "lca_height":
        return node_height(parents, common)
    return line_of(parents, one).index(common) + line_of(parents, other).index(common)


def accuracy_columns(labels, predictions, classes, parents, groups):
    """Greedy accuracy and its company in one label space; `groups` names the node of the tree for each class."""
    right = [groups[said] == groups[true] for true, said in zip(labels, predictions, strict=True)]
    accuracy = sum(right) / len(right)
    exact = sum(true == said for true, said in zip(labels, predictions, strict=True)) / len(labels)
    k = len(classes)
    together = [groups[i] == groups[j] for i in range(k) for j in range(k) if i != j]
    expected = exact + (1 - exact) * sum(together) / len(together) if len(set(groups)) < k else accuracy
    heights = [
        node_height(parents, common_ancestor(parents, classes[true], classes[said]))
        for true, said, hit in zip(labels, predictions, right, strict=True)
        if not hit
    ]
    shared = guessed = wanted = 0
    for true, said in zip(labels, predictions, strict=True):
        one, other = (set(line_of(parents, groups[each])[:-1]) for each in (true, said))
        shared, wanted, guessed = shared + len(one & other), wanted + len(one), guessed + len(other)
    return {
        "accuracy": accuracy,
        "random_expected": expected,
        "hypernym_gain": accuracy - expected,
        "mistake_severity": sum(heights) / len(heights) if heights else float("nan"),
        "hierarchical_precision": shared / guessed,
        "hierarchical_recall": shared / wanted,
        "hierarchical_f": 2 * shared / (guessed + wanted),
    }


def class_means(features, labels):
    """Ids of the classes that have rows, their means less the mean of these means, variances (ddof=1) and counts."""
    h, y = np.asarray(features, np.float64), np.asarray(labels)
    present = sorted(set(y.tolist()))
    means = np.stack([h[y == c].mean(axis=0) for c in present])
    counts = np.array([(y == c).sum() for c in present])
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.array([np.square(h[y == c] - h[y == c].mean(axis=0)).sum() for c in present]) / (counts - 1)
    return present, means - means.mean(axis=0), spread, counts


def mean_distances(features, labels, metric, debias=False):
    """{(class, class): distance} between class means; cosines are of centred means."""
    present, means, spread, counts = class_means(features, labels)
    found = {}
    for i, one in enumerate(present):
        for j in range(i + 1, len(present)):
            a, b = means[i], means[j]
            if metric == "cosine":
                found[one, present[j]] = 1 - a @ b / np.sqrt((a @ a) * (b @ b))
                continue
            squared = float(np.square(a - b).sum())
            if debias:
                squared = max(0.0, squared - spread[i] / counts[i] - spread[j] / counts[j])
            found[one, present[j]] = np.sqrt(squared)
    return found


def tree_scores(present, distances, merged, parents, classes, kind="path"):
    """Scores of class-mean distances, and of the cophenetic ones of a tree on them, with a taxonomy, by definition.

    present: class ids; distances, merged: {(class, class): value}, the smaller id first.
    """

    def at(table, i, j):
        return table[min(i, j), max(i, j)]

    def known(i, j, which=kind):
        return tree_distance(parents, classes[i], classes[j], which)

    pairs = list(distances)
    concordance = [
        np.sign(distances[p] - distances[q]) * np.sign(known(*p) - known(*q)) for p in pairs for q in pairs if p < q
    ]
    nearest = [known(i, min((j for j in present if j != i), key=lambda j: at(distances, i, j))) for i in present]
    resolved = [
        at(merged, a, b) < min(at(merged, a, c), at(merged, b, c))
        for a in present
        for b in present
        for c in present
        if a < b and c not in (a, b)
        if known(a, b, "lca_height") < min(known(a, c, "lca_height"), known(b, c, "lca_height"))
    ]
    nodes = {frozenset(i for i in present if node in line_of(parents, classes[i])) for node in parents}
    clades = [node for node in nodes if 1 < len(node) < len(present)]
    clusters = {
        frozenset([i] + [j for j in present if j != i and at(merged, i, j) <= height])
        for i in present
        for height in merged.values()
    }
    signs = [
        np.sign(merged[p] - merged[q]) * np.sign(known(*p, "lca_height") - known(*q, "lca_height"))
        for p in pairs
        for q in pairs
        if p < q
    ]
    return {
        "rsa_kendall": np.mean(concordance),
        "nearest_neighbor_distance": np.mean(nearest),
        "triplet_agreement": np.mean(resolved),
        "clade_recall": np.mean([clade in clusters for clade in clades]),
        "bakers_gamma": np.sum(signs) / np.count_nonzero(signs),
    }


def hsic(one, other):
    """HSIC_1 of Song et al. 2012 over two Gram matrices, by its definition over quadruples of distinct samples."""
    n, total, count = len(one), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q])
                        count += 1
    return total / count


def onset(epochs, values, fraction):
    """The epoch by which a series has covered a fraction of its way, walked along step by step."""
    first, last = values[0], values[-1]
    if first == last or not np.isfinite(values).all():
        return float("nan")
    goal = first + fraction * (last - first)
    rising = last > first
    for step in range(1, len(values)):
        before, after = values[step - 1], values[step]
        if after >= goal if rising else after <= goal:
            return epochs[step - 1] + (goal - before) / (after - before) * (epochs[step] - epochs[step - 1])
    return float("nan")
