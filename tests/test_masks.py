"""Padding is no token: masks, lengths and packed sequences, found or named."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from editing import edit
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence, pad_sequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import featlab
from featlab.errors import CaptureError, DataError, FeatlabWarning, OptionError
from featlab.store.attributes import read_run
from featlab.store.files import store_path
from featlab_cli.main import run as featlab_command

SCRIPTS = Path(__file__).parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
import padded  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # of torch's encoder itself
AVERAGED = "a sentence's feature changed with the padding beside it"
REDUCERS = ("mean", "max", "last", "cls")
LAYERS = {
    "gru": ["embed", "rnn:0"],
    "lstm": ["embed", "after"],
    "encoder": ["embed", "encoder"],
    "bert": ["bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1.output"],
}
MASKS = {
    "gru": "lengths",
    "lstm": "lengths",
    "encoder": "encoder:src_key_padding_mask",
    "bert": "attention_mask",
}


def stored(store, layer, epoch=0):
    return featlab.open_run(store).snapshot(epoch=epoch, split="val", layer=layer).features.compute()


def spec(store, layer):
    return read_run(store_path(store)).layers[layer]


def tokens_alone(name, layer, model):
    """What a layer gives for each sentence without a neighbour, so that there is no padding: arrays (T, D)."""
    caught = []
    module = model.get_submodule(layer.partition(":")[0])
    handle = module.register_forward_hook(lambda module, args, output: caught.append(output))
    with torch.no_grad():
        for batch in padded.loader(name, 1):
            model(**{k: v for k, v in batch.items() if k != "labels"}) if isinstance(batch, dict) else model(batch[0])
    handle.remove()
    arrays = []
    for output in caught:
        tensor = output[0] if isinstance(output, tuple) and not isinstance(output, PackedSequence) else output
        if isinstance(tensor, PackedSequence):
            tensor = pad_packed_sequence(tensor, batch_first=True)[0]
        arrays.append(tensor.reshape(-1, tensor.shape[-1]).numpy())
    return arrays


def reduced(arrays, op):
    """The reduction, by a loop over sentences and tokens."""
    rows = []
    for tokens in arrays:
        if op == "cls":
            rows.append(tokens[0])
        elif op == "last":
            rows.append(tokens[-1])
        else:
            total = np.full(tokens.shape[1], -np.inf if op == "max" else 0.0)
            for token in tokens:
                total = np.maximum(total, token) if op == "max" else total + token
            rows.append(total / len(tokens) if op == "mean" else total)
    return np.stack(rows)


@pytest.mark.defect("A3", AVERAGED)
@pytest.mark.parametrize(
    ("name", "op", "side"),
    [
        (name, op, "right")
        for name in LAYERS
        for op in REDUCERS
        if (name, op) not in (("encoder", "cls"), ("bert", "cls"))
    ]
    + [("encoder", op, "left") for op in ("mean", "max", "cls")],
)
def test_features_do_not_depend_on_the_neighbours_in_a_batch(name, op, side, tmp_path):
    model = padded.network(name)
    options = {"reduce": op, "classes": 3, "classifier": None, "dtype": "float32"}
    for layer in LAYERS[name]:
        expected = reduced(tokens_alone(name, layer, model), op)
        for batch_size in (7, 100):
            store = str(tmp_path / f"{layer}-{batch_size}.zarr")
            with featlab.Capture(model, store, layer, **options) as capture:
                capture.evaluate(padded.loader(name, batch_size, side), epoch=0)
            np.testing.assert_allclose(stored(store, layer), expected, rtol=1e-3, atol=1e-5)
            assert spec(store, layer)["mask"] == MASKS[name]


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["featlab", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as caught:
        featlab_command()
    return caught.value.code


@pytest.mark.defect("A3", "features of a script's sentences changed with its batch size")
@pytest.mark.parametrize(("name", "op"), [("gru", "cls"), ("lstm", "last"), ("encoder", "max"), ("bert", "mean")])
def test_features_of_a_script_do_not_depend_on_its_batch_size(name, op, tmp_path, monkeypatch):
    layers = [word for layer in LAYERS[name] for word in ("--layers", layer)]
    for batch_size in (7, 100):
        store = str(tmp_path / f"{batch_size}.zarr")
        options = ["--classes", "3", "--classifier", "none", "--reduce", op, "--dtype", "float32"]
        script = [str(SCRIPTS / "padded.py"), "--model", name, "--batch", str(batch_size)]
        assert run_command(monkeypatch, "capture", "--store", store, *layers, *options, "--", *script) in (None, 0)
    for layer in LAYERS[name]:
        expected = reduced(tokens_alone(name, layer, padded.network(name)), op)
        for batch_size in (7, 100):
            np.testing.assert_allclose(stored(tmp_path / f"{batch_size}.zarr", layer), expected, rtol=1e-3, atol=1e-5)
            assert spec(tmp_path / f"{batch_size}.zarr", layer)["mask"] == MASKS[name]


# What an argument means

KEPT = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)
ADDED = torch.where(KEPT, 0.0, -torch.inf)
IDS = torch.arange(12).reshape(3, 4)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"attention_mask": KEPT}, "attention_mask"),
        ({"attention_mask": KEPT.long()}, "attention_mask"),
        ({"attention_mask": KEPT.float()}, "attention_mask"),
        ({"attention_mask": ADDED}, "attention_mask"),
        ({"attention_mask": KEPT.numpy()}, "attention_mask"),
        ({"attention_mask": ADDED.clamp(min=-10000)[:, None, None]}, "attention_mask"),
        ({"attention_mask": (KEPT[:, None, None] & torch.ones(4, 4).tril().bool())}, "attention_mask"),
        ({"src_key_padding_mask": ~KEPT}, "src_key_padding_mask"),
        ({"key_padding_mask": ADDED}, "key_padding_mask"),
        ({"padding_mask": (~KEPT).float()}, "padding_mask"),
        ({"padding_mask": (~KEPT)[..., None]}, "padding_mask"),
        ({"ids": IDS, "lengths": torch.tensor([3, 4, 1])}, "lengths"),
        ({"ids": IDS, "lengths": [3, 4, 1]}, "lengths"),
        ({"ids": IDS.T, "seq_lens": np.array([[3], [4], [1]])}, "seq_lens"),
        ({"x": pack_sequence([torch.ones(3), torch.ones(4), torch.ones(1)], enforce_sorted=False)}, "x"),
        ({"mask": KEPT}, "mask"),
        ({"mask": ADDED}, "mask"),
        ({"mask": ~KEPT}, "~mask"),
        ({"src_mask": KEPT[:, None]}, "src_mask"),
        ({"mask": ~KEPT, "attention_mask": KEPT}, "attention_mask"),
    ],
)
def test_masks_are_found_by_the_names_of_the_field(arguments, name):
    from featlab.capture.model.masks import find_masks

    found = find_masks(arguments, {})[0]
    assert (found.name, found.rows) == (name, 3)
    assert found.fits(4)
    assert not found.fits(5)
    assert torch.equal(found.of(4, torch.device("cpu")), KEPT)
    assert found.counts().tolist() == [3, 4, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": KEPT},
        {"attention_mask": None},
        {"lengths": torch.rand(3)},
        {"lengths": 3},
        {"mask": KEPT[:, :2] | True, "src_mask": None} | {"mask": torch.ones(3, 3).tril().bool()},  # causal?
        {"mask": KEPT[[0, 2]]},  # no sequence is whole
        {"mask": torch.stack([KEPT[1], ~KEPT[1]])},  # whole sequences of both kinds
    ],
)
def test_what_does_not_tell_is_no_mask(arguments):
    from featlab.capture.model.masks import find_masks

    assert find_masks(arguments, {}) == []


def test_arguments_are_named_within_mappings_and_tuples():
    from featlab.capture.model.masks import read_arguments

    batch = {"input_ids": IDS, "attention_mask": KEPT, "more": {"deep": [IDS, "text"]}}
    read = read_arguments(["batch"], [batch, 1.0], {"flag": None})
    assert list(read) == ["input_ids", "attention_mask", "deep.0", "flag"]
    assert list(read_arguments(["pair"], [(IDS, [3, 4, 1])], {})) == ["pair.0", "pair.1"]


@pytest.mark.parametrize(
    ("given", "value"),
    [("flags", KEPT), ("~flags", ~KEPT), ("ids", IDS + 1), ("sizes", [3, 4, 1]), ("~part:flags", (~KEPT).long())],
)
def test_named_masks(given, value):
    from featlab.capture.model.masks import read_named

    value = torch.where(KEPT, value, 0) if given == "ids" else value
    mask = read_named(given, {given.removeprefix("~").rpartition(":")[2]: value, "x": IDS})
    assert torch.equal(mask.of(4, torch.device("cpu")), KEPT)


# Which mask holds for which layer


class Net(nn.Module):
    """Averages what it is given, and passes a mask on to a part where it is asked to."""

    class Part(nn.Module):
        def forward(self, x, key_padding_mask=None):
            return x + 1

    def __init__(self, passes=None, stride=1):
        super().__init__()
        self.before, self.part, self.after = nn.Identity(), self.Part(), nn.Identity()
        self.head = nn.Linear(4, 3)
        self.passes, self.stride = passes, stride

    def forward(self, x, attention_mask=None, flags=None):
        x = self.part(self.before(x), None if self.passes is None else self.passes(x))
        return self.head(self.after(x[:, :: self.stride]).mean(1))


ROWS = [torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (3, 5, 1, 2)]
LABELS = torch.arange(4) % 3


def padded_rows(value=0.0):
    x = pad_sequence(ROWS, batch_first=True, padding_value=value)
    return x, torch.arange(5) < torch.tensor([len(rows) for rows in ROWS])[:, None]


def record(model, store, calls, layers=("before", "part", "after"), *, epoch=0, **options):
    """Record calls of a model, and return what was said."""
    said = []
    options = {"dtype": "float32", "classes": 3, "classifier": None, "notify": said.append, **options}
    with featlab.Capture(model, store, layers, **options) as capture, capture.recording(epoch=epoch) as recording:
        for call in calls:
            call(model)
            recording.batch(LABELS)
    return said


def averages(more=0.0):
    return np.stack([rows.mean(0).numpy() + more for rows in ROWS])


def test_a_mask_that_a_part_makes_holds_for_the_layers_before_it_too(store):
    x, _ = padded_rows()
    model = Net(lambda x: (x == 0).all(2))
    assert record(model, store, [lambda model: model(x)] * 2) == []
    for layer, more in (("before", 0), ("part", 1), ("after", 1)):
        np.testing.assert_allclose(stored(store, layer), np.tile(averages(more), (2, 1)), rtol=1e-5)
        assert spec(store, layer)["mask"] == "part:key_padding_mask"
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_the_models_own_mask_comes_first_and_stands_in_the_run(store):
    x, kept = padded_rows()
    wrong = Net(lambda x: torch.zeros(x.shape[:2], dtype=torch.bool))
    assert record(wrong, store, [lambda model: model(x, kept.long())], reduce={"after": "flatten"}) == []
    np.testing.assert_allclose(stored(store, "part"), averages(1), rtol=1e-5)
    assert spec(store, "part")["mask"] == "attention_mask"
    assert "mask" not in spec(store, "after")
    np.testing.assert_allclose(stored(store, "after"), (x + 1).flatten(1), rtol=1e-6)


class Twice(nn.Module):
    """Two parts in a row, each called with a mask of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.between, self.after = Net.Part(), Net.Part(), nn.Identity(), nn.Identity()

    def forward(self, x, one, other):
        return self.after(self.second(self.between(self.first(x, one)), other))


