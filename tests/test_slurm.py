"""The recipe for SLURM, on a real SLURM with two nodes on this machine."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from repository import Repository

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=ALL Default=YES State=UP
"""
SBIN = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])  # where daemons are is not on everybody's PATH
CONTROLLER, NODE, SUBMIT = (shutil.which(name, path=SBIN) for name in ("slurmctld", "slurmd", "sbatch"))
DAEMONS = [[CONTROLLER, "-D"], [NODE, "-D", "-N", "n1"], [NODE, "-D", "-N", "n2"]]


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for found in sockets:
        found.bind(("", 0))
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


@pytest.fixture
def slurm(tmp_path):
    """The path of the configuration of a SLURM that runs while the test does."""
    (tmp_path / "state").mkdir()
    configuration = tmp_path / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=tmp_path, ports=free_ports(3), user=getpass.getuser())
    )
    daemons = [subprocess.Popen([*daemon, "-f", str(configuration)], stderr=subprocess.DEVNULL) for daemon in DAEMONS]
    yield configuration
    for daemon in daemons:
        daemon.terminate()
    for daemon in daemons:
        daemon.wait(20)


def submitted(repository: Repository, slurm: Path, ray_folder: str, *command: str) -> str:
    """The output of a job on both nodes that ended well."""
    environment = {"SLURM_CONF": str(slurm), "RAY_PORT": str(free_ports(1)[0]), "RAY_TMPDIR": ray_folder}
    for _ in range(60):  # until the nodes have registered
        if repository.run("sinfo", "--noheader", "--states=idle", "--format=%D", ok=False, **environment).stdout.split() == ["2"]:
            break
        time.sleep(0.5)
    job = repository.run("sbatch", "--parsable", "--wait", "--nodes=2", "profiles/slurm.sh", *command, ok=False, **environment)
    logs = {path.name: path.read_text() for path in repository.folder.glob("slurm-*.log")}
    assert job.returncode == 0, logs
    assert "n1" in repository.run("scontrol", "show", "job", job.stdout.strip(), **environment).stdout
    assert sum("Ray runtime started" in text for text in logs.values()) == 2, logs
    return logs[f"slurm-{job.stdout.strip()}.log"]


@pytest.mark.skipif(not (CONTROLLER and NODE and SUBMIT), reason="needs SLURM (Debian: slurm-wlm)")
def test_the_recipe_runs_an_experiment_over_the_nodes_of_a_job(copy, slurm, ray_folder):
    name = "models/finetuned/natural/runs.parquet"
    before = pd.read_parquet(copy.folder / name)
    shutil.rmtree(copy.folder / ".cells")
    copy.edit("params.yaml", grid__executor="ray")
    output = submitted(copy, slurm, ray_folder, "dvc", "repro", "--force", "--single-item", "finetune@natural")
    assert "Running stage 'finetune@natural'" in output
    pd.testing.assert_frame_equal(pd.read_parquet(copy.folder / name), before)
