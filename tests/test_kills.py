"""Whatever is killed at whatever moment, the table is the same to the byte. KILLS=5 in the environment does it twenty times, half of them with Ray."""

import os
import random
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest
from repository import Repository, current

from stages import draw_subsets, finetune

KILLS = int(os.environ.get("KILLS", "1"))
TABLE = "models/finetuned/natural/runs.parquet"
STAGE = [sys.executable, "-m", "stages.finetune", "natural"]


@pytest.fixture(scope="module")
def computed(finished, tmp_path_factory) -> Repository:
    """The miniature with more seeds, whose runs processes of this machine have computed undisturbed."""
    folder = tmp_path_factory.mktemp("computed") / "copy"
    shutil.copytree(finished.folder, folder, symlinks=True)
    repository = Repository(folder)
    repository.edit("params.yaml", draw_subsets__n_seeds=6, grid__workers=2)
    with current(folder):
        draw_subsets.main("digits")
        finetune.main("natural")
    return repository


def started(repository: Repository) -> psutil.Popen:
    with open(repository.folder / "stage.log", "w") as log:
        return psutil.Popen(STAGE, cwd=repository.folder, env=repository.environment, stdout=log, stderr=log)


def kill(stage: psutil.Popen, victim: str, moments: random.Random) -> None:
    """A process of the stage, or the stage itself, some time after its processes are there."""
    while stage.poll() is None and len(stage.children(recursive=True)) < 3:
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 3))
    try:
        processes = stage.children(recursive=True) if victim == "process" else [stage]
        moments.choice(processes).kill()
    except (IndexError, psutil.NoSuchProcess):
        pass  # it was faster


@pytest.mark.parametrize("executor", ["local"] if KILLS == 1 else ["local", "ray"])
def test_a_grid_that_something_of_is_killed_ends_with_the_same_table(executor, computed, tmp_path):
    """With Ray as with processes of this machine: both begin with runs that these have computed, and end with their table.

    That Ray survives the end of processes of its own, tests/lib/workers/test_cluster.py shows with a whole node of them.
    """
    folder = tmp_path / "copy"
    shutil.copytree(computed.folder, folder, symlinks=True)
    copy = Repository(folder)
    copy.edit("params.yaml", grid__executor=executor)
    expected = (folder / TABLE).read_bytes()
    moments = random.Random(executor)
    for victim in ["process", "stage"] * KILLS:
        for path in sorted((folder / ".cells/finetune").rglob("*.json")):
            if moments.random() < 0.7:
                Path(path).unlink()
        (folder / TABLE).unlink()
        stage = started(copy)
        kill(stage, victim, moments)
        stage.wait(120)
        if stage.returncode:
            said = (folder / "stage.log").read_text()
            assert victim == "stage" or executor == "ray", said  # Ray's own processes are the stage's as well
            copy.stage("finetune", "natural")
        assert (folder / TABLE).read_bytes() == expected
