"""`ltmed recommend`: a whole search on few images, and what it refuses."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import timm
import torch

from ltmed.cli.main import main
from ltmed.cli.recommend import _Recommend
from ltmed.data.phantom import write_phantom
from tests.harness import Finished, SignalAt, ok, run_command

SMALL = {"train": (40, 30, 20, 16, 14, 12, 12), "val": (4,) * 7, "test": (6,) * 7}
OTHER = {"train": (20,) * 7, "val": (8,) * 7, "test": (9,) * 7}


@dataclass(frozen=True)
class SmallSearch:
    """Makes the search of a new process a small one, and perhaps stops it when it trains for a long time."""

    stop: bool = False
    probes_only: bool = False
    """Two probes, each twice, and nothing else."""

    def __call__(self) -> None:
        from ltmed.config import paths
        from ltmed.studies import rungs

        plan, known = rungs.read(), paths.choices
        few = {"loss": ("balanced_softmax", "ce", "ldam", "logit_adjusted"), "sampler": ("class_balanced", "instance")}
        probes, short, long = plan.rungs
        small = (
            replace(probes, overrides=("method=probe", "epochs=1"), overrides_small=()),
            replace(short, keep=2, min_epochs=1, max_epochs=1),
            replace(long, keep=1, min_epochs=2, max_epochs=2),
        )
        if self.probes_only:
            few["loss"], few["sampler"], small = ("balanced_softmax", "ce"), ("instance",), small[:1]
        rungs.read = lambda: replace(plan, rungs=small)
        paths.choices = lambda group: {name: known(group)[name] for name in few.get(group, known(group))}
        if self.stop:
            SignalAt(1, 0, signal.SIGINT, stage="train")()


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command on 144 images with a tiny network that has weights."""
    folder = tmp_path_factory.mktemp("recommend")
    write_phantom(folder / "phantom", counts=SMALL)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "weights.pt")
    return [
        "recommend", "--backbone=tiny", f"backbone.weights={folder}/weights.pt", "dataset=manifest",
        f"dataset.root={folder}/phantom", "split=random", "split.pool=all", "image_size=32", "batch_size=32",
        "trainer=cpu", f"cache_dir={folder}/cache", "runs=here",
    ]  # fmt: skip


@pytest.mark.slow
def test_it_ends_in_a_page_and_goes_on_where_it_was_stopped(arguments: list[str], tmp_path: Path) -> None:
    arguments = [*arguments, "--budget=10h"]
    stopped = run_command(*arguments, cwd=tmp_path, program="ltmed/cli/__main__.py", before=SmallSearch(stop=True))
    assert stopped.code == 130
    (state,) = tmp_path.glob("here/recommend/manifest-*/state.json")
    before = json.loads(state.read_text())
    assert before["closed"] == ["probes"]  # It was stopped while it measured the cost of an epoch.
    done = ok(run_command(*arguments, cwd=tmp_path, program="ltmed/cli/__main__.py", before=SmallSearch()))
    after = json.loads(state.read_text())
    assert before["spent"] < after["spent"]
    assert before["outcomes"].items() <= after["outcomes"].items()
    refused = {key.removeprefix("probes/"): reason for key, reason in after["refused"].items()}
    assert set(refused) == {"ldam, instance", "logit_adjusted, instance"}
    assert "balanced_softmax, instance" in refused["logit_adjusted, instance"]
    assert after["closed"] == ["probes", "short", "long"]
    page = state.with_name("recommendation.md").read_text()
    assert "## Recommended" in page
    assert "What it cost" in page
    assert state.with_name("recommendation.html").is_file()
    # The command that it prints is that of a run which is there: it only reports.
    (command,) = (line.strip() for line in done.out.splitlines() if line.startswith("    ltmed train "))
    again = ok(run_command(*shlex.split(command)[1:], cwd=tmp_path, program="ltmed/cli/__main__.py"))
    finished = {str(Path(one["folder"])) for one in after["outcomes"].values()}
    assert again.out.strip().splitlines()[-1].removeprefix("Results are in ") in finished
    # All repetitions of a candidate are tested on the same images, and chosen on others.
    folders = [Path(tmp_path, one["folder"]) for one in after["outcomes"].values()]
    tests, splits = set(), set()
    for folder in folders:
        found = json.loads((folder / "metrics.json").read_text())
        tests.add(json.dumps(found["split"]["counts"]["test"]))
        splits.add(found["split"]["hash"])
    assert len(tests) == 1
    assert len(splits) == 2


def on(arguments: list[str], root: Path, *more: str) -> list[str]:
    """The command for other data."""
    return [f"dataset.root={root}" if one.startswith("dataset.root=") else one for one in arguments] + list(more)