def test_of_several_masks_inside_the_last_before_the_layer_counts(store):
    x, kept = padded_rows()
    first = torch.arange(5).expand(4, 5) > 0  # padding is all but the first token
    record(Twice(), store, [lambda model: model(x, first, ~kept)], ("between", "after"))
    np.testing.assert_allclose(stored(store, "between"), x[:, 0] + 1, rtol=1e-5)
    np.testing.assert_allclose(stored(store, "after"), averages(2), rtol=1e-5)


def test_what_stands_in_padding_does_not_count_even_if_it_is_not_finite(store):
    x, kept = padded_rows(torch.nan)
    with pytest.warns(FeatlabWarning, match="NaN in the logits"):  # the model itself averages padding in
        assert record(Net(), store, [lambda model: model(x, kept)], reduce={"part": "max"}) == []
    np.testing.assert_allclose(stored(store, "before"), averages(), rtol=1e-5)
    np.testing.assert_allclose(stored(store, "part"), np.stack([rows.amax(0) + 1 for rows in ROWS]), rtol=1e-6)


def test_other_axes_count_for_every_token(store):
    """Tokens of three vectors each, of which one number a feature is the mean."""

    class Spreads(nn.Module):
        def __init__(self):
            super().__init__()
            self.spread, self.head = nn.Identity(), nn.Linear(4, 3)

        def forward(self, x, attention_mask):
            return self.head(self.spread(x[:, :, None] * torch.tensor([1.0, 2.0, 6.0])[:, None]).mean((1, 2)))

    x, kept = padded_rows()
    assert record(Spreads(), store, [lambda model: model(x, kept)], ["spread"], reduce="mean:1,2") == []
    np.testing.assert_allclose(stored(store, "spread"), 3 * averages(), rtol=1e-5)


