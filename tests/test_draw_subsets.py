"""Subsets: the draws of the released code, every class in each."""

import random

import numpy as np
import pytest

from stages import download, draw_subsets, upscale
from stages.lib.datasets import draws
from stages.lib.datasets.sets import load
from stages.lib.errors import RunError
from stages.lib.settings.params import SettingsError
from stages.lib.settings.sections import DrawSubsetsSettings


def test_subsets_are_the_draws_of_the_published_seeds(workspace):
    download.main("digits")
    upscale.main("digits")
    draw_subsets.main("digits")
    subsets = dict(np.load("data/subsets/digits.npz"))
    assert list(subsets) == ["20_20000000", "20_20100000", "40_20000000", "40_20100000"]
    y = load("digits", "train")[1]
    drawn = np.random.RandomState(20100000).choice(1000, 40, replace=False)
    assert len(np.unique(y[drawn])) == 10, "this draw holds every class, so the rule for missing ones does not come in"
    np.testing.assert_array_equal(subsets["40_20100000"], drawn)
    assert all(len(np.unique(y[subset])) == 10 for subset in subsets.values())


def test_a_draw_without_a_class_is_repeated_from_the_same_stream():
    y = np.repeat([0, 1], [990, 10])
    stream = np.random.RandomState(3)
    draws = [stream.choice(1000, 30, replace=False) for _ in range(200)]
    first_whole = next(draw for draw in draws if len(np.unique(y[draw])) == 2)
    assert len(np.unique(y[draws[0]])) == 1, "the first draw lacks a class"
    np.testing.assert_array_equal(draw_subsets.draw(draw_subsets.choice, y, 2, 30, seed=3), first_whole)


@pytest.mark.parametrize("n_images", [1, 101])
def test_sizes_that_cannot_be_drawn_are_refused(n_images):
    with pytest.raises(RunError, match=rf"n_images: {n_images}; allowed: 2 \(classes\) to 100 \(training images\)"):
        draw_subsets.draw(draw_subsets.choice, np.arange(100) % 2, 2, n_images, seed=0)


@pytest.mark.parametrize(("classes", "n_images"), [(100, 100), (100, 120), (2, 2)])
def test_where_whole_draws_are_hopeless_missing_classes_are_put_in(classes, n_images):
    """As for CIFAR-100, of which 100 random images hold all 100 classes once in 10^42 draws."""
    y = np.random.RandomState(0).permutation(np.arange(5000) % classes)
    stream = np.random.RandomState(7)
    last = [stream.choice(5000, n_images, replace=False) for _ in range(draws.MOST_DRAWS)][-1]
    if classes == 2:
        y[:] = 0
        y[1234] = 1
    found = draw_subsets.draw(draw_subsets.choice, y, classes, n_images, seed=7)
    assert len(np.unique(found)) == n_images
    assert len(np.unique(y[found])) == classes
    kept = found == last
    lacked = classes - len(np.unique(y[last]))
    assert (~kept).sum() == lacked > 0
    np.testing.assert_array_equal(draw_subsets.draw(draw_subsets.choice, y, classes, n_images, seed=7), found)


def settings_of(**changes) -> DrawSubsetsSettings:
    return DrawSubsetsSettings(
        **({"n_images": [10], "n_seeds": 2, "first_seed": 20000000, "seed_step": 100000, "method": "choice"} | changes)
    )


Y = np.arange(60) % 3


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"n_images": [10, "all"]}, ["10_20000000", "10_20100000", "60_20000000", "60_20100000"]),
        ({"n_images": ["all", 60]}, ["60_20000000", "60_20100000"]),
        ({"n_images": [60, 10, "all"], "n_seeds": {"from_10": 2, "all": 1}}, ["60_20000000", "10_20000000", "10_20100000"]),
        (
            {"n_images": [5, 20, 50], "n_seeds": {"from_1": 3, "from_20": 2, "from_40": 1}},
            ["5_20000000", "5_20100000", "5_20200000", "20_20000000", "20_20100000", "50_20000000"],
        ),
    ],
)
def test_sizes_and_their_numbers_of_seeds(changes, names):
    assert list(draw_subsets.draw_all(Y, 3, settings_of(**changes))) == names


def test_the_whole_training_set_is_drawn_by_the_same_rule():
    drawn = draw_subsets.draw_all(Y, 3, settings_of(n_images="all", n_seeds=1))["60_20000000"]
    np.testing.assert_array_equal(drawn, np.random.RandomState(20000000).choice(60, 60, replace=False))


def test_a_size_without_a_number_of_seeds_is_refused():
    with pytest.raises(SettingsError, match=r"^params\.yaml: draw_subsets\.n_seeds holds from 20 images on; allowed: from 10 or fewer"):
        draw_subsets.draw_all(Y, 3, settings_of(n_seeds={"from_20": 5, "all": 1}))


def released_covering(labels: list[int], n_images: int, seed: int) -> list[int]:
    """The draw as the code of June 2020 makes it: a mask that is filled along a shuffle."""
    random.seed(seed)
    places, left, lacking, taken = list(range(len(labels))), n_images, set(labels), [0] * len(labels)
    random.shuffle(places)
    for place in places:
        if left > len(lacking) or labels[place] in lacking:
            taken[place], left = 1, left - 1
            lacking -= {labels[place]}
        if left <= 0:
            break
    return [place for place, is_taken in enumerate(taken) if is_taken]


@pytest.mark.parametrize(("classes", "n_images"), [(2, 2), (2, 30), (100, 100), (100, 120), (10, 5000)])
def test_covering_subsets_are_those_of_the_code_that_made_table_7(classes, n_images):
    y = np.random.RandomState(0).permutation(np.r_[np.arange(classes), np.zeros(5000 - classes, np.int64)])
    found = draw_subsets.draw(draw_subsets.covering, y, classes, n_images, seed=20000000)
    assert found.tolist() == released_covering(y.tolist(), n_images, 20000000)
    assert len(found) == n_images
    assert len(np.unique(y[found])) == classes


def test_the_method_is_a_setting():
    by_method = {name: draw_subsets.draw_all(Y, 3, settings_of(method=name))["10_20000000"].tolist() for name in ("choice", "covering")}
    assert by_method["choice"] == np.random.RandomState(20000000).choice(60, 10, replace=False).tolist()
    assert by_method["covering"] == released_covering(Y.tolist(), 10, 20000000)
