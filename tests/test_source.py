"""Sources: trained, fetched, or none; killed and resumed to the same weights; refused when they are not what they say."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import checkpoints as made
import numpy as np
import psutil
import pytest
import served
import torch
import torchvision
from safetensors.torch import load_file, save_file

from stages import download, source, upscale
from stages.lib import machine
from stages.lib.attacks import gaussian, pgd
from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.networks import devices, sources, units
from stages.lib.networks.families import small_resnet
from stages.lib.runs import pretraining
from stages.lib.runs.work import resumable, train_source
from stages.lib.settings import params
from stages.lib.settings.params import SettingsError
from stages.lib.store import cells, files
from stages.lib.training import loop


@pytest.fixture
def glyphs(images_ready):
    return images_ready


def fetched_entry(workspace, path, sha256, architecture="small_resnet", classes=4):
    entry = {"kind": "fetched", "architecture": architecture, "dataset": "glyphs", "threat": {"norm": "l2", "eps": 3},
             "classes": classes, "file": {"name": path.name, "mirrors": [str(path)], "sha256": sha256},
             "mean": [0.5] * 3, "std": [0.25] * 3}  # fmt: skip
    workspace.edit("models/catalog.yaml", brought=entry)


def test_a_trained_source_has_weights_and_a_card(glyphs):
    source.main("l2_eps0_5")
    card = json.loads((glyphs.folder / "models/sources/l2_eps0_5/0.json").read_text())
    assert card["threat"] == {"norm": "l2", "eps": 0.5, "perturbation": "PGD(3)"}
    assert card["classes"] == 4
    assert set(card["accuracy"]) == {"test", "test_decorrelated"}
    assert card["sha256"] == files.sha256_of(glyphs.folder / "models/sources/l2_eps0_5/0.safetensors")
    images = json.loads((glyphs.folder / "data/images/glyphs/card.json").read_text())
    assert card["mean"] == pytest.approx(images["mean"])
    network = sources.load("l2_eps0_5")
    assert source.accuracies(network, "glyphs", None) == card["accuracy"]


def test_a_source_may_learn_another_split_of_its_data(glyphs):
    """With the same letters and other textures it becomes another model; a split that is not there is named with those that are."""
    natural = params.source_entry("natural")
    key = pretraining.key_of(natural, 0, params.section("source"))
    assert pretraining.key_of(natural.model_copy(update={"split": "test"}), 0, params.section("source")) != key
    with pytest.raises(RunError, match=r"split is 'train_decorrelated'; allowed: a split of glyphs: .*train"):
        pretraining.key_of(natural.model_copy(update={"split": "train_decorrelated"}), 0, params.section("source"))
    glyphs.edit("data/catalog.yaml", glyphs__train_decorrelated=True)
    download.main("glyphs")
    upscale.main("glyphs")
    glyphs.edit("models/catalog.yaml", natural__split="train_decorrelated")
    source.main("natural")
    card = json.loads((glyphs.folder / "models/sources/natural/0.json").read_text())
    assert set(card["accuracy"]) == {"test", "test_decorrelated"}
    (of_train, _), (x, y) = (train_source.images_of("glyphs", split, None) for split in ("train", "train_decorrelated"))
    assert np.array_equal(y, np.arange(len(y)) % 4)
    assert not np.array_equal(x, of_train)


def test_training_learns_and_a_model_that_guesses_is_said(glyphs, capsys):
    """One as it was trained here, and the same without the weights of its head."""
    glyphs.edit("params.yaml", source__epochs=12, source__batch_size=8)
    source.main("natural")
    history = kept_history()
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert history[-1]["train_accuracy"] > 50  # of 4 classes
    assert "has not learnt" not in capsys.readouterr().err
    card, weights = sources.card_of("natural"), sources.load("natural").state_dict()
    y = sets.load("glyphs", "test")[1]
    assert (card.n_test["test"], card.commonest["test"]) == (len(y), 100 * max((y == label).mean() for label in range(4)))
    assert card.n_test.keys() == card.commonest.keys() == card.accuracy.keys()
    save_file(weights | {"head.weight": torch.zeros_like(weights["head.weight"])}, glyphs.folder / "brought.safetensors")
    fetched_entry(glyphs, glyphs.folder / "brought.safetensors", files.sha256_of(glyphs.folder / "brought.safetensors"))
    source.main("brought")
    percent, guess = sources.card_of("brought").accuracy["test"], card.commonest["test"]
    said = f"{percent:.1f} % of the test images of glyphs, and one answer to all of them has {guess:.1f} %; results from it count"
    assert f"warning: source@brought: has not learnt its own data: {said}" in capsys.readouterr().err


def test_momentum_is_nesterovs_or_plain_as_the_settings_say(glyphs):
    glyphs.edit("params.yaml", source__epochs=2, source__nesterov=True)
    source.main("natural")
    nesterov = kept_history()
    weights = sources.load("natural").state_dict()
    glyphs.edit("params.yaml", source__nesterov=False)
    shutil.rmtree(cells.folder("source"))
    source.main("natural")
    assert kept_history() != nesterov
    assert not torch.equal(sources.load("natural").head.weight, weights["head.weight"])


def test_what_is_published_of_a_source_stands_on_its_card_and_decides_nothing(glyphs, capsys, monkeypatch):
    source.main("natural")
    assert sources.card_of("natural").published_accuracy is None
    glyphs.edit("models/catalog.yaml", natural__published_accuracy=99.9)
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("trained again"))
    source.main("natural")
    assert sources.card_of("natural").published_accuracy == 99.9
    assert "published: 99.90 %" in capsys.readouterr().err


def test_random_holds_no_weights(workspace):
    source.main("random")
    assert load_file(workspace.folder / "models/sources/random/0.safetensors") == {}
    assert sources.card_of("random").accuracy == {}


def test_the_same_settings_train_once(glyphs, monkeypatch):
    source.main("natural")
    first = (glyphs.folder / "models/sources/natural/0.safetensors").read_bytes()
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("trained again"))
    source.main("natural")
    assert (glyphs.folder / "models/sources/natural/0.safetensors").read_bytes() == first


def test_a_source_of_several_models_has_one_from_each_of_its_first_seeds(glyphs, capfd):
    """Those that are lacking are trained side by side, to what each is when it is trained alone."""
    source.main("natural")
    first = (glyphs.folder / "models/sources/natural/0.safetensors").read_bytes()
    glyphs.edit("params.yaml", source__n_models=2)
    source.main("natural")
    second = (glyphs.folder / "models/sources/natural/1.safetensors").read_bytes()
    cells.discard("source", pretraining.key_of(params.source_entry("natural"), 1, params.section("source")))
    glyphs.edit("params.yaml", source__n_models=3)
    capfd.readouterr()
    source.main("natural")
    assert "source@natural: 100%" in capfd.readouterr().err, "as nothing else shows how far their training is"
    events = [json.loads(line) for path in (glyphs.folder / ".runs").rglob("source*.jsonl") for line in path.read_text().splitlines()]
    losses = {name for event in events if event["event"] == "metrics" for name in event["values"] if name.endswith("loss")}
    assert losses == {"loss", "model1/loss", "model2/loss"}
    assert (glyphs.folder / "models/sources/natural/1.safetensors").read_bytes() == second
    cards = sources.cards_of("natural")
    assert [(card.number, card.seed) for card in cards] == [(0, 0), (1, 1), (2, 2)]
    assert len({card.sha256 for card in cards}) == 3
    assert (glyphs.folder / "models/sources/natural/0.safetensors").read_bytes() == first
    assert source.accuracies(sources.load("natural", 2), "glyphs", None) == cards[2].accuracy
    glyphs.edit("params.yaml", source__n_models=1)
    source.main("natural")
    assert {path.name for path in (glyphs.folder / "models/sources/natural").iterdir()} == {"0.safetensors", "0.json", "cells.json"}


def test_cores_that_the_last_model_leaves_idle_begin_the_next_source(glyphs):
    """No error in that is one of this stage; and when the models of this source are done, nothing more is waited for."""
    glyphs.edit("params.yaml", models=["natural", "l2_eps0_5"], source__n_models=3, source__threads=1, grid__workers=2)
    settings = params.section("source")
    first, *others = pretraining.trainings_of("l2_eps0_5", params.source_entry("l2_eps0_5"), settings)
    folder = cells.path_of("source", first.key, ".safetensors").parent
    folder.mkdir(parents=True, exist_ok=True)
    barred = cells.path_of("source", first.key, ".checkpoint")
    barred.mkdir()  # so that no checkpoint can be written
    source.main("natural")
    assert len(sources.cards_of("natural")) == 3
    assert cells.load("source", first.key) is None
    barred.rmdir()
    cells.discard("source", pretraining.key_of(params.source_entry("natural"), 0, settings))
    source.main("natural")
    assert barred.is_file() or cells.load("source", first.key), "an epoch of it is done, or all"
    assert None in [cells.load("source", training.key) for training in others]
    assert not list(cells.folder("source").rglob("*.lacking"))


def test_a_training_that_stops_for_another_stage_ends_with_the_weights_of_one_that_does_not(glyphs):
    [alone] = pretraining.trainings_of("l2_eps0_5", params.source_entry("l2_eps0_5"), params.section("source"))
    resumable.train(alone, hidden=True)
    expected = cells.tensors("source", alone.key), cells.load("source", alone.key)
    cells.discard("source", alone.key)
    for _ in range(alone.settings.epochs - 1):
        resumable.train(dataclasses.replace(alone, while_exists=glyphs.folder / "gone"), hidden=True)
        assert cells.load("source", alone.key) is None
    resumable.train(alone, hidden=True)
    assert cells.load("source", alone.key) == expected[1]
    assert all(torch.equal(weights, expected[0][name]) for name, weights in cells.tensors("source", alone.key).items())


def test_a_damaged_checkpoint_is_ignored_with_a_warning(glyphs, monkeypatch, capsys):
    monkeypatch.setattr(pretraining, "key_of", lambda entry, seed, settings: "ab" * 32)
    path = cells.path_of("source", "ab" * 32, ".checkpoint")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 no checkpoint")
    source.main("natural")
    assert "a damaged checkpoint" in capsys.readouterr().err


def test_eps_is_held_at_zero_and_then_rises_to_its_radius(glyphs, monkeypatch):
    seen = []
    monkeypatch.setattr(pgd, "make", lambda **settings: seen.append(settings["eps"]))
    entry, settings = params.source_entry("l2_eps0_5"), params.section("source")
    perturbation = pretraining.perturbation_of(entry, settings).model_dump()
    perturb_at = train_source.adversary(entry, settings.attack.model_dump(), perturbation)
    for progress in (0.0, 0.1, 0.3, 0.5, 0.99):
        perturb_at(progress)
    assert seen == pytest.approx([0, 0, 0.25, 0.5, 0.5])


def test_a_learning_rate_that_diverges_is_named(glyphs):
    glyphs.edit("params.yaml", source__lr=1.0e30)
    with pytest.raises(RunError, match=r"params.yaml: source.lr: natural: the loss is nan in epoch 2"):
        source.main("natural")
    assert not (glyphs.folder / "models/sources/natural/0.safetensors").exists()


def test_a_source_is_fetched_from_a_path_and_evaluated(glyphs):
    source.main("natural")
    path = glyphs.folder / "models/sources/natural/0.safetensors"
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
    torch.save({"weights": 3}, path)


def html(path):
    path.write_text("<!DOCTYPE html><html>sign in</html>")


@pytest.mark.parametrize(
    ("damage", "named"), [(truncated, "safetensors"), (flipped, "safetensors"), (pickled, "holds no state dict"), (html, "HTML page")]
)
def test_a_file_that_holds_no_weights_is_refused(damage, named, glyphs):
    network = units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3)
    path = glyphs.folder / "brought.safetensors"
    save_file(network.state_dict(), path)
    damage(path)
    fetched_entry(glyphs, path, files.sha256_of(path))
    with pytest.raises(RunError, match=named):
        source.main("brought")
    assert not (glyphs.folder / "models/sources/brought/0.json").exists()


def test_a_wrong_sha256_a_missing_file_and_a_wrong_architecture_are_named(glyphs):
    path = glyphs.folder / "brought.safetensors"
    save_file(units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).state_dict(), path)
    fetched_entry(glyphs, path, "0" * 64)
    with pytest.raises(RunError, match=rf"{path}: sha256 is .*0000.*models/fetched/brought.safetensors"):
        source.main("brought")
    fetched_entry(glyphs, path, files.sha256_of(path), "resnet18")
    with pytest.raises(
        RunError, match=r"models/catalog.yaml: brought: brought.safetensors is no resnet18 with 4 classes: weights do not fit"
    ):
        source.main("brought")
    fetched_entry(glyphs, glyphs.folder / "nowhere", "1" * 64)
    with pytest.raises(RunError, match="nowhere: no such file"):
        source.main("brought")


def test_a_source_that_is_in_no_catalog_is_named(workspace):
    with pytest.raises(SettingsError, match=r"models/catalog.yaml: 'naturl' is in no entry; .*did you mean 'natural'"):
        source.main("naturl")


FORMATS = {
    "natural.pth": made.torchvision_format,
    "robust.pt": lambda network: made.robustness_format(network, [0.3, 0.4, 0.5], [0.2, 0.25, 0.3]),
    "robust.ckpt": lambda network: made.robustness_format(network, [0.3, 0.4, 0.5], [0.2, 0.25, 0.3], extra="model."),
}


@pytest.mark.parametrize("name", FORMATS)
def test_checkpoints_over_http_become_sources_with_their_own_normaliser(name, glyphs, capsys):
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    with served.Server({}) as server:
        [file] = server.listed({name: FORMATS[name](theirs)})
        entry = {"kind": "fetched", "architecture": "resnet18", "dataset": "glyphs", "threat": {"norm": "l2", "eps": 3}, "classes": 4,
                 "file": file, "published_accuracy": 100.0} | ({} if "robust" in name else {"mean": [0.5] * 3, "std": [0.25] * 3})  # fmt: skip
        glyphs.edit("models/catalog.yaml", brought=entry)
        source.main("brought")
        source.main("brought")
        assert len(server.asked_for(name)) == 1, "the file stays where it is"
    mean, std = ([0.3, 0.4, 0.5], [0.2, 0.25, 0.3]) if "robust" in name else ([0.5] * 3, [0.25] * 3)
    card = sources.card_of("brought")
    assert card.mean == pytest.approx(mean)
    assert card.file_sha256 == files.sha256_of(glyphs.folder / "models/fetched" / name)
    assert card.published_accuracy == 100
    assert card.threat.perturbation is None
    assert (
        f"warning: source@brought: {card.accuracy['test']:.2f} % on the test split of glyphs; published: 100.00 %"
        in capsys.readouterr().err
    )
    x = torch.rand(2, 3, 32, 32)
    expected = theirs((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
    torch.testing.assert_close(sources.load("brought")(x), expected, atol=1e-4, rtol=1e-4)


def test_a_file_put_there_by_hand_is_taken_without_a_network(glyphs):
    content = made.robustness_format(small_resnet.published("small_resnet", 4), [0.5] * 3, [0.25] * 3)
    (glyphs.folder / "models/fetched").mkdir()
    (glyphs.folder / "models/fetched/w.ckpt").write_bytes(content)
    fetched_entry(glyphs, glyphs.folder / "w.ckpt", hashlib.sha256(content).hexdigest())
    glyphs.edit("models/catalog.yaml", brought__file__mirrors=["http://127.0.0.1:9/w.ckpt"])
    source.main("brought")
    assert sources.card_of("brought").file_sha256 == hashlib.sha256(content).hexdigest()


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(glyphs):
    created, path = glyphs.folder / "created", glyphs.folder / "evil.ckpt"
    path.write_bytes(made.malicious(created))
    fetched_entry(glyphs, path, files.sha256_of(path))
    with pytest.raises(RunError, match="needs code to be read"):
        source.main("brought")
    assert not created.exists()


def test_a_file_without_a_normaliser_needs_one_in_the_catalog(glyphs):
    path = glyphs.folder / "plain.pth"
    path.write_bytes(made.torchvision_format(small_resnet.published("small_resnet", 4)))
    fetched_entry(glyphs, path, files.sha256_of(path))
    glyphs.edit("models/catalog.yaml", brought__mean=None)
    with pytest.raises(RunError, match=r"models/catalog.yaml: brought: its file holds no mean and std .*; give `mean` and `std`"):
        source.main("brought")


@pytest.mark.parametrize(("name", "said"), [("pgd1_l2_eps0_5", "PGD(1)"), ("gaussian_l2_eps0_5", "Gaussian"), ("l2_eps0_5", "PGD(3)")])
def test_the_card_says_how_the_images_were_perturbed(name, said, glyphs, monkeypatch):
    made_with = []
    for kind, module in {"pgd": pgd, "gaussian": gaussian}.items():
        original = module.make
        monkeypatch.setattr(module, "make", lambda kind=kind, original=original, **how: made_with.append((kind, how)) or original(**how))
    source.main(name)
    assert sources.card_of(name).threat.perturbation == said
    kind, how = made_with[-1]
    assert kind == ("gaussian" if said == "Gaussian" else "pgd")
    assert how["eps"] == pytest.approx(0.5)
    assert how.get("steps") == {"PGD(1)": 1, "PGD(3)": 3}.get(said)


def kept_history() -> list[dict]:
    [kept] = cells.folder("source").rglob("*.json")
    return json.loads(kept.read_text())["result"]["history"]


def two_processes(glyphs) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """The stage in the middle of its training, after an epoch of its own, and the processes that train."""
    before = checkpoints()
    running = subprocess.Popen([sys.executable, "-m", "stages.source", "natural"], cwd=glyphs.folder, start_new_session=True, text=True,
                               env=glyphs.environment | {"DVC_ROOT": str(glyphs.folder)}, stderr=subprocess.PIPE)  # fmt: skip
    deadline = time.monotonic() + 90
    while checkpoints() == before and time.monotonic() < deadline:
        time.sleep(0.02)
    training_ones = [p for p in psutil.Process(running.pid).children(recursive=True) if "RANK" in p.environ()]
    assert len(training_ones) == 2
    return running, training_ones


def checkpoints() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cells.folder("source").rglob("*.checkpoint")}


def addresses_listened_on(pid: int) -> set[str]:
    """By a process and all that it has started."""
    started = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return {found.laddr.ip for process in started for found in process.net_connections("inet") if found.status == psutil.CONN_LISTEN}


def test_of_two_processes_one_that_ends_ends_the_other_in_one_line_and_they_go_on(glyphs):
    glyphs.edit("params.yaml", source__processes=2, source__epochs=2000)
    running, training_ones = two_processes(glyphs)
    assert addresses_listened_on(running.pid) == {"127.0.0.1"}, "no other machine reaches them"
    training_ones[1].kill()
    error = running.communicate(timeout=60)[1]
    assert running.returncode == 1
    assert "error: one of the 2 processes of `stages.source natural 0` failed: process 1 was ended by signal 9" in error
    assert "Root Cause" not in error
    assert psutil.wait_procs(training_ones, timeout=20)[1] == []

    running, training_ones = two_processes(glyphs)
    running.kill()
    assert "goes on after epoch" in running.communicate(timeout=60)[1]
    assert psutil.wait_procs(training_ones, timeout=20)[1] == [], "they would go on training for nobody"
    assert not list(cells.folder("source").rglob("*.json")), "killed before the last epoch"


def test_more_processes_than_images_in_a_batch_or_gpus_are_refused(glyphs, monkeypatch):
    glyphs.edit("params.yaml", source__processes=33)
    with pytest.raises(RunError, match=r"params.yaml: source.batch_size is 32; allowed: an integer from 33, the number of processes"):
        source.main("natural")
    monkeypatch.setattr(machine, "gpus", lambda: 2)
    with pytest.raises(RunError, match=r"params.yaml: source.processes is 33; allowed: 1 to 2 \(the GPUs .*\), or gpus"):
        source.main("natural")


def test_weights_that_were_changed_after_the_card_are_refused(glyphs):
    source.main("natural")
    path = glyphs.folder / "models/sources/natural/0.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RunError, match="its sha256 is not that of its card"):
        sources.load("natural")


@pytest.mark.parametrize("asked", [1, 2])
def test_a_training_has_as_many_threads_as_it_is_asked_for_whatever_the_machine_has(glyphs, monkeypatch, asked):
    """Sums of other threads are rounded otherwise, and after some steps the weights are another model's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    glyphs.edit("params.yaml", source__threads=asked, source__epochs=1)
    had, seen = [], []
    train = loop.train
    monkeypatch.setattr(loop, "train", lambda *args, **how: (seen.append(torch.get_num_threads()), train(*args, **how)))
    for threads in (1, 3):
        with devices.threads(torch.device("cpu"), threads):
            source.main("natural")
            had.append((torch.get_num_threads(), (glyphs.folder / "models/sources/natural/0.safetensors").read_bytes()))
        cells.discard("source", pretraining.key_of(params.source_entry("natural"), 0, params.section("source")))
    assert seen == [asked, asked]
    assert [threads for threads, _ in had] == [1, 3]
    assert had[0][1] == had[1][1]


def test_threads_are_in_the_key_of_a_training_and_fewer_trainings_with_more_are_done_at_once(glyphs, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    keys = set()
    for threads in (1, 2):
        glyphs.edit("params.yaml", source__threads=threads)
        keys.add(pretraining.key_of(params.source_entry("natural"), 0, params.section("source")))
    assert len(keys) == 2
    assert [pretraining.side_by_side(5, threads) for threads in (1, 2, 5, 8)] == [5, 2, 1, 1]
