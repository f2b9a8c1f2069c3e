"""Two processes that train one network: in float64 what one process makes of the whole batches, step for step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.lib.training import parallel

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import json, sys
from functools import partial
from pathlib import Path
import torch
from stages.lib.attacks import perturbations as attacks
from stages.lib.datasets import pixels as images
from stages.lib.networks import units as networks
from stages.lib.training import devices, loop as training, parallel, schedules

prepare = images.prepare
images.prepare = lambda *arguments: prepare(*arguments).double()

def main(kind, n, start):
    torch.manual_seed(0)
    network = networks.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 16, 16, 3), dtype=torch.uint8, generator=generator)
    y = torch.randint(0, 4, (n,), generator=generator)
    l2 = lambda progress: attacks.pgd(norm="l2", eps=0.5 * progress, steps=2, step_ratio=2)
    drawn = []
    noise = lambda progress: lambda model, x, y: drawn.append(torch.randn(2).tolist()) or x
    history, states = [], []
    def after_epoch(done, state):
        history.append([done.loss, done.train_accuracy])
        if start and done.number == 2:
            torch.save(state, start + ".2")
    training.train(network, x, y, epochs=4, batch_size=8, lr=0.05, momentum=0.9, weight_decay=5e-4, seed=3,
                   schedule=partial(schedules.one_cycle, warmup=0.25), perturb_at={"adversarial": l2, "noise": noise}.get(kind),
                   augmentation="resized_crop" if kind == "cropped" else "none", start_from=torch.load(start) if kind == "resumed" else None, after_epoch=after_epoch)
    Path(__file__).with_name(f"drawn-{parallel.rank()}").write_text(json.dumps(drawn))  # lines of two processes may run together
    if parallel.is_first():
        total = sum(float(w.detach().abs().sum()) for w in network.state_dict().values())
        print("RESULT" + json.dumps([history, total, sorted(network.state_dict())]))

torch.set_num_threads(1)
if devices.launched():
    with parallel.group():
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
else:
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
"""


def run(folder: Path, processes: int, kind: str, n: int = 21, start: str = "") -> list:
    [line] = [line for line in output(folder, processes, kind, n, start).splitlines() if line.startswith("RESULT")]
    return json.loads(line.removeprefix("RESULT"))


def output(folder: Path, processes: int, kind: str, n: int = 21, start: str = "") -> str:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    done = subprocess.run([sys.executable, *launcher, str(script), kind, str(n), start], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=180)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(("kind", "n"), [("natural", 21), ("adversarial", 21), ("cropped", 21), ("natural", 17)])
def test_two_processes_have_the_losses_and_weights_of_one(kind, n, tmp_path):
    """21 images in batches of 8: parts of 4, and of 3 and 2. Of 17 the last batch of one image joins the one before."""
    history, total, names = run(tmp_path, 1, kind, n)
    found, sums, same = run(tmp_path, 2, kind, n)
    assert same == names
    if n % 8 != 1:  # with two processes, a batch of one is not split
        assert np.array(found) == pytest.approx(np.array(history), rel=1e-6)  # the loss of an epoch is added up in float32
        assert sums == pytest.approx(total, rel=1e-8)
    assert len(found) == 4


def test_two_processes_go_on_from_a_kept_state(tmp_path):
    start = str(tmp_path / "state")
    history, total, _ = run(tmp_path, 2, "natural", start=start)
    (tmp_path / "state.2").rename(start)
    resumed, again, _ = run(tmp_path, 2, "resumed", start=start)
    assert resumed == history[2:]
    assert again == total


def test_each_process_draws_noise_of_its_own_and_the_same_in_every_run(tmp_path):
    drawn = []
    for _ in range(2):
        output(tmp_path, 2, "noise")
        drawn.append([json.loads((tmp_path / f"drawn-{rank}").read_text()) for rank in range(2)])
    assert drawn[0] == drawn[1]
    first, second = drawn[0]
    assert len(first) == len(second) == 4 * 3
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