def test_half_precision_is_summed_in_single(store):
    x, kept = padded_rows()
    half = x.bfloat16()
    record(Net().bfloat16(), store, [lambda model: model(half, kept)])
    expected = np.stack([half[row, : len(rows)].float().mean(0) for row, rows in enumerate(ROWS)])
    np.testing.assert_allclose(stored(store, "before"), expected, rtol=1e-6)


def test_a_named_mask_and_none(tmp_path):
    x, kept = padded_rows()
    call = [lambda model: model(x, None, ~kept)]
    assert record(Net(), str(tmp_path / "a"), call, mask={"**": "~flags", "after": "none"}) == []
    np.testing.assert_allclose(stored(tmp_path / "a", "part"), averages(1), rtol=1e-5)
    np.testing.assert_allclose(stored(tmp_path / "a", "after"), (x + 1).mean(1), rtol=1e-5)
    assert [spec(tmp_path / "a", layer)["mask"] for layer in ("part", "after")] == ["~flags", None]
    made = Net(lambda x: (x == 0).all(2))
    assert record(made, str(tmp_path / "b"), [lambda model: model(x)], mask="part:key_padding_mask") == []
    np.testing.assert_allclose(stored(tmp_path / "b", "before"), averages(), rtol=1e-5)


@pytest.mark.parametrize(
    ("mask", "error", "match"),
    [
        ("flag", CaptureError, r"'flag' is no argument of the model \(x, attention_mask, flags\)"),
        ("part:x", CaptureError, "'part:x' is a Tensor of shape .4, 5, 4.: name a mask"),
        ("part:flag", CaptureError, r"no argument of module 'part' \(x, key_padding_mask\)"),
        ("prat:flag", OptionError, "names module 'prat', which the model lacks"),
        ("~", OptionError, "mask is '~'"),
        (None, OptionError, "mask is None"),
    ],
)
def test_a_mask_that_is_not_there_is_refused(store, mask, error, match):
    x, kept = padded_rows()
    with pytest.raises(error, match=match):
        record(Net(), store, [lambda model: model(x, kept)], mask={"**": mask})


