"""The Fisher information by the image against the dense Jacobian, in one sum over labels after the other; and Lemma 5.1."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from stages.lib.information import fisher_of_inputs as fisher
from stages.lib.networks import units

N = 3


def made(scale: float = 1.0) -> nn.Sequential:
    """A network of the units that every network has, with 6 features and 4 classes."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layers = {
        "normalise": units.Normalise([0.5] * 3, [0.25 / scale if scale else math.inf] * 3),
        "stem": stem,
        "pool": pool,
        "head": nn.Linear(6, 4),
    }
    return nn.Sequential(OrderedDict(layers)).eval()


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    return made()


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exact(network, x) -> list[dict[str, float]]:
    """Of each image, the traces by the dense Jacobian."""
    body, head = network[:-1], network[-1]
    a = network.head.weight.detach().double()
    across = a.T @ torch.linalg.inv(a @ a.T) @ a  # the projection on what the head sees
    found = []
    for image in torch.from_numpy(x).permute(0, 3, 1, 2).float()[:, None] / 255:
        j = jacobian(lambda seen: body(seen)[0], image).flatten(1).double()
        p = head(body(image))[0].softmax(0).detach().double()
        by_label = [p[y] * ((a[y] - p @ a) @ j).square().sum() for y in range(len(p))]  # grad_z log p(y) is A_y - E A
        found.append({"representation": j.square().sum(), "linear": (across @ j).square().sum(), "label": sum(by_label)})
    return found


def test_labels_are_exact(network, x, exact):
    assert fisher.traces(network, x, probes=1).label.tolist() == pytest.approx([float(e["label"]) for e in exact], rel=1e-4)


@pytest.mark.parametrize("which", ["representation", "linear"])
def test_hutchinson_is_right_on_average(network, x, exact, which):
    estimates = torch.stack([getattr(fisher.traces(network, x, probes=16, seed=seed), which) for seed in range(12)])
    error = estimates.std(0) / len(estimates) ** 0.5
    wanted = torch.tensor([float(e[which]) for e in exact])
    assert (error < 0.2 * wanted).all()
    assert ((estimates.mean(0) - wanted).abs() < 4 * error).all()


def test_lemma_5_1_holds_of_the_linear_head_and_bounds_no_label(network, x, exact):
    """Also of the estimates: of many probes, as the head sees 4 of 6 dimensions."""
    found = fisher.traces(network, x, probes=500)
    assert all(e["linear"] <= e["representation"] for e in exact)
    assert (found.linear < found.representation).all()
    surer = made()
    surer.head.weight.data *= 30  # which leaves the space that the head sees as it is
    scaled = fisher.traces(surer, x, probes=500)
    torch.testing.assert_close(scaled.linear, found.linear, rtol=0.1, atol=0)
    assert (scaled.label > scaled.representation).any()


def test_an_image_has_the_same_trace_in_any_company(network, x):
    whole, first = fisher.traces(network, x), fisher.traces(network, x[:2])
    torch.testing.assert_close(first.representation, whole.representation[:2], rtol=1e-4, atol=0)


def test_an_image_without_influence_has_no_information(network, x):
    found = fisher.traces(made(scale=0.0), x)
    assert all(float(getattr(found, name).max()) == 0 for name in ("representation", "linear", "label"))
