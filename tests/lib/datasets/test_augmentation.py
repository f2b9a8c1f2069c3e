"""The published augmentation: what is drawn, and that a batch is what torchvision makes of each image."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from stages.lib.datasets import augmentation

N, SIDE = 24, 32


def torchvision_of(x: torch.Tensor, drawn: augmentation.Drawn, i: int) -> torch.Tensor:
    top, left = drawn.shift[i].tolist()
    x = functional.pad(x, [4] * 4)[:, top : top + SIDE, left : left + SIDE]
    x = functional.horizontal_flip(x) if drawn.flip[i] else x
    jitter = functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation
    for operation in drawn.order[i].tolist():
        x = jitter[operation](x, drawn.factor[i, operation].item())
    return functional.rotate(x, drawn.degrees[i].item())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_batch_is_what_torchvision_makes_of_each_image(memory_format):
    x = torch.rand(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    drawn = augmentation.draw(N, seed=3, epoch=1)
    found = augmentation.apply(x.to(memory_format=memory_format), drawn)
    assert found.shape == x.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = torch.stack([torchvision_of(image, drawn, i) for i, image in enumerate(x)])
    assert ((found - expected).abs() > 1e-5).float().mean() < 1e-4  # a rotated pixel just between two may go to either


def test_what_is_drawn_has_the_published_ranges():
    drawn = augmentation.draw(20_000, seed=0, epoch=0)
    assert set(drawn.shift.flatten().tolist()) == set(range(9))
    assert drawn.flip.float().mean() == pytest.approx(0.5, abs=0.02)
    assert 0.75 <= drawn.factor.min() < 0.751
    assert 1.249 < drawn.factor.max() <= 1.25
    assert 1.99 < drawn.degrees.abs().max() <= 2
    orders, counts = drawn.order.unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 20_000 / 6 * 0.9


def test_it_follows_from_seed_and_epoch_alone():
    first, again = (augmentation.draw(8, seed=20000000, epoch=4) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
    for other in (augmentation.draw(8, seed=20000000, epoch=5), augmentation.draw(8, seed=20100000, epoch=4)):
        assert not torch.equal(first.degrees, other.degrees)


def test_a_size_that_fills_no_whole_part_and_one_of_a_single_image_are_the_same_rows():
    x, drawn = torch.rand(2 * augmentation.CACHED + 1, 3, SIDE, SIDE), augmentation.draw(2 * augmentation.CACHED + 1, seed=2, epoch=0)
    whole = augmentation.apply(x, drawn)
    assert all(torch.equal(augmentation.apply(x[i : i + 1], drawn[i : i + 1])[0], whole[i]) for i in range(len(x)))


def test_an_image_is_changed_alike_in_any_batch_and_what_came_in_is_left_as_it_was():
    x = torch.rand(N, 3, SIDE, SIDE)
    before, drawn = x.clone(), augmentation.draw(N, seed=1, epoch=0)
    whole = augmentation.apply(x, drawn)
    rows = torch.tensor([5, 3, 17])
    assert torch.allclose(augmentation.apply(x[rows], drawn[rows]), whole[rows], atol=1e-6)
    assert torch.equal(x, before)
    assert whole.min() >= 0
    assert whole.max() <= 1
