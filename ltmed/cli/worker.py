"""A rank other than the first: `python -m ltmed.cli.worker`, started by `ltmed.training.launcher.ranks`."""

from __future__ import annotations

import json
import signal
import sys
import time
import warnings

from ltmed.cli.boundary import tidy_output
from ltmed.cli.error_lines import error_line
from ltmed.errors import EXIT_USER_ERROR
from ltmed.training.launcher import end_with_parent


def main() -> None:
    """Runs the job that the first line of stdin describes (`ltmed.runs.job.Job.to_json`)."""
    job = json.loads(sys.stdin.buffer.readline())
    end_with_parent()
    tidy_output()
    warnings.simplefilter("ignore")  # The first rank prints them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first rank, which ends this one.

    from ltmed.runs.job import Job
    from ltmed.train import train

    try:
        train(Job.from_json(job))
    except Exception as error:
        message = error_line(error)
        if message is None:
            raise
        time.sleep(5)  # The first rank usually fails with the same error, reports it and ends this process first.
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None


if __name__ == "__main__":
    main()
