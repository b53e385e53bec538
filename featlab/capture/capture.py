"""Capture a model's activations from a training loop of one's own."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from featlab.capture.batches import Values, moved
from featlab.capture.calls import Asked
from featlab.capture.dataloaders import count_classes, has_indices, with_sample_ids
from featlab.capture.distributed import Share, expected_together, is_sharded, known_rank, rank_and_ranks, share_of
from featlab.capture.known import Known
from featlab.capture.model.classifier import Classifier
from featlab.capture.model.digest import weights_digest
from featlab.capture.model.layers import is_compiled, select_layers, unwrap
from featlab.capture.model.logits import module_with_logits
from featlab.capture.model.sharded import has_shards
from featlab.capture.options import CaptureOptions
from featlab.capture.recording import Recording
from featlab.capture.resume import check_continues, check_start, note_end
from featlab.capture.selection.estimate import Estimate
from featlab.capture.selection.schedule import Epochs
from featlab.capture.setup import Setup
from featlab.capture.staging.stats import CaptureStats
from featlab.capture.target import Target
from featlab.errors import CaptureError, FeatlabError, FeatlabWarning, StoreError
from featlab.messages import elided, shown_bytes
from featlab.store.files import StorePath
from featlab.store.layout import step_split
from featlab.store.lock import Holding
from featlab.store.reader import find_run
from featlab.store.writer import enter_run


class Capture:
    """Captures layers of a model into a run, epoch by epoch.

    The model is touched only while something is recorded. Rows are reduced and cast on the model's device and written
    by a thread of their own.

    Parameters
    ----------
    model
        A classifier; wrappers of DataParallel, DistributedDataParallel and torch.compile are looked through, and
        `fully_shard` may have been applied to it.
    store
        Path or URL of the run; made if it is not there.
    layers
        One glob or several over the names of the model's modules: ``*`` stays within a segment, ``**`` crosses
        segments, ``!glob`` excludes. ``"penultimate"`` is the classifier's input. Of an output that is no tensor,
        a part is named after a colon: ``"gru:0"``, ``"encoder:last_hidden_state"``, ``"encoder:hidden_states.3"``.
    classes
        Names of the K classes, or K; by default those of the run, or "0" .. "K-1" by the width of the logits.
    synsets
        WordNet ids of the classes.
    reduce
        How activations become one row a sample: ``auto``, ``mean``, ``max``, ``cls``, ``last``, ``flatten``,
        ``none``, or a mapping from globs to these.
    call
        What counts of a module that runs several times in one forward pass: its ``last`` call (the default), its
        ``first``, the ``mean`` of all, or ``all`` side by side in one row; or a mapping from globs to these.
    mask
        Which argument of the model tells what tokens are padding, so that ``mean``, ``max``, ``last`` (the last token)
        and ``cls`` (the first) pass over it. ``"auto"`` finds ``attention_mask``, ``src_key_padding_mask``,
        ``lengths``, packed sequences and the like, also where a module inside is called with them. ``"NAME"``: True or
        1 is a token, or lengths, or ids of which 0 is padding; ``"~NAME"``: True is padding; ``"MODULE:NAME"``: an
        argument of a module inside; ``"none"``: all tokens count; or a mapping from globs to these.
    dtype, codec
        As stored: "float16", "bfloat16" or "float32"; "fast", "small" or "none".
    classifier
        ``"auto"`` for the Linear that makes the logits, the name of a module, or None to store no classifier.
    logits
        Which of the model's outputs are the logits, where it has several: ``"1"``, ``"logits"``, ``"heads.cls"``, or
        ``"head:"``, ``"head:0"`` for the output of a module and a part of it. By default the only output of shape
        (rows, columns), the one named ``logits``, or the one with as many columns as there are classes.
    on_error
        ``"raise"``, or ``"warn"``: stop capturing, warn once and let the training go on.
    overwrite
        Replace what is committed.
    resume
        Go on with a run: what it held before is kept and not recorded again. False: EpochExistsError for that.
    rank_timeout
        Seconds that rank 0 of torch.distributed waits, at the end of a pass, for the parts of the other ranks.
    queue_bytes
        How much may wait for the writer, on the model's device; 256 MiB by default.
    when_full
        When more comes than may wait: ``"block"`` (the default) lets the training wait, ``"drop"`` leaves the batch
        out (the commit records which samples the epoch lacks), ``"fail"`` raises a CaptureError.
    max_per_class
        How many samples of each class are kept; by default all. They are those whose ids have the smallest hashes, so
        every epoch keeps the same ones, and a resumed run does.
    max_samples
        How many samples are kept of a split, or of what `max_per_class` leaves of it, by the same rule; default all.
    every
        Capture each epoch that is a multiple of this; by default every epoch is captured. In others, `evaluate` does
        not run the model and `recording` takes nothing.
    epochs
        Capture these: numbers, a slice, or ``"log"`` for 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ...; beside `every`, what
        either names.
    total_epochs
        Number of training passes planned, for the estimate of the space; by default that of one epoch is given.
    check_space
        Refuse, before the first byte, what would not fit on the disk uncompressed; default True.
    notify
        Called with what a person should know; by default a FeatlabWarning.

    Raises
    ------
    LayerNotFoundError
        A glob matches no module.
    OptionError
        An option that cannot be served.
    CaptureError
        The named classifier is no Linear.
    StoreError
        Another process writes to the run.

    Examples
    --------
    >>> import tempfile
    >>> from featlab import open_run
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = [(torch.randn(5, 4), torch.tensor([0, 1, 1, 0, 1]))]
    >>> store = tempfile.mkdtemp() + "/run.zarr"
    >>> with Capture(model, store, layers="1") as capture:
    ...     capture.evaluate(data, epoch=0)
    >>> open_run(store).snapshot(epoch=0, split="val", layer="1").features.shape
    (5, 3)
    """

    def __init__(
        self,
        model: nn.Module,
        store: StorePath,
        layers: str | Iterable[str],
        *,
        classes: Sequence[str] | int | None = None,
        synsets: Sequence[str] | None = None,
        reduce: str | Mapping[str, str] = "auto",
        call: str | Mapping[str, str] = "last",
        mask: str | Mapping[str, str] = "auto",
        dtype: str = "float16",
        codec: str = "fast",
        classifier: str | None = "auto",
        logits: str | None = None,
        on_error: str = "raise",
        overwrite: bool = False,
        resume: bool = True,
        rank_timeout: float = 600.0,
        queue_bytes: int = 256 << 20,
        when_full: str = "block",
        notify: Callable[[str], None] | None = None,
        max_per_class: int | None = None,
        max_samples: int | None = None,
        every: int | None = None,
        epochs: Epochs = None,
        total_epochs: int | None = None,
        check_space: bool = True,
    ) -> None:
        options = CaptureOptions(
            classes=classes,
            synsets=synsets,
            reduce=reduce,
            call=call,
            mask=mask,
            dtype=dtype,
            codec=codec,
            classifier=classifier,
            logits=logits,
            on_error=on_error,
            overwrite=overwrite,
            resume=resume,
            rank_timeout=rank_timeout,
            queue_bytes=queue_bytes,
            when_full=when_full,
            max_per_class=max_per_class,
            max_samples=max_samples,
            every=every,
            epochs=epochs,
            total_epochs=total_epochs,
            check_space=check_space,
        )
        self._begin(options, model, store, layers, notify)

    def __repr__(self) -> str:
        setup = self._setup
        layers = elided([layer.name for layer in setup.layers], 6, end=f" ({len(setup.layers)} in all)")
        written = setup.meter.read()
        state = "stopped" if setup.stopped else "ended" if self._closed else "at work"
        return (
            f"Capture({type(setup.model).__name__} into {str(setup.store)!r}: layers {layers}; "
            f"{written.batches} batches, {shown_bytes(written.bytes)} written; {state})"
        )

    def _begin(
        self,
        options: CaptureOptions,
        model: nn.Module,
        store: StorePath,
        layers: str | Iterable[str],
        notify: Callable[[str], None] | None,
    ) -> None:
        bare = unwrap(model)
        known = Known.read(store, replaces=options.overwrite)
        self._closed = False
        self._holding: Holding | None = None
        refused = self._enter(store, known_rank(), options.on_error)
        path = options.logits_path
        self._setup = Setup(
            options=options,
            model=bare,
            is_compiled=is_compiled(model),
            layers=select_layers(bare, layers, options.reduce, options.call, options.mask),
            classifier=Classifier(bare, options.classifier),
            store=store,
            classes=_stored_classes(store) if options.classes is None else options.class_names,
            notify=notify or _warn,
            held=known.held if options.resume and not options.overwrite else frozenset(),
            known=known,
            logits_of=None if path is None else module_with_logits(bare, path),
            stored_logits=_stored_logits(store),
        )
        self._stop(refused)

    def _enter(self, store: StorePath, rank: int | None, on_error: str) -> StoreError | None:
        """Keep other processes from writing to the run, from now to the end of the capture."""
        if rank is None or self._holding is not None:
            return None
        try:
            self._holding = enter_run(store, rank)
        except StoreError as error:
            if on_error == "raise":
                raise
            return error
        return None

    def _stop(self, refused: StoreError | None) -> None:
        if refused is not None:
            self._setup.stopped = True
            self._setup.notify(f"capturing stopped, and the training goes on: {refused}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._setup.ring.clear()
        self.release()

    def release(self) -> None:
        """Let other processes write to the run, until the next recording."""
        if self._holding is not None:
            self._holding.release()
            self._holding = None

    def stats(self) -> CaptureStats:
        """Return what was written so far, and what it cost: bytes, batches, samples dropped, seconds waited and hidden.

        Seconds waited are the training thread's; seconds hidden are the writer's, while the training went on.
        """
        return self._setup.meter.read()

    @property
    def setup(self) -> Setup:
        """State of the capture: its options, the model, and what was found out about both so far."""
        return self._setup

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Split to what it will take, once its first batch came; none where the number of its rows is unknown."""
        return dict(self._setup.estimates)

    def keeps(self, *, epoch: int, split: str = "val", step: int | None = None) -> bool:
        """Tell whether the run held this (epoch, split) before, so that it is kept and not recorded again."""
        return (epoch, split if step is None else step_split(split, step)) in self._setup.held

    def note(self, epoch: int, *, steps: int | None = None) -> None:
        """Note which weights an epoch ended with, captured or not, and compare them with those that the run knows.

        A trainer that goes on is found out so before anything is stored, also where few epochs are captured.

        Parameters
        ----------
        epoch
            Number of completed training passes: call it before the first with 0, and after each.
        steps
            Optimizer steps so far, if they are known.

        Raises
        ------
        CaptureError
            The run holds the epoch, or it starts anew and the run holds others, and of another model.
        """
        setup = self._setup
        if setup.stopped:
            return
        try:
            digest = weights_digest(setup.model)
            if not epoch:
                check_start(setup, digest)
            note_end(setup, epoch, digest, steps)
        except FeatlabError as error:
            if setup.options.on_error == "raise":
                raise
            setup.stopped = True
            setup.notify(f"capturing stopped, and the training goes on: {error}")

    @contextmanager
    def recording(
        self,
        *,
        epoch: int,
        split: str = "val",
        expected: int | None = None,
        step: int | None = None,
        sharded: bool = True,
    ) -> Iterator[Recording]:
        """Record an (epoch, split) in a loop of one's own; call `rec.batch` after each call of the model.

        While another recording of this capture, such as `evaluate`, runs inside the block, this one takes nothing.

        Parameters
        ----------
        epoch
            Number of completed training passes.
        split
            Name of the split.
        expected
            Number of samples to come, on all ranks, if known.
        step
            The optimiser's step, for a snapshot within an epoch, of which `epoch` passes are completed: it is stored
            as a split of its own, such as ``val.step001500``, and without the classifier.
        sharded
            With torch.distributed: whether every rank records its share of the samples, with `sample_ids`; else rank 0
            records for all, and what other ranks pass is not taken.

        Raises
        ------
        CaptureError
            The capture is closed, or no batch came; or the run holds the epoch, and of another model. See also
            `Recording.batch`.
        DataError
            The run goes on, and was captured in another way.
        """
        start = self.start(epoch=epoch, split=split, expected=expected, step=step, sharded=sharded)
        with start as recording:
            yield recording

    def start(
        self,
        *,
        epoch: int,
        split: str = "val",
        expected: int | None = None,
        step: int | None = None,
        sharded: bool = True,
    ) -> Recording:
        """Make a recording that is not open yet; see `recording`."""
        where = f"epoch {epoch}, split {split!r}"
        if self._closed:
            raise CaptureError(
                f"{where} cannot be recorded after the end of the capture: record inside its with block."
            )
        check_continues(self._setup, split)
        kept = self.keeps(epoch=epoch, split=split, step=step)
        if kept:
            share = Share(is_taken=False)
            self._setup.tell_once(
                f"kept {split}", f"{where} is stored already: it is kept, and so is all that was stored before."
            )
        elif not self._setup.options.schedule.wants(epoch):
            share = Share(is_taken=False)
        else:
            if not sharded and rank_and_ranks()[1] > 1 and has_shards(self._setup.model):
                raise CaptureError(
                    f"{where} cannot be recorded by rank 0 for all, since the ranks share the model's weights: let "
                    "each pass over its share, with a DistributedSampler or sharded=True and sample_ids."
                )
            stored_as = split if step is None else step_split(split, step)
            timeout = self._setup.options.rank_timeout
            share = share_of(self._setup.store, epoch, stored_as, sharded=sharded, timeout=timeout)
            if share.is_taken and not self._setup.stopped:
                self._stop(self._enter(self._setup.store, share.rank, self._setup.options.on_error))
        return Recording(self._setup, Target(epoch, split, step, expected, share), kept=kept)

    def evaluate(
        self,
        loader: Iterable[Any],
        *,
        epoch: int,
        split: str = "val",
        device: torch.device | str | None = None,
        step: int | None = None,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        labels: Callable[[Any], Values] | None = None,
    ) -> None:
        """Run the model over a loader in evaluation mode, and record that.

        With torch.distributed, each rank records its share where the loader has a DistributedSampler; else rank 0 does
        all, and the others return at once. What a run that goes on holds already is not run again.

        Modes of all modules and the states of random number generators are as before afterwards.

        Parameters
        ----------
        loader
            Gives batches: (inputs, labels), or (ids, mask, labels) where the model takes what stands before the labels,
            or a mapping with "labels" whose other values are the model's keyword arguments. A DataLoader's sampler
            tells the sample ids, shuffled or not; else rows are counted.
        epoch
            Number of completed training passes.
        split
            Name of the split.
        device
            Where the inputs go; by default the device of the model's first parameter.
        step
            The optimiser's step, for a snapshot within an epoch; see `recording`.
        forward
            Calls the model, given it and a batch on its device, where a batch is anything else.
        labels
            Takes the labels out of a batch as the loader gives it, where they stand elsewhere.

        Raises
        ------
        CaptureError
            A batch without labels, or one that the model cannot be called on; see also `Recording.batch`.
        """
        model = self._setup.model
        if self._setup.stopped or not self._setup.options.schedule.wants(epoch):
            return
        sharded = is_sharded(loader)
        expected = expected_together(loader)
        recorder = self.start(epoch=epoch, split=split, expected=expected, step=step, sharded=sharded)
        if not recorder.is_taken:
            recorder.check_kept()
            return
        if device is None:
            first = next(model.parameters(), None)
            device = "cpu" if first is None else first.device
        if isinstance(loader, DataLoader) and not has_indices(loader):
            self._setup.tell_once(
                f"ids {split}", f"the loader of split {split!r} has no indices: sample ids count rows as they arrive."
            )
        with (
            _evaluation_mode(model),
            _random_state_kept(loader),
            torch.no_grad(),
            recorder as recording,
            closing(with_sample_ids(loader)) as batches,
        ):
            recording.count_labels = partial(count_classes, loader)
            for number, (batch, ids) in enumerate(batches):
                asked = Asked(model, batch, f"batch {number} of epoch {epoch}, split {split!r}", device)
                found = asked.labels(ids) if labels is None else labels(batch)
                if forward is None:
                    asked.call(ids)
                else:
                    forward(model, moved(batch, device))
                recording.batch(found, sample_ids=ids)


