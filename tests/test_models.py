"""Models as they are: mixed precision, compiled, checkpointed, reused, wrapped, with outputs of many kinds."""

import contextlib
import dataclasses
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab.capture.capture import Capture
from featlab.capture.model.classifier import weights_of
from featlab.capture.model.digest import weights_digest
from featlab.capture.model.layers import select_layers
from featlab.errors import CaptureError, LayerNotFoundError, NotAStoreError, OptionError

LABELS = torch.arange(12) % 3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def stored(store, layer, epoch=0, split="val"):
    return torch.from_numpy(featlab.open_run(store).snapshot(epoch=epoch, split=split, layer=layer).features.compute())


def record(model, inputs, store, layers, *, run=None, **options):
    """One pass, recorded; `run` is called if not the model."""
    options = {"dtype": "float32", "classes": 3, "notify": lambda message: None, **options}
    with Capture(model, store, layers, **options) as capture, capture.recording(epoch=0) as recording:
        (run or model)(inputs)
        recording.batch(LABELS)


def hooks_of(model):
    return [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]


# Mixed precision


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


def test_autocast_is_averaged_in_single_precision_and_finds_what_the_classifier_reads(store):
    model, inputs = Mixed().eval(), torch.randn(12, 1, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        record(model, inputs, store, ["conv", "penultimate"])
        halves = model.conv(inputs)
        logits = model(inputs)
    assert halves.dtype == torch.bfloat16
    # The average of bfloat16 in bfloat16 has 8 bits only.
    assert torch.equal(stored(store, "conv"), halves.mean((2, 3), dtype=torch.float32))
    assert not torch.equal(stored(store, "conv"), halves.mean((2, 3)).float())
    run = featlab.open_run(store)
    assert torch.equal(
        torch.from_numpy(run.snapshot(epoch=0, split="val", layer="conv").logits.compute()), logits.float()
    )
    assert run.classifier(0).feeds == ("conv", "penultimate")


def test_a_training_step_with_a_gradient_scaler_is_as_without(store):
    def step(capture):
        torch.manual_seed(1)
        model = Mixed()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu")
        with capture(model) as recording:
            with torch.autocast("cpu", dtype=torch.float16):
                loss = nn.functional.cross_entropy(model(torch.randn(12, 1, 9, 9)), LABELS)
            if recording is not None:
                recording.batch(LABELS)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
        return [weight.detach() for weight in model.parameters()]

    plain = step(lambda model: contextlib.nullcontext())
    caught = step(lambda model: Capture(model, store, "*", classifier=None).recording(epoch=0, split="train"))
    assert all(torch.equal(one, other) for one, other in zip(plain, caught, strict=True))
    assert stored(store, "conv", split="train").shape == (12, 4)


# Compiled


def plain_model():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


def compiled_before(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def compiled_part(model):
    model[0] = torch.compile(model[0], backend="eager")
    return model


@pytest.mark.parametrize("how", [compiled_before, compiled_in_place, compiled_part])
@pytest.mark.parametrize("when", ["before", "attached, and called once", "attached"])
def test_compiled_models_are_captured_whenever_they_are_compiled(how, when, store):
    model, inputs = plain_model(), torch.randn(12, 4)
    expected = model[:2](inputs)
    with torch.no_grad():
        if when == "before":
            call = how(model)
            call(inputs)
            capture = Capture(call, store, ["0", "1"], dtype="float32", notify=lambda message: None)
        else:
            names = ["0", "1"] if how is not compiled_part else ["1"]
            capture = Capture(model, store, names, dtype="float32", notify=lambda message: None)
            call = how(model)
            if when != "attached":
                call(inputs)  # traced without hooks
        for epoch in range(2):
            with capture.recording(epoch=epoch) as recording:
                call(inputs)
                recording.batch(LABELS)
            assert torch.equal(stored(store, "1", epoch), expected)
    assert hooks_of(model) == []


def test_compiled_code_runs_again_after_recordings_that_end_in_any_order(store):
    model = plain_model()
    compiled, inputs = torch.compile(model, backend="eager"), torch.randn(12, 4)
    with torch.no_grad(), Capture(compiled, store, "1", classes=3, notify=lambda message: None) as capture:
        one, other = (capture.start(epoch=epoch) for epoch in range(2))
        for recording in (one, other):
            recording.__enter__()
            compiled(inputs)
            recording.batch(LABELS)
        one.__exit__(None, None, None)
        other.__exit__(None, None, None)
    if hasattr(torch.compiler, "set_stance"):  # else nothing tells of it but the next recording
        assert torch._dynamo.eval_frame._stance.stance == "default"


def test_a_layer_that_did_not_fire_is_an_error_and_no_empty_array(store):
    model, inputs = plain_model(), torch.randn(12, 4)
    with pytest.raises(CaptureError, match="layer '0' did not fire for batch 0"):
        record(model, inputs, store, ["0", "2"], run=lambda x: model[2](torch.randn(12, 5)))
    with pytest.raises(NotAStoreError):
        featlab.open_run(store)


# Fused code of transformer layers


class Sentences(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8, padding_idx=0)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
        self.head = nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.encoder(self.embed(ids), src_key_padding_mask=ids == 0)[:, 0])


def sentences():
    ids = torch.randint(1, 20, (12, 7))
    ids[::2, 4:] = 0
    return ids


@pytest.mark.parametrize("layer", ["encoder.layers.0", "encoder.layers.1", "encoder.layers.1.linear1"])
def test_inner_layers_of_a_transformer_are_recorded_with_all_their_tokens(layer, store):
    model, ids = Sentences().eval(), sentences()
    caught = []
    handle = model.get_submodule(layer).register_forward_hook(lambda module, args, output: caught.append(output))
    model(ids)  # with gradients: not fused
    handle.remove()
    with torch.no_grad():
        record(model, ids, store, layer, reduce="flatten")
    torch.testing.assert_close(stored(store, layer), caught[0].detach().flatten(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_transformers_run_fused_again_after_each_recording(store):
    model, ids = Sentences().eval(), sentences()
    enabled = torch.backends.mha.get_fastpath_enabled
    with torch.no_grad():
        before = model(ids)
        with Capture(model, store, "encoder", classes=3, classifier=None) as capture:
            one, other = (capture.start(epoch=epoch) for epoch in range(2))
            for recording in (one, other):
                recording.__enter__()
                model(ids)
                recording.batch(LABELS)
            assert not enabled()
            one.__exit__(None, None, None)
            assert not enabled()
            other.__exit__(None, None, None)
            assert enabled()
            with pytest.raises(KeyError), capture.recording(epoch=2):
                raise KeyError
        assert enabled()
        assert torch.equal(model(ids), before)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        record(model, ids, f"{store}.off", "encoder")
        assert not enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_what_pytorch_cannot_compute_is_not_blamed_on_the_store(store):
    class Ragged(nn.Module):
        def forward(self, x):
            return torch.nested.nested_tensor([torch.ones(1, 2, 2), torch.ones(2, 1, 2)])

    model = nn.Sequential(Ragged())
    with pytest.raises(CaptureError, match=r"layer '0' \(Ragged\).*PyTorch said .*exclude it with '!0'") as caught:
        record(model, torch.randn(2, 4), store, "0")
    assert "make room" not in str(caught.value)


# Activation checkpointing


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Dropout(0.5))
        self.head = nn.Linear(6, 3)
        self.reentrant = reentrant
        self.runs = 0
        self.block.register_forward_pre_hook(lambda module, args: self.count())

    def count(self):
        self.runs += 1

    def forward(self, x):
        return self.head(checkpoint(self.block, self.stem(x), use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("backward_first", [False, True])
def test_recomputation_is_not_captured_again(reentrant, backward_first, store):
    model = Checkpointed(reentrant)
    with (
        Capture(model, store, ["**"], dtype="float32", call="mean") as capture,
        capture.recording(epoch=1, split="train") as recording,
    ):
        for batch in range(3):
            torch.manual_seed(batch)
            loss = nn.functional.cross_entropy(model(torch.randn(12, 4)), LABELS)
            if backward_first:
                loss.backward()
            recording.batch(LABELS)
            if not backward_first:
                loss.backward()
    assert model.runs == 6  # forward and backward
    run = featlab.open_run(store)
    assert run.record(1, "train").rows == 36
    assert run.layers == ["stem", "block", "block.0", "block.1", "block.2", "head"]
    torch.manual_seed(2)
    assert torch.equal(stored(store, "head", 1, "train")[24:], model(torch.randn(12, 4)).detach())


# Several calls in a forward pass


class Reused(nn.Module):
    def __init__(self, times=3):
        super().__init__()
        self.cell = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.times = times

    def forward(self, x):
        for _ in range(self.times):
            x = self.cell(x).tanh_()
        return self.head(x)


@pytest.mark.parametrize("call", ["last", "first", "mean", "all"])
def test_of_several_calls_the_ones_asked_for_count(call, store):
    model, x, outputs = Reused().eval(), torch.randn(12, 4), []
    inputs = x
    notes = []
    with torch.no_grad():
        for _ in range(3):
            outputs.append(model.cell(x))
            x = outputs[-1].tanh()
        expected = {
            "last": outputs[-1],
            "first": outputs[0],
            "mean": torch.stack(outputs).mean(0),
            "all": torch.cat(outputs, 1),
        }[call]
        with Capture(
            model, store + call, ["cell", "head"], call={"cell": call}, dtype="float32", notify=notes.append
        ) as capture:
            for epoch in range(2):
                capture.evaluate([(inputs, LABELS)], epoch=epoch)
    assert torch.equal(stored(store + call, "cell", 1), expected)
    spec = featlab.open_run(store + call).attrs["layers"]["cell"]
    assert spec["dim"] == expected.shape[1]
    assert spec.get("call", "last") == call
    assert f"called more than once in a forward pass: cell (3 times, {call}); call= says which count." in notes


def test_calls_that_cannot_be_brought_together_are_named(store):
    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            self.act(x)
            return self.head(self.act(torch.cat([x, x[:, :1]], 1)))

    for options, message in [
        ({"call": "mean"}, r"'act' give rows of shapes \(12, 4\), \(12, 5\), which call='mean' cannot bring together"),
        ({"call": "sum"}, "call is 'sum', but must be one of 'last', 'first', 'mean', 'all'"),
    ]:
        with pytest.raises((CaptureError, OptionError), match=message):
            Capture(Growing(), store, "act", classes=3, **options).evaluate([(torch.randn(12, 4), LABELS)], epoch=0)


def test_a_model_called_twice_for_a_batch_is_an_error_and_one_that_failed_is_not(store):
    model, inputs = Reused(2).eval(), torch.randn(12, 4)
    with pytest.raises(CaptureError, match="'cell' fired twice for one batch, for the model was called 2 times"):
        record(model, inputs, store, "cell", run=lambda x: (model(x), model(x)))

    def second_try(x):
        handle = model.head.register_forward_pre_hook(lambda module, args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(x * 2)
        handle.remove()
        model(x)

    with torch.no_grad():
        record(model, inputs, store, "cell", run=second_try, classifier=None)
        assert torch.equal(stored(store, "cell"), model.cell(model.cell(inputs).tanh()))


# Outputs of many kinds

Named = namedtuple("Named", ["hidden", "cell"])


@dataclasses.dataclass
class Output:
    last_hidden_state: torch.Tensor
    hidden_states: tuple


class Kinds(nn.Module):
    """A module for each kind of output."""

    class Part(nn.Module):
        def __init__(self, wrap):
            super().__init__()
            self.wrap = wrap

        def forward(self, x):
            return self.wrap(x)

    def __init__(self):
        super().__init__()
        self.pair = self.Part(lambda x: (x, x + 1))
        self.table = self.Part(lambda x: {"hidden": x, "deep": [x, {"more": x + 2}]})
        self.record = self.Part(lambda x: Output(x, (x + 3, x + 4)))
        self.named = self.Part(lambda x: Named(x, x + 5))
        self.single = self.Part(lambda x: (x + 6,))  # as layers of Transformers before version 5
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        for part in (self.pair, self.table, self.record, self.named, self.single):
            part(x)
        self.gru(x[:, None])
        return self.head(x)


@pytest.mark.parametrize(
    ("layer", "more"),
    [
        ("pair:0", 0),
        ("pair:1", 1),
        ("table:hidden", 0),
        ("table:deep.1.more", 2),
        ("record:last_hidden_state", 0),
        ("record:hidden_states.1", 4),
        ("named:cell", 5),
        ("named:0", 0),
        ("single", 6),
        ("single:0", 6),
    ],
)
def test_parts_of_outputs_are_named_by_path(layer, more, store):
    inputs = torch.randn(12, 4)
    with torch.no_grad():
        record(Kinds().eval(), inputs, store, layer)
    assert featlab.open_run(store).layers == [layer]
    assert torch.equal(stored(store, layer), inputs + more)


def test_a_recurrent_output_and_reducers_by_path(store):
    model, inputs = Kinds().eval(), torch.randn(12, 4)
    with torch.no_grad():
        record(model, inputs, store, ["gru:0", "pair:1"], reduce={"gru": "last"})
        assert torch.equal(stored(store, "gru:0"), model.gru(inputs[:, None])[0][:, -1])


def test_paths_are_chosen_with_globs():
    def names(globs, **more):
        return [layer.name for layer in select_layers(Kinds(), globs, **more)]

    assert names(["head", "[pn]a*:0", "pair:1"]) == ["pair:0", "pair:1", "named:0", "head"]
    assert names(["pair:0", "pair:1", "!pair:0"]) == ["pair:1"]
    assert names(["pair:0", "pair:1", "head", "!pair"]) == ["head"]
    layers = select_layers(Kinds(), ["pair:0", "pair:1"], {"pair": "max", "pair:1": "flatten"}, {"*:1": "first"})
    assert [(layer.reduce, layer.call) for layer in layers] == [("max", "last"), ("flatten", "first")]
    with pytest.raises(LayerNotFoundError, match="'pear'"):
        names("pear:0")
    with pytest.raises(LayerNotFoundError, match="no captured layer matches 'pair:2'"):
        names("pair:0", reduce={"pair:2": "max"})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("pair", r"gives a tuple and not one tensor .*: name one of its parts \(pair:0, pair:1\)"),
        ("table:deep", r"gives a list .*\(table:deep.0, table:deep.1\)"),
        ("record", r"gives a Output .*\(record:last_hidden_state, record:hidden_states\)"),
        ("pair:2", r"layer 'pair:2' has no part '2' in its output \(0, 1\)"),
        ("table:hiden", r"no part 'hiden' in its output \(hidden, deep\)"),
        ("head:0", r"no part '0' in its output \(it is a Tensor\)"),
    ],
)
def test_what_an_output_lacks_is_named(layer, message, store):
    with pytest.raises(CaptureError, match=message):
        record(Kinds().eval(), torch.randn(12, 4), store, layer)


# In-place operations


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        x.mul_(0.0)
        out = self.second(x)
        x.fill_(7.0)
        return out.add_(1.0)


@pytest.mark.parametrize("call", ["last", "mean", "all"])
@pytest.mark.parametrize("layer", ["first", "penultimate", "second"])
def test_operations_in_place_come_too_late(layer, call, store):
    model, inputs = InPlace().eval(), torch.randn(12, 4)
    with torch.no_grad():
        capture = Capture(model, store, layer, classes=3, call=call, dtype="float32", notify=lambda message: None)
        with capture.recording(epoch=0) as recording:
            logits = model(inputs)
            kept = logits.clone()
            logits.zero_()
            recording.batch(LABELS)
        expected = {"first": model.first(inputs), "penultimate": torch.zeros(12, 6)}
        expected["second"] = model.second(expected["penultimate"])
    assert torch.equal(stored(store, layer), expected[layer])
    logits = featlab.open_run(store).snapshot(epoch=0, split="val", layer=layer).logits.compute()
    assert torch.equal(torch.from_numpy(logits), kept)


# Wrappers


def with_wrapped_parts():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return nn.Sequential(
        nn.DataParallel(nn.Sequential(nn.Linear(4, 5))),
        checkpoint_wrapper(nn.Sequential(nn.Linear(5, 5))),
        torch.compile(nn.Sequential(nn.Linear(5, 3)), backend="eager"),
    ).eval()


def test_names_are_those_without_wrappers_inside_the_model_too(store):
    model, inputs = with_wrapped_parts(), torch.randn(12, 4)
    with torch.no_grad():
        record(model, inputs, store, ["**", "penultimate"])
    run = featlab.open_run(store)
    assert run.layers == ["0", "0.0", "1", "1.0", "2", "2.0", "penultimate"]
    assert set(run.classifier(0).feeds) == {"1", "1.0", "penultimate"}
    with torch.no_grad():
        assert torch.equal(stored(store, "2.0"), model(inputs))


def test_data_parallel(store):
    model, inputs = nn.DataParallel(plain_model()), torch.randn(12, 4)
    with torch.no_grad():
        record(model, inputs, store, ["0"])
        assert torch.equal(stored(store, "0"), model.module[0](inputs))


def test_a_replica_of_data_parallel_is_refused(store):
    model, inputs = plain_model(), torch.randn(12, 4)

    def on_two_devices(x):
        replica = model[1]._replicate_for_data_parallel()  # what replicate() makes for each device
        replica(x)

    with pytest.raises(CaptureError, match="layer '1' ran on a part of the batch, in a replica of DataParallel"):
        record(model, inputs, store, ["1"], run=on_two_devices)


@pytest.fixture
def _one_process_group(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_one_process_group")
def test_distributed_data_parallel(store):
    model, inputs = DistributedDataParallel(plain_model()), torch.randn(12, 4)
    nn.functional.cross_entropy(model(inputs), LABELS).backward()
    model.eval()
    record(model, inputs, store, ["0", "penultimate"])
    run = featlab.open_run(store)
    assert run.layers == ["0", "penultimate"]
    assert torch.equal(stored(store, "0"), model.module[0](inputs).detach())
    assert np.array_equal(run.classifier(0).weight, model.module[2].weight.detach())


@pytest.mark.usefixtures("_one_process_group")
@pytest.mark.filterwarnings("ignore")
def test_sharded_models_are_refused_in_a_sentence(store):
    from torch.distributed.fsdp import FullyShardedDataParallel

    def wrapped():
        return FullyShardedDataParallel(plain_model(), device_id=torch.device("cpu"))

    said = r"is sharded by FSDP \(FullyShardedDataParallel\), .* under fully_shard, .* replay its full checkpoints\.$"
    for model, message in [
        (wrapped(), f"the model {said}"),
        (nn.Sequential(nn.ReLU(), wrapped()), f"module '1' {said}"),
    ]:
        with pytest.raises(CaptureError, match=message):
            Capture(model, store, "**")


@pytest.mark.usefixtures("_one_process_group")
def test_a_model_under_fully_shard_is_captured_as_without(store):
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    model, inputs = plain_model(), torch.randn(12, 4)
    expected, weight, digest = model[:2](inputs).detach(), model[2].weight.detach().clone(), weights_digest(model)
    fully_shard(model[0], mesh=mesh)
    fully_shard(model, mesh=mesh)
    with torch.no_grad():
        record(model, inputs, store, ["0", "1", "penultimate"])
    run = featlab.open_run(store)
    assert torch.equal(stored(store, "1"), expected)
    assert np.array_equal(run.classifier(0).weight, weight)
    assert (run.record(0, "val").weights, run.attrs["model"]) == (digest, "Sequential")
    assert [run.attrs["layers"][layer]["module"] for layer in ("0", "1")] == ["Linear", "ReLU"]
    rounded = fully_shard(plain_model(), mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    with torch.no_grad():
        rounded(inputs)  # after which the outermost module keeps rounded weights
    assert all(one.dtype == torch.float32 for one in weights_of(rounded[2]))


# Nothing is left behind


class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 3)
        self.fuse = 2

    def forward(self, x):
        self.fuse -= 1
        torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
        if not self.fuse:
            raise ZeroDivisionError("the fuse")
        return self.head(self.drop(self.first(x)))


@pytest.mark.parametrize("grad", [False, True])
def test_after_an_exception_all_is_as_before(grad, store):
    model = Breaks().train()
    model.drop.eval()
    data = TensorDataset(torch.randn(12, 4), LABELS)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    with (
        torch.set_grad_enabled(grad),
        Capture(model, store, "first") as capture,
        pytest.raises(ZeroDivisionError, match="the fuse"),
    ):
        capture.evaluate(DataLoader(data, batch_size=4, shuffle=True), epoch=0)
    with torch.set_grad_enabled(grad):
        assert torch.is_grad_enabled() is grad
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002
    assert (model.training, model.first.training, model.drop.training) == (True, True, False)
    assert hooks_of(model) == []
    assert featlab.open_run(store).committed == []


def test_hooks_come_off_when_a_hook_itself_fails(store):
    model, inputs = Kinds().eval(), torch.randn(12, 4)
    with Capture(model, store, ["pair", "head"], classes=3) as capture:
        with pytest.raises(CaptureError, match="a tuple"), capture.recording(epoch=0):
            model(inputs)
        assert hooks_of(model) == []
    model(inputs)


# An unmodified script

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.act = nn.Tanh()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.act(self.act(self.gru(x)[0][:, -1])))

model = Model()
data = TensorDataset(torch.randn(12, 5, 4), torch.arange(12) % 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in DataLoader(data, batch_size=4):
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    for x, y in DataLoader(data, batch_size=5):
        model(x)
torch.save(model.state_dict(), "model.pt")
"""


def test_a_script_is_captured_with_paths_and_calls(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from featlab_cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    options = [
        "--layers",
        "gru:0",
        "--layers",
        "act",
        "--reduce",
        "gru=last",
        "--call",
        "act=all",
        "--when-full",
        "drop",
    ]
    split = ["--splits", "train_eval", "--dtype", "float32"]
    outcome = CliRunner().invoke(main, ["capture", "--store", "run.zarr", *options, *split, "--", "train.py"])
    assert outcome.exit_code == 0, outcome.output
    assert "called more than once in a forward pass: act (2 times, all)" in outcome.stderr
    hidden = stored("run.zarr", "gru:0", 1, "train_eval")
    expected = torch.cat([hidden.tanh(), hidden.tanh().tanh()], 1)
    torch.testing.assert_close(stored("run.zarr", "act", 1, "train_eval"), expected)
    gru = nn.GRU(4, 4, batch_first=True)
    state = torch.load("model.pt", weights_only=True)
    gru.load_state_dict({name.removeprefix("gru."): value for name, value in state.items() if name.startswith("gru.")})
    torch.manual_seed(0)
    nn.GRU(4, 4), nn.Linear(4, 3)
    torch.testing.assert_close(hidden, gru(torch.randn(12, 5, 4))[0][:, -1].detach())
