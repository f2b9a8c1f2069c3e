"""Source models on disk: weights and card come back, and weights that are not those of the card are refused."""

import pytest
import torch

from stages.lib.errors import RunError
from stages.lib.networks import sources, units
from stages.lib.store import files

CARD = {"kind": "trained", "architecture": "small_resnet", "classes": 4, "dataset": "glyphs", "origin": "here", "sha256": "",
        "mean": [0.25, 0.5, 0.75], "std": [0.5, 0.25, 0.125], "accuracy": {"test": 99.5}}  # fmt: skip


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def card(**changes) -> sources.SourceCard:
    return sources.SourceCard(**({"name": "it", "threat": sources.ThreatCard(norm="l2", eps=0.5)} | CARD | changes))


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return units.build("small_resnet", 4, CARD["mean"], CARD["std"])


def test_a_source_comes_back_in_eval_mode_with_the_same_logits():
    saved = network().eval()
    sources.save(card(), saved.state_dict())
    found = sources.load("it")
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(found(x), saved(x))
    assert not any(module.training for module in found.modules())


def test_the_card_says_the_hash_of_the_weights():
    sources.save(card(), network().state_dict())
    found = sources.card_of("it")
    assert found == card(sha256=files.sha256_of(sources.paths("it")[0]))
    assert found.threat.eps == 0.5


def test_the_same_weights_give_the_same_bytes():
    sources.save(card(), network().state_dict())
    first = [path.read_bytes() for path in sources.paths("it")]
    sources.save(card(), network().state_dict())
    assert [path.read_bytes() for path in sources.paths("it")] == first


def test_a_source_without_pre_training_has_a_card_and_no_weights():
    sources.save(card(kind="random", classes=None, dataset=None, threat=None, accuracy={}), {})
    assert sources.card_of("it").kind == "random"
    assert files.read_tensors(sources.paths("it")[0]) == {}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing"])
def test_weights_that_are_not_those_of_the_card_are_one_line(damage):
    sources.save(card(), network().state_dict())
    path = sources.paths("it")[0]
    content = path.read_bytes()
    damaged = {"flipped": content[:-1] + bytes([content[-1] ^ 1]), "truncated": content[:-1], "empty": b""}
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    with pytest.raises(RunError, match=r"models/sources/it/0\.safetensors: ") as error:
        sources.load("it")
    assert "\n" not in str(error.value)


def test_a_card_for_another_architecture_is_refused():
    sources.save(card(classes=5), network().state_dict())
    with pytest.raises(RunError, match=r"do not fit the architecture: 2 of another shape, as head\.bias"):
        sources.load("it")


@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_a_missing_or_damaged_card_is_one_line(content):
    sources.save(card(), network().state_dict())
    path = sources.paths("it")[1]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RunError, match=r"models/sources/it/0\.json: "):
        sources.load("it")
