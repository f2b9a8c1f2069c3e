"""The pipeline's repository in a folder of its own, shrunk, and the commands that run in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.lib.settings import params
from stages.lib.store import journal

ROOT = Path(__file__).resolve().parents[1]
GLYPHS = {"classes": 4, "train": 64, "test": 32, "size": 16}
MINIATURE = {
    "datasets": ["glyphs", "digits"],
    "models": ["natural", "l2_eps0_5", "random"],
    "sources": ["natural", "l2_eps0_5", "random"],
    "targets": ["digits"],
    "blocks": [0, 1],
    "upscale": {"image_size": 16},
    "draw_subsets": {"n_images": [20, 40], "n_seeds": 2},
    "source": {"epochs": 2, "batch_size": 32, "threads": 1},
    "finetune": {"epochs": 2, "eval_every": 1, "keep": {"blocks": [1, "all"], "n_images": [40], "n_seeds": 1, "unattacked": []}},
    "evaluate_robustness": {
        "max_images": 16,
        "attacks": {"apgd_ce_t_pgd": {"steps": 2, "targets": 1, "restarts": 1}},
        "check_images": 4,
        "l2": [0.5],
        "linf": [0.03],
    },
    "grid": {"workers": 1},
    "report": {"headline": {"n_images": 20, "blocks": 1}, "utrera2021": {"epochs_at": [20]}},
}


def loaded(text: str) -> Any:
    """YAML by libyaml, where that is there: the catalogs take a tenth of a second without it."""
    return yaml.load(text, params.SafeLoader)


def dumped(content: object) -> str:
    return yaml.dump(content, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


class Repository:
    """A folder with the pipeline, and commands that run in it as a person would run them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_"))}
        self.environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",  # an installed copy may be of another working tree
            "OMP_NUM_THREADS": "1",
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.invalid", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.invalid",
        }  # fmt: skip

    def run(self, *command: str, ok: bool = True, **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(command, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, check=False)
        if ok and done.returncode:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done

    def dvc(self, *arguments: str, ok: bool = True, **environment: str) -> subprocess.CompletedProcess:
        return self.run("dvc", *arguments, ok=ok, **environment)

    def stage(self, *arguments: str, ok: bool = True, **environment: str) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:], ok=ok, **environment)

    def repro(self, *arguments: str) -> list[str]:
        """The stages that `dvc repro` ran."""
        return ran(self.dvc("repro", *arguments).stdout)

    def edit(self, path: str, **changes: object) -> None:
        """Change nested keys of a YAML file; keys with dots go down."""
        content = loaded((self.folder / path).read_text())
        for key, value in changes.items():
            *above, last = key.split("__")
            place = content
            for part in above:
                place = place[part]
            place[last] = value
        (self.folder / path).write_text(dumped(content))

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def text(self, path: str) -> str:
        return (self.folder / path).read_text()


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage ")]


def merge(into: dict, changes: dict) -> dict:
    return into | {k: merge(into[k], v) if isinstance(v, dict) else v for k, v in changes.items()}


def new_repository(folder: Path) -> Repository:
    """The pipeline as it is checked out here, shrunk, committed, with nothing computed."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name.startswith(("tests/", "benchmarks/", "reports/report.html", "reports/plots", "reports/metrics", "dvc.lock")):
            continue
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    write_settings(folder)
    repository = Repository(folder)
    repository.run("git", "init", "-q", "-b", "main")
    repository.commit("the pipeline, shrunk")
    return repository


def write_settings(folder: Path) -> None:
    """The shrunk settings and the catalogs."""
    for name, text in shrunk().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@cache
def shrunk() -> dict[str, str]:
    """params.yaml and the catalogs, as text; hundreds of tests write them."""
    settings, sets = (loaded((ROOT / path).read_text()) for path in ("profiles/base.yaml", "data/catalog.yaml"))
    texts = {"params.yaml": dumped(merge(settings, MINIATURE)), "data/catalog.yaml": dumped(merge(sets, {"glyphs": GLYPHS}))}
    return texts | {"models/catalog.yaml": (ROOT / "models/catalog.yaml").read_text()}


def settle(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a folder the current one and its own store, for stages that run inside the test's process."""
    patch.chdir(folder)
    patch.setenv("DVC_ROOT", str(folder))
    patch.setattr(journal, "LIVE_AFTER_S", 1e6)  # followers are tested where a stage is a process of its own
    patch.delenv("DVC_EXP_NAME", raising=False)
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)


@contextmanager
def current(folder: Path) -> Iterator[Repository]:
    """The folder as the current one while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        settle(folder, patch)
        yield Repository(folder)
