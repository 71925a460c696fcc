"""Results on other data than those of a search are refused, whatever they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ltmed.runs import facts
from ltmed.studies.trials import OtherDataError, Outcome, State, recorded_split, require_split

SPLITS = ["one", "two"]
"""Of the two repetitions."""


def begun(folder: Path, split: str | None) -> Path:
    """The record of a run; its labels were read if there is a split."""
    folder.mkdir(parents=True)
    about = None if split is None else {"name": "random", "hash": split, "root": "/data"}
    others = ("choices", "uses", "fingerprint", "folder", "split_seeds", "pixels", "stages")
    recorded = {**dict.fromkeys(others), "split": about}
    (folder / facts.RUN).write_text(json.dumps(recorded))
    return folder


def state(folder: Path, **splits: str) -> State:
    """Outcomes of a state: the end of the key -> the hash that they have."""
    return State(
        outcomes={
            f"probes/ce, plain/{end.strip('_')}": Outcome(str(folder / end), 0.5, 1.0, 1.0, 1, "f", split)
            for end, split in splits.items()
        }
    )


def test_the_split_of_a_run_is_the_one_that_it_was_begun_with(tmp_path):
    assert recorded_split(begun(tmp_path / "run", "one")) == "one"
    assert recorded_split(begun(tmp_path / "before its labels", None)) is None
    assert recorded_split(tmp_path / "nothing") is None


def test_unreadable_images_do_not_make_a_run_one_on_other_data(tmp_path):
    folder = begun(tmp_path / "run", "in use")
    recorded = json.loads((folder / facts.RUN).read_text())
    recorded["split"]["listed"] = "by the label files"
    (folder / facts.RUN).write_text(json.dumps(recorded))
    assert recorded_split(folder) == "by the label files"


def test_a_run_on_another_split_is_refused_with_both_and_the_way_out(tmp_path):
    require_split(tmp_path, "one", "one", "/data")
    require_split(tmp_path, None, "one", "/data")
    with pytest.raises(OtherDataError) as refused:
        require_split(tmp_path, "two", "one", "/data")
    assert refused.value.message == f"{tmp_path} holds a run on the split two, but /data now gives one"
    assert "runs=DIR" in refused.value.hint


def test_every_outcome_must_have_the_split_of_its_repetition(tmp_path):
    state(tmp_path, _0="one", _1="two", timing="one").require_splits(SPLITS, "/data")
    for end in ("_0", "_1", "timing"):
        splits = {"_0": "one", "_1": "two", "timing": "one", end: "three"}
        with pytest.raises(OtherDataError, match=f"{tmp_path / end} .* three, but /data now"):
            state(tmp_path, **splits).require_splits(SPLITS, "/data")
    with pytest.raises(OtherDataError):  # Another repetition's split will not do.
        state(tmp_path, _1="one").require_splits(SPLITS, "/data")


def test_a_folder_that_was_given_to_a_run_on_other_data_is_refused(tmp_path):
    known = state(tmp_path, _0="one", _1="two")
    begun(tmp_path / "_0", "one")
    known.require_splits(SPLITS, "/data")
    begun(tmp_path / "_1", "one")
    with pytest.raises(OtherDataError, match="_1 holds a run on the split one, but /data now gives two"):
        known.require_splits(SPLITS, "/data")


def test_a_saved_state_keeps_the_splits(tmp_path):
    known = state(tmp_path, _0="one", _1="two")
    assert State.from_json(json.loads(json.dumps(known.to_json()))) == known
