"""What a configuration costs: images through the network, counted from its settings, times the seconds an image takes on this device.

`python -m benchmarks.cost profiles/paper.yaml` measures a few steps of each (architecture, blocks) of the configuration, in the
way in which `finetune` would compute them here, and prints runs, images, rates and hours. `--batch` is the batch of the
measurement (default: that of the configuration, and 16 on a CPU). Nothing is read but settings, nothing is written.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.lib import images, networks, params, training
from stages.lib.catalog import Random
from stages.lib.fields import by_size
from stages.lib.settings import Params

NATIVE = 32  # pixels a side of the published sets, as they lie on disk
SECONDS = 3.0  # that each measurement takes at least


@dataclass
class Work:
    """Images of all runs of one (architecture, blocks)."""

    runs: int = 0
    trained: int = 0  # through forward and backward pass
    tested: int = 0  # through the forward pass
    frozen: int = 0  # through the frozen part alone, once for all runs


def runs_of(settings: Params, train: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each size that a target has: images, seeds, epochs, evaluations of a run."""
    for wanted in settings.draw_subsets.n_images:
        n = train if wanted == "all" else wanted
        if n <= train:
            whole = n == train
            seeds = by_size(settings.draw_subsets.n_seeds, n, whole)
            epochs, every = by_size(settings.finetune.epochs, n, whole), by_size(settings.finetune.eval_every, n, whole)
            yield n, seeds, epochs, len({*range(0, epochs, every), epochs - 1})


def work_of(settings: Params) -> dict[tuple[str, str | int], Work]:
    found: dict[tuple[str, str | int], Work] = defaultdict(Work)
    for source in map(params.source_entry, settings.sources):
        for target in map(params.dataset_entry, settings.targets):
            sizes = list(runs_of(settings, target.train))
            for blocks in ["all"] if isinstance(source, Random) else settings.blocks:
                work = found[source.architecture, blocks]
                work.runs += sum(seeds for _, seeds, _, _ in sizes)
                work.trained += sum(n * seeds * epochs for n, seeds, epochs, _ in sizes)
                work.tested += sum(target.test * seeds * evaluations for _, seeds, _, evaluations in sizes)
                if cached(settings) and blocks != "all":
                    work.frozen += target.train + target.test
    return dict(found)


def cached(settings: Params) -> bool:
    return settings.finetune.frozen_batchnorm == "source" and settings.finetune.augmentation == "none"


def seconds_per_image(run: Callable[[], object], batch: int, device: torch.device) -> float:
    started, done = 0.0, -batch  # the first run warms up
    while done <= 0 or time.perf_counter() - started < SECONDS:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        done += batch
        if done == 0:
            started = time.perf_counter()
    return (time.perf_counter() - started) / done


def rates(architecture: str, blocks: str | int, settings: Params, batch: int, device: torch.device) -> tuple[float, float, float]:
    """Seconds an image: a training step, a test, and the frozen part alone."""
    network = networks.build(architecture, 10, [0.5] * 3, [0.25] * 3).to(device, memory_format=torch.channels_last)
    frozen, trained = networks.split(network, blocks) if blocks != "all" else (nn.Identity(), network)
    stored = torch.randint(0, 256, (batch, NATIVE, NATIVE, 3), dtype=torch.uint8)
    labels = torch.randint(0, 10, (batch,), device=device)
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.0)

    @torch.no_grad()
    def activations() -> Tensor:
        return frozen(images.prepare(stored, device, settings.upscale.image_size))

    kept = activations() if cached(settings) and blocks != "all" else None

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(trained(activations() if kept is None else kept), labels).backward()
        optimiser.step()

    @torch.no_grad()
    def test() -> None:
        trained(activations() if kept is None else kept)

    return tuple(seconds_per_image(run, batch, device) for run in (step, test, activations))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", type=Path, default=params.PARAMS)
    parser.add_argument("--batch", type=int)
    arguments = parser.parse_args()
    settings, device = params.load_params(arguments.profile), training.best_device()
    batch = arguments.batch or (settings.finetune.batch_size if device.type == "cuda" else 16)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{arguments.profile} on {name}, batches of {batch} at {settings.upscale.image_size} pixels a side\n")
    print("| architecture | blocks | runs | million images trained | tested | trained images/s | tested images/s | hours |")
    print("|---|---|---|---|---|---|---|---|")
    total, runs = 0.0, 0
    for (architecture, blocks), work in work_of(settings).items():
        step, test, frozen = rates(architecture, blocks, settings, batch, device)
        hours = (work.trained * step + work.tested * test + work.frozen * frozen) / 3600
        total, runs = total + hours, runs + work.runs
        print(
            f"| {architecture} | {blocks} | {work.runs:,} | {work.trained / 1e6:,.2f} | {work.tested / 1e6:,.2f} "
            f"| {1 / step:,.0f} | {1 / test:,.0f} | {hours:,.1f} |"
        )
    print(f"\n{runs:,} runs, {total:,.1f} hours ({total / 24:,.1f} days) with one process on this device")


if __name__ == "__main__":
    main()
