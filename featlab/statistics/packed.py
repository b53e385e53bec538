"""Packs rows, nested containers and dataclasses into arrays for the cache, and takes them out again, bit by bit.

Nothing is pickled: a file of the cache can give numbers, text and the dataclasses that the reader names, and no code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SHAPE = "shape"  # the entry that says how the values hang together
Arrays = dict[str, NDArray[Any]]


def pack(value: Any) -> Arrays:
    """Pack a value: what it is made of as JSON, and all its arrays end to end, one array for each type of number.

    An analysis keeps hundreds of short arrays a snapshot, and each array of a file costs more than its content.

    Raises
    ------
    TypeError
        For a value that is neither a number, text, None, an array, a container of these, nor a dataclass.

    Examples
    --------
    >>> packed = pack({"row": [1, None], "null": np.array([0.5, 0.25])})
    >>> unpack(packed)
    {'row': [1, None], 'null': array([0.5 , 0.25])}
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    lengths: dict[str, int] = {}

    def array(values: NDArray[Any]) -> list[Any]:
        if values.dtype.hasobject:
            raise TypeError(f"an array of objects ({values.dtype}) cannot be packed")
        # The order in memory is kept: products of arrays in another order may differ in their last bits.
        order: Literal["F", "C"] = "F" if values.flags.f_contiguous and not values.flags.c_contiguous else "C"
        kind, start = values.dtype.str, lengths.get(values.dtype.str, 0)
        parts.setdefault(kind, []).append(values.ravel(order))
        lengths[kind] = start + values.size
        return ["array", kind, list(values.shape), start, order]

    def shape(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            return array(part)
        if isinstance(part, np.generic):
            part = part.item()
        if part is None or isinstance(part, bool | int | float | str):
            return part
        if isinstance(part, dict):
            return ["dict", list(map(shape, part)), list(map(shape, part.values()))]
        if isinstance(part, list | tuple):
            return [type(part).__name__, *map(shape, part)]
        if isinstance(part, frozenset):
            return ["frozenset", *map(shape, sorted(part))]
        if is_dataclass(part) and not isinstance(part, type):
            names = [field.name for field in fields(part)]
            return ["of", type(part).__name__, names, [shape(getattr(part, name)) for name in names]]
        raise TypeError(f"a {type(part).__name__} cannot be packed")

    text = json.dumps(shape(value))
    packed: Arrays = {kind: np.concatenate(held) for kind, held in parts.items()}
    return {SHAPE: np.frombuffer(text.encode(), np.uint8), **packed}


def unpack(arrays: Mapping[str, NDArray[Any]], types: Iterable[type] = ()) -> Any:
    """Take a value out again; dataclasses that are not among the types are refused with a KeyError."""
    by_name = {known.__name__: known for known in types}

    def made(part: list[Any]) -> Any:
        what, *held = part
        if what == "array":
            kind, dimensions, start, order = held
            flat = arrays[kind][start : start + math.prod(dimensions)]
            return flat.reshape(dimensions, order=order)
        if what == "dict":
            return dict(zip(*map(several, held), strict=True))
        if what == "of":
            name, names, values = held
            return by_name[name](**dict(zip(names, several(values), strict=True)))
        return {"list": list, "tuple": tuple, "frozenset": frozenset}[what](several(held))

    def several(parts: list[Any]) -> list[Any]:
        # Most are numbers and text, of which there are hundreds of thousands.
        return [made(part) if type(part) is list else part for part in parts]

    return several([json.loads(arrays[SHAPE].tobytes())])[0]
