"""Every option that `ltmed.config.validate.SETTINGS` offers is tried: a run starts with it and comes to its end."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from ltmed.config.validate import SETTINGS
from ltmed.evaluation.scalars import ALL_SCALARS, SCALARS
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from tests.harness import ok, only_run, run_command
from tests.methods.small_decoupling import Data, make, trainer_for

STAGE = "method.stages.train"
RUNS: dict[str, list[str]] = {
    "numbers and devices": [
        "seed=3", "fold=1", "epochs={train: 1}", "batch_size={train: 14}", "monitor=ece", "monitor_mode=min",
        "trainer.accelerator=cpu", "trainer.devices=auto", "trainer.num_nodes=1", "trainer.precision=bf16-mixed",
        "trainer.gradient_clip_val=1", "++trainer.gradient_clip_algorithm=value", "++trainer.accumulate_grad_batches=2",
        "++trainer.limit_train_batches=3", "++trainer.deterministic=warn", "++trainer.detect_anomaly=true",
        "trainer.log_every_n_steps=1", "trainer.benchmark=false", "trainer.enable_progress_bar=false",
        "trainer.sync_batchnorm=true", f"{STAGE}.keep=last", f"{STAGE}.views=1", f"{STAGE}.optimizer.lr=0.01",
        f"{STAGE}.optimizer.momentum=0", f"{STAGE}.optimizer.weight_decay=0", "split.folds=3", "split.val=0.2",
        "split.seed=1", "split.val_seed=2", "split.pool=all", "split.test=null",
    ],
    "data": [
        "epochs=1", "trainer.accelerator=auto", "trainer.devices=-1", "trainer.precision=auto", "split.pool=train",
        "++trainer.deterministic=true", "trainer.gradient_clip_val=null",
        "++trainer.limit_train_batches=0.5", "dataset.image_size=24", "image_size=24", "dataset.fit=crop",
        "++dataset.on_bad_image=skip", "++dataset.threads=2", "++dataset.workers=1", "++dataset.cache_scale=1.5",
        "++dataset.cache_budget_gb=0", "++dataset.head=[NV]", "++dataset.tail=[DF]", "split=random", "split.test=0.3",
        "logger=wandb", "logger.offline=true", "logger.project=p", "logger.entity=e", "logger.attempt=1",
        "logger.artifacts=[checkpoint,predictions,card]",
    ],
    "long tail": [
        "trainer.gradient_clip_val=0.5", "++trainer.gradient_clip_algorithm=norm",
        "epochs=null", f"{STAGE}.epochs=1", f"{STAGE}.batch_size=14", "batch_size=null", f"{STAGE}.keep=best",
        "split=long_tailed", "split.ratio=2", "split.fixed_test=false", "split@split.inner=random",
        "split.inner.folds=4", "split.inner.val=0.2", "split.inner.seed=2", "split.inner.pool=all",
        "split.inner.test=null", "dataset.fit=squash", "++dataset.on_bad_image=error", "++dataset.workers=0",
        "trainer.precision=32-true", "figures=true", "backbone.pretrained=false", "backbone.weights=null",
        "trainer.benchmark=null", "split.inner.val_seed=null",
    ],
    "fine-tuning": [
        "epochs=2", "backbone=timm", "backbone.name=test_resnet", "finetune.freeze_epochs={train: 1}",
        "finetune.head_lr_scale={train: 2}", "finetune.layer_decay={train: 0.9}", "finetune.ema={train: 0.9}",
        "finetune.ema_warmup={train: true}", "finetune.class_means={train: 5}", "finetune.accumulate={train: 2}",
        "finetune.early_stopping={train: 3}", "finetune.compile={train: false}",
    ],
    "two views": ["method=aduni", "epochs=1", f"{STAGE}.views=2", "backbone=timm", "backbone.name=test_resnet"],
}  # fmt: skip
FINETUNE = (
    "freeze_epochs", "head_lr_scale", "layer_decay", "ema", "ema_warmup", "class_means", "accumulate",
    "early_stopping", "compile",
)  # fmt: skip
ELSEWHERE = {
    **{f"finetune.{option}.*": f"above, as a map of `finetune.{option}`" for option in FINETUNE},
    **{
        f"finetune.{option}": "tests/training/test_recipes.py"
        for option in (*FINETUNE, "peft.rank", "peft.alpha", "peft.targets", "peft.dropout")
    },
    "runs": "the fixture `tiny`",
    "cache_dir": "the fixture `tiny`",
    "dataset.root": "the fixture `tiny`",
    "run_dir": "tests/test_train.py",
    "dataset.allow_empty": "tests/data/readers/test_image_folder.py",
    "dataset.allow_group_leakage": "tests/data/readers/test_manifest_reader.py",
    "method.stages": "test_ablations in tests/test_train.py",
    "epochs.*": "below `epochs`, as a map",
    "batch_size.*": "below `batch_size`, as a map",
    "class_losses": "tests/training/test_class_losses.py",
    "pixels.mean": "tests/config/test_pixels.py",
    "pixels.std": "tests/config/test_pixels.py",
    "pixels.interpolation": "tests/config/test_pixels.py",
    "dataset.intensity": "tests/data/test_intensity.py",
    "backbone.freeze": "tests/training/test_frozen.py",
    "features.cache": "tests/training/test_frozen.py",
    "features.views": "tests/training/test_frozen.py",
    "features.dtype": "tests/data/test_features.py",
    "split.inner.ratio": "no division of ours has one",
    "split.inner.fixed_test": "no division of ours has one",
}
UNTRIED = {
    "monitor": set(ALL_SCALARS) - {"ece"},  # Below, without a run; of several labels tests/test_several_labels.py.
    "trainer.accelerator": {"gpu", "cuda"},  # tests/training/test_launcher.py, as far as that is possible without one.
    "monitor_mode": {"max"},  # The default.
    "split.inner.pool": {"train"},  # Likewise.
    "trainer.precision": {"16-mixed"},  # Refused where there is no GPU.
}
"""Choices that no run here makes."""


def tried() -> dict[str, set[str]]:
    """Setting -> values, of all runs."""
    found: dict[str, set[str]] = {}
    for overrides in RUNS.values():
        for override in overrides:
            key, _, value = override.lstrip("+").partition("=")
            found.setdefault(key, set()).add(value)
    return found


@pytest.mark.parametrize("pattern", [key for key in SETTINGS if key not in ELSEWHERE])
def test_every_option_is_tried(pattern: str) -> None:
    values = set().union(*(values for key, values in tried().items() if fnmatchcase(key, pattern)))
    assert values, f"no run tries {pattern}"
    missing = set(SETTINGS[pattern].choices) - values - UNTRIED.get(pattern, set())
    assert not missing, f"no run tries {pattern} with {missing}"


@pytest.mark.slow
@pytest.mark.parametrize("overrides", RUNS.values(), ids=list(RUNS))
def test_a_run_with_these_options_comes_to_its_end(overrides: list[str], tiny: list[str], tmp_path: Path) -> None:
    done = ok(run_command(*tiny, *overrides, cwd=tmp_path))
    run = only_run(tmp_path / "runs")
    found = json.loads((run / "metrics.json").read_text())
    assert 0 <= found["test"]["scalars"]["balanced_accuracy"] <= 1
    noise = [line for line in done.err.splitlines() if not line.startswith(("warning: ", "wandb: ", "Weights & "))]
    assert not any(noise), noise


def test_every_metric_can_choose_the_checkpoint() -> None:
    trainer = trainer_for(1)
    trainer.fit(make(ERM, Linear, loss=cross_entropy), datamodule=Data())
    for name in SCALARS:
        assert f"train/val/{name}" in trainer.callback_metrics
