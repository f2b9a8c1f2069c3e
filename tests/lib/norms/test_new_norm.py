"""Adding a norm is one file and its line in the table: the L1 norm, added to a copy of the project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib.store import code

L1 = '''"""The sum of the absolute changes."""

from stages.lib.norms.norm import Norm


def uniform_in_ball(like, eps):
    """Exponential draws over their sum and one draw more, with random signs."""
    sizes = like.detach().clone().exponential_()
    more = like.new_empty((len(like), 1, 1, 1)).exponential_()
    signs = like.detach().clone().normal_().sign()
    return eps * signs * sizes / (sizes.sum((1, 2, 3), keepdim=True) + more)


def steepest(gradient):
    """All in the value with the largest gradient."""
    flat = gradient.flatten(1)
    largest = flat.abs().argmax(1, keepdim=True)
    return flat.new_zeros(flat.shape).scatter(1, largest, flat.gather(1, largest).sign()).view_as(gradient)


def project(delta, eps):
    """Every value nearer to zero by the same threshold (Duchi et al., ICML 2008, Figure 1)."""
    flat = delta.flatten(1)
    falling = flat.abs().sort(1, descending=True).values
    thresholds = (falling.cumsum(1) - eps) / falling.new_ones(falling.shape).cumsum(1)
    count = (falling > thresholds).sum(1, keepdim=True).clamp_min(1)
    threshold = thresholds.gather(1, count - 1).clamp_min(0)
    return (flat.sign() * (flat.abs() - threshold).clamp_min(0)).view_as(delta)


NORM = Norm(
    name="l1", label="L1", order=1, start=uniform_in_ball, step=steepest, project=project, diameter=float,
    colours=("#cccc88", "#666600"), marker="p",
)
'''
USE = """
import json
import torch
from attacked import convolutional, images, lengths
from stages import check
from stages.lib.attacks import evaluation
from stages.lib.norms.table import norm_of
from stages.lib.report import looks
from stages.lib.settings import params
from stages.studies import registry

model, (x, y) = convolutional().eval(), images(n=8)
torch.manual_seed(0)
pgd = evaluation.perturbation({"kind": "pgd", "steps": 5, "step_ratio": 2.5, "random_start": True, "target": None}, "l1", 2.0)
moved = pgd(model, x, y)
loss = torch.nn.CrossEntropyLoss()
settings = registry.load_params()
far = torch.randn(8, 3, 6, 6)
projected = norm_of("l1").project(far, 2.0)
assert torch.allclose(lengths(projected, "l1"), torch.full((8,), 2.0, dtype=torch.float64), atol=1e-4)
for point in norm_of("l1").start(far, 2.0):
    assert ((projected - far).flatten(1).norm(dim=1) <= (point - far).flatten(1).norm(dim=1) + 1e-5).all()
print("RESULT" + json.dumps({
    "longest": lengths(moved - x, "l1").max().item(),
    "rise": (loss(model(moved), y) - loss(model(x), y)).item(),
    "norms": settings.evaluate_robustness.norms,
    "radii": settings.evaluate_robustness.radii("l1"),
    "problems": check.problems(settings),
    "threat": params.source_entry("l2_eps0_5").threat.norm,
    "text": norm_of("l1").eps_text(2.0),
    "colour": looks.looks_of([("it", "L1 2", "l1", 2.0)])["it"].colour,
}), flush=True)
"""
TEST = """
import pytest, sys

sys.exit(pytest.main(["-p", "no:cacheprovider", "--import-mode=importlib", "tests/lib/norms/test_table.py", "-k", "step or starts or diameter or label"]))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project with a third norm: its file, its line, and settings that name it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("stages", "data/catalog.yaml", "models/catalog.yaml", "params.yaml", "tests/attacked.py", "tests/lib/norms/test_table.py"):
        source, place = code.ROOT / name, folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place)
    (folder / "stages/lib/norms/l1.py").write_text(L1)
    replace(folder / "stages/lib/norms/table.py", "NORMS = {\n", 'NORMS = {\n    "l1": "stages.lib.norms.l1",\n')
    replace(folder / "params.yaml", "  check_images: 64", "  l1: [2.0, 4000.0]\n  check_images: 64")
    replace(folder / "models/catalog.yaml", "norm: l2", "norm: l1")
    return folder


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def said(copy) -> str:
    """What a process says that uses it, and that runs the tests of norms."""
    environment = os.environ | {"PYTHONPATH": f"{copy}:{copy / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", USE + TEST], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_attacks_settings_checks_texts_and_figures_know_it(said):
    result = json.loads(said.split("RESULT")[1].splitlines()[0])
    assert 1.0 < result.pop("longest") <= 2.0 + 1e-5
    assert result.pop("rise") > 0.01
    [problem] = result.pop("problems")
    assert problem.startswith("params.yaml: evaluate_robustness.l1 is 4000, beyond the range of pixels; allowed: 0 to 3072")
    assert result == {
        "norms": ["l1", "l2", "linf"], "radii": [2.0, 4000.0], "threat": "l1", "text": "L1 2", "colour": "#666600",
    }  # fmt: skip


def test_what_must_hold_of_every_norm_is_tested_of_it_too(said):
    assert " passed" in said
