"""`featlab analyze`: every table for a stored run."""

from __future__ import annotations

import gc
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featlab.errors import ResultsError
from featlab_cli import completion
from featlab_cli.verdict import print_short_verdict

if TYPE_CHECKING:
    from featlab.results.tables import Results

    Epochs = click.ParamType["slice | list[int]"]
    Bytes = click.ParamType[int]
else:  # click below 8.4 has no types of what a parameter gives
    Epochs = Bytes = click.ParamType


class EpochChoice(Epochs):
    """Epochs as `7`, `0,5,10` or a range `start:stop:step` as in Python."""

    name = "epochs"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> slice | list[int]:
        """Turn the text into what `featlab.analyze` takes."""
        text = str(value)
        if re.fullmatch(r"\d+(,\d+)*", text):
            return [int(part) for part in text.split(",")]
        if re.fullmatch(r"(\d*)(:\d*){1,2}", text):
            return slice(*(int(part) if part else None for part in text.split(":")))
        raise click.BadParameter(f"{text!r} is neither a list such as 0,5,10 nor a range such as 0:90:5.", ctx, param)


class Size(Bytes):
    """A number of bytes with a unit, such as `4GB`."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn the text into bytes."""
        from dask.utils import parse_bytes

        try:
            return int(parse_bytes(str(value)))
        except ValueError:
            raise click.BadParameter(f"{value!r} is no size: write it as 800MB or 4GB.", ctx, param) from None


