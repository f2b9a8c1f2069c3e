"""Photographs that are stored whole, through the stages: training sees what is beyond the central square, and tests do not."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from repository import dumped, loaded

from stages import download, draw_subsets, evaluate_robustness, finetune, source, upscale
from stages.lib.datasets.sets import load
from stages.lib.datasets.whole import Whole
from stages.lib.runs import pretraining
from stages.lib.settings import params
from stages.lib.store import cells, files


@pytest.fixture
def ends(workspace):
    """Images of 3 to 1 whose class is the colour of their ends, around a middle that is the same in all of them."""
    for split, n in (("train", 40), ("test", 10)):
        for label, colour in enumerate(((200, 60, 60), (60, 60, 200))):
            pixels = np.random.default_rng(0).integers(0, 256, (20, 60, 3), np.uint8)
            pixels[:, :20] = pixels[:, 40:] = colour
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            for number in range(n):
                files.write_bytes(workspace.folder / f"data/ends/{split}/{label}/{number}.png", file.getvalue())
    catalog = loaded(workspace.text("data/catalog.yaml"))
    catalog["ends"] = {"kind": "folder", "path": "data/ends", "crop": 0.8}
    (workspace.folder / "data/catalog.yaml").write_text(dumped(catalog))
    workspace.edit("models/catalog.yaml", natural__dataset="ends")
    workspace.edit("params.yaml", datasets=["ends"], targets=["ends"], models=["natural"], sources=["natural"], source__dataset="ends",
                   source__augmentation="resized_crop", source__epochs=6, source__batch_size=16, upscale={"image_size": 16, "store": "whole"})  # fmt: skip
    return workspace


def train_accuracy(ends, store: str) -> float:
    """Percent, in the last epoch of a source that is trained on random parts of the images."""
    ends.edit("params.yaml", upscale__store=store)
    download.main("ends")
    upscale.main("ends")
    source.main("natural")
    (training,) = pretraining.trainings_of("natural", params.source_entry("natural"), params.section("source"))
    return cells.load("source", training.key)["history"][-1]["train_accuracy"]


def test_a_source_learns_from_random_parts_what_the_central_square_does_not_show(ends):
    """A part shows an end in most cases; where it does not, half of the answers are right."""
    assert train_accuracy(ends, "whole") > 75
    assert train_accuracy(ends, "upscaled") < 65  # of 80 images that all look alike: 50, and 15 for the order in which they come


def test_whole_images_are_fine_tuned_on_and_attacked_by_their_central_square(ends):
    """All squares look alike, so that exactly one class is right."""
    download.main("ends")
    upscale.main("ends")
    assert isinstance(load("ends", "train")[0], Whole)
    few = {
        "draw_subsets": {"n_images": [20], "n_seeds": 1},
        "evaluate_robustness": {"linf": [], "check_images": 0},
        "source": {"epochs": 1},
    }
    changes = {f"{section}__{key}": value for section, values in few.items() for key, value in values.items()}
    ends.edit("params.yaml", blocks=1, finetune__keep={"blocks": [1], "n_images": [20], "n_seeds": 1}, **changes)
    source.main("natural")
    draw_subsets.main("ends")
    finetune.main("natural")
    evaluate_robustness.main("natural")
    runs = pd.read_parquet("models/finetuned/natural/runs.parquet")
    assert set(runs.test_accuracy) == {50.0}
    robust = pd.read_parquet("models/robustness/natural/robustness.parquet")
    assert robust.accuracy.max() == 50.0
