"""The momentum copy against one parameter at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ltmed.nn.teacher import EmaTeacher


def student() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)


def train_a_little(*modules: nn.Module) -> None:
    for module in modules:
        for parameter in module.parameters():
            parameter.data += torch.randn_like(parameter)
    modules[0](torch.randn(8, 3))


def test_starts_as_a_copy_without_gradient() -> None:
    encoder, head = student()
    teacher = EmaTeacher(encoder, head, training=True)
    inputs = torch.randn(5, 3)
    output = teacher(inputs)
    torch.testing.assert_close(output, head(encoder(inputs)))
    assert not output.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in (*encoder.parameters(), *head.parameters()))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999, 1.0])
def test_update_is_the_moving_average_of_every_parameter(momentum: float) -> None:
    encoder, head = student()
    teacher = EmaTeacher(encoder, head, training=True)
    expected = [copy.deepcopy(parameter.data) for parameter in (*encoder.parameters(), *head.parameters())]
    for _ in range(3):
        train_a_little(encoder, head)
        teacher.update(encoder, head, momentum=momentum)
        for slow, fast in zip(expected, (*encoder.parameters(), *head.parameters()), strict=True):
            slow.copy_(momentum * slow + (1 - momentum) * fast.data)
    for slow, copied in zip(expected, teacher.parameters(), strict=True):
        torch.testing.assert_close(copied.data, slow)
    for copied, buffer in zip(teacher.buffers(), encoder.buffers(), strict=True):
        assert torch.equal(copied, buffer)


def test_modules_without_buffers_can_be_followed() -> None:
    layer = nn.Linear(2, 2)
    EmaTeacher(layer, training=False).update(layer, momentum=0.5)


@pytest.mark.parametrize("training", [True, False])
def test_keeps_its_mode_inside_another_module(training: bool) -> None:
    around = nn.ModuleList([EmaTeacher(*student(), training=training)])
    for mode in (True, False):
        around.train(mode)
        assert {part.training for part in around[0].modules()} == {training}


def test_state_dict_restores_it() -> None:
    encoder, head = student()
    teacher = EmaTeacher(encoder, head, training=True)
    train_a_little(encoder, head)
    teacher.update(encoder, head, momentum=0.3)
    other = EmaTeacher(*student(), training=True)
    other.load_state_dict(teacher.state_dict())
    inputs = torch.randn(5, 3)
    assert torch.equal(other(inputs), teacher(inputs))
