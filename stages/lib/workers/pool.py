"""A pool of single-threaded processes, one a core or one a GPU: for small networks, faster than threads inside one process."""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from typing import Any

from stages.lib.errors import RunError
from stages.lib.machine import cores, gpus

RESTART_S = 0.2  # until the server that starts processes is surely gone
DEATHS = 3  # a task is given up after so many of the processes that ran it died
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def workers(per_gpu: int = 1) -> int:
    """The number of workers: `per_gpu` for each GPU or, where there is none, one for each core that this process may use."""
    return gpus() * per_gpu or cores()


def is_out_of_memory(error: Exception | None) -> bool:
    """Whether the memory of the machine or of its GPU, for which torch has a separate error, ran out."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def worker_number() -> int:
    """In a worker: the number of its process; the numbers of one pool are consecutive."""
    return int(multiprocessing.current_process().name.rsplit("-", 1)[-1])


def settle_in() -> None:
    """In a worker, before its first task: use one thread and, of several GPUs, the one that belongs to this worker."""
    import torch  # here, as the parent needs none of it

    torch.set_num_threads(1)
    if torch.cuda.is_available():
        torch.cuda.set_device(worker_number() % torch.cuda.device_count())


class Pool:
    """Processes that run tasks, one thread each; they end with the parent, however that ends.

    They are forked from a server that has imported their modules and computed nothing, so that they start at once. A process
    that dies is replaced, and its task is done again.

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
        self._submit(str, dict(enumerate(range(self.processes))))  # whatever they do

    def __exit__(self, *_: object) -> None:
        self._end()
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    def run_all(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any | None, Exception | None]]:
        """Run `function` on every task, begun in the order given, and yield (task, result, error) as each ends.

        An error in one task does not stop the others. Tasks that were being worked on when a process died are tried again. Tasks
        whose process died twice, and tasks that ran out of memory, run alone at the end; a task whose process dies then is given up.
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
        """The number, result and error of each task that ends before a process dies."""
        futures = self._submit(function, tasks)
        try:
            for done in as_completed(list(futures)):
                error = done.exception()
                if not isinstance(error, BrokenProcessPool):
                    yield futures.pop(done), None if error else done.result(), error
        finally:
            if futures:  # a process has died, or the caller wants no more results
                self._end()

    def _submit(self, function: Callable[[Any], Any], tasks: dict[int, Any]) -> dict[Future, int]:
        for deaths in count(1):
            try:
                return {self._started().submit(function, task): i for i, task in tasks.items()}
            except (BrokenProcessPool, EOFError, ConnectionError):  # one died with nothing to do, or the server that starts them
                self._end()
                if deaths == DEATHS:
                    raise
                time.sleep(RESTART_S)

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
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in a shell's background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C goes to all processes: the parent says one line, and this one says nothing
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initialise(*arguments)


def _end_with_parent() -> None:
    """End this worker with its parent: a parent that was killed closes no queue, and the worker would wait for a task for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
