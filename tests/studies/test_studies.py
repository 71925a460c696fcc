"""Studies: their files against the papers' figures, their cells as plain runs, and one cell of each from end to end."""

from __future__ import annotations

import csv
import itertools
import os
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import ltmed
from ltmed.cli.command_line import for_hydra
from ltmed.cli.help import help_screen
from ltmed.config.overrides import choice, setting
from ltmed.data.phantom import write_phantom
from ltmed.errors import UserError
from ltmed.evaluation.scalars import ALL_SCALARS
from ltmed.report.study_table import table
from ltmed.runs.directory import run_dir_name
from ltmed.runs.job import job_of
from ltmed.studies import catalogue
from ltmed.studies.filters import StudyFilters
from ltmed.studies.study import Study
from ltmed.studies.sweeper import jobs_of
from tests.harness import METHODS, PRESETS, ROOT, ok, run_command
from tests.studies.named import load

PAPERS = ("pcct", "proco", "aduni", "lmd", "alpa")
STUDIES = catalogue.names()
PUBLISHED = [name for name in STUDIES if load(name).table is not None]
FIGURES = 989
SMALL = {"train": (24, 12, 8, 6, 5, 4, 4), "val": (2,) * 7, "test": (3,) * 7}


def method_of(overrides: str) -> str | None:
    return choice(overrides.split(), "method")


