"""The terminal side of a run: help screen, and mistakes in one line. Imports nothing that is slow to import."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed import studies
from ltmed.errors import UserError, nearest
from ltmed.words import choice

if TYPE_CHECKING:
    from omegaconf import DictConfig

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130

EXAMPLES = (
    (
        "python run.py method=erm dataset=phantom backbone=tiny epochs=5",
        "small and embedded, nothing to download",
    ),
    (
        "python run.py method=proco dataset=isic2018 dataset.root=DIR trainer.devices=4",
        "four GPUs; the same line resumes after a crash",
    ),
    ("python run.py method=erm dataset=isic2018 dataset.root=DIR split=random fold=2", "the papers' image-level split"),
    ("python run.py -m method=erm,proco seed=0,1,2", "a sweep; finished jobs are skipped when run again"),
    (
        "python run.py method=proco logger=wandb epochs=50 method.stages.train.optimizer.lr=0.02",
        "any setting by its path",
    ),
)


def help_screen(conf: Path) -> str:
    """Lists every config group with its choices (each yaml's first comment line) and real examples.

    Args:
        conf: the folder of configs.
    """
    lines = ["usage: python run.py [-m] [group=choice ...] [key=value ...]", ""]
    for group in sorted(path for path in conf.iterdir() if path.is_dir() and path.name != "hydra"):
        lines.append(f"{group.name}=")
        lines += [f"  {file.stem:<18} {_first_comment(file)}" for file in sorted(group.glob("*.yaml"))]
    lines += ["", "a paper's table (python run.py -m +lmd=table3 data=DIR; +scale=smoke: tiny, on phantom):"]
    lines += [f"  {'+' + name.replace('/', '='):<22} {_first_comment(file)}" for name, file in studies.files().items()]
    lines += ["", "settings (all of them: python run.py --cfg job):"]
    lines += _top_level_settings(conf / "config.yaml")
    lines += ["", "examples:"]
    for command, meaning in EXAMPLES:
        lines += [f"  {command}", f"      {meaning}"]
    return "\n".join(lines)


def _first_comment(file: Path) -> str:
    """The first line that says something: `# @package` does not."""
    with file.open(encoding="utf-8") as opened:
        line = next((line for line in opened if not line.startswith("# @")), "").strip()
    return line[1:].strip() if line.startswith("#") else ""


def _top_level_settings(config: Path) -> list[str]:
    """`key  default  meaning` of every commented top-level key."""
    lines = []
    for line in config.read_text(encoding="utf-8").splitlines():
        found = re.match(r"(\w+): *(.*?) *(?:# *(.*))?$", line)
        if found and found[1] not in ("defaults", "hydra"):
            lines.append(f"  {found[1]:<14} {found[2]:<24} {found[3] or ''}".rstrip())
    return lines


def is_sweep() -> bool:
    """True inside a job of `-m`."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def with_run_dir(cfg: DictConfig) -> DictConfig:
    """Fills `run_dir` from the command line's overrides, unless the user gave one.

    In a job of a study (`ltmed.studies`), `cfg` becomes the configuration of its cell.
    """
    from hydra.core.hydra_config import HydraConfig

    from ltmed.commands.composed import compose
    from ltmed.rundir import run_dir_name

    chosen = HydraConfig.get()
    dataset, words = chosen.runtime.choices["dataset"], list(chosen.overrides.task)
    studies.require_known(words)
    if "study" in cfg:
        words = studies.words_of_job(cfg, words)
        cfg, dataset = compose(words), choice(words, "dataset") or dataset
    if cfg.run_dir is None:
        cfg.run_dir = str(Path(cfg.runs) / run_dir_name(cfg, dataset, words))
    return cfg


# Said by libraries about what is meant to be so here.
_EXPECTED = (
    r".*is smaller than the logging interval.*",
    r".*You have overridden `on_after_batch_transfer` in `LightningModule`.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*does not have many workers which may be a bottleneck.*",
    r".*it is recommended to use `Trainer\(devices=1, num_nodes=1\)` to ensure each sample.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True.*",
    r".*Checkpoint directory .* exists and is not empty.*",
)


def tidy_output() -> None:
    """Keeps the terminal for what a user needs: one-line warnings, nothing that libraries say about themselves."""
    for message in _EXPECTED:
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


@contextmanager
def one_line_errors(*, single: bool) -> Iterator[None]:
    """Turns mistakes that a user can mend into one line on stderr and exit code 2; Ctrl-C into 130.

    Args:
        single: False inside a job of a sweep, where Hydra first has to name the job that failed.
    """
    tidy_output()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print its own traceback and exit with 1.
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted. Finished epochs are kept; the same command continues.", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        message = explain(error)
        if message is None or not single:
            raise
        if os.environ.get("LTMED_TRACEBACK"):
            traceback.print_exc()
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None


def explain(error: Exception) -> str | None:
    """The line for a user's mistake, or None if the error is not one (it deserves its traceback)."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"The disk is full{where}. Free some space and run the same command: it continues after the last epoch."
    if type(error).__module__.startswith("yaml."):
        return studies.yaml_mistake(error)
    if type(error).__module__.startswith(("hydra.", "omegaconf.")):
        return _explain_config(error)
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU is out of memory. Lower batch_size or image_size, or use more devices."
    return None


def _explain_config(error: Exception) -> str:
    """Hydra's and OmegaConf's errors, with the nearest valid names."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf import DictConfig
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    cause = error.__cause__
    if isinstance(cause, UserError):  # Of the resolver of a study's sweep.
        return str(cause)
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and isinstance(cause.parent_node, DictConfig):
        path, _, leaf = str(cause.full_key).rpartition(".")
        where = f" in '{path}'" if path else ""
        return f"There is no setting '{leaf}'{where}. {nearest(leaf, map(str, cause.parent_node))}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if any(name.startswith(f"{group}/") for name in studies.files()):
            return f"There is no study '{group}/{choice}'. {studies.nearest_study(f'{group}/{choice}')}"
        return f"{group}={choice} does not exist. {nearest(choice, error.options)}"
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' cannot be read: {text}"
    return f"The configuration cannot be composed: {text}"
