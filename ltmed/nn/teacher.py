"""Momentum copy of a network: He et al., CVPR 2020 (momentum contrast), Eq. 2; Tarvainen and Valpola, NeurIPS 2017."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EmaTeacher(nn.Module):
    """Follows the weights of some modules slowly: theta_teacher <- m theta_teacher + (1 - m) theta_student.

    The copy has no gradient, is part of the state dict, and keeps its mode when the enclosing module changes its own.
    The momentum is per optimiser step: call `update` once per step, not for every accumulated batch.

    Args:
        modules: modules to copy; `forward` applies the copies one after another.
        training: the permanent mode of the copy. MoCo's key encoder normalises with the statistics of its own batch
            (True); a mean teacher that gives targets usually is in evaluation mode (False).
    """

    def __init__(self, *modules: nn.Module, training: bool) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(module) for module in modules).requires_grad_(False)
        self._mode = training
        self.train()

    def train(self, mode: bool = True) -> EmaTeacher:
        """Keeps the mode set at construction; ignores `mode`, which comes from the enclosing module."""
        return super().train(self._mode)

    @torch.no_grad()
    def update(self, *modules: nn.Module, momentum: float) -> None:
        """Moves the parameters by 1 - `momentum` towards those of `modules` and copies their buffers.

        Args:
            modules: the same modules as at construction, in the same order.
            momentum: m in [0, 1].
        """
        teacher, student = list(self.parameters()), [p for module in modules for p in module.parameters()]
        torch._foreach_lerp_(teacher, student, 1 - momentum)  # pyright: ignore  # One kernel for all parameters.
        teacher, student = list(self.buffers()), [b for module in modules for b in module.buffers()]
        if teacher:
            torch._foreach_copy_(teacher, student)  # pyright: ignore

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> list[Tensor]:
        """The outputs of all copies, each applied to the output of the one before it, without gradient."""
        outputs = []
        for module in self.copies:
            inputs = module(inputs)
            outputs.append(inputs)
        return outputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Applies the copies in order, without gradient."""
        return self.outputs(inputs)[-1]
