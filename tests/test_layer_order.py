"""The order of the layers: as the model calls them, or as they were given; kept with the run, joined, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab import open_run, write_epoch
from featlab.capture.capture import Capture
from featlab.errors import CorruptStoreError, FeatlabWarning
from featlab.store.attributes import RunAttributes, ensure_run
from featlab.store.files import store_path
from featlab.store.layer_order import CALLED, GIVEN, LayerOrder
from featlab.store.seals import sealed
from featlab.store.verify import verify_run
from featlab_cli.main import main

LABELS = np.arange(12) % 3


def quiet(message: str) -> None:
    """Take no notice, as of the stem that is called twice."""


class Shuffled(nn.Module):
    """A small network whose modules are registered in another order than they are called in; its stem twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.late = nn.Conv2d(4, 6, 1)
        self.shortcut = nn.Conv2d(4, 4, 1)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.stem = nn.Conv2d(4, 4, 1)
        self.turned = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(self.stem(x))
        x = self.shortcut(x) + self.block(x) if self.turned else self.block(x) + self.shortcut(x)
        return self.head(self.late(x).mean((2, 3)))


CALLS = ["stem", "block.0", "block", "shortcut", "late", "penultimate", "head"]


@pytest.fixture
def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(12, 4, 5, 5, generator=generator), torch.arange(12) % 3)
    return DataLoader(data, batch_size=6)


def test_layers_are_kept_in_the_order_of_their_calls(store: str, loader: DataLoader[tuple[torch.Tensor, ...]]) -> None:
    with Capture(Shuffled(), store, layers=sorted(CALLS), notify=quiet) as capture:
        capture.evaluate(loader, epoch=0)
        capture.evaluate(loader, epoch=1)
    run = open_run(store)
    assert run.layers_in_order == CALLS
    assert run.layers != CALLS  # that of the modules, as before
    assert run.attrs["layers_order"] == {"layers": CALLS, "found": "called"}
    assert not verify_run(store).findings


def test_going_on_keeps_the_order_and_says_where_another_came(
    store: str, loader: DataLoader[tuple[torch.Tensor, ...]]
) -> None:
    model = Shuffled()
    for epoch, layers in enumerate((["stem", "shortcut", "block", "head"], CALLS)):
        with Capture(model, store, layers=layers, notify=quiet) as capture:
            capture.evaluate(loader, epoch=epoch, split=f"part{epoch}")
    assert open_run(store).layers_in_order == CALLS
    model.turned = True
    with (
        pytest.warns(FeatlabWarning, match="layer 'block.0' comes before 'shortcut' in .*, and now after it"),
        Capture(model, store, layers=CALLS, notify=quiet) as capture,
    ):
        capture.evaluate(loader, epoch=1, split="val")
    assert open_run(store).layers_in_order == CALLS
    assert (1, "val") in open_run(store).committed


def test_features_that_are_written_have_the_order_of_their_names(tmp_path: Path) -> None:
    arrays = {name: np.ones((12, 2)) for name in ("b", "a", "c")}
    write_epoch(tmp_path / "r", epoch=0, features=arrays, labels=LABELS)
    assert open_run(tmp_path / "r").attrs["layers_order"] == {"layers": ["b", "a", "c"], "found": "given"}
    write_epoch(tmp_path / "i", epoch=0, features=iter([(arrays, LABELS)]), classes=["x", "y", "z"])
    assert open_run(tmp_path / "i").layers_in_order == ["b", "a", "c"]
    write_epoch(tmp_path / "none", epoch=0, features=arrays, labels=LABELS, in_order=False)
    assert open_run(tmp_path / "none").layers_in_order == []
    assert "layers_order" not in open_run(tmp_path / "none").attrs
    write_epoch(tmp_path / "one", epoch=0, features={"a": arrays["a"]}, labels=LABELS)
    assert open_run(tmp_path / "one").layers_in_order == ["a"]
    assert "layers_order" not in open_run(tmp_path / "one").attrs
    with pytest.warns(FeatlabWarning, match="layer 'b' comes before 'a'"):
        write_epoch(tmp_path / "r", epoch=1, features=dict(sorted(arrays.items())), labels=LABELS)
    assert open_run(tmp_path / "r").layers_in_order == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("arguments", "order"),
    [([], ["b", "a"]), (["--key", "a", "--key", "b"], ["a", "b"])],
)
def test_imported_layers_have_the_order_of_the_file_or_of_the_keys(
    tmp_path: Path, arguments: list[str], order: list[str]
) -> None:
    np.savez(tmp_path / "f.npz", b=np.ones((12, 2)), a=np.ones((12, 3)), labels=LABELS)
    command = ["import", "--store", str(tmp_path / "r"), "--epoch", "0", *arguments, str(tmp_path / "f.npz")]
    assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
    assert open_run(tmp_path / "r").layers_in_order == order


