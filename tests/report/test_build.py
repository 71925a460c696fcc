"""Which runs share a row and a column, and what is missing."""

from __future__ import annotations

import shlex

import pytest

from ltmed.errors import UserError
from ltmed.report.build import from_runs, separate
from ltmed.report.formatting import distinguishing_keys, settings_text
from ltmed.report.model import Cell, Table
from ltmed.runs.reader import read_run
from ltmed.studies.published import Published
from tests.report.factory import METRIC, config, write
from tests.run_json import write_facts


def test_folds_of_one_protocol_share_a_column_and_seeds_a_cell(tmp_path):
    runs = [write(tmp_path, "erm", fold, seed) for fold in (0, 1) for seed in (0, 1)]
    table = from_runs([*runs, write(tmp_path, "proco", 0)])
    assert table.columns == ("toy, grouped, 5 folds",)
    assert table.rows == ("erm", "proco")
    assert len(table.cells["erm", table.columns[0]].runs) == 4
    proco = table.cells["proco", table.columns[0]]
    assert [command.split()[-2:] for command in proco.missing] == [
        ["fold=0", "seed=1"],
        ["fold=1", "seed=0"],
        ["fold=1", "seed=1"],
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"name": "random", "split_hash": "other", "settings": {"split._target_": "ltmed.data.splits.protocols.random"}},
        {"split_hash": "other", "settings": {"split.seed": 1}},
        {"split_hash": "other", "settings": {"split.folds": 10}},
        {"settings": {"dataset.head": ["A"]}},
        {"split_hash": "other"},
        {"dataset": "else"},
    ],
)
def test_other_splits_are_other_columns(tmp_path, other):
    table = from_runs([write(tmp_path, "erm"), write(tmp_path, "proco", **other)])
    assert len(table.columns) == len(set(table.columns)) == 2
    assert sorted(len(cell.runs) for cell in table.cells.values()) == [1, 1]


def test_a_setting_of_the_split_that_is_none_makes_no_column(tmp_path):
    unset = {"split.val_seed": None, "dataset.head": None}
    table = from_runs([write(tmp_path, "erm"), write(tmp_path, "erm", 1, settings=unset)])
    assert (len(table.rows), len(table.columns)) == (1, 1)
    (cell,) = separate(table).cells.values()
    assert len(cell.runs) == 2


def test_none_is_another_setting_of_a_method_than_none_at_all(tmp_path):
    """Where the key is missing, the default of the signature holds."""
    runs = [write(tmp_path / "a", "erm"), write(tmp_path / "b", "erm", settings={"method.gamma": None})]
    assert from_runs(runs).rows == ("erm (gamma=null)", "erm (gamma=unset)")


def test_a_row_with_another_hash_of_a_fold_has_its_own_column(tmp_path):
    runs = [write(tmp_path, method, fold) for method in ("erm", "rs") for fold in (0, 1)]
    table = from_runs([*runs, write(tmp_path, "proco", 0, split_hash="changed"), write(tmp_path, "proco", 1)])
    assert [column.rpartition(" ")[2] for column in table.columns] == ["hash0", "changed"]
    assert {row: len(cell.runs) for (row, column), cell in table.cells.items() if column.endswith("hash0")} == {
        "erm": 2,
        "rs": 2,
    }


def test_a_row_with_two_hashes_of_a_fold_is_taken_apart(tmp_path):
    """Nobody can tell which of its fold 1 belongs to which of its fold 0."""
    runs = [write(tmp_path, "erm", fold) for fold in (0, 1)]
    table = from_runs([*runs, write(tmp_path, "erm", 0, 1, split_hash="changed")])
    assert {column.rpartition(" ")[2] for column in table.columns} == {"hash0", "hash1", "changed"}


def redrawn(tmp_path, method, seed, **further):
    """A run whose seed also divides the images."""
    return write(
        tmp_path, method, seed=seed, split_hash=further.pop("split_hash", f"draw{seed}"),
        overrides=f"split.seed={seed}", settings={"split.seed": seed}, **further,
    )  # fmt: skip


