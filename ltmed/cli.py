"""The terminal side of a run: help screen, and mistakes in one line. Imports nothing that is slow to import."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed import studies, sweeps
from ltmed.errors import UserError, nearest
from ltmed.words import choice, quoted, shell

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PARTS = ("loss", "sampler", "augment", "weak_augment")
"""What methods are put together from, where they want it."""

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
    _require_use(cfg, words)
    _require_direction(cfg.monitor)
    if cfg.run_dir is None and isinstance(cfg.runs, str):
        cfg.run_dir = str(Path(cfg.runs) / run_dir_name(cfg, dataset, words))
    return cfg


def _require_use(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuses a part that the method has no use for: a run of its own name, with the numbers of another."""
    from omegaconf import OmegaConf

    used = set(re.findall(r"\$\{(\w+)", OmegaConf.to_yaml(cfg.method)))
    for word in words:
        key = re.split(r"[=.]", word.lstrip("+"))[0]
        if key in _PARTS and key not in used:
            raise UserError(
                f"method={cfg.method.name} does not use {key}, so {word} would change nothing",
                "Leave it out, or choose another method.",
            )


def _require_direction(monitor: str) -> None:
    """Refuses a search for the worst run: Optuna minimises unless it is told otherwise."""
    from hydra.core.hydra_config import HydraConfig

    from ltmed.metrics import SCALARS, better

    if not is_sweep() or monitor not in SCALARS:
        return
    wanted = {"min": "minimize", "max": "maximize"}[better(monitor)]
    given = HydraConfig.get().sweeper.get("direction")
    given = getattr(given, "name", given)
    if isinstance(given, str) and given != wanted:
        raise UserError(
            f"hydra.sweeper.direction={given} would look for the worst {monitor}",
            f"Add hydra.sweeper.direction={wanted}.",
        )


# Said by libraries about what is meant to be so here.
_EXPECTED = (
    r".*is smaller than the logging interval.*",
    r".*You have overridden `on_after_batch_transfer` in `LightningModule`.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*does not have many workers which may be a bottleneck.*",
    r".*it is recommended to use `Trainer\(devices=1, num_nodes=1\)` to ensure each sample.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True.*",
    r".*The `srun` command is available on your system but is not used.*",
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
        single: False inside a job of a sweep, which names itself and goes on to fail: Hydra has to know of it.
    """
    tidy_output()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print its own traceback and exit with 1.
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted. Finished epochs are kept; the same command continues.", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except sweeps.SweepFailed as failed:
        print(f"error: {failed}", file=sys.stderr)
        raise SystemExit(failed.code) from None
    except Exception as error:
        message = explain(error)
        if not single:
            sweeps.tell(error, _words_of_job(), explain)
            raise
        if sweeps.was_told(error):
            raise SystemExit(1 if message is None else EXIT_USER_ERROR) from None
        if message is None:
            raise
        if os.environ.get("LTMED_TRACEBACK"):
            traceback.print_exc()
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None


def _words_of_job() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def explain(error: BaseException) -> str | None:
    """The line for a user's mistake, or None if the error is not one (it deserves its traceback)."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"The disk is full{where}. Free some space and run the same command: it continues after the last epoch."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        mend = "Choose another place (runs, run_dir, cache_dir), or change its permissions."
        return f"{error.filename}: {error.strerror}. {mend}"
    if type(error).__module__.startswith("yaml."):
        return studies.yaml_mistake(error)
    if type(error).__module__.startswith(("hydra.", "omegaconf.")):
        return _explain_config(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "A group (method=, loss= ...) takes the name of one of its choices. python run.py --help has them."
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU is out of memory. Lower batch_size or image_size, or use more devices."
    return None


def _explain_config(error: BaseException) -> str:
    """Hydra's and OmegaConf's errors, with the nearest valid names."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf import DictConfig
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    cause = error.__cause__
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
        key, equals, value = error.override.partition("=")
        if equals and value and not re.search(r"[\[\]{}'\"]", value):
            # Blanks, brackets and commas in a path: quoted for Hydra, and that for the shell.
            return f"'{error.override}' cannot be read. Quote its value: {shell([f'{key}={quoted(value)}'])}"
        return f"'{error.override}' cannot be read: {text}"
    ours = "UserError raised while resolving interpolation: "  # In a study's sweep.
    return text.removeprefix(ours) if text.startswith(ours) else f"The configuration cannot be composed: {text}"
