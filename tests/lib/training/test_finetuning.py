"""Fine-tuning on cached activations: the same numbers as a plain loop over images through the whole network."""

import dataclasses
import tracemalloc
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torchvision.transforms.v2 import functional

from stages.lib.datasets import augmentation, cropping, whole
from stages.lib.datasets import pixels as images_module
from stages.lib.networks import devices, inference, units
from stages.lib.runs import costs
from stages.lib.runs.grid import Cell
from stages.lib.training import feed, finetuning, sgd, views

SETTINGS = {"epochs": 6, "eval_every": 2, "batch_size": 8, "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "seed": 20000000}
TRAIN, TEST, CLASSES = 30, 25, 3


@pytest.fixture(scope="module")
def source() -> dict[str, torch.Tensor]:
    """Weights of a source with 5 classes whose batch norm has statistics of its own."""
    torch.manual_seed(0)
    network = units.build("small_resnet", 5, [0.4] * 3, [0.3] * 3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
    return network.state_dict()


@pytest.fixture(scope="module")
def images() -> finetuning.Inputs:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (TRAIN + TEST, 16, 16, 1), np.uint8)
    y = np.arange(TRAIN + TEST) % CLASSES
    x[y == 1, :8] //= 4
    return finetuning.Inputs(x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])


def start(source, seed: int = 1) -> nn.Sequential:
    return finetuning.start("small_resnet", source, CLASSES, "default", seed)


def activations(frozen: nn.Sequential, images: finetuning.Inputs) -> finetuning.Inputs:
    cached = {part: np.concatenate(list(inference.frozen_activations(frozen, getattr(images, part)))) for part in ("train_x", "test_x")}
    return dataclasses.replace(images, **cached)


def model(network: nn.Module) -> inference.CutNetwork:
    return inference.CutNetwork(nn.Identity(), network, inference.View())


