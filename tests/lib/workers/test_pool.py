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

from stages.lib.errors import RunError
from stages.lib.workers import pool

ROOT = Path(__file__).resolve().parents[3]

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


def run_all(function, tasks, processes, *arguments):
    with pool.Pool(begin, arguments, processes=processes) as workers:
        yield from workers.run_all(function, tasks)


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
    found = {task: (result, error) for task, result, error in run_all(double, range(8), 2)}
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
    found = {task: result for task, result, _ in run_all(look_around, range(5), 1, "a", 2)}
    assert all(given == [("a", 2)] for given, _, _ in found.values())
    assert all(environment == pool.ONE_THREAD for _, environment, _ in found.values())
    times = [found[task][2] for task in range(5)]
    assert times == sorted(times)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_without_tasks_nothing_is_started():
    assert list(run_all(double, [], 2)) == []


def test_a_task_that_no_process_survives_is_given_up_and_the_others_are_done():
    tasks = ["a", "die", "b", "c"]
    for processes in (1, 2):
        found = {task: (result, error) for task, result, error in run_all(die_or_wait, tasks, processes)}
        assert found.keys() == set(tasks)
        assert isinstance(found["die"][1], RunError)
        assert "died 3 times" in str(found["die"][1])
        assert [found[task] for task in "abc"] == [("a", None), ("b", None), ("c", None)]


def test_what_a_killed_process_was_doing_is_done_again():
    killed = 0
    with pool.Pool(begin, processes=2) as workers:
        found = []
        for task, worker, error in workers.run_all(wait_a_little, range(30)):
            assert error is None
            found.append(task)
            if len(found) in (3, 11, 25):
                os.kill(worker, signal.SIGKILL)
                killed += 1
    assert killed == 3
    assert sorted(found) == list(range(30))


def memory_for_one(task: tuple[str, int]) -> int:
    """Fails where another task runs at the same time."""
    folder, i = Path(task[0]), task[1]
    (folder / str(i)).touch()
    time.sleep(0.3)
    others = len(list(folder.iterdir())) - 1
    time.sleep(0.1)
    (folder / str(i)).unlink()
    if others:
        raise MemoryError(f"{others} others")
    return i


def test_what_finds_no_memory_in_company_runs_alone(tmp_path):
    found = list(run_all(memory_for_one, [(str(tmp_path), i) for i in range(4)], 2))
    assert sorted(result for _, result, error in found if error is None) == list(range(4))


def always_too_large(task: int) -> None:
    raise MemoryError("too large by itself")


def test_what_finds_no_memory_alone_is_an_error():
    found = list(run_all(always_too_large, range(3), 2))
    assert sorted(task for task, _, error in found if isinstance(error, MemoryError)) == [0, 1, 2]


def test_a_process_that_died_idle_is_replaced():
    with pool.Pool(begin, processes=1) as workers:
        [(_, worker, _)] = workers.run_all(wait_a_little, [0])
        os.kill(worker, signal.SIGKILL)
        assert all_end([worker])
        time.sleep(0.2)
        [(_, another, error)] = workers.run_all(wait_a_little, [0])
    assert error is None
    assert another != worker


def refuse() -> None:
    raise ValueError("no place to begin")


def test_processes_that_cannot_begin_are_an_error_of_every_task():
    with pool.Pool(refuse, processes=2) as workers:
        found = list(workers.run_all(double, range(5)))
    assert {task for task, _, error in found if isinstance(error, RunError)} == set(range(5))


def test_several_rounds_share_the_processes():
    with pool.Pool(begin, processes=1) as workers:
        seen = {worker for _ in range(3) for _, worker, _ in workers.run_all(wait_a_little, range(2))}
    assert len(seen) == 1


def test_a_parent_that_stops_early_starts_no_further_task_and_leaves_no_worker():
    running = run_all(wait_a_little, range(200), 2)
    _, worker, _ = next(running)
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 5  # all of the tasks take 10 s
    assert all_end([worker])


def test_the_cores_of_this_process_are_counted():
    assert 1 <= pool.workers() <= os.cpu_count()


KILLED = """
    import os, signal, sys, time
    from pathlib import Path
    from stages.lib.workers import pool

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the suite may run in a shell's background, where it is ignored

    def begin(folder):
        (Path(folder) / f"worker-{os.getpid()}").touch()

    def wait(task):
        time.sleep(60)

    if __name__ == "__main__":
        with pool.Pool(begin, (sys.argv[1],), processes=2) as workers:
            list(workers.run_all(wait, range(6)))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path, number):
    """Ctrl-C goes to all processes of a terminal; of that only the parent says anything."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, tmp_path]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        family = []
        limit = time.monotonic() + 20
        while len(found := list(tmp_path.glob("worker-*"))) < 2 and time.monotonic() < limit:
            time.sleep(0.02)
        family = [process.pid for process in psutil.Process(parent.pid).children(recursive=True)]
        assert len(found) == 2
        assert {int(path.name.split("-")[1]) for path in found} <= set(family)
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)
        else:
            parent.send_signal(number)
        said = parent.communicate()[1]
        assert all_end(family)
    assert said.count("KeyboardInterrupt") == (number == signal.SIGINT), said


def number(task: int) -> int:
    time.sleep(0.2)
    return pool.worker_number()


@pytest.mark.parametrize("repeat", range(2))
def test_the_workers_of_a_pool_have_numbers_that_follow_one_another(repeat):
    """So that, divided by the number of GPUs, they share these evenly."""
    first, second = sorted({result for _, result, _ in run_all(number, range(4), 2)})
    assert second == first + 1


def test_without_the_files_of_a_gpu_none_is_counted_and_torch_is_not_imported():
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    imports = "import sys; from stages.lib import machine; from stages.lib.workers import pool"
    script = f"{imports}; print(machine.gpus(), pool.workers() > 0, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "True", "False"]
