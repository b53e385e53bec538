"""Options of a capture: one place has their defaults, and whoever spells them again says the same."""

import inspect
from dataclasses import FrozenInstanceError, fields

import pytest

import featlab
from featlab.capture.options import CaptureOptions
from featlab.errors import OptionError
from featlab_cli import capture, replay

DEFAULTS = {field.name: field.default for field in fields(CaptureOptions)}


def test_capture_takes_each_option_as_a_keyword_with_its_default():
    keywords = {
        name: parameter.default
        for name, parameter in inspect.signature(featlab.Capture).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert keywords.pop("notify") is None
    assert keywords == DEFAULTS


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(capture.command, ["train.py"]), (replay.command, ["--model", "train:build", "--data", "train:data", "1.pt"])],
)
def test_the_command_line_has_the_same_defaults(command, arguments):
    required = ["--store", "run.zarr", "--layers", "**", *arguments]
    params = command.make_context("command", required).params
    given = {name: value for name, value in params.items() if name in DEFAULTS}
    repeatable = {"reduce", "call", "mask"}
    assert given == {name: (DEFAULTS[name],) if name in repeatable else DEFAULTS[name] for name in given}
    assert {"classes", "reduce", "mask", "dtype", "codec", "classifier", "logits", "overwrite"} <= set(given)


def test_options_never_change():
    options = CaptureOptions(classes=3)
    assert options.class_names == ["0", "1", "2"]
    with pytest.raises(FrozenInstanceError):
        options.classes = 4


def test_epochs_from_an_iterator_are_read_once():
    options = CaptureOptions(epochs=iter([1, 4]))
    assert [epoch for epoch in range(6) if options.schedule.wants(epoch)] == [1, 4]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rank_timeout", 0, "rank_timeout is 0: give the seconds to wait for other ranks, more than 0"),
        ("rank_timeout", float("nan"), "rank_timeout is nan"),
        ("queue_bytes", 0, "queue_bytes is 0: give the number of bytes that may wait for the writer"),
        ("classes", 0, "classes is 0: give the number of classes, or their names"),
        ("every", 0, "every is 0"),
        ("epochs", "soon", "'soon' in it cannot be read"),
        ("max_samples", 0, "max_samples is 0"),
        ("total_epochs", True, "total_epochs is True"),
        ("on_error", "ignore", "on_error is 'ignore', but must be one of 'raise', 'warn'"),
    ],
)
def test_a_wrong_option_is_named(name, value, message):
    with pytest.raises(OptionError, match=message):
        CaptureOptions(**{name: value})
