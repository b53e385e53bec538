"""Reading a run: what is committed, its labels, and its features as blocks or dask arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import CorruptStoreError, NotAStoreError, NotInStoreError, OptionError
from featlab.messages import elided, shown_bytes
from featlab.notebook import html_facts, html_page, shortened
from featlab.store import layout
from featlab.store.arrays import Block, array_blocks, read_array
from featlab.store.attributes import RunAttributes, epochs_in, read_run, snapshots, sought_record
from featlab.store.checks import (
    classifier_arrays,
    classifier_problems,
    digest_of_classifier,
    names_problem,
    other_classifier,
    record_problems,
)
from featlab.store.files import StorePath, disk_errors, read_attributes, store_path
from featlab.store.layout import CommitRecord
from featlab.store.renaming import rename_classes
from featlab.store.seals import commit_digest
from featlab.store.xarrays import as_dataset, as_datatree, require_xarray

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    import xarray as xr

__all__ = ["Block", "Classifier", "Run", "Snapshot", "open_run"]

TARGET_BYTES = 32 * layout.MIB


@dataclass(frozen=True)
class Classifier:
    """The last linear layer of an epoch.

    Attributes
    ----------
    weight
        ndarray of shape (K, D), float32.
    bias
        ndarray of shape (K,), float32.
    feeds
        The stored layers that it reads.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    feeds: tuple[str, ...]


def open_run(path: StorePath) -> Run:
    """Open a stored run.

    Parameters
    ----------
    path
        Directory of the run, or its URL: ``s3://``, ``gs://``, ``file://`` or another that fsspec serves.

    Raises
    ------
    NotAStoreError
        There is no run at the path.
    StoreError
        The run is of another format version; a URL that cannot be reached.
    OptionError
        A URL whose driver is not installed.
    CorruptStoreError
        A commit record cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featlab import open_run, write_epoch
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> write_epoch(path, epoch=0, features={"penultimate": np.eye(4)}, labels=[0, 1, 1, 0])
    >>> run = open_run(path)
    >>> run.epochs, run.splits, run.layers
    ([0], ['val'], ['penultimate'])
    """
    return Run(path)


def find_run(path: StorePath, *, replaces: bool = False) -> Run | None:
    """Open a run, or return None where there is none yet: what else is wrong with the path, a writer will say.

    Parameters
    ----------
    path
        As for `open_run`, which also tells what is raised.
    replaces
        Return None for a damaged run too, as what is written will replace it.
    """
    try:
        return Run(path)
    except NotAStoreError:
        return None
    except CorruptStoreError:
        if replaces:
            return None
        raise


def _sound_record(data: dict[str, Any], where: str, run: RunAttributes) -> CommitRecord:
    """Read a commit record through the checks of `featlab verify`."""
    record = CommitRecord.from_json(data, where)
    problem = next(record_problems(record, len(run.classes)), None)
    if problem is not None:
        raise _corrupt_record(where, problem)
    if (problem := names_problem(record, run)) is not None:
        raise CorruptStoreError(
            f"{where} {problem}; restore {layout.METADATA} of the run from a copy, or run `featlab verify`"
        )
    return record


def _corrupt_record(where: str, problem: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"the commit record of {where} {problem}; restore {layout.METADATA} from a copy, or write the snapshot again "
        "with overwrite"
    )


def _lost_classifier(epoch: int, where: str, problem: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"the classifier of epoch {epoch} {problem}; restore {where} from a copy, write the epoch again with "
        "overwrite, or go on without it after `featlab verify --repair`"
    )


