"""Parts of the classes of a set: disjoint, together all, and the same wherever they are asked for."""

import numpy as np
import pytest

from stages import download, source, upscale
from stages.lib.datasets import sets
from stages.lib.networks import sources
from stages.lib.settings.catalog import Part

HALVES = [Part(of=2, number=0), Part(of=2, number=1)]


@pytest.mark.parametrize(("of", "classes"), [(2, 4), (2, 25), (3, 10)])
def test_parts_hold_every_class_once(of, classes):
    parts = [sets.classes_of(Part(of=of, number=i), classes) for i in range(of)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(classes))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(np.array_equal(part, sets.classes_of(Part(of=of, number=i), classes)) for i, part in enumerate(parts))


def test_another_seed_draws_other_parts():
    assert len({tuple(sets.classes_of(Part(of=2, number=0, seed=seed), 20)) for seed in range(5)}) > 3


def test_labels_of_a_part_are_counted_anew_in_the_order_of_its_classes():
    y = np.array([3, 0, 2, 1, 3, 2])
    kept = sets.classes_of(HALVES[0], 4)
    places, labels = sets.only(HALVES[0], 4, y)
    assert np.array_equal(kept[labels], y[places])
    assert len(places) == np.isin(y, kept).sum()
    assert sets.only(None, 4, y)[1] is y


def test_a_dataset_of_a_part_holds_the_images_of_its_classes(workspace):
    workspace.edit("data/catalog.yaml", glyphs_same__classes=4, glyphs_same__train=64, glyphs_same__test=32, glyphs_same__size=16)
    for name in ("glyphs", "glyphs_same"):
        download.main(name)
        upscale.main(name)
    whole_x, whole_y = sets.load("glyphs", "train")
    x, y = sets.load("glyphs_same", "train")
    kept = np.isin(whole_y, sets.classes_of(HALVES[0], 4))
    assert np.array_equal(x, whole_x[kept])
    assert set(y) == {0, 1}
    card = sets.card_of("glyphs_same")
    assert (card.classes, card.splits["train"].n) == (2, int(kept.sum()))
    part_x, part_y = sets.load_part("glyphs", "train", HALVES[0])
    assert np.array_equal(part_x, x)
    assert np.array_equal(part_y, y)


def test_a_source_of_a_part_has_its_classes_and_is_tested_on_them(images_ready):
    images_ready.edit("models/catalog.yaml", natural_half__part={"of": 2, "number": 1})
    source.main("natural_half")
    card = sources.card_of("natural_half")
    assert (card.classes, card.part) == (2, HALVES[1])
    assert card.accuracy.keys() == {"test", "test_decorrelated"}
    assert sources.load("natural_half").head.out_features == 2
