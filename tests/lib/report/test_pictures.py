"""The report's pictures: every image with its label, and what an attack changes."""

import numpy as np
import pandas as pd

from stages.lib.report import figures, looks, pictures

LOOKS = looks.looks_of([("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5)])


def test_samples_show_every_image_with_its_label():
    x, y = np.zeros((3, 8, 8, 1), dtype=np.uint8), np.array([4, 5, 6])
    [ax] = pictures.samples({"train": (x, y), "test": (x[:2], y[:2])}, "digits").axes
    assert len(ax.images) == 5
    assert [t.get_text() for t in ax.texts] == ["digits", "train", "4", "5", "6", "test", "4", "5"]


def test_classes_have_their_names_where_they_are_known():
    x, names = np.zeros((2, 8, 8, 1), dtype=np.uint8), ["cat", "a name that is too long"]
    [ax] = pictures.samples({"test": (x, np.array([1, 0]))}, "pets", names).axes
    assert [t.get_text() for t in ax.texts][2:] == ["a name that …", "cat"]
    [ax] = pictures.examples(groups(0.05), LOOKS, "examples", [f"class {i}" for i in range(10)]).axes
    seen = [t.get_text() for t in ax.texts if t.get_text().startswith("class")]
    assert seen == ["class 1", "class 9"] * 2 + ["class 2", "class 9"] * 2


def groups(changed: float) -> pd.DataFrame:
    clean = np.full((3, 8, 8, 3), 0.5, dtype=np.float32)
    arrays = {"clean": clean, "adversarial": clean + np.float32(changed), "label": np.array([0, 1, 2])}
    arrays |= {"predicted_clean": np.array([0, 1, 2]), "predicted_adversarial": np.array([0, 9, 9])}
    return pd.DataFrame([{"source": s, "norm": "l2", "radius": "L2 1", **arrays} for s in ("natural", "l2")])


def test_examples_show_what_the_first_source_loses_and_mark_it():
    [ax] = pictures.examples(groups(0.05), LOOKS, "examples").axes
    assert len(ax.images) == 2 * 2 * 3
    seen = [(t.get_text(), t.get_color()) for t in ax.texts if t.get_text().startswith("seen")]
    assert (
        seen
        == [("seen as 1", figures.INK), ("seen as 9", figures.WRONG)] * 2 + [("seen as 2", figures.INK), ("seen as 9", figures.WRONG)] * 2
    )


def test_the_change_is_magnified_to_fill_the_range_around_grey():
    [ax] = pictures.examples(groups(0.05), LOOKS, "examples").axes
    assert "change ×10" in [t.get_text() for t in ax.texts]
    assert ax.images[1].get_array().max() == 255


def test_no_change_is_shown_as_grey():
    [ax] = pictures.examples(groups(0.0), LOOKS, "examples").axes
    assert np.unique(ax.images[1].get_array()).tolist() == [128]
