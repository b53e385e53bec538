"""Models whose weights are shared among ranks, as by FSDP's `fully_shard`: whole weights, gathered without a hang."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

from featlab.errors import CaptureError

_TIMEOUT = timedelta(seconds=600)
_STAYED, _LEFT = b"all are here", b"one left"
_meetings: Counter[str] = Counter()


def is_fully_sharded(module: nn.Module) -> bool:
    """Tell whether `fully_shard` was applied to a module: it then stands in the class of the module itself."""
    # By name: the import would take long, and nobody shards who has not imported it.
    return any(kind.__name__ == "FSDPModule" and kind.__module__.startswith("torch.") for kind in type(module).__mro__)


def has_shards(model: nn.Module) -> bool:
    """Tell whether no rank holds all weights of a model."""
    return any(is_fully_sharded(module) for module in model.modules()) or any(
        _is_shard(parameter) for parameter in model.parameters()
    )


def class_of(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module as it was before `fully_shard` put its own in front.

    Examples
    --------
    >>> class_of(nn.Linear(2, 2)).__name__
    'Linear'
    """
    kind = type(module)
    return next(iter(kind.__bases__[1:]), kind) if is_fully_sharded(module) else kind


def own_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters as the optimizer has them, shards and not what a forward pass gathered of them."""
    for module in model.modules():
        if is_fully_sharded(module):
            # The outermost module keeps what it gathered, and that may be rounded for mixed precision.
            reshard: Any = module
            reshard.reshard()
    return list(model.parameters())


def whole(parameters: Iterable[torch.Tensor], what: str) -> Iterator[torch.Tensor]:
    """Give each parameter whole, one after the other; every rank has to ask for those of which there are shards.

    Parameters
    ----------
    parameters
        The parameters, the same on every rank.
    what
        What they are wanted for, the same text on every rank.

    Raises
    ------
    CaptureError
        Another rank does not ask, or shards are those of some ranks only.
    """
    known = list(parameters)
    if any(_is_shard(parameter) for parameter in known):
        _check_mesh(known, what)
        _meet(what)
    for parameter in known:
        tensor: Any = parameter.detach()
        yield tensor.full_tensor() if _is_shard(tensor) else tensor


def _is_shard(parameter: torch.Tensor) -> bool:
    return hasattr(parameter, "full_tensor")


def _check_mesh(parameters: list[torch.Tensor], what: str) -> None:
    ranks = distributed.get_world_size()
    for parameter in parameters:
        mesh = getattr(parameter, "device_mesh", None)
        if mesh is not None and mesh.size() != ranks:
            raise CaptureError(
                f"{what} cannot be read, for weights are shared among {mesh.size()} of {ranks} ranks: capture where "
                "fully_shard shares them among all, or replay the full checkpoints."
            )


def _meet(what: str) -> None:
    """Wait until every rank is about to gather the same, since a collective that one rank enters alone would hang."""
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    if ranks == 1:
        return
    _meetings[what] += 1
    name = f"featlab/weights/{what}/{_meetings[what]}"
    keys: Any = distributed.distributed_c10d._get_default_store()
    if keys.add(f"{name}/here", 1) == ranks:
        outcome = keys.compare_set(f"{name}/outcome", "", _STAYED.decode())
    else:
        try:
            keys.wait([f"{name}/outcome"], _TIMEOUT)
            outcome = keys.get(f"{name}/outcome")
        except RuntimeError:
            # Set once, by whoever comes first: no rank goes on while another has given up.
            outcome = keys.compare_set(f"{name}/outcome", "", _LEFT.decode())
    if outcome != _STAYED:
        raise CaptureError(
            f"{what} of a model that {ranks} ranks share could not be read, for rank {rank} and the others did not ask "
            f"for it together within {_TIMEOUT.total_seconds():g} s: let every rank evaluate, record and note alike."
        )
