"""A real Ray cluster of two nodes on this machine: the results of local processes, and a node that is killed costs none of them."""

import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import processes
import pytest
from jobs import LOCAL, MANY, SUBSETS, make_job, plan, three_epochs

from stages.lib.errors import RunError
from stages.lib.runs import computing, grid
from stages.lib.runs.jobs import Job
from stages.lib.store import cells
from stages.lib.workers import cluster, executors

TOKEN = "ab" * 32
RAY = Path(sys.executable).with_name("ray")
PATIENCE = {"raylet_rpc_server_reconnect_timeout_s": 3, "core_worker_rpc_server_reconnect_timeout_s": 3,
            "health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}  # fmt: skip
"""How soon Ray gives a node up; by default the task of one that was killed may wait for a minute."""


class Node:
    """A machine of one core in a cluster, as `ray start` makes it with the cluster's token. Without `head` it is a cluster of its own."""

    def __init__(self, folder: Path, stack: ExitStack, head: "Node | None" = None):
        self.log = folder / f"{'node' if head else 'head'}.log"
        self.environment = stack.enter_context(processes.family())
        stack.callback(self.kill)
        self.address = head.address if head else f"127.0.0.1:{free_port()}"
        where = [f"--address={self.address}"] if head else ["--head", f"--port={self.address.split(':')[1]}", "--include-dashboard=false"]
        environment = os.environ | self.environment | {"RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
        environment.pop("RAY_AUTH_MODE", None)
        if head:  # `ray start` brings the token to a cluster that it joins only when it is told to
            environment["RAY_AUTH_MODE"] = "token"
        with open(self.log, "w") as log:
            self.running = subprocess.Popen([RAY, "start", "--block", "--num-cpus=1", *where], env=environment, stdout=log, stderr=log)
        while "Ray runtime started" not in self.log.read_text():
            assert self.running.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        processes.kill(self.environment[processes.MARK])
        self.running.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, ray_folder) -> Iterator[list[Node]]:
    """Two, whose cluster asks for a token, which this process has."""
    folder = tmp_path_factory.mktemp("ray")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.setenv("RAY_TMPDIR", ray_folder)
        patch.setenv("RAY_AUTH_MODE", "")
        patch.delenv("RAY_AUTH_MODE")  # `Cluster` sets it; the patch takes it back
        for name, value in PATIENCE.items():
            patch.setenv(f"RAY_{name}", str(value))
        head = Node(folder, stack)
        yield [head, Node(folder, stack, head)]


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    return make_job(tmp_path, monkeypatch)


def rows_of(planned):
    return {(cell.blocks, cell.n_images, cell.seed): cells.load("finetune", cell.key)["rows"] for cell in planned}


def computed(job, planned, settings, tick=lambda done: None) -> list:
    done = []
    for cell, error in computing.compute([(plan(job, planned, SUBSETS | MANY), grid.missing(planned, set()))], settings):
        assert error is None
        done.append(cell)
        tick(done)
    return done


def planned_of(job):
    return grid.plan(job, [1, "all"], SUBSETS | MANY, three_epochs)


def test_two_nodes_give_what_local_processes_give_also_when_one_is_killed(job, nodes, monkeypatch):
    """And before that, an error stops no other task and is the task's own."""
    planned = planned_of(job)
    computed(job, planned, LOCAL)
    expected = rows_of(planned)
    for cell in planned:
        cells.discard("finetune", cell.key)
    lost = []

    def kill(done: list) -> None:
        if len(done) == 3:
            lost.append(nodes[1])
            nodes[1].kill()

    on_nodes = LOCAL.model_copy(update={"executor": "ray", "address": nodes[0].address})
    with executors.workers(on_nodes, computing.PRELOAD) as workers:
        assert workers.processes == 2
        found = {task: (result, error) for task, result, error in workers.run_all(math.sqrt, [4.0, -1.0, 9.0])}
        assert [found[4.0], found[9.0]] == [(2.0, None), (3.0, None)]
        assert isinstance(found[-1.0][1], ValueError)
        monkeypatch.setattr(executors, "workers", lambda *_: nullcontext(workers))  # which take seconds to start
        done = computed(job, planned, on_nodes, kill)
    assert lost
    assert sorted(cell.key for cell in done) == sorted(cell.key for cell in planned)  # each once
    assert rows_of(planned) == expected


def test_an_address_without_a_cluster_is_a_clear_error(monkeypatch):
    with pytest.raises(RunError, match=r"params\.yaml: grid\.executor is 'ray', and grid\.address '127\.0\.0\.1:1' is no Ray cluster"):
        cluster.Cluster("127.0.0.1:1", 1).__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(RunError, match="RAY_ADDRESS 'nowhere' is no Ray cluster"):
        cluster.Cluster(None, 1).__enter__()


def test_a_folder_that_ray_cannot_have_is_one_line(tmp_path):
    """In a process of its own: Ray reads the variable as it is imported."""
    (tmp_path / "taken").touch()
    start = "from stages.lib import command; from stages.lib.workers.cluster import Cluster\nwith command.errors_as_lines(): Cluster(None, 1).__enter__()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RAY_TMPDIR": str(tmp_path / "taken")
    }
    done = subprocess.run([sys.executable, "-c", start], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "grid.executor is 'ray', which does not start on this machine (" in done.stderr.splitlines()[-1]
    assert "RAY_TMPDIR" in done.stderr.splitlines()[-1]