def as_floats(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2).repeat(1, 3 // x.shape[-1], 1, 1) / 255


@pytest.mark.parametrize("blocks", range(10))
@torch.no_grad()
def test_cached_activations_and_the_trained_part_are_the_whole_network(source, images, blocks):
    network = start(source)
    frozen, trained = units.split(network, blocks)
    cached = activations(frozen, images)
    assert cached.train_x.dtype == np.float32
    whole = network.eval()(as_floats(images.train_x))
    found = trained.eval()(inference.unpacked(torch.from_numpy(cached.train_x)))
    assert torch.allclose(found, whole, atol=1e-5, rtol=1e-5)
    assert inference.accuracy(model(trained), cached.test_x, cached.test_y) == inference.accuracy(
        model(network), images.test_x, images.test_y
    )


def test_activations_do_not_depend_on_the_size_of_a_batch_or_the_mode(source, images, monkeypatch):
    frozen, _ = units.split(start(source).train(), 2)
    whole = activations(frozen, images).train_x
    monkeypatch.setattr(inference, "BATCH", 7)
    batches = list(inference.frozen_activations(frozen.train(), images.train_x))
    assert [len(batch) for batch in batches] == [7, 7, 7, 7, 2]
    assert np.allclose(np.concatenate(batches), whole, atol=1e-5)


@pytest.mark.parametrize("blocks", [0, 1, 4])
def test_finetuning_is_the_plain_loop_of_its_protocol(source, images, blocks):
    chosen = np.random.RandomState(0).choice(TRAIN, 20, replace=False)
    frozen, trained = units.split(start(source), blocks)
    found = list(finetuning.finetune(trained, activations(frozen, images), chosen, **SETTINGS))

    network = start(source)
    fixed, moving = units.split(network, blocks)
    fixed.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in fixed.state_dict().items()}
    x, y = as_floats(images.train_x[chosen]), torch.from_numpy(images.train_y[chosen])
    optimiser = torch.optim.SGD([w for w in network.parameters() if w.requires_grad], lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [2, 4], gamma=0.1)
    order, expected = torch.Generator().manual_seed(20000000), []
    for epoch in range(1, 7):
        fixed.eval()
        moving.train()
        permutation, total, right = torch.randperm(20, generator=order), 0.0, 0
        for i in range(0, 20, 8):
            rows = permutation[i : i + 8]
            logits = network(x[rows])
            loss = nn.functional.cross_entropy(logits, y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
            right += (logits.argmax(1) == y[rows]).sum().item()
        schedule.step()
        if epoch in (1, 3, 5, 6):
            network.eval()
            with torch.no_grad():
                predicted = network(as_floats(images.test_x)).argmax(1).numpy()
            expected.append((epoch, 100 * (predicted == images.test_y).mean(), 100 * right / 20, total / 20))
    assert [row.epoch for row in found] == [1, 3, 5, 6]
    for row, (_, test_accuracy, train_accuracy, train_loss) in zip(found, expected, strict=True):
        assert row.train_loss == pytest.approx(train_loss, rel=1e-5, abs=1e-5)
        assert row.test_accuracy == pytest.approx(test_accuracy)
        assert row.train_accuracy == pytest.approx(train_accuracy)
    for mine, theirs in zip(trained.parameters(), moving.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen.state_dict().items())


@pytest.mark.parametrize(
    ("epochs", "every", "rows"),
    [(1, 5, [1]), (5, 2, [1, 3, 5]), (6, 4, [1, 5, 6]), (3, 1, [1, 2, 3]), (4, 9, [1, 4]), (4, 0, [4]), (1, 0, [1])],
)
def test_the_network_is_tested_after_the_first_every_nth_and_the_last_epoch(source, images, epochs, every, rows):
    """Of 0 after the last alone; and `make plan` counts as many tests."""
    assert costs.evaluations_of(Cell("source", "target", 0, 6, 0, epochs=epochs, eval_every=every)) == len(rows)
    _, head = units.split(start(source), 0)
    inputs = finetuning.Inputs(np.ones((6, 64), np.float32), images.train_y[:6], np.ones((3, 64), np.float32), images.test_y[:3])
    found = finetuning.finetune(head, inputs, np.arange(6), **(SETTINGS | {"epochs": epochs, "eval_every": every}))
    assert [row.epoch for row in found] == rows


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 10, 60, 100, 150])
def test_the_learning_rate_is_cut_to_a_tenth_every_third_of_the_epochs(source, images, epochs, monkeypatch):
    _, head = units.split(start(source), 0)
    inputs = finetuning.Inputs(np.ones((4, 64), np.float32), images.train_y[:4], np.ones((2, 64), np.float32), images.test_y[:2])
    rates = []
    monkeypatch.setattr(sgd, "sgd", lambda *arguments, lr, **constants: rates.append(lr))
    list(finetuning.finetune(head, inputs, np.arange(4), **(SETTINGS | {"epochs": epochs, "eval_every": epochs})))
    cuts = np.round(-np.log10(np.array(rates) / 0.05)).astype(int)
    released = StepLR(SGD([torch.zeros(1, requires_grad=True)], lr=0.05), max(1, epochs // 3))
    assert len(cuts) == epochs
    for cut in cuts:
        assert released.get_last_lr() == pytest.approx([0.05 * 0.1**cut])
        released.optimizer.step()
        released.step()
    if epochs in (100, 150):
        assert np.flatnonzero(np.diff(cuts)).tolist() == {100: [32, 65, 98], 150: [49, 99]}[epochs], "epochs 33 and 66, 50 and 100: Table 4"


def test_the_same_seed_gives_the_same_rows_and_another_one_others(source, images):
    found = []
    for seed, noise in ((1, 5), (1, 6), (2, 5)):
        frozen, trained = units.split(start(source, seed), 1)
        inputs = activations(frozen, images)
        torch.manual_seed(noise)
        found.append(list(finetuning.finetune(trained, inputs, np.arange(20), **(SETTINGS | {"seed": seed}))))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_only_the_chosen_images_are_trained_on(source, images):
    frozen, _ = units.split(start(source), 0)
    inputs = activations(frozen, images)
    spoilt = inputs.train_x.copy()
    spoilt[10:] = np.nan
    rows = []
    for x in (inputs.train_x, spoilt):
        _, head = units.split(start(source), 0)
        rows.append(list(finetuning.finetune(head, dataclasses.replace(inputs, train_x=x), np.arange(10), **SETTINGS)))
    assert rows[0] == rows[1]


def test_a_whole_network_is_trained_on_images(images):
    network = finetuning.start("small_resnet", None, CLASSES, "default", 1)
    rows = list(finetuning.finetune(network, images, np.arange(TRAIN), **(SETTINGS | {"epochs": 3, "eval_every": 3})))
    assert [row.epoch for row in rows] == [1, 3]
    assert rows[-1].train_loss < rows[0].train_loss


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_run_that_diverges_goes_on_to_its_end_and_is_measured(blocks, source, images):
    frozen, trained = units.split(start(source), blocks)
    rows = list(finetuning.finetune(trained, activations(frozen, images), np.arange(20), **(SETTINGS | {"lr": 1e38, "epochs": 5})))
    assert [row.epoch for row in rows] == [1, 3, 5]
    assert rows[-1].diverged
    assert rows[-1].train_loss is None
    assert not any(later.diverged < earlier.diverged for earlier, later in pairwise(rows)), "once diverged, it stays so"
    assert not torch.isfinite(trained.head.weight).all()
    assert rows[-1].test_accuracy == 100 * (images.test_y == 0).mean(), "every image has the first class"


def test_a_step_that_spoils_the_weights_after_the_last_loss_is_divergence_too(source, images):
    frozen, head = units.split(start(source), 0)
    settings = SETTINGS | {"lr": 1e38, "weight_decay": 1e38, "epochs": 1, "batch_size": 20}
    (row,) = finetuning.finetune(head, activations(frozen, images), np.arange(20), **settings)
    assert row.train_loss is not None
    assert row.diverged


def test_the_source_s_weights_are_taken_and_its_head_is_not(source):
    network = start(source)
    found = network.state_dict()
    assert network.head.out_features == CLASSES
    assert [name for name in source if not name.startswith("head.") and not torch.equal(found[name], source[name])] == []
    assert "head.weight" in source
    assert source["head.weight"].shape == (5, 64)


@pytest.mark.parametrize("head_init", ["normal", "default"])
def test_the_head_comes_from_the_seed_and_is_the_same_for_every_source(source, head_init):
    others = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in source.items()}
    heads = [finetuning.start("small_resnet", w, CLASSES, head_init, seed).head for w, seed in ((source, 1), (others, 1), (source, 2))]
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)


