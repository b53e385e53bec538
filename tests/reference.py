"""Oracles written from the formulas of the literature alone, in float64, with D x D matrices and plain loops.

They share no code with featlab and make no attempt to be fast.
"""

from __future__ import annotations

import numpy as np


def snapshot_columns(features, labels, groups=None, classifier=None):
    """Every geometry and collapse column of one label space, by definition.

    features (N, D), labels (N,) classes, groups (K,) map from class to group or None, classifier (W, b) or None.
    """
    h = np.asarray(features, np.float64)
    y = np.asarray(labels)
    n_classes = int(y.max()) + 1 if groups is None else len(groups)
    groups = np.arange(n_classes) if groups is None else np.asarray(groups)
    g = groups[y]
    present = [s for s in np.unique(groups) if (g == s).any()]
    means = np.stack([h[g == s].mean(axis=0) for s in present])
    variances = np.array([np.square(h[g == s] - means[i]).sum(axis=1).mean() for i, s in enumerate(present)])
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
        (variances[i] + variances[j]) / (2 * np.square(means[i] - means[j]).sum())
        for i in range(k)
        for j in range(k)
        if i != j
    ]
    nearest = np.array([np.square(means - row).sum(axis=1).argmin() for row in h])
    truth = np.array([position[s] for s in g])
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
        "ncc_accuracy": (nearest == truth).mean(),
    }
    if classifier is not None:
        w, b = (np.asarray(part, np.float64) for part in classifier)
        guess = groups[(h @ w.T + b).argmax(axis=1)]
        known = [c for c in range(len(groups)) if (y == c).any()]
        w_g = np.stack([w[[c for c in known if groups[c] == s]].mean(axis=0) for s in present])
        out["nc3_duality"] = np.square(w_g / np.linalg.norm(w_g) - m / np.linalg.norm(m)).sum()
        out["nc4_agreement"] = np.mean([present[i] == s for i, s in zip(nearest, guess, strict=True)])
    return out


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