def test_split_seeds_of_one_row_are_repetitions(tmp_path):
    runs = [redrawn(tmp_path, "erm", seed) for seed in range(5)]
    runs += [redrawn(tmp_path, "proco", seed) for seed in range(3)]
    table = from_runs(runs)
    assert table.columns == ("toy, grouped, 5 folds",)
    assert {row: len(table.cells[row, table.columns[0]].runs) for row in table.rows} == {"erm": 5, "proco": 3}
    start = f"ltmed train method=proco dataset=toy dataset.root=/data runs={tmp_path}"
    start += " split.seed={0} fold=0 seed={0}"
    assert table.cells["proco", table.columns[0]].missing == (start.format(3), start.format(4))


def test_a_split_seed_with_another_hash_goes_elsewhere(tmp_path):
    runs = [redrawn(tmp_path, method, seed) for method in ("erm", "rs") for seed in range(3)]
    other = [redrawn(tmp_path / "o", "proco", s, split_hash="else" if s == 1 else f"draw{s}") for s in range(3)]
    table = from_runs([*runs, *other])
    assert len(table.columns) == 2
    assert [sorted(row for row, at in table.cells if at == column) for column in table.columns] == [
        ["erm", "rs"],
        ["proco"],
    ]


def test_another_kind_of_split_is_never_a_repetition(tmp_path):
    runs = [redrawn(tmp_path, "erm", seed) for seed in range(2)]
    runs.append(redrawn(tmp_path, "proco", 0, name="random"))
    assert len(from_runs(runs).columns) == 2


def test_a_row_without_a_repetition_of_other_validation_images_has_its_command(tmp_path):
    """Of the two repetitions, one has no val_seed: it is null, as `ltmed recommend` leaves it."""
    unset, other = {"split.val_seed": None}, {"split.val_seed": 1}
    both = [
        write(tmp_path, "erm", seed=0, split_hash="a", settings=unset),
        write(tmp_path, "erm", seed=1, split_hash="b", overrides="split.val_seed=1", settings=other),
    ]
    late = write(tmp_path, "rs", seed=1, split_hash="b", overrides="split.val_seed=1", settings=other)
    table = from_runs([*both, write(tmp_path, "proco", split_hash="a", settings=unset), late])
    missing = {row: table.cells[row, table.columns[0]].missing for row in table.rows}
    start = (
        f"ltmed train method={{}} dataset=toy dataset.root=/data runs={tmp_path} split.val_seed={{}} fold=0 seed={{}}"
    )
    assert missing == {"erm": (), "proco": (start.format("proco", 1, 1),), "rs": (start.format("rs", "null", 0),)}


def test_split_seeds_that_no_row_shares_stay_apart(tmp_path):
    table = from_runs([redrawn(tmp_path, "erm", 0), redrawn(tmp_path, "proco", 1)])
    assert table.columns == ("toy, grouped, 5 folds, split seed 0", "toy, grouped, 5 folds, split seed 1")


def test_a_study_repeated_over_split_seeds_has_one_column(tmp_path):
    """Even before any row has two of them: the study says that they are repetitions."""
    cells = {
        ("A", "toy"): Cell((redrawn(tmp_path, "a", 0),)),
        ("B", "toy"): Cell((redrawn(tmp_path, "b", 1),), published=(Published("accuracy", 0.5),)),
    }
    table = Table("t", ("A", "B"), ("toy",), cells)
    assert separate(table) == table
    changed = redrawn(tmp_path / "c", "b", 0, split_hash="else")
    cells["B", "toy"] = Cell((changed,), published=(Published("accuracy", 0.5),))
    divided = separate(Table("t", ("A", "B"), ("toy",), cells))
    assert divided.columns == ("toy, split draw0", "toy, split else")
    assert divided.cells["B", "toy, split else"].published, "they stand beside the row's own figures"


