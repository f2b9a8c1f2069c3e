"""The Fisher information of weights against a dense one in float64, against curvlinops, and against gradients of one image after the other."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.information import fisher_of_weights as fisher
from stages.lib.networks import units


class Tiny(nn.Sequential):
    """Every kind of convolution that the families of architectures have: with strides, borders, dilation, groups, and of one pixel."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, (3, 2), padding=(2, 1), dilation=2, groups=2),
            nn.ReLU(),
            nn.Conv2d(6, 5, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 4),
        )


@pytest.fixture(scope="module")
def tiny() -> nn.Sequential:
    torch.manual_seed(0)
    network = Tiny().double().eval()
    network[1].running_mean.normal_()
    network[1].running_var.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(7, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def weights(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in network.named_parameters() if weight.dim() >= 2}


def flat(found: fisher.Fisher, network: nn.Module) -> torch.Tensor:
    return torch.cat([found[name].flatten() for name in weights(network)])


def dense(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The sum over images of J^T (diag(p) - p p^T) J, J of one image and one logit after the other."""
    chosen = list(weights(network).values())
    total = 0
    for image in x:
        logits = network(image[None])[0]
        p = logits.softmax(0).detach()
        rows = [torch.cat([g.flatten() for g in torch.autograd.grad(logit, chosen, retain_graph=True)]) for logit in logits]
        jacobian = torch.stack(rows)
        total = total + jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total


def test_all_labels_give_the_diagonal_of_the_dense_fisher(tiny, x):
    torch.testing.assert_close(flat(fisher.squares(tiny, x), tiny), dense(tiny, x).diag(), rtol=1e-10, atol=1e-14)


def test_all_labels_give_what_curvlinops_gives(tiny, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        from curvlinops import GGNLinearOperator

        # of cross-entropy, the generalised Gauss-Newton matrix is the Fisher information with all labels
        operator = GGNLinearOperator(
            tiny, nn.CrossEntropyLoss(reduction="sum"), list(weights(tiny).values()), [(x, torch.zeros(len(x), dtype=torch.int64))]
        )
        matrix = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
    torch.testing.assert_close(flat(fisher.squares(tiny, x), tiny), matrix.diag(), rtol=1e-8, atol=1e-12)


def test_drawn_labels_give_what_curvlinops_gives_of_these_labels(tiny, x):
    uniform = torch.rand(2, len(x), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    drawn = (tiny(x).softmax(1).cumsum(1) <= uniform[:, :, None]).sum(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from curvlinops import EFLinearOperator

        operator = EFLinearOperator(tiny, nn.CrossEntropyLoss(reduction="sum"), list(weights(tiny).values()), [(x, y) for y in drawn])
        matrix = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
    torch.testing.assert_close(flat(fisher.squares(tiny, x, uniform), tiny), matrix.diag() / len(uniform), rtol=1e-8, atol=1e-12)


@pytest.fixture(scope="module")
def small() -> nn.Sequential:
    torch.manual_seed(0)
    return units.build("small_resnet_x0_5", 5, [0.5] * 3, [0.25] * 3).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)


def test_a_whole_network_has_the_gradients_of_one_image_after_the_other(small, images):
    drawn = torch.rand((len(images), 1), generator=torch.Generator().manual_seed(3)).T
    total = dict.fromkeys(weights(small), 0)
    for place, image in enumerate(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255):
        logits = small(image[None])
        label = int((logits[0].softmax(0).cumsum(0) <= drawn[0, place]).sum())
        gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.tensor([label])), list(weights(small).values()))
        total = {name: total[name] + g.double() ** 2 / len(images) for name, g in zip(total, gradients, strict=True)}
    found = fisher.diagonal(small, images, labels=1, seed=3)
    assert list(found) == list(total), "in the order of the network"
    for name, expected in total.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-3 * float(expected.mean()))


def test_parts_of_a_batch_give_what_the_whole_gives(small, images, monkeypatch):
    whole = fisher.diagonal(small, images, labels="all")
    monkeypatch.setattr(fisher, "MOST", 40_000)
    monkeypatch.setattr(fisher, "KEPT", 0)
    monkeypatch.setattr(fisher, "BATCH", 7)
    for name, part in fisher.diagonal(small, images, labels="all").items():
        torch.testing.assert_close(part, whole[name], rtol=1e-4, atol=1e-5 * float(whole[name].mean()))


def test_many_draws_come_near_all_labels(small, images):
    exact, drawn = (sum(fisher.traces(fisher.diagonal(small, images[:8], labels=n)).values()) for n in ("all", 40))
    assert drawn == pytest.approx(exact, rel=0.1)


def test_the_network_is_left_as_it_was(small, images):
    fisher.diagonal(small, images[:2])
    assert all(weight.requires_grad and weight.grad is None for weight in small.parameters())
    assert not any(module._forward_hooks for module in small.modules())


def test_noise_is_that_of_definition_3_4():
    information = {"w": torch.tensor([0.0, 1.0, 1e6], dtype=torch.float64)}
    sigma = fisher.deviations(information, beta=0.02, prior_std=0.5)["w"]
    assert sigma[0] == pytest.approx(0.5)  # no information: the prior
    assert sigma[1] == pytest.approx(math.sqrt(0.01 / (1 + 0.02 / (2 * 0.25))))
    assert sigma[2] == pytest.approx(math.sqrt(0.01 / 1e6), rel=1e-6)  # beta / 2 F^-1
    mean = fisher.log_variances(information, beta=0.02, prior_std=0.5)["w"]
    assert mean == pytest.approx(float((2 * sigma.log()).mean()))


def test_sigma_minimises_the_cost_of_the_noise():
    """Equation 6 of one weight to second order: F sigma^2 + beta KL(N(0, sigma^2) || N(0, lambda^2)), for one found by search."""
    information, beta, prior = 0.7, 0.3, 1.5
    s = torch.linspace(0.01, 3, 100_000, dtype=torch.float64)
    cost = information * s**2 / 2 + beta / 2 * 0.5 * (s**2 / prior**2 - 1 - 2 * (s / prior).log())
    [sigma] = fisher.deviations({"w": torch.tensor([information])}, beta, prior)["w"].tolist()
    assert sigma == pytest.approx(float(s[cost.argmin()]), abs=1e-3)
