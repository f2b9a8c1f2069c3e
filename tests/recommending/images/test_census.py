"""Bad folders: what cannot be used is left out with a line, or is one error."""

import numpy as np
import pytest
from PIL import Image

from stages.lib.errors import RunError
from stages.recommending import workspace
from stages.recommending.images import census, draws


def folder_of(root, classes=("a", "b"), n=8):
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


def test_unreadable_deep_and_repeated_files_are_left_out_with_a_line(tmp_path):
    root = folder_of(tmp_path)
    (root / "a/broken.png").write_bytes(b"not an image")
    Image.fromarray(np.full((20, 20), 40000, np.uint16)).save(root / "a/deep.png")
    (root / "a/again.png").write_bytes((root / "a/0.png").read_bytes())
    (root / "b/torn.png").write_bytes((root / "a/1.png").read_bytes())
    found = census.take(root)
    assert (len(found.paths), found.n_found) == (8 + 8 - 1, 20)
    for word in ("no known format", "8 bits", "1 copy", "several classes"):
        assert sum(word in note for note in found.notes) == 1, word


@pytest.mark.parametrize(
    ("classes", "n", "says"), [(("a",), 8, "two or more"), (("a", "b"), 1, "a has 1 image"), (("train", "test"), 8, "divided already")]
)
def test_what_cannot_be_used_is_one_error(tmp_path, classes, n, says):
    with pytest.raises(RunError, match=says):
        census.take(folder_of(tmp_path, classes, n))


def test_a_large_folder_is_drawn_from(tmp_path):
    found = census.take(folder_of(tmp_path, n=60), most=80)
    assert np.bincount(found.y).tolist() == [40, 40]
    assert "of 120 images 80 were drawn" in found.notes[0]


def test_a_small_class_of_a_large_folder_stays(tmp_path):
    root = folder_of(tmp_path, n=60)
    for i in range(7, 60):
        (root / f"b/{i}.png").unlink()
    assert np.bincount(census.take(root, most=12).y).tolist() == [20, 7]


def test_the_same_picture_turned_by_its_camera_grey_or_with_transparency(tmp_path):
    """A copy that a camera notes as turned is the same picture; grey and transparent ones are used, and the latter is said."""
    root, rng = folder_of(tmp_path), np.random.default_rng(1)
    pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "a/upright.png")
    turned = Image.fromarray(np.rot90(pixels).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # turn it by 270 degrees to see it upright
    turned.save(root / "a/turned.png", exif=exif)
    Image.fromarray(rng.integers(0, 256, (20, 24), dtype=np.uint8)).save(root / "b/grey.png")
    Image.fromarray(rng.integers(0, 256, (20, 24, 4), dtype=np.uint8)).save(root / "b/seen_through.png")
    found = census.take(root)
    assert len(found.paths) == 16 + 3
    assert sum("1 copy" in note and "a/" in note for note in found.notes) == 1
    assert sum("1 image with transparency" in note and "seen_through" in note for note in found.notes) == 1


def test_no_copy_is_on_both_sides_of_a_division(tmp_path):
    root = folder_of(tmp_path, n=12)
    for i in range(12):
        (root / f"a/copy_{i}.png").write_bytes((root / f"a/{i}.png").read_bytes())
        with Image.open(root / f"b/{i}.png") as image:
            image.save(root / f"b/copy_{i}.bmp")  # the same picture in another file
    found = census.take(root)
    division = workspace.divide(found)
    assert sorted(division.pool + division.final) == list(range(24))
    assert not {found.paths[i].replace("copy_", "").split(".")[0] for i in division.pool} & {
        found.paths[i].replace("copy_", "").split(".")[0] for i in division.final
    }


def test_names_of_files_decide_nothing_of_the_division(tmp_path):
    first = census.take(folder_of(tmp_path / "x", n=10))
    for path in sorted((tmp_path / "x").glob("*/*.png")):
        path.rename(path.with_name(f"{9 - int(path.stem)}_.png"))
    second = census.take(tmp_path / "x")
    sets_of = [{taken.sha256[i] for i in workspace.divide(taken).final} for taken in (first, second)]
    assert sets_of[0] == sets_of[1]
    assert len(sets_of[0]) == 6


def test_no_image_is_both_learnt_from_and_decided_by():
    y = np.repeat([0, 1, 2], [60, 30, 2])
    planned = draws.plan(y, 30, 100)
    for seed in draws.seeds(10):
        learnt, tested = planned.draw(seed)
        assert not set(learnt) & set(tested)
        assert set(y[learnt]) == {0, 1, 2}
        assert (len(learnt), len(tested)) == (30, planned.n_tested)
    with pytest.raises(RunError, match="--labels is 500; allowed: 3"):
        draws.plan(y, 500, 100)
