"""Capture from the trainers of other libraries: `LightningCapture` and `TransformersCapture`.

Each is an extra, ``pip install 'featlab[lightning]'`` or ``'featlab[transformers]'``, imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featlab.errors import OptionError

if TYPE_CHECKING:
    from featlab.capture.trainers.lightning import LightningCapture
    from featlab.capture.trainers.transformers import TransformersCapture

__all__ = ["LightningCapture", "TransformersCapture"]

_EXTRAS = {"LightningCapture": "lightning", "TransformersCapture": "transformers"}


def __getattr__(name: str) -> Any:
    if name not in _EXTRAS:
        raise AttributeError(f"module 'featlab.callbacks' has no attribute {name!r}")
    extra = _EXTRAS[name]
    try:
        return getattr(importlib.import_module(f"featlab.capture.trainers.{extra}"), name)
    except ModuleNotFoundError as error:
        raise OptionError(f"{name} needs {error.name!r}, which is missing: pip install 'featlab[{extra}]'.") from error


def __dir__() -> list[str]:
    return __all__
