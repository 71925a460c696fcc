"""The boundary of every command: user errors in one line with exit code 2, Ctrl-C with 130, and a tidy terminal."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ltmed.cli.error_lines import error_line
from ltmed.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR
from ltmed.studies.failures import SweepFailedError, mark_reported, was_reported

# Warnings of libraries about what is intended here.
_EXPECTED = (
    r".*is smaller than the logging interval.*",
    r".*You have overridden `on_after_batch_transfer` in `LightningModule`.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*does not have many workers which may be a bottleneck.*",
    r".*it is recommended to use `Trainer\(devices=1, num_nodes=1\)` to ensure each sample.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True.*",
    r".*The `srun` command is available on your system but is not used.*",
    r"Found \d+ module\(s\) in eval mode at the start of training.*",  # A frozen encoder.
)


def tidy_output() -> None:
    """Shows warnings as one line, hides those of libraries that are expected here, and prints whatever a name has.

    A letter that the encoding of the output lacks (a pipe on Windows, PYTHONIOENCODING=ascii) becomes an escape: it
    must not end a run that has just been trained.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    for message in _EXPECTED:
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """In place of `warnings.formatwarning`, which Lightning replaces when it is imported."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


@contextmanager
def one_line_errors(*, single: bool) -> Iterator[None]:
    """Turns mistakes that a user can correct into one line on stderr and exit code 2; Ctrl-C into 130.

    Args:
        single: False inside a job of a sweep: it reports its error with its overrides and raises it again, for Hydra.
    """
    tidy_output()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print its own traceback and exit with 1.
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted. Finished epochs are kept; the same command continues.", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except SweepFailedError as sweep:
        for job in sweep.failed:
            if not job.reported:
                _report(job.error, job.overrides)
        print(f"error: {sweep}", file=sys.stderr)
        bug = any(error_line(job.error) is None for job in sweep.failed)
        raise SystemExit(1 if bug else EXIT_USER_ERROR) from None
    except Exception as error:
        message = error_line(error)
        if not single:
            _report(error, _overrides_of_job())
            mark_reported(error)
            raise
        if was_reported(error):  # By a job of another sweeper than ours.
            raise SystemExit(1 if message is None else EXIT_USER_ERROR) from None
        if message is None:
            raise
        if os.environ.get("LTMED_TRACEBACK"):
            traceback.print_exc()
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None


def _report(error: BaseException, overrides: Sequence[str]) -> None:
    """Reports on stderr which job failed and why, with a traceback if it is not the user's mistake."""
    from ltmed.runs.directory import without_location

    message = error_line(error)
    if message is None:
        traceback.print_exception(error)
        message = f"{type(error).__name__}: {error}"
    print(f"error: {' '.join(without_location(overrides))}: {message}", file=sys.stderr, flush=True)


def _overrides_of_job() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
