"""Packed cells: what comes whole is in the store afterwards, under its key; what is damaged is left out, with a line."""

import shutil

import pytest
import torch

from stages.lib.store import cells, files, packed

WITH, WITHOUT = "ab" + "0" * 62, "cd" + "1" * 62
RESULT = {"rows": [{"epoch": 1, "test_accuracy": 100 / 3, "train_loss": None}], "seconds": 0.1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two packed cells, one with its weights in the folder, and an empty store."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for key in (WITH, WITHOUT):
        cells.save("finetune", key, RESULT, {"w": torch.arange(4.0)})
    packed.pack(tmp_path / "of", {key: cells.load("finetune", key) for key in (WITH, WITHOUT)}, {WITH})
    (tmp_path / "of/weights").mkdir()
    shutil.copy(cells.path_of("finetune", WITH, ".safetensors"), tmp_path / "of/weights/1.safetensors")
    shutil.rmtree(tmp_path / ".cells")
    return tmp_path / "of"


def test_packed_cells_come_back_exactly_but_for_the_seconds_and_only_once(folder):
    assert packed.unpack(folder, "finetune", pytest.fail) == 2
    result = {"rows": RESULT["rows"]}
    assert cells.load("finetune", WITHOUT) == result
    assert cells.load("finetune", WITH) == result | {"weights_sha256": files.sha256_of(folder / "weights/1.safetensors")}
    assert cells.tensors("finetune", WITH)["w"].tolist() == [0, 1, 2, 3]
    assert packed.unpack(folder, "finetune", pytest.fail) == 0
    assert packed.unpack(folder / "weights", "finetune", pytest.fail) == 0, "a folder without packed cells"


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change(folder, old: str, new: str):
    (folder / packed.NAME).write_text((folder / packed.NAME).read_text().replace(old, new))


DAMAGES = {
    "a byte of the weights": (lambda f: flip(f / "weights/1.safetensors"), {WITHOUT}, "its weights are missing or damaged"),
    "no weights": (lambda f: (f / "weights/1.safetensors").unlink(), {WITHOUT}, "its weights are missing or damaged"),
    "another accuracy": (lambda f: change(f, "33.33", "43.33"), set(), "its digest does not fit"),
    "another key's name": (lambda f: change(f, WITH, "../../" + WITH), {WITHOUT}, None),
    "a list for a result": (lambda f: change(f, '"result": {', '"result": [], "was": {'), set(), "its digest does not fit"),
    "half a file": (lambda f: (f / packed.NAME).write_bytes((f / packed.NAME).read_bytes()[:200]), set(), "no packed cells can be read"),
    "a list": (lambda f: (f / packed.NAME).write_text("[]"), set(), "no packed cells can be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_damaged_comes_into_the_store(folder, damage):
    do, whole, line = DAMAGES[damage]
    do(folder)
    said = []
    assert packed.unpack(folder, "finetune", said.append) == len(whole)
    assert {path.stem for path in cells.folder("finetune").rglob("*.json")} == whole
    assert all(line in one for one in said)
    assert bool(said) == bool(line)
    assert not (folder.parent.parent / f"{WITH}.json").exists()
