"""The attributes of a run: its classes, its model, its layers."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featlab.errors import CorruptStoreError, DataError, FeatlabWarning, NotAStoreError, OptionError, StoreError
from featlab.store import layout
from featlab.store.files import (
    WRITING,
    AnyPath,
    read_attributes,
    read_many_attributes,
    write_group,
)
from featlab.store.layer_order import LayerOrder
from featlab.store.local import PARTIAL
from featlab.store.seals import seal_problem, sealed
from featlab.version import __version__


@dataclass(frozen=True)
class RunAttributes:
    """Attributes that hold for a whole run.

    Attributes
    ----------
    classes, synsets
        As the first writer gave them: the commit records hold digests of these, so they never change.
    model, layers, logits
        What was captured, and how.
    order
        Of the layers, from the input to the output; None in older runs, and where there is one layer.
    featlab_version
        The version that made the run.
    new_classes, new_synsets
        What they are called since they were renamed; None where they were not.
    """

    classes: list[str]
    synsets: list[str] | None = None
    model: str | None = None
    layers: dict[str, Any] = field(default_factory=dict)
    logits: dict[str, dict[str, str]] = field(default_factory=dict)
    featlab_version: str = __version__
    new_classes: list[str] | None = None
    new_synsets: list[str] | None = None
    order: LayerOrder | None = None

    @property
    def shown_classes(self) -> list[str]:
        """Names of the classes as a reader shows them."""
        return self.classes if self.new_classes is None else self.new_classes

    @property
    def shown_synsets(self) -> list[str] | None:
        """Synsets of the classes as a reader shows them; None where there are none."""
        return self.synsets if self.new_synsets is None else self.new_synsets

    @classmethod
    def of(
        cls,
        classes: Sequence[str],
        synsets: Sequence[str] | None = None,
        model: str | None = None,
        layers: Mapping[str, Mapping[str, Any]] | None = None,
        logits: Mapping[str, Mapping[str, str]] | None = None,
        order: LayerOrder | None = None,
    ) -> RunAttributes:
        """Checked and in the types that JSON gives back."""
        names = check_names(classes, "classes")
        ids = None if synsets is None else check_names(synsets, "synsets")
        if ids is not None and len(ids) != len(names):
            raise DataError(f"there are {len(ids)} synsets for {len(names)} classes; give one for each class, in order")
        try:
            specs = json.loads(
                json.dumps({layout.check_layer(name): dict(spec) for name, spec in (layers or {}).items()})
            )
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"layers cannot be written as JSON ({error}); give plain numbers, strings and lists"
            ) from error
        found = {mode: dict(spec) for mode, spec in (logits or {}).items()}
        for name in () if order is None else order.layers:
            layout.check_layer(name)
        return cls(names, ids, model, specs, found, order=None if order is None or len(order.layers) < 2 else order)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": layout.FORMAT_VERSION,
            "featlab_version": self.featlab_version,
            "classes": self.classes,
            "synsets": self.synsets,
            "model": self.model,
            "layers": self.layers,
            **({"logits": self.logits} if self.logits else {}),
            **({} if self.order is None else {layout.LAYERS_ORDER: self.order.to_json()}),
            **({layout.RENAMED: renamed} if (renamed := self._renamed()) else {}),
        }

    def _renamed(self) -> dict[str, list[str]]:
        found = {"classes": self.new_classes, "synsets": self.new_synsets}
        return {what: names for what, names in found.items() if names is not None}

    def to_shown_json(self) -> dict[str, Any]:
        """Attributes as a reader shows them, with the names that the classes have now."""
        shown = {"classes": self.shown_classes, "synsets": self.shown_synsets}
        return {key: value for key, value in {**self.to_json(), **shown}.items() if key != layout.RENAMED}

    def renamed(self, classes: Sequence[str] | None, synsets: Sequence[str] | None, where: AnyPath) -> RunAttributes:
        """These attributes with other names or synsets of the same classes; DataError for another number of them."""
        names = None if classes is None else _one_each(classes, "classes", len(self.classes), where)
        ids = None if synsets is None else _one_each(synsets, "synsets", len(self.classes), where)
        return replace(
            self,
            new_classes=self.new_classes if names is None else None if names == self.classes else names,
            new_synsets=self.new_synsets if ids is None else None if ids == self.synsets else ids,
        )

    def joined(self, new: RunAttributes, where: AnyPath) -> RunAttributes:
        """These attributes with what a later writer knows more; DataError where the two contradict."""
        if new.classes != self.classes:  # the names of a script that goes on, since they were renamed
            _check_same("classes", self.shown_classes, new.classes, where)
        if self.shown_synsets is not None and new.synsets not in (None, self.synsets):
            _check_same("synsets", self.shown_synsets, new.synsets, where)
        for name, spec in new.layers.items():
            old = self.layers.get(name, spec)
            known, now = _mask_of(old), _mask_of(spec)
            if known != now:
                raise DataError(
                    f"tokens of layer {name!r} were reduced with {_said_mask(known)} in {where} and would now be with "
                    f"{_said_mask(now)}; go on as before with mask= or --mask ('none' for no mask), or capture into "
                    "another store"
                )
            if _rows_of(old) != _rows_of(spec):
                raise DataError(
                    f"layer {name!r} was captured into {where} as {self.layers[name]} and would now be {spec}; "
                    "capture it the same way, or into another store"
                )
        for mode, found in new.logits.items():
            before = self.logits.get(mode, found)
            if before["output"] != found["output"]:
                raise DataError(
                    f"the logits in {where} were output {before['output']!r} of the model and would now be "
                    f"{found['output']!r}; name them with --logits, logits= of Capture, or use another store"
                )
        if self.model is not None and new.model is not None and self.model != new.model:
            warnings.warn(
                f"{where} holds features of {self.model}, now come some of {new.model}", FeatlabWarning, stacklevel=2
            )
        if self.order is not None and new.order is not None and (turned := self.order.turned(new.order)):
            warnings.warn(
                f"layer {turned[0]!r} comes before {turned[1]!r} in {where}, and now after it; the order there is "
                "kept, and analyze takes another one with layers_order",
                FeatlabWarning,
                stacklevel=2,
            )
        return replace(
            self,
            synsets=new.synsets if self.synsets is None else self.synsets,
            model=new.model if self.model is None else self.model,
            layers={**new.layers, **self.layers},  # what stands stays
            logits={**new.logits, **self.logits},
            order=_joined(self.order, new.order),
        )


def _joined(old: LayerOrder | None, new: LayerOrder | None) -> LayerOrder | None:
    if old is None or new is None:
        return new if old is None else old
    return old if old.turned(new) else old.joined(new)


def check_names(values: Sequence[str], what: str) -> list[str]:
    """One name for each class, or OptionError."""
    names = [] if isinstance(values, str) else list(values)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise OptionError(f"{what} is {values!r:.80}, but must be a list of one name (a str) for each class")
    if (broken := next((name for name in names if _is_broken(name)), None)) is not None:
        raise OptionError(f"{what} has the name {broken!r:.80}, which holds half of a surrogate pair; write it anew")
    return [str(name) for name in names]


def _one_each(values: Sequence[str], what: str, wanted: int, where: AnyPath) -> list[str]:
    names = check_names(values, what)
    if len(names) != wanted:
        raise DataError(
            f"there are {len(names)} {what} for the {wanted} classes of {where}; give one for each, in the order of "
            "the labels."
        )
    return names


def _is_broken(name: str) -> bool:
    """Tell whether a name is no text, which neither tables nor files can hold."""
    return any("\ud800" <= sign <= "\udfff" for sign in name)


def _mask_of(spec: Any) -> Any:
    return spec.get("mask") if isinstance(spec, Mapping) else None  # older runs have none: no mask was applied


def _said_mask(mask: Any) -> str:
    return "no mask" if mask is None else f"mask {mask!r}"


def _rows_of(spec: Any) -> Any:
    """Take of a layer's spec what its rows have in common in every batch: the mask and sizes averaged over vary."""
    if not isinstance(spec, Mapping):
        return spec
    plain = {key: value for key, value in spec.items() if key != "mask"}
    if isinstance(shape := spec.get("shape"), list) and isinstance(reduced := spec.get("axes"), list):
        # How far a batch was padded, and how large its images were, does not reach the rows.
        plain["shape"] = [size for axis, size in enumerate(shape, 1) if axis not in reduced]
    return plain


