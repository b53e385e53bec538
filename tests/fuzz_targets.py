"""What `make fuzz` damages, and what then reads it: a target for every parser, every record and every command."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from damage import damage_bytes, damage_file, damage_json, damage_text, damage_tree
from fuzz import Step, Target, is_missed
from hostile_cases import BAD_TAXONOMIES, CONDITIONS, TAXONOMIES, array_files
from torch import nn

import featlab
from featlab.store import SnapshotWriter, layout
from featlab.store.uncommitted import uncommitted

NAMES = ["animal.cat", "animal.dog", "animal.fox", "vehicle.car", "vehicle.bus", "vehicle.van"]
ROWS = 120
LABELS = np.arange(ROWS) % len(NAMES)
DIM = 8
QUICK = ["--hierarchy", "dotted", "--metric", "euclidean", "--linkage", "average", "--distance", "path"]
ANALYZE = [*QUICK, "--permutations", "5", "--controls", "1", "--out", "run.results"]


def write_run(path: Path, seed: int = 0) -> None:
    """Write epochs 0 and 1 in several shards of one size, and epoch 2 compressed, of two ranks that pad."""
    with mock.patch.multiple(layout, CHUNK_TARGET=512, SHARD_TARGET=1024):
        centres = np.random.default_rng(seed).normal(size=(len(NAMES), DIM))
        for epoch in (0, 1):
            draw = np.random.default_rng([seed, epoch])
            rows = (epoch + 1) * centres[LABELS] + draw.normal(size=(ROWS, DIM))
            weight = draw.normal(size=(len(NAMES), DIM))
            featlab.write_epoch(
                path, epoch=epoch, split="val", features={"low": rows + epoch, "high": rows}, labels=LABELS,
                logits=rows @ weight.T, classifier=(weight, None), feeds=["high"], classes=NAMES,
                codec="none",
            )  # fmt: skip
        writers = [SnapshotWriter(path, epoch=2, split="val", classes=NAMES, rank=rank) for rank in (0, 1)]
        for rank in (1, 0):
            ids = np.arange(rank, ROWS, 2) if rank else np.append(np.arange(0, ROWS, 2), 1)
            rows = centres[LABELS[ids]] + np.random.default_rng(seed).normal(size=(ROWS, DIM))[ids]
            labels = LABELS[ids]
            writers[rank].append({"low": rows, "high": rows}, labels, sample_ids=ids, logits=rows[:, : len(NAMES)])
            writers[rank].commit()


def write_runs(folder: Path) -> None:
    """Write a run, and the same with other rows, of which any file may come back."""
    write_run(folder / "run.zarr")
    write_run(folder / "stale.zarr", seed=1)


def damage_run(folder: Path, draw: random.Random) -> str:
    return damage_tree(folder / "run.zarr", draw, folder / "stale.zarr")


def tables(folder: Path) -> str:
    """Write out all tables of the results."""
    results = featlab.load_results(folder / "run.results")
    return json.dumps({name: results[name].to_csv(index=False) for name in results})


def analyze(folder: Path, draw: random.Random) -> list[Step]:
    return [["analyze", "run.zarr", *ANALYZE, "--no-cache"], tables]


def less_or_missed(folder: Path, expected: str, found: str) -> str:
    """Tell apart a run that holds less, as if it had never been stored, and one of which another result was made.

    Nobody can know of a snapshot that its directory was there once; where it is there without its record, the analysis
    has to say so. A classifier may not be left out.
    """
    path = folder / "run.zarr"
    run = featlab.open_run(path)
    gone = {(epoch, "val") for epoch in range(3)} - set(run.committed)
    told = {key for key in gone if not (path / layout.split_path(*key)).exists()} | set(uncommitted(run))
    return "less" if gone and told == gone and is_part(expected, found) else "missed"


def repaired_or_missed(folder: Path, expected: str, found: str) -> str:
    """Judge what may have been repaired, where `featlab verify` told of the classifiers that it left out."""
    run = featlab.open_run(folder / "run.zarr")
    without = [epoch for epoch in range(2) if (epoch, "val") in run.committed and run.classifier(epoch) is None]
    known = less_or_missed(folder, expected, found)
    return "less" if without and len(run.committed) == 3 and is_part(expected, found) else known


def is_part(expected: str, found: str) -> bool:
    """Compare the rows of single epochs: each number is the one expected, or unknown.

    Two columns are relative to the last epoch that there is.
    """
    for name in ("geometry", "accuracy", "collapse", "linkage"):
        whole, part = (pd.read_csv(io.StringIO(json.loads(text)[name])).copy() for text in (expected, found))
        keys = [
            key for key in whole if key in ("epoch", "split", "layer", "space", "metric", "linkage", "rule", "step")
        ]
        joined = part.merge(whole, on=keys, how="left", suffixes=("", " before"), indicator=True)
        if (joined["_merge"] != "both").any():
            return False
        for column in part.columns.difference([*keys, "relative_accuracy", "residual_error"]):
            now, before = joined[column], joined[f"{column} before"]
            if not (now.isna() | (now == before)).all():
                return False
    return True


def write_whole_too(folder: Path) -> None:
    write_runs(folder)
    shutil.copytree(folder / "run.zarr", folder / "whole.zarr")


def restore_whole(folder: Path) -> str:
    """Put the whole run back where the damaged one is."""
    shutil.rmtree(folder / "run.zarr")
    shutil.copytree(folder / "whole.zarr", folder / "run.zarr")
    return ""


def analyze_restored(folder: Path, draw: random.Random) -> list[Step]:
    command = ["analyze", "run.zarr", *ANALYZE]
    return [command, restore_whole, command, tables]


def write_cached(folder: Path) -> None:
    write_run(folder / "run.zarr")
    options = {"metrics": ("euclidean",), "linkages": ("average",), "distances": ("path",), "progress": False}
    featlab.analyze(folder / "run.zarr", hierarchy="dotted", permutations=0, controls=1, **options)


def repair(folder: Path, draw: random.Random) -> list[Step]:
    options = draw.choice([[], ["--quick"], ["--repair", "--idle", "0"], ["--repair", "--idle", "0"]])
    return [["verify", "run.zarr", *options], ["analyze", "run.zarr", *ANALYZE, "--no-cache"], tables]


def list_run(folder: Path, draw: random.Random) -> list[Step]:
    commands = ["verify run.zarr", "verify --quick run.zarr", "verify --repair --idle 0 run.zarr"]
    commands += [f"info run.zarr {how}--format {style}" for how in ("", "--all ") for style in ("table", "csv", "json")]
    return [draw.choice(commands).split()]


def write_old(folder: Path) -> None:
    """Write a run as releases before seals did: nothing but its checks then stands behind a damaged record."""
    write_run(folder / "run.zarr")
    write_new(folder)
    for place in (folder / "run.zarr").rglob("zarr.json"):
        document = json.loads(place.read_text(encoding="utf-8"))
        held = document.get("attributes", {}).get(layout.ATTRIBUTES, {})
        for key in ("seal", "place", "classes_digest", "synsets_digest", "classifier"):
            held.pop(key, None)
        place.write_text(json.dumps(document), encoding="utf-8")


def damage_record(folder: Path, draw: random.Random) -> str:
    """Damage the metadata of a group that says something."""
    places = [place for place in sorted(folder.rglob("zarr.json")) if layout.ATTRIBUTES in place.read_text("utf-8")]
    place = draw.choice(places)
    damaged = damage_json(place.read_text(encoding="utf-8"), draw)
    place.write_text(damaged, encoding="utf-8", errors="surrogatepass")
    return f"{place.relative_to(folder)} is {damaged[:1500]!r}"


def use_old(folder: Path, draw: random.Random) -> list[Step]:
    return draw.choice([analyze, list_run, list_run, add_epoch, repair])(folder, draw)


def write_into(folder: Path) -> None:
    write_runs(folder)
    write_new(folder)


def write_new(folder: Path) -> None:
    """Write what may become epoch 7 of a run: a file, and a model with a checkpoint."""
    draw = np.random.default_rng(5)
    features = {name: draw.normal(size=(ROWS, DIM)).astype(np.float32) for name in ("low", "high")}
    np.savez(folder / "new.npz", labels=LABELS, logits=features["high"][:, : len(NAMES)], **features)
    write_model(folder, DIM, len(NAMES), (7,))


def write_model(folder: Path, dim: int, classes: int, epochs: tuple[int, ...]) -> None:
    """Write a module that builds a model, and checkpoints of it."""
    torch.manual_seed(0)
    code = (
        "from collections import OrderedDict\nimport torch\nfrom torch.nn import Linear, Sequential\n"
        "def build():\n"
        f"    layers = [Linear({dim}, {dim}), Linear({dim}, {dim}), Linear({dim}, {classes})]\n"
        "    return Sequential(OrderedDict(zip(['low', 'high', 'head'], layers)))\n"
        f"def data():\n    return [(torch.arange(12.0 * {dim}).reshape(12, {dim}), torch.arange(12) % {classes})]\n"
    )
    (folder / f"fuzzed_{dim}.py").write_text(code, encoding="utf-8")
    layers = [nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, classes)]
    model = nn.Sequential(OrderedDict(zip(["low", "high", "head"], layers, strict=True)))
    for epoch in epochs:
        torch.save({"epoch": epoch, "state_dict": model.state_dict()}, folder / f"net_{epoch}.pt")
        place = folder / f"checkpoint-{epoch}"
        place.mkdir()
        torch.save(model.state_dict(), place / "pytorch_model.bin")
        (place / "trainer_state.json").write_text(json.dumps({"epoch": float(epoch), "log": [1]}), encoding="utf-8")


def replay(dim: int, *options: str) -> list[str]:
    model = ["--model", f"fuzzed_{dim}:build", "--data", f"fuzzed_{dim}:data"]
    return ["replay", "--store", "run.zarr", "--layers", "low", "--layers", "high", *model, *options]


def add_epoch(folder: Path, draw: random.Random) -> list[Step]:
    command = draw.choice([
        ["import", "--store", "run.zarr", "--epoch", "7", "new.npz"],
        ["import", "--store", "run.zarr", "--epoch", "7", "--classes", "6", "new.npz"],
        replay(DIM, "net_7.pt"),
    ])  # fmt: skip
    return [command, epoch_7]


def epoch_7(folder: Path) -> str:
    """Write out what was stored as epoch 7."""
    run = featlab.open_run(folder / "run.zarr")
    rows = [run.snapshot(epoch=7, split="val", layer=layer) for layer in run.record(7, "val").layers]
    return repr([run.classes, run.classifier(7), *((one.features.compute().tolist(), one.labels) for one in rows)])


def write_results(folder: Path) -> None:
    write_run(folder / "run.zarr")
    options: dict[str, Any] = {"permutations": 19, "controls": 2, "cache": False}
    featlab.analyze(folder / "run.zarr", hierarchy="dotted", **options).save(folder / "run.results")
    shutil.copytree(folder / "run.results", folder / "other.results")
    shutil.rmtree(folder / "run.zarr")


TABLES = ("accuracy", "collapse", "alignment", "onset", "spaces", "verdict")


def show(folder: Path, draw: random.Random) -> list[Step]:
    name, style = draw.choice(TABLES), draw.choice(["csv", "json", "table", "markdown"])
    commands: list[list[str]] = [
        ["show", "run.results", name, "--format", style],
        ["show", "run.results", name, "--format", style],
        ["compare", "run.results", "other.results"],
        ["compare", "run.results", "other.results", "--table", "collapse", "--format", style],
        ["report", "run.results", "-o", "page.html"],
    ]
    return [draw.choice(commands)]


CONDITION = "layer == 'high' and epoch >= 1 and not (space in ['hyponym', 'depth1'])"


def show_where(folder: Path, draw: random.Random) -> list[Step]:
    condition = draw.choice([CONDITION, *[damage_text(CONDITION, draw)] * 9, *CONDITIONS.values()])
    command = draw.choice([["show", "run.results"], ["compare", "run.results", "other.results", "--table"]])
    return [[*command, "collapse", "--where", condition, "--format", "csv"]]


def write_taxonomies(folder: Path) -> None:
    parents = {name: name.partition(".")[0] for name in NAMES} | {"animal": "thing", "vehicle": "thing"}
    (folder / "full.json").write_text(json.dumps(featlab.Taxonomy.from_parents(parents).to_json()), encoding="utf-8")
    for name, text in TAXONOMIES.items():
        (folder / name).write_text(text, encoding="utf-8")


def damage_taxonomies(folder: Path, draw: random.Random) -> str:
    texts = []
    for path in sorted(folder.iterdir()):
        text = path.read_text(encoding="utf-8")
        as_json = path.suffix == ".json" and draw.random() < 0.6
        damaged = damage_json(text, draw) if as_json else damage_text(text, draw)
        if draw.random() < 0.02:
            damaged = draw.choice([text for (suffix, _), text in BAD_TAXONOMIES.items() if suffix == path.suffix])
        path.write_text(damaged, encoding="utf-8", errors="surrogatepass", newline="")
        texts.append(f"{path.name} {damaged[:300]!r}")
    return ", ".join(texts)


def show_taxonomy(folder: Path, draw: random.Random) -> list[Step]:
    chosen = draw.choice(sorted(folder.iterdir()))
    members = draw.choice([[], [], ["--cut", "2", "--members"], ["--depth", "1"], ["--height", "1", "--members"]])
    return [["hierarchy", chosen.name, *members, "--format", draw.choice(["json", "csv", "table"])]]


def write_arrays(folder: Path) -> None:
    labels = np.load(array_files(folder)["stored"])["labels"]
    np.save(folder / "labels.npy", labels)
    (folder / "labels.txt").write_text("\n".join(map(str, labels)), encoding="utf-8")


def damage_all(folder: Path, draw: random.Random) -> str:
    for path in folder.iterdir():
        path.write_bytes(damage_bytes(path.read_bytes(), draw))
    return "all files are damaged"


def damage_archives(folder: Path, draw: random.Random) -> str:
    """Damage what has checksums of its own."""
    for path in sorted([*folder.glob("*.npz"), *folder.glob("*.pt")]):
        path.write_bytes(damage_bytes(path.read_bytes(), draw))
    return "all archives are damaged"


def import_from(*suffixes: str) -> Callable[[Path, random.Random], list[Step]]:
    def steps(folder: Path, draw: random.Random) -> list[Step]:
        named = sorted(path for path in folder.iterdir() if path.stem != "labels" and path.suffix in suffixes)
        chosen = draw.choice(named)
        labels = (
            ["--labels", draw.choice(["labels.npy", "labels.txt"])] if chosen.suffix in (".npy", ".h5", ".pt") else []
        )
        command = ["import", "--store", "run.zarr", "--epoch", "0", *labels, "--classes", "4", chosen.name]
        return [command, stored]

    return steps


def stored(folder: Path) -> str:
    """Write out every number of a run, by epoch."""
    run = featlab.open_run(folder / "run.zarr")
    found: dict[str, str] = {}
    for epoch, split in run.committed:
        layers = {
            layer: run.snapshot(epoch=epoch, split=split, layer=layer) for layer in run.record(epoch, split).layers
        }
        rows = {layer: rows.features.compute().tolist() for layer, rows in layers.items()}
        found[str(epoch)] = repr((rows, run.labels(epoch, split).tolist()))
    return json.dumps(found)


def of_whole_files(folder: Path, expected: str, found: str) -> str:
    """Judge a replay: files may be gone and epochs have other numbers, but what is stored is of a whole checkpoint."""
    return "read" if set(json.loads(found).values()) <= set(json.loads(expected).values()) else "missed"


def write_checkpoints(folder: Path) -> None:
    write_model(folder, 4, 3, (1, 2))


def replay_all(folder: Path, draw: random.Random) -> list[Step]:
    which, source = draw.choice([("net_*.pt", "name"), ("net_*.pt", "auto"), ("checkpoint-*", "metadata")])
    return [replay(4, "--epochs-from", source, which), stored]


def damage_checkpoints(folder: Path, draw: random.Random) -> str:
    files = sorted([*folder.glob("net_*"), *folder.glob("checkpoint-*/*")])
    return ", ".join(damage_file(path, draw) for path in draw.sample(files, 3))


# Parts of names that a terminal, a spreadsheet, a file system, HTML or a separator would take for something else.
PARTS = (
    *"'\"()[]{}<>&,;:=-+@|\\/.*?!%$#~`_ \t\r\n\0\x7f\x85\xa0\u2028\ufeff", "\x1b[2J", "\x1b]0;x\x07", "\u202e",
    "\ud800", "\udfff", "=1+1", "@sum", "<script>alert(1)</script>",
    "</style>", "..", "../..", "[bold]", "[/]", "nan", "None", "NULL", "0",
    "1e9", "\U0001f600", "e\u0301", "日本", "a" * 300, "b" * 20_000, "c.d", "{0}", "%s", "${x}",
)  # fmt: skip


def hostile_names(draw: random.Random, count: int) -> list[str]:
    return ["".join(draw.choices(PARTS, k=draw.choice([1, 1, 2, 3]))) for _ in range(count)]


def write_named(folder: Path) -> None:
    np.savez(folder / "rows.npz", layer=np.random.default_rng(0).normal(size=(60, 5)), labels=np.arange(60) % 6)


def name_classes(folder: Path, draw: random.Random) -> str:
    names = hostile_names(draw, 6)
    (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")
    text = "\n".join(name.replace("\n", "") for name in names)
    (folder / "names.txt").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return f"classes {names!r:.300}"


def store_named(folder: Path) -> str:
    """Store a run with the names, which come back as they are."""
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    arrays = dict(np.load(folder / "rows.npz"))
    labels = arrays.pop("labels")
    featlab.write_epoch(folder / "run.zarr", epoch=0, features=arrays, labels=labels, classes=names)
    assert featlab.open_run(folder / "run.zarr").classes == names
    return ""


def read_named(folder: Path, draw: random.Random) -> list[Step]:
    store: Step = ["import", "--store", "run.zarr", "--epoch", "0", "--classes", "names.txt", "rows.npz"]
    store = draw.choice([store, store_named])
    styles = ["table", "csv", "json", "markdown"]
    hierarchy = draw.choice([[], [], ["--hierarchy", "dotted"], ["--hierarchy", "slashed"], ["--hierarchy", "induced"]])
    options = ["--permutations", "0", "--controls", "0", "--no-cache", "--out", "run.results", *hierarchy]
    analysis: list[Step] = [["analyze", "run.zarr", *options]]
    after: list[list[Step]] = [
        [["info", "run.zarr", "--format", draw.choice(styles[:3])]],
        [["hierarchy", "dotted", "--classes", draw.choice(["run.zarr", "names.txt"]), "--format", "table"]],
        [["verify", "run.zarr"]],
        [*analysis, ["show", "run.results", draw.choice(["classes", "distances", "spaces"]), "--format",
                     draw.choice(styles)]],
        [*analysis, ["report", "run.results", "-o", "page.html"]],
    ]  # fmt: skip
    return [store, *draw.choice(after)]


def write_for_options(folder: Path) -> None:
    write_into(folder)
    options: dict[str, Any] = {"permutations": 0, "controls": 1, "cache": False}
    featlab.analyze(folder / "run.zarr", hierarchy="dotted", **options).save(folder / "run.results")


# Commands, each with the options whose text is hostile; "" is an argument.
OPTIONS: tuple[tuple[list[str], list[str]], ...] = (
    (["analyze", "run.zarr", *ANALYZE, "--no-cache"],
     ["--epochs", "--layers", "--splits", "--space", "--hierarchy", "--senses", "--metric", "--linkage", "--distance",
      "--permutations", "--controls", "--means-from", "--rule", "--memory", "--seed", "--every"]),
    (["show", "run.results", "collapse"], ["--columns", "--sort", "--limit", "--format", "--where"]),
    (["show", "run.results"], [""]),
    (["show"], [""]),
    (["compare", "run.results", "run.results"], ["--table", "--label", "--level", ""]),
    (["report", "run.results"], ["--title", "--out"]),
    (["info"], [""]),
    (["verify"], [""]),
    (["verify", "run.zarr"], ["--idle"]),
    (["hierarchy", "cifar100"], ["--cut", "--depth", "--height", "--level", "--classes", "--format"]),
    (["hierarchy"], [""]),
    (["import", "--store", "run.zarr", "--epoch", "9", "new.npz"],
     ["--epoch", "--split", "--labels", "--logits", "--classes", "--key", "--layer", "--dtype", "--codec"]),
    (["import", "--epoch", "9", "new.npz"], ["--store"]),
    (["import", "--store", "run.zarr", "--epoch", "9"], [""]),
    (replay(DIM, "net_7.pt"),
     ["--layers", "--model", "--data", "--split", "--epochs-from", "--offset", "--key", "--device", "--classes",
      "--reduce", "--mask", "--classifier", "--logits"]),
    (replay(DIM), [""]),
    ([], [""]),
)  # fmt: skip
TEXTS = (
    "", " ", "0", "-1", "1.5", "1e999", "nan", "inf", "-inf", "9" * 30, "9" * 5000, "0:", ":", "::0", "5:1:-1", "0:1:0",
    "1,1,1", "*", "!*", "!", "[", "[!", "**", "a" * 5000, "=", "a=", "=a", "*=", "x:y", "x:", ":y", "os:system",
    "fuzzed_8:nothing", "fuzzed_8:torch", "..", "/", "/dev/null", "/proc/self/mem", "/nonexistent/x", "file:///", "s3://",
    "memory://x", "http://[", "\x1b[2J", "\ud800", "\u202e", "é", "None", "true", "[]", "{}", "-", "--", "--help",
    "1GB", "-5GB", "0B", "1e30TB", "cut", "cut0", "cut-1", "cut" + "9" * 30, "depth", "depth" + "9" * 30, "height0",
    "wordnet", "induced", "induced:x", "dotted", "run.zarr", "run.results", "new.npz", "net_7.pt", "fuzzed_8.py",
    "meta", "cuda:99", "cpu:9", "bogus", "low", "val", "euclidean", "path",
)  # fmt: skip


def give_option(folder: Path, draw: random.Random) -> list[Step]:
    command, options = draw.choice(OPTIONS)
    option = draw.choice(options)
    text = draw.choice(TEXTS)
    if draw.random() < 0.3:
        text = damage_text(text, draw)
    text = os.fsdecode(text.replace("\0", "").encode("utf-8", "surrogatepass"))  # as it comes from a shell
    return [[*command, *([option] if option else []), text]]


def targets() -> list[Target]:
    """List all targets."""
    as_given: Callable[[Path, random.Random], str] = lambda folder, draw: "as given"  # noqa: E731
    return [
        Target("hierarchies", write_taxonomies, damage_taxonomies, show_taxonomy),
        Target("arrays", write_arrays, damage_all, import_from(".npy", ".npz", ".safetensors", ".h5", ".pt")),
        Target("archives", write_arrays, damage_archives, import_from(".npz", ".pt"), is_missed),
        Target("checkpoints", write_checkpoints, damage_checkpoints, replay_all, of_whole_files),
        Target("results", write_results, lambda folder, draw: damage_tree(folder / "run.results", draw), show,
               is_missed),
        Target("conditions", write_results, as_given, show_where, None),
        Target("names", write_named, name_classes, read_named, None),
        Target("options", write_for_options, as_given, give_option, None),
        Target("runs", write_runs, damage_run, analyze, less_or_missed),
        Target("runs without seals", write_old, damage_record, use_old, goes_on=True),
        Target("restored runs", write_whole_too, damage_run, analyze_restored, is_missed, goes_on=True),
        Target("repaired runs", write_runs, damage_run, repair, repaired_or_missed, goes_on=True),
        Target("listed runs", write_runs, damage_run, list_run),
        Target("continued runs", write_into, damage_run, add_epoch, is_missed),
        Target("caches", write_cached, lambda folder, draw: damage_tree(folder / "run.cache", draw),
               lambda folder, draw: [["analyze", "run.zarr", *ANALYZE], tables], is_missed),
    ]  # fmt: skip
