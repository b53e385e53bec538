"""Capture from the Trainer of Hugging Face's Transformers, in passes of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from featlab.capture.capture import Capture
from featlab.errors import OptionError
from featlab.store.files import StorePath

_CLOSE = 1e-6


class TransformersCapture(TrainerCallback):  # type: ignore[misc]
    """Records an evaluation pass at each epoch's end.

    The Trainer's callbacks see no batches, so this makes a pass of its own over the data: after each evaluation that
    the Trainer runs at the end of an epoch, on the same loader, or over `data` where it is given.
    (`featlab capture -- script.py` records the Trainer's own evaluation.)

    Epochs count completed training passes. The untrained network is epoch 0: with `data`, or with
    ``TrainingArguments(eval_on_start=True)``.

    Parameters
    ----------
    store, layers
        As for `featlab.Capture`.
    data
        A loader of mappings with "labels"; by default what the Trainer evaluates on.
    splits
        What is recorded: `data`, or else the first data set that the Trainer evaluates on is "val", the next "val2",
        ...
    **options
        As for `featlab.Capture`.

    Raises
    ------
    OptionError
        No splits.
    CaptureError
        A batch without labels; see also `featlab.Capture`.

    Examples
    --------
    >>> callback = TransformersCapture("run.zarr", ["bert.encoder.layer.*", "penultimate"])
    >>> trainer = Trainer(model, arguments, callbacks=[callback], ...)  # doctest: +SKIP
    """

    def __init__(
        self,
        store: StorePath,
        layers: str | Iterable[str],
        *,
        data: Iterable[Any] | None = None,
        splits: Sequence[str] = ("val",),
        **options: Any,
    ) -> None:
        if isinstance(splits, str) or not splits:
            raise OptionError(f"splits is {splits!r}: give a list of names, such as ['val'].")
        self._make: Callable[[nn.Module], Capture] = lambda model: Capture(model, store, layers, **options)
        self._data = data
        self._splits = tuple(splits)
        self._capture: Capture | None = None
        self._datasets: list[Any] = []
        self._done: set[tuple[int, str]] = set()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.global_step:  # from a checkpoint, it may be the middle of an epoch
            self._capture_of(kwargs["model"]).note(0)
        if self._data is not None:
            self._record(state, kwargs["model"], self._data)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        epoch = state.epoch or 0.0
        if abs(epoch - round(epoch)) < _CLOSE:
            self._capture_of(kwargs["model"]).note(round(epoch), steps=state.global_step)
        if self._data is not None:
            self._record(state, kwargs["model"], self._data)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._data is None and kwargs.get("eval_dataloader") is not None:
            self._record(state, kwargs["model"], kwargs["eval_dataloader"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._capture is not None:
            self._capture.release()

    def _record(self, state: TrainerState, model: nn.Module, loader: Iterable[Any]) -> None:
        epoch = state.epoch or 0.0
        # Accelerate's loaders read ahead; what they wrap tells the samples.
        loader = getattr(loader, "base_dataloader", loader)
        key = (round(epoch), self._name(loader))
        # The best model, loaded in the end, is not that of the last epoch.
        if abs(epoch - key[0]) > _CLOSE or key[1] not in self._splits or key in self._done:
            return
        self._done.add(key)
        self._capture_of(model).evaluate(loader, epoch=key[0], split=key[1])

    def _capture_of(self, model: nn.Module) -> Capture:
        if self._capture is None:
            self._capture = self._make(model)
        return self._capture

    def _name(self, loader: Iterable[Any]) -> str:
        dataset = loader.dataset if isinstance(loader, DataLoader) else loader
        if not any(dataset is known for known in self._datasets):
            self._datasets.append(dataset)
        place = next(number for number, known in enumerate(self._datasets) if known is dataset)
        return f"val{place + 1}" if place else "val"
