"""Descent by steps, on a part of a network: against a loop by hand, and what must hold of batches, phases and frozen parts."""

from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.attacks import pgd
from stages.lib.datasets import pixels
from stages.lib.datasets.cropping import Shifts
from stages.lib.networks import units
from stages.lib.norms.table import norm_of
from stages.lib.training import descent
from stages.lib.training.free import Free
from stages.lib.training.sgd import endless_batches

HOW = {"steps": 12, "batch_size": 4, "lr": 0.1, "drops": [0.5], "momentum": 0.9, "weight_decay": 0.01}
N = 10
CPU = torch.device("cpu")


def problem() -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(3, 2).double(), torch.randn(N, 3, dtype=torch.float64), torch.arange(N) % 2


def losses(layer: nn.Linear, x: torch.Tensor, y: torch.Tensor):
    return lambda rows: nn.functional.cross_entropy(layer(x[rows]), y[rows])


def by_hand(layer: nn.Linear, x, y, batches: list[torch.Tensor], first: int = 0) -> torch.Tensor:
    """SGD with momentum and weight decay, in numpy's terms."""
    weight, bias, moving = layer.weight.detach().clone(), layer.bias.detach().clone(), [0.0, 0.0]
    for step, rows in enumerate(batches, start=first):
        lr = 0.1 if step < 6 else 0.01
        error = torch.softmax(x[rows] @ weight.T + bias, 1) - nn.functional.one_hot(y[rows], 2)
        gradients = [error.T @ x[rows] / len(rows) + 0.01 * weight, error.mean(0) + 0.01 * bias]
        moving = [0.9 * m + g for m, g in zip(moving, gradients, strict=True)]
        weight, bias = weight - lr * moving[0], bias - lr * moving[1]
    return weight


def test_descent_is_the_loop_by_hand_and_counts_its_images():
    layer, x, y = problem()
    expected = by_hand(layer, x, y, list(islice(endless_batches(N, 4, seed=3), 12)))
    assert descent.descend(layer.parameters(), losses(layer, x, y), N, seed=3, **HOW) == 12 * 4
    assert torch.allclose(layer.weight, expected, atol=1e-12)


def test_a_later_phase_goes_on_with_the_steps_and_a_velocity_of_its_own():
    layer, x, y = problem()
    batches = list(islice(endless_batches(N, 4, seed=3), 12))
    middle = by_hand(layer, x, y, batches[:5])
    descent.descend(layer.parameters(), losses(layer, x, y), N, seed=3, last=5, **HOW)
    assert torch.allclose(layer.weight, middle, atol=1e-12)
    expected = by_hand(layer, x, y, batches[5:], first=5)
    descent.descend(layer.parameters(), losses(layer, x, y), N, seed=3, first=5, **HOW)
    assert torch.allclose(layer.weight, expected, atol=1e-12)


def test_a_descent_whose_loss_is_no_number_goes_on_to_its_last_step():
    layer, x, y = problem()
    done = descent.descend(layer.parameters(), lambda rows: losses(layer, x, y)(rows) * 1e308, N, seed=0, **(HOW | {"lr": 1e300}))
    assert done == HOW["steps"] * HOW["batch_size"]
    assert not layer.weight.isfinite().all()


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).to(memory_format=torch.channels_last)


def pictures(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), np.uint8), np.arange(n) % 4


def data(augmented: bool = False) -> descent.Images:
    return descent.Images(*pictures(), CPU, 16, augmented, seed=0)


@pytest.mark.parametrize("trained", [["head"], ["head", "layer3_2"], ["head", "layer3_2", "layer1_0", "stem"]])
def test_what_is_not_trained_stays_as_it_is_to_its_statistics(network, trained):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    descent.train(network, trained, data(), HOW, seed=0)
    changed = {name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(trained)
    assert not any(module.training for module in network.modules())


def test_the_same_seed_trains_to_the_same_weights(network):
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    attack = pgd.make(norm="linf", eps=0.03, steps=2, step_ratio=2, random_start=True)
    ends = []
    for seed in (0, 0, 1):
        network.load_state_dict(start)
        descent.train(network, ["head", "layer3_2"], data(augmented=True), HOW, seed, attack)
        ends.append(network.head.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_free_training_replays_each_batch_and_moves_it_within_the_ball(network):
    seen = []
    network.normalise.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach().clone()) if len(inputs[0]) == 4 else None
    )
    free = Free(3, norm_of("linf"), lambda progress: 0.02)
    names = [name for name, _ in network.named_children() if name != "normalise"]
    assert descent.train(network, names, data(), HOW, seed=2, free=free) == 12 * 4
    batches = list(islice(endless_batches(24, 4, seed=2), 4))
    clean = [data()[rows][0] for rows in batches for _ in range(3)]
    moved = [s - c for s, c in zip(seen[:12], clean, strict=True)]
    assert moved[0].abs().max() == 0
    assert all(0 < m.abs().max() <= 0.02 + 1e-6 for m in moved[1:])
    assert all(not torch.equal(a, b) for a, b in pairwise(moved))