def _check_same(what: str, old: list[str], new: list[str], where: AnyPath) -> None:
    if len(old) != len(new):
        raise DataError(
            f"{where} has {len(old)} {what}, but {len(new)} were given; give the run's own, or use another store"
        )
    for number, (known, given) in enumerate(zip(old, new, strict=True)):
        if known != given:
            raise DataError(
                f"{what} differ from those of {where}: number {number} is {known!r} there and {given!r} here; "
                "give the run's own, rename them with `featlab classes`, or use another store"
            )


def read_run(root: AnyPath) -> RunAttributes:
    """The attributes of the run at a path; NotAStoreError where there is none, CorruptStoreError for damaged ones."""
    data = stored_attributes(root)
    if (problem := seal_problem(data)) is not None:
        raise CorruptStoreError(f"{root / layout.METADATA} {problem}; restore it from a copy.")
    return parse_attributes(root, data)


def stored_attributes(root: AnyPath) -> dict[str, Any]:
    """The attributes of the run at a path as they are; NotAStoreError where there is no run of this format."""
    data = read_attributes(root) if root.is_remote else None  # mostly there: one request and not three
    if data is None and not root.exists():
        raise NotAStoreError(f"there is no run at {root}: the path does not exist; check it")
    if data is None and not root.is_dir():
        raise NotAStoreError(f"{root} is a file, and a run is a directory; give the path that was captured into")
    data = data or read_attributes(root)
    if data is None and (root / layout.EPOCHS).is_dir() and is_free(root):
        raise NotAStoreError(f"{root} holds no epoch yet: capture one, or give the path that was captured into")
    if data is None or "format" not in data:
        raise NotAStoreError(f"{root} is a directory but no featlab run; give the path that was captured into")
    if data["format"] != layout.FORMAT_VERSION:
        raise StoreError(
            f"{root} has format version {data['format']!r}, and this featlab reads version {layout.FORMAT_VERSION}; "
            f"open it with featlab {data.get('featlab_version', '')} or later"
        )
    return data


