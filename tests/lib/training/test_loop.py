"""Training a whole network: against a plain loop, and after a kill to the same weights."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.attacks import pgd
from stages.lib.attacks.attack import Perturb
from stages.lib.datasets import pixels
from stages.lib.networks import devices, inference, units
from stages.lib.norms.table import norm_of
from stages.lib.store import files
from stages.lib.training import loop, schedules, sgd
from stages.lib.training.free import Free

ONE_CYCLE = partial(schedules.one_cycle, warmup=0.25)
SETTINGS = {"epochs": 4, "batch_size": 8, "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "schedule": ONE_CYCLE, "seed": 3}
N = 20


def data(channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (N, 16, 16, channels), dtype=torch.uint8, generator=generator)
    return x, torch.randint(0, 4, (N,), generator=generator)


def new_network() -> nn.Sequential:
    torch.manual_seed(0)
    return units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3)


def l2_at(progress: float) -> Perturb:
    return pgd.make(norm="l2", eps=0.5 * progress, steps=2, step_ratio=2)


def linf_from_random_start_at(progress: float) -> Perturb:
    del progress
    return pgd.make(norm="linf", eps=8 / 255, steps=1, step_ratio=2, random_start=True)


@pytest.mark.parametrize(
    ("progress", "warmup", "factor"), [(0, 0.2, 0), (0.1, 0.2, 0.5), (0.2, 0.2, 1), (0.6, 0.2, 0.5), (1, 0.2, 0), (0.5, 0.5, 1)]
)
def test_the_learning_rate_rises_linearly_and_falls_linearly_to_0(progress, warmup, factor):
    assert schedules.one_cycle(progress, warmup) == pytest.approx(factor)


def test_every_step_has_the_learning_rate_of_its_place_in_the_schedule(monkeypatch):
    rates, step = [], sgd.Sgd.step
    monkeypatch.setattr(sgd.Sgd, "step", lambda learner, gradients, lr: rates.append(lr) or step(learner, gradients, lr))
    loop.train(new_network(), *data(), **SETTINGS)
    steps = 4 * 3  # the last batch of an epoch is smaller
    rising = [0.05 * i / (0.25 * steps) for i in range(3)]
    falling = [0.05 * (steps - i) / (0.75 * steps) for i in range(3, steps)]
    assert rates == pytest.approx(rising + falling)


@pytest.mark.parametrize(
    ("perturb_at", "nesterov"),
    [(None, False), (None, True), (l2_at, False)],
    ids=["natural", "natural, with Nesterov's momentum", "adversarial"],
)
def test_training_is_the_plain_loop_of_its_protocol(monkeypatch, perturb_at, nesterov):
    """In float64, so that rounding does not grow over the steps."""
    prepare = pixels.prepare
    monkeypatch.setattr(pixels, "prepare", lambda *arguments: prepare(*arguments).double())
    x, y = data()
    found = []
    network = new_network().double()
    loop.train(network, x, y, **SETTINGS, nesterov=nesterov, perturb_at=perturb_at, after_epoch=lambda done, state: found.append(done))

    plain = new_network().double()
    pictures = (x.permute(0, 3, 1, 2) / 255).double()
    momentum = [torch.zeros_like(weight) for weight in plain.parameters()]
    for epoch in range(4):
        torch.manual_seed((3 << 16) + epoch)
        order, total, correct = torch.randperm(N), 0.0, 0
        for i in range(3):
            rows = order[8 * i : 8 * i + 8]
            progress = (3 * epoch + i) / 12
            lr = 0.05 * (progress / 0.25 if progress < 0.25 else (1 - progress) / 0.75)
            batch = pictures[rows]
            plain.train()
            if perturb_at is not None:
                batch = perturb_at(progress)(plain, batch, y[rows])
            logits = plain(batch)
            loss = -logits.log_softmax(1)[torch.arange(len(rows)), y[rows]].mean()
            gradients = torch.autograd.grad(loss, list(plain.parameters()))
            with torch.no_grad():
                for weight, gradient, velocity in zip(plain.parameters(), gradients, momentum, strict=True):
                    step = gradient + 5e-4 * weight
                    velocity.mul_(0.9).add_(step)
                    weight.sub_(lr * (step + 0.9 * velocity if nesterov else velocity))
            total += loss.item() * len(rows)
            correct += (logits.argmax(1) == y[rows]).sum().item()
        assert found[epoch].number == epoch + 1
        assert found[epoch].loss == pytest.approx(total / N, rel=1e-6)
        assert found[epoch].train_accuracy == pytest.approx(100 * correct / N)
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-8)


FREE = Free(2, norm_of("linf"), lambda progress: 8 / 255)


@pytest.mark.parametrize(
    "perturbed",
    [{}, {"perturb_at": l2_at}, {"perturb_at": linf_from_random_start_at}, {"free": FREE, "epochs": 8}],
    ids=["natural", "adversarial", "adversarial from a random start", "free"],
)
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, perturbed):
    """A free one with the perturbation that it had, which no epoch begins anew."""
    x, y = data()
    settings = SETTINGS | perturbed
    undisturbed, epochs = new_network(), []

    def keep(done: loop.Epoch, state: dict) -> None:
        files.write_checkpoint(tmp_path / f"{done.number}", state)
        epochs.append(done)

    loop.train(undisturbed, x, y, **settings, after_epoch=keep)
    for after in range(1, 5):
        torch.manual_seed(after)  # whatever the new process has drawn before
        network, seen = units.build("small_resnet", 4, [0.1] * 3, [0.1] * 3), []
        state = files.read_checkpoint(tmp_path / f"{after}", print)
        loop.train(network, x, y, **settings, start_from=state, after_epoch=lambda done, _, seen=seen: seen.append(done))
        assert seen == epochs[after:]
        found, expected = network.state_dict(), undisturbed.state_dict()
        assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
        assert not network.training


def test_another_seed_gives_other_weights_and_the_global_state_does_not_matter():
    x, y = data()
    trained = []
    for seed, noise in ((3, 1), (3, 2), (4, 1)):
        network = new_network()
        torch.manual_seed(noise)
        loop.train(network, x, y, **(SETTINGS | {"seed": seed, "epochs": 1, "schedule": partial(schedules.one_cycle, warmup=0.5)}))
        trained.append(network.head.weight.detach().clone())
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_grey_images_are_trained_on():
    losses = []
    loop.train(new_network(), *data(channels=1), **SETTINGS, after_epoch=lambda done, state: losses.append(done.loss))
    assert losses[-1] < losses[0]


def test_the_attack_is_asked_for_at_each_place_of_the_training():
    asked = []

    def perturb_at(progress: float):
        asked.append(progress)
        return lambda model, x, y: x

    loop.train(new_network(), *data(), **(SETTINGS | {"epochs": 2}), perturb_at=perturb_at)
    assert asked == pytest.approx([i / 6 for i in range(6)])


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_no_state():
    states = []
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) in epoch \d.*1e\+30"):
        loop.train(new_network(), *data(), **(SETTINGS | {"lr": 1e30}), after_epoch=lambda done, state: states.append(done))
    assert all(np.isfinite(done.loss) for done in states)


@pytest.mark.parametrize(("progress", "factor"), [(0, 1), (0.33, 1), (0.34, 0.1), (0.66, 0.1), (0.67, 0.01), (0.999, 0.01)])
def test_the_learning_rate_falls_to_a_tenth_at_equal_distances(progress, factor):
    assert schedules.stepwise(progress, 2) == pytest.approx(factor)


@pytest.mark.parametrize(("progress", "factor"), [(0, 1), (0.49, 1), (0.5, 0.1), (0.74, 0.1), (0.75, 0.01)])
def test_the_learning_rate_falls_to_a_tenth_where_it_is_told_to(progress, factor):
    assert schedules.at_drops(progress, [0.5, 0.75]) == pytest.approx(factor)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_free_training_is_the_loop_of_its_algorithm(monkeypatch, norm):
    """Shafahi et al. (2019b), Algorithm 1, in float64: a batch replayed m times, its perturbation handed on to the next batch and epoch."""
    prepare = pixels.prepare
    monkeypatch.setattr(pixels, "prepare", lambda *arguments: prepare(*arguments).double())
    (x, y), eps, ball = data(), 0.03, norm_of(norm)
    network, found = new_network().double(), []
    settings = SETTINGS | {"epochs": 5, "momentum": 0.0, "weight_decay": 0.0, "schedule": lambda progress: 0.5 + progress}
    free = Free(2, ball, lambda progress: eps * (1 + progress))
    loop.train(network, x, y, **settings, free=free, after_epoch=lambda done, state: found.append(done.number))
    assert found == [1, 2, 3], "half as many epochs, as each batch is trained on twice"

    plain, pictures = new_network().double(), (x.permute(0, 3, 1, 2) / 255).double()
    delta = torch.zeros(8, 3, 16, 16, dtype=torch.float64)
    for epoch in range(3):
        torch.manual_seed((3 << 16) + epoch)
        order = torch.randperm(N)
        for i in range(3):
            rows = order[8 * i : 8 * i + 8]
            for again in range(2):
                progress = (3 * epoch + i + again / 2) / 9
                seen = (pictures[rows] + delta[: len(rows)]).clamp(0, 1).requires_grad_()
                loss = nn.functional.cross_entropy(plain.train()(seen), y[rows])
                *gradients, of_images = torch.autograd.grad(loss, [*plain.parameters(), seen])
                with torch.no_grad():
                    for weight, gradient in zip(plain.parameters(), gradients, strict=True):
                        weight.sub_(0.05 * (0.5 + progress) * gradient)
                radius = eps * (1 + progress)
                length = of_images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                step = of_images.sign() if norm == "linf" else of_images / length
                delta[: len(rows)] = ball.project(delta[: len(rows)] + radius * step, radius)
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-8)


def test_shifted_and_mirrored_parts_come_from_seed_and_epoch():
    ends = []
    for seed in (3, 3, 4):
        network = new_network()
        loop.train(network, *data(), **(SETTINGS | {"epochs": 1, "seed": seed}), augmentation="crop_flip")
        ends.append(network.head.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    plain = new_network()
    loop.train(plain, *data(), **(SETTINGS | {"epochs": 1}))
    assert not torch.equal(ends[0], plain.head.weight)


def test_shifted_parts_are_cut_from_images_as_they_are_stored_and_up_scaled_afterwards():
    (x, y), seen, network = data(), [], new_network()
    network.normalise.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loop.train(network, x, y, **(SETTINGS | {"epochs": 1}), image_size=24, augmentation="crop_flip")
    torch.manual_seed(3 << 16)
    order, shifts = torch.randperm(N), loop.cropping.draw("crop_flip", N, 3, 0)
    assert torch.equal(torch.cat(seen), pixels.prepare(shifts.apply(x, torch.device("cpu"))[order], size=24))


def test_parts_of_images_are_cut_anew_in_every_epoch(monkeypatch):
    seen = []
    apply = loop.cropping.apply
    monkeypatch.setattr(loop.cropping, "apply", lambda x, crops: seen.append(crops.corner) or apply(x, crops))
    loop.train(new_network(), *data(), **(SETTINGS | {"epochs": 2}), augmentation="resized_crop")
    assert len(seen) == 6
    assert not torch.equal(torch.cat(seen[:3]).sort(0).values, torch.cat(seen[3:]).sort(0).values)


def test_lower_precision_is_of_matrices_alone_and_only_where_the_device_has_it(monkeypatch):
    for capabilities, taken in (({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, None)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda says=capabilities: says, raising=False)
        assert devices.lower_precision(torch.device("cpu"), True) is taken
        with inference.View(mixed_precision=True).precision(torch.device("cpu")):
            assert torch.is_autocast_enabled("cpu") is (taken is not None), "fine-tuning goes by the same rule"
        assert devices.lower_precision(torch.device("cpu"), False) is devices.lower_precision(torch.device("cpu"), "tf32") is None
    types, network = [], new_network()
    network.head.register_forward_hook(lambda module, inputs, output: types.append((module.weight.dtype, output.dtype)))
    losses = []
    loop.train(network, *data(), **SETTINGS, lower_precision=torch.bfloat16, after_epoch=lambda done, state: losses.append(done.loss))
    assert set(types) == {(torch.float32, torch.bfloat16)}
    exact = []
    loop.train(new_network(), *data(), **SETTINGS, after_epoch=lambda done, state: exact.append(done.loss))
    assert losses[0] == pytest.approx(exact[0], rel=0.05)
    assert losses != exact


def test_images_are_seen_at_the_size_that_is_asked_for():
    sides, network = [], new_network()
    network.normalise.register_forward_hook(lambda module, inputs, output: sides.append(tuple(output.shape[-2:])))
    loop.train(network, *data(), **(SETTINGS | {"epochs": 1}), image_size=24)
    assert set(sides) == {(24, 24)}


def test_a_memory_map_is_trained_on_as_what_it_holds(tmp_path):
    x, y = data()
    np.save(tmp_path / "x.npy", x.numpy())
    losses = {}
    for name, images_ in (("memory", x), ("map", np.load(tmp_path / "x.npy", mmap_mode="r"))):
        losses[name] = []
        loop.train(new_network(), images_, y, **SETTINGS, after_epoch=lambda done, state, kept=losses[name]: kept.append(done.loss))
    assert losses["map"] == losses["memory"]


def test_attack_and_step_in_lower_precision_train_every_weight():
    """The attack's gradients are of the images alone: what autocast keeps of it must not cut the step off from the weights."""
    x, y = data()
    before, network = new_network(), new_network()
    loop.train(network, x, y, **(SETTINGS | {"epochs": 1, "weight_decay": 0.0}), lower_precision=torch.bfloat16, perturb_at=l2_at)
    same = [name for (name, new), old in zip(network.named_parameters(), before.parameters(), strict=True) if torch.equal(new, old)]
    assert same == []
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