def test_papers_with_one_division_share_a_column(tmp_path):
    runs = [
        write(tmp_path, paper, name=f"paper ({paper}, 5 folds)", settings={"split.of": paper})
        for paper in ("pcct", "lmd")
    ]
    assert from_runs(runs).columns == ("toy, paper (5 folds)",)
    own = write(tmp_path, "alpa", name="paper (alpa, 80:20)", split_hash="other", settings={"split.of": "alpa"})
    assert len(from_runs([*runs, own]).columns) == 2


def test_settings_that_differ_name_the_rows(tmp_path):
    runs = [
        write(tmp_path, "erm", overrides=f"image_size={side}", settings=settings)
        for side in (64, 128)
        for settings in [{"image_size": side, "dataset.image_size": side, "augment.crop.size": side}]
    ]
    runs.append(write(tmp_path, "erm", dataset="else", settings={"image_size": 128, "augment.crop.size": 128}))
    table = from_runs([*runs, write(tmp_path, "proco")])
    assert table.rows == ("erm (image_size=64)", "erm (image_size=128)", "proco")
    assert ("erm (image_size=128)", "else, grouped, 5 folds") in table.cells


def test_a_data_sets_own_image_size_is_no_row(tmp_path):
    runs = [write(tmp_path, "erm"), write(tmp_path, "erm", dataset="else", settings={"image_size": 224})]
    assert from_runs(runs).rows == ("erm",)


def test_labels_are_short():
    one = {"loss._target_": "ltmed.losses.focal", "epochs": 5, "a.first.lr": 1, "a.second.lr": 1, "b.first.lr": 2}
    other = {**one, "loss._target_": "ltmed.losses.ce", "a.second.lr": 1e-3}
    third = {**other, "a.first.lr": 3}
    keys = distinguishing_keys([[one, other, third]])
    assert keys == ["loss._target_", "a.first.lr"]
    assert settings_text(third, keys) == "loss=ce, a.first.lr=3"
    assert settings_text(other, ["a.second.lr"]) == "second.lr=0.001"
    assert settings_text({"epochs.first": 1, "epochs.second": 2}, ["epochs"]) == "epochs={first: 1, second: 2}"
    assert distinguishing_keys([[one], [other]]) == distinguishing_keys([[one, dict(one)]]) == []
    assert distinguishing_keys([[one, {**one, "gamma": None}]]) == ["gamma"]
    ce, alpa = {"module.loss._target_": "ltmed.ce"}, {"module.loss._target_": "ltmed.alpa", "module.loss.beta": 1.0}
    assert settings_text(ce, distinguishing_keys([[ce, alpa]])) == "loss=ce", "beta also tells them apart"


def test_unfinished_runs_are_missing_with_their_commands(tmp_path):
    overrides = "epochs=5,method.stages.train.optimizer.lr=1e-3"
    done = write(tmp_path, "erm", seed=0, overrides=overrides)
    half = write(tmp_path, "erm", seed=1, overrides=overrides, finished=False)
    alone = write(tmp_path, "proco", seed=0, finished=False)
    table = from_runs([done], [half.path, alone.path])
    start = f"ltmed train method={{}} dataset=toy dataset.root=/data{{}} runs={tmp_path} fold=0 seed={{}}"
    arguments = " epochs=5 method.stages.train.optimizer.lr=1e-3"
    assert table.cells["erm", table.columns[0]].missing == (start.format("erm", arguments, 1),)
    assert table.cells["proco", table.columns[0]].missing == tuple(start.format("proco", "", s) for s in (0, 1))


def test_a_folder_that_was_chosen_is_named_for_its_own_run_only(tmp_path):
    done, half = write(tmp_path, "erm"), write(tmp_path, "erm", seed=1, finished=False)
    for run in (done, half):
        write_facts(run.path, config("erm", 0, run.seed), ["method=erm", f"run_dir={run.path}", "loss=focal"])
    (cell,) = from_runs([read_run(done.path)], [half.path]).cells.values()
    assert cell.missing == (f"ltmed train method=erm loss=focal run_dir={half.path} fold=0 seed=1",)
    other = write(tmp_path / "o", "proco", seed=2)
    cells = from_runs([read_run(done.path), other], [half.path]).cells
    assert "ltmed train method=erm loss=focal fold=0 seed=2" in cells["erm", "toy, grouped, 5 folds"].missing


