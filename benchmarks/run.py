"""What makes the embedded default fast, each as a ratio of two things measured side by side on one thread.

cell: a fine-tuning run on activations of the frozen part, computed once for all cells, against the same run with every
    image through the whole network in every epoch.
attack step: a step of PGD, which needs the gradient by the image alone, against a forward and backward pass with the
    gradients of all weights.

Run it with `make bench`. It makes its own data; nothing is read or written.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib import attacks, finetuning, inference, networks

TRAIN, TEST, EPOCHS, EVAL_EVERY, REPEATS = 100, 797, 100, 20, 3
SETTINGS = {"epochs": EPOCHS, "eval_every": EVAL_EVERY, "batch_size": 128, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "seed": 0}


class WholeNetwork(nn.Module):
    """The network as a plain loop trains it: the frozen part runs in every pass, in eval mode and without gradients."""

    def __init__(self, frozen: nn.Module, trained: nn.Module):
        super().__init__()
        self.frozen, self.trained = frozen, trained

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.frozen.eval()
        return self

    def parameters(self, recurse: bool = True):
        return self.trained.parameters(recurse)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.frozen(x)
        return self.trained(x)


def images() -> finetuning.Inputs:
    rng = np.random.default_rng(0)
    x = {n: rng.integers(0, 256, (n, 32, 32, 1), dtype=np.uint8) for n in (TRAIN, TEST)}
    return finetuning.Inputs(x[TRAIN], np.arange(TRAIN) % 10, x[TEST], np.arange(TEST) % 10)


def seconds(run: Callable[[], object]) -> float:
    """The median of some runs, after one that warms up."""
    run()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return median(times)


def cell(blocks: int) -> tuple[float, float]:
    """Seconds of one cell: on activations, and plainly."""
    inputs = images()
    chosen = np.arange(TRAIN)

    def parts() -> tuple[nn.Sequential, nn.Sequential]:
        return networks.split(finetuning.start("small_resnet", None, 10, "normal", seed=0), blocks)

    frozen, _ = parts()
    activations = [np.concatenate(list(inference.frozen_activations(frozen, x))) for x in (inputs.train_x, inputs.test_x)]
    cached = finetuning.Inputs(activations[0], inputs.train_y, activations[1], inputs.test_y)
    fast = seconds(lambda: list(finetuning.finetune(parts()[1], cached, chosen, **SETTINGS)))
    plain = seconds(lambda: list(finetuning.finetune(WholeNetwork(*parts()), inputs, chosen, **SETTINGS)))
    return fast, plain


def attack_step() -> tuple[float, float]:
    """Seconds of one PGD step, and of one bare forward and backward pass, on 128 images."""
    network = networks.build("small_resnet", 24, [0.5] * 3, [0.25] * 3).eval().to(memory_format=torch.channels_last)
    x = torch.rand(128, 3, 32, 32).to(memory_format=torch.channels_last)
    y = torch.arange(128) % 24
    steps = 10
    perturb = attacks.pgd(norm="l2", eps=0.5, steps=steps, step_ratio=2.0)

    def bare() -> None:
        for _ in range(steps):
            network.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(x), y).backward()

    return seconds(lambda: perturb(network, x, y)) / steps, seconds(bare) / steps


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, median of {REPEATS}\n")
    print(f"{'measurement':34} {'fast':>9} {'plain':>9} {'plain / fast':>13}")
    for blocks in (0, 1, 3):
        show(f"cell, {blocks} blocks, {TRAIN} images", *cell(blocks))
    show("attack step, 128 images", *attack_step())


def show(name: str, fast: float, plain: float) -> None:
    print(f"{name:34} {fast:7.3f} s {plain:7.3f} s {plain / fast:13.1f}", flush=True)


if __name__ == "__main__":
    main()