@pytest.mark.defect("A3", "tokens were reduced without a mask, and nobody was told")
def test_that_no_mask_was_found_is_said_once_and_stands_in_the_run(store):
    x, _ = padded_rows()
    with pytest.warns(FeatlabWarning, match="no mask was found") as caught:
        record(Net(), store, [lambda model: model(x)] * 2, notify=None)
    assert len(caught) == 1
    assert "'before', 'part', 'after' are reduced all alike" in str(caught[0].message)
    assert "among the model's arguments (x)" in str(caught[0].message)
    assert spec(store, "part")["mask"] is None
    np.testing.assert_allclose(stored(store, "before")[:4], x.mean(1), rtol=1e-5)


def test_images_and_pooled_layers_are_no_tokens(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(2), nn.Flatten(), nn.Linear(4, 3))
    model[2] = nn.Flatten(2)  # (N, 4, 1)
    said = record(model, str(tmp_path / "a"), [lambda model: model(torch.randn(4, 1, 6, 6))], ["0", "1", "3"])
    assert said == []
    first = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Flatten(), nn.Linear(4, 3))  # (N, 1, 4)
    assert record(first, str(tmp_path / "b"), [lambda model: model(torch.randn(4, 4))], ["0"]) == []


def test_a_mask_of_another_length_is_not_applied_and_that_is_said(store):
    x, kept = padded_rows()
    said = record(Net(stride=2), store, [lambda model: model(x, kept)] * 2)
    assert len(said) == 1
    assert "tokens of 'after' are reduced all alike, padding too, for mask 'attention_mask' of 5 tokens" in said[0]
    assert [spec(store, layer)["mask"] for layer in ("part", "after")] == ["attention_mask", None]
    np.testing.assert_allclose(stored(store, "part")[:4], averages(1), rtol=1e-5)