def relabel_one(root: Path) -> None:
    """Gives the first image of the table another label: as many images, under the same names."""
    (table,) = root.glob("*.csv")
    with table.open(newline="") as file:
        header, *rows = csv.reader(file)
    column = header.index("label")
    rows[0][column] = next(row[column] for row in rows if row[column] != rows[0][column])
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def test_a_search_is_that_of_its_images_and_weights_wherever_they_are(arguments, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path(next(one for one in arguments if one.startswith("dataset.root=")).partition("=")[2])

    def folder(where: Path, *more: str, budget: float = 3600) -> Path:
        return _Recommend(on(arguments[2:], where, *more), budget, "tiny").folder

    shutil.copytree(root, moved := tmp_path / "moved")
    write_phantom(other := tmp_path / "other", counts=OTHER)
    first = folder(root)
    assert folder(moved) == first
    assert folder(moved, "trainer.log_every_n_steps=7") == first
    assert folder(moved, budget=7200) != first
    assert folder(moved, "image_size=48") != first
    assert folder(other) != first
    relabel_one(moved)
    assert folder(moved) != first
    weights = tmp_path / "weights.pt"
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    one = folder(root, f"backbone.weights={weights}")
    assert folder(root, f"backbone.weights={weights}") == one
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    assert folder(root, f"backbone.weights={weights}") != one


def test_every_search_measures_the_cost_of_an_epoch_itself(arguments: list[str], tmp_path: Path, monkeypatch) -> None:
    """A timing that an earlier search finished would be read in no time, as if runs had no cost besides epochs."""
    monkeypatch.chdir(tmp_path)
    searches = [_Recommend(arguments[2:], budget, "tiny") for budget in (600, 3600)]
    timings = [search._timing(["method=erm", "epochs=1"]) for search in searches]
    for search, (part, job) in zip(searches, timings, strict=True):
        assert search.folder / ".timing" in job.run_dir.parents
        steps = search.images // 32
        assert part == pytest.approx(min(8, steps) / steps)
        assert job.cfg.trainer.limit_train_batches == min(8, steps)
    assert timings[0][1].run_dir != timings[1][1].run_dir


@pytest.mark.slow
def test_results_on_other_images_are_refused(arguments: list[str], tmp_path: Path) -> None:
    def recommend(root: Path, budget: str = "10h") -> Finished:
        given = on(arguments, root, f"--budget={budget}")
        return run_command(*given, cwd=tmp_path, program="ltmed/cli/__main__.py", before=SmallSearch(probes_only=True))

    def refused(done: Finished) -> str:
        assert done.code == 2, done.err
        (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert "holds a run on the split" in line
        assert "runs=DIR" in line
        return line

    root, moved, other = tmp_path / "data", tmp_path / "moved", tmp_path / "other"
    write_phantom(root, counts=SMALL)
    write_phantom(other, counts=OTHER)
    ok(recommend(root))
    (file,) = tmp_path.glob("here/recommend/*/state.json")
    state = json.loads(file.read_text())
    hashes = [json.loads(Path(tmp_path, one["folder"], "metrics.json").read_text())["split"]["hash"]
              for one in state["outcomes"].values()]  # fmt: skip
    assert [one["split"] for one in state["outcomes"].values()] == hashes
    assert len(set(hashes)) == 2
    # Other images in the same folder of runs, also for another budget.
    assert f"but {other} now gives" in refused(recommend(other))
    assert f"but {other} now gives" in refused(recommend(other, "9h"))
    # Moved, it is the same search and runs nothing again.
    root.rename(moved)
    assert "repetition" not in ok(recommend(moved)).out
    assert json.loads(file.read_text())["outcomes"] == state["outcomes"]
    # Other content in the same place; another budget would have reused the runs.
    relabel_one(moved)
    assert f"but {moved} now gives" in refused(recommend(moved))
    assert f"but {moved} now gives" in refused(recommend(moved, "9h"))
    assert json.loads(file.read_text())["outcomes"] == state["outcomes"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["recommend"], "Missing argument"),
        (["recommend", "dataset=phantom", "loss=focal"], "chooses loss itself"),
        (["recommend", "dataset=phantom", "seed=3"], "chooses seed itself"),
        (["recommend", "dataset=phantom", "method.stages.train.epochs=3"], "chooses method itself"),
        (["recommend", "phantom"], "is not a setting"),
        (["recommend", "dataset=phantom", "--budget=soon"], "is not a time"),
        (["recommend", "dataset=phantom", "--backbone=tiny"], "random weights"),
        (["recommend", "dataset=manifest", "dataset.root=/nowhere"], "does not exist"),
    ],
)
def test_mistakes_end_in_one_line(capsys, monkeypatch, tmp_path, given, message) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert message in error
    assert not list(tmp_path.iterdir())
