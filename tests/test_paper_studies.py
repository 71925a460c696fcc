"""What the cells of the papers' studies run, against the papers' texts: losses, batches, classes, weights, steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import timm
import torch
from omegaconf import DictConfig

from ltmed.config.instantiate import build, per_stage
from ltmed.config.overrides import choice
from ltmed.config.validate import check
from ltmed.nn.centres import CentreHead
from ltmed.nn.heads import EmbeddedLinear
from ltmed.studies.catalogue import names
from tests.harness import ROOT
from tests.studies.named import load
from tests.test_presets import composed

PAPERS = ("pcct", "proco", "aduni", "lmd", "alpa")
STUDIES = [name for name in names() if name.split("/")[0] in PAPERS]
BASELINES = ("BCE", "WCE", "OCE", "WFCE", "TSD")
SKIN7 = (1113, 6705, 514, 327, 1099, 115, 142)
APTOS = (1805, 370, 999, 193, 295)


@cache
def overrides_of(name: str, row: str, column: str) -> tuple[str, ...]:
    return load(name).overrides(row, column, {"fold": "0", "seed": "0"})


def cell(name: str, row: str, column: str) -> DictConfig:
    return composed(*overrides_of(name, row, column))


def cells(*studies: str, rows: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
    """(study, row, column) of all cells that are re-run."""
    found = [(name, load(name)) for name in studies]
    return [(n, r, c) for n, study in found for r in rows or study.rerun for c in study.columns]


def batch_sizes(cfg: DictConfig) -> dict[str, int | None]:
    """Stage -> the batch size that a run gives it."""
    given = per_stage(cfg.batch_size, list(cfg.method.stages), "batch_size")
    return {name: given[name] or stage.batch_size for name, stage in cfg.method.stages.items()}


def epochs(cfg: DictConfig) -> dict[str, int]:
    """Stage -> its epochs."""
    given = per_stage(cfg.epochs, list(cfg.method.stages), "epochs")
    return {name: given[name] or stage.epochs for name, stage in cfg.method.stages.items()}


# --- all papers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_the_checkpoint_is_chosen_by_a_metric_that_the_table_reports(name: str) -> None:
    wanted = {"pcct": "macro_f1", "proco": "macro_f1", "aduni": "macro_f1"}
    study = load(name)
    first = next(iter(study.columns))
    assert cell(name, study.rerun[0], first).monitor == wanted.get(study.paper, "balanced_accuracy")
    assert cell(name, study.rerun[0], first).monitor in study.metrics
    chosen = {row: choice(overrides_of(name, row, column), "monitor") for _, row, column in cells(name)}
    others = {row for row, monitor in chosen.items() if monitor != chosen[study.rerun[0]]}
    assert all(row.startswith("released recipe") for row in others)


@pytest.mark.parametrize(
    ("paper", "weights"),
    [
        ("pcct", {"resnet50.tv_in1k", "densenet121.tv_in1k", "inception_v4.tf_in1k", "vgg19.tv_in1k"}),
        ("lmd", {"resnet18.tv_in1k"}),
        ("alpa", {"convnext_base.fb_in22k_ft_in1k"}),
        ("proco", set()),
        ("aduni", set()),
    ],
)
def test_pretrained_weights_are_named_by_their_tag(paper: str, weights: set[str]) -> None:
    found: set[str] = set()
    for name in STUDIES:
        study = load(name)
        if study.paper == paper:
            backbones = [cell(name, study.rerun[0], column).backbone for column in study.columns]
            found |= {backbone.name for backbone in backbones if backbone.pretrained}
    assert found == weights
    assert found <= set(timm.list_pretrained())


def test_a_cell_of_each_study_passes_the_check_of_settings() -> None:
    for name in STUDIES:
        study = load(name)
        cfg = cell(name, study.rerun[-1], list(study.columns)[-1])
        cfg.run_dir = "runs/one"
        check(cfg)


# --- PCCT -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pcct/table3", "pcct/table4", "pcct/table5", "pcct/output_dimension"])
def test_pcct_bce_is_its_basic_cross_entropy(name: str) -> None:
    for column in load(name).columns:
        cfg = cell(name, "BCE", column)
        assert (cfg.method.name, cfg.loss._target_) == ("erm", "ltmed.losses.classification.cross_entropy")


@pytest.mark.parametrize("name", ["pcct/table3", "pcct/table5", "pcct/output_dimension"])
def test_pcct_baselines_have_batches_of_32_on_all_data_sets(name: str) -> None:
    assert {choice(overrides_of(*one), "batch_size") for one in cells(name, rows=BASELINES)} == {"32"}


@pytest.mark.parametrize("row", BASELINES)
def test_pcct_baselines_have_its_optimiser(row: str) -> None:
    cfg = cell("pcct/table3", row, "chestxray_covid")
    assert set(batch_sizes(cfg).values()) == {32}
    first = next(iter(cfg.method.stages.values()))
    optimizer = build(first.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.Adam)
    kept = {key: optimizer.defaults[key] for key in ("lr", "weight_decay")} | {"betas": (*optimizer.defaults["betas"],)}
    assert kept == {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0}
    assert first.schedule is None


@pytest.mark.parametrize("row", ["PCCT", "Efficient-PCCT"])
@pytest.mark.parametrize(
    ("column", "per_class", "second"), [("skin7", 10, 16), ("skin198", 5, 32), ("chestxray_covid", 5, 8)]
)
def test_pcct_batches_are_those_of_its_table_2(row: str, column: str, per_class: int, second: int) -> None:
    cfg = cell("pcct/table3", row, column)
    assert cfg.method.stages.first.sampler.images_per_class == per_class
    assert batch_sizes(cfg) == {"first": None, "second": second}
    assert epochs(cfg) == {"first": 200, "second": 200}


def test_pcct_trains_its_second_stage_at_the_papers_rate_everywhere() -> None:
    every = cells(*(name for name in STUDIES if name.startswith("pcct")))
    assert not [
        one for one in every for word in overrides_of(*one) if word.startswith("method.stages.second.optimizer")
    ]
    for row in ("PCCT", "Efficient-PCCT"):
        stages = cell("pcct/table3", row, "skin7").method.stages
        assert {stage.optimizer.lr for stage in stages.values()} == {1e-4}


def test_pcct_table_4_is_about_the_smallest_classes() -> None:
    study = load("pcct/table4")
    groups = {column: {one.group for one in study.published["PCCT", column]} for column in study.columns}
    assert groups == {"skin7": {("DF",)}, "skin198": {20}, "chestxray_covid": {("COVID-19",)}}
    assert study.metrics == ("macro_f1", "macro_precision", "macro_recall")
    for column in study.columns:
        assert overrides_of("pcct/table4", "PCCT", column) == overrides_of("pcct/table3", "PCCT", column)


def test_pcct_figure_3_varies_the_margin_of_the_centre_loss_alone() -> None:
    rows = load("pcct/margin").rerun
    assert rows == [f"alpha=0.{tenth}" for tenth in range(1, 10)]
    for row in rows[::4]:
        stages = cell("pcct/margin", row, "skin7").method.stages
        assert (stages.first.module.margin, stages.second.module.margin) == (0.5, float(row.partition("=")[2]))


@pytest.mark.parametrize("row", load("pcct/output_dimension").rerun)
@pytest.mark.parametrize("column", ["outputs=32", "outputs=128", "outputs=512"])
def test_pcct_figure_2_has_every_method_at_every_width(row: str, column: str) -> None:
    cfg = cell("pcct/output_dimension", row, column)
    head = build(cfg.method.network)["classifier"](2048, 7)
    assert isinstance(head, EmbeddedLinear if row in BASELINES else CentreHead)
    assert head.embedding.out_features == int(column.partition("=")[2])
    assert choice(overrides_of("pcct/output_dimension", row, column), "dataset") == "isic2018"


def test_pcct_table_6_leaves_one_stage_out() -> None:
    kept = [list(cell("pcct/table6", row, "skin7").method.stages) for row in load("pcct/table6").rerun]
    assert kept == [["first"], ["second"], ["first", "second"]]
    assert batch_sizes(cell("pcct/table6", "Only second-stage", "chestxray_covid")) == {"second": 8}


# --- ProCo ----------------------------------------------------------------------------------------------------


def test_proco_table_3_has_the_order_of_section_4_4() -> None:
    modules = [cell("proco/table3", row, "isic2018").method.stages.train.module for row in load("proco/table3").rerun]
    found = [(module.proto_instances, module.recalibration) for module in modules]
    assert found == [(False, "none"), (True, "none"), (False, "bias"), (True, "bias")]


def test_proco_cl_resample_freezes_the_backbone_and_balances_the_classifiers_batches() -> None:
    stages = cell("proco/table2", "CL+resample", "isic2018").method.stages
    assert stages.contrast.sampler._target_.endswith("InstanceSampler")
    assert (stages.classify.sampler._target_.rpartition(".")[2], stages.classify.sampler.q) == ("PowerSampler", 0.0)
    assert stages.classify.module._target_.endswith("LinearProbe")


def test_proco_readings_differ_from_proco_in_one_or_two_settings() -> None:
    plain = cell("proco/readings", "ProCo", "isic2018").method
    seen = set()
    for row in load("proco/readings").rerun[1:]:
        other = cell("proco/readings", row, "isic2018").method
        mine, theirs = ({**m.stages.train.module, **m.network.classifier} for m in (plain, other))
        changed = tuple(sorted((key, theirs[key]) for key in mine if mine[key] != theirs[key]))
        assert len(changed) in (1, 2), row
        seen.add(changed)
    assert (("queue_reduction", "sum"),) in seen
    assert len(seen) == len(load("proco/readings").rerun) - 1


# --- AdUni ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "counts", "size"), [("isic2018", SKIN7, 126), ("aptos2019", APTOS, 125)])
@pytest.mark.parametrize("alpha", ["0.01", "1->0.01"])
def test_aduni_up_sampling_fills_batches_evenly(column: str, counts: tuple[int, ...], size: int, alpha: str) -> None:
    cfg = cell("aduni/table2", f"alpha={alpha}, up-sampling", column)
    labels = np.repeat(np.arange(len(counts)), counts)
    sampler = build(cfg.method.stages.train.sampler)
    batches = sampler(labels=labels, batch_size=batch_sizes(cfg)["train"], epochs=1, seed=0).batches(0)
    assert batches.shape == (-(-len(counts) * max(counts) // size), size)
    for batch in batches:
        assert set(np.bincount(labels[batch], minlength=len(counts))) == {size // len(counts)}
    assert np.isin(np.flatnonzero(labels == np.argmax(counts)), batches).all()
    assert cfg.method.stages.train.module.alpha_schedule == ("constant" if alpha == "0.01" else "recursive_cosine")


def test_aduni_baselines_have_its_views_epochs_and_image_size() -> None:
    for row in load("aduni/table1").rerun:
        cfg = cell("aduni/table1", row, "isic2018")
        first = next(iter(cfg.method.stages.values()))
        assert cfg.augment.affine.degrees == [-180, 180], row
        assert next(iter(epochs(cfg).values())) == 400, row
        assert set(batch_sizes(cfg).values()) == {126 if row == "CICL" else 128}, row
        assert (cfg.image_size, first.optimizer.lr) == (384, 0.1), row


def test_aduni_as_printed() -> None:
    module = cell("aduni/readings", "as printed", "isic2018").method.stages.train.module
    found = [module[key] for key in ("normalize", "label_per_positive", "temper_logits", "logit_prior")]
    assert found == [False, True, True, False]


# --- LMD ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "column"),
    [("lmd/table1", "hyper_kvasir"), ("lmd/table2", "isic_archive_lt"), ("lmd/table3", "isic2019_lt_r500")],
)
def test_lmd_ablations_take_as_many_steps_of_the_classifier(name: str, column: str) -> None:
    work, options = {}, {}
    for row in (row for row in load(name).rerun if row.startswith("LMD")):
        cfg = cell(name, row, column)
        module = cfg.method.stages.calibrate.module
        work[row] = (epochs(cfg)["calibrate"], module.virtual_per_class, module.classifier_batch, module.classifier_lr)
        consistency = cfg.method.stages.represent.module.consistency
        options[row] = (consistency, module.e_step, module.features, module.distribution)
    assert options == {
        "LMD w/o RRL": (0, True, "virtual", 1e-4),
        "LMD w/o ICC": (10, False, "virtual", 1e-4),
        "LMD w/o VFC": (10, True, "real", 1e-4),
        "LMD w/o FDC": (10, True, "virtual", 0),
        "LMD": (10, True, "virtual", 1e-4),
    }
    assert set(work.values()) == {(200, 50_000, 352, 1e-5)}


def test_lmd_figure_3_is_on_isic_2019_lt_by_tier_with_a_baseline() -> None:
    study = load("lmd/curve_r")
    assert set(study.metrics) >= {"head_recall", "medium_recall", "tail_recall"}
    for row in study.rerun:
        cfg = cell("lmd/curve_r", row, "isic2019_lt_r500")
        assert (cfg.split.ratio, cfg.dataset._target_.rpartition(".")[2]) == (500, "ISIC2019LT")
        if row == "CE":
            assert cfg.method.name == "erm"
        else:
            assert cfg.method.stages.calibrate.module.virtual_per_class == int(row.partition("=")[2])


def test_lmd_figure_6_has_both_data_sets() -> None:
    study = load("lmd/curve_j")
    assert list(study.columns) == ["isic_archive_lt", "hyper_kvasir"]
    for row in study.rerun:
        assert epochs(cell("lmd/curve_j", row, "isic_archive_lt"))["calibrate"] == int(row.partition("=")[2])


# --- ALPA -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alpa/table3", "alpa/table4", "alpa/table5"])
def test_alpa_rows_differ_in_the_loss_alone_and_focal_has_sigmoids(name: str) -> None:
    (column,) = load(name).columns
    losses = {row: cell(name, row, column).loss._target_.rpartition(".")[2] for row in load(name).rerun}
    assert losses == {"ALPA": "alpa", "ASL": "asl", "CE": "cross_entropy", "Focal loss": "sigmoid_focal"}
    for row in losses:
        cfg = cell(name, row, column)
        assert (epochs(cfg), batch_sizes(cfg), cfg.image_size) == ({"train": 50}, {"train": 128}, 256)


def test_alpa_released_recipe() -> None:
    cfg = cell("alpa/readings", "released recipe", "aptos2019")
    assert (cfg.loss.clip, cfg.method.stages.train.optimizer.weight_decay) == (0.05, 0)
    assert (cfg.augment.erasing.fill, cfg.monitor, epochs(cfg)) == ([0, 0, 0], "macro_precision", {"train": 50})


def test_alpa_quotes_the_proprietary_data_set() -> None:
    text = " ".join((ROOT / "experiments/alpa/README.md").read_text().split())
    assert "ALPA 51.06, ASL 52, CE 47.92, focal loss 22" in text
