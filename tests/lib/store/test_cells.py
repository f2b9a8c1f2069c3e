"""The cell store: a whole cell gives its result, a damaged one a warning and nothing."""

import json

import pytest
import torch

from stages.lib.store import cells, files

KEY = "ab" + "0" * 62
RESULT = {"rows": [{"epoch": 1, "test_accuracy": 100 / 3, "train_loss": 1e-300}], "seconds": 0.1, "nothing": None}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "original"))
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "original"


def test_a_result_comes_back_exactly_beside_the_original_repository(store):
    cells.save("finetune", KEY, RESULT)
    assert cells.load("finetune", KEY) == RESULT
    assert cells.path_of("finetune", KEY) == store / ".cells" / "finetune" / "ab" / f"{KEY}.json"
    assert [p.name for p in store.rglob("*") if p.is_file()] == [f"{KEY}.json"]


def test_a_cell_that_is_not_there_is_none_without_a_warning(capsys):
    said = []
    assert cells.load("finetune", KEY, said.append) is None
    cells.save("finetune", KEY, RESULT)
    assert cells.load("source", KEY, said.append) is None
    assert cells.load("finetune", "cd" + KEY[2:], said.append) is None
    assert said == []
    assert capsys.readouterr().err == ""


def test_weights_are_kept_with_their_hash():
    weights = {"head.weight": torch.randn(3, 4)}
    cells.save("finetune", KEY, RESULT, weights)
    found = cells.load("finetune", KEY)
    assert found.pop("weights_sha256") == files.sha256_of(cells.path_of("finetune", KEY, ".safetensors"))
    assert found == RESULT
    assert torch.equal(cells.tensors("finetune", KEY)["head.weight"], weights["head.weight"])


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_other_number(content: bytes) -> bytes:
    assert b'"epoch": 1' in content
    return content.replace(b'"epoch": 1', b'"epoch": 2')


def without_digest(content: bytes) -> bytes:
    return json.dumps({"result": json.loads(content)["result"]}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        with_other_number,
        without_digest,
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b"null",
        lambda _: b"\xff\x00",
        lambda c: c + b"x",
    ],
    ids=["truncated", "other number", "no digest", "empty", "list", "null", "bytes", "longer"],
)
def test_a_damaged_cell_is_none_with_a_warning_until_it_is_written_again(damage):
    said = []
    cells.save("finetune", KEY, RESULT)
    path = cells.path_of("finetune", KEY)
    path.write_bytes(damage(path.read_bytes()))
    assert cells.load("finetune", KEY, said.append) is None
    assert len(said) == 1
    assert said[0].startswith(f"warning: {path}: a damaged cell (")
    assert said[0].endswith("computed again")
    assert "\n" not in said[0]
    cells.save("finetune", KEY, RESULT)
    assert cells.load("finetune", KEY, said.append) == RESULT
    assert len(said) == 1


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_cell_whose_weights_are_damaged_or_missing_is_none_with_a_warning(damage):
    said = []
    cells.save("finetune", KEY, RESULT, {"w": torch.ones(10)})
    weights = cells.path_of("finetune", KEY, ".safetensors")
    content = weights.read_bytes()
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(content[:-4] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    assert cells.load("finetune", KEY, said.append) is None
    assert len(said) == 1
    assert said[0].startswith(f"warning: {cells.path_of('finetune', KEY)}: ")
    assert "weights" in said[0]


def test_a_warning_goes_to_stderr_where_nothing_else_is_asked_for(capsys):
    cells.save("finetune", KEY, RESULT)
    cells.path_of("finetune", KEY).write_text("{")
    assert cells.load("finetune", KEY) is None
    assert capsys.readouterr().err.startswith("warning: ")


def test_a_result_that_json_does_not_know_leaves_no_cell():
    with pytest.raises(ValueError, match="JSON compliant"):
        cells.save("finetune", KEY, {"loss": float("nan")})
    assert cells.load("finetune", KEY) is None
    assert not any(cells.folder("finetune").rglob("*.json"))


def test_weights_without_a_cell_count_as_nothing():
    """As after a kill between the two files."""
    said = []
    files.write_tensors(cells.path_of("finetune", KEY, ".safetensors"), {"w": torch.ones(2)})
    assert cells.load("finetune", KEY, said.append) is None
    assert said == []


def test_discard_takes_away_one_cell_with_its_weights():
    other = "ab" + "1" * 62
    for key in (KEY, other):
        cells.save("finetune", key, RESULT, {"w": torch.ones(2)})
    cells.discard("finetune", KEY)
    assert cells.load("finetune", KEY) is None
    assert not cells.path_of("finetune", KEY, ".safetensors").exists()
    assert cells.load("finetune", other) is not None
    cells.discard("finetune", KEY)