def parse_attributes(root: AnyPath, data: Mapping[str, Any]) -> RunAttributes:
    """Read the attributes of a run; CorruptStoreError for what no writer wrote."""
    if lacking := [name for name in ("classes", "synsets", "model", "layers") if name not in data]:
        raise _damaged(root, f"{lacking[0]!r} is missing")
    try:
        names = check_names(data["classes"], "classes")
        ids = None if data["synsets"] is None else check_names(data["synsets"], "synsets")
    except (OptionError, TypeError) as error:
        raise _damaged(root, str(error)) from error
    if ids is not None and len(ids) != len(names):
        raise _damaged(root, f"{len(ids)} synsets for {len(names)} classes")
    model, layers = data["model"], data["layers"]
    if not isinstance(model, str | None) or not isinstance(layers, dict):
        raise _damaged(root, f"the model is {model!r:.80} and the layers are {layers!r:.80}")
    logits = data.get("logits", {})
    if not isinstance(logits, dict) or not all(isinstance(spec, dict) and "output" in spec for spec in logits.values()):
        raise _damaged(root, f"the logits are {logits!r:.80}")
    outputs = {mode: {key: str(spec.get(key, "")) for key in ("output", "found")} for mode, spec in logits.items()}
    later = _later_names(root, data.get(layout.RENAMED, {}), len(names))
    version, new_names, new_ids = str(data.get("featlab_version")), later.get("classes"), later.get("synsets")
    return RunAttributes(names, ids, model, layers, outputs, version, new_names, new_ids, _order_in(root, data))


def _order_in(root: AnyPath, data: Mapping[str, Any]) -> LayerOrder | None:
    try:
        return LayerOrder.from_json(data[layout.LAYERS_ORDER]) if layout.LAYERS_ORDER in data else None
    except ValueError as error:
        raise _damaged(root, str(error)) from error


def _later_names(root: AnyPath, renamed: Any, wanted: int) -> dict[str, list[str]]:
    if not isinstance(renamed, dict):
        raise _damaged(root, f"the later names are {renamed!r:.80}")
    try:
        return {
            what: _one_each(renamed[what], what, wanted, root) for what in ("classes", "synsets") if what in renamed
        }
    except (OptionError, DataError, TypeError) as error:
        raise _damaged(root, str(error)) from error


