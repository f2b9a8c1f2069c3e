"""What a GPU computes, against what the processor computes: every stage, in float32 and in bfloat16. `make gpu` runs these tests.

Networks are trained, so that differences of rounding grow from step to step. What has to be equal is the draw of images, subsets and
weights, and all numbers but for that; two processors differ by as much.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from experiments import turn_on
from repository import ROOT, Repository, write_settings
from safetensors.numpy import load_file

pytestmark = pytest.mark.gpu

EXPERIMENTS = ("retrain", "train_heads", "harden", "learn_without_forgetting")
POINTS = {"float32": 2.0, "bfloat16": 4.0}  # by which mean accuracies may differ
WEIGHTS = {"float32": 0.02, "bfloat16": 0.1}  # by which weights may, relative to their length
SCRIPT = """
from pathlib import Path
import torch
from inprocess import run_all
from repository import Repository
from stages.lib.networks import devices
print("computed on", devices.best_device().type)
devices.lower_precision = lambda device, precision: torch.bfloat16 if precision is True else None
run_all(Repository(Path.cwd()))
"""
"""Where sources are trained in bfloat16, the processor does so, too, which it does not by itself: in float32 they are other sources, from
which the mean loss of the fine-tuning below differs by 3 to 7 percent."""


@pytest.fixture(scope="module", params=POINTS)
def both(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """The miniature with all experiments, computed on the processor and on the GPU; with the name of the precision."""
    places, paths = [], [*filter(None, [os.environ.get("PYTHONPATH")])]
    for place, environment in (("processor", {"CUDA_VISIBLE_DEVICES": ""}), ("gpu", {})):
        folder = tmp_path_factory.mktemp(place)
        write_settings(folder)
        repository = Repository(folder)
        turn_on(repository, *EXPERIMENTS)
        mixed = request.param == "bfloat16"
        repository.edit("params.yaml", source__mixed_precision=mixed, finetune__mixed_precision=mixed, grid__per_gpu=2)
        places.append((folder, environment))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *paths])} | environment,
        )
        for folder, environment in places
    ]  # fmt: skip
    for process, device in zip(running, ("cpu", "cuda"), strict=True):
        said, _ = process.communicate()
        assert process.returncode == 0, said[-3000:]
        assert f"computed on {device}" in said, "else the processor would be compared with itself"
    return request.param, *(folder for folder, _ in places)


def tables(folder: Path, pattern: str) -> pd.DataFrame:
    """The tables of a kind, of all sources, one below the other."""
    paths = sorted(folder.glob(pattern))
    assert paths, f"{pattern}: no such table"
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def test_images_and_subsets_are_the_same_to_the_last_bit(both):
    _, processor, gpu = both
    for path in [*processor.glob("data/images/*/*.npy"), *processor.glob("data/subsets/*.npz")]:
        assert (gpu / path.relative_to(processor)).read_bytes() == path.read_bytes(), path


def test_sources_begin_alike_and_are_trained_to_nearly_the_same_weights(both):
    precision, processor, gpu = both
    trained = [path for path in sorted(processor.glob("models/sources/*/0.safetensors")) if load_file(path)]  # of `random` there is none
    assert trained
    for path in trained:
        here, there = load_file(path), load_file(gpu / path.relative_to(processor))
        flat = [np.concatenate([weights[name].ravel().astype(float) for name in sorted(here)]) for weights in (here, there)]
        assert np.linalg.norm(flat[0] - flat[1]) <= WEIGHTS[precision] * np.linalg.norm(flat[0]), path


def test_fine_tuning_learns_as_much(both):
    precision, processor, gpu = both
    here, there = (tables(folder, "models/finetuned/*/runs.parquet") for folder in (processor, gpu))
    same = ["source", "target", "blocks", "n_images", "seed", "epoch"]
    pd.testing.assert_frame_equal(here[same], there[same])
    for measure in ("test_accuracy", "train_accuracy"):
        assert here[measure].mean() == pytest.approx(there[measure].mean(), abs=POINTS[precision]), measure
    assert here["train_loss"].mean() == pytest.approx(there["train_loss"].mean(), rel=0.05)
    assert not there["diverged"].any()


def test_attacks_find_as_much(both):
    precision, processor, gpu = both
    here, there = (tables(folder, "models/robustness/*/images.parquet") for folder in (processor, gpu))
    assert len(here) == len(there)
    assert 100 * here["correct"].mean() == pytest.approx(100 * there["correct"].mean(), abs=POINTS[precision])


def test_experiments_give_as_much(both):
    precision, processor, gpu = both
    here, there = (tables(folder, "models/results/*/runs.parquet") for folder in (processor, gpu))
    same = [column for column in here.columns if column not in ("value", "cell")]  # the key holds the hash of the source's weights
    pd.testing.assert_frame_equal(here[same], there[same])
    percent = here["measure"].isin(["clean", "pgd20", "cw20", "train"])
    assert here["value"][percent].mean() == pytest.approx(there["value"][percent].mean(), abs=POINTS[precision])


@pytest.mark.parametrize("path", ["reports/report.html", "reports/answer.txt", "reports/metrics.json"])
def test_the_report_is_written(both, path):
    for folder in both[1:]:
        assert (folder / path).stat().st_size > 0
