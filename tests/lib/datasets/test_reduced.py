"""Images at a low resolution: the detail goes, as Pillow and the released transform take it, whatever their shape."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from stages.lib.datasets import whole
from stages.lib.datasets.reduced import Reduced, low_passed

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


def transformed(image: np.ndarray, kept) -> np.ndarray:
    """An image from those of its frequencies (row, column; each -side / 2 up to side / 2 - 1) for which `kept` is true, wave by wave."""
    side = len(image)
    place, out = np.arange(side), np.zeros((side, side), complex)
    for a in range(-(side // 2), (side + 1) // 2):
        for b in range(-(side // 2), (side + 1) // 2):
            if kept(a, b):
                wave = np.exp(2j * np.pi * (a * place[:, None] + b * place) / side)
                out += wave * (image * wave.conj()).sum() / side**2
    return np.clip(np.rint(out.real), 0, 255)


@pytest.mark.parametrize("side", [12, 9])
def test_a_low_pass_keeps_the_square_of_lowest_frequencies_wave_by_wave(side):
    x = np.random.default_rng(2).integers(0, 256, (2, side, side, 3), np.uint8)
    found = low_passed(x, 4)
    assert found.dtype == np.uint8
    assert np.array_equal(found[1, ..., 2], transformed(x[1, ..., 2], lambda a, b: -2 <= a <= 1 and -2 <= b <= 1))
    odd = low_passed(x, 3)
    assert np.array_equal(odd[0, ..., 0], transformed(x[0, ..., 0], lambda a, b: abs(a) <= 1 and abs(b) <= 1))


def test_the_two_other_readings_lose_the_corners_of_the_spectrum_or_its_border():
    x = np.random.default_rng(3).integers(0, 256, (1, 12, 12, 1), np.uint8)
    border = low_passed(x, 4, "border")[0, ..., 0]
    assert np.array_equal(border, transformed(x[0, ..., 0], lambda a, b: -4 <= a <= 3 and -4 <= b <= 3))
    corner = low_passed(x, 1, "highest")[0, ..., 0]
    assert np.array_equal(corner, transformed(x[0, ..., 0], lambda a, b: (a, b) != (-6, -6)))


def test_a_grating_above_the_cut_goes_and_what_is_smooth_stays():
    column = np.arange(32)
    slow, fast = (np.sin(2 * np.pi * waves * column / 32) for waves in (2, 10))
    x = np.rint(128 + 50 * slow + 40 * fast + np.zeros((32, 1)))[None, ..., None].astype(np.uint8)
    expected = np.rint(128 + 50 * slow) + np.zeros((32, 1))
    assert abs(low_passed(x, 8)[0, ..., 0].astype(float) - expected).max() <= 1
    assert np.array_equal(low_passed(x, 30)[0], x[0])
