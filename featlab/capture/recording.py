"""One (epoch, split) while it is recorded: hooks on, batches in, commit at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from featlab.capture.batches import Values, check_rows, integer_column
from featlab.capture.model.classifier import is_read
from featlab.capture.model.digest import Weights
from featlab.capture.model.fast_path import WITHOUT_FAST_PATH, has_fast_path
from featlab.capture.model.held_setting import HeldSetting
from featlab.capture.model.layers import PENULTIMATE
from featlab.capture.model.logits import Known, Logits, choose_logits, named
from featlab.capture.model.taps import Taps
from featlab.capture.model.wrappers import is_compiled, may_be_compiled, uncompiled
from featlab.capture.resume import check_beside, check_kept
from featlab.capture.setup import Setup
from featlab.capture.staging.batch import Batch, Columns
from featlab.capture.staging.queue import writer_error
from featlab.capture.staging.tensors import DTYPES, stage
from featlab.capture.target import Target
from featlab.capture.writing import Writing
from featlab.errors import CaptureError, FeatlabError
from featlab.store.layout import CHANGING
from featlab.store.parts import check_first_rank, publish_nothing

_UNCOMPILED = HeldSetting(uncompiled)


class Recording:
    """Records the batches of one (epoch, split); `Capture.recording` makes it.

    Hooks are on from enter to exit. A clean exit waits for the commit; an exception leaves the epoch uncommitted.
    """

    def __init__(self, setup: Setup, target: Target, *, kept: bool = False) -> None:
        self.epoch = target.epoch
        self.split = target.split
        self.step = target.step
        self.stored_as = target.stored_as
        self.rows = 0
        self.is_committed = False
        self.failure: Exception | None = None
        self.count_labels: Callable[[], int | None] = _nothing_known
        self._setup = setup
        self._target = target
        self._kept = kept
        self._active = False
        self._batches = 0
        self._eager = ExitStack()
        self._taps = Taps(
            setup.model,
            setup.layers,
            DTYPES[setup.options.dtype],
            self._guarded,
            setup.masks,
            logits=setup.options.logits_path,
        )
        self._logits: Logits | None = None
        self._is_searched = False
        self._passed: dict[str, str] = {}
        self._head: tuple[str, nn.Linear] | None = None
        self._feeds: tuple[str, ...] = ()
        self._weights = Weights(None, ())  # as of the first batch
        self._writing: Writing | None = None

    def __enter__(self) -> Self:
        if self.is_taken and not self._setup.stopped and self._setup.options.schedule.wants(self.epoch):
            self._active = True
            if self._setup.is_compiled or may_be_compiled():
                self._run_eagerly()
            if has_fast_path(self._setup.model):
                self._eager.enter_context(WITHOUT_FAST_PATH.block())
            if self._setup.recordings:
                self._setup.recordings[-1].pause()
            self._setup.recordings.append(self)
            classes = self._setup.classes
            candidates = self._setup.classifier.candidates(None if classes is None else len(classes))
            self._taps.open(candidates, self._setup.logits_of)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in self._setup.recordings:
            self._setup.recordings.remove(self)
            if self._setup.recordings:
                self._setup.recordings[-1].pause(False)
        if kind is not None:
            self._abandon(error)
        elif self.failure is not None:
            raise self.failure
        elif self._active:
            with self._guarded():
                self._finish()
        self._active = False
        self.count_labels = _nothing_known

    def batch(self, labels: Values, logits: Values | None = None, sample_ids: Values | None = None) -> None:
        """Record the batch that the model was just called on.

        Parameters
        ----------
        labels
            Class of each sample, integers of shape (rows,).
        logits
            Outputs of the classifier, shape (rows, K); by default those among the model's own outputs, see `Capture`.
        sample_ids
            Which sample of the data set each row is, shape (rows,); by default rows are counted as they come.

        Raises
        ------
        CaptureError
            A layer did not fire, fired twice, or gave another number of rows; or the writer failed.
        DataError
            The labels lie outside the classes.
        EpochExistsError
            The (epoch, split) is committed, and not to be overwritten.
        """
        if not self._active:
            self.check_kept()
            return
        with self._guarded():
            self._record(labels, logits, sample_ids)

    def check_kept(self) -> None:
        """Compare what is kept with the model, once; nothing happens where nothing is kept.

        Raises
        ------
        CaptureError
            It was captured from another model.
        """
        if self._kept and not self._setup.stopped:
            self._kept = False
            with self._guarded():
                check_kept(self._setup, self.epoch, self.stored_as)

    @property
    def is_taken(self) -> bool:
        """True where this process records: not what is stored already, nor what rank 0 records for all."""
        return self._target.share.is_taken

    @property
    def is_open(self) -> bool:
        """True while batches are recorded: after the enter, before the exit, and nothing failed."""
        return self._active

    def pause(self, paused: bool = True) -> None:
        """Let the hooks take nothing until further notice."""
        self._taps.paused = paused

    def begin_with(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Take a call of the model that is under way already, of whose arguments those by name may be unknown."""
        if self._active:
            self._taps.begin_with(args, kwargs)

    def saw_loss(self, values: torch.Tensor, function: str) -> None:
        """Note what a loss function was called on since the last call of the model."""
        if self._active and (path := self._taps.path_of(values)) is not None:
            self._passed.setdefault(path, function)

    def _record(self, labels: Values, logits: Values | None, sample_ids: Values | None) -> None:
        self._note_calls(self._taps.gather())
        self._check_fired()
        label = integer_column(labels, "labels")
        ids = self._ids(sample_ids, len(label))
        output = self._choose_logits(logits, label)
        classes = self._resolve_classes(output)
        if self._writing is None:
            self._head = self._choose_classifier(len(classes), output)
        self._take_penultimate(len(classes))
        check_rows(self._taps.fired, len(label), output, ids, self._batch_name())
        self._note_masks()
        if self._writing is None:
            self._writing = self._open(classes, has_logits=output is not None)
        columns = Columns(
            {layer.name: self._taps.fired[layer.name] for layer in self._setup.layers},
            stage(label),
            None if output is None else stage(output, torch.float32, owned=logits is None),
            None if ids is None else stage(ids),
        )
        self._taps.forget()
        self._taps.is_first = False
        self._writing.put(Batch(columns))
        self._batches += 1
        self.rows += len(label)

    def _ids(self, sample_ids: Values | None, rows: int) -> torch.Tensor | None:
        if sample_ids is not None:
            return integer_column(sample_ids, "sample_ids")
        # The store would count on over a gap.
        return torch.arange(self.rows, self.rows + rows) if self._setup.options.when_full == "drop" else None

    def _note_calls(self, calls: dict[str, int]) -> None:
        several = {layer.name: layer.call for layer in self._setup.layers if layer.name in calls}
        if self._batches or not several:
            return
        listed = ", ".join(f"{name} ({calls[name]} times, {call})" for name, call in several.items())
        self._setup.tell_once("calls", f"called more than once in a forward pass: {listed}; call= says which count.")

    def _note_masks(self) -> None:
        if "masks" not in self._setup.told and (messages := self._taps.tokens_without_mask()):
            self._setup.tell_once("masks", " ".join(messages))
        if (mask := self._taps.late_mask) is not None:
            self._setup.tell_once(
                "late mask",
                f"mask {mask!r} came with {self._batch_name()} and not with the first: padding is passed over from "
                "there on, and the run says that there is no mask; name it with mask= or --mask.",
            )

    def _note_empty(self) -> None:
        mask, rows = self._taps.most_empty()
        if rows and "empty" not in self._setup.told:
            self._setup.told.add("empty")
            self._setup.notify(
                f"{rows} samples of {self._target} have no token that mask {mask!r} keeps, so their features are NaN "
                "where tokens are reduced: exclude them from the data, or name the mask with mask= or --mask, ~NAME if "
                "True is padding in it."
            )

    def _run_eagerly(self) -> None:
        """Let no compiled code run: it has other hooks traced into it, or none."""
        if self._setup.is_compiled or is_compiled(self._setup.model):
            self._setup.tell_once("compiled", "the model is compiled: what is recorded runs uncompiled.")
        self._eager.enter_context(_UNCOMPILED.block())

    def _take_penultimate(self, classes: int) -> None:
        if all(layer.module is not None for layer in self._setup.layers):
            return
        if self._head is None:
            raise CaptureError(
                f"layer {PENULTIMATE!r} is the classifier's input, and no Linear {self._lacking(classes)}: "
                "name the module with classifier=, or choose another layer."
            )
        self._taps.take_penultimate(self._head[0])
        self._check_fired(PENULTIMATE)

    def _choose_logits(self, logits: Values | None, labels: torch.Tensor) -> torch.Tensor | None:
        classes = None if self._setup.classes is None else len(self._setup.classes)
        if logits is None:
            return self._own_logits(classes, labels)
        given = torch.as_tensor(logits)
        if given.ndim != 2 or (classes is not None and given.shape[1] != classes):
            raise CaptureError(
                f"logits have shape {tuple(given.shape)} in {self._batch_name()}: "
                f"give (rows, {'K' if classes is None else classes})."
            )
        return given

    def _own_logits(self, classes: int | None, labels: torch.Tensor) -> torch.Tensor | None:
        """Take the logits among the outputs of the model; at the first batch, find out which these are."""
        setup = self._setup
        if not self._is_searched:
            self._is_searched = True
            self._logits = self._find_logits(classes, labels)
            self._taps.settle(None if self._logits is None else self._logits.output)
            self.count_labels = _nothing_known  # it holds the data set
        if self._logits is None:
            return None
        chosen = self._taps.outputs[self._logits.output]
        if classes is None or chosen.shape[1] == classes:
            setup.logits.setdefault(self._mode, self._logits)
            return chosen
        setup.tell_once(
            "logits",
            f"{self._logits.name} has {chosen.shape[1]} columns and there are {classes} classes, so no logits are "
            "stored: if they are elsewhere in the model, name them with --logits, logits= of Capture.",
        )
        return None

    def _find_logits(self, classes: int | None, labels: torch.Tensor) -> Logits | None:
        setup, outputs = self._setup, self._taps.outputs
        if setup.options.logits_path is not None:
            values = outputs.get(setup.options.logits_path)
            if values is None or values.ndim != 2 or values.shape[1] != (classes or values.shape[1]):
                found = "was not given" if values is None else f"has shape {tuple(values.shape)}"
                raise CaptureError(
                    f"{named(setup.options.logits_path)}, named as the logits, {found} in {self._batch_name()}: "
                    f"name one of shape (rows, {classes or 'K'}) with logits= or --logits."
                )
            return Logits(setup.options.logits_path, values.shape[1], "as named", is_certain=True)
        fitting = {path: values for path, values in outputs.items() if len(values) == len(labels)}
        before = setup.logits.get(self._mode)
        known = Known(
            classes,
            int(labels.max()) if len(labels) else 0,
            self.count_labels,
            setup.evidence,
            self._passed,
            setup.stored_logits.get(self._mode) if before is None else before.output,
        )
        logits = choose_logits(fitting or outputs, known)
        if before is not None and logits is not None and before.output != logits.output:
            raise CaptureError(
                f"the logits stored so far are {before.name}, {before.found}, and {logits.name} would be those of "
                f"{self._target}, {logits.found}: name them with --logits, logits= of Capture, in another store."
            )
        if logits is None and len(outputs) > 1:
            listed = ", ".join(f"{path} {tuple(values.shape)}" for path, values in outputs.items())
            setup.tell_once(
                "logits",
                f"none of the model's outputs ({listed}) is found to be the logits, so none are stored: name them with "
                "--logits, logits= of Capture.",
            )
        return logits

    def _choose_classifier(self, classes: int, logits: torch.Tensor | None) -> tuple[str, nn.Linear] | None:
        path = None if self._logits is None else self._logits.output
        given = {
            name: (values, path is not None and self._taps.made_by(path, name))
            for name, values in self._taps.made.items()
        }
        return self._setup.classifier.choose(classes, logits, given)

    def _resolve_classes(self, output: torch.Tensor | None) -> list[str]:
        setup = self._setup
        if setup.classes is None:
            if output is None:
                raise CaptureError(
                    f"the number of classes is unknown, since {self._batch_name()} has no logits (rows, K): "
                    "pass classes= (--classes) as names or as a number, or name the logits with logits= (--logits)."
                )
            likely = setup.likely_classes
            known = likely is not None and len(likely) == output.shape[1]
            setup.classes = list(likely or ()) if known else [str(number) for number in range(output.shape[1])]
        return setup.classes

    def _check_fired(self, name: str | None = None) -> None:
        wanted = [layer.name for layer in self._setup.layers if layer.module is not None] if name is None else [name]
        for layer in wanted:
            if layer not in self._taps.fired:
                raise CaptureError(
                    f"layer {layer!r} did not fire for {self._batch_name()}: call the model once before each "
                    f"batch, and exclude a module that it does not use with '!{layer}'."
                )

    def _open(self, classes: list[str], *, has_logits: bool) -> Writing:
        setup, logits = self._setup, self._logits
        if setup.published is not None:
            check_first_rank(*setup.published)
        self._weights = Weights.of(setup.model)
        if not self._may_change and self.step is None:
            check_beside(setup, self.epoch, self.stored_as, self._weights.digest)
        setup.specs.update(self._taps.specs)
        if setup.classifier.is_wanted:
            self._note_classifier(len(classes))
        found = {"output": logits.output, "found": logits.found} if has_logits and logits is not None else None
        return Writing(
            setup,
            self._target,
            classes=classes,
            mode=self._mode,
            has_logits=has_logits,
            logits=found,
            order=self._taps.order(),
        )

    def _note_classifier(self, classes: int) -> None:
        setup = self._setup
        if self._head is None:
            setup.tell_once(
                "classifier",
                f"no Linear of {type(setup.model).__qualname__} {self._lacking(classes)}, so no classifier is stored "
                "(NC3 and NC4 stay empty): name it with classifier=.",
            )
            return
        name = self._head[0]
        reads = self._taps.read.get(name)
        self._feeds = tuple(layer for layer, values in self._taps.reduced.items() if is_read(values, reads))
        setup.classifier_name, setup.feeds = name, self._feeds
        if not self._feeds and not self._is_training:
            setup.tell_once(
                "feeds",
                f"no captured layer is what the classifier {name!r} reads (NC3 and NC4 stay empty): "
                f"add {PENULTIMATE!r} to the layers.",
            )

    def _lacking(self, classes: int) -> str:
        is_there = self._setup.classifier.find(classes) is not None
        return "gives the logits as they are" if is_there else f"has {classes} outputs"

    def _finish(self) -> None:
        setup, share = self._setup, self._target.share
        if self._writing is None and share.together is not None and share.rank and not self._taps.fired:
            self._detach()
            publish_nothing(setup.store, self.epoch, self.stored_as, share.rank, share.together)
            return
        if self._writing is None:
            raise CaptureError(
                f"no batch was recorded for {self._target}: call rec.batch after each call of the model."
            )
        if self._taps.fired:
            raise CaptureError(
                f"the model was called after batch {self._batches - 1}, the last that was recorded for {self._target}: "
                "call rec.batch after each call of the model."
            )
        self._detach()
        self._note_empty()
        self._writing.drain()
        self.rows = self._writing.commit(self._stored_classifier(), self._feeds, self._stored_weights())
        self.is_committed = True

    def _detach(self) -> None:
        self._taps.close()
        self._eager.close()

    def _stored_classifier(self) -> nn.Linear | None:
        """Return the classifier that is stored with the snapshot, if any is.

        With dropout on, no captured layer is what the classifier reads: an evaluation of the epoch will tell. Within an
        epoch it is another one than the epoch's.
        """
        is_told = self.step is None and (bool(self._feeds) or not self._is_training)
        return self._head[1] if self._head is not None and is_told else None

    def _stored_weights(self) -> str | None:
        """Digest the weights that the rows come from, if they are the same for all."""
        digest = self._weights.digest
        if digest is None:
            return None
        if not self._weights.are_those_of(self._setup.model, is_sure=self._may_change):
            return CHANGING
        if self.step is None:
            check_beside(self._setup, self.epoch, self.stored_as, digest)
        return digest

    @property
    def _may_change(self) -> bool:
        """True where the rows may come from a pass that trains the model."""
        return self._is_training or torch.is_grad_enabled()

    @property
    def _is_training(self) -> bool:
        return self._setup.model.training if self._taps.training is None else self._taps.training

    @property
    def _mode(self) -> str:
        return "train" if self._is_training else "eval"

    def _batch_name(self) -> str:
        return f"batch {self._batches} of {self._target}"

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (FeatlabError, OSError, RuntimeError) as error:
            self._abandon(error)
            clear = self._explained(error)
            if self._setup.options.on_error == "raise":
                self.failure = clear
                if clear is error:
                    raise
                raise clear from error
            self._setup.stopped = True
            self._setup.notify(f"capturing stopped, and the training goes on: {clear}")

    def _explained(self, error: FeatlabError | OSError | RuntimeError) -> FeatlabError:
        """Say what failed: the store, which raises OSError, or what was computed, which PyTorch raises."""
        if isinstance(error, FeatlabError):
            return error
        if isinstance(error, OSError):
            return writer_error(str(self._target), error)
        return CaptureError(
            f"{self._target} could not be recorded ({type(error).__name__}: {error}): it stays uncommitted, and the "
            "store is not the cause; choose fewer layers, or layers of another kind."
        )

    def _abandon(self, error: BaseException | None) -> None:
        self._active = False
        self._detach()
        if self._writing is not None:
            self._writing.abandon(error)


def _nothing_known() -> None:
    return None