def test_the_normal_head_has_unit_variance_and_no_bias(source):
    head = finetuning.start("small_resnet", source, 100, "normal", 0).head
    assert abs(head.weight.std().item() - 1) < 0.05
    assert not head.bias.any()


def test_accuracy_is_a_count_over_single_images(source, images, monkeypatch):
    network = start(source)
    right = 0
    with torch.no_grad():
        for image, label in zip(as_floats(images.test_x), images.test_y, strict=True):
            right += network.eval()(image[None]).argmax().item() == label
    monkeypatch.setattr(inference, "BATCH", 4)
    assert inference.accuracy(model(network.train()), images.test_x, images.test_y) == pytest.approx(100 * right / TEST)


# Each knob against a plain loop: torchvision's and torch's own functions on the whole network, in float64

KNOBS = {
    "as released": {
        "frozen_batchnorm": "batch",
        "augmentation": "published",
        "head_init": "normal",
        "moments": ([0.3, 0.4, 0.5], [0.2, 0.25, 0.3]),
    },
    "frozen statistics of each batch": {"frozen_batchnorm": "batch"},
    "frozen statistics of the subset": {"frozen_batchnorm": "adapted"},
    "augmentation": {"augmentation": "published"},
    "low resolution": {"resolution": 8},
    "up-scaled on the device": {"size": 32},
    "normalised as the target": {"moments": ([0.3, 0.4, 0.5], [0.2, 0.25, 0.3])},
    "head from N(0, 1)": {"head_init": "normal"},
    "resized crops": {"augmentation": "resized_crop"},
    "crops of padded images": {"augmentation": "crop_flip"},
    "three views": {"augmentation": "published", "views": 3},
    "two views of resized crops, nine blocks": {"augmentation": "resized_crop", "views": 2, "blocks": 9},
    "whole network on two views": {"augmentation": "crop_flip", "views": 2, "blocks": "all"},
    "fixed features of Salman et al.": {
        "blocks": 0,
        "frozen_batchnorm": "batch",
        "augmentation": "resized_crop",
        "moments": ([0.0] * 3, [1.0] * 3),
    },
    "whole network on resized crops": {"blocks": "all", "augmentation": "resized_crop"},
    "whole network": {"blocks": "all", "augmentation": "published"},
    "nine blocks": {"blocks": 9, "frozen_batchnorm": "batch"},
    "nothing": {},
}
STEPS = {"epochs": 10, "eval_every": 10, "batch_size": 8, "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4, "seed": 20100000}


@pytest.fixture(scope="module")
def colours() -> finetuning.Inputs:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (TRAIN + TEST, 16, 16, 3), np.uint8)
    y = np.arange(TRAIN + TEST) % CLASSES
    x[y == 2, :, 8:] //= 3
    return finetuning.Inputs(x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])


