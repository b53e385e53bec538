"""Batches of several forms: which part the labels are, and how a model is called on the others."""

import dataclasses
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from running import run_script
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader

import featlab
from featlab.capture.batches import Parts, moved
from featlab.errors import CaptureError

SCRIPT = str(Path(__file__).parent / "scripts" / "batches.py")


def label_of(row):
    """The labels of scripts/batches.py."""
    generator = torch.Generator().manual_seed(2)
    torch.randint(1, 6, (20,), generator=generator)
    ids = torch.randint(1, 20, (20, 5), generator=generator)
    return int((ids[row, 0] + row) % 3)


def assert_labels(run, epochs):
    assert run.committed == [(epoch, "val") for epoch in epochs]
    for epoch in epochs:
        ids = run.sample_ids(epoch, "val")
        assert sorted(ids) == list(range(20))
        assert run.labels(epoch, "val").tolist() == [label_of(row) for row in ids]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("form", ["mask", "lengths", "index", "keys", "nested", "pair", "encoding"])
def test_labels_are_the_part_that_reached_the_loss_in_training(store, form, ahead):
    notes = []
    run_script([SCRIPT, form, *["--ahead"] * ahead], store, ["embed", "penultimate"], note=notes.append)
    assert_labels(featlab.open_run(store), [1, 2])
    part = {"index": "the second element", "pair": "the second element", "mask": "part '2'", "lengths": "part '2'"}
    part |= {"nested": "part '1.category'", "keys": "part 'category'", "encoding": "part 'category'"}
    assert f"labels of val are {part[form]} of each batch." in notes


@pytest.mark.parametrize("form", ["mask", "index", "pair"])
def test_before_training_the_form_of_the_batch_tells(store, form):
    run_script([SCRIPT, form, "--first"], store, ["embed", "penultimate"], note=lambda message: None)
    assert_labels(featlab.open_run(store), [0, 1, 2])


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("lengths", r"several parts of the batch may be \(1, 2\) \(0: torch.int64 of shape \(8, 5\), 1: torch.int64"),
        ("keys", r"several parts of the batch may be \(length, category\)"),
        ("encoding", r"no part of the batch is known to be such labels \(input_ids: torch.int64 of shape \(8, 5\)"),
    ],
)
def test_before_training_nothing_is_guessed(store, form, message):
    with pytest.raises(CaptureError, match=message):
        run_script([SCRIPT, form, "--first"], store, ["embed"], note=lambda message: None)


def test_labels_that_training_contradicts_are_not_kept_in_silence(store, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(Path(SCRIPT).read_text().replace('"category": labels', '"category": labels, "label": index % 3'))
    with pytest.raises(
        CaptureError, match=r"part 'label' of the batches .* it is part 'category' that reaches the loss"
    ):
        run_script([str(script), "encoding", "--first"], store, ["embed"], note=lambda message: None)


# The API


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, ids, mask=None):
        tokens = self.embed(ids)
        return self.head(tokens.mean(1) if mask is None else (tokens * mask[..., None]).sum(1) / mask.sum(1)[:, None])


IDS = torch.arange(24).reshape(6, 4) % 9
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]] * 2)
LENGTHS = MASK.sum(1)
Y = torch.tensor([0, 1, 2, 2, 1, 0])
Triple = namedtuple("Triple", "ids mask y")


@dataclasses.dataclass
class Held:
    ids: torch.Tensor
    y: torch.Tensor


def by_name(model, batch):
    model(batch["text"], mask=batch["kept"])


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        ((IDS, MASK, Y), {}),
        (Triple(IDS, MASK, Y), {"forward": lambda model, batch: model(batch.ids, batch.mask)}),
        ({"text": IDS, "kept": MASK, "labels": Y}, {"forward": by_name}),
        ({"text": IDS, "kept": MASK, "y": Y}, {"forward": by_name, "labels": lambda batch: batch["y"]}),
        ({"ids": IDS, "mask": MASK, "target": Y}, {}),
        ((IDS, LENGTHS, Y), {"forward": lambda model, one: model(one[0], MASK), "labels": lambda one: one[2]}),
    ],
)
def test_evaluate_calls_the_model_on_batches_of_any_form(store, batch, options):
    torch.manual_seed(0)
    model = Net()
    with featlab.Capture(model, store, ["penultimate"], dtype="float32") as capture:
        capture.evaluate([batch], epoch=0, **options)
    run = featlab.open_run(store)
    assert run.labels(0, "val").tolist() == Y.tolist()
    logits = torch.from_numpy(run.snapshot(epoch=0, split="val", layer="penultimate").logits.compute())
    torch.testing.assert_close(logits, model(IDS, MASK).detach())


def test_evaluate_takes_sample_ids_in_a_batch_for_no_labels(store):
    data = list(zip(IDS, Y, range(6), strict=True))
    with featlab.Capture(Net(), store, ["penultimate"]) as capture:
        capture.evaluate(DataLoader(data, batch_size=3, shuffle=True), epoch=0)
    run = featlab.open_run(store)
    assert run.labels(0, "val").tolist() == Y[run.sample_ids(0, "val")].tolist()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            (IDS, LENGTHS, Y),
            r"is a tuple without labels that can be told \(0: torch.int64 of shape \(6, 4\), 1: .*labels=",
        ),
        ({"ids": IDS, "y": Y}, r"is a dict without labels that can be told \(ids: torch.int64 .* y: .*forward="),
        ({"text": IDS, "labels": Y}, r"Net cannot be called on batch 0 .* \(text: torch.int64 .* missing a required"),
        ((IDS, MASK, MASK, Y), r"Net cannot be called|without labels that can be told"),
    ],
)
def test_evaluate_names_the_parts_of_a_batch_that_it_cannot_use(store, batch, message):
    with featlab.Capture(Net(), store, ["penultimate"]) as capture, pytest.raises(CaptureError, match=message):
        capture.evaluate([batch], epoch=0)


def test_what_is_moved_keeps_its_type():
    from transformers import BatchEncoding

    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    batch = [Triple(IDS, MASK, Y), Held(IDS, Y), {"a": packed}, BatchEncoding({"input_ids": IDS}), ("text", 1)]
    kinds = [type(one) for one in moved(batch, "meta")]
    assert kinds == [Triple, Held, dict, BatchEncoding, tuple]
    triple, held, named, encoding, _ = moved(batch, "meta")
    assert {one.device.type for one in (triple.y, held.ids, named["a"].data, encoding.input_ids)} == {"meta"}


def test_texts_are_one_part_however_many():
    parts = Parts.of({"text": ["a", "b"], "label": [1, 0]}, 2)
    assert [name for name, _, _ in parts.kinds] == ["text", "label"]
    assert parts.likely() == "label"