def figures(paper: str) -> list[dict[str, str]]:
    with (ROOT / "experiments" / paper / "published.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("paper", PAPERS)
def test_published_figures_are_those_that_were_handed_over(paper: str) -> None:
    source = Path(os.environ.get("LTMED_SHARED", ROOT.parent / "shared")) / "published" / f"{paper}.csv"
    if not source.is_file():
        pytest.skip(f"no {source}")
    assert (ROOT / "experiments" / paper / "published.csv").read_text() == source.read_text()


def test_every_published_figure_is_in_one_cell_of_a_study() -> None:
    assert sum(len(cell) for name in STUDIES for cell in load(name).published.values()) == FIGURES
    assert sum(len(figures(paper)) for paper in PAPERS) == FIGURES
    for paper in PAPERS:
        tables = {line["table"] for line in figures(paper)}
        assert tables == {load(name).table for name in PUBLISHED if name.startswith(paper)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_are_the_published_ones_in_their_order(name: str) -> None:
    study = load(name)
    printed = [line["method"] for line in figures(study.paper) if line["table"] == study.table]
    assert list(study.rows) == list(dict.fromkeys(printed))
    assert {column for _, column in study.published} == set(study.columns)


def test_a_figure_of_each_kind() -> None:
    (kappa,) = [f for f in load("lmd/table1").published["LMD", "hyper_kvasir"] if f.metric == "quadratic_kappa"]
    assert (kappa.mean, kappa.std, kappa.part) == (pytest.approx(0.9243), None, "all")
    tail = {f.part: f for f in load("lmd/table2").published["CE", "isic_archive_lt"]}["tail"]
    assert (tail.mean, tail.metric) == (pytest.approx(0.2672), "recall")
    mild = [f for f in load("alpa/table3").published["ALPA", "aptos2019"] if f.part == "DR1"]
    assert {f.metric: f.mean for f in mild} == pytest.approx({"recall": 0.5882, "f1": 0.59})
    vgg = {f.metric: f for f in load("pcct/table5").published["BCE", "vgg19"]}["macro_f1"]
    assert vgg.mean != load("pcct/table5").published["BCE", "resnet50"][0].mean
    assert vgg.std is not None


def test_every_method_of_a_row_exists() -> None:
    studies = [load(name) for name in STUDIES]
    rows = {
        row: f"{study.shared} {overrides}" for study in studies for row, overrides in study.rows.items() if overrides
    }
    missing = {
        method_of(overrides): row for row, overrides in rows.items() if method_of(overrides) not in METHODS + PRESETS
    }
    assert not missing


@pytest.mark.parametrize("name", STUDIES)
def test_metrics_of_a_study_exist(name: str) -> None:
    assert set(load(name).metrics) <= set(ALL_SCALARS)


def test_a_study_is_merged_as_hydra_would() -> None:
    """Defaults lists, their order and interpolations mean what they mean in configurations."""
    for name in ("lmd/table1", "pcct/table4", "alpa/table5"):
        with initialize_config_dir(str(ROOT / "experiments"), version_base="1.3"):
            cfg = compose(name)
        assert Study(cfg.get(name.split("/")[0], cfg).study).__dict__ == catalogue.load(name).__dict__


@pytest.mark.parametrize("paper", PAPERS)
def test_cells_are_the_plain_runs_that_they_name(paper: str) -> None:
    """Each row and each column of the paper's studies once."""
    seen: set[str | None] = set()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for study in (load(name) for name in STUDIES if name.startswith(paper)):
            for cell in study.cells():
                parts = {study.rows[cell.row], study.columns[cell.column]["overrides"]}
                if parts <= seen or method_of(" ".join(cell.overrides)) not in METHODS + PRESETS:
                    continue
                seen |= parts
                cfg = compose("config", list(cell.overrides))
                named = str(choice(cell.overrides, "dataset")), cfg.method.name, cfg.fold, cfg.seed
                assert Path("runs") / run_dir_name(*named, cell.overrides) == cell.run_dir
                assert shlex.split(cell.command) == ["ltmed", "train", *cell.overrides]


def test_every_cell_of_every_study_is_a_run_at_the_scale_smoke() -> None:
    """All have overrides; cells with settings outside of the method, which shared overrides may lack, are composed.

    What rows set in their methods, and that there are these methods, is the same at the paper's size: see above.
    """
    cells: set[tuple[str, ...]] = set()
    for study in (load(name, "smoke") for name in STUDIES):
        for row, column in itertools.product(study.rerun, study.columns):
            cells.add(study.overrides(row, column, {"fold": "0", "seed": "0"}))
    assert len(cells) > 100
    seen: set[tuple[str, str]] = set()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for arguments in sorted(cells, key=lambda arguments: (-len(arguments), arguments)):
            method = str(choice(arguments, "method"))
            others = [argument for argument in arguments if not setting(argument).lstrip("+~").startswith("method")]
            parts = {(method, setting(argument)) if "." in setting(argument) else ("", argument) for argument in others}
            if not parts <= seen:
                seen |= parts
                assert compose("config", list(arguments)).backbone


def test_a_cell_in_two_tables_is_one_run() -> None:
    def run(name: str, row: str, column: str, **repetition: str) -> Path:
        values = {"fold": "0", "seed": "0", **repetition}
        return next(
            c.run_dir
            for c in load(name).cells()
            if (c.row, c.column, dict(c.repetition)) == (row, column, values)
        )  # fmt: skip

    lmd = run("lmd/table1", "LMD", "hyper_kvasir")
    assert lmd == run("lmd/table4", "LMD lambda_e=1e-4", "hyper_kvasir")
    assert lmd == run("lmd/curve_j", "J=200", "hyper_kvasir")
    assert lmd != run("lmd/curve_j", "J=100", "hyper_kvasir")
    for row, same in (("R=50000", "LMD"), ("CE", "CE")):
        assert run("lmd/curve_r", row, "isic2019_lt_r500") == run("lmd/table3", same, "isic2019_lt_r500")
    assert run("pcct/table3", "PCCT", "skin7") == run("pcct/output_dimension", "PCCT", "outputs=128")
    assert run("pcct/table3", "PCCT", "chestxray_covid") == run("pcct/margin", "alpha=0.5", "chestxray_covid")
    assert run("proco/table2", "ProCo", "isic2018") == run("proco/readings", "ProCo", "isic2018")
    assert run("pcct/table3", "PCCT", "skin198", fold="2") == run("pcct/table5", "PCCT", "resnet50", fold="2")
    assert run("pcct/table3", "PCCT", "skin7") == run("pcct/table6", "Two-stage (PCCT)", "skin7")
    assert run("aduni/table1", "AdUni", "isic2018") == run("aduni/table2", "alpha=1->0.01, w/o sampling", "isic2018")
    arguments = next(c.overrides for c in load("proco/table2").cells() if c.repetition["seed"] == "3")
    assert "split.seed=3" in arguments


def test_the_last_of_words_about_one_key_counts() -> None:
    study = load("lmd/table1")
    arguments = study.overrides("CE", "hyper_kvasir", {"fold": "0", "seed": "1"}, ["epochs=3", "trainer.devices=2"])
    assert [argument for argument in arguments if argument.startswith(("epochs", "seed"))] == ["epochs=3", "seed=1"]
    place = ("isic2019_lt_r500", {"fold": "0", "seed": "0"})
    small = [load("lmd/curve_r", "smoke").overrides(row, *place) for row in ("R=1000", "R=50000")]
    assert [choice(arguments, "method.stages.calibrate.module.virtual_per_class") for arguments in small] == [
        "1000",
        "200",
    ]


def test_jobs_of_a_study_are_its_cells() -> None:
    study = load("proco/table2")
    jobs = jobs_of(["+proco=table2", "data=/my data", "logger=wandb", "split.seed=7"])
    cells = list(study.cells())
    assert len(jobs) == len(cells) > 10
    for job, cell in zip(jobs, cells, strict=True):
        assert choice(job, "dataset.root") == f"'/my data/{choice(job, 'dataset')}'"
        assert (choice(job, "logger"), choice(job, "split.seed")) == ("wandb", "7")
        shared = [argument for argument in cell.overrides if not argument.startswith("split.seed")]
        assert [argument for argument in job if argument in shared] == shared
        assert not {argument for argument in job if argument.startswith(("row", "column", "data=", "+proco", "study"))}


def test_chosen_cells_with_swept_settings() -> None:
    jobs = jobs_of(["+lmd=table3", "row='LMD w/o RRL',CE", "column=isic2019_lt_r300", "seed=0,4", "epochs=1,2"])
    chosen = [tuple(choice(job, key) for key in ("method", "split.ratio", "seed", "epochs")) for job in jobs]
    assert chosen == [
        (method, "300", seed, epochs) for method in ("lmd", "erm") for seed in ("0", "4") for epochs in ("1", "2")
    ]
    plain = jobs_of(["seed=0,1", "method=erm,lmd", "seed=2"])
    assert plain == [["seed=2", "method=erm"], ["seed=2", "method=lmd"]]


def test_any_setting_of_a_method_may_follow_a_study(tmp_path: Path) -> None:
    """It is no setting of the default method, which a sweep is composed from before its jobs."""
    overrides = ["row=ProCo", "fold=0", "method.stages.train.module.queue_reduction=sum", f"runs={tmp_path}"]
    assert for_hydra(["-m", "+ham10000=methods", *overrides])[0] == ["--multirun", overrides[-1]]
    (job,) = jobs_of(["+ham10000=methods", *overrides])
    made = job_of(job)
    assert made.cfg.method.stages.train.module.queue_reduction == "sum"
    assert job_of(for_hydra(["+ham10000=methods", *overrides])[0]).run_dir == made.run_dir
    filters = StudyFilters(overrides)
    (cell,) = filters.narrow(load("ham10000/methods")).cells(filters.further)
    assert cell.run_dir == made.run_dir


def test_rows_that_are_only_quoted_have_no_jobs() -> None:
    with pytest.raises(UserError, match="reported, not re-run"):
        jobs_of(["+lmd=table1", "row=FCD,CE"])


def test_unknown_study_or_scale() -> None:
    with pytest.raises(UserError, match=r"There is no study 'lmd/table9'. Did you mean 'lmd/table"):
        load("lmd/table9")
    with pytest.raises(UserError, match="Did you mean 'smoke'"):
        load("lmd/table1", "smok")
    with pytest.raises(UserError, match="There is no study 'lmdd/table3'"):
        catalogue.split_study(["method=erm", "+lmdd=table3"])
    others = ["+scale=smoke", "+dataset.columns.label=x", "+sampler@method.x=y", "a=+1", "+augment=weak"]
    assert catalogue.split_study(["+lmd=table3", *others]) == ("lmd/table3", others)


def test_help_lists_every_study() -> None:
    screen = help_screen(ROOT / "conf")
    for name in STUDIES:
        (line,) = [line for line in screen.splitlines() if line.split()[:1] == ["+" + name.replace("/", "=")]]
        assert len(line.split()) > 3


def test_table_without_runs(tmp_path: Path) -> None:
    found = table("lmd/table1", further=[f"runs={tmp_path}"])
    assert found.rows[0] == "CE"
    assert found.cells["FCD", "hyper_kvasir"].note == "reported, not re-run"
    assert not found.cells["FCD", "hyper_kvasir"].missing
    (command,) = found.cells["LMD", "hyper_kvasir"].missing
    assert shlex.split(command)[:3] == ["ltmed", "train", "+lmd=table1"]
    assert len(found.cells["LMD", "hyper_kvasir"].published) == 5


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides for cells on few phantom images, with results and caches in a folder of their own."""
    folder = tmp_path_factory.mktemp("studies")
    write_phantom(folder / "phantom", counts=SMALL, threads=1)
    where = [f"dataset.root={folder / 'phantom'}", f"runs={folder / 'runs'}", f"cache_dir={folder / 'cache'}"]
    return [*where, "batch_size=14", "trainer.accelerator=cpu", "figures=false"]


@pytest.mark.slow
def test_sweep_fills_the_table_and_skips_what_is_done(small: list[str], tmp_path: Path) -> None:
    command = ("-m", "+lmd=table1", "+scale=smoke", "row=CE,'LMD w/o VFC'", *small)
    ok(run_command(*command, cwd=tmp_path))
    found, written = table("lmd/table1", "smoke", small), {}
    for row in ("CE", "LMD w/o VFC"):
        (run,) = found.cells[row, "hyper_kvasir"].runs
        assert not found.cells[row, "hyper_kvasir"].missing
        assert not found.cells[row, "hyper_kvasir"].published
        written[run.path / "metrics.json"] = (run.path / "metrics.json").stat().st_mtime_ns
    again = ok(run_command(*command, cwd=tmp_path))
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert again.out.count("Results are in") == 2
    assert " 1/1 " not in again.out
    arguments = next(c.overrides for c in load("lmd/table1", "smoke").cells(small) if c.row == "CE")
    plain = ok(run_command(*arguments, cwd=tmp_path))
    assert str(found.cells["CE", "hyper_kvasir"].runs[0].path) in plain.out.replace("\n", "")


def first_studies() -> list[str]:
    """One study of each folder; that the cells of all compose is tested above, that methods train elsewhere."""
    return list({name.split("/")[0]: name for name in reversed(STUDIES)}.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", first_studies())
def test_first_cell_of_a_study_runs(name: str, small: list[str]) -> None:
    cell = next(load(name, "smoke").cells(small))
    assert ltmed.train(cell.overrides).path == cell.run_dir