def capture_with(
    options: CaptureOptions,
    model: nn.Module,
    store: StorePath,
    layers: str | Iterable[str],
    *,
    notify: Callable[[str], None] | None = None,
) -> Capture:
    """Make a capture from options that were read and checked before, as `Capture` does from its keywords."""
    capture = Capture.__new__(Capture)
    capture._begin(options, model, store, layers, notify)
    return capture


def _stored_classes(store: StorePath) -> list[str] | None:
    run = find_run(store)
    return None if run is None else run.classes


def _stored_logits(store: StorePath) -> dict[str, str]:
    run = find_run(store)
    return {} if run is None else {mode: spec["output"] for mode, spec in run.attrs.get("logits", {}).items()}


def _warn(message: str) -> None:
    warnings.warn(message, FeatlabWarning, stacklevel=4)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _random_state_kept(loader: Iterable[Any]) -> Iterator[None]:
    # A loader draws its workers' seed, and a shuffling sampler its own; data sets may draw from any generator.
    sampler = getattr(loader, "sampler", None)
    generators = [getattr(owner, "generator", None) for owner in (loader, sampler)]
    states = [(one, one.get_state()) for one in generators if isinstance(one, torch.Generator)]
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if in_use else []
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with ExitStack() as restore:
        restore.enter_context(torch.random.fork_rng(devices=devices))
        restore.callback(random.setstate, python)
        restore.callback(np.random.set_state, legacy)
        for generator, state in states:
            restore.callback(generator.set_state, state)
        yield