def test_free_training_crops_a_batch_once_for_all_replays(network):
    """The perturbation was made for these crops: on others it is noise."""
    seen = []
    network.normalise.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()) if len(seen) < 12 else None)
    free = Free(3, norm_of("linf"), lambda progress: 0.02)
    descent.train(network, ["head"], data(augmented=True), HOW, seed=2, free=free)
    same, cropped = data()[next(endless_batches(24, 4, seed=2))][0], data(augmented=True)
    batches = list(islice(endless_batches(24, 4, seed=2), 4))
    expected = [cropped[rows][0] for rows in batches]
    distance = [(seen[3 * i + again] - expected[i]).abs().max().item() for i in range(4) for again in range(3)]
    assert max(distance) <= 0.02 + 1e-6
    assert (seen[0] - same).abs().max() > 0.5, "the batch is cropped"


def test_augmentation_cuts_and_mirrors_and_comes_from_its_generator():
    x = torch.randint(0, 256, (200, 12, 12, 3), dtype=torch.uint8)
    first, again = (Shifts.drawn(200, torch.Generator().manual_seed(5)).apply(x, CPU) for _ in range(2))
    assert torch.equal(first, again)
    assert (first.shape, first.dtype) == (x.shape, x.dtype)
    padded = nn.functional.pad(x.permute(0, 3, 1, 2), (4,) * 4)
    first = first.permute(0, 3, 1, 2)
    kinds = set()
    for image, source in zip(first, padded, strict=True):
        places = [(r, c, f) for r in range(9) for c in range(9) for f in (False, True)
                  if torch.equal(image, source[:, r : r + 12, c : c + 12].flip(-1) if f else source[:, r : r + 12, c : c + 12])]  # fmt: skip
        assert places, "an image is a part of its padded self, or the mirror image of one"
        kinds |= set(places)
    assert len(kinds) > 80


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_cut_and_mirrored_at_the_size_at_which_they_are_stored_and_up_scaled_afterwards(channels):
    x, y = pictures()
    x = x[..., :channels]
    found, labels = descent.Images(x, y, CPU, 24, True, seed=4)[torch.tensor([5, 2, 9])]
    drawn = Shifts.drawn(3, torch.Generator().manual_seed(4))
    assert drawn.shift.tolist() != [[4, 4]] * 3
    for image, row, (top, left), flip in zip(found, (5, 2, 9), drawn.shift.tolist(), drawn.flip.tolist(), strict=True):
        part = np.pad(x[row], ((4, 4), (4, 4), (0, 0)))[top : top + 16, left : left + 16]
        part = part[:, ::-1] if flip else part
        assert torch.equal(image, pixels.prepare(part[None], CPU, 24)[0])
    assert labels.tolist() == [1, 2, 1]


def test_epochs_become_steps_of_as_many_full_batches_as_the_images_fill():
    how = {"batch_size": 4, "lr": 0.1}
    assert [descent.of_images(how | {"epochs": 5, "steps": None}, n)["steps"] for n in (1, 3, 4, 7, 8, 9)] == [5, 5, 5, 5, 10, 10]
    assert descent.of_images(how | {"epochs": None, "steps": 7}, 100) == how | {"steps": 7}
    assert descent.of_images(how | {"steps": 7}, 100) == how | {"steps": 7}


def test_what_is_fresh_is_drawn_from_the_seed_and_the_rest_is_the_source_s(network):
    weights = network.state_dict()
    for k, fresh in {
        1: {"head"},
        3: {"head", "layer3_2", "layer3_1"},
        0: set(),
        "all": {name.split(".")[0] for name in weights} - {"normalise"},
    }.items():
        begun = descent.begin("small_resnet", weights, 4, seed=1, fresh=k).state_dict()
        changed = {name.split(".")[0] for name in weights if not torch.equal(begun[name], weights[name]) and "num_batches" not in name}
        assert changed == fresh
    first, other = (descent.begin("small_resnet", weights, 7, seed=seed).head for seed in (1, 2))
    assert first.out_features == 7
    assert not torch.equal(first.weight, other.weight)


def test_features_are_what_the_head_is_given(network):
    x, _ = pictures()
    z = descent.features_of(network.eval(), x, 16)
    with torch.no_grad():
        assert torch.allclose(network.head(z), network(pixels.prepare(x)), atol=1e-5)
    assert z.shape == (24, 64)
