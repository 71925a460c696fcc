"""`ltmed train`, which is also `python run.py`: one run, a sweep of runs (`-m`), or a study."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

import ltmed
from ltmed.cli import command_line
from ltmed.cli.boundary import one_line_errors
from ltmed.cli.configuration import print_configuration
from ltmed.cli.help import help_screen
from ltmed.config.paths import add_own_folder
from ltmed.errors import UserError
from ltmed.studies import search
from ltmed.utils.processes import announce_program


class _Untouched(click.Command):
    """A command whose arguments are parsed by Hydra."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = args
        return args


@click.command(cls=_Untouched, add_help_option=False, short_help="Trains, resumes or reports runs; sweeps with -m.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """The program of `python run.py`."""
    main(ctx.args, program="ltmed train")


def main(arguments: Sequence[str] | None = None, program: str = "python run.py") -> None:
    """Runs Hydra's options and overrides.

    Args:
        arguments: None takes those of the process.
        program: what the help screen calls it.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(arguments):
        print(help_screen(program))
        return
    if "--version" in arguments:
        print(f"ltmed {ltmed.__version__}")
        return
    with one_line_errors(single=True):
        arguments = _take_own_folders(arguments)
        from ltmed.cli.job import run_job
        from ltmed.config import search_path
        from ltmed.studies.sweeper import JobSweeper

        search_path.register()
        of_hydra, JobSweeper.overrides = command_line.for_hydra(arguments)
        line = command_line.parse(of_hydra)
        if line.options.get("cfg") == "job" and not {"config_name", "config_path"} & set(line.options):
            print_configuration(line)
            return
        sys.argv[1:] = of_hydra  # Hydra reads them there.
        announce_program()
        run_job()
        search.report_failed_trials()


def _take_own_folders(arguments: list[str]) -> list[str]:
    """The arguments without `--config-dir DIR`, which Hydra would not pass on to the other processes of a job."""
    others = []
    rest = iter(arguments)
    for argument in rest:
        option, equals, folder = argument.partition("=")
        if option not in ("--config-dir", "-cd"):
            others.append(argument)
            continue
        folder = folder if equals else next(rest, "")
        if not folder:
            raise UserError("--config-dir has no folder", "Write --config-dir DIR.")
        add_own_folder(folder)
    return others
