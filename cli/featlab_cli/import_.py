"""`featlab import`: features or class vectors that exist as files, stored as one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from featlab_cli import completion
from featlab_cli.stores import check_kept

TORCH_SUFFIXES = (".pt", ".pth")
IN_ORDER_OF_NAMES = (".safetensors", ".h5", ".hdf5", ".hdf", ".he5")  # whatever order the arrays were saved in


@click.command("import")
@click.option(
    "--store",
    required=True,
    metavar="RUN",
    help="Where the run is stored; made if it is not there.",
    shell_complete=completion.files,
)
@click.option("--epoch", type=click.IntRange(0), required=True, help="Completed training passes.")
@click.option("--split", default="val", show_default=True, metavar="NAME")
@click.option(
    "--labels",
    metavar="FILE",
    help=".npy, or text with a class number or name a line.",
    shell_complete=completion.files,
)
@click.option(
    "--logits",
    metavar="FILE",
    help=".npy of shape (rows, K).",
    shell_complete=completion.files,
)
@click.option(
    "--classes",
    metavar="FILE|N",
    help="Names of the classes, one a line, or how many there are.",
    shell_complete=completion.files,
)
@click.option("--class-vectors", is_flag=True, help="SOURCE has one row for each class, such as a classifier's weight.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="NAME",
    help="Arrays of SOURCE to take as layers, from input to output. Repeatable.",
)
@click.option("--layer", metavar="NAME", help="Name of the layer, if there is one [default: that of the array].")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "bfloat16", "float32"]),
    help="[default: float16; float32 for class vectors]",
)
@click.option("--codec", type=click.Choice(["fast", "small", "none"]), default="fast", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace the epoch if it is stored already.")
@click.argument("source", type=click.Path())
def command(
    store: str,
    labels: str | None,
    logits: str | None,
    classes: str | None,
    class_vectors: bool,
    dtype: str | None,
    source: str,
    **options: Any,
) -> None:
    """Store the features in SOURCE (.npy, .npz, .safetensors, .h5, .hdf5, .pt, .pth) as one epoch of a run.

    Each array is a layer, but for those named labels, logits, sample_ids, classes, and weight and bias of a
    classifier. Large files are read block by block. Of .pt and .pth, tensors are loaded and no code is run. HDF5 needs
    featlab[hdf5]; a dataset net/layer4 is the layer net.layer4. The order of --key, or else that in which .npz, .pt and
    .pth hold the arrays, is kept as that of the layers, from the input to the output.

    \b
    featlab import --store run.zarr --epoch 0 features.npz
    featlab import --store run.zarr --epoch 5 --labels labels.txt --classes names.txt avgpool.npy
    featlab import --store heads.zarr --epoch 90 --class-vectors --key fc.weight model.pth
    """
    if class_vectors and (labels or logits):
        raise click.UsageError(f"{'--labels' if labels else '--logits'} goes with samples, not with --class-vectors.")
    check_kept(store)
    from featlab.ingest import features

    chosen: dict[str, Any] = {**options, "classes": _classes(classes)}
    if dtype is not None:
        chosen["dtype"] = dtype
    chosen["in_order"] = bool(chosen["keys"]) or Path(source).suffix not in IN_ORDER_OF_NAMES
    with _arrays_of(source) as arrays:
        if class_vectors:
            rows = features.import_class_vectors(store, arrays, **chosen)
        else:
            rows = features.import_features(
                store,
                arrays,
                labels=None if labels is None else features.read_labels(labels),
                logits=None if logits is None else features.read_array(logits),
                **chosen,
            )
    what = "class vectors" if class_vectors else "rows"
    click.echo(f"featlab: epoch {options['epoch']}, split {options['split']!r} holds {rows} {what}.", err=True)
    click.echo(store)


@contextmanager
def _arrays_of(source: str) -> Iterator[dict[str, Any]]:
    if Path(source).suffix in TORCH_SUFFIXES:
        from featlab.capture.checkpoints import read_tensors

        yield read_tensors(source)
    else:
        from featlab.ingest.arrays import open_arrays

        with open_arrays(source) as arrays:
            yield arrays


def _classes(given: str | None) -> list[str] | int | None:
    if given is None or given.isdigit():
        return None if given is None else int(given)
    from featlab.ingest.features import read_lines

    return read_lines(given)
