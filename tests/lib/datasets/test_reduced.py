"""Images at a low resolution: the detail goes, as Pillow and the released transform take it, whatever their shape."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from stages.lib.datasets import whole
from stages.lib.datasets.reduced import Reduced

X = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)


@pytest.mark.parametrize(("shape", "side"), [((24, 24, 3), 8), ((24, 24, 1), 5), ((30, 20, 3), 7), ((17, 40, 3), 9), ((4, 4, 3), 8)])
def test_an_image_is_what_torchvisions_resize_makes_of_it(shape, side):
    x = np.random.default_rng(1).integers(0, 256, (2, *shape), np.uint8)
    found = Reduced(x, side)
    image = Image.fromarray(x[1, ..., 0] if shape[-1] == 1 else x[1])
    expected = np.asarray(functional.resize(image, side)).reshape(found.shape[1:])
    assert np.array_equal(found[0:2][1], expected)


def test_slices_and_places_are_those_of_the_images_and_reduced_once_alone():
    found = Reduced(X, 6)
    assert (len(found), found.shape) == (5, (5, 6, 6, 3))
    places = found[np.array([3, 1])]
    assert np.array_equal(places[0:2], found[0:5][[3, 1]])
    assert found[2:2].shape == (0, 6, 6, 3)


def test_detail_that_is_finer_than_the_resolution_is_lost():
    stripes = np.zeros((1, 32, 32, 1), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.ptp(Reduced(stripes, 8)[0:1][:, :, 1:-1].astype(int)) <= 2


def test_images_that_are_stored_whole_keep_their_shape_and_lose_their_detail():
    x = np.random.default_rng(2).integers(0, 256, (3, 40, 20, 3), np.uint8)
    for shorter, side in ((256, 8), (6, 8)):
        found = whole.taken(Reduced(x, side), slice(1, 3), shorter)
        expected = [np.asarray(functional.resize(Image.fromarray(image), min(shorter, side))) for image in x[1:3]]
        assert [image.shape for image in found] == [(2 * min(shorter, side), min(shorter, side), 3)] * 2
        assert np.array_equal(np.stack(found), np.stack(expected))
