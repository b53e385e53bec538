"""Rows to a committed snapshot.

Everything of a (epoch, split) is written and fsynced first; one small object, the attributes of the split's group,
comes last and makes it exist. Killed at any instant before, it is invisible, and cleared when the split is written
again.
"""

from __future__ import annotations

import gc
import os
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featlab.errors import DataError, EpochExistsError, FeatlabWarning, OptionError, StoreError
from featlab.store import layout
from featlab.store.arrays import ArrayWriter
from featlab.store.attributes import RunAttributes, committed_splits, ensure_run, is_run
from featlab.store.commit import Classifier, Pending, commit_split, publish_part, remove_classifier
from featlab.store.files import StorePath, disk_errors, read_attributes, store_path, write_group
from featlab.store.layer_order import LayerOrder
from featlab.store.lock import Holding, hold, one_at_a_time
from featlab.store.parts import Together, clear_strangers, give_up, wait_for_parts
from featlab.store.rows import as_integers, as_rows, check_batch, check_widths, to_disk

_open_writers: weakref.WeakValueDictionary[tuple[str, str, int], SnapshotWriter] = weakref.WeakValueDictionary()
_UNCOMMITTED = "free some space or repair the disk, then write the snapshot again; all committed ones are whole"


def _is_written(key: tuple[str, str, int]) -> bool:
    writer = _open_writers.get(key)
    return writer is not None and writer._open


def enter_run(path: StorePath, rank: int, group: str | None = None) -> Holding:
    """Keep other processes from writing to a run, until what is returned is released or forgotten.

    Parameters
    ----------
    path
        The run, a directory or a URL; there need not be one yet.
    rank
        Which writer this process is.
    group
        A text that the ranks of one capture share.

    Raises
    ------
    NotAStoreError
        The path holds something else.
    StoreError
        Another process writes to it, or it cannot be written to.
    """
    root = store_path(path)
    with disk_errors(f"starting to write to {root}", "check that there is space, and that it may be written to", root):
        is_run(root)  # something else is refused before anything is put there
        return hold(root, rank, group)


