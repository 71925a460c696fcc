"""Trains, resumes or reports one run, or a sweep of them; `python run.py --help` shows what can be chosen."""

import sys
from pathlib import Path

from ltmed import cli

if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv[1:]):
    sys.exit(print(cli.help_screen(Path(__file__).parent / "conf")))

import hydra

from ltmed import command_line, studies, sweeps

studies.register()
sweeps.report_all_failures(cli.explain)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def run(cfg):
    from ltmed.train import train

    with cli.one_line_errors(single=not cli.is_sweep()):
        return train(cli.with_run_dir(cfg))


if __name__ == "__main__":
    with cli.one_line_errors(single=True):
        sys.argv[1:] = command_line.in_order(sys.argv[1:])
        run()
