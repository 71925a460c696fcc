"""Config nodes that are built later: their names and numbers are checked at once."""

from __future__ import annotations

from functools import partial

import pytest
from omegaconf import OmegaConf

from ltmed.config.instantiate import build
from ltmed.errors import UserError
from ltmed.losses.reweighted import focal

FOCAL = {"_target_": "ltmed.losses.reweighted.focal", "_partial_": True}
POWER = "ltmed.data.samplers.single.PowerSampler"
ERM = "ltmed.methods.erm.ERM"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": POWER, "q": "abc"}, r"PowerSampler cannot have q=abc\. It takes: float"),
        ({"_target_": POWER, "q": None}, r"PowerSampler cannot have q=null\. It takes: float"),
        ({"_target_": POWER, "q": 0.5, "batch_size": 2.5}, r"batch_size=2\.5\. It takes: int \| null"),
        ({"_target_": ERM, "loss": {**FOCAL, "gamma": "x"}}, "gamma=x"),
        ({"_target_": ERM, "loss": {**FOCAL, "gama": 1}}, "'gamma'"),
        ({"_target_": ERM, "los": FOCAL}, "'loss'"),
    ],
)
def test_a_part_that_is_completed_later_is_checked_now(node: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(OmegaConf.create({"_partial_": True, **node}))


def test_the_parts_of_a_map_are_checked_too() -> None:
    head = {"_target_": "ltmed.nn.heads.Linear", "_partial_": True, "bia": False}
    with pytest.raises(UserError, match="'bias'"):
        build(OmegaConf.create({"projector": None, "classifier": head}))


def test_what_is_completed_later_is_python_s_own_partial() -> None:
    """Hydra's kind asks for permission in every call, which takes longer than a small loss."""
    built = build(OmegaConf.create({"_target_": ERM, "_partial_": True, "loss": {**FOCAL, "gamma": 1.5}}))
    loss = built.keywords["loss"]
    assert type(built) is type(loss) is partial
    assert (loss.func, loss.keywords) == (focal, {"gamma": 1.5})


def test_what_fits_is_built() -> None:
    assert build(OmegaConf.create({"_target_": POWER, "_partial_": True, "q": 1, "batch_size": None}))
