"""The cosine schedule against its formula and PyTorch's, through checkpoints too."""

from __future__ import annotations

import io
import math

import pytest
import torch

from ltmed.errors import UserError
from ltmed.training.schedules import cosine, milestones


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)


def rates(scheduler, optimizer, steps) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_equals_pytorch_without_warmup():
    ours, theirs = optimizer(), optimizer()
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 50, eta_min=0.004)
    assert rates(cosine(ours, 50, final_fraction=0.01), ours, 51) == pytest.approx(rates(reference, theirs, 51))


def test_warmup_rises_in_a_line_to_the_highest_rate():
    own = optimizer()
    seen = rates(cosine(own, 100, warmup_fraction=0.1, final_fraction=0.25), own, 101)
    assert seen[:11] == pytest.approx([0.4 * step / 11 for step in range(1, 12)])
    assert max(seen) == seen[10] == pytest.approx(0.4)
    assert seen[55] == pytest.approx(0.1 + 0.3 * (1 + math.cos(math.pi / 2)) / 2)
    assert seen[100] == pytest.approx(0.1)


def test_stays_at_the_end_and_bears_one_step():
    own = optimizer()
    assert rates(cosine(own, 4, final_fraction=0.5), own, 9)[4:] == pytest.approx([0.2] * 5)
    own = optimizer()
    assert rates(cosine(own, 1), own, 2) == pytest.approx([0.4, 0.0])


def test_checkpoint_keeps_the_step_but_not_the_horizon():
    straight = optimizer()
    expected = rates(cosine(straight, 40, warmup_fraction=0.1), straight, 40)
    first = optimizer()
    scheduler = cosine(first, 40, warmup_fraction=0.1)
    rates(scheduler, first, 13)
    file = io.BytesIO()
    torch.save({"scheduler": scheduler.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = optimizer()
    resumed = cosine(second, 40, warmup_fraction=0.1)
    second.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["scheduler"])
    assert rates(resumed, second, 27) == pytest.approx(expected[13:])
    assert "total" not in str(saved["scheduler"])


def test_milestones_are_torchs_multi_step_schedule():
    own, other = optimizer(), optimizer()
    expected = rates(torch.optim.lr_scheduler.MultiStepLR(other, [50, 100, 150]), other, 200)
    assert rates(milestones(own, 200), own, 200) == pytest.approx(expected)
    own = optimizer()
    assert rates(milestones(own, 10, fractions=[0.8], gamma=0.5), own, 10) == pytest.approx([0.4] * 8 + [0.2] * 2)
    assert rates(milestones(own, 1), own, 1) == pytest.approx([0.4]), "not below the full rate from the start"
    assert rates(milestones(own, 2), own, 2) == pytest.approx([0.4, 0.004])
    with pytest.raises(UserError, match="milestones"):
        milestones(optimizer(), 10, fractions=[50, 100])


@pytest.mark.parametrize("wrong", [{"warmup_fraction": 1.0}, {"warmup_fraction": 10}, {"final_fraction": -0.1}])
def test_mistakes(wrong):
    with pytest.raises(UserError, match="fraction"):
        cosine(optimizer(), 10, **wrong)
