"""The `featlab` command: finds sub-commands lazily, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import importlib
import io
import keyword
import os
import select
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click
from click.shell_completion import CompletionItem

import featlab
from featlab.errors import FeatlabError, FeatlabWarning, one_sentence

# Each sub-command is the attribute `command` of its own module, imported when it is called; the short help stands
# here so that `featlab --help` imports none of them.
COMMANDS = {
    "demo": "Train, capture, analyse and report on this machine; no download.",
    "capture": "Run a training script, unmodified, and store its activations.",
    "replay": "Store activations from the checkpoints of a training that is over.",
    "import": "Store features that exist as files.",
    "info": "List what a run holds.",
    "classes": "List the classes of a run, or give them other names.",
    "verify": "Check that a run is whole, or make it so.",
    "hierarchy": "Look at a hierarchy and its label spaces, or build one.",
    "analyze": "Compute every table for a stored run.",
    "show": "Print a table of results.",
    "plot": "Draw one figure, for a paper or a page.",
    "compare": "Put results side by side, or average repeated runs.",
    "report": "Write results as one HTML page.",
}

INTERRUPTED = 130  # 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE


class EscapedError(Exception):
    """Carries past click what click would end the process for without a word, be it of a training script."""


@contextmanager
def escaping_click() -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, EOFError) as error:
        raise EscapedError from error


def _flags(command: click.Command | None) -> Iterator[str]:
    """Yield the names of a command's options that take no value."""
    for param in command.params if command else ():
        if isinstance(param, click.Option) and param.is_flag:
            yield from (*param.opts, *param.secondary_opts)


class LazyGroup(click.Group):
    """A group whose commands are imported when, and only when, they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = importlib.import_module(f"featlab_cli.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        # While a shell completes an option's value, the option lacks one, and click gives up on the arguments before
        # it; the completion needs these: in `analyze run.zarr --layers <TAB>`, the run. A flag lacks none.
        if ctx.resilient_parsing and rest and rest[-1].startswith("-") and rest[-1] not in ("--", *_flags(command)):
            rest = rest[:-1]
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with escaping_click():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> None:
        # Nothing is returned: an integer that a command gave back would read as an exit code.
        with escaping_click():
            super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(featlab.__version__, prog_name="featlab")
def main() -> None:
    """See how a network learns: broad categories first, and the class hierarchy in its layers.

    \b
    featlab demo                                   the whole way on real data, in a minute
    featlab capture --store run.zarr --layers 'layer*' -- train.py
    featlab analyze run.zarr --out run.results
    featlab show run.results collapse
    """


def run() -> None:
    """Entry point: exit codes 0, 1 (the user's input or data), 2 (usage), 130 (Ctrl-C), 141 (a closed pipe)."""
    print_warning = warnings.showwarning

    def show_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, FeatlabWarning):
            click.echo(f"featlab: {one_sentence(str(message))}", err=True)
        else:
            print_warning(message, category, filename, lineno, file, line)

    warnings.showwarning = show_warning
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
    sys.exit(exit_code())


def exit_code() -> int:
    """Run the command that the arguments name, and tell how it ended."""
    try:
        code = main.main(prog_name="featlab", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        click.echo("featlab: stopped; every committed epoch is whole.", err=True)
        return INTERRUPTED
    except EscapedError as escaped:
        if escaped.__cause__ is not None and not nobody_reads():
            raise escaped.__cause__ from None
        drop_output()
        return PIPE_CLOSED
    except click.ClickException as error:
        show_usage(error)
        return error.exit_code
    except FeatlabError as error:
        click.echo(f"featlab: {error}", err=True)
        return 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        return PIPE_CLOSED
    return code if isinstance(code, int) else 0


def show_usage(error: click.ClickException) -> None:
    """Show a click error with its message in one line of bounded length, or the help where that is the message."""
    # click below 8.2 shows the help itself, without an error
    help_asked = getattr(click.exceptions, "NoArgsIsHelpError", ())
    if isinstance(error, help_asked) or not isinstance(error, click.UsageError):
        error.show()
    else:
        click.UsageError(one_sentence(error.format_message()), error.ctx).show()


def nobody_reads() -> bool:
    """Tell whether the other end of standard output is closed, as `head` leaves it."""
    if not hasattr(select, "poll"):  # Windows, where a closed pipe is no BrokenPipeError either
        return True
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_output() -> None:
    """Send what is left nowhere: Python flushes once more when it exits, and would complain about the same pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
