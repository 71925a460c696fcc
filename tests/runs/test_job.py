"""What a command line becomes before a run starts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from ltmed.errors import UserError
from ltmed.runs.directory import fingerprint
from ltmed.runs.job import Job, RunName, job_of

PHANTOM = ("dataset=phantom", "backbone=tiny")


@cache
def planned(*overrides: str) -> Job:
    return job_of(overrides)


def test_a_job_knows_its_folder_choices_and_name() -> None:
    job = planned(*PHANTOM, "method=lmd", "method.stages.calibrate.module.e_step=false", "fold=0", "seed=2")
    assert job.run_dir == Path("runs/phantom/lmd/backbone=tiny,calibrate.module.e_step=False/fold0-seed2")
    choices = job.facts["choices"]
    assert (choices["dataset"], choices["split"]) == ("phantom", "official")
    assert not [group for group in choices if group.startswith("hydra")]
    assert job.facts["uses"] == ["sampler", "augment", "weak_augment"]
    settings = ("backbone=tiny", "calibrate.module.e_step=False")
    assert job.name == RunName("phantom", "lmd", "official", settings, fold=0, seed=2)
    assert job.name.row == "lmd (backbone=tiny,calibrate.module.e_step=False)"
    assert (job.name.group, job.name.version) == ("phantom-lmd", "fold0-seed2")
    assert planned("run_dir=/x/y").run_dir == Path("/x/y")


def test_a_folder_at_home_is_there_and_not_called_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/homes/me")
    monkeypatch.setenv("USERPROFILE", "/homes/me")
    assert job_of(["run_dir='~/x'"]).run_dir == Path("/homes/me/x")
    job = job_of(["runs='~/my runs'", "dataset=phantom"])
    assert job.run_dir == Path("/homes/me/my runs/phantom/erm/default/fold0-seed0")
    assert (job.cfg.runs, job.cfg.run_dir) == ("/homes/me/my runs", str(job.run_dir))
    assert job.facts["folder"] == "phantom/erm/default/fold0-seed0"


def test_a_job_is_the_same_in_another_process() -> None:
    job = planned(*PHANTOM, "method=pcct", "dataset.head=[NV]")
    other = Job.from_json(json.loads(json.dumps(job.to_json())))
    assert other == job
    assert fingerprint(other.cfg) == fingerprint(job.cfg)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["method=focal"], ["method=erm", "loss=focal"]),
        (["method=rs"], ["sampler=class_balanced"]),
        (["epochs=100"], []),
        (["epochs={train:100}", "batch_size=128", "image_size=64"], ["loss=ce"]),
    ],
)
def test_two_commands_for_one_computation_have_two_folders_and_one_fingerprint(
    one: list[str], other: list[str]
) -> None:
    first, second = planned(*PHANTOM, *one), planned(*PHANTOM, *other)
    assert first.run_dir != second.run_dir
    assert fingerprint(first.cfg) == fingerprint(second.cfg)


@pytest.mark.parametrize("other", [["epochs=99"], ["loss=focal"], ["image_size=65"], ["monitor=accuracy"], ["seed=1"]])
def test_other_computations_have_other_fingerprints(other: list[str]) -> None:
    assert fingerprint(planned(*PHANTOM, *other).cfg) != fingerprint(planned(*PHANTOM).cfg)


def test_what_cannot_be_is_refused_before_there_is_a_folder() -> None:
    with pytest.raises(UserError, match="epochs=0"):
        planned(*PHANTOM, "epochs=0")
    with pytest.raises(UserError, match="runs=null"):
        planned(*PHANTOM, "runs=null")
    with pytest.raises(UserError, match="does not use loss"):
        planned(*PHANTOM, "method=proco", "loss=focal")
