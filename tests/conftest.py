"""A miniature of the pipeline in a Git and DVC repository of its own: the real stages on tiny sets."""

import compileall
import fcntl
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import processes
import pytest
import torch
from inprocess import run_all
from repository import Repository, current, new_repository, settle, write_settings
from xdist.scheduler import LoadFileScheduling

from stages import download, draw_subsets, evaluate_robustness, finetune, source, upscale
from stages.lib.report import drawings, figures
from stages.lib.runs import attacked, computing, experiments

ALONE = ["test_pipeline"]  # each test of these files goes to whichever worker is free, as each takes a copy of its own
FIRST = [
    "test_it_runs_to_the_report_and_then_runs_nothing",  # makes the finished miniature; until then the other workers do without
    "test_profiles_shafahi",
    "test_cluster",
    "test_profiles",
    "test_slurm",
    "test_source",
    "test_experiments_side_by_side_stand_beside_the_baseline_and_share_its_cells",
    "test_report_paper",
    "test_profiles_salman",
    "test_profiles_salman_detection",
    "test_profiles_terzi",
    "test_profiles_utrera_why_shape",
    "test_profiles_why_features",
    "test_profiles_why_influence",
    "test_keys",
    "test_report",
    "test_download",
    "test_finetune_rates",
    "test_parallel",
    "test_independent_attacks",
    "test_registry",
    "test_pipeline",
    "test_experiment",
    "test_kills",
    "test_plan",
    "test_track",
]
"""Files, and tests of those ALONE, that are begun first, as they last longest, so that no worker is busy alone at the end."""


MEMORY, ROOM = Path("/dev/shm"), 8 << 30  # a file system that is held in memory, and bytes that have to be free there


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Folders of tests are in memory where it has room: a disk has MLflow wait 7 s for each database that it makes."""
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    if in_memory and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.name, places.get(item.path.stem, len(FIRST))))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than there are cores, for when a test waits; each takes 14 s of a core to import and to collect the tests."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    return ByFile(config, log)


class ByFile(LoadFileScheduling):
    """One worker runs a file, so that what its tests share is made once.

    pytest-xdist's own way to say which tests go together, `--dist loadgroup`, does nothing under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return nodeid if Path(file).stem in ALONE else file


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a folder, once for all tests and workers; they take copies."""
    base = tmp_path_factory.getbasetemp()
    above = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = above / name
        with open(folder.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.with_suffix(".done").exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                make(folder)
                folder.with_suffix(".done").touch()
        return folder

    return made


@pytest.fixture(scope="session")
def finished(once, tuned) -> Repository:
    """A miniature that has run to its end: its stages in this process, whose results DVC then takes as its own.

    `dvc repro` would start twenty processes, each of which imports torch. That DVC runs every stage as dvc.yaml says, and with the same
    bytes, test_pipeline.py and test_download.py show.
    """

    def run(folder: Path) -> None:
        folder.mkdir()
        repository = new_repository(folder)
        shutil.copytree(tuned, folder, dirs_exist_ok=True)
        compileall.compile_dir(folder / "stages", quiet=1)  # in each copy the first process would, otherwise
        repository.run(sys.executable, "-c", "from stages import check; check.digests()")  # ... and would read the code for its hashes
        torch.set_num_threads(1)
        run_all(repository, but=(), done=TUNED, kinds=drawings.KINDS)  # those that later reports would have to draw
        repository.dvc("commit", "--force")
        repository.commit("results")

    return Repository(once("finished", run))


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


@pytest.fixture(scope="session", autouse=True)
def _processes_start_at_once():
    """The server that this process forks workers from holds what any of them needs; only what its first pool needs, otherwise."""
    where_tasks_are = [module.__name__ for module in (computing, evaluate_robustness, experiments, figures)]
    multiprocessing.set_forkserver_preload([*computing.PRELOAD, *attacked.WORK.values(), *where_tasks_are, "torchvision"])
    forkserver.ensure_running()


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[str]:
    """What RAY_TMPDIR is set to: Ray's usual folder belongs to whoever of this machine used it first. Its sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prepared(once) -> Path:
    """A folder with the shrunk settings, the images of glyphs and digits and the subsets of digits."""

    def prepare(folder: Path) -> None:
        write_settings(folder)
        with current(folder):
            for dataset in ("glyphs", "digits"):
                download.main(dataset)
                upscale.main(dataset)
            draw_subsets.main("digits")

    return once("prepared", prepare)


@pytest.fixture(scope="session")
def trained(once, prepared) -> Path:
    """... with the sources natural, l2_eps0_5 and random."""

    def train(folder: Path) -> None:
        shutil.copytree(prepared, folder)
        with current(folder):
            torch.set_num_threads(1)
            for name in ("natural", "l2_eps0_5", "random"):
                source.main(name)

    return once("trained", train)


TUNED = (
    *(f"{stage}@{dataset}" for dataset in ("glyphs", "digits") for stage in ("download", "upscale")),
    "draw_subsets@digits",
    *(f"source@{source}" for source in ("natural", "l2_eps0_5", "random")),
    "finetune@natural",
    "finetune@l2_eps0_5",
    "evaluate_robustness@l2_eps0_5",
)
"""Stages that have run in the folder `tuned`."""


@pytest.fixture(scope="session")
def tuned(once, trained) -> Path:
    """... with the runs of natural and of l2_eps0_5, and with the robustness of l2_eps0_5."""

    def tune(folder: Path) -> None:
        shutil.copytree(trained, folder)
        with current(folder):
            finetune.main("natural")
            finetune.main("l2_eps0_5")
            evaluate_robustness.main("l2_eps0_5")

    return once("tuned", tune)


@pytest.fixture(scope="session")
def empty_store(once) -> Path:
    """A database with MLflow's tables and nothing in them, for the tests of what is sent: MLflow takes a second and a half to make one.

    That a store is made where there is none, the finished miniature shows.
    """

    def make(folder: Path) -> None:
        from mlflow.tracking import MlflowClient  # here, as most workers do without it

        folder.mkdir()
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return once("empty_store", make) / "mlflow.db"


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Repository:
    """The shrunk settings in an empty folder that is the current one."""
    write_settings(tmp_path)
    settle(tmp_path, monkeypatch)
    return Repository(tmp_path)


@pytest.fixture
def images_ready(prepared, tmp_path, monkeypatch) -> Repository:
    """... with the images of glyphs and digits, and the subsets of digits."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    settle(tmp_path, monkeypatch)
    return Repository(tmp_path)


@pytest.fixture
def source_ready(trained, tmp_path, monkeypatch) -> Repository:
    """... and with the sources natural, l2_eps0_5 and random."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    settle(tmp_path, monkeypatch)
    return Repository(tmp_path)


@pytest.fixture
def runs_ready(tuned, tmp_path, monkeypatch) -> Repository:
    """... and with the runs of natural and of l2_eps0_5, and with the robustness of l2_eps0_5."""
    shutil.copytree(tuned, tmp_path, dirs_exist_ok=True)
    settle(tmp_path, monkeypatch)
    return Repository(tmp_path)
