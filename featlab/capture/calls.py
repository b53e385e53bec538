"""Calls of a model on the batches of a loader, in an evaluation that is not the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from featlab.capture.batches import LABEL_KEYS, Parts, inputs_beside, moved, row_count
from featlab.errors import CaptureError


@dataclass(frozen=True)
class Asked:
    """A batch that a model is to be called on.

    Attributes
    ----------
    model
        The model.
    batch
        As the loader gives it.
    name
        Which batch it is, for messages.
    device
        Device of the model.
    """

    model: nn.Module
    batch: Any
    name: str
    device: torch.device | str

    def labels(self, sample_ids: Any) -> Any:
        """Take the labels out of the batch.

        Raises
        ------
        CaptureError
            There are none, or they may be one of several parts.
        """
        place = self._place(sample_ids)
        if place is None:
            raise CaptureError(
                f"{self.name} is a {type(self.batch).__name__} without labels that can be told "
                f"({self._described}): let the loader give (inputs, labels), or a mapping with 'labels', or pass "
                "labels= as a function of the batch, and forward= as one of the model and the batch."
            )
        return self.batch[place if isinstance(self.batch, Mapping) else int(place)]

    def call(self, sample_ids: Any) -> None:
        """Call the model on what of the batch is not the labels.

        Raises
        ------
        CaptureError
            It takes other arguments.
        """
        place = self._place(sample_ids)
        if place is not None:
            inputs = inputs_beside(self.batch, place)
        else:
            inputs = self.batch[0] if isinstance(self.batch, (list, tuple)) else self.batch
        by_name = dict(inputs) if isinstance(inputs, Mapping) else {}
        is_several = isinstance(inputs, (list, tuple)) and not isinstance(inputs, PackedSequence)
        by_place = () if by_name else tuple(inputs) if is_several else (inputs,)
        self._check_call(by_place, by_name)
        self.model(*moved(by_place, self.device), **moved(by_name, self.device))

    def _place(self, sample_ids: Any) -> str | None:
        if isinstance(self.batch, Mapping):
            return next((key for key in LABEL_KEYS if key in self.batch), None)
        if isinstance(self.batch, (list, tuple)) and len(self.batch) == 2:
            return "1"  # whatever it is: what is wrong with it is said where it is read
        rows = row_count(self.batch) if sample_ids is None else len(sample_ids)
        return Parts.of(self.batch, rows).likely(self.model, sample_ids)

    def _check_call(self, by_place: tuple[Any, ...], by_name: dict[str, Any]) -> None:
        try:
            signature = inspect.signature(self.model.forward)
        except (TypeError, ValueError):
            return  # a scripted module
        try:
            signature.bind(*by_place, **by_name)
        except TypeError as error:
            raise CaptureError(
                f"{type(self.model).__qualname__} cannot be called on {self.name} ({self._described}): {error}; pass "
                "forward= as a function of the model and the batch."
            ) from error

    @property
    def _described(self) -> str:
        return Parts.of(self.batch, None).described
