"""Going on with a run: refuse a capture, or a model, that is another one than before."""

from __future__ import annotations

import numpy as np
from torch import nn

from featlab.capture.distributed import own_rank
from featlab.capture.model.classifier import weights_of
from featlab.capture.model.digest import weights_digest
from featlab.capture.setup import Setup
from featlab.errors import CaptureError, DataError
from featlab.messages import listed
from featlab.store.attributes import RunAttributes, read_run
from featlab.store.ends import PassEnd, write_end
from featlab.store.files import disk_errors, store_path
from featlab.store.layout import CHANGING, LAYERS, CommitRecord
from featlab.store.reader import Run, open_run


def check_continues(setup: Setup, split: str) -> None:
    """Refuse to go on with a run whose classes, layers, reducers or dtype are others.

    Raises
    ------
    DataError
        Names the difference.
    """
    epochs = [epoch for epoch, name in setup.held if name == split]
    if not epochs or split in setup.continued:
        return
    root = store_path(setup.store)
    run, attributes = open_run(setup.store), read_run(root)
    if setup.classes is not None:
        attributes.joined(RunAttributes.of(setup.classes, setup.options.synsets), root)
    part = next(iter(run.record(max(epochs), split).parts.values()))
    stored = {name.removeprefix(f"{LAYERS}/"): info for name, info in part.items() if name.startswith(f"{LAYERS}/")}
    wanted = {layer.name: layer for layer in setup.layers}
    differences = (
        [f"layers {listed(sorted(set(stored) - set(wanted)), None)} no longer"] if set(stored) - set(wanted) else []
    )
    if new := set(wanted) - set(stored):
        differences.append(f"layers {listed(sorted(new), None)} newly")
    if dtypes := {info.dtype for info in stored.values()} - {setup.options.dtype}:
        differences.append(f"dtype {setup.options.dtype!r} instead of {listed(sorted(dtypes), None)}")
    for name, layer in wanted.items():
        asked = layer.reduce.partition(":")[0]
        reduced = attributes.layers.get(name, {}).get("reduce", asked)
        if asked not in ("auto", reduced):  # what auto comes to, the first batch will tell
            differences.append(f"layer {name!r} reduced by {asked!r} instead of {reduced!r}")
    if differences:
        raise DataError(
            f"{setup.store} holds {split!r} captured in another way: now there would be {', '.join(differences)}; "
            "capture the same as before, or into another store."
        )
    setup.continued.add(split)


def check_kept(setup: Setup, epoch: int, stored_as: str) -> None:
    """Refuse to keep a snapshot, and go on beside it, that is of another model than the present one.

    Raises
    ------
    CaptureError
        Names both.
    """
    known = setup.known
    if known.run is None or (epoch, stored_as) not in known.run.committed:
        return
    record, digest = known.run.record(epoch, stored_as), weights_digest(setup.model)
    if record.weights == CHANGING or record.mode == "train" or digest is None:
        return  # the end of the pass will tell
    is_same = record.weights == digest if record.weights else _has_classifier(setup, known.run, epoch, record)
    if is_same is False:
        raise refusal(setup, f"epoch {epoch}, split {stored_as!r} of {setup.store} was captured from", digest)
    known.is_verified |= bool(is_same)


def check_beside(setup: Setup, epoch: int, stored_as: str, digest: str | None) -> None:
    """Refuse a further snapshot of an epoch of which the run holds one of another model.

    Epochs that are counted from a script's passes were compared as the pass ended: a script may evaluate averages.

    Raises
    ------
    CaptureError
        Names both.
    """
    known = setup.known
    if known.run is None or known.replaces or setup.is_counted or digest is None or epoch in known.seen:
        return
    if (epoch, stored_as) in known.held:
        return  # the writer will refuse it
    held = known.weights_of(epoch)
    if known.holds(epoch) and not held:
        whole = [(split, known.run.record(at, split)) for at, split in known.run.committed if at == epoch]
        found = [_has_classifier(setup, known.run, epoch, one) for split, one in whole if one.mode != "train"]
        is_same = False not in found
    else:
        is_same = not held or digest in held
    if not is_same:
        raise refusal(setup, f"what {setup.store} holds of epoch {epoch} was captured from", digest)


def check_start(setup: Setup, digest: str | None) -> None:
    """Refuse an untrained network where the run has begun with another one.

    Raises
    ------
    CaptureError
        The run holds epochs of another training.
    """
    known = setup.known
    begun = known.weights_of(0)
    if known.held and begun and digest is not None and digest not in begun and not known.replaces:
        raise refusal(setup, f"epoch 0 of {setup.store} had", digest)


def note_end(
    setup: Setup, epoch: int, digest: str | None, steps: int | None = None, *, is_compared: bool = False
) -> None:
    """Keep the weights at the end of a training pass, captured or not, so that any checkpoint of them finds its epoch.

    Where the run holds snapshots of the epoch and no end, `is_compared` says that one was found to be of this model.

    Raises
    ------
    CaptureError
        The run holds the epoch, and there the pass ended with other weights.
    """
    known = setup.known
    if digest is None:
        return
    end = known.ends.get(epoch)
    if end is not None and digest in end.weights:
        known.is_verified = True
    elif end is not None and known.holds(epoch) and not known.replaces:
        raise refusal(setup, f"epoch {epoch} of {setup.store} ended in", digest)
    elif end is None and known.holds(epoch) and not (known.replaces or is_compared):
        return
    elif known.is_verified or not setup.is_counted:
        older = end.weights if end is not None and epoch in known.seen else ()
        known.ends[epoch] = PassEnd((*older, digest), steps)
        if own_rank() == 0:
            with disk_errors(f"noting the end of epoch {epoch} in {setup.store}", "check that there is space"):
                write_end(store_path(setup.store), epoch, known.ends[epoch])
    known.seen.add(epoch)


def refusal(setup: Setup, held: str, digest: str) -> CaptureError:
    """Name what is stored, and the epoch that the present model is of, if any."""
    epochs = setup.known.epochs_of(digest)
    is_of = f"that of epoch {' and '.join(map(str, epochs))} there" if epochs else "that of no epoch there"
    return CaptureError(
        f"{held} other weights than the model has now, which is {is_of}: {setup.renumber}{on_device(setup.model)}."
    )


def on_device(model: nn.Module) -> str:
    """Say what makes a second training differ that should be the same."""
    devices = {parameter.device.type for parameter in model.parameters()} - {"cpu"}
    return f" (on {devices.pop()}, a training may not repeat bit by bit)" if devices else ""


def epoch_of_classifier(setup: Setup) -> int | None:
    """Find the epoch without digests whose stored classifier the model has; None where none, or several, fit."""
    run = setup.known.run
    if run is None:
        return None
    found = [epoch for epoch in run.epochs if not setup.known.weights_of(epoch) and _is_classifier(setup, run, epoch)]
    return found[0] if len(found) == 1 else None


def _has_classifier(setup: Setup, run: Run, epoch: int, record: CommitRecord) -> bool | None:
    """Compare the model's classifier with that of a snapshot; None where nothing is there to compare."""
    return None if record.step is not None else _is_classifier(setup, run, epoch)


def _is_classifier(setup: Setup, run: Run, epoch: int) -> bool | None:
    stored = run.classifier(epoch)
    named = None if stored is None else setup.classifier.find(len(stored.weight))
    if stored is None or named is None:
        return None
    weight, bias = weights_of(named[1])
    same_bias = not stored.bias.any() if bias is None else np.array_equal(stored.bias, bias.numpy())
    return bool(same_bias and np.array_equal(stored.weight, weight.numpy()))
