"""The table of attacks: each is made by its name, and what is not chosen is not loaded."""

import subprocess
import sys

import pytest
import torch
from attacked import convolutional, images

from stages.lib.attacks import pgd, table

SETTINGS = {
    "pgd": {"steps": 2, "step_ratio": 2},
    "fgsm": {},
    "gaussian": {"std": 0.1},
    "random_search": {"queries": 3},
    "apgd": {"steps": 3},
    "apgd_targeted": {"steps": 3},
    "fab_targeted": {"steps": 3},
    "square": {"queries": 3},
    "autoattack": {"steps": 3, "queries": 3},
    "apgd_pgd": {"steps": 3},
}
LOADED = """
import sys
from stages.lib.attacks import evaluation
evaluation.perturbation({attack}, {norm!r}, 0.1)
names = (name for name in sys.modules if name.startswith(("stages.lib.norms.", "stages.lib.attacks.")))
print(*sorted(name.removeprefix("stages.lib.") for name in names))
"""
SHARED = {"norms.norm", "norms.table", "attacks.attack", "attacks.table", "attacks.evaluation"}


@pytest.mark.parametrize("kind", table.ATTACKS)
def test_every_attack_is_made_by_its_name_and_eps_0_leaves_the_images(kind):
    x, y = images()
    assert torch.equal(table.make(kind, norm="l2", eps=0.0, **SETTINGS[kind])(convolutional().eval(), x, y), x)


def test_the_attack_is_that_of_its_module():
    model, (x, y) = convolutional().eval(), images()
    settings = {"norm": "linf", "eps": 0.1, "steps": 2, "step_ratio": 2}
    assert torch.equal(table.make("pgd", **settings)(model, x, y), pgd.make(**settings)(model, x, y))


def test_an_unknown_attack_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=f"attack is 'deepfool'; allowed: {', '.join(table.ATTACKS)}"):
        table.make("deepfool", norm="l2", eps=0.5)


@pytest.mark.parametrize(
    ("attack", "norm", "own"),
    [({"kind": "fgsm"}, "l2", {"fgsm", "pgd"}), ({"kind": "random_search", "queries": 3}, "linf", {"random_search"})],
)
def test_an_attack_within_a_norm_loads_no_other_attack_and_no_other_norm(attack, norm, own):
    script = LOADED.format(attack=attack, norm=norm)
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) == SHARED | {f"norms.{norm}"} | {f"attacks.{name}" for name in own}
