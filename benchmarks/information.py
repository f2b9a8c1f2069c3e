"""How fast the Fisher information of weights is computed, as ratios of two things measured side by side on one thread.

drawn: one label for each image, in one pass a batch, against a pass for each image alone with the gradients of all weights.
bare: ... against one bare pass of the same batch forward and backward, which has the gradient of its mean alone.
all: all labels, exactly, against as many passes with one label each.

Run it with `python -m benchmarks.information`. It makes its own data; nothing is read or written.
"""

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.run import seconds
from stages.lib.datasets import pixels
from stages.lib.information import fisher_of_weights
from stages.lib.networks import units

IMAGES, CLASSES = 256, 12


def one_by_one(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The squared gradients, image after image, as a plain loop computes them."""
    weights = {name: weight for name, weight in network.named_parameters() if weight.dim() > 1}
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for image, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(network(image[None]), label[None])
        for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            total[name] += gradient.square()
    return total


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    y = torch.arange(IMAGES) % CLASSES
    print(f"torch {torch.__version__}, one thread, {IMAGES} images, {CLASSES} classes\n")
    print("| network | drawn, s | plain loop, s | ratio | bare pass, s | ratio | all labels, s | of one each |")
    print("|---|---|---|---|---|---|---|---|")
    for architecture in ("small_resnet_x0_5", "small_resnet"):
        network = units.build(architecture, CLASSES, [0.5] * 3, [0.25] * 3).eval()
        seen = pixels.prepare(x)
        drawn = seconds(lambda network=network: fisher_of_weights.diagonal(network, x, labels=1))
        every = seconds(lambda network=network: fisher_of_weights.diagonal(network, x, labels="all"))
        plain = seconds(lambda network=network, seen=seen: one_by_one(network, seen, y))
        bare = seconds(lambda network=network, seen=seen: nn.functional.cross_entropy(network(seen), y).backward())
        print(f"| {architecture} | {drawn:.2f} | {plain:.2f} | {plain / drawn:.1f} | {bare:.2f} | {drawn / bare:.1f} | {every:.2f} "
              f"| {every / (CLASSES * drawn):.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
