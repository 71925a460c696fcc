"""What a run records of itself while it becomes known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ltmed.config.resolve import frozen
from ltmed.runs import facts
from ltmed.runs.directory import DamagedRunError, claim
from ltmed.runs.job import Job


def job(runs: Path, method: str = "erm", *overrides: str, **settings: object) -> Job:
    """A small job in the folder of its command."""
    arguments = (f"method={method}", "dataset=toy", f"runs={runs}", *overrides)
    name = ",".join(sorted(overrides)) or "default"
    cfg = {
        "seed": 0, "fold": 1, "runs": str(runs), "run_dir": str(runs / "toy" / method / name / "fold1-seed0"),
        "split": {"seed": 3, "folds": 5, "inner": {"seed": 4}}, "method": {"name": method, "stages": {"a": {"lr": 1}}},
        **settings,
    }  # fmt: skip
    return Job.of(frozen(cfg), arguments, {"dataset": "toy", "split": "long_tailed", "method": method}, ["loss"])


def begun(*given: object, **settings: object) -> Job:
    made = job(*given, **settings)  # pyright: ignore[reportArgumentType]
    claim(made.run_dir, made.cfg)
    facts.begin(made)
    return made


def test_what_is_known_at_the_start(tmp_path: Path) -> None:
    made = begun(tmp_path, "erm", "epochs=3")
    assert facts.read_overrides(made.run_dir) == list(made.overrides)
    assert OmegaConf.load(made.run_dir / "overrides.yaml") == list(made.overrides)
    known = facts.read(made.run_dir)
    assert known["choices"] == {"dataset": "toy", "split": "long_tailed", "method": "erm"}
    assert known["uses"] == ["loss"]
    assert known["split_seeds"] == {"split.inner.seed": 4, "split.seed": 3}
    assert known["folder"] == "toy/erm/epochs=3/fold1-seed0"
    assert known["split"] is known["pixels"] is None
    elsewhere = begun(tmp_path, run_dir=str(tmp_path / "mine"))
    assert facts.read(elsewhere.run_dir)["folder"] is None


def test_what_comes_later_is_added_and_a_restart_keeps_it(tmp_path: Path) -> None:
    made = begun(tmp_path)
    facts.add(made.run_dir, split={"name": "s", "hash": "h", "root": "/d"})
    facts.begin(made)
    assert facts.read(made.run_dir)["split"]["hash"] == "h"
    assert {file.name for file in made.run_dir.iterdir()} == {"config.yaml", "overrides.yaml", "run.json"}


def test_durations_of_epochs_that_were_trained_again_are_replaced(tmp_path: Path) -> None:
    made = begun(tmp_path)
    for epoch, seconds in enumerate((5.0, 1.0, 1.5)):
        facts.add_epoch(made.run_dir, "a", epoch, seconds, device="CPU", processes=1, peak_memory_bytes=100 - epoch)
    # Killed before the last checkpoint; the second start trains epoch 1 again, and uses less memory.
    facts.add_epoch(made.run_dir, "a", 1, 2.0, device="GPU", processes=2, peak_memory_bytes=7)
    facts.add_epoch(made.run_dir, "b", 0, 0.12345, device="CPU", processes=1, peak_memory_bytes=None)
    assert facts.durations(made.run_dir) == {
        "a": {"epochs": 2, "seconds": 7.0, "device": "GPU", "processes": 2, "peak_memory_bytes": 100},
        "b": {"epochs": 1, "seconds": 0.123, "device": "CPU", "processes": 1, "peak_memory_bytes": None},
    }


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(tmp_path)
    before = (made.run_dir / facts.RUN).read_text()
    monkeypatch.setenv("LOCAL_RANK", "1")
    facts.add(made.run_dir, split={"hash": "x"})
    facts.add_epoch(made.run_dir, "a", 0, 1.0)
    facts.begin(job(tmp_path / "other"))
    assert (made.run_dir / facts.RUN).read_text() == before
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("text", "said"), [("{", "cannot be read"), ("[]", "has no"), ('{"choices": {}}', "has no")])
def test_a_damaged_record_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / facts.RUN).write_text(text)
    with pytest.raises(DamagedRunError, match=said):
        facts.read(tmp_path)
    for content in ("a: 1", "- [", "- {a: 1}"):
        (tmp_path / facts.OVERRIDES).write_text(content)
        with pytest.raises(DamagedRunError, match="overrides.yaml"):
            facts.read_overrides(tmp_path)


def test_the_finished_run_of_the_same_computation_is_found(tmp_path: Path) -> None:
    first, other = begun(tmp_path, "erm", "loss=focal"), job(tmp_path, "focal")
    facts.add(first.run_dir, split={"name": "s", "hash": "h", "root": "/d"})
    assert facts.equal_run(other, "h") is None, "it is not finished"
    (first.run_dir / "metrics.json").write_text("{}")
    assert facts.equal_run(other, "h") == first.run_dir
    assert facts.equal_run(first, "h") is None, "itself"
    assert facts.equal_run(other, "other images") is None
    assert facts.equal_run(job(tmp_path, "focal", monitor="accuracy"), "h") is None
    assert facts.equal_run(other, "h", {"encoder": "1", "file": None}) == first.run_dir, "it did not record its weights"
    facts.add(first.run_dir, weights={"encoder": "1", "file": None})
    assert facts.equal_run(other, "h", {"encoder": "1", "file": "2"}) == first.run_dir
    assert facts.equal_run(other, "h", {"encoder": "2", "file": None}) is None, "other weights of the same name"
    broken = json.loads((first.run_dir / facts.RUN).read_text())
    del broken["fingerprint"]
    (first.run_dir / facts.RUN).write_text(json.dumps(broken))
    assert facts.equal_run(other, "h") is None
