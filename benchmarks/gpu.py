"""How fast a GPU fine-tunes ResNet-50s at 224 pixels by the published protocol, and which share of its rate that is.

limits: products of large matrices in each precision, and bytes copied in its memory, per second.
parts: what a batch of 128 images passes through on its way, each by itself.
runs: whole runs by the loop of the pipeline, with crop, flip, jitter and rotation in each epoch and batch statistics in the frozen
    part, so that nothing can be kept; images per second, and the operations that they need over the rate for large matrices. Runs that
    differ in their blocks share one pass of the images; of these, images of all runs are counted.
profile: what `make plan` says of `cifar10-one-gpu`.

`make gpu` runs it after the tests on the GPU, and writes the page to reports/gpu.md. It makes its own data.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stages.lib.datasets import augmentation, pixels
from stages.lib.machine import Precision
from stages.lib.networks.devices import best_device
from stages.lib.networks.inference import View, widened
from stages.lib.networks.layers import cuts, nested
from stages.lib.runs.jobs import Blocks
from stages.lib.training import finetuning

PAGE = Path("reports/gpu.md")
CLASSES = 10
SETTINGS = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4, "frozen_batchnorm": "batch"}
NAMES = {False: "float32", "tf32": "TF32", True: "bfloat16"}


@dataclass(frozen=True)
class Scale:
    """Sizes of what is measured."""

    architecture: str = "resnet50"
    image_size: int = 224  # pixels a side
    batch_size: int = 128
    n_images: int = 1600  # of a run
    n_test: int = 2000
    epochs: tuple[int, int] = (2, 5)  # of two runs, whose difference is measured, so that what comes once does not count
    blocks: tuple[Blocks, ...] = (0, 1, 3, 9, "all")
    at: Blocks = 3  # blocks at which precisions are compared
    side: int = 8192  # of large matrices
    copied: int = 1 << 30  # bytes
    compiled: bool = True  # whether fused operations are measured
    repeats: int = 10  # of what is measured by itself, and so many times before that to warm up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--no-compile",
        action="store_true",
        help="leave out fused operations, and the profile that has them",
    )
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("error: torch sees no GPU on this machine, so there is nothing to measure")
    lines = []
    for line in page(Scale(compiled=not chosen.no_compile)):
        print(line, flush=True)
        lines.append(line)
    PAGE.write_text("\n".join(lines) + "\n")


def page(scale: Scale) -> Iterator[str]:
    """The page, line by line, as each is measured."""
    device = best_device()
    where = torch.cuda.get_device_name() if device.type == "cuda" else "the processor"
    yield f"# {scale.architecture} at {scale.image_size} pixels on {where}, torch {torch.__version__}\n"
    rates = {precision: matrix_rate(scale, precision) for precision in NAMES}
    yield from ("| limit | |", "|---|---|")
    yield from (
        f"| product of {scale.side} x {scale.side} matrices, {NAMES[name]} | {rate / 1e12:,.2f} TFLOP/s |" for name, rate in rates.items()
    )
    yield f"| copy within memory, read and written | {2 * scale.copied / copy_seconds(scale, device) / 1e9:,.0f} GB/s |\n"
    yield from (f"| part, {scale.batch_size} images | ms | images/s |", "|---|---|---|")
    yield from (f"| {name} | {1e3 * seconds:.2f} | {scale.batch_size / seconds:,.0f} |" for name, seconds in parts(scale, device))
    yield from ("", "| run | trained images/s | of the matrix rate | tested images/s | first epochs and test |", "|---|---|---|---|---|")
    at_once = tuple(blocks for blocks in scale.blocks if blocks != "all")
    for blocks, precision, fused in [
        *(((blocks,), True, False) for blocks in scale.blocks),
        (at_once, True, False),
        *(((scale.at,), *how) for how in precisions(device, scale.compiled)),
    ]:
        yield run(scale, blocks, precision, fused, rates[precision])
    yield ""
    if device.type == "cuda" and scale.compiled:
        yield plan_of("cifar10-one-gpu")


def precisions(device: torch.device, compiled: bool) -> list[tuple[Precision, bool]]:
    """Precisions, and whether operations are fused, that are measured beside bfloat16."""
    if device.type == "cpu":
        return [(False, False)]
    return [(False, False), ("tf32", False), *([(True, True)] if compiled else [])]


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The median of some runs, after as many that warm up."""
    times = []
    for _ in range(2 * repeats):
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return median(times[repeats:])


def matrix_rate(scale: Scale, precision: Precision) -> float:
    """Floating-point operations per second in the product of two large matrices."""
    device = best_device(precision)
    a, b = (torch.randn(scale.side, scale.side, device=device, dtype=torch.bfloat16 if precision is True else torch.float32) for _ in "ab")
    return 2 * scale.side**3 / seconds(lambda: a @ b, scale.repeats)


