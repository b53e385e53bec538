"""Hypothesis strategies: labelled features, and ways to cut them up."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def labelled_features(draw, max_rows=60, max_classes=6, max_dim=7):
    """Features (N, D) float32 and labels (N,) with any imbalance, absent classes among them; every size from one up."""
    rows = draw(st.integers(1, max_rows))
    n_classes = draw(st.integers(1, max_classes))
    dim = draw(st.integers(1, max_dim))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = generator.choice(n_classes, size=rows, p=generator.dirichlet(np.full(n_classes, 0.5)))
    centre = draw(st.sampled_from([0.0, 1.0, 100.0, -1000.0]))
    scale = draw(st.sampled_from([0.01, 1.0]))
    means = generator.normal(size=(n_classes, dim))
    features = centre + scale * (means[labels] + generator.normal(size=(rows, dim)))
    return features.astype(np.float32), labels.astype(np.int64), n_classes


@st.composite
def cuts(draw, rows):
    """Boundaries that cut `rows` rows into consecutive pieces, empty ones among them."""
    inner = draw(st.lists(st.integers(0, rows), max_size=6))
    return [0, *sorted(inner), rows]
