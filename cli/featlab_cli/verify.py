"""`featlab verify`: check that a run is whole, one line a finding."""

from __future__ import annotations

from collections import Counter

import click


@click.command("verify")
@click.argument("run", type=click.Path())
@click.option("--repair", is_flag=True, help="Clear leftovers, and move what is broken to RUN/aside, out of sight.")
@click.option("--quick", is_flag=True, help="Compare sizes and metadata only; read no rows.")
@click.option(
    "--idle",
    "idle_minutes",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Repair nothing uncommitted that was written to in so many minutes: a training may be at it.",
)
@click.pass_context
def command(ctx: click.Context, run: str, repair: bool, quick: bool, idle_minutes: float) -> None:
    """Compare a RUN with what its commits promise: checksums, digests, shapes, labels, sample ids.

    One line a finding, by kind: "lost" and "unreadable" cost data, "leftover" and "remark" do not. Exit code 1 when
    data are lost or unreadable, set aside or not; else 0.

    \b
    featlab verify run.zarr
    featlab verify run.zarr --repair
    featlab verify --quick s3://bucket/run.zarr
    """
    from featlab.messages import shown_bytes
    from featlab.store.verify import verify_run
    from featlab_cli.terminal import printable

    found = verify_run(run, repair=repair, quick=quick, idle_minutes=idle_minutes)
    for finding in found.findings:
        click.echo(printable(finding))
    kinds = Counter(finding.kind for finding in found.findings)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or ("nothing amiss" if quick else "whole")
    snapshots = f"{found.snapshots} snapshot{'' if found.snapshots == 1 else 's'}"
    click.echo(f"featlab: {snapshots}, {shown_bytes(found.bytes, short=True)}: {counts}.", err=True)
    if found.costs_data:
        ctx.exit(1)
