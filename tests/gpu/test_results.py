"""What a GPU computes, against what the processor computes: every stage, in float32 and in bfloat16. `make gpu` runs these tests.

Sources are compared by themselves; whatever follows takes the processor's sources on both sides. Training multiplies differences of
rounding from step to step: on one processor alone, float32 and bfloat16 give sources of this size from which the mean loss of
fine-tuning differs by 7 percent, while from the same sources it differs by 0.3.
"""

import os
import shutil
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
LOSSES = {"float32": 0.01, "bfloat16": 0.02}  # by which the mean loss in training may, relative to it
OWN = "models/sources-of-its-own"
SOURCES = ("check", "download", "upscale", "draw_subsets", "source")
SCRIPT = """
import sys
from pathlib import Path
from inprocess import run_all
from repository import Repository
from stages.lib.networks.devices import best_device
print("computed on", best_device().type)
run_all(Repository(Path.cwd()), but=tuple(sys.argv[1:]))
"""


@pytest.fixture(scope="module", params=POINTS)
def both(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """The miniature with all experiments, computed on the processor and on the GPU; with the name of the precision.

    The sources that the GPU trained are in the folder OWN of its repository; those of the processor have taken their place.
    """
    folders = []
    for place in ("processor", "gpu"):
        folders.append(tmp_path_factory.mktemp(place))
        write_settings(folders[-1])
        repository = Repository(folders[-1])
        turn_on(repository, *EXPERIMENTS)
        mixed = request.param == "bfloat16"
        repository.edit("params.yaml", source__mixed_precision=mixed, finetune__mixed_precision=mixed, grid__per_gpu=2)
    processor, gpu = folders
    run_side_by_side(processor, gpu, "finetune", "evaluate_robustness", "experiment", "report", "export", "track")
    (gpu / "models/sources").rename(gpu / OWN)
    shutil.copytree(processor / "models/sources", gpu / "models/sources")
    run_side_by_side(processor, gpu, *SOURCES, "track")
    return request.param, processor, gpu


def run_side_by_side(processor: Path, gpu: Path, *but: str) -> None:
    """Run all stages but these in one folder without the GPU, and with it in the other."""
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *but], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        )
        for folder, environment in ((processor, {"CUDA_VISIBLE_DEVICES": ""}), (gpu, {}))
    ]  # fmt: skip
    for process, device in zip(running, ("cpu", "cuda"), strict=True):
        said, _ = process.communicate()
        assert process.returncode == 0, said[-3000:]
        assert f"computed on {device}" in said, "else the processor would be compared with itself"


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
        here, there = load_file(path), load_file(gpu / OWN / path.relative_to(processor / "models/sources"))
        flat = [np.concatenate([weights[name].ravel().astype(float) for name in sorted(here)]) for weights in (here, there)]
        assert np.linalg.norm(flat[0] - flat[1]) <= WEIGHTS[precision] * np.linalg.norm(flat[0]), path


def test_fine_tuning_learns_as_much(both):
    precision, processor, gpu = both
    here, there = (tables(folder, "models/finetuned/*/runs.parquet") for folder in (processor, gpu))
    same = ["source", "target", "blocks", "n_images", "seed", "epoch"]
    pd.testing.assert_frame_equal(here[same], there[same])
    for measure in ("test_accuracy", "train_accuracy"):
        assert here[measure].mean() == pytest.approx(there[measure].mean(), abs=POINTS[precision]), measure
    assert here["train_loss"].mean() == pytest.approx(there["train_loss"].mean(), rel=LOSSES[precision])
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