def test_a_mask_that_fits_only_some_batches_is_refused(store):
    x, kept = padded_rows()
    calls = [lambda model: model(x, kept), lambda model: model(x[:, :3], kept)]
    with pytest.raises(
        CaptureError, match=r"'attention_mask' of 5 tokens fitted .* does not fit its shape \(4, 3, 4\)"
    ):
        record(Net(), store, calls)


def test_a_mask_may_be_none_where_nothing_is_padded(tmp_path):
    x, kept = padded_rows()
    whole = torch.randn(4, 3, 4)
    calls = [lambda model: model(x, kept), lambda model: model(whole)]
    assert record(Net(), str(tmp_path / "a"), calls) == []
    expected = np.concatenate([averages(), whole.mean(1)])
    np.testing.assert_allclose(stored(tmp_path / "a", "before"), expected, rtol=1e-5, atol=1e-6)
    said = record(Net(), str(tmp_path / "b"), calls[::-1])
    assert [("no mask was found" in one, "came with batch 1" in one) for one in said] == [(True, False), (False, True)]
    expected = np.concatenate([whole.mean(1), averages()])
    np.testing.assert_allclose(stored(tmp_path / "b", "before"), expected, rtol=1e-5, atol=1e-6)


def test_a_mask_that_comes_after_its_layer_was_reduced_is_refused(store):
    x, _ = padded_rows()
    model = Net()

    def with_mask(model):
        model.passes = lambda x: (x == 0).all(2)
        model(x)

    with pytest.raises(CaptureError, match=r"'before' was reduced before its mask came.*\{'before': 'part:key_padding"):
        record(model, store, [lambda model: model(x), with_mask])


def test_samples_without_a_token_are_nan_and_that_is_said_once(store):
    x, kept = padded_rows()
    kept[2] = False
    reduce = {"part": "max", "after": "last"}
    with pytest.warns(FeatlabWarning, match="not finite"):  # the commit's own
        said = record(Net(), store, [lambda model: model(x, kept)] * 2, reduce=reduce)
    assert len(said) == 1
    assert "2 samples of epoch 0, split 'val' have no token that mask 'attention_mask' keeps" in said[0]
    for layer in ("before", "part", "after"):
        features = stored(store, layer)[:4]
        assert np.isnan(features[2]).all()
        assert np.isfinite(features[[0, 1, 3]]).all()
    assert featlab.open_run(store).record(0, "val").nonfinite["before"]["nan"] == 8


class TokensFirst(nn.Module):
    """Sentences of lengths, in a network of (T, N, D)."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.after = nn.Identity(), nn.GRU(4, 4), nn.Identity()
        self.head = nn.Linear(4, 3)

    def forward(self, x, lengths):
        out, _ = self.rnn(self.embed(x.transpose(0, 1)))
        return self.head(self.after(out)[-1])


def test_tokens_may_come_before_samples(store):
    x, kept = padded_rows()
    model, lengths = TokensFirst(), kept.sum(1)
    square = torch.cat([x[:, :4], torch.zeros(4, 0, 4)], 1), lengths.clamp(max=4)
    layers = ["embed", "rnn:0", "after"]
    record(model, store, [lambda model: model(x, lengths), lambda model: model(*square)], layers)
    expected = np.stack([rows[:4].mean(0) for rows in ROWS])
    np.testing.assert_allclose(stored(store, "embed"), np.concatenate([averages(), expected]), rtol=1e-5)
    with torch.no_grad():
        alone = np.stack([model.rnn(rows[:, None])[0][:, 0].mean(0) for rows in ROWS])
    np.testing.assert_allclose(stored(store, "rnn:0")[:4], alone, rtol=1e-5)


def test_as_many_tokens_as_samples_are_told_apart_by_the_module_or_refused(tmp_path):
    x, kept = padded_rows()
    x, lengths = x[:, :4], kept.sum(1).clamp(max=4)
    model = TokensFirst()
    record(model, str(tmp_path / "a"), [lambda model: model(x, lengths)], ["rnn:0"])
    with torch.no_grad():
        alone = np.stack([model.rnn(rows[:4, None])[0][:, 0].mean(0) for rows in ROWS])
    np.testing.assert_allclose(stored(tmp_path / "a", "rnn:0"), alone, rtol=1e-5)
    longer = padded_rows()[0]
    with pytest.raises(CaptureError, match="their order could not be told: choose another batch size"):
        record(
            model,
            str(tmp_path / "b"),
            [lambda model: model(x, lengths), lambda model: model(longer, kept.sum(1))],
            ["after"],
        )


class Sorted(nn.Module):
    """Sorts by length before it packs, and forgets to undo that."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x, lengths):
        lengths, order = lengths.sort(descending=True)
        packed = nn.utils.rnn.pack_padded_sequence(x[order], lengths, batch_first=True)
        return self.head(self.rnn(packed)[1][0])


