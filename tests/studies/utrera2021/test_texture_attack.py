"""Accuracy under PGD(3), against the three steps written out."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from shaped import ATTACK, logits_of, run, source_in

from stages.lib.datasets.sets import load
from stages.lib.store.tables import CORRECT
from stages.studies.utrera2021.shape.experiments import texture_attack


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with source_in(tmp_path_factory.mktemp("shape")) as made:
        yield made


def test_under_attack_fewer_images_stand_and_each_that_falls_has_a_perturbation_within_the_ball(source):
    eps = [0.0625, 0.5]
    values, arrays = texture_attack.compute(run("noise", {"attack": ATTACK, "eps": eps, "max_images": 20}), source, None)
    assert list(values) == ["eps_0", "eps_0.0625", "eps_0.5"]
    standing = [arrays[CORRECT + name].numpy() for name in values]
    x, y = load("noise", "test")
    assert np.array_equal(standing[0], logits_of(source.network(), x).argmax(1).numpy() == y)
    for smaller, larger in pairwise(standing):
        assert not (larger & ~smaller).any()
    network, image, label = source.network(), torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(y)
    moved = image.clone()
    for _ in range(3):  # PGD(3) in steps of 2.5 eps / 3 along the gradient of unit length, as their code does it
        moved.requires_grad_(True)
        [gradient] = torch.autograd.grad(torch.nn.functional.cross_entropy(network(moved), label, reduction="sum"), moved)
        step = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        delta = moved.detach() + 2.5 * eps[0] / 3 * step - image
        delta *= (eps[0] / delta.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp_max(1)[:, None, None, None]
        moved = (image + delta).clamp(0, 1).detach()
    with torch.no_grad():
        stood = network(moved).argmax(1) == label
    assert np.array_equal(standing[1], standing[0] & stood.numpy())
