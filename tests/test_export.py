"""The best model of each target to take home, and what any model says of a folder of images."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from stages import export, finetune, plan, predict
from stages.lib.datasets import catalog, sets
from stages.lib.errors import RunError
from stages.lib.models import card, classifier, kept
from stages.lib.runs import counts
from stages.lib.runs.attacked import networks_of
from stages.lib.runs.work.attacked import network_of
from stages.lib.store import tables
from stages.studies import registry


def rank(*settings: tuple[str, str]) -> None:
    export.RANKING.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(settings, columns=["source", "blocks"]).assign(target="digits").to_csv(export.RANKING, index=False)


@pytest.fixture
def exported(runs_ready):
    """With the best model; what is ranked before it has kept no weights here."""
    rank(("random", "all"), ("l2_eps0_5", "0"), ("l2_eps0_5", "1"), ("natural", "1"))
    export.main()
    return runs_ready


def digits(folder: Path) -> np.ndarray:
    """The test images of digits as they were published, as PNG files of which the last ones are in colour; returns their labels."""
    entry = catalog.dataset_entry("digits")
    [_, (_, x, y)] = entry.read("digits", 16)
    folder.mkdir()
    for i, image in enumerate(x):
        picture = Image.fromarray(image[..., 0])
        (picture if i < 700 else picture.convert("RGB")).save(folder / f"{i:04d}.png")
    return y


def predictions(capsys) -> list[dict[str, str]]:
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


def test_png_files_of_the_test_images_are_labelled_as_the_table_of_results_says(exported, capsys):
    labels = digits(Path("images"))
    Path("images/notes.txt").write_text("no image")
    predict.main("digits", "images")
    said = capsys.readouterr()
    assert "set aside: images/notes.txt: not an image" in said.err
    found = list(csv.DictReader(said.out.splitlines()))
    assert [row["file"] for row in found] == [f"{i:04d}.png" for i in range(len(labels))]
    runs = pd.read_parquet(tables.finetuned("l2_eps0_5") / "runs.parquet")
    run = runs[(runs["blocks"] == "1") & (runs["n_images"] == 40)].groupby("seed").last().iloc[0]
    assert 100 * np.mean([row["label"] == str(y) for row, y in zip(found, labels, strict=True)]) == pytest.approx(run["test_accuracy"])
    assert card.read(kept.BEST / "digits").test_accuracy == run["test_accuracy"]


def test_a_folder_that_was_taken_home_holds_the_network_that_was_attacked(exported, tmp_path):
    home = tmp_path / "elsewhere"
    shutil.copytree(kept.BEST / "digits", home)
    [attacked] = [network for network in networks_of("l2_eps0_5") if network.kind == "finetuned"]
    wanted, found = network_of(attacked).state_dict(), classifier.load(home).model.trained.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    x, _ = sets.load("digits", "test")
    assert classifier.load(home).labels(x[:5]) == classifier._load_pyfunc(str(home)).classifier.labels(x[:5])
    (home / card.WEIGHTS).write_bytes((home / card.WEIGHTS).read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match=r"its sha256 is not that of its card"):
        classifier.load(home)


@pytest.mark.parametrize("name", ["natural", "natural/digits/1_40_20000000", "models/best/digits"])
def test_every_model_has_a_name(exported, name, capsys):
    Path("images").mkdir()
    Image.new("P", (40, 20)).save("images/a.gif")
    predict.main(name, "images")
    [row] = predictions(capsys)
    assert row["label"] in ("ABCD" if name == "natural" else "0123456789")
    assert 0 < float(row["probability"]) <= 1


def test_what_cannot_be_predicted_is_one_line(exported):
    Path("empty").mkdir()
    Path("text").mkdir()
    Path("text/a.png").write_text("no image")
    cases = [
        ("digit", "text", r"digit: no such model; allowed: a folder with card.json, or digits, .*did you mean 'digits'"),
        ("random", "text", r"random: has no weights"),
        ("digits", "absent", r"absent: no such folder"),
        ("digits", "empty", r"empty: holds no file"),
        ("digits", "text", r"text: none of its 1 files is an image"),
        ("broken", "text", r"broken/card.json: no card of a model"),
    ]
    Path("broken").mkdir()
    Path("broken/card.json").write_text("{}")
    for model, folder, said in cases:
        with pytest.raises(RunError, match=said):
            predict.main(model, folder)
    x = np.zeros((1, 8, 9, 1), np.uint8)
    with pytest.raises(ValueError, match=r"images are uint8 \[1, 8, 9, 1\]; allowed: uint8 \[n, side, side, 1\]"):
        classifier.load(kept.BEST / "digits").labels(x)


def test_the_first_setting_with_a_kept_model_is_chosen_from_most_images_and_the_first_seed(exported):
    [model] = kept.kept_of("natural", "digits")
    for name in ("0_40_20000000", "1_20_20000000", "1_40_20100000", "all_40_20000000"):
        shutil.copy(model.path, model.path.with_name(f"{name}.safetensors"))
    for settings, best in (
        ([("natural", "3"), ("natural", "1"), ("natural", "0")], model),
        ([("random", "all"), ("natural", "all"), ("natural", "1")], kept.Kept("natural", "digits", "all", 40, 20000000)),
        ([("random", "all")], None),
    ):
        assert export.best_of("digits", settings) == best


def test_what_ranks_first_is_kept_of_one_seed_and_taken_home_though_it_is_not_attacked(runs_ready, capsys):
    rank(("natural", "0"), ("natural", "1"))
    export.main()
    assert card.read(kept.BEST / "digits").blocks == "1"
    assert "warning: export: digits: 0 blocks of natural rank first and have kept no weights; finetune.keep" in capsys.readouterr().err
    before = networks_of("natural"), attacks_of("natural")
    runs_ready.edit("params.yaml", finetune__keep__unattacked=[0], finetune__keep__n_seeds=2)
    finetune.main("natural")
    assert [model.name for model in kept.kept_of("natural")] == [
        f"natural/digits/{blocks}_40_{seed}" for blocks, seed in (("0", 20000000), ("1", 20000000), ("1", 20100000))
    ]
    attacked = networks_of("natural"), attacks_of("natural")
    assert [network.blocks for network in attacked[0]] == [*(network.blocks for network in before[0]), "1"], "the second seed of 1 block"
    assert attacked[1] == before[1] + 2, "within two norms, and no further check, as plan counts"
    export.main()
    assert card.read(kept.BEST / "digits").blocks == "0"
    assert "warning" not in capsys.readouterr().err


def attacks_of(source: str) -> int:
    """How many attacks and checks `plan` counts."""
    settings = registry.load_params()
    kept_runs = [cell for _, cell in plan.pair_of(settings, source, "digits").with_weights]
    return counts.attacks(settings, kept_runs)[0]


def test_without_kept_weights_there_is_a_line_and_no_model(exported, capsys):
    (kept.BEST / "gone").mkdir()
    rank(("random", "all"))
    export.main()
    assert "export: digits: no run has kept its weights" in capsys.readouterr().err
    assert list(kept.BEST.iterdir()) == []
