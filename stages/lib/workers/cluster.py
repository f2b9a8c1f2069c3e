"""The processes of a Ray cluster, whose machines share the project's folder: Ray places tasks, and repeats those whose machine dies.

Tasks read images, weights and activations from the shared folder and keep their cells there, so that a finished cell stays,
whatever happens to the machine or to Ray.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.lib.errors import RunError
from stages.lib.store import code, files
from stages.lib.workers import pool

CONNECT_S = 10.0  # an address that does not answer for so long is given up

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody's runs are reported to anyone


class Cluster:
    """Processes of a cluster, used like `pool.Pool`: they run tasks on its cores or, where it has GPUs, on these.

    Args:
        address: that of the cluster; None: the cluster that RAY_ADDRESS names, or Ray on this machine alone.
        per_gpu: how many tasks run at once on one GPU.
    """

    def __init__(self, address: str | None, per_gpu: int):
        if _token_exists():  # then `ray start` asks for it, and ray.init does not bring it unless it is told to
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            import ray  # here, as it is an extra
        except ModuleNotFoundError:
            raise RunError("params.yaml: grid.executor is 'ray', which is not installed; `pip install -e '.[ray]'` brings it") from None
        self.address, self.per_gpu, self._ray = address, per_gpu, ray

    def __enter__(self) -> "Cluster":
        root = Path.cwd()
        environment = {"DVC_ROOT": str(files.state_folder()), "PYTHONPATH": f"{root}{os.pathsep}{code.ROOT}"} | pool.ONE_THREAD
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"  # None would be whatever Ray ran here last
        try:
            if ":" in address:  # Ray itself would try for two minutes
                host, port = address.rsplit("/", 1)[-1].rsplit(":", 1)
                socket.create_connection((host, int(port)), CONNECT_S).close()
            self._ray.init(address, runtime_env={"env_vars": environment}, log_to_driver=False, include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            if address == "local":
                raise RunError(
                    f"params.yaml: grid.executor is 'ray', which does not start on this machine ({reason}); "
                    "RAY_TMPDIR names a folder of your own for its files"
                ) from None
            where = "grid.address" if self.address else "RAY_ADDRESS"
            raise RunError(
                f"params.yaml: grid.executor is 'ray', and {where} {address!r} is no Ray cluster that answers ({reason})"
            ) from None
        resources = self._ray.cluster_resources()
        has_gpus = resources.get("GPU", 0) > 0
        self.processes = int(resources["GPU"] * self.per_gpu if has_gpus else resources.get("CPU", 1))
        one = {"num_gpus": 1 / self.per_gpu} if has_gpus else {"num_cpus": 1}
        self._remote = self._ray.remote(max_retries=pool.DEATHS, **one)(_in_folder)
        self._alone = self._remote.options(num_gpus=1) if has_gpus else self._remote
        self._root = str(root)
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def run_all(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any | None, Exception | None]]:
        """Run `function` on every task, begun in the order given, and yield (task, result, error) as each ends."""
        waiting, alone = {self._remote.remote(self._root, function, task): i for i, task in enumerate(tasks)}, set()
        try:
            while waiting:
                for done in self._ray.wait(list(waiting), num_returns=1)[0]:
                    i, result, error = waiting.pop(done), None, None
                    try:
                        result = self._ray.get(done)
                    except self._ray.exceptions.RayTaskError as failed:
                        error = failed.cause
                        if pool.is_out_of_memory(error) and i not in alone:  # once more, with a GPU to itself
                            alone.add(i)
                            waiting[self._alone.remote(self._root, function, tasks[i])] = i
                            continue
                    except self._ray.exceptions.RayError as lost:
                        reason = " ".join(str(lost).split())[:200]
                        error = RunError(f"its process or machine died {pool.DEATHS + 1} times ({reason})")
                    yield tasks[i], result, error
        finally:
            for reference in waiting:  # the caller wants no more results
                self._ray.cancel(reference)


def _token_exists() -> bool:
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    return bool(named) or (Path.home() / ".ray/auth_token").is_file()


def _in_folder(root: str, function: Callable[[Any], Any], task: Any) -> Any:
    """In a worker: run a task with one thread, in the project's folder."""
    import torch  # here, as the driver needs none of it

    torch.set_num_threads(1)
    os.chdir(root)
    return function(task)
