"""Settings that change nothing beside the others of their command are refused; those that change something pass."""

from __future__ import annotations

import pytest

from ltmed.config.compose import compose
from ltmed.config.effect import require_effect, with_effect
from ltmed.config.instantiate import is_frozen
from ltmed.config.resolve import to_plain
from ltmed.errors import UserError


def checked(line: str) -> None:
    cfg = compose(line.split())
    require_effect(to_plain(cfg), line.split(), frozen=is_frozen(cfg))


@pytest.mark.parametrize(
    ("line", "partner"),
    [
        ("features.views=4", "backbone.freeze=true"),
        ("features.dtype=float16", "backbone.freeze=true"),
        ("features.cache=false", "backbone.freeze=true"),
        ("method=probe backbone.freeze=false features.views=4", "backbone.freeze=true"),
        ("method=probe features.cache=false features.dtype=float16", "features.cache=true"),
        ("method=probe finetune.compile=true", "features.cache=false"),
        ("finetune.ema_warmup=true", "finetune.ema="),
        ("method=decoupling finetune.ema_warmup={classify:true} finetune.ema={represent:0.9}", "finetune.ema="),
        ("finetune.peft.alpha=16", "finetune.peft.rank="),
        ("finetune.peft.targets=[qkv]", "finetune.peft.rank="),
        ("finetune.peft.dropout=0.5", "finetune.peft.rank="),
        ("+trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_val="),
        ("split=random split.test=0.3 split.folds=7", "split.test=0.3"),
        ("split=long_tailed split.inner.test=0.3 split.inner.folds=3", "split.inner.test=0.3"),
        ("method=decoupling_tau method.stages.classify.optimizer.lr=1", "stage 'classify'"),
        ("method=decoupling_ncm sampler@method.stages.classify.sampler=square_root", "stage 'classify'"),
        ("method=decoupling_ncm ~method.stages.classify.schedule._partial_", "stage 'classify'"),
        ("+sampler.seed=5", "Set seed=N"),
        ("+sampler.batch_size=5", "Set batch_size=N"),
        ("method=balanced_mixup +sampler.epochs=5", "Set epochs=N"),
        ("method=lmd +method.stages.calibrate.module.m_sampler.seed=4", "Set seed=N"),
        ("split=random +dataset.fold=2", "Set fold=N"),
        ("split=random +split.fold=2", "Set fold=N"),
        ("+dataset.interpolation=bicubic", "Set pixels.interpolation=NAME"),
        ("+dataset.cache_dir=/x", "Set cache_dir=DIR"),
        ("logger=wandb +logger.name=mine", "logger.name"),
        ("+loss.counts=[1,2]", "loss.counts"),
        ("+method.stages.train.module.context=1", "module.context"),
        ("+method.network.classifier.in_features=3", "classifier.in_features"),
        ("backbone.image_size=32", "Set image_size=32"),
        ("epochs=5 method.stages.train.epochs=10", "beside epochs, which gives stage 'train' 5"),
        ("method=decoupling epochs={classify:2} method.stages.classify.epochs=1", "epochs={classify:1}"),
        ("batch_size=8 method.stages.train.batch_size=16", "batch_size={train:16}"),
        ("image_size=64 dataset.image_size=32", "beside image_size=64"),
        ("loss={}", "loss.NAME=VALUE"),
        ("augment=[weak,flips]", "augment.NAME=VALUE"),
    ],
)
def test_what_would_change_nothing_is_refused(line: str, partner: str) -> None:
    with pytest.raises(UserError) as error:
        checked(line)
    assert partner in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        "method=probe features.views=4 features.dtype=float16",
        "backbone.freeze=true features.cache=false finetune.compile=true",
        "finetune.ema_warmup=true finetune.ema=0.9",
        "method=decoupling finetune.ema_warmup=true finetune.ema={represent:0.9}",
        "finetune.peft.alpha=16 finetune.peft.rank=4",
        "trainer.gradient_clip_val=1 +trainer.gradient_clip_algorithm=value",
        "split=random split.folds=7",
        "method=decoupling method.stages.classify.optimizer.lr=1",
        "method=decoupling_tau method.stages.represent.optimizer.lr=1 method.stages.classify.epochs=1",
        "image_size=32",
        "dataset.image_size=32",
        "dataset.image_size=32 image_size=32",
        "epochs=5 method.stages.train.epochs=5",
        "batch_size=null method.stages.train.batch_size=16",
        "method=decoupling epochs={represent:2} method.stages.classify.epochs=1",
        "backbone.image_size=null",
        "backbone._target_=a.Encoder backbone.image_size=518",
        "backbone.image_size=224 +backbone.dynamic_img_size=true",
        "method.stages.train.module._target_=a.B +method.stages.train.module.sampler={batch_size:9,labels:own}",
        "method=pcct method.stages.first.epochs=3",  # A stage called as a part of a sampler is.
        "+trainer.callbacks.loss={_target_:a.b,counts:1}",
        "callbacks=[learning_rate,device_stats]",
        "method.stages.train.optimizer={weight_decay:0}",
    ],
)
def test_what_changes_something_passes(line: str) -> None:
    checked(line)


def test_shared_settings_of_cached_features_are_for_the_runs_whose_encoder_is_frozen() -> None:
    shared = ["features.dtype=float16", "+features.views=2", "image_size=32"]
    assert with_effect(["method=probe", *shared]) == ["method=probe", *shared]
    assert with_effect(["method=erm", *shared]) == ["method=erm", "image_size=32"]
    assert with_effect(["method=erm", "backbone.freeze=true", *shared])[2:] == shared


def test_a_shared_compilation_is_for_the_runs_whose_encoder_computes() -> None:
    shared = ["finetune.compile=true", "image_size=32"]
    assert with_effect(["method=probe", *shared]) == ["method=probe", "image_size=32"]
    for line in (["method=erm"], ["method=probe", "features.cache=false"]):
        assert with_effect([*line, *shared]) == [*line, *shared]
