"""The words of a command line: their order, options, and settings without name or value."""

from __future__ import annotations

import pytest

from ltmed.cli.command_line import in_order
from ltmed.errors import UserError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("seed=0,1 -m method=erm", "-m seed=0,1 method=erm"),
        ("seed=0,1 --multirun", "--multirun seed=0,1"),
        ("method=erm --cfg job seed=1", "--cfg job method=erm seed=1"),
        ("~method.stages.first -m method=pcct", "-m ~method.stages.first method=pcct"),
        ("--info defaults-tree a=1", "--info defaults-tree a=1"),
        ("epochs=2 method=erm epochs=3", None),  # Hydra takes the last, so that a script's words can be changed.
        ("augment=weak augment@evaluation=none +lmd=table3 +scale=smoke", None),
    ],
)
def test_options_come_first(given: str, expected: str | None) -> None:
    assert " ".join(in_order(given.split())) == (expected or given)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--foo seed=1", "no option '--foo'"),
        ("seed=0,1 --multi-run", "'--multirun'"),
        ("--cfg jobs", "invalid choice: 'jobs'"),
        ("-m --cfg job", "--multirun and --cfg do not go together"),
        ("--resolve", "--cfg job"),
        ("=5", "'=5' has no setting"),
        ("run_dir=", "run_dir= has no value"),
        ("runs= seed=1", "runs= has no value"),
        ("cache_dir=", "cache_dir=null"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as refused:
        in_order(words.split())
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().err == ""