def copy_seconds(scale: Scale, device: torch.device) -> float:
    a = torch.zeros(scale.copied, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return seconds(lambda: b.copy_(a), scale.repeats)


def parts(scale: Scale, device: torch.device) -> Iterator[tuple[str, float]]:
    """Seconds of each part of a step in bfloat16."""
    view = View(scale.image_size, mixed_precision=True)
    stored = torch.randint(0, 256, (scale.batch_size, 32, 32, 3), dtype=torch.uint8, device=device)
    drawn = augmentation.draw(scale.batch_size, 0, 0).to(device)
    x, y = pixels.prepare(stored, device, scale.image_size), torch.arange(scale.batch_size, device=device) % CLASSES
    [(frozen, trained)] = parts_of(scale, (scale.at,), device)
    best_device(True)
    yield "up-scaling, from 32 pixels", seconds(lambda: pixels.prepare(stored, device, scale.image_size), scale.repeats)
    yield "augmentation", seconds(lambda: augmentation.apply(x, drawn), scale.repeats)

    def forward(network: nn.Module, images: Tensor) -> Tensor:
        with torch.no_grad(), view.precision(device):
            return widened(network(images))

    z = forward(frozen.train(), x)
    yield f"frozen part of {scale.at} blocks, batch statistics", seconds(lambda: forward(frozen, x), scale.repeats)
    yield f"step of {scale.at} blocks", seconds(lambda: step(trained.train(), z, y, view), scale.repeats)
    whole = nn.Sequential(frozen, trained).eval()
    yield "test, the whole network", seconds(lambda: forward(whole, x), scale.repeats)


def parts_of(scale: Scale, at_once: tuple[Blocks, ...], device: torch.device) -> list[tuple[nn.Module | None, nn.Module]]:
    """The frozen and the trained part of networks with random weights, which share a pass."""
    started = [finetuning.start(scale.architecture, None, CLASSES, "default", 0) for _ in at_once]
    networks = [network.to(device, memory_format=torch.channels_last) for network in started]
    return [cuts.cut(networks[0], at_once[0])] if len(at_once) == 1 else nested.cut(networks, at_once)


def step(trained: nn.Module, z: Tensor, y: Tensor, view: View) -> tuple[Tensor, ...]:
    """The gradients of a step, forward and backward."""
    with view.precision(z.device):
        logits = widened(trained(z))
    return torch.autograd.grad(nn.functional.cross_entropy(logits, y), list(trained.parameters()))


def operations(scale: Scale, at_once: tuple[Blocks, ...], device: torch.device) -> float:
    """Floating-point operations of products for an image of one of the runs: frozen parts forward, trained ones forward and backward."""
    images = torch.zeros(2, 3, scale.image_size, scale.image_size, device=device)
    parts, passes = parts_of(scale, at_once, device), []
    with FlopCounterMode(display=False) as counter:
        for frozen, trained in parts:
            before = counter.get_total_flops()
            with torch.no_grad():
                z = images if frozen is None else frozen(images)
            passes.append(counter.get_total_flops() - before)
            step(trained, z, torch.zeros(2, dtype=torch.int64, device=device), View())
    return (counter.get_total_flops() - sum(passes) + max(passes)) / 2 / len(at_once)  # the longest pass serves all


def run(scale: Scale, at_once: tuple[Blocks, ...], precision: Precision, fused: bool, rate: float) -> str:
    """A row of the table of whole runs by the published protocol: one, or several that share a pass."""
    device = best_device(precision)
    rng = np.random.default_rng(0)
    x, test_x = (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (scale.n_images, scale.n_test))
    inputs = finetuning.Inputs(x, np.arange(len(x)) % CLASSES, test_x, np.arange(len(test_x)) % CLASSES)

    def taken(epochs: int, tested: int) -> float:
        runs = [finetuning.FineTuning(trained, np.arange(len(x)), 0, frozen) for frozen, trained in parts_of(scale, at_once, device)]
        view = View(scale.image_size, None, "published", precision, fused)
        data = replace(inputs, test_x=test_x[:tested], test_y=inputs.test_y[:tested])
        started = time.perf_counter()
        list(finetuning.finetune_together(
            runs, data, epochs=epochs, eval_every=epochs, batch_size=scale.batch_size, view=view, one_pass=len(runs) > 1, **SETTINGS,
        ))  # fmt: skip
        return time.perf_counter() - started

    few, many = scale.epochs
    first = taken(few, scale.n_test)
    short, long, untested = taken(few, scale.n_test), taken(many, scale.n_test), taken(few, scale.n_test // 10)
    trained = len(at_once) * scale.n_images * (many - few) / max(long - short, 1e-9)
    tested = len(at_once) * 2 * (scale.n_test - scale.n_test // 10) / max(short - untested, 1e-9)
    share = 100 * trained * operations(scale, at_once, device) / rate
    shared = ", one pass" if len(at_once) > 1 else ""
    name = f"{', '.join(map(str, at_once))} blocks{shared}, {NAMES[precision]}{', fused' if fused else ''}"
    return f"| {name} | {trained:,.0f} | {share:.0f} % | {tested:,.0f} | {first:.1f} s |"


def plan_of(profile: str) -> str:
    """The output of `make plan` for a profile."""
    done = subprocess.run([sys.executable, "-m", "stages.plan", profile], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