def parts(source, knob: dict):
    network = finetuning.start("small_resnet", source, CLASSES, knob.get("head_init", "default"), 1, knob.get("moments")).double()
    return network, (nn.Sequential(), network) if knob.get("blocks") == "all" else units.split(network, knob.get("blocks", 2))


KNOB_EPOCHS = 7


@pytest.fixture(scope="module")
def losses(source, colours) -> Callable[[str], tuple[list[float], float]]:
    """What `losses_of` gives of each knob."""
    return cache(lambda name: losses_of(source, colours, KNOBS[name]))


def losses_of(source, inputs: finetuning.Inputs, knob: dict) -> tuple[list[float], float]:
    """The loss of every step, and the last test accuracy."""
    _, (frozen, trained) = parts(source, knob)
    prepare, entropy, losses = images_module.prepare, nn.functional.cross_entropy, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images_module, "prepare", lambda *arguments: prepare(*arguments).double())
        patch.setattr(nn.functional, "cross_entropy", lambda *a, **k: losses.append(entropy(*a, **k)) or losses[-1])
        view = inference.View(knob.get("size", 16), knob.get("resolution"), knob.get("augmentation", "none"), views=knob.get("views"))
        policy = knob.get("frozen_batchnorm", "source")
        frozen = frozen if len(frozen) else None  # the whole network is trained
        steps = STEPS | {"epochs": KNOB_EPOCHS}
        rows = list(finetuning.finetune(trained, inputs, CHOSEN, **steps, view=view, frozen=frozen, frozen_batchnorm=policy))
    return [loss.mean().item() for loss in losses], rows[-1].test_accuracy


CHOSEN = np.random.RandomState(3).choice(TRAIN, 16, replace=False)


def pictures_of(x: np.ndarray, knob: dict) -> torch.Tensor:
    """By Pillow: down to the low resolution, then to the size of the network."""
    for side in (knob.get("resolution"), knob.get("size", 16)):
        if side:
            x = np.stack([np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)) for image in x])
    return torch.from_numpy(x).permute(0, 3, 1, 2).double() / 255


def augmented(x: torch.Tensor, drawn: augmentation.Drawn, row: int) -> torch.Tensor:
    """One image by torchvision, with what was drawn for it."""
    side, (top, left) = x.shape[-1], drawn.shift[row].tolist()
    x = functional.pad(x, [4] * 4)[:, top : top + side, left : left + side]
    x = functional.horizontal_flip(x) if drawn.flip[row] else x
    jitter = functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation
    for operation in drawn.order[row].tolist():
        x = jitter[operation](x, drawn.factor[row, operation].item())
    return functional.rotate(x, drawn.degrees[row].item())


