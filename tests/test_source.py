"""Sources: trained, fetched, or none; killed and resumed to the same weights; refused when they are not what they say."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from stages import download, source, upscale
from stages.lib import attacks, cells, files, networks, sources, training
from stages.lib.errors import RunError
from stages.lib.params import SettingsError


@pytest.fixture
def glyphs(workspace):
    download.main("glyphs")
    upscale.main("glyphs")
    return workspace


def fetched_entry(workspace, path, sha256, architecture="small_resnet", classes=4):
    entry = {"kind": "fetched", "architecture": architecture, "dataset": "glyphs", "threat": {"norm": "l2", "eps": 3},
             "classes": classes, "address": str(path), "sha256": sha256, "mean": [0.5] * 3, "std": [0.25] * 3}  # fmt: skip
    workspace.edit("models/catalog.yaml", brought=entry)


def test_a_trained_source_has_weights_and_a_card(glyphs):
    source.main("l2_eps0_5")
    card = json.loads((glyphs.folder / "models/sources/l2_eps0_5.json").read_text())
    assert card["threat"] == {"norm": "l2", "eps": 0.5}
    assert card["classes"] == 4
    assert set(card["accuracy"]) == {"test", "test_decorrelated"}
    assert card["sha256"] == files.sha256_of(glyphs.folder / "models/sources/l2_eps0_5.safetensors")
    images = json.loads((glyphs.folder / "data/images/glyphs/card.json").read_text())
    assert card["mean"] == pytest.approx(images["mean"])
    network = sources.load("l2_eps0_5")
    assert source.accuracies(network, "glyphs") == card["accuracy"]


def test_training_learns(glyphs):
    glyphs.edit("params.yaml", source__epochs=12, source__batch_size=8)
    source.main("natural")
    history = json.loads(next(cells.folder("source").rglob("*.json")).read_text())["result"]["history"]
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert history[-1]["train_accuracy"] > 50  # of 4 classes


def test_random_holds_no_weights(workspace):
    source.main("random")
    assert load_file(workspace.folder / "models/sources/random.safetensors") == {}
    assert sources.card_of("random").accuracy == {}


def test_the_same_settings_train_once(glyphs, monkeypatch):
    source.main("natural")
    first = (glyphs.folder / "models/sources/natural.safetensors").read_bytes()
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    source.main("natural")
    assert (glyphs.folder / "models/sources/natural.safetensors").read_bytes() == first


def test_killed_in_the_middle_it_goes_on_to_the_same_weights(glyphs):
    glyphs.edit("params.yaml", source__epochs=12)
    glyphs.stage("source", "l2_eps0_5", DVC_ROOT=str(glyphs.folder))
    undisturbed = (glyphs.folder / "models/sources/l2_eps0_5.safetensors").read_bytes()
    for path in cells.folder("source").rglob("*.*"):
        path.unlink()
    running = subprocess.Popen([sys.executable, "-m", "stages.source", "l2_eps0_5"], cwd=glyphs.folder, start_new_session=True,
                               env=glyphs.environment | {"DVC_ROOT": str(glyphs.folder)}, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(cells.folder("source").rglob("*.checkpoint")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert list(cells.folder("source").rglob("*.checkpoint")), "killed between the first epoch and the last"
    resumed = glyphs.stage("source", "l2_eps0_5", DVC_ROOT=str(glyphs.folder))
    assert "goes on after epoch" in resumed.stderr
    assert (glyphs.folder / "models/sources/l2_eps0_5.safetensors").read_bytes() == undisturbed


def test_a_damaged_checkpoint_is_ignored_with_a_warning(glyphs, monkeypatch, capsys):
    monkeypatch.setattr(files, "digest_of", lambda content, real=files.digest_of: real(content) if "rows" in str(content) else "ab" * 32)
    path = cells.path_of("source", "ab" * 32, ".checkpoint")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 no checkpoint")
    source.main("natural")
    assert "a damaged checkpoint" in capsys.readouterr().err


def test_eps_is_held_at_zero_and_then_rises_to_its_radius(glyphs, monkeypatch):
    seen = []
    monkeypatch.setattr(attacks, "pgd", lambda **settings: seen.append(settings["eps"]))
    entry, settings = source.params.source_entry("l2_eps0_5"), source.params.section("source")
    perturb_at = source.adversary(entry, settings)
    for progress in (0.0, 0.1, 0.3, 0.5, 0.99):
        perturb_at(progress)
    assert seen == pytest.approx([0, 0, 0.25, 0.5, 0.5])


def test_a_learning_rate_that_diverges_is_named(glyphs):
    glyphs.edit("params.yaml", source__lr=1.0e30)
    with pytest.raises(RunError, match=r"params.yaml: source.lr: natural: the loss is nan in epoch 2"):
        source.main("natural")
    assert not (glyphs.folder / "models/sources/natural.safetensors").exists()


def test_a_source_is_fetched_from_a_path_and_evaluated(glyphs):
    source.main("natural")
    path = glyphs.folder / "models/sources/natural.safetensors"
    fetched_entry(glyphs, path, files.sha256_of(path))
    source.main("brought")
    card = sources.card_of("brought")
    assert (card.kind, card.origin, card.accuracy) == ("fetched", str(path), sources.card_of("natural").accuracy)


def test_weights_under_torchvisions_names_are_taken(glyphs):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    path = glyphs.folder / "theirs.safetensors"
    save_file(theirs.state_dict(), path)
    fetched_entry(glyphs, path, files.sha256_of(path), "resnet18")
    source.main("brought")
    x = torch.rand(2, 3, 32, 32)
    expected = theirs((x - 0.5) / 0.25)
    torch.testing.assert_close(sources.load("brought")(x), expected, atol=1e-4, rtol=1e-4)


def truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[2] ^= 0xFF
    path.write_bytes(bytes(content))


def pickled(path):
    torch.save({"weights": torch.zeros(3)}, path)


def html(path):
    path.write_text("<!DOCTYPE html><html>sign in</html>")


@pytest.mark.parametrize(
    ("damage", "named"), [(truncated, "safetensors"), (flipped, "safetensors"), (pickled, "holds a pickle"), (html, "HTML page")]
)
def test_a_file_that_is_no_safetensors_is_refused(damage, named, glyphs):
    network = networks.build("small_resnet", 4, [0.5] * 3, [0.25] * 3)
    path = glyphs.folder / "brought.safetensors"
    save_file(network.state_dict(), path)
    damage(path)
    fetched_entry(glyphs, path, files.sha256_of(path))
    with pytest.raises(RunError, match=named):
        source.main("brought")
    assert not (glyphs.folder / "models/sources/brought.json").exists()


def test_a_wrong_sha256_a_missing_file_and_a_wrong_architecture_are_named(glyphs):
    path = glyphs.folder / "brought.safetensors"
    save_file(networks.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).state_dict(), path)
    fetched_entry(glyphs, path, "0" * 64)
    with pytest.raises(RunError, match=rf"{path}: sha256 is .*allowed: 0000"):
        source.main("brought")
    fetched_entry(glyphs, path, files.sha256_of(path), "resnet18")
    with pytest.raises(RunError, match=r"models/catalog.yaml: brought: .* is no resnet18 with 4 classes: weights do not fit"):
        source.main("brought")
    fetched_entry(glyphs, glyphs.folder / "nowhere", "1" * 64)
    with pytest.raises(RunError, match="nowhere: no such file"):
        source.main("brought")


def test_a_source_that_is_in_no_catalog_is_named(workspace):
    with pytest.raises(SettingsError, match=r"models/catalog.yaml: 'naturl' is in no entry; .*did you mean 'natural'"):
        source.main("naturl")


def test_weights_that_were_changed_after_the_card_are_refused(glyphs):
    source.main("natural")
    path = glyphs.folder / "models/sources/natural.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RunError, match="its sha256 is not that of its card"):
        sources.load("natural")
