"""SIGKILL at any instant leaves the old state or an invisible part, never something between."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featlab import open_run, write_epoch
from featlab.errors import NotAStoreError

# Writes epochs 1, 2, 3, ... with all features equal to the epoch, then overwrites them with epoch + 100, forever.
WRITER = """
import sys, itertools
import numpy as np
from featlab.store import SnapshotWriter, layout
layout.CHUNK_TARGET, layout.SHARD_TARGET = 2048, 8192
path, start = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
for count in itertools.count(start):
    epoch, value = (count % 4, count)
    with SnapshotWriter(path, epoch=epoch, split="val", classes=["a", "b"], overwrite=True, model="M") as writer:
        for _ in range(6):
            rows = np.full((50, 32), value, np.float32)
            writer.append({"first": rows, "second": rows[:, :7]}, np.arange(50) % 2, logits=rows[:, :2])
        writer.classifier(np.full((2, 7), value), None, feeds=["second"])
    print(count, flush=True)
"""


def check(path: Path) -> dict[int, float]:
    """Everything visible is whole and of one writing; the value of each epoch."""
    found = {}
    run = open_run(path)
    for epoch, split in run.committed:
        assert run.layers == ["first", "second"]
        values = {layer: run.snapshot(epoch=epoch, split=split, layer=layer) for layer in run.layers}
        assert values["first"].rows == 300
        arrays = [snapshot.features.compute(scheduler="sync") for snapshot in values.values()]
        arrays.append(values["first"].logits.compute(scheduler="sync"))
        classifier = run.classifier(epoch)
        assert classifier is not None
        arrays.append(classifier.weight)
        first = float(arrays[0][0, 0])
        assert all((array == first).all() for array in arrays)
        assert int(first) % 4 == epoch
        np.testing.assert_array_equal(run.labels(epoch, split), np.arange(300) % 2)
        np.testing.assert_array_equal(run.sample_ids(epoch, split), np.arange(300))
        found[epoch] = first
    return found


@pytest.mark.slow
def test_killed_at_any_instant(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    random.seed(0)
    count = 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(count)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        seen = [int(process.stdout.readline()) for _ in range(random.randrange(3))]
        time.sleep(random.uniform(0.0, 0.08))
        process.kill()
        done = seen + [int(line) for line in process.stdout.read().split()]
        process.wait()
        process.stdout.close()
        try:
            found = check(path)
        except NotAStoreError:
            assert not done
            continue
        count = max([count - 1, *done]) + 1
        # what was said to be committed is there, but for the one that was being replaced
        for epoch in range(4):
            last = max((number for number in range(count) if number % 4 == epoch), default=None)
            if last is not None and count % 4 != epoch:
                assert found[epoch] == last
    assert count > 4
    write_epoch(path, epoch=9, features={"first": np.ones((8, 32))}, labels=np.arange(8) % 2)
    assert 9 in open_run(path).epochs
