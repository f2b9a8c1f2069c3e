"""The pool of processes: every task ends once, an error stops no other, and no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from stages.lib import pool

ROOT = Path(__file__).resolve().parents[2]

_given: list = []


def begin(*arguments) -> None:
    """In a worker."""
    _given.append(arguments)


def double(task: int) -> tuple[int, int]:
    if task == 3:
        raise FloatingPointError("the loss is nan")
    return 2 * task, os.getpid()


def die_or_wait(task: str) -> str:
    if task == "die":
        os._exit(1)
    time.sleep(0.05)
    return task


def wait_a_little(task: int) -> int:
    time.sleep(0.1)
    return os.getpid()


def look_around(task: int) -> tuple[list, dict, float]:
    time.sleep(0.01)
    return _given, {name: os.environ.get(name) for name in pool.ONE_THREAD}, time.monotonic()


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_end(pids: list[int], within_s: float = 10) -> bool:
    limit = time.monotonic() + within_s
    while not all(ended(pid) for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def test_every_task_ends_once_and_an_error_stops_no_other():
    found = {task: (result, error) for task, result, error in pool.run_all(double, range(8), processes=2, initialise=begin)}
    assert found.keys() == set(range(8))
    result, error = found.pop(3)
    assert result is None
    assert isinstance(error, FloatingPointError)
    assert str(error) == "the loss is nan"
    assert all(result[0] == 2 * task and error is None for task, (result, error) in found.items())
    workers = {result[1] for result, _ in found.values()}
    assert os.getpid() not in workers
    assert len(workers) <= 2
    assert all_end(list(workers))


def test_a_worker_has_one_thread_and_is_set_up_once_and_tasks_run_in_their_order(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    found = {task: result for task, result, _ in pool.run_all(look_around, range(5), processes=1, initialise=begin, arguments=("a", 2))}
    assert all(given == [("a", 2)] for given, _, _ in found.values())
    assert all(environment == pool.ONE_THREAD for _, environment, _ in found.values())
    times = [found[task][2] for task in range(5)]
    assert times == sorted(times)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_without_tasks_nothing_is_started():
    assert list(pool.run_all(double, [], processes=2, initialise=begin)) == []


def test_a_worker_that_dies_is_an_error_of_its_task_and_nothing_waits_for_ever():
    tasks = ["a", "die", "b", "c"]
    found = {task: (result, error) for task, result, error in pool.run_all(die_or_wait, tasks, processes=1, initialise=begin)}
    assert found.keys() == set(tasks)
    assert found["die"][1] is not None
    assert all((result == task) != (error is not None) for task, (result, error) in found.items())


def test_a_parent_that_stops_early_starts_no_further_task_and_leaves_no_worker():
    running = pool.run_all(wait_a_little, range(200), processes=2, initialise=begin)
    _, worker, _ = next(running)
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 5  # all of the tasks take 10 s
    assert all_end([worker])


def test_the_cores_of_this_process_are_counted():
    assert 1 <= pool.workers() <= os.cpu_count()


KILLED = """
    import os, sys, time
    from pathlib import Path
    from stages.lib import pool

    def begin(folder):
        (Path(folder) / f"worker-{os.getpid()}").touch()

    def wait(task):
        time.sleep(60)

    if __name__ == "__main__":
        list(pool.run_all(wait, range(6), processes=2, initialise=begin, arguments=(sys.argv[1],)))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    with subprocess.Popen([sys.executable, script, tmp_path], env=os.environ | {"PYTHONPATH": str(ROOT)}) as parent:
        family = []
        limit = time.monotonic() + 20
        while len(found := list(tmp_path.glob("worker-*"))) < 2 and time.monotonic() < limit:
            time.sleep(0.02)
        family = [process.pid for process in psutil.Process(parent.pid).children(recursive=True)]
        assert len(found) == 2
        assert {int(path.name.split("-")[1]) for path in found} <= set(family)
        parent.send_signal(number)
        parent.wait()
        assert all_end(family)


def number(task: int) -> int:
    time.sleep(0.2)
    return pool.worker_number()


@pytest.mark.parametrize("repeat", range(2))
def test_the_workers_of_a_pool_have_numbers_that_follow_one_another(repeat):
    """So that, divided by the number of GPUs, they share these evenly."""
    first, second = sorted({result for _, result, _ in pool.run_all(number, range(4), processes=2, initialise=begin)})
    assert second == first + 1


def test_without_the_files_of_a_gpu_none_is_counted_and_torch_is_not_imported():
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    script = "import sys; from stages.lib import pool; print(pool.gpus(), pool.workers() > 0, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "True", "False"]
