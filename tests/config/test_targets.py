"""What a received configuration may build: what runs are made of, and nothing that does something."""

from __future__ import annotations

import re
from typing import Any

import pytest
from omegaconf import OmegaConf

from ltmed.config.instantiate import build
from ltmed.config.targets import UntrustedTargetError, known, require_known, trusted
from tests.harness import ROOT

LOADED = {
    "lightning.pytorch.Trainer", "lightning.pytorch.callbacks.DeviceStatsMonitor",
    "lightning.pytorch.callbacks.LearningRateMonitor", "ltmed.training.callbacks.pruning.PruneTrial",
    "optuna.pruners.MedianPruner",
    "hydra_plugins.ltmed_sweeper.JobSweeper",
}  # fmt: skip
"""Targets that only training builds, from the user's own command."""


def shipped() -> set[str]:
    texts = (file.read_text() for place in ("conf", "experiments") for file in (ROOT / place).rglob("*.yaml"))
    return {target for text in texts for target in re.findall(r"_target_: *([\w.]+)", text)}


def test_everything_that_runs_are_made_of_is_known() -> None:
    assert len(shipped()) > 80
    for target in shipped() - LOADED:
        require_known({"_target_": target})


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.Linear", "torch.nn.modules.linear.Identity", "torch.optim.AdamW", "torch.optim.lr_scheduler.LambdaLR",
        "timm.layers.LayerNorm2d", "timm.optim.Lion",
    ],
)  # fmt: skip
def test_parts_of_libraries_are_known(target: str) -> None:
    require_known({"_target_": target})


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "pandas.read_pickle", "numpy.load", "torch.load", "torch.hub.load",
        "hydra.utils.call", "hydra.utils.get_method", "subprocess.Popen", "lightning.pytorch.Trainer",
        # Names that begin like this package's, but lead elsewhere.
        "ltmed.training.launcher.subprocess.Popen", "ltmed.nn.encoder.socket.create_connection",
        "ltmed.nn.encoder.Path.unlink", "ltmed.inference.export.importlib.import_module", "ltmed_evil.code.run",
        "ltmed.nn.teacher.copy.deepcopy", "ltmed.data.readers.manifest.pd.read_pickle",
        "ltmed.losses.supcon.torch.load",
        # Parts of this package that write, fetch or start something.
        "ltmed.training.launcher._start", "ltmed.data.download.fetch", "ltmed.data.download.unpack",
        "ltmed.train.train", "ltmed.cli.main.main", "ltmed.utils.files.write_atomic", "ltmed.runs.record.git_state",
        "ltmed.inference.export.load_export", "ltmed.config.instantiate.build", "ltmed.config.targets.trusted",
        "ltmed.data.phantom.write.write", "ltmed.data.cache.images.open_cache",
        # Of libraries, what is no class of the listed kind.
        "torch.nn.modules.module.torch.load", "torch.optim.optimizer.functools.partial", "timm.create_model",
        "timm.layers.config.os.system", "torch.optim.lr_scheduler.warnings.warn", "torch.nn.init.torch.hub.load",
        "torch.nn.parallel.distributed.pickle.loads", "ltmed.nn", "ltmed.nn.heads", "ltmed.nn.nothing",
        "ltmed.nn.encoder.timm_encoder.__globals__", "", "nowhere",
    ],
)  # fmt: skip
def test_everything_else_is_refused(target: str) -> None:
    with pytest.raises(UntrustedTargetError) as refused:
        require_known({"_target_": target})
    assert target in refused.value.message
    assert "--trust" in refused.value.hint
    with pytest.raises(UntrustedTargetError):
        known(target)


@pytest.mark.parametrize(
    "node",
    [
        {"name": "hf-hub:someone/model"}, {"name": "resnet18", "pretrained": True}, {"weights": "/etc/passwd"},
        {"name": "local-dir:/tmp/x"},
    ],
)  # fmt: skip
def test_received_encoders_fetch_and_read_nothing(node: dict[str, Any]) -> None:
    target = "ltmed.nn.encoder.timm_encoder"
    with pytest.raises(UntrustedTargetError):
        require_known({"_target_": target, **node})
    require_known({"_target_": target, "name": "resnet18", "pretrained": False, "weights": None})


EVIL = {"_target_": "os.system", "command": "true"}


@pytest.mark.parametrize(
    "node",
    [
        {"a": {"b": EVIL}},
        {"a": [{"b": [EVIL]}]},
        {"_target_": "ltmed.losses.reweighted.focal", "_partial_": True, "gamma": EVIL},
        {"_target_": "ltmed.losses.reweighted.focal", "_args_": [EVIL]},
        {"_target_": ["os.system"]},
    ],
)
def test_nested_targets_are_found_and_nothing_is_called(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("it was called"))
    with pytest.raises(UntrustedTargetError):
        require_known(node)
    with pytest.raises(UntrustedTargetError):
        build(OmegaConf.create(node))


def test_what_is_checked_is_what_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpolations are resolved before the check; one that appears only then is refused."""
    monkeypatch.setenv("LTMED_TARGET", "os.system")
    with pytest.raises(UntrustedTargetError, match=r"os.system"):
        build(OmegaConf.create({"_target_": "${oc.env:LTMED_TARGET}"}))
    with pytest.raises(UntrustedTargetError, match="interpolation"):
        build(OmegaConf.create({"_target_": "torch.nn.Identity", "name": r"\${oc.env:LTMED_TARGET}"}))
    cfg = OmegaConf.create({"p": 0.5, "part": {"_target_": "torch.nn.Dropout", "p": "${p}"}})
    assert build(cfg.part).p == 0.5


def test_trust_is_for_the_body_alone() -> None:
    node = OmegaConf.create({"_target_": "collections.Counter"})
    with trusted(False), pytest.raises(UntrustedTargetError):
        build(node)
    with trusted():
        assert build(node) == {}
        with trusted(False):
            assert build(node) == {}, "it does not take trust away"
    with pytest.raises(UntrustedTargetError):
        build(node)
