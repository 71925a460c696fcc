"""`ltmed.cli.configuration`: `--cfg job` prints what a run would be given."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from ltmed.cli import job, train
from ltmed.config.compose import compose

ADDED = ["method=lmd", "sampler=class_balanced", "+sampler@method.stages.calibrate.sampler=instance"]


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    train.main(arguments)
    return capsys.readouterr().out


def test_prints_all_of_the_configuration_or_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = compose(ADDED)
    assert printed([*ADDED, "--cfg", "job"], capsys) == OmegaConf.to_yaml(cfg)
    stages = "method.stages"
    resolved = printed([*ADDED, "--cfg", "job", "--resolve", "--package", f"{stages}.represent"], capsys)
    assert OmegaConf.create(resolved) == OmegaConf.to_container(cfg.method.stages.represent, resolve=True)
    assert printed([*ADDED, "--cfg", "job", "-p", "method.name"], capsys) == "lmd\n"
    assert printed([*ADDED, "--cfg", "job", "-p", "fold"], capsys) == "0\n"


def test_a_part_that_does_not_exist_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train.main(["method=erm", "--cfg", "job", "-p", "methods"])
    assert end.value.code == 2
    assert "There is no 'methods' in the configuration" in capsys.readouterr().err


def test_the_program_runs_what_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run_job` gets Hydra's own composition, in which an added choice is merged."""
    planned = []
    monkeypatch.setattr("ltmed.train.train", planned.append)
    monkeypatch.setattr("sys.argv", ["run.py"])
    train.main([*ADDED, "dataset=phantom"])
    assert "q" not in planned[0].cfg.method.stages.calibrate.sampler
    assert planned[0].cfg.method.stages.represent.sampler.q == 0
    assert job.is_sweep() is False