@click.command("analyze")
@click.argument("run", type=click.Path())
@click.option("--out", type=click.Path(), help="Where to save the results [default: RUN with the suffix .results].")
@click.option(
    "--hierarchy",
    help="A file (.csv, .json, .nwk); 'dotted' or 'slashed' for class names that are paths; 'wordnet' or a built-in "
    "one (see `featlab hierarchy`); 'induced' or 'induced:classifier' from the run itself.",
    shell_complete=completion.among(completion.hierarchies, files=True),
)
@click.option("--senses", type=click.Path(), help="A file of words and synsets, for ambiguous names in WordNet.")
@click.option(
    "--space",
    "spaces",
    multiple=True,
    help="A label space: cut8, depth2, height1 or a level's name.",
    shell_complete=completion.among(completion.spaces),
)
@click.option(
    "--epochs",
    type=EpochChoice(),
    help="Epochs, as 0,5,10 or 0:90:5 [default: all].",
    shell_complete=completion.of_run(lambda run: run.epochs, listed=True),
)
@click.option(
    "--splits",
    multiple=True,
    help="Splits [default: all].",
    shell_complete=completion.of_run(lambda run: run.splits),
)
@click.option(
    "--layers",
    multiple=True,
    help="Globs of layers [default: all].",
    shell_complete=completion.of_run(lambda run: run.layers),
)
@click.option(
    "--layers-order",
    metavar="NAMES",
    help="Layers from the input to the output, as conv1,conv2,fc, for what runs over depth [default: as the run says].",
    shell_complete=completion.of_run(lambda run: run.layers, listed=True),
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    default=("euclidean", "cosine"),
    show_default=True,
    shell_complete=completion.among(completion.metrics),
)
@click.option(
    "--linkage",
    "linkages",
    multiple=True,
    default=("average", "ward"),
    show_default=True,
    shell_complete=completion.among(completion.linkages),
)
@click.option(
    "--distance",
    "distances",
    multiple=True,
    default=("path", "lca_height"),
    show_default=True,
    help="Between classes in the hierarchy; also lca_depth, wup, lch, jcn, lin, resnik.",
    shell_complete=completion.among(completion.distances),
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    help="A further table, at a cost of its own: probes, neighbours, similarity, or one of an installed package.",
    shell_complete=completion.among(completion.measures),
)
@click.option(
    "--against",
    multiple=True,
    help="Another run of the same data, such as another seed, for --measure similarity.",
)
@click.option("--permutations", type=click.IntRange(0), default=999, show_default=True, help="Of classes, for nulls.")
@click.option("--controls", type=click.IntRange(0), default=20, show_default=True, help="Random spaces for each space.")
@click.option(
    "--means-from",
    help="Take class means from this split in every measure [default: train, for ncc_accuracy alone].",
    shell_complete=completion.of_run(lambda run: run.splits),
)
@click.option("--rule", type=click.Choice(["greedy", "sum"]), default="greedy", show_default=True)
@click.option("--debias", is_flag=True, help="Take estimation noise off Euclidean distances.")
@click.option(
    "--allow-nonfinite",
    is_flag=True,
    help="Leave out rows with NaN or inf, in a layer or in the logits, rather than refuse.",
)
@click.option("--memory", "memory_limit", type=Size(), help="Memory to stay within, such as 4GB.")
@click.option("--workers", type=click.IntRange(1), help="Analyse with so many processes of this machine.")
@click.option("--scheduler", help="Analyse on a running Dask cluster, such as tcp://host:8786.")
@click.option("--device", help="Of PyTorch, for the large products, such as cuda [default: NumPy makes them].")
@click.option("--cache", type=click.Path(), help="Where statistics are kept [default: RUN with the suffix .cache].")
@click.option("--no-cache", is_flag=True, help="Keep no statistics, and use none.")
@click.option("--watch", is_flag=True, help="Go on: analyse again whenever an epoch is committed, until Ctrl-C.")
@click.option("--every", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds between looks.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def command(
    run: str,
    out: str | None,
    workers: int | None,
    scheduler: str | None,
    watch: bool,
    every: float,
    spaces: tuple[str, ...],
    cache: str | None,
    no_cache: bool,
    **options: Any,
) -> None:
    """Compute geometry, collapse, bias, linkage and alignment for a stored RUN.

    \b
    featlab analyze run.zarr --hierarchy taxonomy.json --out run.results
    featlab analyze run.zarr --hierarchy wordnet --senses senses.csv
    featlab analyze run.zarr --hierarchy dotted --layers 'layer*' --epochs 0:90:5
    featlab analyze run.zarr --hierarchy dotted --watch       while it trains
    """
    gc.disable()  # imports leave no garbage
    from featlab.analysis import watch as watching
    from featlab.analysis.analyze import analyze
    from featlab.analysis.dask_client import dask_client
    from featlab.results.saved import check_target

    gc.freeze()  # what they made is not looked through again, least of all when the process ends
    gc.enable()

    if cache and no_cache:
        raise click.UsageError("--cache and --no-cache are both given: choose one of them.")
    chosen: dict[str, Any] = {name: value if value != () else None for name, value in options.items()}
    chosen |= {name: options[name] for name in ("measures", "against")}
    if chosen["layers_order"] is not None:
        chosen["layers_order"] = [name.strip() for name in chosen["layers_order"].split(",")]
    chosen |= {"spaces": spaces or None, "cache": cache or not no_cache}
    target = out or default_target(run)
    check_target(Path(target))
    with dask_client(workers, scheduler, options["memory_limit"]) as client:
        if not watch:
            results = analyze(run, client=client, **chosen)
            _save(results, target)
        else:
            click.echo(f"featlab: watching {run}; Ctrl-C ends it, and {target} stays.", err=True)
            for results in watching.watch(run, every=every, client=client, **chosen):
                _save(results, target)
    if not watch:
        print_short_verdict(results, target)
        click.echo(target)


def default_target(run: str) -> str:
    """Return the default place of results: beside a run on a file system, in the current directory for a URL."""
    from featlab.store.files import store_path

    place = store_path(run).name if "://" in run else run.rstrip("/")
    return f"{place.removesuffix('.zarr')}.results"


def _save(results: Results, target: str) -> None:
    try:
        results.save(target)
    except ResultsError as error:  # a disk that was filled meanwhile: what took hours is not thrown away
        raise ResultsError(f"{str(error).rstrip('.')}; {_kept(results, target)}.") from error
    rows = sum(len(results[name]) for name in results)
    click.echo(f"featlab: {rows} rows in {len(list(results))} tables from {_scope(results.parameters)}.", err=True)


def _kept(results: Results, target: str) -> str:
    """Save results that could not be written where they belong, and say where they are."""
    elsewhere = Path(tempfile.mkdtemp(prefix="featlab-"), Path(target).name[-80:])
    try:
        results.save(elsewhere)
    except ResultsError:
        elsewhere.parent.rmdir()
        return "what was computed could not be kept elsewhere either"
    return f"what was computed is kept in {str(elsewhere)!r}"


def _scope(parameters: dict[str, list[object]]) -> str:
    counts = [(len(parameters[name]), name.removesuffix("s")) for name in ("epochs", "splits", "layers", "spaces")]
    return ", ".join(
        f"{count} {name if name != 'space' else 'label space'}{'s' * (count != 1)}" for count, name in counts
    )
