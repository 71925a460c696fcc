"""From a run folder back to its network. Imports torch only once the folder is known to hold a finished run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.errors import UserError
from ltmed.runs.reader import Run, read_run

if TYPE_CHECKING:
    from ltmed.nn.network import Network

_PREFIX = "network."
_DAMAGE = (
    OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, pickle.UnpicklingError,
)  # fmt: skip
"""What reading something else than was written ends in."""
_AGAIN = "Copy the run again, or delete its folder and run its command again."


def finished_run(run_dir: str | Path | Run) -> Run:
    """The finished run in a folder, in which `~` is the home folder.

    Args:
        run_dir: folder of a finished run, or the run.

    Raises:
        UserError: not the folder of a run; the run is not finished; a file of it is damaged.
    """
    path = Path(os.path.expanduser(run_dir))
    if not (path / "config.yaml").is_file():
        why = "it has no config.yaml" if path.is_dir() else "it does not exist"
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
    """
    from ltmed.config.instantiate import build_network

    cfg = run.config.copy()
    # The weights that are read below replace any pretrained ones.
    cfg.backbone.update(pretrained=False, weights=None)
    name = list(cfg.method.stages)[-1]
    file = run.path / "stages" / name / f"{cfg.method.stages[name].keep}.ckpt"
    if not file.is_file():
        raise UserError(f"{file} is missing", "Copy the whole folder of the run, with config.yaml and stages/.")
    state = read_checkpoint(file)["state_dict"]
    network = build_network(cfg, len(run.found["test"]["confusion"]))
    try:
        network.load_state_dict(
            {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{file} is not of the network that {run.path}/config.yaml says: {reason}", _AGAIN) from error
    return network.eval()


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint of a stage; its tensors are mapped, and read where they are used. No pickled code is run.

    Args:
        file: a file that exists.

    Raises:
        UserError: it is truncated, empty or no checkpoint.
    """
    import torch

    try:
        saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        saved["state_dict"].keys()
    except PermissionError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", "Check its permissions.") from error
    except _DAMAGE as error:
        raise UserError(f"{file} is damaged", _AGAIN) from error
    return saved