def test_long_and_odd_overrides_are_in_the_command(tmp_path):
    odd = ["dataset.head=['a b',c]", "epochs={train:3}", *(f"method.stages.train.option_{i}={i}" for i in range(20))]
    done, half = write(tmp_path, "erm", overrides="x-0123abcd"), write(tmp_path, "erm", seed=1, finished=False)
    write_facts(half.path, config("erm", 0, 1), ["method=erm", *odd], "toy/erm/default/fold0-seed1")
    (cell,) = from_runs([done], [half.path]).cells.values()
    assert shlex.split(cell.missing[0]) == [
        "ltmed", "train", "method=erm", *odd, f"runs={tmp_path}", "fold=0", "seed=1",
    ]  # fmt: skip


def test_nothing_finished(tmp_path):
    half = write(tmp_path, "erm", finished=False)
    with pytest.raises(UserError, match="None of 1 runs is finished.*also finishes it"):
        from_runs([], [half.path])


def test_copies_count_once(tmp_path):
    first, copy = write(tmp_path / "a"), write(tmp_path / "b")
    table = from_runs([first, copy])
    assert len(table.cells["erm", table.columns[0]].runs) == 1
    assert "repeats" in table.notes[0]


def test_another_content_of_the_file_of_weights_is_another_row(tmp_path):
    runs = [write(tmp_path / name) for name in "abc"]
    for run, content in zip(runs, ("1" * 16, "2" * 16, "1" * 16), strict=True):
        run.facts["weights"] = {"encoder": content, "file": content}
    table = from_runs(runs)
    assert table.rows == ("erm (weights_content=11111111)", "erm (weights_content=22222222)")
    assert table.notes == (f"{runs[2].path} repeats {runs[0].path} and is left out.",)


def test_one_computation_under_two_methods_is_named(tmp_path):
    stage = {"method.stages.train.module._target_": "erm with focal loss"}
    first = write(tmp_path, "erm", overrides="loss=focal", settings={**stage, "loss._target_": "focal"})
    other = write(tmp_path, "focal", settings=stage)
    table = from_runs([first, other])
    assert len(table.rows) == 2
    assert table.notes == (f"{other.path} computes the same as {first.path}, under the name of another method.",)
    assert not from_runs([first, write(tmp_path, "focal", seed=1)]).notes


def test_a_studys_column_of_two_splits_is_divided(tmp_path):
    first, second = write(tmp_path, "a"), write(tmp_path, "b", split_hash="other")
    cells = {
        ("A", "toy"): Cell((first,), published=(Published("accuracy", 0.5),)),
        ("B", "toy"): Cell((second,), missing=("python run.py",)),
    }
    table = separate(Table("t", ("A", "B"), ("toy",), cells))
    assert table.columns == ("toy, split hash0", "toy, split other")
    assert table.cells["A", table.columns[0]].published
    assert table.cells["B", table.columns[0]].runs == ()
    assert table.cells["B", table.columns[1]].runs == (second,)
    whole = Table("t", ("A",), ("toy", "none"), {("A", "toy"): Cell((first,)), ("A", "none"): Cell(missing=("m",))})
    assert separate(whole) == whole


def of_states(tmp_path, state, method="erm", folds=range(4)):
    """Runs of folds 0 and 1 before, and of 2 and 3 after the data set changed; `state` marks a run of the later one."""
    runs = [write(tmp_path, method, fold) for fold in folds]
    for run in runs:
        run.facts["split"]["data"] = "before"
        if run.division.fold > 1:
            state(run)
    return runs


