"""featlab verify: every damage to a real store is found and named; a repair loses nothing and touches nothing sound."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from editing import edit
from object_store import new_url, s3_server, shrink_chunks

from featlab import FeatlabWarning, open_run, write_epoch
from featlab.errors import CorruptStoreError, NotAStoreError, OptionError
from featlab.store import SnapshotWriter, layout
from featlab.store.objects import ObjectPath
from featlab.store.verify import Verification, verify_run
from featlab_cli.verify import command

ROWS = 400
CLASSES = ["a", "b", "c"]
LABELS = np.arange(ROWS) % 3
EPOCH = "epochs/000001"
PART = f"{EPOCH}/val/r000"
# one shard of every kind of array, of several shards where there are any
SHARDS = [
    f"{PART}/sample_id/c/0",
    f"{PART}/label/c/0",
    f"{PART}/logits/c/0/0",
    f"{PART}/layers/half/c/0/0",
    f"{PART}/layers/half/c/1/0",
    f"{EPOCH}/weights/weight/c/0/0",
    f"{EPOCH}/weights/bias/c/0",
]


def features(width: int, seed: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)


def write(path: Any, epoch: int, **options: Any) -> None:
    given = {
        "features": {"half": features(8, 2 * epoch)},
        "labels": (LABELS + epoch) % 3,
        "sample_ids": np.arange(ROWS) + 1000 * epoch,
        "logits": features(3, 2 * epoch + 1),
        "classifier": (features(8, epoch, 3), np.arange(3.0) + epoch),
        "feeds": "half",
        "classes": CLASSES,
        "codec": "none",  # so that all shards of one place are of one size, and swaps are not told by it
    }
    write_epoch(path, epoch=epoch, **{**given, **options})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "run.zarr"
    with pytest.MonkeyPatch.context() as patch:
        shrink_chunks(patch)
        for epoch in range(3):
            write(path, epoch)
    return path


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run.zarr"))


def lines(path: Path, **options: Any) -> list[str]:
    return [str(finding) for finding in verify_run(path, **options).findings]


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def part_of(found: dict[str, bytes], start: str) -> dict[str, bytes]:
    return {name.removeprefix(start): data for name, data in found.items() if name.startswith(start)}


def flip(file: Path, at: float = 0.5) -> None:
    data = bytearray(file.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    file.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (flip, "fails its checksum"),
    "flipped at its start": (lambda file: flip(file, 0), "fails its checksum"),
    "flipped in its index": (lambda file: flip(file, 1), "fails its checksum"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-1]), "bytes instead of"),
    "longer": (lambda file: file.write_bytes(file.read_bytes() + b"\0"), "bytes instead of"),
    "deleted": (Path.unlink, "is missing"),
    "emptied": (lambda file: file.write_bytes(b""), "is empty, where"),
    "a directory": (lambda file: (file.unlink(), file.mkdir()), "is missing"),
}


def test_a_whole_run_has_no_findings(original: Path) -> None:
    before = contents(original)
    found = verify_run(original, repair=True, idle_minutes=0)
    promised = sum(len(data) for name, data in before.items() if "/c/" in name)
    assert found == Verification(str(original), (), 3, promised)
    assert not found.costs_data
    assert contents(original) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("shard", SHARDS)
def test_a_damaged_shard_is_named(run: Path, shard: str, damage: str) -> None:
    harm, said = DAMAGES[damage]
    harm(run / shard)
    (finding,) = verify_run(run).findings
    assert (finding.kind, finding.where) == ("lost", shard)
    assert said in finding.what
    assert finding.costs_data


@pytest.mark.parametrize("shard", SHARDS)
def test_shards_swapped_between_epochs_are_found_in_both(run: Path, shard: str) -> None:
    here, there = run / shard, run / shard.replace("000001", "000002")
    mine, other = here.read_bytes(), there.read_bytes()
    assert len(mine) == len(other)
    here.write_bytes(other)
    there.write_bytes(mine)
    found = {finding.where: finding.what for finding in verify_run(run).findings}
    assert set(found) == {shard, shard.replace("000001", "000002")}
    assert all("is sound in itself but its digest is not the committed one" in what for what in found.values())


def test_shards_swapped_within_an_array_and_between_arrays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_chunks(monkeypatch)
    write(run, 3, features={"x": features(8, 50, 2048), "y": features(8, 51, 2048)}, labels=np.arange(2048) % 3,
          sample_ids=None, logits=None, classifier=None, feeds=None)  # fmt: skip
    layers = run / "epochs/000003/val/r000/layers"
    for one, two in (("x/c/1/0", "x/c/2/0"), ("x/c/4/0", "y/c/4/0")):
        first, second = (layers / one).read_bytes(), (layers / two).read_bytes()
        (layers / one).write_bytes(second)
        (layers / two).write_bytes(first)
    names = [finding.where.removeprefix("epochs/000003/val/r000/layers/") for finding in verify_run(run).findings]
    assert names == ["x/c/1/0", "x/c/2/0", "x/c/4/0", "y/c/4/0"]


def metadata_files(original: Path) -> list[str]:
    return sorted(name for name in contents(original / EPOCH) if name.endswith(layout.METADATA))


@pytest.mark.parametrize("damage", ["cut", "deleted", "emptied"])
def test_damaged_metadata_is_named_and_mended(run: Path, damage: str) -> None:
    before = contents(run)
    for name in metadata_files(run):
        DAMAGES[damage][0](run / EPOCH / name)
        found = verify_run(run, quick=True)
        assert found.findings, name
        kinds = {finding.kind for finding in found.findings}
        needed = not (name == "zarr.json" or name.endswith(("layers/zarr.json", "r000/zarr.json")))
        assert kinds == ({"lost"} if needed else {"remark"}), name
        if needed and name.count("/") > 1:
            (finding,) = verify_run(run, repair=True, quick=True).findings
            assert finding.repaired == "written anew, as the commit record has it"
            assert json.loads((run / EPOCH / name).read_bytes()) == json.loads(before[f"{EPOCH}/{name}"])
            assert verify_run(run, quick=True).findings == ()
        (run / EPOCH / name).write_bytes(before[f"{EPOCH}/{name}"])
    assert contents(run) == before
    assert verify_run(run).findings == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"little"', '"big"', "codecs"),
        ('"float16"', '"float32"', "data_type"),
        ('"separator": "/"', '"separator": "."', "chunk_key_encoding"),
        ('"array"', '"group"', "node_type"),
        ('"logical_dtype": "float16"', '"logical_dtype": "bfloat16"', "logical_dtype"),
        ("[\n    400,", "[\n    300,", "shape"),
    ],
)
def test_metadata_that_would_read_as_other_values(run: Path, old: str, new: str, said: str) -> None:
    file = run / PART / "layers/half/zarr.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    (finding,) = verify_run(run, quick=True).findings
    assert finding.where == f"{PART}/layers/half/zarr.json"
    assert said in finding.what


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(rows=399), "says 399 rows, but its arrays have 400"),
        (lambda record: record.update(mode="training"), "has the mode 'training'"),
        (lambda record: record.update(parts={}), "names no part"),
        (lambda record: record.pop("parts"), "cannot be read"),
        (lambda record: record["parts"]["r000"].pop("label"), "promises no label in r000"),
        (
            lambda record: record["parts"]["r000"]["label"].update(shape=[399]),
            "shape (399,) for 400 rows",
        ),
        (
            lambda record: record["parts"]["r000"]["logits"].update(shape=[400, 2]),
            "logits of (2,) in r000",
        ),
        (lambda record: record["parts"]["r000"]["layers/half"]["shards"].pop(), "promises 1 shards"),
        (lambda record: record["parts"]["r000"]["layers/half"].update(chunk_rows=7), "in chunks of 7"),
        (
            lambda record: record["parts"]["r000"]["label"].update(logical_dtype="float32", dtype="float32"),
            "promises float32",
        ),
        (lambda record: record["parts"]["r000"]["label"].update(logical_dtype="float32"), "stored as 'int64'"),
        (lambda record: record["parts"]["r000"].update(other=record["parts"]["r000"]["label"]), "an unknown array"),
        (
            lambda record: record["parts"].update(r001={**record["parts"]["r000"], "layers/x": None}),
            "cannot be read",
        ),
    ],
)
def test_a_record_that_contradicts_itself(run: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    edit(run / EPOCH / "val/zarr.json", change)
    found = [finding for finding in verify_run(run).findings if finding.where == f"{EPOCH}/val/zarr.json"]
    assert any(said in finding.what for finding in found), found
    verify_run(run, repair=True)
    assert open_run(run).epochs == [0, 2]
    assert verify_run(run).findings == ()


def test_ids_and_coverage(run: Path) -> None:
    with pytest.warns(FeatlabWarning, match="only 398 sample ids"):
        write(run, 3, sample_ids=[*range(398), 7, 9])
    with pytest.warns(FeatlabWarning), SnapshotWriter(run, epoch=4, split="val", classes=CLASSES, expected=5) as writer:
        writer.append({"x": np.ones((3, 2))}, LABELS[:3])
    assert lines(run) == [
        "remark: epochs/000003/val has 2 sample ids more than once, such as 7, and shows 398 of its 400 rows",
        "remark: epochs/000004/val covers 3 of 5 expected samples",
    ]
    edit(run / EPOCH / "val/zarr.json", lambda record: record.update(unique=399))
    assert lines(run)[0] == f"lost: {EPOCH}/val has 400 sample ids, but its record says 399"


def test_padding_of_a_sampler_is_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    writers = [SnapshotWriter(path, epoch=0, split="val", classes=CLASSES, rank=rank) for rank in (0, 1)]
    for rank in (1, 0):  # sample 0 comes once more
        ids = np.array([[0, 2, 4], [1, 3, 0]][rank])
        writers[rank].append({"x": np.ones((3, 2))}, LABELS[:3], sample_ids=ids)
        writers[rank].commit()
    assert verify_run(path).findings == ()
    flip(path / "epochs/000000/val/r001/layers/x/c/0/0")
    assert [finding.where for finding in verify_run(path).findings] == ["epochs/000000/val/r001/layers/x/c/0/0"]


def test_labels_beyond_the_classes(run: Path) -> None:
    """A store whose writer did not check: all digests hold."""
    edit(run / "zarr.json", lambda attributes: attributes.update(classes=["a", "b"]))
    for epoch in range(3):
        shutil.rmtree(run / f"epochs/{epoch:06d}/weights")
    with pytest.MonkeyPatch.context() as patch:
        shrink_chunks(patch)
        write_epoch(run, epoch=0, features={"x": features(4, 0)}, labels=LABELS % 2, overwrite=True)
    edit(run / "zarr.json", lambda attributes: attributes.update(classes=["a"]))
    edit(run / "epochs/000000/val/zarr.json", lambda record: None)
    found = verify_run(run).findings
    assert str(found[0]) == "lost: epochs/000000/val has 133 labels outside 0..0, the first of them 1 in row 1"


def test_what_killed_writers_leave(run: Path) -> None:
    before = contents(run)
    shutil.copytree(run / PART, run / "epochs/000003/val/r000")
    (run / "epochs/000003/val/r000/zarr.json").unlink()
    (run / "epochs/000004/val").mkdir(parents=True)
    shutil.copytree(run / EPOCH / "weights", run / "epochs/000005/weights")
    shutil.copytree(run / PART, run / EPOCH / "val/r003")
    for name in ("zarr.1.partial", "epochs/zarr.2.partial", f"{EPOCH}/zarr.3.partial", f"{PART}/label/c/0.4.partial"):
        (run / name).write_bytes(b"half")
    found = verify_run(run)
    places = [
        "epochs/000001/val/r000/label/c/0.4.partial", "epochs/000001/val/r003", "epochs/000001/zarr.3.partial",
        "epochs/000003/val", "epochs/000004/val", "epochs/000005/weights", "epochs/zarr.2.partial", "zarr.1.partial",
    ]  # fmt: skip
    assert [(finding.kind, finding.where) for finding in found.findings] == [("leftover", place) for place in places]
    assert not found.costs_data
    assert "is not committed: r000 of a writer that was killed or is still at work" in found.findings[3].what
    left = [finding.repaired or "" for finding in verify_run(run, repair=True).findings]
    assert all(said.startswith("left alone, for it was written to ") for said in left)
    for file in [*run.rglob("*")]:
        os.utime(file, (0, 0))
    assert {finding.repaired for finding in verify_run(run, repair=True).findings} == {"cleared"}
    assert contents(run) == before
    assert verify_run(run).findings == ()


def test_a_writer_at_work_is_left_alone(run: Path) -> None:
    writer = SnapshotWriter(run, epoch=3, split="val", classes=CLASSES)
    writer.append({"x": np.ones((3, 2))}, LABELS[:3])
    (line,) = lines(run, repair=True)
    assert line.startswith("leftover: epochs/000003/val is not committed")
    assert line.endswith("; left alone, for it was written to 0 minutes ago")
    writer.commit()
    assert verify_run(run).findings == ()


def test_what_somebody_else_put_there_stays(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    (run / EPOCH / "val/r000/notes.txt").write_text("mine")
    (run / EPOCH / "val/.DS_Store").write_text("nobody's")
    (run / EPOCH / "plots").mkdir()
    (run / EPOCH / "plots/loss.png").write_bytes(b"mine")
    before = contents(run)
    assert lines(run, repair=True, idle_minutes=0) == [
        f"remark: {EPOCH}/plots is no snapshot, and no reader shows it",
        f"remark: {PART}/notes.txt belongs to nothing that the commit names",
    ]
    assert contents(run) == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "deleted", "emptied"])
def test_a_repair_sets_the_broken_epoch_aside_and_no_other(run: Path, damage: str) -> None:
    DAMAGES[damage][0](run / PART / "layers/half/c/1/0")
    before = contents(run)
    (finding,) = verify_run(run, repair=True).findings
    assert finding.repaired == "set aside as aside/000001/val"
    after = contents(run)
    assert part_of(after, "aside/000001/val/") == part_of(before, f"{EPOCH}/val/")
    assert part_of(after, "aside/000001/weights/") == part_of(before, f"{EPOCH}/weights/")
    for epoch in ("000000", "000002"):
        assert part_of(after, f"epochs/{epoch}/") == part_of(before, f"epochs/{epoch}/")
    opened = open_run(run)
    assert opened.committed == [(0, "val"), (2, "val")]
    assert opened.classifier(1) is None
    assert verify_run(run).findings == ()
    assert set(zarr.open_group(run, mode="r")["aside/000001"].group_keys()) == {"val", "weights"}
    write(run, 1)  # as a training that goes on would
    assert open_run(run).epochs == [0, 1, 2]
    (run / PART / "layers/half/c/0/0").unlink()
    assert verify_run(run, repair=True).findings[0].repaired == "set aside as aside/000001/val.1"
    assert part_of(contents(run), "aside/000001/val/") == part_of(before, f"{EPOCH}/val/")


def test_a_sound_split_keeps_its_place_and_the_classifier(run: Path) -> None:
    write(run, 1, split="train")
    flip(run / PART / "logits/c/0/0")
    assert verify_run(run, repair=True).findings[0].repaired == "set aside as aside/000001/val"
    opened = open_run(run)
    assert opened.committed == [(0, "val"), (1, "train"), (2, "val")]
    assert opened.classifier(1) is not None
    assert verify_run(run).findings == ()


def test_a_broken_classifier_leaves_alone(run: Path) -> None:
    flip(run / EPOCH / "weights/bias/c/0")
    with pytest.raises(CorruptStoreError):
        open_run(run).classifier(1)
    (line,) = lines(run, repair=True)
    assert line.endswith("set aside as aside/000001/weights")
    opened = open_run(run)
    assert opened.epochs == [0, 1, 2]
    assert opened.classifier(1) is None
    assert verify_run(run).findings == ()


@pytest.mark.parametrize("where", ["val", "weights"])
@pytest.mark.parametrize("text", [None, "", "{}", "null", '{"zarr_format": 3', "\x00\x01"])
def test_a_lost_record_is_set_aside_with_all_it_named(run: Path, where: str, text: str | None) -> None:
    file = run / EPOCH / where / "zarr.json"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    before = contents(run)
    found = verify_run(run)
    assert [finding.kind for finding in found.findings] == ["lost"]
    assert found.findings[0].where.startswith(f"{EPOCH}/{where}")
    (finding,) = verify_run(run, repair=True, idle_minutes=0).findings
    assert finding.repaired == f"set aside as aside/000001/{where}"
    assert part_of(contents(run), f"aside/000001/{where}/") == part_of(before, f"{EPOCH}/{where}/")
    assert open_run(run).epochs == ([0, 2] if where == "val" else [0, 1, 2])
    assert verify_run(run).findings == ()


def test_groups_are_written_anew(run: Path) -> None:
    before = contents(run)
    for name in ("epochs/zarr.json", f"{EPOCH}/zarr.json", f"{PART}/layers/zarr.json"):
        (run / name).write_bytes(b"")
    assert [finding.kind for finding in verify_run(run).findings] == ["remark"] * 3
    verify_run(run, repair=True)
    assert verify_run(run).findings == ()
    assert "half" in zarr.open_group(run, mode="r")[f"{PART}/layers"]
    assert contents(run).keys() == before.keys()


def test_an_error_of_the_disk_is_no_reason_to_move_anything(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == run / SHARDS[3]:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    found = verify_run(run, repair=True)
    assert [str(finding) for finding in found.findings] == [
        f"unreadable: {SHARDS[3]} cannot be read (Input/output error)"
    ]
    assert found.costs_data
    assert open_run(run).epochs == [0, 1, 2]


def test_what_is_written_anew_while_it_is_repaired_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featlab.store.verify import run as verifying

    flip(run / SHARDS[3])
    mend = verifying.mend

    def late(*arguments: Any) -> Any:
        write(run, 1, overwrite=True, mode="eval")
        return mend(*arguments)

    monkeypatch.setattr(verifying, "mend", late)
    (line,) = lines(run, repair=True)
    assert line.endswith("; left alone, for it was written anew meanwhile")
    assert open_run(run).epochs == [0, 1, 2]
    assert verify_run(run).findings == ()


def test_quick_reads_no_rows(run: Path) -> None:
    flip(run / SHARDS[3])
    assert verify_run(run, quick=True).findings == ()
    (run / SHARDS[3]).write_bytes(b"")
    assert len(verify_run(run, quick=True).findings) == 1


def readable(path: Path) -> dict[str, Any]:
    """All that a reader gets of a run."""
    found: dict[str, Any] = {}
    opened = open_run(path)
    for epoch, split in opened.committed:
        arrays = {
            name: np.concatenate([block.read() for block in opened.blocks(epoch, split, name)])
            for name in ("layers/half", "logits")
        }
        columns = {"labels": opened.labels(epoch, split), "ids": opened.sample_ids(epoch, split)}
        found[f"{epoch} {split}"] = {**arrays, **columns}
        classifier = opened.classifier(epoch)
        if classifier is not None:
            found[f"{epoch} classifier"] = (classifier.weight, classifier.bias, classifier.feeds)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_no_change_to_any_byte_changes_what_is_read_unseen(run: Path, seed: int) -> None:
    """What a repair leaves in sight is what was written, wherever a bit flipped or a file was cut."""
    rng = np.random.default_rng(seed)
    wanted = readable(run)
    names = sorted(name for name in contents(run) if name.startswith(EPOCH))
    file = run / names[rng.integers(len(names))]
    data = bytearray(file.read_bytes())
    if rng.random() < 0.2:
        del data[int(rng.integers(len(data))) :]
    else:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)
    if not verify_run(run).findings:
        np.testing.assert_equal(readable(run), wanted)
    verify_run(run, repair=True, idle_minutes=0)
    assert not verify_run(run).costs_data
    left = readable(run)
    np.testing.assert_equal(left, {key: wanted[key] for key in left})
    assert {"0 val", "2 val", "0 classifier", "2 classifier"} <= left.keys()


WRITER = """
import sys
import numpy as np
from featlab.store import SnapshotWriter
writer = SnapshotWriter(sys.argv[1], epoch=3, split="val", classes=["a", "b", "c"])
print("started", flush=True)
while True:
    writer.append({"half": np.ones((64, 8))}, np.zeros(64, int))
