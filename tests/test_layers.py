"""Globs over module names, and the reduction of activations to rows."""

import pytest
import torch
from torch import nn

from featlab.capture.model.layers import select_layers, unwrap
from featlab.capture.model.reducers import plan_reduction
from featlab.errors import CaptureError, LayerNotFoundError, OptionError
from featlab.globs import compile_glob, match_names

BLOCKS = ["layer1", "layer1.0", "layer1.0.conv1", "layer1.1", "layer1.1.conv1", "layer2", "layer2.0"]
NAMES = ["conv1", "bn1", *BLOCKS, "fc"]


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (["layer*"], ["layer1", "layer2"]),
        (["layer?.0"], ["layer1.0", "layer2.0"]),
        (["layer[!2].*"], ["layer1.0", "layer1.1"]),
        (["layer[2-9]"], ["layer2"]),
        (["layer1.**"], ["layer1.0", "layer1.0.conv1", "layer1.1", "layer1.1.conv1"]),
        (["**.conv1"], ["conv1", "layer1.0.conv1", "layer1.1.conv1"]),
        (["**", "!layer**", "!bn1"], ["conv1", "fc"]),
        (["!fc", "fc"], ["fc"]),
        (["fc", "conv1"], ["conv1", "fc"]),
    ],
)
def test_globs_choose_names_in_the_order_of_the_model(globs, expected):
    assert match_names(globs, NAMES) == expected


def test_brackets_never_match_a_dot():
    assert not compile_glob("a[!b]c").fullmatch("a.c")
    assert not compile_glob("a[+-0]c").fullmatch("a.c")
    assert compile_glob("a.c").fullmatch("abc") is None


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3)
        self.stage = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))


@pytest.mark.parametrize(
    ("glob", "near"), [("stme", "stem"), ("!stme*", "stem"), ("stage.7", "stage.1"), ("zzzzzz", "no name is near")]
)
def test_a_glob_without_a_match_names_itself_near_names_and_how_to_list_all(glob, near):
    with pytest.raises(LayerNotFoundError, match=r"named_modules\(\).* lists all 4") as caught:
        select_layers(Nested(), ["**", glob])
    assert repr(glob) in str(caught.value)
    assert near in str(caught.value)


def test_globs_that_leave_nothing_are_an_error():
    with pytest.raises(LayerNotFoundError, match="leave no module"):
        match_names(["fc", "!fc"], NAMES)
    with pytest.raises(LayerNotFoundError, match="leave no module"):
        match_names([], NAMES)


def test_an_unreadable_glob_is_named():
    with pytest.raises(OptionError, match=r"'layer\[z-a\]'"):
        match_names(["layer[z-a]"], NAMES)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.act1 = nn.ReLU()
        self.act2 = self.act1
        self.head = nn.Linear(4, 2)


def test_a_module_with_two_names_is_captured_once():
    assert [layer.name for layer in select_layers(Shared(), "**")] == ["act1", "head"]
    assert [layer.name for layer in select_layers(Shared(), "act2")] == ["act2"]


def test_penultimate_comes_only_by_its_name_and_only_if_no_module_has_it():
    layers = select_layers(Shared(), ["**", "penultimate"])
    assert [layer.name for layer in layers] == ["act1", "head", "penultimate"]
    assert layers[-1].module is None
    assert [layer.name for layer in select_layers(Shared(), "**")] == ["act1", "head"]
    model = Shared()
    model.penultimate = nn.Linear(2, 2)
    assert select_layers(model, "penultimate")[0].module is model.penultimate


def test_reducers_are_given_by_glob_and_the_last_match_counts():
    layers = select_layers(Shared(), "**", {"*": "max", "head": "flatten"})
    assert [layer.reduce for layer in layers] == ["max", "flatten"]
    with pytest.raises(LayerNotFoundError, match="'nothing'"):
        select_layers(Shared(), "**", {"nothing": "max"})
    with pytest.raises(OptionError, match="'average'"):
        select_layers(Shared(), "**", {"head": "average"})


def test_wrappers_are_taken_off():
    model = Shared()
    assert unwrap(nn.DataParallel(model)) is model
    assert unwrap(torch.compile(model, backend="eager")) is model


IMAGES = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2)
TOKENS = torch.arange(2 * 4 * 3, dtype=torch.float32).reshape(2, 4, 3)
ROWS = torch.arange(6, dtype=torch.float32).reshape(2, 3)
VIDEO = torch.arange(2 * 3 * 8, dtype=torch.float32).reshape(2, 3, 2, 2, 2)


@pytest.mark.parametrize(
    ("name", "values", "op", "expected"),
    [
        ("auto", IMAGES, "mean", IMAGES.mean((2, 3))),
        ("auto", TOKENS, "mean", TOKENS.mean(1)),
        ("auto", VIDEO, "mean", VIDEO.mean((2, 3, 4))),
        ("auto", ROWS, "flatten", ROWS),
        ("auto", ROWS[:, 0], "flatten", ROWS[:, :1]),
        ("auto", VIDEO[:, :, None], "flatten", VIDEO.flatten(1)),
        ("mean", IMAGES, "mean", IMAGES.mean((2, 3))),
        ("mean", ROWS, "flatten", ROWS),
        ("mean:1,2", IMAGES, "mean", IMAGES.mean((1, 2))),
        ("mean:2", TOKENS, "mean", TOKENS.mean(2)),
        ("max", IMAGES, "max", IMAGES.amax((2, 3))),
        ("max", TOKENS, "max", TOKENS.amax(1)),
        ("max:2", TOKENS, "max", TOKENS.amax(2)),
        ("cls", TOKENS, "cls", TOKENS[:, 0]),
        ("cls", ROWS, "flatten", ROWS),
        ("last", TOKENS, "last", TOKENS[:, -1]),
        ("flatten", IMAGES, "flatten", IMAGES.flatten(1)),
        ("none", IMAGES, "none", IMAGES.flatten(1)),
    ],
)
def test_reducers(name, values, op, expected):
    reduction = plan_reduction(name, values.shape, "layer1")
    assert reduction.op == op
    assert torch.equal(reduction(values), expected)
    spec = reduction.spec(values.shape)
    assert spec == {
        "reduce": op,
        "axes": list(reduction.axes),
        "shape": list(values.shape[1:]),
        "dim": expected.shape[1],
    }


def test_no_samples_give_no_rows():
    assert plan_reduction("flatten", torch.Size([0, 3, 2]), "layer1")(torch.empty(0, 3, 2)).shape == (0, 6)


def test_half_precision_is_averaged_in_single_precision():
    values = torch.full((1, 1, 64, 64), 1.001, dtype=torch.bfloat16)
    assert plan_reduction("auto", values.shape, "layer1")(values).dtype == torch.float32


@pytest.mark.parametrize("name", ["average", "mean:0", "mean:x", "cls:1", "mean:", "auto:1"])
def test_an_unknown_reducer_is_named(name):
    with pytest.raises(OptionError, match=f"'{name}'"):
        plan_reduction(name, IMAGES.shape, "layer1")


def test_a_shape_that_the_reducer_cannot_serve_is_named():
    with pytest.raises(CaptureError, match=r"'cls' needs tokens .* 'layer1' has shape \(2, 3, 2, 2\)"):
        plan_reduction("cls", IMAGES.shape, "layer1")
    with pytest.raises(CaptureError, match=r"axis 4, and layer 'layer1' has shape \(2, 3, 2, 2\)"):
        plan_reduction("mean:4", IMAGES.shape, "layer1")
    with pytest.raises(CaptureError, match="'loss' gives a single number"):
        plan_reduction("auto", torch.Size([]), "loss")
