"""How fast the engine is, each figure as a ratio of two things measured side by side on one thread.

cell: a fine-tuning run on activations of the frozen part, computed once for all cells, and in the company of others, against
    the same run with every image through the whole network in every epoch.
limit: the operations that such a run must do, over the rate at which the machine multiplies large matrices.
adversarial step: a step of training on PGD(k) against k + 1 bare passes forward and backward with the gradients of all weights.
attack: a gradient of the images, by the network as it is and with its batch norms folded, as attacks of a trained network take it.

Run it with `make bench`. It makes its own data; nothing is read or written.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stages.lib.attacks import pgd
from stages.lib.attacks.attack import loss_gradient
from stages.lib.networks import inference, units
from stages.lib.networks.layers.folded import folded
from stages.lib.runs import grid
from stages.lib.training import finetuning

TRAIN, TEST, EPOCHS, EVAL_EVERY, REPEATS = 100, 797, 100, 20, 3
SETTINGS = {"epochs": EPOCHS, "eval_every": EVAL_EVERY, "batch_size": 128, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
STEPS = 3  # k of the attack


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


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of its products, forward and backward; torch counts those of grouped convolutions too high."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def matrix_rate() -> float:
    """Floating-point operations per second in the product of two large matrices."""
    side = 2048
    a, b = torch.rand(side, side), torch.rand(side, side)
    return 2 * side**3 / seconds(lambda: a @ b)


def cell(blocks: int) -> tuple[float, float, float]:
    """One cell: seconds as the grid computes it, seconds plainly, and the operations that the former must do."""
    inputs, chosen, n = images(), np.arange(TRAIN), grid.TOGETHER

    def parts(seed: int) -> tuple[nn.Sequential, nn.Sequential]:
        return units.split(finetuning.start("small_resnet", None, 10, "normal", seed), blocks)

    frozen, _ = parts(0)
    held = [np.concatenate(list(inference.frozen_activations(frozen, x))) for x in (inputs.train_x, inputs.test_x)]
    cached = finetuning.Inputs(held[0], inputs.train_y, held[1], inputs.test_y)

    def together(n: int) -> None:
        runs = [finetuning.FineTuning(parts(seed)[1], chosen, seed) for seed in range(n)]
        list(finetuning.finetune_together(runs, cached, **SETTINGS))

    plain = seconds(lambda: list(finetuning.finetune(WholeNetwork(*parts(0)), inputs, chosen, seed=0, **SETTINGS)))
    return seconds(lambda: together(n)) / n, plain, operations(lambda: together(1))


def attacked() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network in eval mode, 128 images and their labels."""
    network = units.build("small_resnet", 24, [0.5] * 3, [0.25] * 3).to(memory_format=torch.channels_last).eval()
    return network, torch.rand(128, 3, 32, 32).to(memory_format=torch.channels_last), torch.arange(128) % 24


def attack() -> tuple[float, float, int]:
    """Seconds of a gradient of 128 images by the network as it is, and folded; and the operations that the latter must do."""
    network, x, y = attacked()
    plain, fast = network.requires_grad_(False), folded(network)

    def taken(model: nn.Module) -> float:
        return seconds(lambda: [loss_gradient(model, x, y) for _ in range(5)]) / 5

    return taken(plain), taken(fast), 2 * operations(lambda: fast(x))  # as many back to the images as forward


def adversarial_step() -> tuple[float, float]:
    """Seconds of a step of adversarial training, and of one bare pass forward and backward, on 128 images."""
    network, x, y = attacked()
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    perturb = pgd.make(norm="l2", eps=0.5, steps=STEPS, step_ratio=2.0)

    def bare(x: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(x), y).backward()

    def step() -> None:
        bare(perturb(network, x, y))
        optimiser.step()

    return seconds(lambda: [step() for _ in range(5)]) / 5, seconds(lambda: [bare(x) for _ in range(5)]) / 5


def main() -> None:
    torch.set_num_threads(1)
    rate = matrix_rate()
    print(f"torch {torch.__version__}, one thread, median of {REPEATS}; product of matrices: {rate / 1e9:.0f} GFLOP/s\n")
    print(f"| cell of {TRAIN} images, {EPOCHS} epochs | seconds | plain loop | ratio | GFLOP | share of the matrix rate |")
    print("|---|---|---|---|---|---|")
    for blocks in (0, 1, 3):
        fast, plain, flop = cell(blocks)
        share = 100 * flop / rate / fast
        print(f"| {blocks} blocks | {fast:.3f} | {plain:.3f} | {plain / fast:.1f} | {flop / 1e9:.1f} | {share:.0f} % |", flush=True)
    step, bare = adversarial_step()
    passes = (STEPS + 1) * bare
    print(f"\nadversarial step, PGD({STEPS}), 128 images: {step:.3f} s")
    print(f"{STEPS + 1} bare passes: {passes:.3f} s, ratio {step / passes:.2f}")
    plain, fast, flop = attack()
    print(f"\ngradient of 128 images: {plain:.4f} s, with folded batch norms {fast:.4f} s, ratio {plain / fast:.2f}")
    print(f"{flop / 1e9:.1f} GFLOP, {100 * flop / rate / fast:.0f} % of the matrix rate")


if __name__ == "__main__":
    main()
