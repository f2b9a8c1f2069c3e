"""Influence of training images through the last layer: ours against the way of the authors' code, in one run; and how far ours goes.

ratio: 400 training and 1,000 test images, 200 features, 10 classes. Theirs: a gradient by autograd for each image, the Hessian by
autograd, its pseudo-inverse, and the product. Ours: all eigenvectors, and those above the cut alone. All on one thread, in float64.
large: 3,200 training and 10,000 test images, 2,048 features, 10 classes, cut at 0.05: seconds and the most memory, in a process of its own.

Run it with `python -m benchmarks.influence`. Features are random, drawn around a centre for each class, and the head fits them.
"""

import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from stages.lib.curvature import head, influence, spectrum
from stages.lib.curvature.head import Points

CUT, MEMORY = 0.05, 1 << 30
SMALL, LARGE = (400, 1000, 200, 10), (3200, 10_000, 2048, 10)  # training and test images, features, classes


def made(n_train: int, n_test: int, width: int, classes: int) -> tuple[Tensor, ...]:
    """Features and labels of training and test images, and the weight and bias of a head after 200 steps on them."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, width, generator=random)
    sets = []
    for n in (n_train, n_test):
        y = torch.arange(n) % classes
        sets += [(torch.randn(n, width, generator=random) + 0.25 * centres[y]).relu(), y]
    x, y = sets[:2]
    layer = torch.nn.Linear(width, classes)
    optimiser = torch.optim.SGD(layer.parameters(), 0.05, 0.9, weight_decay=5e-4)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(layer(x), y).backward()
        optimiser.step()
    return *sets, layer.weight.detach(), layer.bias.detach()


def theirs(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Scores [n_test, n_train], by autograd and the pseudo-inverse."""
    theta = torch.cat([weight, bias[:, None]], 1).double().requires_grad_()

    def loss(t: Tensor, z: Tensor, labels: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(z.double() @ t[:, :-1].T + t[:, -1], labels, reduction="sum")

    rows = [
        torch.stack([torch.autograd.grad(loss(theta, z[i : i + 1], labels[i : i + 1]), theta)[0].flatten() for i in range(len(z))])
        for z, labels in ((x, y), (test_x, test_y))
    ]
    hessian = torch.autograd.functional.hessian(lambda t: loss(t, x, y), theta).reshape(theta.numel(), -1)
    return rows[1] @ torch.linalg.pinv(hessian, rtol=CUT) @ rows[0].T


def ours(case: tuple[Tensor, ...], whole: bool) -> tuple[list[Tensor], int]:
    """The best 100 training images of each test image, and how many eigenvectors are above the cut."""
    x, y, test_x, test_y, weight, bias = case
    train: Points = head.points_of(x, y, weight, bias)
    hessian = head.Hessian(train)
    found = spectrum.all_of(hessian) if whole else spectrum.above(hessian, CUT, MEMORY)
    inverse = found.cut(CUT)
    scored = influence.scores(hessian, found, {"cut": inverse}, train, head.points_of(test_x, test_y, weight, bias))
    return [of_ways["cut"].topk(100).indices for _, of_ways in scored], int((inverse > 0).sum())


def ratio() -> None:
    torch.set_num_threads(1)
    case = made(*SMALL)
    started = time.process_time()
    truth = theirs(*case).topk(100).indices
    slow = time.process_time() - started
    print(f"autograd and pinv: {slow:.1f} s of CPU")
    for name, whole in (("all eigenvectors", True), ("those above the cut", False)):
        started = time.process_time()
        found, _ = ours(case, whole)
        fast = time.process_time() - started
        assert torch.equal(torch.cat(found)[:, :5], truth[:, :5]), "the same images help most"
        print(f"ours, {name}: {fast:.2f} s, {slow / fast:.0f} times as fast; the same five images help most")


def large() -> None:
    case = made(*LARGE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, wall = time.process_time(), time.perf_counter()
    _, kept = ours(case, whole=False)
    used, wall = time.process_time() - started, time.perf_counter() - wall
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"3,200 x 10,000 images, 2,048 features, 10 classes: {used:.0f} s of CPU, {wall:.0f} s; {kept} eigenvectors above the cut; "
          f"{(most - before) / 1024:.0f} MiB beside torch and the images")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["large"]:
        large()
    else:
        ratio()
        subprocess.run([sys.executable, "-m", "benchmarks.influence", "large"], check=True)
