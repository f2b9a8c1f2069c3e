"""Whatever is killed at whatever moment, the table is the same to the byte. KILLS=5 in the environment does it twenty times."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from repository import Repository

KILLS = int(os.environ.get("KILLS", "1"))
TABLE = "models/finetuned/natural/runs.parquet"
STAGE = [sys.executable, "-m", "stages.finetune", "natural"]


def started(repository: Repository) -> psutil.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return psutil.Popen(STAGE, cwd=repository.folder, env=repository.environment, **quiet)


def kill(stage: psutil.Popen, victim: str, moments: random.Random) -> None:
    """A process of the stage, or the stage itself, some time after its processes are there."""
    while stage.poll() is None and len(stage.children(recursive=True)) < 3:
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 3))
    try:
        found = stage.children(recursive=True) if victim == "process" else [stage]
        moments.choice(found).kill()
    except (IndexError, psutil.NoSuchProcess):
        pass  # it was faster


@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("victim", ["process", "stage"])
def test_a_grid_that_something_of_is_killed_ends_with_the_same_table(executor, victim, copy):
    copy.edit("params.yaml", draw_subsets__n_seeds=6, grid__executor=executor)
    copy.stage("draw_subsets", "digits")
    copy.stage("finetune", "natural")
    expected = (copy.folder / TABLE).read_bytes()
    moments = random.Random(f"{executor} {victim}")
    for _ in range(KILLS):
        for path in sorted((copy.folder / ".cells/finetune").rglob("*.json")):
            if moments.random() < 0.7:
                Path(path).unlink()
        (copy.folder / TABLE).unlink()
        stage = started(copy)
        kill(stage, victim, moments)
        stage.wait(120)
        if stage.returncode:
            assert victim == "stage" or executor == "ray"  # Ray's own processes are the stage's as well
            copy.stage("finetune", "natural")
        assert (copy.folder / TABLE).read_bytes() == expected