def changed(x: torch.Tensor, drawn: cropping.Changes, row: int) -> torch.Tensor:
    """One image with what was drawn for it."""
    if isinstance(drawn, augmentation.Drawn):
        return augmented(x, drawn, row)
    if isinstance(drawn, cropping.Crops):  # which test_cropping.py compares with torchvision's
        return cropping.apply(x[None], drawn[torch.tensor([row])])[0]
    top, left = drawn.shift[row].tolist()
    x = functional.pad(x, [4] * 4)[:, top : top + x.shape[1], left : left + x.shape[2]]
    return functional.horizontal_flip(x) if drawn.flip[row] else x


def drawn_of(knob: dict, epoch: int) -> cropping.Changes | None:
    """What changes the chosen images in an epoch; of views, each image's own one of those that are drawn for all images."""
    if "views" not in knob:
        return cropping.draw(knob.get("augmentation", "none"), 16, 20100000, epoch)
    every = cropping.draw(knob["augmentation"], TRAIN * knob["views"], views.SEED, 0)
    view = views.taken(16, knob["views"], 20100000, epoch) % knob["views"]
    return every[torch.tensor([image * knob["views"] + v for image, v in zip(CHOSEN, view.tolist(), strict=True)])]


def plain_losses(source, inputs: finetuning.Inputs, knob: dict) -> tuple[list[float], float]:
    """The protocol, image by image and module by module: the loss of every step, and the last test accuracy."""
    network, (frozen, trained) = parts(source, knob)
    policy = knob.get("frozen_batchnorm", "source")
    frozen.requires_grad_(False)
    x, y = pictures_of(inputs.train_x[CHOSEN], knob), torch.from_numpy(inputs.train_y[CHOSEN])
    if policy == "adapted":
        for module in frozen.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        with torch.no_grad():
            frozen.train()
            frozen(x[:8])
            frozen(x[8:])
    optimiser = SGD(trained.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    schedule = StepLR(optimiser, 2)  # as released, which cuts at 6 again
    order, losses = torch.Generator().manual_seed(20100000), []
    for epoch in range(KNOB_EPOCHS):
        network.train()
        frozen.train(policy == "batch")
        drawn = drawn_of(knob, epoch)
        for rows in torch.randperm(16, generator=order).split(8):
            batch = torch.stack([changed(x[row], drawn, row) for row in rows.tolist()]) if drawn else x[rows]
            loss = nn.functional.cross_entropy(network(batch), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        schedule.step()
    network.eval()
    with torch.no_grad():
        predicted = network(pictures_of(inputs.test_x, knob)).argmax(1).numpy()
    return losses, 100 * (predicted == inputs.test_y).mean()


@pytest.mark.parametrize("name", KNOBS)
def test_a_knob_is_the_plain_loop_of_its_protocol_and_changes_the_result(name, source, colours, losses):
    found, accuracy = losses(name)
    expected, expected_accuracy = plain_losses(source, colours, KNOBS[name])
    assert len(found) == 14
    assert found == pytest.approx(expected, rel=1e-4)
    assert accuracy == pytest.approx(expected_accuracy)
    if name != "nothing":
        assert found != pytest.approx(losses("nothing")[0], rel=1e-4)


@pytest.mark.parametrize(
    "name", ["nothing", "as released", "augmentation", "three views", "frozen statistics of the subset", "whole network"]
)
def test_what_finds_no_room_in_memory_gives_the_same_losses(name, source, colours, losses, monkeypatch):
    held, accuracy = losses(name)
    monkeypatch.setitem(inference.HELD_BYTES, "cpu", 100)
    again, accuracy_again = losses_of(source, colours, KNOBS[name])
    assert again == pytest.approx(held, rel=1e-9)
    assert again is not held
    assert accuracy_again == accuracy


@pytest.mark.parametrize(
    ("policy", "augmentation", "number", "seen"),
    [
        ("source", "none", None, 1 + TEST + 1 + 16),  # an image for the shape, then every test and every chosen image once
        ("adapted", "none", None, 16 + 1 + TEST + 1 + 16),
        ("source", "resized_crop", None, 1 + TEST + 10 * 16),
        ("source", "resized_crop", 4, 1 + TEST + 1 + 4 * 16),  # once in each view
        ("batch", "none", None, 10 * (16 + TEST)),
    ],
)
def test_the_frozen_part_sees_an_image_once_where_its_activation_stays_the_same(policy, augmentation, number, seen, source, colours):
    frozen, trained = units.split(start(source), 1)
    images = []
    frozen.register_forward_hook(lambda module, inputs, output: images.append(len(output)))
    view = inference.View(16, augmentation=augmentation, views=number)
    list(finetuning.finetune(trained, colours, CHOSEN, **(STEPS | {"eval_every": 1}), view=view, frozen=frozen, frozen_batchnorm=policy))
    assert sum(images) == seen


@pytest.mark.parametrize("policy", ["adapted", "batch"])
def test_views_are_of_the_statistics_of_the_source_alone(policy, source, colours):
    frozen, trained = units.split(start(source), 1)
    view = inference.View(16, augmentation="crop_flip", views=2)
    with pytest.raises(ValueError, match=f"frozen_batchnorm is '{policy}'"):
        list(finetuning.finetune(trained, colours, CHOSEN, **STEPS, view=view, frozen=frozen, frozen_batchnorm=policy))


@pytest.mark.parametrize("policy", ["source", "adapted", "batch"])
def test_weights_of_the_frozen_part_stay_as_they_are_and_get_no_gradient(policy, source, colours):
    frozen, trained = units.split(start(source), 1)
    weights = {name: weight.detach().clone() for name, weight in frozen.named_parameters()}
    statistics = {name: buffer.clone() for name, buffer in frozen.named_buffers() if "running" in name}
    list(finetuning.finetune(trained, colours, CHOSEN, **STEPS, view=inference.View(16), frozen=frozen, frozen_batchnorm=policy))
    assert all(torch.equal(weight, weights[name]) and weight.grad is None for name, weight in frozen.named_parameters())
    moved = [not torch.equal(buffer, statistics[name]) for name, buffer in frozen.named_buffers() if "running" in name]
    assert all(moved) if policy != "source" else not any(moved)


def test_dropout_follows_from_the_seed_alone():
    rng = np.random.default_rng(0)
    inputs = finetuning.Inputs(rng.random((20, 8), np.float32), np.arange(20) % 2, rng.random((6, 8), np.float32), np.arange(6) % 2)
    found = []
    for seed, noise in ((1, 5), (1, 6), (2, 5)):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 2))
        torch.manual_seed(noise)
        rows = finetuning.finetune(network, inputs, np.arange(20), **(STEPS | {"seed": seed, "batch_size": 20}))
        found.append([row.train_loss for row in rows])
    assert found[0] == found[1]
    assert found[0] != found[2]  # one batch an epoch: the order of the images changes nothing


