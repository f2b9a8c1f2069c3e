"""What can go wrong on a GPU: its memory is too small, a worker is killed, several processes share one card or several."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from stages.lib.networks import inference, units
from stages.lib.networks.devices import best_device
from stages.lib.workers import pool

pytestmark = pytest.mark.gpu

GIB = 1 << 30


@pytest.fixture
def little_memory():
    """Of the GPU's memory, 0.75 GiB may be used while the test runs."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.75 * GIB / torch.cuda.get_device_properties(0).total_memory)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def activations() -> np.ndarray:
    """Of the first blocks of a ResNet-18, which at 224 pixels take 3 MB an image and layer."""
    torch.manual_seed(0)
    network = units.build("resnet18", 10, [0.5] * 3, [0.25] * 3).to(best_device())
    frozen, _ = units.split(network, 7)
    x = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
    return np.concatenate([part[:, ::28, ::28] for part in inference.frozen_activations(frozen, x, inference.View(224))])


def test_a_batch_that_does_not_fit_is_halved_and_the_result_is_the_same(little_memory, monkeypatch):
    tried = []
    resized = inference.pixels.prepare
    monkeypatch.setattr(inference.pixels, "prepare", lambda x, *more: tried.append(len(x)) or resized(x, *more))
    halved = activations()
    assert len(set(tried)) > 1, "all of it fits, and the test proves nothing"
    torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(halved, activations(), rtol=1e-3, atol=1e-3)


def multiply(task: tuple[int, Path]) -> float:
    """In a worker: a product on the GPU; the first time that a task of an odd number is tried, its process is killed."""
    number, marks = task
    matrix = torch.full((64, 64), float(number), device=best_device())
    mark = marks / str(number)
    if number % 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return (matrix @ matrix).mean().item()


def fill(task: int) -> int:
    """In a worker: take a third of the GPU's memory, twice as much as four at once can have."""
    total = torch.cuda.get_device_properties(0).total_memory
    taken = torch.empty(total // 3, dtype=torch.uint8, device=best_device())
    return int(taken.numel() > 0)


def test_a_worker_that_is_killed_is_replaced_and_its_task_is_done_again(tmp_path):
    with pool.Pool(pool.settle_in, processes=2) as workers:
        results = {
            task[0]: (result, error) for task, result, error in workers.run_all(multiply, [(number, tmp_path) for number in range(4)])
        }
    assert results == {number: (64.0 * number**2, None) for number in range(4)}


def test_tasks_that_do_not_fit_side_by_side_run_one_by_one():
    with pool.Pool(pool.settle_in, processes=4) as workers:
        results = [(result, error) for _, result, error in workers.run_all(fill, list(range(6)))]
    assert results == [(1, None)] * 6


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_a_source_as_one_does(images_ready):
    """Through NCCL, with batch norm over whole batches, as the stage starts them."""
    trained = []
    for processes in (1, 2):
        images_ready.edit("params.yaml", source__processes=processes)
        shutil.rmtree("models/sources", ignore_errors=True)
        shutil.rmtree(".cells", ignore_errors=True)
        images_ready.stage("source", "natural")
        trained.append(load_file("models/sources/natural/0.safetensors"))
    for name, weights in trained[0].items():
        np.testing.assert_allclose(weights, trained[1][name], rtol=0.05, atol=0.01, err_msg=name)
