"""Images on their way to a network: the order of channels, the range, and a resize that is Pillow's within rounding."""

import numpy as np
import pytest
import torch
from PIL import Image

from stages.lib.datasets import pixels

CPU = torch.device("cpu")


def test_images_become_numbers_from_0_to_1_in_the_order_of_channels():
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 7, 3), np.uint8)
    found = pixels.prepare(torch.from_numpy(x), CPU)
    assert found.dtype == torch.float32
    assert np.allclose(found.numpy(), x.transpose(0, 3, 1, 2) / 255, atol=1e-7)
    grey = pixels.prepare(torch.from_numpy(x[..., :1].copy()), CPU)
    assert grey.shape == (4, 3, 6, 7)
    assert all(torch.equal(grey[:, c], found[:, 0]) for c in range(3))


def pillow(x: np.ndarray, side: int) -> np.ndarray:
    pictures = [Image.fromarray(picture[..., 0] if x.shape[-1] == 1 else picture) for picture in x]
    resized = np.stack([np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)) for picture in pictures])
    return resized[..., None] if x.shape[-1] == 1 else resized


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("native", "side"), [(28, 224), (32, 224), (8, 32), (32, 8), (33, 20), (20, 20)])
def test_it_resizes_as_pillow_does_within_rounding(native, side, channels):
    x = np.random.default_rng(0).integers(0, 256, (3, native, native, channels), np.uint8)
    found = pixels.prepare(x, CPU, side) * 255
    expected = np.repeat(pillow(x, side), 3 // channels, axis=-1).transpose(0, 3, 1, 2).astype(float)
    difference = np.abs(found.numpy() - expected)
    assert difference.max() < 1.001
    assert difference.mean() < 0.01  # Pillow counts in fixed point: where it is about a half
    assert torch.allclose(found, found.round(), atol=1e-3)


def test_a_low_resolution_is_a_resize_down_and_one_up():
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = pixels.prepare(x, CPU, 32, resolution=8) * 255
    expected = pillow(pillow(x, 8), 32).transpose(0, 3, 1, 2).astype(float)
    assert np.abs(found.numpy() - expected).max() < 2.001  # rounding of two resizes
    assert np.abs(found.numpy() - x.transpose(0, 3, 1, 2)).mean() > 20
