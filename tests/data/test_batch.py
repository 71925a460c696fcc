from __future__ import annotations

import pytest
import torch

from ltmed.data.batch import normalise


@pytest.mark.parametrize("shape", [(4, 5, 7), (1, 1, 1), (0, 3, 2)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_normalise_is_the_formula_with_channels_last_in_memory(shape, contiguous):
    pixels = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
    if not contiguous:
        pixels = pixels.transpose(1, 2).contiguous().transpose(1, 2)
    selected, mean, std = pixels.clone(), torch.tensor([120.0, 90.0, 60.0]), torch.tensor([50.0, 60.0, 70.0])
    images = normalise(pixels, mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1))
    assert images.shape == (shape[0], 3, *shape[1:])
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last) or not images.numel()
    for channel in range(3):
        expected = (pixels[..., channel].float() - mean[channel]) / std[channel]
        assert torch.equal(images[:, channel], expected)
    assert torch.equal(pixels, selected)
