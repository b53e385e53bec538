"""What is given with a batch, and whether it agrees with what the layers gave."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from numpy.typing import ArrayLike

from featlab.capture.staging import Staged
from featlab.errors import CaptureError

Values = torch.Tensor | ArrayLike


def integer_column(values: Values, what: str) -> torch.Tensor:
    """One integer for each sample, as a tensor of shape (rows,); CaptureError for anything else."""
    tensor = torch.as_tensor(values)
    if tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise CaptureError(
            f"{what} have shape {tuple(tensor.shape)} and {tensor.dtype}: give one integer for each sample, as (rows,)."
        )
    return tensor


def check_rows(
    fired: Mapping[str, Staged], rows: int, logits: torch.Tensor | None, ids: torch.Tensor | None, batch: str
) -> None:
    """CaptureError unless every layer that fired, the logits and the ids have a row for each of the labels."""
    lengths = {f"layer {name!r}": len(staged.narrow) for name, staged in fired.items()}
    if logits is not None:
        lengths["logits"] = len(logits)
    if ids is not None:
        lengths["sample_ids"] = len(ids)
    for what, length in lengths.items():
        if length != rows:
            raise CaptureError(
                f"{what} has {length} rows and there are {rows} labels in {batch}: "
                "give one label for each sample that the model was called on."
            )
