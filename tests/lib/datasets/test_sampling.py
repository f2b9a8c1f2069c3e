"""Images that stand for a split: of all classes, each as likely, the same for everyone."""

import numpy as np
import pytest

from stages.lib.datasets import sampling

SORTED = np.repeat(np.arange(10), 50)  # class by class, as in folders
UNEVEN = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [300, 60, 30, 7]))


@pytest.mark.parametrize("y", [SORTED, UNEVEN], ids=["sorted", "uneven"])
@pytest.mark.parametrize("most", [1, 7, 40, 100, 128, 333])
def test_each_class_has_its_share_of_the_draw(y, most):
    drawn = sampling.stratified(y, most)
    assert len(drawn) == len(set(drawn)) == most
    assert (np.diff(drawn) > 0).all()
    shares = most * np.bincount(y) / len(y)
    assert (np.abs(np.bincount(y[drawn], minlength=len(shares)) - shares) < 1).all()


def test_of_fewer_images_than_classes_no_two_are_of_one_class():
    assert len(set(SORTED[sampling.stratified(SORTED, 6)])) == 6


@pytest.mark.parametrize("most", [500, 501, 10_000])
def test_a_split_that_has_no_more_is_taken_as_a_whole(most):
    assert sampling.stratified(SORTED, most).tolist() == list(range(500))


def test_the_draw_depends_on_labels_and_seed_alone_and_each_image_is_as_likely():
    assert sampling.stratified(UNEVEN, 40).tolist() == sampling.stratified(UNEVEN.copy(), 40).tolist()
    drawn = [sampling.stratified(UNEVEN, 40, seed) for seed in range(1000)]
    times = np.bincount(np.concatenate(drawn), minlength=len(UNEVEN))
    expected = 1000 * 40 / len(UNEVEN)
    by_class = [times[label == UNEVEN].mean() for label in range(4)]
    assert by_class == pytest.approx([expected] * 4, rel=0.1)
    assert times.min() > 0.5 * expected
