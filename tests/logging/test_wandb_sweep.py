"""The sweep of docs/howto/sweeps.md: the command that an agent makes of it is one that ltmed takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.harness import ROOT
from tests.test_presets import composed


def documented() -> dict[str, Any]:
    text = (ROOT / "docs/howto/sweeps.md").read_text()
    (block,) = re.findall(r"```yaml\n(program: .*?)```", text, re.S)
    return yaml.safe_load(block)


def command(sweep: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """As `wandb agent` makes it of the settings that the server has chosen."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    overrides = utils.create_sweep_command(list(sweep["command"]))
    known = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})
    known |= {"env": ["/usr/bin/env"]}
    return [
        part for override in overrides for part in (known[override[2:-1]] if override.startswith("${") else [override])
    ]


def test_an_agents_command_is_an_ordinary_run():
    sweep = documented()
    chosen = {
        name: values["values"][-1] if "values" in values else (values["min"] + values["max"]) / 3
        for name, values in sweep["parameters"].items()
    }
    env, program, train, *overrides = command(sweep, chosen)
    assert (env, program, train) == ("/usr/bin/env", "ltmed", "train")
    cfg = composed(*overrides)
    assert cfg.method.stages.train.optimizer.lr == pytest.approx(0.067)
    assert cfg.loss._target_ == "ltmed.losses.margins.logit_adjusted"
    assert cfg.logger._target_ == "ltmed.logging.wandb.WandbLogger"
    assert cfg.monitor == sweep["metric"]["name"].removeprefix("val/")
    assert (cfg.monitor_mode == "max") == (sweep["metric"]["goal"] == "maximize")


@pytest.mark.parametrize("name", list(documented()["parameters"]))
def test_every_choice_exists(name):
    values = documented()["parameters"][name].get("values", [])
    for value in values:
        composed("method=erm", f"{name}={value}")