class Run:
    """A stored run, as it was when it was opened; `open_run` makes it.

    Attributes
    ----------
    path
        Where it is.
    attrs
        The attributes of the run: classes, synsets, model, layers.
    classes, synsets
        Names of the classes and their WordNet ids (or None), as they were last renamed.
    committed
        All (epoch, split), in order.
    commits
        The same, with a digest that is another one after a snapshot was overwritten.
    without_record
        Each (epoch, split) that has a directory and no commit record: its writer is at work or was killed, or the
        record was lost. No reader shows it.
    epochs, splits, layers
        What is committed anywhere in the run; layers in the order in which they first came.
    layers_in_order
        Those layers of which the run tells their place, from the model's input to its output; none in older runs.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featlab import open_run, write_epoch
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> write_epoch(path, epoch=5, features={"fc": np.eye(3)}, labels=[0, 1, 2], mode="eval")
    >>> run = open_run(path)
    >>> run.has(5, "val", "fc"), run.record(5, "val").mode
    (True, 'eval')
    >>> [block.read().shape for block in run.blocks(5, "val", "layers/fc")]
    [(3, 3)]
    """

    def __init__(self, path: StorePath) -> None:
        root = store_path(path).absolute()  # a worker may stand in another directory
        self._records: dict[tuple[int, str], CommitRecord] = {}
        self.commits: dict[tuple[int, str], str] = {}
        self.without_record: list[tuple[int, str]] = []
        with disk_errors(f"opening {root}", "check that it may be read"):
            attributes = read_run(root)
            for epoch, split, found in snapshots(root, epochs_in(root)):
                data = found or sought_record(root / layout.split_path(epoch, split))
                if data is None:
                    self.without_record.append((epoch, split))
                    continue
                self._records[epoch, split] = _sound_record(data, layout.split_path(epoch, split), attributes)
                self.commits[epoch, split] = commit_digest(data)
        self.path = str(root)
        self._take(attributes)
        self._kept: dict[tuple[int, str], NDArray[np.bool_]] = {}
        self._columns: dict[tuple[str, str], tuple[list[str], NDArray[Any]]] = {}
        self._classifiers: dict[int, tuple[tuple[str, ...], layout.Inventory]] = {}
        self.committed = list(self._records)
        self.epochs = list(dict.fromkeys(epoch for epoch, _ in self._records))
        self.splits = sorted({split for _, split in self._records})
        self.layers = list(dict.fromkeys(layer for record in self._records.values() for layer in record.layers))
        ordered = self.layers if len(self.layers) == 1 else () if attributes.order is None else attributes.order.layers
        self.layers_in_order = [layer for layer in ordered if layer in self.layers]

    def _take(self, attributes: RunAttributes) -> None:
        self.attrs: dict[str, Any] = attributes.to_shown_json()
        self.classes = attributes.shown_classes
        self.synsets = attributes.shown_synsets

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_columns": {}}  # rows do not travel: who needs them reads them

    def __repr__(self) -> str:
        epochs, splits, layers = (elided(held, 6, show=repr) for held in (self.epochs, self.splits, self.layers))
        return (
            f"Run({self.path!r}: {len(self.classes)} classes, epochs [{epochs}], splits [{splits}], layers [{layers}])"
        )

    def _repr_html_(self) -> str:
        """Show in a notebook what the run holds; nothing is read for it."""
        stored = sum(record.stored_bytes(array) for record in self._records.values() for array in record.inventory)
        names = elided(self.classes, 6, show=lambda name: shortened(str(name), 30))
        facts = {
            "classes": f"{len(self.classes)}: {names}",
            "epochs": _held(self.epochs),
            "splits": _held(self.splits),
            "layers": _held(self.layers),
            "snapshots": f"{len(self.committed)} (epoch, split), {shown_bytes(stored)}",
            "model": str(self.attrs.get("model") or "not told"),
        }
        if self.without_record:
            facts["not shown"] = f"{len(self.without_record)} (epoch, split) without a commit record"
        return html_page(f"Run {self.path}", html_facts(facts))

    def rename_classes(self, names: Sequence[str] | None = None, *, synsets: Sequence[str] | None = None) -> None:
        """Give the classes other names, or synsets, in this run and in its store; labels and rows stay as they are.

        Parameters
        ----------
        names
            K names, in the order of the labels; by default the classes keep theirs.
        synsets
            K WordNet ids, in the order of the labels; by default the classes keep theirs.

        Raises
        ------
        DataError
            Another number of names than there are classes.
        OptionError
            What is no list of names; neither names nor synsets.
        StoreError
            Another process writes to the run.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from featlab import open_run, write_epoch
        >>> path = tempfile.mkdtemp() + "/run.zarr"
        >>> write_epoch(path, epoch=0, features={"fc": np.eye(2)}, labels=[0, 1])
        >>> run = open_run(path)
        >>> run.rename_classes(["animal.cat", "vehicle.car"])
        >>> run.classes == open_run(path).classes == ["animal.cat", "vehicle.car"]
        True
        """
        self._take(rename_classes(self.path, names, synsets=synsets))

    def record(self, epoch: int, split: str) -> CommitRecord:
        """Return the commit record of a (epoch, split); NotInStoreError where nothing was committed."""
        record = self._records.get((epoch, split))
        if record is not None:
            return record
        if epoch not in self.epochs:
            raise NotInStoreError(f"{self.path} has no epoch {epoch!r}; its epochs are {_held(self.epochs)}")
        splits = [name for number, name in self.committed if number == epoch]
        raise NotInStoreError(f"{self.path} has no split {split!r} in epoch {epoch}; the splits are {_held(splits)}")

    def has(self, epoch: int, split: str, layer: str) -> bool:
        """Tell whether a layer was committed with a (epoch, split)."""
        record = self._records.get((epoch, split))
        return record is not None and layer in record.layers

    def has_logits(self, epoch: int, split: str) -> bool:
        """Tell whether logits were committed with a (epoch, split)."""
        return self.record(epoch, split).has_logits

    def snapshot(self, *, epoch: int, split: str, layer: str) -> Snapshot:
        """The features of one layer at one (epoch, split); NotInStoreError where there are none."""
        self._require(epoch, split, f"{layout.LAYERS}/{layer}")
        return Snapshot(self, epoch, split, layer)

    def labels(self, epoch: int, split: str) -> NDArray[np.int64]:
        """Class of each row: ndarray of shape (rows,)."""
        return self._column(epoch, split, "label")

    def sample_ids(self, epoch: int, split: str) -> NDArray[np.int64]:
        """Sample of each row: ndarray of shape (rows,)."""
        return self._column(epoch, split, "sample_id")

    def feeds(self, epoch: int, split: str | None = None) -> tuple[str, ...]:
        """The stored layers that the classifier of an epoch reads; none without a classifier.

        Nor any of a split that was captured within the epoch: the classifier was another one then.
        """
        is_within = split is not None and layout.base_split(split) != split
        return () if is_within else self._weights(epoch)[0]

    def classifier_digests(self, epoch: int) -> list[str]:
        """Return a text that tells the classifier of an epoch from any other; empty without one."""
        return [shard.digest for info in self._weights(epoch)[1].values() for shard in info.shards]

    def classifier(self, epoch: int) -> Classifier | None:
        """The classifier of an epoch, or None where none was stored."""
        feeds, arrays = self._weights(epoch)
        if not arrays:
            return None
        where = layout.weights_path(epoch)
        weight, bias = (read_array(self.path, f"{where}/{name}", arrays[name]) for name in ("weight", "bias"))
        return Classifier(weight, bias, feeds)

    def _weights(self, epoch: int) -> tuple[tuple[str, ...], layout.Inventory]:
        if epoch not in self._classifiers:
            self._classifiers[epoch] = self._read_weights(epoch)
        return self._classifiers[epoch]

    def _read_weights(self, epoch: int) -> tuple[tuple[str, ...], layout.Inventory]:
        where = layout.weights_path(epoch)
        held = read_attributes(store_path(self.path) / where) if epoch in self.epochs else None
        said = {split: record.classifier for (number, split), record in self._records.items() if number == epoch}
        if held is None:
            if (problem := other_classifier(said, None)) is not None:
                raise _lost_classifier(epoch, where, problem)
            return (), {}
        arrays, feeds = classifier_arrays(held, where)
        problems = classifier_problems(arrays, len(self.classes))
        if problems:
            raise CorruptStoreError(
                f"the classifier of epoch {epoch} {problems[0]}; restore {where}/{layout.METADATA} from a copy"
            )
        if (problem := other_classifier(said, digest_of_classifier(arrays, feeds))) is not None:
            raise _lost_classifier(epoch, where, problem)
        return tuple(feeds), arrays

    def blocks(self, epoch: int, split: str, array: str, *, target_bytes: int = TARGET_BYTES) -> list[Block]:
        """Return the blocks that hold the rows of an array, in the snapshot's order.

        Parameters
        ----------
        array
            "logits" or ``layers/NAME``.
        target_bytes
            About this much memory for a block once read; a block is at least one inner chunk and at most one shard.
        """
        if target_bytes < 1:
            raise OptionError(f"target_bytes is {target_bytes}, but must be at least 1")
        record = self._require(epoch, split, array)
        keep = self._keep(epoch, split)
        stored = 0
        offset = 0
        blocks = []
        for rank, part in record.parts.items():
            where = f"{layout.split_path(epoch, split)}/{rank}/{array}"
            for block in array_blocks(self.path, where, part[array], target_bytes):
                first = stored + block.offset
                dropped = () if keep is None else tuple(np.flatnonzero(~keep[first : first + block.rows]).tolist())
                rows = block.rows - len(dropped)
                if rows:
                    blocks.append(replace(block, offset=offset, rows=rows, dropped=dropped))
                offset += rows
            stored += part[array].shape[0]
        return blocks

    def info(self) -> pd.DataFrame:
        """One row for each snapshot; layers come from the input to the output, then those of which none knows.

        Returns
        -------
        DataFrame
            epoch, split, layer, rows, dim, dtype, mode, stored_bytes, nan, inf.
        """
        import pandas as pd

        columns = ["epoch", "split", "layer", "rows", "dim", "dtype", "mode", "stored_bytes", "nan", "inf"]
        table = []
        place = {layer: number for number, layer in enumerate(self.layers_in_order)}
        for (epoch, split), record in self._records.items():
            for layer in sorted(record.layers, key=lambda layer: place.get(layer, len(place))):
                array = f"{layout.LAYERS}/{layer}"
                info = record.inventory[array]
                counts = record.nonfinite.get(layer, {"nan": 0, "inf": 0})
                size = record.stored_bytes(array)
                row = (epoch, split, layer, record.unique, info.shape[1], info.dtype, record.mode, size)
                table.append((*row, counts["nan"], counts["inf"]))
        return pd.DataFrame(table, columns=columns)

    def to_datatree(self) -> xr.DataTree:
        """The run as an xarray.DataTree: a node for each epoch and split, such as ``tree["12/val"]``.

        Labels and sample ids are read here, features and logits (as dask arrays) when they are computed.

        Returns
        -------
        DataTree
            The root holds the coordinate ``class``, the names of the classes (and ``synset``, where there are synsets);
            a node of an epoch and split has a variable for each layer, of dims (sample, feature(LAYER)), ``logits`` of
            dims (sample, class) where they were stored, and the coordinates ``sample_id`` and ``label``. A layer that
            has the name of another of these is ``layer(NAME)``.

        Raises
        ------
        OptionError
            xarray is not installed, or older than its DataTree.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from featlab import open_run, write_epoch
        >>> path = tempfile.mkdtemp() + "/run.zarr"
        >>> layers = {"conv": np.ones((4, 6)), "fc": np.eye(4)}
        >>> write_epoch(path, epoch=12, features=layers, labels=[0, 1, 1, 0], dtype="float32")
        >>> node = open_run(path).to_datatree()["12/val"]
        >>> node["fc"].groupby("label").mean().values
        array([[0.5, 0. , 0. , 0.5],
               [0. , 0.5, 0.5, 0. ]], dtype=float32)
        """
        require_xarray("to_datatree", "DataTree")
        nodes = {}
        for (epoch, split), record in self._records.items():
            features = {layer: self.snapshot(epoch=epoch, split=split, layer=layer).features for layer in record.layers}
            outputs = self.blocks(epoch, split, "logits") if record.has_logits else []
            logits = _dask_array(outputs, len(self.classes)) if outputs else None
            attrs = {"epoch": epoch, "split": split, "mode": record.mode, "step": record.step}
            said = {name: value for name, value in attrs.items() if value is not None}
            ids, labels = self.sample_ids(epoch, split), self.labels(epoch, split)
            nodes[f"{epoch}/{split}"] = as_dataset(features, logits, ids, labels, said)
        return as_datatree(nodes, self.classes, self.synsets, self.attrs.get("model"))

    def _require(self, epoch: int, split: str, array: str) -> CommitRecord:
        record = self.record(epoch, split)
        if array not in record.inventory:
            kind, _, layer = array.rpartition("/")
            wanted = f"layer {layer!r}" if kind == layout.LAYERS else f"array {array!r}"
            held = [*record.layers, *(["logits"] if record.has_logits else [])]
            raise NotInStoreError(
                f"{self.path} has no {wanted} in epoch {epoch}, split {split!r}; it holds {_held(held)}"
            )
        return record

    def _stored(self, epoch: int, split: str, name: str) -> NDArray[Any]:
        where = layout.split_path(epoch, split)
        parts = self.record(epoch, split).parts
        return np.concatenate(
            [read_array(self.path, f"{where}/{rank}/{name}", part[name]) for rank, part in parts.items()]
        )

    def _keep(self, epoch: int, split: str) -> NDArray[np.bool_] | None:
        """Mark the stored rows that are the first of their sample; None where all are."""
        record = self.record(epoch, split)
        if record.rows == record.unique:
            return None
        if (epoch, split) not in self._kept:
            keep = np.zeros(record.rows, bool)
            keep[np.unique(self._stored(epoch, split, "sample_id"), return_index=True)[1]] = True
            if (found := int(keep.sum())) != record.unique:
                raise _corrupt_record(
                    layout.split_path(epoch, split), f"says {record.unique} sample ids, and there are {found}"
                )
            self._kept[epoch, split] = keep
        return self._kept[epoch, split]

    def _column(self, epoch: int, split: str, name: str) -> NDArray[np.int64]:
        # Most epochs have the labels and samples of the one before: what has the same digests is the same.
        digests = [shard.digest for part in self.record(epoch, split).parts.values() for shard in part[name].shards]
        held, values = self._columns.get((split, name), ([], np.zeros(0)))
        if held != digests:
            values = self._stored(epoch, split, name)
            self._columns[split, name] = digests, values
        values = values.copy()
        keep = self._keep(epoch, split)
        return values if keep is None else values[keep]


