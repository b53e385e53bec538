"""What every test shares: single-threaded BLAS, deterministic Hypothesis."""

from __future__ import annotations

import os

from hypothesis import settings

# Thread pools are sized when NumPy and torch load, which only the test modules do.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

settings.register_profile("featlab", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("featlab")
