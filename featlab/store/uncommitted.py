"""Rows without a commit record: of a capture that was killed, or whose record was lost; no reader shows them."""

from __future__ import annotations

import warnings

from featlab.errors import FeatlabWarning
from featlab.messages import listed
from featlab.store import layout
from featlab.store.attributes import holds_rows
from featlab.store.files import disk_errors, read_attributes, store_path
from featlab.store.lock import is_at_work
from featlab.store.reader import Run


def uncommitted(run: Run) -> list[tuple[int, str]]:
    """List each (epoch, split) of which a run has rows and no commit record; none while a process writes to it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from featlab import open_run, write_epoch
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> for epoch in (0, 1):
    ...     write_epoch(path, epoch=epoch, features={"fc": np.eye(3)}, labels=[0, 1, 2])
    >>> Path(path, "epochs/000001/val/zarr.json").unlink()
    >>> uncommitted(open_run(path))
    [(1, 'val')]
    """
    if not run.without_record:  # mostly so: nothing more is asked of the store
        return []
    root = store_path(run.path)
    with disk_errors(f"looking into {root}", "check that it may be read"):
        if is_at_work(root):
            return []
        # who was at work when the run was opened may have committed them since, or cleared them
        places = {key: root / layout.split_path(*key) for key in run.without_record}
        return [key for key, where in places.items() if read_attributes(where) is None and holds_rows(where)]


def warn_uncommitted(run: Run) -> None:
    """Say once which epochs and splits a run does not show though there are rows of them."""
    found = uncommitted(run)
    if not found:
        return
    named = listed(found, show=lambda one: f"epoch {one[0]} split {one[1]!r}")
    warnings.warn(
        f"{run.path} has rows without a commit record, which are left out ({named}): a capture that was killed "
        "leaves such, or the record was lost; `featlab verify` tells.",
        FeatlabWarning,
        stacklevel=3,
    )
