"""`featlab replay`: activations from the checkpoints of a training that is over."""

from __future__ import annotations

from typing import Any

import click

from featlab_cli import completion
from featlab_cli.capture import logits_option, mask_option, read_classes, read_reducers, reduce_option
from featlab_cli.stores import check_kept


@click.command()
@click.option(
    "--store",
    required=True,
    metavar="RUN",
    help="Where the run is stored; made if it is not there.",
    shell_complete=completion.files,
)
@click.option(
    "--layers",
    required=True,
    multiple=True,
    metavar="GLOB",
    shell_complete=completion.of_run(lambda run: run.layers),
    help="Modules by name: * within a segment, ** across segments, !GLOB excludes, penultimate is the classifier's "
    "input. Repeatable; order counts.",
)
@click.option("--model", required=True, metavar="MODULE:FUNCTION", help="Builds the model, as in train:build.")
@click.option("--data", required=True, metavar="MODULE:FUNCTION", help="Makes the loader of (inputs, labels).")
@click.option("--split", default="val", show_default=True, metavar="NAME")
@click.option(
    "--epochs-from",
    type=click.Choice(["auto", "metadata", "name"]),
    default="auto",
    show_default=True,
    help='A checkpoint\'s key "epoch", or the number in its name; auto takes metadata if all have them.',
)
@click.option("--offset", type=int, default=0, show_default=True, help="Added to every epoch; 1 if they count from 0.")
@click.option("--key", metavar="NAME", help="Key of a checkpoint that holds the state dict [default: the usual ones].")
@click.option("--trust", is_flag=True, help="Unpickle whatever the checkpoints hold, which may run code.")
@click.option("--device", metavar="NAME", help="Where the model runs, as in cuda:0 [default: where it is built].")
@click.option(
    "--classes",
    metavar="FILE|N",
    help="Names of the classes, one a line, or how many there are.",
    shell_complete=completion.files,
)
@reduce_option
@mask_option
@click.option("--dtype", type=click.Choice(["float16", "bfloat16", "float32"]), default="float16", show_default=True)
@click.option("--codec", type=click.Choice(["fast", "small", "none"]), default="fast", show_default=True)
@click.option("--classifier", default="auto", show_default=True, metavar="MODULE", help='"none" stores no classifier.')
@logits_option
@click.option("--overwrite", is_flag=True, help="Replace epochs that are stored already, instead of passing over them.")
@click.argument("checkpoints", nargs=-1, required=True, shell_complete=completion.files)
def command(
    store: str,
    layers: tuple[str, ...],
    model: str,
    data: str,
    classes: str | None,
    reduce: tuple[str, ...],
    mask: tuple[str, ...],
    classifier: str,
    checkpoints: tuple[str, ...],
    **options: Any,
) -> None:
    """Load one checkpoint after the other, evaluate the model and store its activations.

    CHECKPOINTS are globs of files of torch.save or safetensors, or of folders of Transformers; they are taken in the
    order of their epochs. Only tensors are loaded from them, and no code is run. Epochs that the run holds are passed
    over.

    \b
    featlab replay --store run.zarr --layers 'layer*' --model train:build --data train:val_loader 'ckpt/*.pt'
    """
    check_kept(store)
    from featlab.capture.replay import import_factory, replay

    replay(
        checkpoints,
        store,
        layers,
        model=import_factory(model, "--model"),
        data=import_factory(data, "--data"),
        classes=None if classes is None else read_classes(classes),
        reduce=read_reducers(reduce),
        mask=read_reducers(mask),
        classifier=None if classifier == "none" else classifier,
        notify=lambda message: click.echo(f"featlab: {message}", err=True),
        **options,
    )
    click.echo(store)