class SnapshotWriter:
    """Writes one (epoch, split) of one rank; a context manager that commits on a clean exit and clears on an exception.

    Parameters
    ----------
    path
        The run, a directory or a URL; made here if there is none.
    epoch
        Completed training passes.
    split
        Name of the split, such as "val".
    classes
        Names of the K classes, in label order.
    rank
        Which writer this is; rank 0 clears leftovers and commits.
    synsets
        WordNet ids of the classes.
    dtype
        On disk: "float16", "bfloat16" or "float32".
    codec
        "fast", "small" or "none".
    mode
        How the model runs: "train" or "eval".
    step
        Optimiser step.
    expected
        Number of samples to come, if known.
    overwrite
        Replace a committed snapshot; it is gone from this moment on.
    model
        Name of the model's class.
    layers
        Layer to a JSON-able description, kept with the run.
    sampling
        The limits by which the samples were chosen, such as ``{"max_per_class": 50}``; kept with the snapshot.
    together
        How many ranks write at once, in any order, and what tells their parts from leftovers: rank 0 then waits for all
        at its commit. By default rank 0 starts first, commits last, and takes what parts there are.
    logits
        How the logits were found among the model's outputs, by mode; kept with the run.
    layers_order
        Order of the layers from the input to the output, where it is known; kept with the run.

    Raises
    ------
    EpochExistsError
        The snapshot is committed, and overwrite is False.
    NotAStoreError
        The path holds something else.
    DataError
        The run has other classes.
    OptionError
        An option that cannot be served.
    StoreError
        Another process writes to the run as the same rank; or another writer of this process to the same snapshot.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featlab.store import SnapshotWriter, open_run
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> with SnapshotWriter(path, epoch=0, split="val", classes=["cat", "dog"]) as writer:
    ...     writer.append({"penultimate": np.ones((3, 4))}, np.array([0, 1, 1]))
    >>> open_run(path).committed
    [(0, 'val')]
    """

    def __init__(
        self,
        path: StorePath,
        *,
        epoch: int,
        split: str,
        classes: Sequence[str],
        rank: int = 0,
        synsets: Sequence[str] | None = None,
        dtype: str = "float16",
        codec: str = "fast",
        mode: str | None = None,
        step: int | None = None,
        expected: int | None = None,
        overwrite: bool = False,
        model: str | None = None,
        layers: Mapping[str, Mapping[str, Any]] | None = None,
        sampling: Mapping[str, int] | None = None,
        together: Together | None = None,
        logits: Mapping[str, Mapping[str, str]] | None = None,
        layers_order: LayerOrder | None = None,
    ) -> None:
        layout.check_choice("dtype", dtype, layout.FEATURE_DTYPES)
        layout.check_choice("codec", codec, tuple(layout.CODECS))
        layout.check_choice("mode", mode, layout.MODES)
        root = store_path(path)
        epoch = layout.check_count("epoch", epoch, "the number of completed training passes")
        split = layout.check_split(split)
        step = None if step is None else layout.check_count("step", step, "the optimiser's step")
        expected = None if expected is None else layout.check_count("expected", expected, "a number of samples")
        self._rank = layout.check_count("rank", rank, "the number of this writer")
        if together is not None and self._rank >= together.ranks:
            raise OptionError(f"rank is {rank} of {together.ranks} ranks; they are numbered from 0")
        self._together = together
        self._dtype = dtype
        self._codec = codec
        self._open = True
        self._rows = 0
        self._own_ids: bool | None = None
        self._writers: dict[str, ArrayWriter] = {}
        self._widths: dict[str, int] = {}
        self._nonfinite: dict[str, dict[str, int]] = {}
        self._overflow: dict[str, int] = {}
        self._classifier: Classifier | None = None
        self._claim = b""
        self._dropped = np.zeros(0, np.int64)
        self._released = False
        self.unique: int | None = None
        run = RunAttributes.of(classes, synsets, model, layers, logits, layers_order)
        self._classes = len(run.classes)
        chosen_by = dict(sampling) if sampling else None
        self._snapshot = Pending(root, epoch, split, mode, step, expected, overwrite, chosen_by)
        self._part = self._snapshot.directory / layout.rank_name(rank)
        remedy = "check that there is space, and that it may be written to"
        with disk_errors(f"starting a snapshot in {root}", remedy, root):
            self._enter()
            try:
                with one_at_a_time:
                    ensure_run(root, run)
                    self._clear()
            except BaseException:
                self._open = False
                self._holding.release()
                raise

    def _enter(self) -> None:
        """Become the one that writes this part: in this process, and as this rank among all processes."""
        root, together = self._snapshot.root, self._together
        key = (str(root.absolute()), self._snapshot.where, self._rank)
        with one_at_a_time:
            if _is_written(key):
                gc.collect()  # a writer that nobody can reach any more writes no more
            if _is_written(key):
                raise StoreError(
                    f"{self._part} is being written already, in this process (number {os.getpid()}); "
                    "let one writer write a snapshot, and end it before the next."
                )
            _open_writers[key] = self
        group = None if together is None else together.attempt.split("/")[0]
        self._holding = enter_run(root, self._rank, group)

    def _clear(self) -> None:
        snapshot = self._snapshot
        if self._is_visible():
            if not snapshot.overwrite:
                raise EpochExistsError(
                    f"epoch {snapshot.epoch}, split {snapshot.split!r} is committed in {snapshot.root} already; "
                    "choose another epoch, or replace it with overwrite"
                )
            snapshot.directory.hide()
        if self._rank == 0 and self._together is not None:
            clear_strangers(snapshot.directory, snapshot.directory.directories(), self._together.ranks)
        (snapshot.directory if self._rank == 0 and self._together is None else self._part).remove_tree()
        if self._rank == 0 and not committed_splits(snapshot.root, snapshot.epoch):
            remove_classifier(snapshot)  # it belonged to what was cleared
        self._claim = self._part.claim()
        if self._rank == 0:  # the one that writes the ends of training passes, into the attributes of the same groups
            for group in (layout.EPOCHS, layout.epoch_path(snapshot.epoch)):
                write_group(snapshot.root / group)

    def _is_visible(self) -> bool:
        return read_attributes(self._snapshot.directory) is not None

    def append(
        self,
        features: Mapping[str, ArrayLike],
        labels: ArrayLike,
        *,
        sample_ids: ArrayLike | None = None,
        logits: ArrayLike | None = None,
    ) -> None:
        """Take a batch of rows, the same rows of every array.

        Parameters
        ----------
        features
            Layer to an array of shape (rows, ...), flattened to (rows, D); uint16 is taken for encoded bfloat16 where
            the dtype on disk is bfloat16.
        labels
            Class of each row, shape (rows,).
        sample_ids
            Which sample each row is, shape (rows,); by default rows are counted in the order they come.
        logits
            Outputs of the classifier, shape (rows, K).

        Raises
        ------
        DataError
            Labels outside 0..K-1, lengths that differ, a layer that other batches had or had not, another D.
        """
        self._check_open()
        batch = {layout.check_layer(layer): as_rows(values, f"layer {layer!r}") for layer, values in features.items()}
        label = as_integers(labels, "labels")
        output = None if logits is None else as_rows(logits, "logits")
        ids = self._ids(sample_ids, len(label))
        widths = check_batch(batch, label, ids, output, self._classes, self._dtype)
        check_widths(widths, self._widths or widths)
        if not len(label):
            return
        self._widths = widths
        self._own_ids = sample_ids is not None
        try:
            with disk_errors(f"writing {self._snapshot.where}", _UNCOMMITTED, self._snapshot.root):
                self._put("sample_id", ids, "int64")
                self._put("label", label, "int64")
                if output is not None:
                    self._put_counted("logits", output, "float32")
                for layer, rows in batch.items():
                    self._put_counted(f"{layout.LAYERS}/{layer}", rows, self._dtype)
        except BaseException as error:
            self.abort(str(error))  # some arrays have the batch and some have not
            raise
        self._rows += len(label)

    def classifier(self, weight: ArrayLike, bias: ArrayLike | None, *, feeds: Sequence[str]) -> None:
        """Keep the classifier's weight (K, D) and bias (K,) with the epoch; `feeds` names the layers that it reads."""
        matrix = as_rows(weight, "the classifier's weight").astype(np.float32)
        vector = (
            np.zeros(len(matrix), np.float32)
            if bias is None
            else as_rows(bias, "the classifier's bias").astype(np.float32).reshape(-1)
        )
        if len(matrix) != self._classes or len(vector) != self._classes:
            raise DataError(
                f"the classifier has a weight of shape {matrix.shape} and a bias of shape {vector.shape}, "
                f"but there are {self._classes} classes; give (K, D) and (K,)"
            )
        self._classifier = (matrix, vector, [feeds] if isinstance(feeds, str) else list(feeds))

    def weights(self, digest: str) -> None:
        """Say which weights the rows come from; the commit records it."""
        self._snapshot = replace(self._snapshot, weights=digest)

    def lacks(self, sample_ids: ArrayLike) -> None:
        """Say which samples were seen and not appended; the commit records them."""
        ids = as_integers(sample_ids, "sample_ids")
        self._dropped = np.union1d(self._dropped, ids).astype(np.int64)

    def commit(self) -> None:
        """Write what is left and make it durable; rank 0 then makes the snapshot of all ranks visible.

        Raises
        ------
        DataError
            There are no rows; the classifier is not as wide as the layers that feed it; ranks that differ.
        StoreError
            The disk is full; a rank has not committed; another process wrote to the same snapshot.
        """
        self._check_open()
        if self._rows:
            self._check_feeds()
        elif self._together is None:  # else the rows may all be other ranks'
            raise DataError(f"{self._snapshot.where} has no rows; append at least one before the commit")
        remarks: list[str] = []
        try:
            with disk_errors(f"writing {self._snapshot.where}", _UNCOMMITTED, self._snapshot.root):
                inventory = {name: writer.finish() for name, writer in self._writers.items()}
                if not self._part.still_claimed(self._claim):
                    raise StoreError(f"{self._part} has two writers; let one process write a snapshot.")
                self._holding.check()
                self._part.release()
                self._released = True
                attempt = None if self._together is None else self._together.attempt
                publish_part(self._part, inventory, self._nonfinite, self._overflow, self._dropped.tolist(), attempt)
                if self._rank == 0:
                    if self._together is not None:
                        wait_for_parts(self._snapshot.directory, self._snapshot.where, self._together)
                    with one_at_a_time:
                        self._holding.check()
                        self.unique, remarks = commit_split(self._snapshot, self._classifier)
        except BaseException as error:
            self.abort(str(error))
            raise
        self._open = False
        self._writers.clear()
        self._holding.release()
        for remark in remarks:
            warnings.warn(remark, FeatlabWarning, stacklevel=2)

    def abort(self, reason: str = "") -> None:
        """Give up and clear what was written; nothing happens to a snapshot that is committed.

        Parameters
        ----------
        reason
            For rank 0 to repeat, if it waits for this one.
        """
        try:
            if self._open and self._is_ours() and not self._is_visible():
                self._part.remove_tree()
                if self._together is not None:
                    with suppress(OSError):  # where even that fails, time will tell
                        give_up(self._part, self._together.attempt, reason or "its capture was broken off")
        except StoreError:
            # a connection that is lost must not hide why the writer gave up; what is left is invisible
            if not self._part.is_remote:
                raise
        finally:
            self._open = False
            self._writers.clear()
            self._holding.release()

    def _is_ours(self) -> bool:
        """Tell whether no other writer took this part over."""
        return self._holding.is_kept() and (self._released or self._part.still_claimed(self._claim))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort("" if error is None else str(error))
        elif self._open:
            try:
                self.commit()
            finally:
                self.abort()

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError(
                f"{self._snapshot.where} is committed or given up already; start another SnapshotWriter for it"
            )

    def _ids(self, sample_ids: ArrayLike | None, rows: int) -> NDArray[np.int64]:
        given = sample_ids is not None
        if rows and given != (given if self._own_ids is None else self._own_ids):
            raise DataError("some batches have sample_ids and some have none; give them with every batch or with none")
        if sample_ids is not None:
            return as_integers(sample_ids, "sample_ids")
        if self._rank or (self._together is not None and self._together.ranks > 1):
            raise OptionError(f"rank {self._rank} was given rows without sample_ids; several ranks cannot count them")
        return np.arange(self._rows, self._rows + rows, dtype=np.int64)

    def _check_feeds(self) -> None:
        if self._classifier is None:
            return
        columns = self._classifier[0].shape[1]
        for layer in self._classifier[2]:
            width = self._widths.get(f"{layout.LAYERS}/{layer}")
            if width != columns:
                found = "not among the layers" if width is None else f"{width} wide"
                raise DataError(
                    f"the classifier's weight has {columns} columns, but layer {layer!r} that feeds it is {found}; "
                    "name the layer that it reads, or none with feeds=[]"
                )

    def _put_counted(self, name: str, rows: NDArray[Any], dtype: str) -> None:
        stored, nan, inf, overflow = to_disk(rows, dtype)
        if nan or inf:
            counts = self._nonfinite.setdefault(name, {"nan": 0, "inf": 0})
            counts["nan"] += nan
            counts["inf"] += inf
        if overflow:
            self._overflow[name] = self._overflow.get(name, 0) + overflow
        self._put(name, stored, dtype)

    def _put(self, name: str, rows: NDArray[Any], dtype: str) -> None:
        if name not in self._writers:
            expected = self._snapshot.expected
            if expected is not None and self._together is not None:
                expected = -(-expected // self._together.ranks)
            self._writers[name] = ArrayWriter(self._part / name, name, rows.shape[1:], dtype, self._codec, expected)
        self._writers[name].append(rows)
