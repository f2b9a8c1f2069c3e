"""Small trainings in float64. The test makes them in its own process, and `together` in several that share each batch."""

import io
import json
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.lib.attacks import pgd
from stages.lib.datasets import pixels
from stages.lib.networks import units
from stages.lib.norms.table import norm_of
from stages.lib.training import loop, parallel, schedules
from stages.lib.training.free import Free

CASES = {
    "natural": {},
    "adversarial": {"perturb_at": lambda progress: pgd.make(norm="l2", eps=0.5 * progress, steps=2, step_ratio=2)},
    "cropped": {"augmentation": "resized_crop"},
    "natural of 17": {"n": 17},
    "free": {"free": Free(2, norm_of("l2"), lambda progress: 0.5 + progress), "epochs": 4},
}
KEPT = 1  # the epoch after which the state is kept


def train(n: int = 21, noise: int = 0, epochs: int = 2, **settings: object) -> dict:
    """Loss and accuracy of each epoch, the sum and the names of the weights, and of the first process the state after epoch 1.

    Args:
        noise: seed of the global generator before the training, on which nothing may depend.
    """
    torch.manual_seed(0)
    network = units.build("small_resnet_x0_5", 4, [0.5] * 3, [0.25] * 3).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 16, 16, 3), dtype=torch.uint8, generator=generator)
    y = torch.randint(0, 4, (n,), generator=generator)
    history, kept = [], io.BytesIO()

    def after_epoch(done: loop.Epoch, state: dict) -> None:
        history.append([done.loss, done.train_accuracy])
        if done.number == KEPT:
            torch.save(state, kept)

    torch.manual_seed(noise)
    loop.train(network, x, y, epochs=epochs, batch_size=8, lr=0.05, momentum=0.9, weight_decay=5e-4, seed=3,
               schedule=partial(schedules.one_cycle, warmup=0.25), after_epoch=after_epoch, **settings)  # fmt: skip
    weights = network.state_dict()
    total = sum(float(weight.detach().abs().sum()) for weight in weights.values())
    return {"history": history, "total": total, "names": sorted(weights), "kept": kept.getvalue()}


def drawn_noise(noise: int) -> list[list[float]]:
    """What an attack draws in each batch of a training, in this process."""
    drawn: list[list[float]] = []

    def draw(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        drawn.append(torch.randn(2).tolist())
        return x

    train(noise=noise, perturb_at=lambda progress: draw)
    return drawn


def in_float64(prepare: Callable) -> Callable:
    return lambda *arguments: prepare(*arguments).double()


def main(folder: Path) -> None:
    """Write what each process finds to `<folder>/<rank>.json`."""
    pixels.prepare = in_float64(pixels.prepare)
    results = {name: train(**settings) for name, settings in CASES.items()}
    if parallel.is_first():
        (folder / "kept").write_bytes(results["free"]["kept"])
    torch.distributed.barrier()
    results["resumed"] = train(noise=7, start_from=torch.load(folder / "kept"), **CASES["free"])
    results["noise"] = {"first": drawn_noise(noise=1), "second": drawn_noise(noise=2)}
    for result in results.values():
        result.pop("kept", None)
    (folder / f"{parallel.rank()}.json").write_text(json.dumps(results))


def both(port: int, folder: Path) -> None:
    """Two processes that share each batch, forked from this one once it has imported what each of them would take seconds to import."""
    import_module("torch._dynamo")  # as DistributedDataParallel does

    context = multiprocessing.get_context("fork")
    started = [context.Process(target=together, args=(rank, port, folder)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(600)
    assert [process.exitcode for process in started] == [0, 0]


def together(rank: int, port: int, folder: Path) -> None:
    """One of two processes: what torchrun would set, without torchrun, whose process takes as long to start as each of these."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with parallel.group():
        main(folder)
