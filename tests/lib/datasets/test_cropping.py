"""Random parts of images: what is drawn, and that a part is the one that torchvision cuts and resizes."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from stages.lib.datasets import cropping


def test_what_is_drawn_has_the_usual_ranges():
    crops = cropping.draw("resized_crop", 20_000, seed=1, epoch=0)
    area, aspect = crops.size.prod(1), crops.size[:, 0] / crops.size[:, 1]
    whole = (crops.size < 1).all(1)  # a part that would be larger than the image on a side is cut
    assert 0.08 <= area[whole].min() < 0.085
    assert area.max() <= 1
    assert 0.749 < aspect[whole].min() < 0.76
    assert 1.32 < aspect[whole].max() < 1.334
    assert (crops.corner >= 0).all()
    assert (crops.corner + crops.size <= 1 + 1e-6).all()
    assert crops.flip.float().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("flip", [False, True])
def test_a_part_is_what_torchvision_cuts_and_resizes(flip):
    x = torch.rand(1, 3, 32, 32)
    crops = cropping.Crops(torch.tensor([[[0.5, 0.75]]]), torch.tensor([[0.5, 0.5]]), torch.tensor([flip]))
    expected = functional.resize(x[:, :, 4:28, 8:24], [32, 32], antialias=True)
    expected = functional.horizontal_flip(expected) if flip else expected
    found = cropping.apply(x, crops)
    assert torch.allclose(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5)  # at its border a part sees its surroundings


def test_an_image_is_cut_alike_in_any_batch_and_epochs_differ():
    x, crops = torch.rand(6, 3, 16, 16), cropping.draw("resized_crop", 6, seed=0, epoch=2)
    rows = torch.tensor([4, 1])
    assert torch.allclose(cropping.apply(x[rows], crops[rows]), cropping.apply(x, crops)[rows], atol=1e-6)
    assert torch.equal(cropping.draw("resized_crop", 6, seed=0, epoch=2).corner, crops.corner)
    assert not torch.equal(cropping.draw("resized_crop", 6, seed=0, epoch=3).corner, crops.corner)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_part_of_an_image_with_few_pixels_is_up_scaled_once_and_reduced_first_where_asked(channels):
    """As torchvision: `Resize` of the image where it is reduced, then `RandomResizedCrop` from these pixels to the network's size."""
    x = torch.randint(0, 256, (1, 16, 16, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crops = cropping.Crops(torch.tensor([[[0.5, 0.75]]]), torch.tensor([[0.5, 0.5]]), torch.tensor([False]))
    for resolution, box in ((None, (2, 4, 12, 8)), (8, (1, 2, 6, 4))):  # top, left, height, width of the pixels that there are
        small = functional.resize(x.permute(0, 3, 1, 2), [8, 8], antialias=True) if resolution else x.permute(0, 3, 1, 2)
        expected = functional.resized_crop(small.float() / 255, *box, [48, 48]).expand(-1, 3, -1, -1)
        found = cropping.prepare(x, torch.device("cpu"), 48, crops, resolution)
        inner = slice(48 // box[3], -(48 // box[3]))  # at its border a part sees its surroundings
        assert found.shape == expected.shape
        assert torch.allclose(found[..., inner, inner], expected[..., inner, inner], atol=0.01)  # Pillow and torch round otherwise


def test_kinds_have_names_of_which_the_published_one_is_that_of_the_augmentation():
    drawn = [cropping.draw(kind, 5, seed=3, epoch=1) for kind in ("none", "resized_crop", "crop_flip", "published")]
    assert [type(one) for one in drawn] == [type(None), cropping.Crops, cropping.Shifts, cropping.augmentation.Drawn]
    assert torch.equal(drawn[3].degrees, cropping.augmentation.draw(5, 3, 1).degrees)