def test_images_of_a_set_that_is_larger_than_memory_are_read_a_batch_at_a_time(tmp_path):
    n, side = 3000, 48
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (n, side, side, 3))
    rows, frozen = (
        np.random.default_rng(0).permutation(n),
        nn.Sequential(units.Normalise([0.5] * 3, [0.2] * 3), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1)),
    )
    tracemalloc.start()
    activations = [batch[:, 0, 0, 0] for batch in inference.frozen_activations(frozen, x, rows=rows)]
    inference.adapt(frozen, x, np.split(rows, range(64, len(rows), 64)), inference.View())
    feed.Rows(x, rows, torch.device("cpu"), 1 << 20).at(torch.arange(64), torch.arange(64))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, activations)) == n
    assert most < x.nbytes / 4


class Cramped(nn.Module):
    """A part that has memory for so many images."""

    def __init__(self, part: nn.Module, most: int):
        super().__init__()
        self.part, self.most, self.seen = part, most, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"{len(x)} images")
        self.seen.append(len(x))
        return self.part(x)


def test_a_device_with_little_memory_passes_fewer_images_at_once_to_the_same_result(source, images):
    network = start(source)
    frozen, trained = units.split(network, 2)
    cramped = Cramped(frozen, most=9)
    found = np.concatenate(list(inference.frozen_activations(cramped, images.train_x)))
    assert np.allclose(found, activations(frozen, images).train_x, atol=1e-5)
    assert cramped.seen == [8, 8, 8, 6]
    expected = inference.accuracy(model(network), images.test_x, images.test_y)
    assert inference.accuracy(inference.CutNetwork(cramped, trained, inference.View()), images.test_x, images.test_y) == expected
    with pytest.raises(torch.OutOfMemoryError):
        inference.accuracy(inference.CutNetwork(Cramped(frozen, most=0), trained, inference.View()), images.test_x, images.test_y)


