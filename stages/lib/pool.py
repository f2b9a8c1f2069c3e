"""A pool of single-threaded processes, one a core or one a GPU: for small networks, faster than threads inside one process."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def workers() -> int:
    """One for each GPU, or where there is none for each core that this process may use."""
    return gpus() or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def gpus() -> int:
    """GPUs that this process may use; without NVIDIA's device files there is none, and torch is not imported to find out."""
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        return 0
    import torch  # here, as it takes seconds to import

    return torch.cuda.device_count()


def worker_number() -> int:
    """In a worker: its number; those of one pool follow one another."""
    return int(multiprocessing.current_process().name.rsplit("-", 1)[-1])


def settle_in() -> None:
    """In a worker, before its first task: one thread, and of several GPUs its own."""
    import torch  # here, as the parent needs none of it

    torch.set_num_threads(1)
    if torch.cuda.is_available():
        torch.cuda.set_device(worker_number() % torch.cuda.device_count())


def run_all(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    processes: int,
    initialise: Callable[..., None],
    arguments: tuple = (),
    preload: Sequence[str] = (),
) -> Iterator[tuple[Any, Any | None, Exception | None]]:
    """Run `function` on every task, in the order given, and yield (task, result, error) as each ends.

    An error in one task does not stop the others. Workers have one thread each and end with the parent, however that ends.
    They are forked from a server that has imported what they need and computed nothing, so that they start at once.

    Args:
        initialise: called once in each worker with `arguments`, before its first task.
        preload: modules that the workers need.
    """
    if not tasks:
        return
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)  # read by the workers' libraries as they load
    try:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", *preload])
        with ProcessPoolExecutor(min(processes, len(tasks)), context, _begin, (dict(os.environ), initialise, arguments)) as pool:
            waiting = {pool.submit(function, task): task for task in tasks}
            try:
                for done in as_completed(waiting):
                    error = done.exception()
                    yield waiting[done], None if error else done.result(), error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(environment: dict[str, str], initialise: Callable[..., None], arguments: tuple) -> None:
    os.environ.update(environment)  # the server has that of the time when it was started
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initialise(*arguments)


def _end_with_parent() -> None:
    """A parent that was killed closes no queue, and a worker would wait for its next task for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
