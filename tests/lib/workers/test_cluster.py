"""A real Ray cluster of two nodes on this machine: the results of local processes, and a node that is killed costs none of them."""

import math
import os
import socket
import subprocess
import sys
import time

import pytest
import ray
from jobs import LOCAL, MANY, SUBSETS, make_job, plan, three_epochs
from ray.cluster_utils import Cluster as Nodes

from stages.lib.errors import RunError
from stages.lib.runs import computing, grid
from stages.lib.runs.jobs import Job
from stages.lib.store import cells, code
from stages.lib.workers import cluster, executors


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    return make_job(tmp_path, monkeypatch)


@pytest.fixture
def nodes():
    """Two, of one core each."""
    found = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    yield found
    ray.shutdown()
    found.shutdown()


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
    return grid.plan(job, [0, 1, 9, "all"], SUBSETS | MANY, three_epochs)


def test_two_nodes_give_what_local_processes_give_also_when_one_is_killed(job, nodes):
    planned = planned_of(job)
    computed(job, planned, LOCAL)
    expected = rows_of(planned)
    for cell in planned:
        cells.discard("finetune", cell.key)
    lost = []

    def kill(done: list) -> None:
        if len(done) == 3:
            [node] = nodes.worker_nodes
            lost.append(node)
            nodes.remove_node(node, allow_graceful=False)

    done = computed(job, planned, LOCAL.model_copy(update={"executor": "ray", "address": nodes.address}), kill)
    assert lost
    assert sorted(cell.key for cell in done) == sorted(cell.key for cell in planned)  # each once
    assert rows_of(planned) == expected


def test_an_error_stops_no_other_task_and_is_the_task_s_own(nodes, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    settings = LOCAL.model_copy(update={"executor": "ray"})
    with executors.workers(settings, []) as workers:
        assert workers.processes == 2
        found = {task: (result, error) for task, result, error in workers.run_all(math.sqrt, [4.0, -1.0, 9.0])}
    assert [found[4.0], found[9.0]] == [(2.0, None), (3.0, None)]
    assert isinstance(found[-1.0][1], ValueError)


DRIVER = """
import math, sys
from stages.lib.workers.cluster import Cluster
with Cluster(sys.argv[1], 1) as workers:
    print([result for _, result, _ in workers.run_all(math.sqrt, [16.0])])
"""


def test_a_cluster_that_ray_start_made_asks_for_its_token_and_gets_it(tmp_path):
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"RAY_AUTH_TOKEN": "ab" * 32, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_AUTH_MODE", None)
    start = ["ray", "start", "--block", "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
    with open(tmp_path / "head.log", "w") as log:
        head = subprocess.Popen(start, env=environment, stdout=log, stderr=log)
    try:
        while "Ray runtime started" not in (tmp_path / "head.log").read_text():
            assert head.poll() is None, (tmp_path / "head.log").read_text()
            time.sleep(0.2)
        driver = [sys.executable, "-c", DRIVER, f"127.0.0.1:{port}"]
        done = subprocess.run(driver, env=environment, cwd=code.ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "[4.0]", done.stderr
    finally:
        head.terminate()
        head.wait(60)


def test_an_address_without_a_cluster_is_a_clear_error(monkeypatch):
    with pytest.raises(RunError, match=r"params\.yaml: grid\.executor is 'ray', and grid\.address '127\.0\.0\.1:1' is no Ray cluster"):
        cluster.Cluster("127.0.0.1:1", 1).__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(RunError, match="RAY_ADDRESS 'nowhere' is no Ray cluster"):
        cluster.Cluster(None, 1).__enter__()
