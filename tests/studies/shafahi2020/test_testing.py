"""The test at the end of each run of an experiment."""

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.datasets import pixels, sampling
from stages.lib.networks import units
from stages.studies.shafahi2020.experiments import testing


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).to(memory_format=torch.channels_last)


def test_all_images_are_tested_and_a_drawn_part_is_attacked_and_each_is_kept(network):
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    predicted = inference_labels(network, x)
    y = (predicted + (np.arange(40) % 4 == 0)) % 4
    measured = {"norm": "linf", "eps": 0.05, "max_images": 16,
                "attacks": {"pgd20": {"kind": "pgd", "steps": 5, "step_ratio": 2.5, "random_start": True, "target": None}}}  # fmt: skip
    percent, arrays = testing.tested(network, (x[1:], y[1:]), (x, y, 100 + np.arange(40)), 16, measured)
    drawn = sampling.stratified(y, 16)
    assert arrays["image/clean"].tolist() == list(range(100, 140))
    assert arrays["image/pgd20"].tolist() == (100 + drawn).tolist()
    assert arrays["correct/clean"].tolist() == (predicted == y).tolist()
    assert not (arrays["correct/pgd20"] & ~arrays["correct/clean"][drawn]).any()
    assert "image/train" not in arrays
    assert percent == {name: pytest.approx(100 * arrays[f"correct/{name}"].double().mean().item()) for name in ("train", "clean", "pgd20")}
    assert percent["pgd20"] < percent["clean"]
    few = testing.tested(network, (x[:3], y[:3]), (x[:9], y[:9]), 16, measured)
    assert [len(few[1][f"correct/{name}"]) for name in ("train", "clean")] == [3, 9]
    assert few[0]["train"] == pytest.approx(100 * 2 / 3)
    assert few[1]["image/clean"].tolist() == list(range(9))


def inference_labels(network: nn.Sequential, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network.eval()(pixels.prepare(x)).argmax(1).numpy()
