"""Capture from Lightning's Trainer, in the validation that it runs anyway."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from featlab.capture.batches import Parts, Values, row_count, split_batch
from featlab.capture.capture import Capture
from featlab.capture.dataloaders import (
    PassObserver,
    SampleIds,
    count_classes,
    expected_rows,
    has_indices,
    known_length,
    passes_observed,
)
from featlab.capture.recording import Recording
from featlab.errors import CaptureError, OptionError
from featlab.store.files import StorePath


class LightningCapture(Callback):  # type: ignore[misc]
    """Records Lightning's own validation: no further pass over the data.

    Epochs count completed training passes: the validation at the end of the first is epoch 1; one in the middle of an
    epoch is not recorded. With ``Trainer(num_sanity_val_steps=-1)`` the untrained network is epoch 0.

    Parameters
    ----------
    store, layers
        As for `featlab.Capture`.
    module
        Name of the submodule that the steps call where they do not call the LightningModule itself, such as "model";
        layers are then named within it. By default the LightningModule.
    splits
        What is recorded: "val" is the first data loader of the validation, "val2", ... the next ones; "test",
        "test2", ... those of ``trainer.test``.
    labels
        Takes the labels out of a batch; by default the second of (inputs, labels), or "labels" of a mapping.
    **options
        As for `featlab.Capture`.

    Raises
    ------
    OptionError
        No splits, or a module that the model lacks.
    CaptureError
        A batch without labels; see also `featlab.Capture`.

    Examples
    --------
    >>> callback = LightningCapture("run.zarr", ["hidden", "penultimate"], classes=["cat", "dog"])
    >>> trainer = Trainer(callbacks=[callback], max_epochs=5, num_sanity_val_steps=-1)  # doctest: +SKIP
    """

    def __init__(
        self,
        store: StorePath,
        layers: str | Iterable[str],
        *,
        module: str | None = None,
        splits: Sequence[str] = ("val",),
        labels: Callable[[Any], Values] | None = None,
        **options: Any,
    ) -> None:
        if isinstance(splits, str) or not splits:
            raise OptionError(f"splits is {splits!r}: give a list of names, such as ['val', 'test'].")
        self._make: Callable[[nn.Module], Capture] = lambda model: Capture(model, store, layers, **options)
        self._module = module
        self._splits = tuple(splits)
        self._labels = labels
        self._capture: Capture | None = None
        self._recording: Recording | None = None
        self._loader: int | None = None
        self._observing = ExitStack()
        self._ids = _DrawnIds()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._observing.close()
        self._ids = _DrawnIds(lambda: not trainer.training)
        self._observing.enter_context(passes_observed(self._ids))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._observing.close()
        if self._capture is not None:
            self._capture.release()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.global_step:  # from a checkpoint, it may be the middle of an epoch
            self._capture_of(pl_module).note(0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._capture_of(pl_module).note(trainer.current_epoch + 1, steps=trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._observing.close()
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.__exit__(type(exception), exception, exception.__traceback__)
        if self._capture is not None:
            self._capture.release()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if dataloader_idx == self._loader:
            return
        self._finish()
        self._loader = dataloader_idx
        before_training = trainer.sanity_checking
        if before_training and list(trainer.num_sanity_val_batches) != list(trainer.num_val_batches):
            return
        fitting = trainer.state.fn == "fit" and not before_training
        if fitting and not trainer.is_last_batch:
            return  # in the middle of an epoch
        loader = _flat(trainer.val_dataloaders)[dataloader_idx]
        self._begin(pl_module, trainer.current_epoch + fitting, "val", loader, trainer.num_val_batches[dataloader_idx])

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._take(batch, _flat(trainer.val_dataloaders)[dataloader_idx])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish()

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if dataloader_idx != self._loader:
            self._finish()
            self._loader = dataloader_idx
            loader = _flat(trainer.test_dataloaders)[dataloader_idx]
            self._begin(pl_module, trainer.current_epoch, "test", loader, trainer.num_test_batches[dataloader_idx])

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._take(batch, _flat(trainer.test_dataloaders)[dataloader_idx])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish()

    def _begin(
        self, pl_module: LightningModule, epoch: int, kind: str, loader: Iterable[Any], batches: int | float
    ) -> None:
        split = kind if not self._loader else f"{kind}{self._loader + 1}"
        if split not in self._splits:
            return
        capture = self._capture_of(pl_module)
        is_whole = batches == known_length(loader)
        expected = expected_rows(loader) if is_whole else None
        self._recording = capture.start(epoch=epoch, split=split, expected=expected)
        self._recording.count_labels = partial(count_classes, loader)
        self._recording.check_kept()
        self._recording.__enter__()

    def _capture_of(self, pl_module: LightningModule) -> Capture:
        if self._capture is None:
            self._capture = self._make(_submodule(pl_module, self._module))
        return self._capture

    def _take(self, batch: Any, loader: Any) -> None:
        ids = self._ids.next_of(loader)
        recording = self._recording
        if recording is None or not recording.is_open:
            return
        labels = self._labels(batch) if self._labels is not None else self._find_labels(batch, recording, ids)
        if labels is None:
            raise CaptureError(
                f"a batch of epoch {recording.epoch}, split {recording.split!r} is a {type(batch).__name__} without "
                f"labels ({Parts.of(batch, None).described}): pass labels= as a function that takes them out of it."
            )
        recording.batch(labels, sample_ids=ids)

    def _find_labels(self, batch: Any, recording: Recording, ids: SampleIds) -> Any:
        if isinstance(batch, (list, tuple)) and len(batch) > 2:
            parts = Parts.of(batch, row_count(batch) if ids is None else len(ids))
            place = parts.likely(None if self._capture is None else self._capture.setup.model, ids)
            return None if place is None else parts.columns[place]
        return split_batch(batch)[1]

    def _finish(self) -> None:
        recording, self._recording, self._loader = self._recording, None, None
        if recording is not None:
            recording.__exit__(None, None, None)


class _DrawnIds(PassObserver):
    """The sample ids of the batches that Lightning has drawn and not yet evaluated, loader by loader."""

    def __init__(self, listens: Callable[[], bool] = lambda: False) -> None:
        self._listens = listens
        self._loaders: weakref.WeakKeyDictionary[_BaseDataLoaderIter, DataLoader[Any]] = weakref.WeakKeyDictionary()
        self._drawn: weakref.WeakKeyDictionary[DataLoader[Any], deque[SampleIds]] = weakref.WeakKeyDictionary()

    def began(self, loader: DataLoader[Any], iterator: _BaseDataLoaderIter) -> None:
        self._loaders[iterator] = loader
        self._drawn[loader] = deque()

    def returned(self, iterator: _BaseDataLoaderIter, batch: Any, sample_ids: SampleIds) -> None:
        loader = self._loaders.get(iterator)
        if loader is not None and self._listens():
            self._drawn[loader].append(sample_ids if has_indices(loader) else None)

    def next_of(self, loader: Any) -> SampleIds:
        drawn = self._drawn.get(loader) if isinstance(loader, DataLoader) else None
        return drawn.popleft() if drawn else None


def _flat(loaders: Any) -> list[Any]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]


def _submodule(model: nn.Module, name: str | None) -> nn.Module:
    if name is None:
        return model
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if name not in modules:
        children = ", ".join(name for name, _ in model.named_children()) or "none"
        raise OptionError(
            f"module {name!r} is not in {type(model).__qualname__}: choose one of its modules ({children})."
        )
    return modules[name]
