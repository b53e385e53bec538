"""Logits among a model's outputs: named, seen at the loss, or told by their width; never guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from featlab.capture.model.loss_graph import LossEvidence
from featlab.capture.model.wrappers import named_modules
from featlab.errors import CaptureError, OptionError

NAME = "logits"
REMEDY = "--logits, logits= of Capture"


@dataclass(frozen=True)
class Logits:
    """The output that is taken for the logits.

    Attributes
    ----------
    output
        Path in the model's output, empty for the output itself; ``module:path`` for another module's.
    width
        Its number of columns.
    found
        How it was found, as the end of a sentence.
    is_certain
        Whether a loss or a person said so.
    fixes_classes
        Whether the number of classes was taken from its width.
    """

    output: str
    width: int
    found: str
    is_certain: bool = False
    fixes_classes: bool = False

    @property
    def name(self) -> str:
        """The output in words."""
        return named(self.output)


@dataclass(frozen=True)
class Known:
    """Evidence for the choice of the logits.

    Attributes
    ----------
    classes
        Number of classes, or None.
    largest_label
        Largest label of the batch.
    count_labels
        Counts the classes of the data set that is passed over; None where that cannot be known.
    evidence
        What the training passes told.
    passed
        Path to the loss function that was called on that output in this pass.
    before
        The output that held the logits so far, or None.
    """

    classes: int | None
    largest_label: int
    count_labels: Callable[[], int | None] = lambda: None
    evidence: LossEvidence = field(default_factory=LossEvidence)
    passed: Mapping[str, str] = field(default_factory=dict)
    before: str | None = None


def named(output: str) -> str:
    """Name an output in words.

    Examples
    --------
    >>> named("1"), named(""), named("head:0")
    ('output 1', "the model's output", 'output head:0')
    """
    return f"output {output}" if output.strip(":") else "the model's output"


def choose_logits(outputs: Mapping[str, torch.Tensor], known: Known) -> Logits | None:
    """Choose the logits among a model's outputs of shape (rows, columns).

    Parameters
    ----------
    outputs
        Path to output.
    known
        What tells them apart. In this order: what reached a classification loss, in this pass or in training; the
        only output; the one that held them so far; the one named ``logits``; the one as wide as there are classes.

    Returns
    -------
    Logits or None
        None where no output can be the logits: there is none, or the number of classes is known and none has it.

    Raises
    ------
    CaptureError
        Several outputs can be the logits.

    Examples
    --------
    >>> outputs = {"0": torch.zeros(5, 64), "1": torch.zeros(5, 10)}
    >>> choose_logits(outputs, Known(classes=10, largest_label=9)).output
    '1'
    """
    widths = {path: tensor.shape[1] for path, tensor in outputs.items()}
    if not widths:
        return None
    reaching = _reaching(known)
    at_loss = _narrowed([path for path in widths if _is_of_training(path, widths, reaching, known)], widths, known)
    if len(at_loss) > 1:
        raise _ambiguous({path: widths[path] for path in at_loss}, "and more than one of them reaches a loss")
    if at_loss:
        (path,) = at_loss
        at = reaching.get(path)
        found = f"which reaches {at}" if at else "which has as many columns as what reaches the loss in training"
        return Logits(path, widths[path], found, is_certain=True, fixes_classes=known.classes is None)
    if known.passed or known.evidence.classified:  # only what has another form than in training can still be it
        widths = {path: width for path, width in widths.items() if known.evidence.widths.get(path) != width}
    return _by_width(widths, known) if widths and not known.passed else None


def contradiction(logits: Logits, evidence: LossEvidence) -> str | None:
    """Say what speaks against an earlier choice, once training passes have been seen; None for nothing."""
    if logits.is_certain:
        return None
    as_here = evidence.widths.get(logits.output) == logits.width
    wide = {path: evidence.widths[path] for path in evidence.classified}
    if wide:
        is_it = logits.output in wide if as_here else bool({logits.width, None} & set(wide.values()))
        listed = " and ".join(f"{named(path)} ({width or 'several'} columns)" for path, width in wide.items())
        return None if is_it else f"in training {listed} reaches the loss"
    if as_here and logits.fixes_classes and logits.output in evidence.hidden - evidence.reached:
        return "in training it does not reach the loss but through further weights, outside of the model"
    return None


def module_with_logits(model: nn.Module, path: str) -> nn.Module | None:
    """Return the module that ``module:path`` names; None for a path in the output of the model itself.

    Raises
    ------
    OptionError
        The model has no such module.
    """
    name, _, _ = path.rpartition(":")
    if not name:
        return None
    modules = named_modules(model)
    if name not in modules:
        raise OptionError(
            f"logits is {path!r}, and {type(model).__qualname__} has no module {name!r}: name one of "
            f"{', '.join(list(modules)[-8:])}, or write 1 or NAME for a part of the model's own output."
        )
    return modules[name]


def _reaching(known: Known) -> Mapping[str, str]:
    """Map the outputs that reach a loss to what they reach, in words."""
    evidence = known.evidence
    if known.passed:
        return known.passed
    if evidence.classified:
        return {path: f"the loss through {function}" for path, function in evidence.classified.items()}
    # Without a function that makes probabilities, such as in a distance to one-hot labels, the width must fit too.
    fits = (path for path in evidence.reached if known.classes in (None, evidence.widths[path]))
    return dict.fromkeys(fits, "the loss")


def _is_of_training(path: str, widths: Mapping[str, int], reaching: Mapping[str, str], known: Known) -> bool:
    """Tell whether an output is one of those that reach a loss; in evaluation, outputs may have another form."""
    training = {one: known.evidence.widths.get(one) for one in reaching}
    if known.passed:
        return path in reaching
    if any(one in widths and widths[one] == width for one, width in training.items()):
        return path in training and training[path] == widths[path]
    return widths[path] in training.values()


def _narrowed(paths: list[str], widths: Mapping[str, int], known: Known) -> list[str]:
    """Tell several outputs apart: by the classes, by what the labels allow, and last by name."""
    if len(paths) > 1 and known.classes is not None:
        paths = [path for path in paths if widths[path] == known.classes]
    if len(paths) > 1 and known.classes is None:
        count = known.count_labels()
        paths = [path for path in paths if widths[path] == count] or paths
        paths = [path for path in paths if widths[path] > known.largest_label] or paths
    if len(paths) > 1:
        paths = [path for path in paths if path.rpartition(".")[2] == NAME] or paths
    return paths


def _by_width(widths: Mapping[str, int], known: Known) -> Logits | None:
    guessed, evidence = known.classes is None, known.evidence
    elsewhere = {path for path in evidence.hidden if evidence.widths[path] == widths.get(path)}
    if len(widths) == 1 and not (elsewhere and guessed):
        path, width = next(iter(widths.items()))
        return Logits(path, width, "the only one", fixes_classes=guessed)
    count = known.classes or known.count_labels()
    can_be = [path for path, width in widths.items() if count in (None, width)]
    if known.before is not None and known.before in can_be:
        return Logits(known.before, widths[known.before], "as before", fixes_classes=guessed)
    by_name = [path for path in can_be if path.rpartition(".")[2] == NAME]
    if len(by_name) == 1 and by_name[0] not in elsewhere:
        return Logits(by_name[0], widths[by_name[0]], "by its name", fixes_classes=guessed)
    fitting = [path for path, width in widths.items() if width == count]
    if len(fitting) == 1:
        found = "which alone has as many columns as there are classes"
        return Logits(fitting[0], widths[fitting[0]], found, fixes_classes=False)
    if not fitting and not guessed:
        return None
    if count is None:
        raise _ambiguous(widths, "and how many classes there are is not known")
    raise _ambiguous(widths, f"and {len(fitting) or 'none'} of them has {count} columns, one for each class")


def _ambiguous(widths: Mapping[str, int], why: str) -> CaptureError:
    listed = ", ".join(f"{path or 'the output itself'} ({width} columns)" for path, width in widths.items())
    return CaptureError(
        f"the model's outputs are {listed}, {why}: name the logits with {REMEDY}, such as --logits "
        f"{next(reversed(list(widths))) or ':'}, or give the number of classes with --classes, classes= of Capture."
    )
