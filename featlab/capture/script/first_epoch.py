"""After how many training passes an unmodified script begins."""

from __future__ import annotations

import gc

import torch
from torch import nn
from torch.optim import Optimizer

from featlab.capture.distributed import own_rank
from featlab.capture.model.digest import weights_digest
from featlab.capture.resume import epoch_of_classifier, note_end, on_device, refusal
from featlab.capture.setup import Setup
from featlab.errors import CaptureError, OptionError
from featlab.store.ends import forget_end
from featlab.store.files import store_path


class Beginning:
    """Tells after how many training passes an unmodified script begins.

    That is what is given; else the epoch of the run that ended with the weights that the model has before its first
    step; else 0, where the run is new. A script whose model is none of a run that has begun is refused before anything
    of it is stored, or, where the run is older than digests, as soon as an epoch comes up that contradicts.

    Parameters
    ----------
    first_epoch
        Completed training passes, if they are known.

    Raises
    ------
    OptionError
        A negative number.
    """

    def __init__(self, first_epoch: int | None) -> None:
        if first_epoch is not None and first_epoch < 0:
            raise OptionError(f"first_epoch is {first_epoch}: give the number of completed training passes, 0 or more.")
        self._given = first_epoch
        self._epoch = 0
        self._digest: str | None = None
        self._found: list[int] = []
        self._is_over = False

    def place(self, setup: Setup) -> int | None:
        """Return the epoch at which the script begins, from what its model is now; None after its first step."""
        if self._is_over:
            return None
        known = setup.known
        self._digest = weights_digest(setup.model)
        self._found = known.epochs_of(self._digest)
        if not self._found and (old := epoch_of_classifier(setup)) is not None:
            self._found = [old]
        known.is_verified = (
            self._given is not None
            or len(self._found) == 1
            or not known.has_begun
            or (known.replaces and not self._found)
        )
        if self._given is not None:
            self._epoch = self._given
        else:
            self._epoch = self._found[0] if len(self._found) == 1 else 0
        return self._epoch

    def check_new(self, setup: Setup) -> None:
        """Refuse a run that is new where an optimizer of the model has made steps: the script goes on from somewhere.

        Raises
        ------
        CaptureError
            There is such an optimizer, and no epoch is given.
        """
        if self._is_over or self._given is not None or self._found:
            return
        if any(_has_stepped(one, setup.model) for one in gc.get_objects() if issubclass(type(one), Optimizer)):
            raise self._refusal(setup, "its optimizer has made steps before")

    def check_stored(self, setup: Setup, epoch: int, split: str) -> None:
        """Refuse to store a snapshot of an epoch whose number nothing confirms.

        Raises
        ------
        CaptureError
            Names the epoch, and what differs.
        """
        if not setup.known.is_verified:
            raise self._refusal(setup, f"epoch {epoch}, split {split!r} would be stored")

    def settle(self, setup: Setup, optimizer: Optimizer | None = None) -> int | None:
        """Settle the epoch, before the first step that an optimizer makes, or at the latest as the first pass ends.

        Raises
        ------
        CaptureError
            The script goes on from a checkpoint of no epoch that is known.
        """
        if self._is_over:
            return None
        if optimizer is not None:
            self.place(setup)  # a checkpoint may have been loaded since
        known = setup.known
        self._is_over = True
        if len(self._found) > 1 and self._given is None:
            raise self._refusal(setup, "its next epochs would be stored under numbers that nothing confirms")
        if not known.is_verified and known.weights_of(0):
            raise self._refusal(setup, f"epoch {self._epoch + 1} would be stored")
        if self._given is not None and not known.replaces and known.holds(self._given) and self._digest is not None:
            held = known.weights_of(self._given)
            if held and self._digest not in held:
                raise refusal(setup, f"what {setup.store} holds of epoch {self._given} comes from", self._digest)
        if self._given is None and not self._found and optimizer is not None and _has_stepped(optimizer, setup.model):
            raise self._refusal(setup, "its optimizer has made steps before")
        if known.is_verified:
            self._start_log(setup)
        return self._epoch

    def _start_log(self, setup: Setup) -> None:
        """Keep the weights that the script starts with, and drop what a run that is replaced left of later passes."""
        known = setup.known
        stale = [epoch for epoch in known.ends if epoch >= self._epoch and not known.holds(epoch)]
        if known.replaces and not self._found and own_rank() == 0:
            for epoch in stale:
                forget_end(store_path(setup.store), epoch)
                del known.ends[epoch]
        steps = known.ends[self._epoch].steps if self._epoch in known.ends else None
        note_end(setup, self._epoch, self._digest, steps if self._epoch else 0)

    def _refusal(self, setup: Setup, what: str) -> CaptureError:
        like = (
            f"is that of epochs {' and '.join(map(str, self._found))} of {setup.store} alike"
            if self._found
            else f"is that of no epoch in {setup.store}"
        )
        return CaptureError(
            f"the model that the script begins with {like}, and {what}: {setup.renumber}{on_device(setup.model)}."
        )


def _has_stepped(optimizer: Optimizer, model: nn.Module) -> bool:
    """Tell whether an optimizer of the model's parameters has stepped; some are made with empty sums."""
    for parameter in model.parameters():
        state = optimizer.state.get(parameter, {})
        step = state.get("step")
        if step is not None:
            if float(step) > 0:
                return True
        elif any(isinstance(value, torch.Tensor) and bool(value.any()) for value in state.values()):
            return True
    return False
