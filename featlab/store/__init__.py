"""The store: a run as one chunked, checksummed Zarr group, written whole snapshots at a time."""

from __future__ import annotations

from featlab.store.arrays import Block
from featlab.store.epoch import write_epoch
from featlab.store.layout import CommitRecord
from featlab.store.reader import Classifier, Run, Snapshot, open_run
from featlab.store.writer import SnapshotWriter

__all__ = ["Block", "Classifier", "CommitRecord", "Run", "Snapshot", "SnapshotWriter", "open_run", "write_epoch"]
