"""From a run folder back to its network. Imports torch only once the folder is known to hold a finished run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed.errors import UserError
from ltmed.runs import checkpoint
from ltmed.runs.reader import Run, read_run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.nn.network import Network

_PREFIX = "network."
_HINT = "Copy the run again, or delete its folder and run its command again."


def finished_run(run_dir: str | Path | Run) -> Run:
    """The finished run in a folder, in which `~` is the home folder.

    Args:
        run_dir: folder of a finished run, or the run.

    Raises:
        UserError: not the folder of a run; the run is not finished; a file of it is damaged.
    """
    path = Path(os.path.expanduser(run_dir))
    if not (path / "config.yaml").is_file():
        why = "it has no config.yaml" if path.is_dir() else "it is a file" if path.exists() else "it does not exist"
        raise UserError(
            f"{path} is not the folder of a run ({why})",
            "Give the innermost folder, for instance runs/isic2018/erm/default/fold0-seed0.",
        )
    run = read_run(path)
    if run is None:
        raise UserError(f"{path} holds no finished run", "Run its command to the end first.")
    return run


def load_network(run: Run) -> Network:
    """See `ltmed.load`.

    Args:
        run: a finished run.

    Raises:
        UserError: its last checkpoint is missing or damaged, or of another network than config.yaml says.
        UntrustedTargetError: config.yaml builds something that is not part of ltmed, and the caller is not inside
            `ltmed.config.targets.trusted`.
    """
    from ltmed.config.instantiate import build_network, is_frozen
    from ltmed.data.cache.features import ENCODER
    from ltmed.nn.adapters import Adapted

    frozen = is_frozen(run.config)
    cfg = without_initial_weights(run.config)
    name = list(cfg.method.stages)[-1]
    file = run.path / "stages" / name / f"{cfg.method.stages[name].keep}.ckpt"
    _required(file)
    state = dict(checkpoint.read(file)["state_dict"])
    if frozen:
        encoder = checkpoint.read(_required(run.path / ENCODER))["state_dict"]
        state |= {f"{_PREFIX}encoder.{key}": value for key, value in encoder.items()}
    network = build_network(cfg, len(run.classes))
    try:
        network.load_state_dict(
            {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{file} is not of the network that {run.path}/config.yaml says: {reason}", _HINT) from error
    if isinstance(network.encoder, Adapted):
        network.encoder = network.encoder.merge()
    return network.eval()


def without_initial_weights(cfg: DictConfig) -> DictConfig:
    """A copy of a run's configuration with a network of random weights that is not frozen, for its own to replace.

    Settings that the encoder does not have are not added: one from elsewhere than timm takes its own only.
    """
    from omegaconf import OmegaConf

    cfg = cfg.copy()
    for key, value in (("pretrained", False), ("weights", None)):
        if key in cfg.backbone:
            cfg.backbone[key] = value
    OmegaConf.update(cfg, "backbone.freeze", False, force_add=True)  # Never an argument of the encoder.
    return cfg


def _required(file: Path) -> Path:
    if not file.is_file():
        raise UserError(f"{file} is missing", "Copy the whole folder of the run, with config.yaml and stages/.")
    return file
