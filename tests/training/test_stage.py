"""What every stage does for its method: counts that move along, evaluation on probabilities, training mode."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from ltmed.config.instantiate import build
from ltmed.evaluation.metrics import evaluate
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from tests.harness import METHODS, ROOT
from tests.losses.test_every_loss import load
from tests.methods.small import Encoder, K, context
from tests.methods.small_decoupling import Data, fit, make
from tests.test_presets import composed


def with_a_stage_of_their_own() -> list[str]:
    """Methods whose yaml names a class that none before it names: the others have the same stages."""
    seen, found = set(), []
    for method in METHODS:
        named = set(re.findall(r"ltmed\.methods\.[\w.]+", (ROOT / f"conf/method/{method}.yaml").read_text()))
        found += [method] if named - seen else []
        seen |= named
    return found


@pytest.mark.parametrize("method", with_a_stage_of_their_own())
def test_everything_that_a_stage_computes_with_moves_with_it(method: str) -> None:
    cfg = composed(f"method={method}")
    torch.manual_seed(0)
    network = Network(Encoder(), num_classes=K, **build(cfg.method.network))
    for recipe in cfg.method.stages.values():
        stage = build(recipe.module)(network=network, context=context())
        assert "class_counts" in dict(stage.named_buffers())
        assert "class_counts" not in stage.state_dict(), "they come from the data, and must fit to them"
        for module in stage.modules():
            loose = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
            assert not loose, f"{type(module).__name__} has tensors that are no buffers: {loose}"
    assert stage.to("meta").class_counts.device.type == "meta"


DEVICES = r"""\.cuda\(|\.to\(\s*["']cuda|device\s*=\s*["']cuda|torch\.device\(\s*["']cuda[:\d]*["']\s*\)"""


def test_no_code_names_a_device() -> None:
    for line in ("x.cuda()", "x.to('cuda:1')", 'f(device="cuda")', 'torch.device("cuda")'):
        assert re.search(DEVICES, line), line
    files = [ROOT / "run.py", *(file for folder in ("ltmed", "experiments") for file in (ROOT / folder).rglob("*.py"))]
    for file in files:
        assert not re.search(DEVICES, file.read_text()), file


def test_no_method_points_to_a_file_that_nobody_has() -> None:
    def values(node: Any) -> list[str]:
        if isinstance(node, dict):
            return [text for key, value in node.items() for text in (str(key), *values(value))]
        return [text for value in node for text in values(value)] if isinstance(node, list) else [str(node)]

    for file in (ROOT / "conf/method").glob("*.yaml"):
        plain: Any = OmegaConf.to_container(OmegaConf.load(file))
        plain.pop("defaults", None)
        for text in values(plain):
            assert not re.search(r"/|ckpt|checkpoint|\.pth?\b|\.safetensors", text), f"{file.name}: {text}"


def test_batchnorm_goes_on_in_the_second_epoch() -> None:
    class Watched(ERM):
        def on_train_epoch_end(self) -> None:
            means.append(norm.running_mean.clone())  # pyright: ignore[reportOptionalMemberAccess]

    means: list[Tensor] = []
    stage = make(Watched, Linear, loss=cross_entropy)
    (norm,) = (module for module in stage.modules() if isinstance(module, nn.BatchNorm2d))
    fit(stage, epochs=2)
    assert len(means) == 2
    assert "val" in stage.evaluations, "there was a validation between the two"
    assert not torch.equal(*means)


@pytest.mark.parametrize("loss", ["bce", "asl", "sigmoid_focal", "alpa"])
def test_sigmoid_models_are_scored_on_rows_that_sum_to_one(loss: str) -> None:
    """One rule for all losses: the softmax of z. The AUROC of one class against the rest depends on the others' z."""
    data = Data()
    stage = fit(make(ERM, Linear, loss=load(loss)), data=data)
    found = stage.evaluations["val"]
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(len(found.labels)))
    with torch.no_grad():
        logits = stage.eval()(stage.on_after_batch_transfer(data.val_part, 0).images)
    assert torch.equal(logits.argmax(1), found.probabilities.argmax(1))
    members = np.eye(K)[found.labels.numpy()]
    mine = evaluate(found, {"head": [0], "medium": [1], "tail": [2]}).macro_auroc
    assert mine == pytest.approx(roc_auc_score(members, found.probabilities.numpy()), abs=1e-6)
    assert abs(mine - float(roc_auc_score(members, logits.numpy()))) > 1e-3