def _damaged(root: AnyPath, problem: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"the attributes of {root} cannot be read ({problem}); restore {layout.METADATA} from a copy"
    )


def ensure_run(root: AnyPath, attributes: RunAttributes) -> None:
    """Make a run, or check that the one at the path has these classes, and add what it lacks."""
    if is_free(root):
        root.mkdir(parents=True, exist_ok=True)
        write_group(root, sealed(attributes.to_json()))
        return
    old = read_run(root)
    joined = old.joined(attributes, root)
    if joined != old:
        write_group(root, sealed(joined.to_json()))


def is_free(root: AnyPath) -> bool:
    """Tell whether a run may be made at a path: nothing is there, or what a capture leaves that committed nothing."""
    if root.is_remote and read_attributes(root) is not None:
        return False
    if not root.exists():
        return True
    if not root.is_dir():
        return False
    # a writer killed at its very first act leaves a partial file, which must not bar the way
    names = {entry.name for entry in root.iterdir() if not entry.name.endswith(PARTIAL)} - {WRITING}
    if names - {layout.EPOCHS, layout.METADATA} or (layout.METADATA in names and read_attributes(root) is not None):
        return False
    return not names or (layout.EPOCHS in names and _holds_no_snapshot(root))


def is_run(root: AnyPath) -> bool:
    """Tell whether a run is at a path; False where one may be made, NotAStoreError for what is neither."""
    if is_free(root):
        return False
    read_run(root)
    return True


def _holds_no_snapshot(root: AnyPath) -> bool:
    """Tell whether there are epochs, as directories that say which weights ended them, and nothing else."""
    inside = {entry.name for entry in (root / layout.EPOCHS).iterdir() if not entry.name.endswith(PARTIAL)}
    epochs = {name for name in inside if re.fullmatch(r"[0-9]{6,}", name, re.ASCII)}
    return inside <= epochs | {layout.METADATA} and not any(
        (root / layout.EPOCHS / name).directories() for name in epochs
    )


def epochs_in(root: AnyPath) -> list[int]:
    """Epochs that have a directory, committed or not."""
    names = (root / layout.EPOCHS).directories()
    return sorted(int(name) for name in names if re.fullmatch(r"[0-9]{6,}", name, re.ASCII))


def committed_splits(root: AnyPath, epoch: int) -> dict[str, dict[str, Any]]:
    """The committed splits of an epoch and their attributes; having any is what makes them committed."""
    return {split: attributes for _, split, attributes in snapshots(root, [epoch]) if attributes is not None}


def snapshots(root: AnyPath, epochs: Sequence[int]) -> list[tuple[int, str, dict[str, Any] | None]]:
    """Epoch, split and attributes of each directory that may hold a snapshot, None for one that is not committed.

    In an object store, all are asked for at once.
    """
    named = zip(epochs, root.directories_of([layout.epoch_path(epoch) for epoch in epochs]), strict=True)
    splits = [(epoch, name) for epoch, names in named for name in names if name != layout.WEIGHTS]
    found = read_many_attributes(root, [layout.split_path(epoch, name) for epoch, name in splits])
    return [(epoch, name, attributes) for (epoch, name), attributes in zip(splits, found, strict=True)]


def sought_record(where: AnyPath) -> dict[str, Any] | None:
    """Read the commit record that a snapshot had none of a moment ago; CorruptStoreError for metadata without one.

    No writer leaves such: it writes the record at once with the metadata.
    """
    if not (where / layout.METADATA).exists() or not holds_rows(where):
        return None  # of a writer that is at work or was killed, or nobody's
    attributes = read_attributes(where)
    if attributes is None:
        raise CorruptStoreError(
            f"{where / layout.METADATA} holds no commit record, though rows lie beside it; restore it from a copy, or "
            "run `featlab verify` with --repair."
        )
    return attributes


def holds_rows(where: AnyPath) -> bool:
    """Tell whether a directory has the part of a rank."""
    return bool(layout.sorted_ranks(where.directories()))
