"""`ltmed train`, which is also `python run.py`: one run, a sweep of runs (`-m`), or a study."""

from __future__ import annotations

import sys

from ltmed.cli import command_line
from ltmed.cli.boundary import one_line_errors
from ltmed.cli.help import help_screen
from ltmed.config.paths import conf


def main() -> None:
    """Runs the command line of this process: Hydra's overrides and options."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(print(help_screen(conf())))
    with one_line_errors(single=True):
        from ltmed.cli.job import run_job
        from ltmed.studies.sweeper import JobSweeper

        sys.argv[1:], JobSweeper.given = command_line.for_hydra(sys.argv[1:])
        run_job()