def test_a_file_that_sorts_its_arrays_tells_no_order(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"b": np.ones((12, 2)), "a": np.ones((12, 3)), "labels": LABELS}, tmp_path / "f.safetensors")
    for name, arguments, order in (("r", [], []), ("k", ["--key", "b", "--key", "a"], ["b", "a"])):
        command = ["import", "--store", str(tmp_path / name), "--epoch", "0", *arguments]
        assert CliRunner().invoke(main, [*command, str(tmp_path / "f.safetensors")]).exit_code == 0
        assert open_run(tmp_path / name).layers_in_order == order


@pytest.mark.parametrize(
    ("held", "new", "joined"),
    [
        ("ad", "abde", "abde"),
        ("bd", "abcd", "abcd"),
        ("abd", "acd", "abd"),  # nothing tells whether b or c comes first
        ("ab", "cd", "ab"),
        ("abcd", "bd", "abcd"),
        ("acd", "abcde", "abcde"),
    ],
)
def test_orders_are_joined_as_far_as_they_tell(held: str, new: str, joined: str) -> None:
    order = LayerOrder(tuple(held), CALLED).joined(LayerOrder(tuple(new), GIVEN))
    assert order == LayerOrder(tuple(joined), CALLED)


def test_ranks_write_one_order_whoever_comes_first(tmp_path: Path) -> None:
    root = store_path(tmp_path / "r")
    for layers in (("a", "b"), ("a", "b"), ("a", "b", "c")):
        ensure_run(root, RunAttributes.of(["x", "y"], order=LayerOrder(layers, CALLED)))
    assert open_run(tmp_path / "r").attrs["layers_order"]["layers"] == ["a", "b", "c"]
    ensure_run(root, RunAttributes.of(["x", "y"]))  # a writer that knows of none takes nothing away
    assert open_run(tmp_path / "r").attrs["layers_order"]["layers"] == ["a", "b", "c"]


def write_attributes(path: Path, change: dict[str, object], *, seal: bool = True) -> None:
    node = json.loads((path / "zarr.json").read_text())
    held = {**node["attributes"]["featlab"], **change}
    held = {key: value for key, value in held.items() if value is not None or key in ("synsets", "model")}
    node["attributes"]["featlab"] = sealed(held) if seal else held
    (path / "zarr.json").write_text(json.dumps(node))


def test_runs_of_before_are_read_and_gain_the_order(tmp_path: Path) -> None:
    arrays = {name: np.ones((12, 2)) for name in ("b", "a")}
    write_epoch(tmp_path / "r", epoch=0, features=arrays, labels=LABELS)
    write_attributes(tmp_path / "r", {"layers_order": None})
    run = open_run(tmp_path / "r")
    assert (run.layers, run.layers_in_order) == (["b", "a"], [])
    write_epoch(tmp_path / "r", epoch=1, features=arrays, labels=LABELS)
    assert open_run(tmp_path / "r").layers_in_order == ["b", "a"]


def test_an_order_that_was_changed_is_found_by_its_seal(tmp_path: Path) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={name: np.ones((12, 2)) for name in ("b", "a")}, labels=LABELS)
    write_attributes(tmp_path / "r", {"layers_order": {"layers": ["a", "b"], "found": "called"}}, seal=False)
    with pytest.raises(CorruptStoreError, match="does not fit its seal"):
        open_run(tmp_path / "r")
    assert "zarr.json" in verify_run(tmp_path / "r").findings[0].where


@pytest.mark.parametrize(
    "order", [["a", "b"], {"layers": ["a", "a"], "found": "called"}, {"layers": [1], "found": "x"}, {"layers": ["a"]}]
)
def test_an_order_that_no_writer_wrote_is_refused(tmp_path: Path, order: object) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={name: np.ones((12, 2)) for name in ("b", "a")}, labels=LABELS)
    write_attributes(tmp_path / "r", {"layers_order": order})
    with pytest.raises(CorruptStoreError, match="the order of the layers is"):
        open_run(tmp_path / "r")


def test_the_order_outlives_other_names_of_the_classes(tmp_path: Path) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={name: np.ones((12, 2)) for name in ("b", "a")}, labels=LABELS)
    featlab.open_run(tmp_path / "r").rename_classes(["x", "y", "z"])
    assert open_run(tmp_path / "r").layers_in_order == ["b", "a"]