# Mixed precision


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_products_in_bfloat16_give_the_same_to_its_rounding(source, images, blocks, monkeypatch):
    """Weights, statistics and losses stay in float32, and what is kept loses nothing; later epochs part, as rounding does to every training."""
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda device: True)  # any processor can, if slowly
    found = {}
    for mixed in (False, True):
        frozen, trained = units.split(start(source), blocks)
        view = inference.View(mixed_precision=mixed)
        held = {
            part: np.concatenate(list(inference.frozen_activations(frozen, getattr(images, part), view))) for part in ("train_x", "test_x")
        }
        assert {x.dtype for x in held.values()} == {np.dtype(np.int16 if mixed else np.float32)}
        rows = list(finetuning.finetune(trained, dataclasses.replace(images, **held), np.arange(TRAIN), **SETTINGS, view=view))
        assert {tensor.dtype for tensor in trained.state_dict().values()} <= {torch.float32, torch.int64}
        numbers = inference.of_bits(torch.from_numpy(held["train_x"])).float().numpy()
        found[mixed] = numbers, [row.train_loss for row in rows]
        anew = finetuning.finetune(
            trained_anew := units.split(start(source), blocks)[1], images, np.arange(TRAIN), **SETTINGS, view=view, frozen=frozen
        )
        assert [row.train_loss for row in anew] == found[mixed][1], trained_anew
    assert not np.array_equal(found[True][0], found[False][0])  # so that it is not the same by doing nothing
    scale = np.abs(found[False][0]).max()
    np.testing.assert_allclose(found[True][0], found[False][0], atol=2**-6 * scale)
    assert found[True][1][0] == pytest.approx(found[False][1][0], rel=0.02)
    assert found[True][1][-1] < found[True][1][0]


@pytest.mark.parametrize("held_bytes", [1 << 30, 100])
@pytest.mark.parametrize("policy", ["source", "adapted", "batch"])
def test_images_that_are_held_out_are_tested_on_and_change_nothing(policy, held_bytes, source, colours, monkeypatch):
    monkeypatch.setitem(inference.HELD_BYTES, "cpu", held_bytes)
    held_out, found = np.setdiff1d(np.arange(TRAIN), CHOSEN), []
    for held in (held_out, None):
        frozen, trained = units.split(start(source), 1)
        run = finetuning.FineTuning(trained, CHOSEN, 1, frozen, held)
        settings = {name: value for name, value in STEPS.items() if name != "seed"} | {"epochs": 3, "eval_every": 1}
        found.append(
            [rows[0] for rows in finetuning.finetune_together([run], colours, **settings, view=inference.View(16), frozen_batchnorm=policy)]
        )
        if held is not None:
            network = inference.CutNetwork(frozen, trained, inference.View(16))
            right = inference.predictions(network, colours.train_x[held]) == colours.train_y[held]
            recall = [right[colours.train_y[held] == label].mean() for label in range(CLASSES)]
    assert (found[0][-1].validation_accuracy, found[0][-1].validation_mean_per_class) == pytest.approx(
        (100 * right.mean(), 100 * np.mean(recall))
    )
    without = [dataclasses.replace(row, validation_accuracy=None, validation_mean_per_class=None) for row in found[0]]
    assert without == found[1]