class Snapshot:
    """The features of one layer at one (epoch, split); `Run.snapshot` makes it.

    Rows come part by part, in the order they were captured; of rows with the same sample id the first counts.

    Attributes
    ----------
    rows, dim
        Shape of the features.
    dtype
        "float16", "bfloat16" or "float32": what is on disk.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featlab import open_run, write_epoch
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> write_epoch(path, epoch=5, features={"fc": np.eye(3)}, labels=[0, 1, 2])
    >>> snapshot = open_run(path).snapshot(epoch=5, split="val", layer="fc")
    >>> snapshot.features.sum(axis=0).compute()
    array([1., 1., 1.], dtype=float16)
    """

    def __init__(self, run: Run, epoch: int, split: str, layer: str) -> None:
        record = run.record(epoch, split)
        info = record.inventory[f"{layout.LAYERS}/{layer}"]
        self._run = run
        self.epoch = epoch
        self.split = split
        self.layer = layer
        self.rows = record.unique
        self.dim = info.shape[1]
        self.dtype = info.dtype

    def __repr__(self) -> str:
        key = f"epoch={self.epoch}, split={self.split!r}, layer={self.layer!r}"
        return f"Snapshot({key}: {self.rows} x {self.dim} {self.dtype})"

    def _repr_html_(self) -> str:
        """Show in a notebook what the snapshot is; no row is read for it."""
        record = self._run.record(self.epoch, self.split)
        facts = {
            "run": self._run.path,
            "epoch, split": f"{self.epoch}, {self.split}",
            "rows": str(self.rows),
            "features": f"{self.dim} of {self.dtype}",
            "logits": "stored" if record.has_logits else "not stored",
            "on disk": shown_bytes(record.stored_bytes(f"{layout.LAYERS}/{self.layer}")),
            "mode": record.mode or "not known",
        }
        return html_page(f"Snapshot of the layer {self.layer!r}", html_facts(facts))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each row: ndarray of shape (rows,)."""
        return self._run.labels(self.epoch, self.split)

    @property
    def sample_ids(self) -> NDArray[np.int64]:
        """Sample of each row: ndarray of shape (rows,)."""
        return self._run.sample_ids(self.epoch, self.split)

    @property
    def features(self) -> da.Array:
        """Dask array of shape (rows, D), one chunk a block; bfloat16 becomes float32."""
        return _dask_array(self.blocks(), self.dim)

    @property
    def logits(self) -> da.Array | None:
        """Dask array of shape (rows, K), or None."""
        if not self._run.has_logits(self.epoch, self.split):
            return None
        return _dask_array(self._run.blocks(self.epoch, self.split, "logits"), len(self._run.classes))

    def blocks(self, target_bytes: int = TARGET_BYTES) -> list[Block]:
        """Blocks that hold the rows, as of `Run.blocks`."""
        return self._run.blocks(self.epoch, self.split, f"{layout.LAYERS}/{self.layer}", target_bytes=target_bytes)

    def to_xarray(self) -> xr.DataArray:
        """The features as a lazy xarray.DataArray of dims (sample, feature), coordinates sample_id and label.

        Raises
        ------
        OptionError
            xarray is not installed.
        """
        require_xarray("to_xarray", "DataArray")
        import xarray as xr

        coords = {"sample_id": ("sample", self.sample_ids), "label": ("sample", self.labels)}
        attrs = {"epoch": self.epoch, "split": self.split, "layer": self.layer}
        return xr.DataArray(self.features, coords, ("sample", "feature"), self.layer, attrs)


def _dask_array(blocks: list[Block], dim: int) -> da.Array:
    import dask.array as da
    from dask.delayed import delayed

    dtype = np.dtype("float32" if blocks[0].dtype == "bfloat16" else blocks[0].dtype)
    read = delayed(Block.read, pure=True)
    parts = [
        da.from_delayed(
            read(delayed(block, pure=True, traverse=False)), (block.rows, dim), meta=np.empty((0, 0), dtype)
        )
        for block in blocks
    ]
    joined: da.Array = da.concatenate(parts, axis=0)
    return joined


def _held(names: list[Any]) -> str:
    return elided(names, 8, end=f" ({len(names)} in all)") or "none"
