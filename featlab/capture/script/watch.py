"""Watches an unmodified script train, and records the passes that are wanted."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from featlab.capture.batches import as_class_labels, row_count
from featlab.capture.capture import Capture
from featlab.capture.dataloaders import (
    PassObserver,
    SampleIds,
    class_names,
    count_classes,
    has_indices,
    known_length,
    passes_observed,
)
from featlab.capture.distributed import expected_together, is_sharded, own_rank, rank_and_ranks
from featlab.capture.model.digest import weights_digest
from featlab.capture.model.logits import contradiction
from featlab.capture.model.loss_graph import LossEvidence, backward_observed
from featlab.capture.model.outputs import tensors_in
from featlab.capture.recording import Recording
from featlab.capture.resume import note_end
from featlab.capture.script.data_sets import Sources
from featlab.capture.script.first_epoch import Beginning
from featlab.capture.script.labels import LABEL_LOSSES, LabelPlaces, find_labels, losses_observed
from featlab.capture.script.lookahead import choose_batch, is_next, set_aside
from featlab.capture.script.model_finder import ModelFinder
from featlab.capture.script.notes import Note, Notes, Seen
from featlab.capture.script.passes import Pass, Pending
from featlab.capture.setup import COUNTED, Setup
from featlab.errors import CaptureError, FeatlabError, LayerNotFoundError


class ScriptWatch(PassObserver):
    """Finds a script's model, batches, labels and epochs while it runs, and records the chosen splits.

    Parameters
    ----------
    make_capture
        Makes the `Capture` once the model is found.
    splits
        Splits that are recorded.
    note
        Called with what a person should know.
    within_epochs
        Record evaluations in the middle of a training pass, too, by the optimiser's step.
    first_epoch
        Training passes that are completed before the script's first; by default, see `Beginning`.
    """

    def __init__(
        self,
        make_capture: Callable[[nn.Module], Capture],
        *,
        splits: tuple[str, ...],
        note: Note,
        within_epochs: bool = False,
        first_epoch: int | None = None,
    ) -> None:
        self.seen = Seen()
        self._beginning = Beginning(first_epoch)
        self.epoch = 0
        self.capture: Capture | None = None
        self._finder = ModelFinder(self._is_model, self._found, self._called, self._gave)
        self._make_capture = make_capture
        self._splits = splits
        self._notes = Notes(note)
        self._within_epochs = within_epochs
        self._steps = 0
        self._steps_before: int | None = 0  # those of the script's former runs
        self._unnoted = False  # whether a pass ended and its weights are still to be noted
        self._sources = Sources()
        self._evidence = LossEvidence()
        self._places = LabelPlaces()
        self._live: list[Pass] = []  # that which returned a batch last comes last
        self._passes: weakref.WeakKeyDictionary[_BaseDataLoaderIter, Pass] = weakref.WeakKeyDictionary()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch until the end of the block; after an exception, what is being recorded stays uncommitted."""
        with ExitStack() as undo:
            undo.callback(self._release)
            undo.callback(self._abandon_all)
            undo.enter_context(passes_observed(self))
            undo.enter_context(losses_observed(self._saw_loss))
            undo.enter_context(backward_observed(self._evidence.saw_backward))
            undo.enter_context(self._finder.attached())
            undo.callback(register_optimizer_step_post_hook(self._saw_step).remove)
            undo.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            yield
            self._end_gone(script_is_over=True)
            self._note_end(at_once=False)

    def _release(self) -> None:
        if self.capture is not None:
            self.capture.release()

    def before_pass(self) -> None:
        self._end_gone(others_begin=True)
        if self._live:
            # A traceback that some code below has caught can keep the iterator of a loop that broke off.
            gc.collect()
            self._end_gone(others_begin=True)
        for at in [one for one in self._live if one.is_done]:
            self._end(at, complete=True)

    def began(self, loader: DataLoader[Any], iterator: _BaseDataLoaderIter) -> None:
        self._passes.pop(iterator, None)
        for at in [one for one in self._live if one.loader is loader]:
            self._end(at, complete=at.is_complete)
        self._passes[iterator] = Pass(loader, weakref.ref(iterator), known_length(loader))
        self.seen.passes += 1

    def before_batch(self, iterator: _BaseDataLoaderIter) -> None:
        if (at := self._passes.get(iterator)) is not None:
            self._settle(at)

    def returned(self, iterator: _BaseDataLoaderIter, batch: Any, sample_ids: SampleIds) -> None:
        if (at := self._passes.get(iterator)) is None or at.over:
            return
        at.batches += 1
        ids = sample_ids if has_indices(at.loader) else None
        at.pending = Pending(batch, ids, row_count(batch) if ids is None else len(ids))
        self._live = [one for one in self._live if one is not at] + [at]

    def exhausted(self, iterator: _BaseDataLoaderIter) -> None:
        if (at := self._passes.pop(iterator, None)) is None:
            return
        at.exhausted = True
        if not at.ahead:
            self._end(at, complete=True)

    def _settle(self, at: Pass) -> None:
        """Record the batch that a loop is done with."""
        pending, at.pending = at.pending, None
        if pending is None:
            return
        if not pending.calls:
            set_aside(at, pending)
            return
        recording = at.open_recording
        if recording is None or self.capture is None:
            return
        model = self.capture.setup.model
        try:
            labels, origin = find_labels(at, pending, self._places, model)
            with nullcontext() if recording.rows else self._notes.warnings_noted():  # the first batch opens the store
                recording.batch(labels, sample_ids=pending.sample_ids)
        except FeatlabError as error:
            self._fail(recording, error)
        if recording.is_open:
            if self.capture is not None:
                self._notes.describe(self.capture.setup)
                if at.split in self.capture.estimates:
                    self._notes.tell_once(f"{self.capture.estimates[at.split]}.", f"space {at.split}")
            self._notes.tell_once(f"labels of {at.split} are {origin}.")

    def _end_gone(self, *, others_begin: bool = False, script_is_over: bool = False) -> None:
        for at in list(self._live):
            # A loop that draws ahead still calls the model on what it holds.
            holds = at.exhausted and bool(at.ahead) and not others_begin
            if script_is_over or (at.is_gone and not holds):
                self._end(at, complete=at.is_complete or at.exhausted)

    def _end(self, at: Pass, *, complete: bool) -> None:
        if at.over:
            return
        if at.pending is not None and not at.pending.calls and not complete:
            at.pending = None  # the loop broke off before it called the model
        self._settle(at)
        at.uncalled += len(at.ahead)
        if complete:
            self._refuse_left_out(at)
        at.over = True
        self._live = [one for one in self._live if one is not at]
        if (recording := at.open_recording) is not None:
            if complete:
                self._commit(at, recording)
            else:
                self._drop(at, recording, f"the pass broke off after {at.progress}")
        elif at.recording is not None:
            self.seen.failure = self.seen.failure or at.recording.failure
        if at.is_training and (complete or at.stepped):
            self.epoch += 1
            self._note_end(at_once=True)
            if not complete:
                self._notes.tell_once(
                    f"a training pass broke off after {at.progress}: it, and each like it, counts as an epoch.",
                    "broke off",
                )

    def _note_end(self, *, at_once: bool) -> None:
        """Note the weights with which the last training pass ended.

        At once, before the script saves them; and before the next pass, if they were the same as before the pass or an
        optimizer made a step since: some loops make their last step after the pass.
        """
        if self.capture is None or self.capture.setup.stopped or not (at_once or self._unnoted):
            return
        setup = self.capture.setup
        digest = weights_digest(setup.model)
        before = setup.known.ends.get(self.epoch - 1)
        self._unnoted = at_once and before is not None and digest in before.weights
        try:
            self._beginning.settle(setup)
            if not self._unnoted:
                note_end(setup, self.epoch, digest, self._total_steps)
        except FeatlabError as error:
            self._refuse(error)

    @property
    def _total_steps(self) -> int | None:
        return None if self._steps_before is None else self._steps_before + self._steps

    def _commit(self, at: Pass, recording: Recording) -> None:
        with self._notes.warnings_noted():
            try:
                recording.__exit__(None, None, None)
            except FeatlabError as error:
                self.seen.failure = error
                raise
            except SystemExit:
                self._notes.tell(
                    f"epoch {at.epoch}, {at.split} is not stored: the script was ended before all ranks were done."
                )
                raise
        if recording.is_committed:
            split = str(at.split)
            if recording.step is not None:
                self.seen.within.setdefault(split, []).append(recording.step)
            else:
                self.seen.committed.setdefault(split, []).append(at.epoch)
                self.seen.rows[split] = recording.rows
            if own_rank() == 0:
                self._notes.tell(f"epoch {at.epoch}, {recording.stored_as}: {recording.rows:,} rows.")

    def _drop(self, at: Pass, recording: Recording, why: str) -> None:
        recording.__exit__(CaptureError, None, None)
        self._notes.tell(f"epoch {at.epoch}, {at.split} is not stored: {why}.")

    def _fail(self, recording: Recording, error: FeatlabError) -> None:
        recording.__exit__(type(error), error, None)
        self._raise_or_stop(error)

    def _abandon_all(self) -> None:
        for at in self._live:
            at.over = True
            if (recording := at.open_recording) is not None:
                self._drop(at, recording, f"the script ended after {at.progress}")
        self._live = []

    def _current(self) -> Pass | None:
        return next((at for at in reversed(self._live) if at.pending is not None or at.ahead), None)

    def _is_model(self, module: nn.Module, args: Any) -> bool:
        self._end_gone()
        at = self._current()
        if at is None or not any(weight.requires_grad for weight in module.parameters()):
            return False
        drawn = [one.rows for one in (*at.ahead, at.pending) if one is not None]
        rows = row_count(args)
        return rows is None or None in drawn or rows in drawn

    def _found(self, module: nn.Module) -> None:
        try:
            self.capture = self._make_capture(module)
            self.capture.setup.evidence = self._evidence
            self.capture.setup.is_counted, self.capture.setup.renumber = True, COUNTED
        except FeatlabError as error:
            self.seen.failure = error
            if isinstance(error, LayerNotFoundError):
                self._notes.list_modules(module)
            raise

    def _called(self, model: nn.Module, values: Any) -> None:
        self._end_gone()
        at = self._current()
        if at is not None and at.ahead:
            self._match(at, values)
        if at is not None and at.pending is not None:
            at.pending.calls += 1
            if at.split is None and self.capture is not None:
                self._classify(at, model, self.capture)
                if (recording := at.open_recording) is not None:
                    recording.begin_with(*values)  # its own hooks hear of the next call
            if at.pending.calls == 2 and at.recording is not None:
                self._notes.tell_once("the model is called more than once on a batch: the first call is captured.")
        for one in self._live:
            if one.recording is not None:
                one.recording.pause(one is not at or one.pending is None or one.pending.calls > 1)

    def _gave(self, output: Any) -> None:
        if torch.is_grad_enabled() and not self._evidence.is_final:
            self._evidence.saw_outputs(tensors_in(output))

    def _match(self, at: Pass, values: Any) -> None:
        """Find the batch that the model is called on where several are drawn."""
        if at.split is not None and at.open_recording is None:
            values = ()  # comparing would wait for the device
        if at.pending is not None and at.pending.calls:
            if not is_next(at, values):
                return  # once more on the same batch
            self._settle(at)
        if not choose_batch(at, values):
            self._refuse_left_out(at)

    def _refuse_left_out(self, at: Pass) -> None:
        if at.uncalled and (recording := at.open_recording) is not None:
            which = f"{at.uncalled} of its batches"
            self._drop(at, recording, f"the model was not called on {which}, so rows cannot be matched")

    def _classify(self, at: Pass, model: nn.Module, capture: Capture) -> None:
        """Decide by the first call of the model what a pass is, and record it if it is wanted."""
        self._note_end(at_once=False)
        self._place(capture)
        at.is_training = model.training and torch.is_grad_enabled()
        at.epoch = self.epoch + at.is_training
        source = self._sources.of(at.loader, training=at.is_training, epoch=self.epoch)
        if at.is_training:
            at.split = "train"
            source.trained = True
            if source.name not in (None, "train_eval"):
                self._notes.tell_once(f"{source.name} is the data set that the script also trains on.")
        else:
            at.split = self._sources.name_evaluation(source, self.epoch)
            if model.training:
                self._notes.tell_once(
                    f"{at.split} is evaluated in training mode: the script does not call model.eval()."
                )
        self.seen.splits[at.split] += 1
        if at.split not in self._splits or capture.setup.stopped:
            return
        is_within = not at.is_training and self._is_within_epoch()
        if is_within and not self._within_epochs:
            self._leave_midway(at.split)
            return
        if not (at.is_training or is_within):
            at.epoch = self._epoch_of_weights(capture, at.split)
        if not capture.setup.options.schedule.wants(at.epoch):
            self.seen.unscheduled.add(at.epoch)
            return
        step = self._steps + (self._steps_before or 0) if is_within else None
        if step is not None and step in self.seen.within.get(at.split, ()):
            self._notes.tell_once(
                f"{at.split} is passed again at step {step}: the first pass is kept.", f"{at.split} again"
            )
        elif step is None and at.epoch in self.seen.committed.get(at.split, ()):
            self._notes.tell_once(
                f"{at.split} is passed again with no training pass ended in between (first in epoch {at.epoch}): "
                "the first pass of each epoch is kept.",
                f"{at.split} again",
            )
        elif at.uncalled:
            self._notes.tell_once(
                f"{at.split} is not stored: the script draws batches ahead, and what it calls the model on is none of "
                "them as it came, so rows cannot be matched."
            )
        else:
            self._record(at, capture, at.split, step)

    def _leave_midway(self, split: str) -> None:
        self.seen.midway[split] += 1
        self._notes.tell_once(
            f"{split} is evaluated in the middle of training passes, too: --within-epochs stores that, by step.",
            f"{split} midway",
        )

    def _epoch_of_weights(self, capture: Capture, split: str) -> int:
        """Find the epoch of an evaluation: the present one, or another whose weights the script has loaded."""
        digest, ends = weights_digest(capture.setup.model), capture.setup.known.ends
        ended = [epoch for epoch, end in ends.items() if digest in end.weights]
        if self.epoch in ended or len(ended) != 1:  # averaged weights are those of no epoch's end
            return self.epoch
        self._notes.tell_once(
            f"{split} is evaluated with the weights of epoch {ended[0]} again, and belongs to that epoch."
        )
        return ended[0]

    def _is_within_epoch(self) -> bool:
        return any(one.is_training and one.stepped for one in self._live)

    def _record(self, at: Pass, capture: Capture, split: str, step: int | None) -> None:
        capture.setup.likely_classes = capture.setup.likely_classes or class_names(at.loader)
        if not has_indices(at.loader):
            self._notes.tell_once(f"{split} has no indices: sample ids count the rows as they arrive.")
        try:
            if not capture.keeps(epoch=at.epoch, split=split, step=step):
                self._beginning.check_stored(capture.setup, at.epoch, split)
            sharded, expected = is_sharded(at.loader), expected_together(at.loader)
            recording = capture.start(epoch=at.epoch, split=split, expected=expected, step=step, sharded=sharded)
        except FeatlabError as error:
            self._refuse(error)
            return
        if capture.keeps(epoch=at.epoch, split=split, step=step):
            self._keep(at, recording, split, capture.setup)
            return
        if rank_and_ranks()[1] > 1 and not sharded:
            self._notes.tell_once(f"{split} is not shared among the ranks: the pass of rank 0 is captured.")
        if recording.is_taken:
            recording.count_labels = partial(count_classes, at.loader)
            at.recording = recording
            recording.__enter__()

    def _keep(self, at: Pass, recording: Recording, split: str, setup: Setup) -> None:
        """Leave a snapshot as it is that the run holds, if it is one of this model."""
        if not at.is_training:
            try:
                recording.check_kept()
                if recording.step is None and at.epoch not in setup.known.ends:
                    note_end(setup, at.epoch, weights_digest(setup.model), self._total_steps, is_compared=True)
            except FeatlabError as error:
                self._refuse(error)
        if not setup.stopped:
            self.seen.kept.setdefault(split, set()).add(at.epoch)

    def _place(self, capture: Capture) -> None:
        """Find the epoch at which the script begins; it may load its checkpoint as late as before its first step."""
        if capture.setup.stopped or (epoch := self._beginning.place(capture.setup)) is None:
            return
        try:
            self._beginning.check_new(capture.setup)
        except FeatlabError as error:
            self._refuse(error)
        self.epoch = epoch
        if not epoch:
            return
        self._notes.tell_once(f"the script goes on after epoch {epoch}.")
        end = capture.setup.known.ends.get(epoch)
        self._steps_before = None if end is None or end.steps is None else end.steps - self._steps
        if self._steps_before is None and self._within_epochs:
            self._notes.tell_once(
                f"the steps up to epoch {epoch} are unknown: snapshots within epochs count from there."
            )

    def _before_step(self, optimizer: Optimizer, *args: Any) -> None:
        if self.capture is None or self.capture.setup.stopped:
            return
        try:
            epoch = self._beginning.settle(self.capture.setup, optimizer)
            self._check_logits(self.capture)
        except FeatlabError as error:
            self._refuse(error)
            return
        if epoch is not None and epoch != self.epoch:
            self._move(epoch)

    def _move(self, epoch: int) -> None:
        """Count on from another epoch: the script loaded its weights after the first batch of its first pass."""
        self.epoch = epoch
        self._notes.tell_once(f"the script goes on after epoch {epoch}.")
        for at in self._live:
            if (recording := at.open_recording) is not None:
                self._drop(at, recording, "the script loaded other weights after its first batch")
            at.epoch = epoch + at.is_training

    def _refuse(self, error: FeatlabError) -> None:
        """End what is recorded, and the script, too, unless it shall go on."""
        for at in self._live:
            if (recording := at.open_recording) is not None:
                recording.__exit__(type(error), error, None)
        self._raise_or_stop(error)

    def _raise_or_stop(self, error: FeatlabError) -> None:
        if self.capture is None or self.capture.setup.options.on_error == "raise":
            self.seen.failure = error
            raise error
        self.capture.setup.stopped = True
        self._notes.tell(f"capturing stopped, and the training goes on: {error}")

    def _check_logits(self, capture: Capture) -> None:
        """Refuse to go on where an evaluation before the first step took another output for the logits."""
        if self._evidence.is_final:
            return
        self._evidence.saw_step()
        for mode, logits in capture.setup.logits.items():
            if (why := contradiction(logits, self._evidence)) is not None:
                raise CaptureError(
                    f"{logits.name} ({logits.width} columns), {logits.found}, was stored as the logits "
                    f"of passes in {mode} mode, and {why}: name the logits with --logits or give the number of "
                    "classes with --classes, and capture into another store."
                )

    def _saw_loss(self, loss: str, values: torch.Tensor, target: torch.Tensor) -> None:
        at = self._current()
        if at is None or at.pending is None or not at.pending.calls:
            return
        if at.recording is not None:
            at.recording.saw_loss(values, loss)
        labels = as_class_labels(target, at.pending.rows) if loss in LABEL_LOSSES else None
        if labels is None:
            return
        if at.recording is not None and at.pending.target is None:
            at.pending.target, at.pending.loss = labels.detach().clone(), loss
        if at.is_training and self._places.is_learning:
            try:
                self._places.saw(at.pending.parts, labels)
            except FeatlabError as error:
                self._refuse(error)

    def _saw_step(self, *args: Any) -> None:
        self._steps += 1
        if self.capture is not None and not self.capture.setup.stopped:
            try:  # the model may be called within the step, as in Lightning
                self._beginning.settle(self.capture.setup)
            except FeatlabError as error:
                self._refuse(error)
        self._unnoted |= not any(at.is_training for at in self._live) and self.epoch > 0
        for at in self._live:
            at.stepped = at.stepped or at.is_training
            if at.pending is not None and at.pending.calls:
                at.pending.stepped = True
