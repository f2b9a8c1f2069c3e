"""A job of the grid on random images, for the tests of what plans and computes its cells."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.datasets import sets
from stages.lib.networks import units
from stages.lib.runs.grid import Cell, Plan
from stages.lib.runs.jobs import Batch, Job, Request
from stages.lib.settings.sections import GridSettings
from stages.lib.store import files

LOCAL = GridSettings(executor="local", address=None, workers=None, per_gpu=1, cache_gib=1.0)
TRAINING = {"batch_size": 16, "momentum": 0.9, "weight_decay": 5e-4, "frozen_batchnorm": "source"}


def three_epochs(n_images: int) -> tuple[int, int]:
    return 3, 1


SUBSETS = {"20_1": np.arange(20), "20_2": np.arange(20, 40), "30_1": np.arange(30)}
MANY = {f"16_{seed}": np.random.RandomState(seed).choice(40, 16, replace=False) for seed in range(7)}


def make_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job on 60 random images, with a source of random weights."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    rng = np.random.default_rng(0)
    hashes = tuple(
        sets.save(sets.IMAGES / "noise", split, rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8), np.arange(n) % 4)
        for split, n in (("train", 40), ("test", 20))
    )
    torch.manual_seed(0)
    files.write_tensors(folder / "source.safetensors", units.build("small_resnet", 7, [0.5] * 3, [0.25] * 3).state_dict())
    return Job(
        "src",
        "noise",
        "small_resnet",
        4,
        "default",
        TRAINING,
        16,
        None,
        "none",
        False,
        None,
        files.sha256_of(folder / "source.safetensors"),
        str(folder / "source.safetensors"),
        hashes,
        rates=(0.05,),
    )


def plan(job: Job, planned: list[Cell], drawn: dict[str, np.ndarray], keep: list[Cell] = ()) -> Plan:
    return Plan(job, planned, drawn, list(keep))


def batch(job: Job, members: list[Cell], drawn: dict[str, np.ndarray], stored: dict | None = None) -> Batch:
    return Batch(job, [Request(cell, drawn[cell.subset]) for cell in members], stored or {})
