"""Cue-conflict images: names say shape and texture, equal ones go, and what a name does not say is one line."""

import numpy as np
import pytest
import served

from stages.lib.datasets.kinds.folder import Folder
from stages.lib.datasets.kinds.listing import categories_of
from stages.lib.errors import RunError

NAMES = [
    "airplane/airplane1-dog2.png",
    "airplane/airplane10-airplane1.png",
    "dog/dog3-cat1.png",
    "dog/dog3-cat12.PNG",
    "cat/cat1-airplane3.png",
]


def entry(**changes) -> Folder:
    return Folder(**{"kind": "folder", "pairs": True, "path": "somewhere"} | changes)


@pytest.fixture
def root(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(served.picture(np.random.default_rng(0), 20, 20))
    (tmp_path / "README.txt").write_text("no image")
    return tmp_path


def test_images_of_two_categories_have_the_label_of_the_shape_first(root, capsys):
    listed = entry().listed("cues", root)
    assert list(listed) == ["test"]
    paths, y = listed["test"]
    assert paths == ["airplane/airplane1-dog2.png", "cat/cat1-airplane3.png", "dog/dog3-cat1.png", "dog/dog3-cat12.PNG"]
    assert y.tolist() == [[0, 2], [1, 0], [2, 1], [2, 1]]  # airplane, cat, dog
    assert "1 images of 5 are left out" in "".join(capsys.readouterr())
    assert entry().names_of_classes("test", type("X", (), {"paths": paths}), y) == ["airplane", "cat", "dog"]


def test_a_name_may_have_what_the_authors_other_experiments_put_before_it():
    assert categories_of("session-1/0001_cue_dnn_00_cat_10_knife7-elephant1.png") == ("knife", "elephant")


@pytest.mark.parametrize("name", ["holiday.png", "dog3_cat1.png", "dog3-.png", "12-13.png"])
def test_a_name_that_says_no_categories_is_one_line(root, name):
    (root / "dog" / name).write_bytes(b"")
    with pytest.raises(RunError) as error:
        entry().listed("cues", root)
    assert name in str(error.value)
    assert "allowed: <shape><number>-<texture><number>" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_category_that_the_entry_does_not_name_is_one_line(root):
    with pytest.raises(RunError, match=r"dog3-cat1\.png: its name says dog and cat; allowed: airplane, cat"):
        entry(class_names=["airplane", "cat"]).listed("cues", root / "dog")


def test_a_folder_that_is_not_there_or_has_no_such_images_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"no such folder; put the images of cues there, or correct cues\.path"):
        entry().listed("cues", tmp_path / "nowhere")
    assert entry(optional=True).listed("cues", tmp_path / "nowhere") == {}
    with pytest.raises(RunError, match="holds no image whose shape is of one category"):
        entry().listed("cues", tmp_path)


def test_an_image_of_two_classes_is_no_part_of_a_set_and_no_training_image():
    assert (entry().labels, Folder(kind="folder", path="somewhere").labels) == ("two", "one")
    for changes in ({"part": {"of": 2, "number": 0}}, {"test_fraction": 0.5}):
        with pytest.raises(ValueError, match="neither `part` nor `test_fraction` where there are `pairs`"):
            entry(**changes)