def test_fixed_features_move_with_batch_norm_as_in_the_released_code(source, colours):
    """The whole network in train mode, of which the optimiser has the last layer alone: the statistics, too, are those of a plain loop."""
    plain, ours = start(source).double(), start(source).double()
    optimiser = SGD(plain.head.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    order, x = torch.Generator().manual_seed(20100000), pictures_of(colours.train_x[CHOSEN], {})
    for epoch in range(4):
        plain.train()
        crops = cropping.draw("resized_crop", 16, 20100000, epoch)
        for rows in torch.randperm(16, generator=order).split(8):
            loss = nn.functional.cross_entropy(plain(cropping.apply(x[rows], crops[rows])), torch.from_numpy(colours.train_y[CHOSEN])[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if epoch % 2:
            for group in optimiser.param_groups:
                group["lr"] *= 0.1
    frozen, trained = units.split(ours, 0)
    prepare = images_module.prepare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images_module, "prepare", lambda *arguments: prepare(*arguments).double())
        settings = STEPS | {"epochs": 4, "eval_every": 4}
        view = inference.View(16, augmentation="resized_crop")
        list(finetuning.finetune(trained, colours, CHOSEN, **settings, view=view, frozen=frozen, frozen_batchnorm="batch"))
    names = [name for name in plain.state_dict() if "running" in name]
    assert len(names) > 10
    before = start(source).state_dict()
    for name in names:
        found, expected = ours.state_dict()[name], plain.state_dict()[name]
        assert torch.allclose(found, expected, rtol=1e-6), name
        assert not torch.allclose(found, before[name].double(), rtol=1e-3), name


def test_runs_in_company_are_tested_on_the_images_that_each_of_them_holds_out(source, images):
    """Two subsets of one size, each with held-out images of its own: the scores are those of the runs alone."""
    rows = np.random.RandomState(5).permutation(TRAIN)
    settings = {name: value for name, value in STEPS.items() if name != "seed"} | {"epochs": 3, "eval_every": 1}

    def run(of: tuple[int, ...]) -> list:
        runs = []
        for i in of:
            frozen, trained = units.split(start(source, seed=i), 1)
            runs.append(finetuning.FineTuning(trained, rows[10 * i : 10 * i + 8], i, frozen, np.delete(rows, slice(10 * i, 10 * i + 8))))
        return list(zip(*finetuning.finetune_together(runs, images, **settings, view=inference.View(16)), strict=True))

    both, alone = run((0, 1)), [run((0,))[0], run((1,))[0]]
    for together, by_itself in zip(both, alone, strict=True):
        assert [row.validation_accuracy for row in together] == [row.validation_accuracy for row in by_itself]
        assert [row.train_loss for row in together] == pytest.approx([row.train_loss for row in by_itself], rel=1e-4)
    assert [row.validation_mean_per_class for row in both[0]] != [row.validation_mean_per_class for row in both[1]]


def test_of_images_that_are_stored_whole_random_parts_are_of_all_of_an_image(source, tmp_path):
    """What the frozen part sees in an epoch are the parts that were drawn, of wide images whose sides the central square does not show."""
    rng, n = np.random.default_rng(2), 8
    whole.write(tmp_path, "train", [rng.integers(0, 256, (18, 60, 3), np.uint8) for _ in range(n)], np.arange(n) % CLASSES)
    x, y = whole.read(tmp_path, "train", 16, 0.875, 3)
    frozen, trained = units.split(start(source), 0)
    seen = []
    frozen[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    settings = STEPS | {"epochs": 1, "batch_size": n}
    view = inference.View(16, augmentation="resized_crop")
    inputs = finetuning.Inputs(x, y, x, y)
    list(finetuning.finetune(trained, inputs, np.arange(n), **settings, view=view, frozen=frozen, frozen_batchnorm="batch"))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(settings["seed"]))
    drawn = cropping.draw("resized_crop", n, settings["seed"], 0)
    assert torch.equal(seen[0], images_module.prepare(x.crops(order.numpy(), drawn[order])))
    assert torch.equal(seen[1], images_module.prepare(x[:])), "and a test sees the central squares"
