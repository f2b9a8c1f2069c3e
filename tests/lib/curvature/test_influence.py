"""Influence through the last layer, against autograd's Hessian, `pinv` in float64, and retraining without each image."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from stages.lib.curvature import head, influence, spectrum
from stages.lib.errors import RunError

GIB = 2**30
torch.set_num_threads(1)


def made(n: int, width: int, classes: int, seed: int = 0, n_test: int = 30) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features and labels of training and test images, weight and bias; labels are noisy, so that no line separates them."""
    random = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(classes, width, generator=random).double(), torch.randn(classes, generator=random).double()
    x, test_x = (torch.randn(count, width, generator=random).double().relu() for count in (n, n_test))
    y, test_y = ((z @ weight.T + 3 * torch.randn(len(z), classes, generator=random)).argmax(1) for z in (x, test_x))
    return x, y, test_x, test_y, 0.7 * weight, bias


def loss_of(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy of each image, by torch alone; theta: [classes, width + 1]."""
    return torch.nn.functional.cross_entropy(x @ theta[:, :-1].T + theta[:, -1], y, reduction="none")


def hessian_of(loss: Callable) -> Callable:
    """Backward twice: torch's own goes forward, whose rules take a compiler that warns."""
    return torch.func.jacrev(torch.func.jacrev(loss))


def by_autograd(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Hessian of the summed loss, and the gradient of each training and test image, a row for each."""
    theta = torch.cat([weight, bias[:, None]], 1)
    hessian = hessian_of(lambda t: loss_of(t, x, y).sum())(theta)
    rows = [torch.func.jacrev(lambda t, x=a, y=b: loss_of(t, x, y))(theta).flatten(1) for a, b in ((x, y), (test_x, test_y))]
    return hessian.reshape(theta.numel(), -1), *rows


def scored(case: tuple, **inverses: float) -> tuple[head.Hessian, dict[str, Tensor]]:
    x, y, test_x, test_y, weight, bias = case
    train, test = head.points_of(x, y, weight, bias), head.points_of(test_x, test_y, weight, bias)
    hessian = head.Hessian(train)
    found = spectrum.all_of(hessian)
    eigenvalues = {name: getattr(found, name)(relative) for name, relative in inverses.items()}
    parts = list(influence.scores(hessian, found, eigenvalues, train, test))
    return hessian, {name: torch.cat([of_ways[name] for _, of_ways in parts]) for name in inverses}


CASES = {"more images than features": (60, 9, 4), "fewer images than features": (14, 40, 5), "two classes": (30, 6, 2)}


@pytest.mark.parametrize("shape", CASES.values(), ids=CASES)
def test_the_closed_form_is_autograds_hessian_without_what_all_images_share(shape):
    case = made(*shape)
    hessian, _ = scored(case, cut=0.05)
    whole, train_rows, _ = by_autograd(*case)
    span = torch.eye(whole.shape[0] // shape[2]).double() if hessian.span is None else hessian.span
    basis = torch.kron(hessian.contrasts, span.contiguous())  # [classes * (width + 1), size]
    torch.testing.assert_close(basis.T @ basis, torch.eye(hessian.size).double())
    torch.testing.assert_close(basis @ hessian.dense() @ basis.T, whole, atol=1e-10, rtol=1e-10)
    z, residuals = hessian.coordinates(head.points_of(*case[:2], *case[4:]))
    torch.testing.assert_close(torch.einsum("nc,nd->ncd", residuals, z).flatten(1) @ basis.T, train_rows, atol=1e-10, rtol=1e-10)
    vectors = torch.randn(hessian.size, 3).double()
    torch.testing.assert_close(hessian.times(vectors), hessian.dense() @ vectors, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("shape", CASES.values(), ids=CASES)
def test_scores_are_those_of_the_authors_way_rows_by_autograd_and_the_pseudo_inverse_of_the_whole(shape, monkeypatch):
    monkeypatch.setattr(influence, "CHUNK", 4000)  # so that there are several chunks
    case = made(*shape)
    _, ours = scored(case, cut=0.05, damped=0.01)
    whole, train_rows, test_rows = by_autograd(*case)
    by_cut = test_rows @ torch.linalg.pinv(whole, rtol=0.05, hermitian=True) @ train_rows.T
    largest = torch.linalg.eigvalsh(whole)[-1]
    damped = test_rows @ torch.linalg.solve(whole + 0.01 * largest * torch.eye(len(whole)).double(), train_rows.T)
    for name, truth in (("cut", by_cut), ("damped", damped)):
        assert (ours[name] - truth).abs().max() < 1e-9 * truth.abs().max()


def test_a_sure_image_keeps_its_digits():
    x, y = torch.ones(1, 1), torch.tensor([0])
    points = head.points_of(x, y, torch.tensor([[40.0], [0.0], [0.0]]), torch.zeros(3))
    assert points.residuals[0, 0] == pytest.approx(-2 * np.exp(-40.0), rel=1e-12)


@pytest.mark.parametrize("cut", [0.3, 0.05, 0.01])
def test_lanczos_finds_what_is_above_the_cut(cut):
    x, y, _, _, weight, bias = made(80, 30, 6)
    hessian = head.Hessian(head.points_of(x, y, weight, bias))
    whole, found = spectrum.all_of(hessian), spectrum.above(hessian, cut, GIB)
    count = int((whole.values > cut * whole.values[0]).sum())
    assert 0 < len(found.values) == count < hessian.size
    torch.testing.assert_close(found.values, whole.values[:count], rtol=1e-10, atol=0)
    projector, truth = found.vectors @ found.vectors.T, whole.vectors[:, :count] @ whole.vectors[:, :count].T
    torch.testing.assert_close(projector, truth, atol=1e-6, rtol=0)


def diagonal(values: Tensor) -> SimpleNamespace:
    """What stands for a Hessian with these eigenvalues."""
    return SimpleNamespace(size=len(values), z=values, times=lambda v: values[:, None] * v)


def test_equal_eigenvalues_are_all_found():
    values = torch.cat([torch.full((4,), 7.0), torch.linspace(0, 0.1, 60)]).double()
    found = spectrum.above(diagonal(values), 0.05, GIB)
    assert found.values.tolist() == pytest.approx([7.0] * 4)
    torch.testing.assert_close(found.vectors[:4] @ found.vectors[:4].T, torch.eye(4).double(), atol=1e-8, rtol=0)


def test_what_takes_more_memory_than_there_is_says_so_in_one_line():
    values = torch.linspace(0.5, 1, 400).double()
    with pytest.raises(
        RunError, match=r"^influence: too many eigenvalues are above a cut of 0\.05 for 9\.77e-05 GiB; allowed: a larger cut, or"
    ):
        spectrum.above(diagonal(values), 0.05, 8 * 400 * 33 - 700)


def test_of_a_hessian_of_zeros_nothing_is_left():
    found = spectrum.above(diagonal(torch.zeros(50).double()), 0.05, GIB)
    assert found.cut(0.05).tolist() == [0.0]


def newton(theta: Tensor, basis: Tensor, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Minimisers of the weighted loss within theta + basis a, for each row of weights: [rows, classes, width + 1]."""

    def loss(a: Tensor, w: Tensor) -> Tensor:
        return w @ loss_of(theta + (basis @ a).view_as(theta), x, y)

    step = torch.func.vmap(lambda a, w: torch.linalg.solve(hessian_of(loss)(a, w), torch.func.grad(loss)(a, w)))
    a = torch.zeros(len(weights), basis.shape[1]).double()
    for _ in range(8):
        a = a - step(a, weights)
    return theta + (a @ basis.T).view(len(weights), *theta.shape)


@pytest.mark.parametrize("cut", [1e-10, 0.2])
def test_the_score_ranks_images_as_retraining_without_each_of_them_does(cut):
    """A head that is trained to the end on 70 images. It has a minimum where adding the same to all classes is left out, and with a cut,
    within the eigenvectors that are above it: there, and nowhere else, can influence speak of it."""
    x, y, test_x, test_y, weight, bias = made(70, 4, 3, seed=2)
    start = torch.cat([weight, bias[:, None]], 1)
    gauge = torch.kron(head.contrasts(3), torch.eye(5).double())
    everything = torch.ones(1, 70).double()
    [best] = newton(start, gauge, x, y, everything)
    hessian = hessian_of(lambda t: loss_of(t, x, y).sum())(best).reshape(15, 15)
    values, vectors = torch.linalg.eigh(hessian)
    kept = vectors[:, values > cut * values[-1]]
    assert (kept.shape[1] == 10) == (cut < 1e-9), "all (3 - 1) (4 + 1) directions, or fewer"
    without = newton(best, kept, x, y, everything - torch.eye(70).double())
    harm = torch.stack([loss_of(theta, test_x, test_y) - loss_of(best, test_x, test_y) for theta in without], 1)  # [n_test, 70]
    _, ours = scored((x, y, test_x, test_y, best[:, :-1], best[:, -1]), cut=cut)
    correlations = [spearmanr(a, b).statistic for a, b in zip(ours["cut"], harm, strict=True)]
    assert min(correlations) > 0.95
    assert spearmanr(ours["cut"].flatten(), harm.flatten()).statistic > 0.98
