"""One (epoch, split) while it is written: rows are chosen and appended, and in the end committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from featlab.capture.first_batch import begin, check_passed
from featlab.capture.model.classifier import weights_of
from featlab.capture.model.sharded import class_of
from featlab.capture.setup import Setup
from featlab.capture.staging.batch import Batch, Rows
from featlab.capture.staging.queue import WriterQueue
from featlab.capture.target import Target
from featlab.errors import FeatlabError
from featlab.store.files import store_path
from featlab.store.layer_order import CALLED, LayerOrder
from featlab.store.layout import split_path
from featlab.store.writer import SnapshotWriter


class Writing:
    """Writes the batches of one snapshot and commits it.

    Methods are called in the training thread. What is put is chosen from and appended on a thread of its own, one batch
    after the other; between `drain` and `commit` nothing else is at work.

    Parameters
    ----------
    setup
        State of the capture.
    target
        The snapshot.
    classes
        Names of the K classes.
    mode
        "train" or "eval", as the model runs.
    has_logits
        True where each batch has logits.
    logits
        Description of the output that holds them; None where they are given with the batches.
    order
        Layers in the order in which the model called them.

    Raises
    ------
    CaptureError
        What is to come cannot fit.
    EpochExistsError
        The snapshot is committed, and not to be overwritten.
    OptionError
        The run holds the split with other limits of its samples.
    """

    def __init__(
        self,
        setup: Setup,
        target: Target,
        *,
        classes: Sequence[str],
        mode: str,
        has_logits: bool,
        logits: Mapping[str, str] | None,
        order: Sequence[str],
    ) -> None:
        options = setup.options
        self._setup = setup
        self._target = target
        self._stored = 0
        self._dropped: list[NDArray[np.int64]] = []
        self._sample = begin(setup, target, len(classes), has_logits=has_logits)
        self._writer = SnapshotWriter(
            setup.store,
            epoch=target.epoch,
            split=target.stored_as,
            classes=classes,
            rank=target.share.rank,
            together=target.share.together,
            synsets=options.synsets,
            dtype=options.dtype,
            codec=options.codec,
            mode=mode,
            step=target.step,
            expected=self._sample.expected(target.expected),
            overwrite=options.overwrite,
            model=class_of(setup.model).__qualname__,
            layers={layer.name: setup.specs[layer.name] for layer in setup.layers},
            logits=None if logits is None else {mode: logits},
            sampling=options.sampling.to_json(),
            layers_order=LayerOrder(tuple(order), CALLED),
        )
        self._queue = WriterQueue(
            self._write,
            limit=options.queue_bytes,
            what=str(target),
            when_full=options.when_full,
            meter=setup.meter,
            ring=setup.ring,
        )

    def put(self, batch: Batch) -> None:
        """Hand a batch over; one that is dropped because the queue is full is lacking from then on.

        Raises
        ------
        CaptureError
            The writer failed, or the queue is full and must not be.
        """
        if not self._queue.put(batch) and batch.columns.sample_ids is not None:
            ids: NDArray[Any] = batch.columns.sample_ids.to_host()
            self._dropped.append(ids)
            self._setup.meter.drop(len(ids))

    def drain(self) -> None:
        """Wait until all rows are appended, those with them that waited for the sample to be chosen.

        Raises
        ------
        CaptureError
            The writer failed.
        """
        self._queue.drain()
        for rows in self._sample.rest():
            self._append(rows)
        check_passed(self._sample, str(self._target), self._target.expected)

    def commit(self, classifier: nn.Linear | None, feeds: Sequence[str], weights: str | None) -> int:
        """Commit the snapshot, and note what the other recordings of the capture are to know of it.

        Parameters
        ----------
        classifier
            The classifier to store, if any.
        feeds
            Names of the layers that it reads.
        weights
            Digest of the model's weights, if it is known.

        Returns
        -------
        int
            Number of samples that were stored, on all ranks.
        """
        if classifier is not None:
            weight, bias = weights_of(classifier)
            self._writer.classifier(weight.numpy(), None if bias is None else bias.numpy(), feeds=feeds)
        if weights is not None:
            self._writer.weights(weights)
        if self._dropped:
            self._writer.lacks(np.concatenate(self._dropped))
        setup, target = self._setup, self._target
        with setup.meter.waiting(for_writer=False):
            self._writer.commit()
        together = target.share.together
        if together is not None and target.share.rank:
            place = store_path(setup.store) / split_path(target.epoch, target.stored_as)
            setup.published = place, together.attempt
        if self._sample.kept is not None:
            setup.kept_samples[target.split] = self._sample.kept
        return self._stored if together is None or self._writer.unique is None else self._writer.unique

    def abandon(self, error: BaseException | None) -> None:
        """Leave the snapshot uncommitted, and drop what waits."""
        self._queue.discard()
        self._sample.close()
        with suppress(OSError, FeatlabError):
            self._writer.abort("" if error is None else str(error))

    def _write(self, batch: Batch) -> None:
        """Take a batch to the host and append what of it is kept now; called on the writer's thread."""
        kept = self._sample.take(batch.to_host())
        if kept is not None:
            self._append(kept)

    def _append(self, rows: Rows) -> None:
        self._writer.append(dict(rows.features), rows.labels, sample_ids=rows.sample_ids, logits=rows.logits)
        self._stored += len(rows.labels)