def _other_hash(run):
    run.facts["split"]["data"] = "after"


def _other_size(run):
    """As earlier versions recorded it."""
    del run.facts["split"]["data"]
    run.metrics["split"]["images"]["train"] += 1


@pytest.mark.parametrize("state", [_other_hash, _other_size])
def test_folds_of_two_states_of_the_data_are_no_row(tmp_path, state):
    runs = of_states(tmp_path, state)
    table = from_runs(runs)
    assert [[run.division.fold for run in cell.runs] for cell in table.cells.values()] == [[0, 1], [2, 3]]
    (note,) = table.notes
    assert note.startswith("toy changed between the runs (data before, ")
    study = separate(Table("t", ("A",), ("toy",), {("A", "toy"): Cell(tuple(runs))}, notes=("mine",)))
    assert [len(cell.runs) for cell in study.cells.values()] == [2, 2]
    assert study.notes == ("mine", note)


def test_a_run_that_did_not_record_its_data_set_may_be_of_the_same(tmp_path):
    def unknown(run):
        del run.facts["split"]["data"]

    def long_tailed(run):
        _other_size(run)
        run.metrics["split"]["imbalance"] = {"ratio": 100}

    for number, state in enumerate((unknown, long_tailed)):
        table = from_runs(of_states(tmp_path / str(number), state))
        assert [len(cell.runs) for cell in table.cells.values()] == [4]
        assert not table.notes


def test_states_that_differ_in_groups_only_have_other_names(tmp_path):
    """The hash of a split by image does not say it."""
    one, other = (write(tmp_path, method, split_hash="same") for method in ("erm", "proco"))
    one.facts["split"]["data"], other.facts["split"]["data"] = "ungrouped", "grouped"
    assert sorted(column.rpartition(", data ")[2] for column in from_runs([one, other]).columns) == [
        "grouped", "ungrouped",
    ]  # fmt: skip


def test_a_setting_that_changed_nothing_makes_no_second_repetition(tmp_path):
    """A budget of the cache that neither run exceeded."""
    first = write(tmp_path / "a", scalars={METRIC: 0.5}, settings={"dataset.cache_budget_gb": 20})
    other = write(tmp_path / "b", scalars={METRIC: 0.6}, settings={"dataset.cache_budget_gb": 10})
    table = from_runs([first, other])
    (cell,) = table.cells.values()
    assert cell.runs == (first,)
    (note,) = table.notes
    assert str(other.path) in note
    assert note.endswith("they differ in dataset.cache_budget_gb.")


def test_compressed_images_are_another_row(tmp_path):
    first, other = (
        write(tmp_path / name, settings={"dataset.cache_budget_gb": gb}) for name, gb in (("a", 9), ("b", 0))
    )
    other.facts["pixels"]["store"] = "jpeg"
    assert set(from_runs([first, other]).rows) == {"erm (store=unset)", "erm (store=jpeg)"}
    assert from_runs([other]).rows == ("erm",)


def test_runs_without_some_unreadable_images_are_another_column(tmp_path):
    all_images = write(tmp_path, "erm", settings={"dataset.on_bad_image": "skip"})
    fewer = write(tmp_path, "proco", settings={"dataset.on_bad_image": "skip"})
    fewer.metrics["skipped"] = [{"image": "a.png", "reason": "truncated"}]
    assert len(from_runs([all_images, write(tmp_path, "rs")]).columns) == 1, "nothing was skipped"
    assert len(set(from_runs([all_images, fewer]).columns)) == 2


def test_unfinished_runs_of_several_labels_and_of_skipped_images_have_their_column(tmp_path):
    done, half = write(tmp_path, "erm"), write(tmp_path, "erm", seed=1, finished=False)
    done.metrics["test"]["thresholds"] = {}
    done.metrics["skipped"] = [{"image": "a.png", "reason": "truncated"}]
    table = from_runs([done], [half.path])
    assert not table.notes
    assert [len(cell.missing) for cell in table.cells.values()] == [1]
