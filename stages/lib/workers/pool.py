"""A pool of single-threaded processes, one a core or one a GPU: for small networks, faster than threads inside one process."""

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from stages.lib.errors import RunError

DEATHS = 3  # of processes, after which the task that each was at is given up
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def workers(per_gpu: int = 1) -> int:
    """So many for each GPU, or where there is none one for each core that this process may use."""
    return gpus() * per_gpu or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def gpus() -> int:
    """GPUs that this process may use; without NVIDIA's device files there is none, and torch is not imported to find out."""
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        return 0
    import torch  # here, as it takes seconds to import

    return torch.cuda.device_count()


def is_out_of_memory(error: Exception | None) -> bool:
    """Of the machine, or of its GPU, which torch has an error of its own for."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def worker_number() -> int:
    """In a worker: its number; those of one pool follow one another."""
    return int(multiprocessing.current_process().name.rsplit("-", 1)[-1])


def settle_in() -> None:
    """In a worker, before its first task: one thread, and of several GPUs its own."""
    import torch  # here, as the parent needs none of it

    torch.set_num_threads(1)
    if torch.cuda.is_available():
        torch.cuda.set_device(worker_number() % torch.cuda.device_count())


class Pool:
    """Processes that run tasks, one thread each; they end with the parent, however that ends.

    They are forked from a server that has imported what they need and computed nothing, so that they start at once. One that
    dies is replaced, and what it was doing is done again.

    Args:
        initialise: called once in each process with `arguments`, before its first task.
        preload: modules that the processes need.
    """

    def __init__(
        self, initialise: Callable[..., None], arguments: tuple = (), *, processes: int | None = None, preload: Sequence[str] = ()
    ):
        self.processes = processes or workers()
        self._initialise, self._arguments, self._preload = initialise, arguments, preload
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Pool":
        self._before = {name: os.environ.get(name) for name in ONE_THREAD}
        os.environ.update(ONE_THREAD)  # read by the processes' libraries as they load
        return self

    def begin(self) -> None:
        """Start the processes now, so that they are ready when the first task comes."""
        for _ in range(self.processes):
            self._started().submit(os.getpid)

    def __exit__(self, *_: object) -> None:
        self._end()
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    def run_all(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any | None, Exception | None]]:
        """Run `function` on every task, begun in the order given, and yield (task, result, error) as each ends.

        An error in one task does not stop the others. Tasks that were being worked on when a process died are tried again. Those
        that meet with it a second time, and those that find no memory, run alone at the end; the one that dies alone is given up.
        """
        waiting, deaths, anything_ended = dict(enumerate(tasks)), Counter(), False
        while waiting:
            suspects = [i for i in waiting if deaths[i] == DEATHS - 1]
            begun = suspects[:1] or list(waiting)
            for i, result, error in self._run(function, {i: waiting[i] for i in begun}):
                anything_ended = True
                if is_out_of_memory(error) and len(begun) > 1:
                    deaths[i] = DEATHS - 1
                else:
                    yield waiting.pop(i), result, error
            lost = [i for i in begun if i in waiting and (deaths[i] < DEATHS - 1 or len(begun) == 1)]
            deaths.update(lost[: self.processes] if anything_ended else lost)  # the first: tasks are begun in their order
            for i in [i for i in lost if deaths[i] == DEATHS]:
                yield waiting.pop(i), None, RunError(f"its process died {DEATHS} times: killed, or out of memory")

    def _run(self, function: Callable[[Any], Any], tasks: dict[int, Any]) -> Iterator[tuple[int, Any | None, Exception | None]]:
        """What ends, until a process dies: number, result and error of each task."""
        futures = self._submit(function, tasks)
        try:
            for done in as_completed(list(futures)):
                error = done.exception()
                if not isinstance(error, BrokenProcessPool):
                    yield futures.pop(done), None if error else done.result(), error
        finally:
            if futures:  # a process has died, or the caller has enough
                self._end()

    def _submit(self, function: Callable[[Any], Any], tasks: dict[int, Any]) -> dict[Future, int]:
        try:
            return {self._started().submit(function, task): i for i, task in tasks.items()}
        except BrokenProcessPool:  # one died with nothing to do
            self._end()
            return {self._started().submit(function, task): i for i, task in tasks.items()}

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["__main__", *self._preload])
            self._executor = ProcessPoolExecutor(self.processes, context, _begin, (dict(os.environ), self._initialise, self._arguments))
        return self._executor

    def _end(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None


def _begin(environment: dict[str, str], initialise: Callable[..., None], arguments: tuple) -> None:
    os.environ.update(environment)  # the server has that of the time when it was started
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initialise(*arguments)


def _end_with_parent() -> None:
    """A parent that was killed closes no queue, and a worker would wait for its next task for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