"""


def test_after_a_real_kill_the_way_is_free(run: Path) -> None:
    before = contents(run)
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    process.kill()
    process.wait()
    process.stdout.close()
    found = verify_run(run, repair=True, idle_minutes=0)
    assert (found.costs_data, [finding.repaired for finding in found.findings]) == (False, ["cleared"])
    write(run, 3)
    assert verify_run(run).findings == ()
    assert before.items() <= contents(run).items()


def test_the_run_itself(run: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match=r"no\.zarr"):
        verify_run(tmp_path / "no.zarr")
    (run / "zarr.json").write_text("{")
    with pytest.raises(CorruptStoreError, match="cannot be read as Zarr metadata"):
        verify_run(run)


@pytest.mark.parametrize("minutes", [-1, float("nan"), "60", True])
def test_idle_minutes_are_a_number(run: Path, minutes: Any) -> None:
    with pytest.raises(OptionError, match=f"idle_minutes is {minutes!r}"):
        verify_run(run, idle_minutes=minutes)


def test_the_command(run: Path) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        outcome = CliRunner().invoke(command, [str(run), *arguments], catch_exceptions=False)
        return outcome.exit_code, outcome.stdout, outcome.stderr

    code, out, err = call()
    assert (code, out) == (0, "")
    assert err.startswith("featlab: 3 snapshots, ")
    assert err.endswith(": whole.\n")
    (run / "x.partial").write_bytes(b"")
    code, out, err = call()
    assert (code, len(out.splitlines())) == (0, 1)
    assert err.endswith(": 1 leftover.\n")
    (run / SHARDS[3]).unlink()
    code, out, err = call("--repair", "--idle", "0")
    assert code == 1
    assert out.splitlines() == [
        f"lost: {SHARDS[3]} is missing; set aside as aside/000001/val",
        "leftover: x.partial is a file of which the writing was cut off; cleared",
    ]
    assert err.endswith(": 1 lost, 1 leftover.\n")
    assert call("--quick")[0] == 0


def test_the_command_in_a_process(run: Path) -> None:
    flip(run / SHARDS[0])
    done = subprocess.run(
        [sys.executable, "-c", "from featlab_cli.main import run; run()", "verify", str(run)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == f"lost: {SHARDS[0]} fails its checksum\n"
    assert len(done.stderr.splitlines()) == 1


def test_a_bar_counts_bytes(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify_run(original, progress=True)
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with s3_server():
        yield


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("protocol", ["s3", "memory"])
def test_a_run_by_url(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_chunks(monkeypatch)
    url = new_url(protocol)
    for epoch in range(2):
        write(url, epoch)
    assert verify_run(url).findings == ()
    root = ObjectPath(url)
    shard = root / SHARDS[3]
    data = shard.read_bytes()
    for harmed, said in (
        (data[:-1], "bytes instead of"),
        (b"", "is empty"),
        ((root / SHARDS[3].replace("000001", "000000")).read_bytes(), "is sound in itself"),
        (None, "is missing"),
    ):
        if harmed is None:
            shard.unlink()
        else:
            shard.write_bytes(harmed)
        (finding,) = verify_run(url).findings
        assert finding.where == SHARDS[3]
        assert said in finding.what
    shard.write_bytes(data)
    (root / "epochs/000002/val/r000/writer").write_bytes(b"token")
    (finding,) = verify_run(url).findings
    assert (finding.kind, finding.where) == ("leftover", "epochs/000002/val")
    with pytest.raises(OptionError, match="nothing can be moved at once"):
        verify_run(url, repair=True)
