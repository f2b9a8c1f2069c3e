"""Procedural sets: the same from the same seed in any order, with the texture, contrast and shapes that are asked for."""

import numpy as np
import pytest

from stages.lib.datasets import sets
from stages.lib.datasets.kinds import drawing
from stages.lib.datasets.kinds.procedural import LETTERS, Glyphs, GlyphsConflict, Textures, dial_split

GLYPHS = Glyphs(
    kind="procedural", set="glyphs", classes=24, channels=3, size=32, train=48, test=48, seed=1, clutter=0.2, min_contrast=0.35,
    texture_amplitude=0.1, texture_correlation=0.9,
)  # fmt: skip
TEXTURES = Textures(
    kind="procedural", set="textures", classes=10, channels=3, size=32, train=40, test=30, seed=2, clutter=0.2, texture_amplitude=0.1
)


def but(settings, **changes):
    return settings.model_copy(update=changes)


def texture_of(image: np.ndarray, classes: int) -> int:
    """The number of the grating that fits best, by its energy at whatever phase; image: [size, size, 3]."""
    grey = image.mean(-1) - image.mean()
    row, column = np.mgrid[: len(grey), : len(grey)]
    energy = []
    for k in range(classes):
        angle, wavelength = np.pi * k / classes, (2.5, 3.2, 4.0, 5.0)[k % 4]
        wave = np.exp(2j * np.pi * (row * np.sin(angle) + column * np.cos(angle)) / wavelength)
        energy.append(abs((grey * wave).sum()))
    return int(np.argmax(energy))


