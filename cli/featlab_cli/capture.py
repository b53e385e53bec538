"""`featlab capture`: run a training script, unmodified, and store its activations."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from featlab.errors import OptionError
from featlab_cli import completion
from featlab_cli.stores import check_kept

# What `replay` takes as well.
reduce_option = click.option(
    "--reduce",
    multiple=True,
    default=("auto",),
    show_default=True,
    metavar="[GLOB=]NAME",
    help="auto, mean, max, cls, last, flatten or none. Repeatable.",
)
mask_option = click.option(
    "--mask",
    multiple=True,
    default=("auto",),
    show_default=True,
    metavar="[GLOB=]NAME",
    help="The model's argument that tells which tokens are padding, so that they are not reduced: auto, none, NAME if "
    "1 or True is a token (or lengths, or ids with 0 as padding), ~NAME if True is padding, MODULE:NAME of a module "
    "inside. Repeatable.",
)
logits_option = click.option(
    "--logits",
    metavar="PATH",
    help="Which output of the model is the logits: 1, NAME or MODULE:0. By default the one that reaches a loss, "
    "or fits the classes.",
)


@click.command(context_settings={"allow_interspersed_args": False})
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
    "input, GLOB:0 or GLOB:NAME a part of an output that is a tuple or a mapping. Repeatable; order counts.",
)
@click.option(
    "--splits",
    multiple=True,
    default=("val",),
    show_default=True,
    metavar="NAME",
    help="Repeatable.",
    shell_complete=completion.one_of("val", "train", "test"),
)
@click.option(
    "--classes",
    metavar="FILE|N",
    help="Names of the classes, one a line, or how many there are.",
    shell_complete=completion.files,
)
@reduce_option
@click.option(
    "--call",
    multiple=True,
    default=("last",),
    show_default=True,
    metavar="[GLOB=]NAME",
    help="What counts of a module that runs several times in a forward pass: last, first, mean or all. Repeatable.",
)
@mask_option
@click.option(
    "--when-full",
    type=click.Choice(["block", "drop", "fail"]),
    default="block",
    show_default=True,
    help="When the writer does not keep up: let the training wait, leave batches out, or end with an error.",
)
@click.option("--dtype", type=click.Choice(["float16", "bfloat16", "float32"]), default="float16", show_default=True)
@click.option("--codec", type=click.Choice(["fast", "small", "none"]), default="fast", show_default=True)
@click.option("--classifier", default="auto", show_default=True, metavar="MODULE", help='"none" stores no classifier.')
@logits_option
@click.option(
    "--on-error",
    type=click.Choice(["raise", "warn"]),
    default="raise",
    show_default=True,
    help="End the script, or stop capturing and let it train on.",
)
@click.option("--overwrite", is_flag=True, help="Replace epochs that are stored already.")
@click.option("--max-per-class", type=int, metavar="N", help="Keep N samples of each class, in every epoch the same.")
@click.option("--max-samples", type=int, metavar="N", help="Keep N samples of a split, in every epoch the same.")
@click.option("--every", type=int, metavar="N", help="Capture each epoch that is a multiple of N.")
@click.option(
    "--epochs",
    metavar="LIST",
    help="Capture these, such as 0,1,5 or 0:90:5 or log (0, 1, 2, 3, 4, 6, 8, 12, 16, ...). Beside --every, either.",
)
@click.option("--within-epochs", is_flag=True, help="Capture evaluations in the middle of a training pass, too.")
@click.option("--total-epochs", type=int, metavar="N", help="Training passes planned, to estimate the space.")
@click.option("--no-space-check", is_flag=True, help="Begin even if what is to come would not fit on the disk.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Go on with a run: keep the epochs that it holds and store the others, or refuse it.",
)
@click.option(
    "--first-epoch",
    type=click.IntRange(min=0),
    metavar="N",
    help="Training passes completed before the script's first. By default the epoch of the run whose weights the model "
    "starts with; 0 in a new run.",
)
@click.option(
    "--rank-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long rank 0 of torchrun waits for the other ranks at the end of a pass.",
)
@click.argument("script", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=completion.files)
def command(
    script: tuple[str, ...],
    store: str,
    layers: tuple[str, ...],
    splits: tuple[str, ...],
    classes: str | None,
    reduce: tuple[str, ...],
    call: tuple[str, ...],
    mask: tuple[str, ...],
    classifier: str,
    no_space_check: bool,
    within_epochs: bool,
    first_epoch: int | None,
    **options: Any,
) -> None:
    """Run a training script, unmodified, and store the activations of its model.

    Finds the model, the batches and their samples, the labels and the epochs by itself, and says on standard error
    what it found. Training passes are the split "train"; the first data set that is evaluated is "val", the next
    "test".

    \b
    featlab capture --store run.zarr --layers 'layer*' --layers avgpool -- train.py --epochs 90
    featlab capture --store run.zarr --layers '**' --splits val --splits train -- -m package.train
    torchrun --nproc-per-node 2 -m featlab_cli capture --store run.zarr --layers '**' -- train.py
    """
    check_kept(store)
    from featlab.capture.options import CaptureOptions
    from featlab.capture.script.run import run_script

    sys.excepthook = _print_trimmed
    run_script(
        script,
        store,
        layers,
        CaptureOptions(
            classes=None if classes is None else read_classes(classes),
            reduce=read_reducers(reduce),
            call=read_reducers(call),
            mask=read_reducers(mask),
            classifier=None if classifier == "none" else classifier,
            check_space=not no_space_check,
            **options,
        ),
        note=lambda message: click.echo(f"featlab: {message}", err=True),
        splits=splits,
        within_epochs=within_epochs,
        first_epoch=first_epoch,
    )


def read_classes(given: str) -> list[str] | int:
    if given.isdigit():
        return int(given)
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--classes {given!r} is neither a number nor a readable file ({error}).") from error
    return [line.strip() for line in lines if line.strip()]


def read_reducers(given: tuple[str, ...]) -> str | dict[str, str]:
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = [one.rpartition("=") for one in given]
    return {glob or "**": name for glob, _, name in pairs}


def _print_trimmed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a script's traceback without the frames of what runs the script."""
    report = traceback.TracebackException(kind, error, trace)
    part: traceback.TracebackException | None = report
    while part is not None:
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if not _runs(frame.filename)])
        part = part.__cause__ or part.__context__
    click.echo("".join(report.format()), err=True, nl=False)


def _runs(filename: str) -> bool:
    import featlab

    machinery = [Path(home).resolve().parent for home in (str(featlab.__file__), __file__, click.__file__)]
    own = Path(filename).name == "featlab" or any(folder in Path(filename).resolve().parents for folder in machinery)
    return own or filename == "<frozen runpy>"
