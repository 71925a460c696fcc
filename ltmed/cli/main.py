"""The command `ltmed`. Imports nothing that is slow until a command needs it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

import ltmed
from ltmed.cli.boundary import one_line_errors
from ltmed.config.paths import add_own_folder
from ltmed.errors import EXIT_INTERRUPTED, UserError, suggest

COMMANDS = (
    "card", "check", "dashboard", "decide", "demo", "evaluate", "explain", "export", "fetch", "plot", "predict",
    "recommend", "report", "train",
)  # fmt: skip
"""Each is the `command` of the module of its name."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            raise UserError(f"ltmed {cmd_name} does not exist", suggest(cmd_name, COMMANDS))
        return importlib.import_module(f"{__package__}.{cmd_name}").command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(ltmed.__version__, message="%(prog)s %(version)s")
@click.option("--config-dir", metavar="DIR", help="A folder with configuration files and studies of your own.")
def program(config_dir: str | None) -> None:
    """Long-tailed medical image classification: data sets, training, reports, predictions."""
    if config_dir is not None:
        add_own_folder(config_dir)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; mistakes end in one line on stderr and exit code 2, Ctrl-C in 130.

    Args:
        arguments: None takes those of the process.
    """
    with one_line_errors(single=True):
        try:
            program.main(args=arguments, prog_name="ltmed", standalone_mode=False)
        except click.Abort:
            print("\nInterrupted.", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPTED) from None
        except click.ClickException as error:
            raise UserError(error.format_message(), "See ltmed --help.") from None
