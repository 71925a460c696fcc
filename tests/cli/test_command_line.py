"""A command line: options, overrides in any order, studies, and settings without name or value."""

from __future__ import annotations

import pytest

from ltmed.cli.command_line import for_hydra
from ltmed.errors import UserError
from ltmed.studies.catalogue import load


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LTMED_DATA", raising=False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("seed=1 -r method=erm", "--run seed=1 method=erm"),
        ("method=erm --cfg job seed=1 --resolve", "--cfg job --resolve method=erm seed=1"),
        ("a=1 -c job -p method", "--cfg job --package method a=1"),
        ("-cd my/conf a=1 --config-name=other", "--config-dir my/conf --config-name other a=1"),
        ("--info defaults-tree a=1", "--info defaults-tree a=1"),
        ("~method.stages.first method=pcct", None),
        ("epochs=2 method=erm epochs=3", None),  # Hydra takes the last, so that a script's overrides can be changed.
        ("augment=weak augment@evaluation=none +sampler@method.stages.x.sampler=instance", None),
        ("a=1 hydra.verbose=true", "hydra.verbose=true a=1"),
    ],
)
def test_options_come_first(given: str, expected: str | None) -> None:
    assert " ".join(for_hydra(given.split())[0]) == (expected or given)


@pytest.mark.parametrize(
    "given", ["seed=0,1 -m method=erm", "-m seed=0,1 method=erm", "seed=0,1 method=erm --multirun"]
)
def test_a_sweep_leaves_its_overrides_to_the_sweeper(given: str) -> None:
    assert for_hydra(given.split()) == (["--multirun"], ("seed=0,1", "method=erm"))


def test_hydra_has_what_concerns_the_sweep_itself() -> None:
    overrides = "-m seed=0,1 hydra/launcher=joblib runs=r trainer.devices=2 method=erm hydra.launcher.n_jobs=2"
    arguments, given = for_hydra(overrides.split())
    assert arguments == [
        "--multirun",
        *["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "runs=r", "trainer.devices=2"],
    ]
    assert given == ("seed=0,1", "runs=r", "trainer.devices=2", "method=erm")


def test_a_study_is_left_to_the_sweeper_and_a_cell_is_its_plain_command() -> None:
    arguments = ["+lmd=table1", "row=CE", "runs=r", "method.stages.train.module.x=1"]
    assert for_hydra(["-m", *arguments]) == (["--multirun", "runs=r"], tuple(arguments))
    cell = next(load("lmd/table1").only("row", ["CE"]).cells(arguments[2:]))
    assert for_hydra(arguments) == (list(cell.overrides), ())
    rooted, _ = for_hydra([*arguments, "data=/d e", "--cfg", "job"])
    assert rooted[:2] == ["--cfg", "job"]
    assert set(rooted[2:]) - set(cell.overrides) == {"dataset.root='/d e/hyper_kvasir'"}


def test_another_sweeper_gets_one_cell() -> None:
    arguments, given = for_hydra(["-m", "hydra/sweeper=optuna", "+lmd=table1", "row=CE", "epochs=choice(1,2)"])
    assert arguments[:2] == ["--multirun", "hydra/sweeper=optuna"]
    assert {"method=erm", "epochs=choice(1,2)"} <= set(arguments)
    assert given == ()
    plain = ["hydra/sweeper=optuna", "seed=0,1"]
    assert for_hydra(["-m", *plain]) == (["--multirun", *plain], ())
    with pytest.raises(UserError, match="rows and 1 columns"):
        for_hydra(["-m", "hydra/sweeper=optuna", "+lmd=table1"])


def test_hydra_is_told_where_home_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make a folder called ~ for a sweep."""
    monkeypatch.setenv("HOME", "/homes/me")
    monkeypatch.setenv("USERPROFILE", "/homes/me")
    arguments = ["runs='~/my runs'", "dataset.root=~/data"]
    expected = ["runs='/homes/me/my runs'", "dataset.root=~/data"]
    assert for_hydra(arguments) == (expected, ())
    assert for_hydra(["-m", *arguments, "seed=0,1"]) == (["--multirun", *expected], (*expected, "seed=0,1"))
    assert for_hydra(["runs=~"]) == (["runs=/homes/me"], ())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--foo seed=1", "no option '--foo'"),
        ("--fold 3", "Settings have no dashes: fold=VALUE."),
        ("--batch-size=3", "batch_size=VALUE"),
        ("--method=erm", "method=VALUE"),
        ("--dataset.root=/x", "dataset.root=VALUE"),
        ("seed=0,1 --multi-run", "'--multirun'"),
        ("--cfg jobs", "'jobs' is not one of 'job'"),
        ("-m --cfg job", "--multirun and --cfg do not go together"),
        ("--resolve", "--cfg job"),
        ("=5", "'=5' has no setting"),
        ("run_dir=", "run_dir= has no value"),
        ("runs= seed=1", "runs= has no value"),
        ("cache_dir=", "cache_dir=null"),
        ("-cd", "requires an argument"),
        ("+lmdd=table3", "no study 'lmdd/table3'"),
        ("+lmd=table9", "Did you mean 'lmd/table"),
        ("-m +lmd=table9", "no study 'lmd/table9'"),
        ("+lmd=table1 +pcct=table3", "are two studies"),
        ("+scale=smoke", "belongs to a study"),
        ("-m epochs={a:1} epochs={b:2}", "epochs={...} is given twice"),
        ("+seed=3", "'seed' exists already. Write seed=3."),
        ("++epochs=3", "'epochs' exists already. Write epochs=3."),
        ("+lmd=table1 row=LMD,CE", "rows and 1 columns. Run all of them with ltmed train -m"),
        ("+lmd=table1 row=LMD fold=0,1", "several runs"),
        ("+lmd=table1 row=FCD", "reported, not re-run"),
        ("+lmd=table1 row=LDM", "has no row 'LDM'"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as refused:
        for_hydra(arguments.split())
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().err == ""