def textures_alone(settings: Glyphs, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The number of each image's grating, found in the difference to the same image without one, and the labels."""
    with_texture, y = drawing.draw(settings, split)
    without, _ = drawing.draw(but(settings, texture_amplitude=0.0), split)
    return np.array([texture_of(a.astype(float) - b, settings.classes) for a, b in zip(with_texture, without, strict=True)]), y


@pytest.mark.parametrize("settings", [GLYPHS, TEXTURES], ids=["glyphs", "textures"])
def test_shapes_types_and_balance(settings):
    for split, n in settings.sizes().items():
        x, y = drawing.draw(settings, split)
        assert (x.shape, x.dtype) == ((n, 32, 32, 3), np.uint8)
        assert (y.shape, y.dtype) == ((n,), np.int64)
        assert np.ptp(np.bincount(y, minlength=settings.classes)) <= 1
        assert all(np.ptp(image) > 0 for image in x)


def test_only_glyphs_have_a_split_without_correlation():
    assert GLYPHS.sizes() == {"train": 48, "test": 48, "test_decorrelated": 48}
    assert TEXTURES.sizes() == {"train": 40, "test": 30}


@pytest.mark.parametrize("settings", [GLYPHS, TEXTURES], ids=["glyphs", "textures"])
def test_an_image_depends_on_seed_split_and_number_alone(settings):
    x, y = drawing.draw(settings, "train")
    backwards, labels = drawing.draw(settings, "train", reversed)
    assert np.array_equal(x, backwards)
    assert np.array_equal(y, labels)
    fewer, _ = drawing.draw(but(settings, train=7), "train")
    assert np.array_equal(x[:7], fewer)
    for other in (drawing.draw(but(settings, seed=9), "train")[0], drawing.draw(settings, "test")[0]):
        assert not any(np.array_equal(a, b) for a, b in zip(x, other, strict=False))
    assert len({image.tobytes() for image in x}) == len(x)


def test_the_state_of_the_global_generator_does_not_matter():
    np.random.seed(1)
    first, _ = drawing.draw(GLYPHS, "test")
    np.random.seed(2)
    assert np.array_equal(first, drawing.draw(GLYPHS, "test")[0])


def test_progress_sees_every_image():
    seen = []
    drawing.draw(TEXTURES, "test", lambda numbers: (seen.append(i) or i for i in numbers))
    assert seen == list(range(30))


def test_gratings_of_different_classes_are_told_apart():
    rng = np.random.default_rng(0)
    for classes in (10, 24):
        for k in range(classes):
            wave = drawing.grating(32, k, classes, rng)
            assert np.abs(wave).max() <= 1
            assert texture_of(np.repeat(wave[..., None], 3, axis=-1), classes) == k


def test_with_full_correlation_every_texture_is_that_of_the_class():
    settings = but(GLYPHS, texture_correlation=1.0, clutter=0.0)
    for split in ("train", "test"):
        textures, y = textures_alone(settings, split)
        assert np.array_equal(textures, y)


@pytest.mark.parametrize(("split", "correlation"), [("train", 0.0), ("test_decorrelated", 1.0)])
def test_without_correlation_textures_are_spread_over_the_classes(split, correlation):
    settings = but(GLYPHS, classes=4, texture_correlation=correlation, clutter=0.0, train=120, test=120)
    textures, y = textures_alone(settings, split)
    assert 0.1 < (textures == y).mean() < 0.4  # a quarter by chance, standard error 0.04
    assert np.bincount(textures, minlength=4).min() > 15


def test_the_texture_agrees_in_the_fraction_that_is_asked_for():
    settings = but(GLYPHS, classes=4, texture_correlation=0.6, clutter=0.0, train=160)
    textures, y = textures_alone(settings, "train")
    assert abs((textures == y).mean() - (0.6 + 0.4 / 4)) < 0.12  # 3 standard errors


def test_the_label_of_a_texture_is_its_grating():
    x, y = drawing.draw(but(TEXTURES, clutter=0.0), "train")
    assert [texture_of(image.astype(float), 10) for image in x] == y.tolist()


@pytest.mark.parametrize("amplitude", [0.0, 0.05, 0.1])
def test_the_texture_has_the_amplitude_that_is_asked_for(amplitude):
    plain, _ = drawing.draw(but(GLYPHS, texture_amplitude=0.0), "test")
    x, _ = drawing.draw(but(GLYPHS, texture_amplitude=amplitude), "test")
    difference = np.abs(x.astype(int) - plain).max()
    assert abs(difference - 255 * amplitude) <= 1 + 0.05 * 255 * amplitude


@pytest.mark.parametrize("min_contrast", [0.1, 0.5])
def test_letter_and_ground_differ_by_the_contrast_that_is_asked_for(min_contrast):
    settings = but(GLYPHS, min_contrast=min_contrast, clutter=0.0, texture_amplitude=0.0, size=64)
    x, _ = drawing.draw(settings, "train")
    brightness = x.mean(-1) / 255
    spread = np.ptp(brightness.reshape(len(x), -1), axis=1)
    assert spread.min() > min_contrast - 0.02  # rounding; and the thinnest strokes cover no pixel whole
    assert spread.min() < min_contrast + 0.1


def test_clutter_is_no_larger_than_its_amplitude():
    plain, _ = drawing.draw(but(GLYPHS, clutter=0.0), "test")
    cluttered, _ = drawing.draw(but(GLYPHS, clutter=0.2), "test")
    difference = np.abs(cluttered.astype(int) - plain).max()
    assert 0.1 * 255 < difference <= 0.2 * 255 + 1


def test_letters_of_two_classes_are_not_alike():
    settings = but(GLYPHS, clutter=0.0, texture_amplitude=0.0, size=64)
    letters = {np.asarray(drawing.rasterised(font, letter)).tobytes() for font in drawing.FONTS for letter in LETTERS}
    assert len(letters) == len(drawing.FONTS) * settings.classes


def test_the_raw_splits_of_a_procedural_set_are_those_that_were_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = but(GLYPHS, train=24, test=24, size=8)
    drawn = {split: drawing.draw(entry, split) for split in entry.sizes()}
    for split, (x, y) in drawn.items():
        sets.save(sets.RAW / "glyphs", split, x, y)
    found = {split: (x, y) for split, x, y in entry.read("glyphs", 16)}
    assert found.keys() == drawn.keys()
    assert all(np.array_equal(found[split][i], drawn[split][i]) for split in drawn for i in (0, 1))

    assert {x.shape[1] for x, _ in found.values()} == {entry.native_size(16)}


def test_an_alphabet_says_which_letter_a_class_is():
    few = but(GLYPHS, classes=3, alphabet="XAB", train=6, test=6, clutter=0.0, texture_amplitude=0.0)
    assert few.names_of_classes("train", *drawing.draw(few, "train")) == ["X", "A", "B"]
    same = but(few, alphabet="XBA")
    (x, _), (other, _) = drawing.draw(few, "train"), drawing.draw(same, "train")
    assert [np.array_equal(a, b) for a, b in zip(x, other, strict=True)] == [True, False, False] * 2


@pytest.mark.parametrize(("alphabet", "classes"), [("AB", 3), ("ABA", 3), ("ABC", 4), ("ABI", 3), ("abc", 3), ("", 2)])
def test_an_alphabet_without_a_letter_for_each_class_is_refused(alphabet, classes):
    with pytest.raises(ValueError, match="alphabet"):
        Glyphs(**GLYPHS.model_dump() | {"alphabet": alphabet, "classes": classes})


def test_letters_with_any_texture_are_the_training_letters_with_textures_that_follow_no_class():
    both = but(GLYPHS, train_decorrelated=True, texture_correlation=1.0, train=120, classes=12, min_contrast=0.5)
    assert both.sizes()["train_decorrelated"] == both.train
    plain = but(both, texture_amplitude=0.0)
    assert np.array_equal(drawing.draw(plain, "train")[0], drawing.draw(plain, "train_decorrelated")[0])
    agree = {split: np.mean(np.equal(*textures_alone(both, split))) for split in ("train", "train_decorrelated")}
    assert agree["train"] > 0.9
    assert agree["train_decorrelated"] < 0.25  # 1 in 12 by chance: 0.25 of 120 images in fewer than one of a million draws


def test_along_the_dial_the_letters_are_the_same_and_more_and_more_textures_agree():
    both = but(GLYPHS, dial=[0.0, 0.5, 1.0], texture_correlation=0.0, train=120, classes=12, min_contrast=0.5)
    assert [dial_split(value) for value in both.dial] == ["train_dial_0", "train_dial_0_5", "train_dial_1"]
    assert {dial_split(value) for value in both.dial} <= both.sizes().keys()
    plain = but(both, texture_amplitude=0.0)
    assert np.array_equal(drawing.draw(plain, "train_dial_0")[0], drawing.draw(plain, "train_dial_1")[0])
    none, half, every = (np.equal(*textures_alone(both, dial_split(value))) for value in both.dial)
    assert every.mean() > 0.95, "the oracle reads textures"
    assert none.mean() < 0.25
    assert 0.4 < half.mean() < 0.7  # 0.5, and a twelfth of the others
    assert np.array_equal(drawing.draw(both, "train")[0], drawing.draw(both, "train_dial_0")[0])


def test_letters_with_the_texture_of_others_have_both_labels_each_pair_as_often():
    settings = GlyphsConflict(
        kind="procedural", set="glyphs_conflict", classes=12, channels=3, size=32, train=None, test=264, seed=1, clutter=0.2, min_contrast=0.5,
        texture_amplitude=0.1,
    )  # fmt: skip
    x, y = drawing.draw(settings, "test")
    pairs, counts = np.unique(y, axis=0, return_counts=True)
    assert (x.shape, y.dtype, len(pairs), set(counts)) == ((264, 32, 32, 3), np.int64, 12 * 11, {2})
    assert (y[:, 0] != y[:, 1]).all()
    without, _ = drawing.draw(but(settings, texture_amplitude=0.0), "test")
    seen = np.array([texture_of(a.astype(float) - b, 12) for a, b in zip(x, without, strict=True)])
    assert np.mean(seen == y[:, 1]) > 0.95
    letters, shapes = drawing.draw(but(GLYPHS, classes=12, test=264, min_contrast=0.5, texture_amplitude=0.0), "test")
    assert np.array_equal(shapes, y[:, 0])
    assert np.array_equal(letters, without), "the letters of the test images"
    assert settings.labels == "two"
