"""A miniature of the pipeline in a Git and DVC repository of its own: the real stages on tiny sets."""

import fcntl
import shutil

import processes
import pytest
import torch
import yaml
from repository import GLYPHS, MINIATURE, ROOT, Repository, merge, new_repository

from stages import download, draw_subsets, upscale
from stages.lib.store import journal

LONGEST = [
    "test_pipeline",
    "test_profiles",
    "test_profiles_shafahi",
    "test_source",
]  # begun first, so that no worker is busy alone at the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Repository:
    """A miniature that has run to its end, once for all tests and workers; they take copies."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.with_suffix(".done").exists():
            return Repository(folder)
        shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
        folder.mkdir()
        repository = new_repository(folder)
        repository.dvc("repro")
        repository.commit("results")
        folder.with_suffix(".done").touch()
    return repository


@pytest.fixture
def copy(finished, tmp_path) -> Repository:
    """A copy of the finished miniature, its store and its cells included."""
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Repository(folder)


@pytest.fixture
def empty(tmp_path) -> Repository:
    """A miniature in which nothing has run."""
    (tmp_path / "empty").mkdir()
    return new_repository(tmp_path / "empty")


@pytest.fixture(scope="session", autouse=True)
def _nothing_outlives_the_tests():
    with processes.watched():
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Repository:
    """The shrunk settings in an empty folder that is the current one, for stages that run inside the test's process."""
    for name in ("params.yaml", "data/catalog.yaml", "models/catalog.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    settings = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), MINIATURE)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    catalog = merge(yaml.safe_load((ROOT / "data/catalog.yaml").read_text()), {"glyphs": GLYPHS})
    (tmp_path / "data/catalog.yaml").write_text(yaml.safe_dump(catalog, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(journal, "LIVE_AFTER_S", 1e6)  # followers are tested where a stage is a process of its own
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Repository(tmp_path)


@pytest.fixture
def images_ready(workspace) -> Repository:
    """... with the images of glyphs and digits, and the subsets of digits."""
    for dataset in ("glyphs", "digits"):
        download.main(dataset)
        upscale.main(dataset)
    draw_subsets.main("digits")
    return workspace