def test_packed_rows_in_another_order_than_the_labels_are_refused(store):
    x, kept = padded_rows()
    with pytest.raises(CaptureError, match=r"'rnn:0' has its rows in another order than the labels.*enforce_sorted"):
        record(Sorted(), store, [lambda model: model(x, kept.sum(1))], ["rnn:0"])
    with pytest.raises(CaptureError, match="sequences of different lengths, of which reducer 'flatten' makes no rows"):
        record(Sorted(), store, [lambda model: model(x, kept.sum(1))], ["rnn:0"], reduce="flatten")


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_know_their_tokens(store, layout):
    class Nests(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Identity(), nn.Linear(4, 3)

        def forward(self, rows):
            return self.head(torch.stack([row.mean(0) for row in self.inner(rows).unbind()]))

    nested = torch.nested.nested_tensor(ROWS, layout=layout)
    assert record(Nests(), store, [lambda model: model(nested)], ["inner"]) == []
    np.testing.assert_allclose(stored(store, "inner"), averages(), rtol=1e-5)
    assert spec(store, "inner")["mask"] == "nested"


def test_channels_before_tokens_are_masked_where_their_axis_is_named(tmp_path):
    x, kept = padded_rows()

    class Convolves(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv1d(4, 6, 1), nn.Linear(6, 3)

        def forward(self, x, lengths):
            return self.head(self.conv(x.transpose(1, 2)).mean(2))

    model, call = Convolves(), [lambda model: model(x, kept.sum(1))]
    assert record(model, str(tmp_path / "a"), call, ["conv"], reduce="mean:2") == []
    with torch.no_grad():
        expected = np.stack([model.conv(rows.T[None])[0].mean(1) for rows in ROWS])
    np.testing.assert_allclose(stored(tmp_path / "a", "conv"), expected, rtol=1e-4, atol=1e-6)
    assert "as in reduce='mean:2'" in record(model, str(tmp_path / "b"), call, ["conv"])[0]


# Compiled, checkpointed, wrapped


@pytest.mark.parametrize("kind", ["compiled", "checkpointed", "DataParallel"])
def test_models_as_they_are(store, kind):
    x, kept = padded_rows()
    model = Net()
    wrappers = {
        "compiled": lambda: torch.compile(model, backend="eager"),
        "DataParallel": lambda: nn.DataParallel(model),
    }

    def call(outer):
        if kind == "checkpointed":
            checkpoint(model, x.clone().requires_grad_(), kept, use_reentrant=True)
        else:
            outer(x, attention_mask=kept)

    record(wrappers.get(kind, lambda: model)(), store, [call])
    np.testing.assert_allclose(stored(store, "part"), averages(1), rtol=1e-5)


class Waits(TorchDispatchMode):
    """Counts what would wait for a device: a number read, or a tensor whose size depends on what is in it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self.seen.append(operation)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("reduce", REDUCERS)
@pytest.mark.parametrize("is_inside", [False, True])
def test_after_the_first_batch_nothing_waits_for_the_device(store, reduce, is_inside):
    x, kept = padded_rows()
    model = Net((lambda x: (x == 0).all(2)) if is_inside else None)
    waits = Waits()

    def call(model):
        model(x, None if is_inside else kept.float())

    def watched(model):
        with waits:
            call(model)

    record(model, store, [call, watched, watched], reduce=reduce)
    assert waits.seen == []


# Going on with a run


def without_mask(store):
    """Make the run one of a featlab that knew no masks."""
    edit(Path(store) / "zarr.json", lambda held: [one.pop("mask", None) for one in held["layers"].values()])


def test_a_run_goes_on_with_the_mask_it_has_and_batches_of_any_length(store):
    x, kept = padded_rows()
    longer = torch.cat([x, torch.zeros(4, 2, 4)], 1), torch.cat([kept, torch.zeros(4, 2, dtype=torch.bool)], 1)
    record(Net(), store, [lambda model: model(x, kept)])
    record(Net(), store, [lambda model: model(*longer)], epoch=1)
    np.testing.assert_allclose(stored(store, "part", 1), stored(store, "part", 0), rtol=1e-6)
    with pytest.raises(DataError, match=r"with mask 'attention_mask' in .* would now be with no mask; go on as before"):
        record(Net(), store, [lambda model: model(x, kept)], epoch=2, mask="none")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("op", REDUCERS)
def test_batches_may_be_padded_to_another_length_in_another_split_or_epoch(store, op, masked):
    x, kept = padded_rows()
    shorter = x[:, :3], kept[:, :3]
    model = Net()
    for epoch, split, inputs in [
        (0, "val", (x, kept)),
        (0, "test", shorter),
        (1, "val", shorter),
        (1, "test", (x, kept)),
    ]:
        given, mask = (inputs, "auto") if masked else (inputs[:1], "none")
        with (
            featlab.Capture(model, store, "part", classes=3, classifier=None, mask=mask, reduce=op) as capture,
            capture.recording(epoch=epoch, split=split) as recording,
        ):
            model(*given)
            recording.batch(torch.arange(len(x)) % 3)
    assert len(featlab.open_run(store).committed) == 4
    assert spec(store, "part")["shape"][0] == x.shape[1]


def image_pass(store, epoch, size, reduce):
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    with (
        featlab.Capture(model, store, "0", reduce=reduce, classifier=None, classes=3, overwrite=True) as capture,
        capture.recording(epoch=epoch) as recording,
    ):
        model(torch.randn(6, 1, *size))
        recording.batch(torch.arange(6) % 3)


def test_images_may_have_another_size_where_it_does_not_reach_the_rows(store):
    for epoch, size in enumerate([(9, 8), (6, 7)]):
        image_pass(store, epoch, size, "mean")
    assert featlab.open_run(store).epochs == [0, 1]
    flat = f"{store}.flat"
    image_pass(flat, 0, (9, 8), "flatten")
    with pytest.raises(DataError, match="layer '0' was captured into"):
        image_pass(flat, 1, (8, 9), "flatten")  # as many values, each from another place


@pytest.mark.parametrize("is_old", [False, True])
def test_a_run_without_a_mask_goes_on_without(store, is_old):
    x, kept = padded_rows()
    record(Net(), store, [lambda model: model(x, kept)], mask="none")
    if is_old:
        without_mask(store)
    record(Net(), store, [lambda model: model(x, kept)], epoch=1, mask="none")
    record(Net(), store, [lambda model: model(x)], epoch=2)
    assert ("mask" in spec(store, "part")) is not is_old
    with pytest.raises(DataError, match=r"with no mask in .* would now be with mask 'attention_mask'; go on"):
        record(Net(), store, [lambda model: model(x, kept)], epoch=3)
    assert [epoch for epoch, _ in featlab.open_run(store).committed] == [0, 1, 2]


def test_the_command_names_a_mask_too(tmp_path, monkeypatch, capsys):
    store = str(tmp_path / "run.zarr")
    options = ["--classes", "3", "--classifier", "none", "--mask", "ids", "--mask", "encoder=none"]
    script = [str(SCRIPTS / "padded.py"), "--model", "encoder"]
    layers = ["--layers", "embed", "--layers", "encoder"]
    assert run_command(monkeypatch, "capture", "--store", store, *layers, *options, "--", *script) in (None, 0)
    assert [spec(store, layer)["mask"] for layer in ("embed", "encoder")] == ["ids", None]
    assert "mean over axes [1] of what ids keeps -> 8" in capsys.readouterr().err
