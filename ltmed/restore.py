"""From a run folder back to its network."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from ltmed import results
from ltmed.errors import UserError
from ltmed.nn.network import Network
from ltmed.train import build_network

_PREFIX = "network."


def load_network(run_dir: Path) -> Network:
    """See `ltmed.load`."""
    found = results.read(run_dir)
    if not found:
        raise UserError(f"{run_dir} holds no finished run", "Run its command to the end first.")
    cfg = OmegaConf.load(run_dir / "config.yaml")
    assert isinstance(cfg, DictConfig)
    # The weights that are read below replace any pretrained ones.
    cfg.backbone.update(pretrained=False, weights=None)
    name = list(cfg.method.stages)[-1]
    file = run_dir / "stages" / name / f"{cfg.method.stages[name].keep}.ckpt"
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    network = build_network(cfg, len(found["test"]["confusion"]))
    network.load_state_dict(
        {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    )
    return network.eval()
