"""Two processes that train one network: in float64 what one process makes of the whole batches, step for step."""

import json
import socket

import numpy as np
import processes
import pytest
import trained_together
from trained_together import CASES, KEPT

from stages.lib.datasets import pixels
from stages.lib.training import parallel


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> list[dict]:
    """What each of two processes finds in all trainings. How a stage starts them, with torchrun, tests/test_source.py holds."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.forked(trained_together.both, port, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture
def float64(monkeypatch):
    """Images in float64, in this process."""
    monkeypatch.setattr(pixels, "prepare", trained_together.in_float64(pixels.prepare))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_losses_and_weights_of_one(name, together):
    """21 images in batches of 8: parts of 4, and of 3 and 2. Of 17 the last batch of one image joins the one before."""
    alone, (first, second) = trained_together.train(**CASES[name]), (results[name] for results in together)
    assert first["names"] == alone["names"]
    if name != "natural of 17":  # with two processes, a batch of one is not split
        assert np.array(first["history"]) == pytest.approx(np.array(alone["history"]), rel=1e-6)  # an epoch's loss is added up in float32
        assert first["total"] == pytest.approx(alone["total"], rel=1e-8)
    assert len(first["history"]) == 2
    assert second["history"] == [], "the second process keeps nothing"
    assert second["total"] == first["total"]


def test_two_processes_go_on_from_a_kept_state(together):
    """Of free training, as its state has the perturbation besides the weights and velocities."""
    whole, resumed = together[0]["free"], together[0]["resumed"]
    assert resumed["history"] == whole["history"][KEPT:]
    assert resumed["total"] == whole["total"]


@pytest.mark.usefixtures("float64")
def test_each_process_draws_noise_of_its_own_and_the_same_in_every_run(together):
    """The first of several draws what one process alone draws: in another process, so that nothing of a process is in the noise."""
    first, second = (results["noise"]["first"] for results in together)
    assert [first, second] == [results["noise"]["second"] for results in together]
    assert first == trained_together.drawn_noise(noise=3)
    assert len(first) == len(second) == 2 * 3
    assert not {tuple(pair) for pair in first} & {tuple(pair) for pair in second}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["error: params.yaml: source.lr is wrong\n"], "params.yaml: source.lr is wrong"),
        (
            ["E0104 07:15:15.3 17 torch/distributed/elastic/api.py:1] failed (exitcode: -9) local_rank: 1 (pid: 7)\n"],
            "process 1 was ended by signal 9",
        ),
        (["KeyError: 'boom'\n", "E0704 1 torch/x.py:1] failed (exitcode: 1) local_rank: 0 (pid: 7)\n", "Root Cause\n"], "it said nothing"),
    ],
)
def test_of_torchrun_s_report_one_line_is_left(said, why, capsys):
    """In any month of the year, with which its lines begin."""
    warnings = ["W0104 07:15:15.0 17 torch/distributed/run.py:1] \n", "*****************************************\n"]
    assert parallel._why_it_failed([*warnings, "a line of ours\n", *said]).startswith(why)
    shown = capsys.readouterr().err
    assert shown == "a line of ours\n" + ("KeyError: 'boom'\n" if "KeyError" in said[0] else "")
