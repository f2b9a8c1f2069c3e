"""What a source names in cue-conflict images, against a count by hand; and the fine-tuned network against the loop that trains the grid."""

from itertools import pairwise
from pathlib import Path

import kinds
import numpy as np
import pytest
import torch

from stages.lib.datasets.sets import load
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.runs.experiments import Run
from stages.lib.store.tables import CORRECT, IMAGE
from stages.studies.utrera2021.shape import categories
from stages.studies.utrera2021.shape.experiments import shape_bias, texture_attack, texture_dial, tuning

ATTACK = {"kind": "pgd", "norm": "l2", "steps": 3, "step_ratio": 2.5, "random_start": False}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The source `src`, its data `noise` and the cue-conflict set `clash`, in the current folder."""
    folder = tmp_path_factory.mktemp("shape")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        kinds.prepare(folder)
        kinds.clash(folder)
        yield sources.pretrained_of(sources.card_of("src"))


def run(target: str, how: dict, also: str | None = None, seed: int = 0) -> Run:
    return Run("tried", "src", target, "tried", 0, seed, how, {}, "nowhere", also=also)


def logits_of(network: torch.nn.Module, x: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).float() / 255)


def test_answers_are_counted_by_shape_and_by_texture(source):
    values, arrays = shape_bias.compute(run("clash", {}), source, None)
    x, y = load("clash", "test")
    named = logits_of(source.network(), x).argmax(1).numpy()
    shape, texture = named == y[:, 0], named == y[:, 1]
    assert np.array_equal(arrays[CORRECT + "shape"].numpy(), shape)
    assert np.array_equal(arrays[CORRECT + "texture"].numpy(), texture)
    assert arrays[IMAGE + "shape"].tolist() == list(range(24))
    assert values["shape"] == pytest.approx(100 * shape.mean())
    assert values["shape_bias"] == pytest.approx(100 * shape.sum() / (shape.sum() + texture.sum()))
    assert "accuracy" not in values


def test_with_stylised_images_their_accuracy_is_measured_too(source):
    values, _ = shape_bias.compute(run("noise", {}, also="clash"), source, None)
    x, y = load("noise", "test")
    assert values["accuracy"] == pytest.approx(100 * (logits_of(source.network(), x).argmax(1).numpy() == y).mean())


@pytest.mark.parametrize("blocks", [0, 2, "all"])
def test_fine_tuning_moves_the_last_blocks_and_no_other(source, blocks):
    network, accuracy, diverged = tuning.finetuned(source, "noise", blocks, kinds.TUNING, 3)
    x, y = load("noise", "test")
    assert accuracy == pytest.approx(100 * (logits_of(network, x).argmax(1).numpy() == y).mean())
    assert not diverged
    before, units = source.tensors(), [name for name, _ in network.named_children() if name.startswith("layer")]
    trained = set(units if blocks == "all" else units[len(units) - blocks :])
    for name, weight in network.named_parameters():
        unit = name.split(".")[0]
        if unit in units:
            assert torch.equal(weight.cpu(), before[name]) == (unit not in trained), name


def test_a_fine_tuned_source_is_tested_with_the_weights_that_it_ends_with(source):
    how = {"finetuning": kinds.TUNING | {"epochs": 3}, "blocks": 1}
    values, arrays = shape_bias.compute(run("noise", how, also="clash", seed=5), source, None)
    network, accuracy, _ = tuning.finetuned(source, "noise", 1, how["finetuning"], 5)
    x, y = load("clash", "test")
    assert values["accuracy"] == accuracy
    assert np.array_equal(arrays[CORRECT + "texture"].numpy(), logits_of(network, x).argmax(1).numpy() == y[:, 1])
    on_dial, nothing = texture_dial.compute(run("noise", how, seed=5), source, None)
    assert (on_dial, nothing) == ({"accuracy": accuracy}, None)
    assert texture_dial.compute(run("clash", {}), source, None)[0] == shape_bias.compute(run("clash", {}), source, None)[0]


def test_a_seed_draws_another_subset_and_head(source):
    first, again, other = (tuning.finetuned(source, "noise", 0, kinds.TUNING, seed)[0].head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_under_attack_fewer_images_stand_and_each_that_falls_has_a_perturbation_within_the_ball(source):
    eps = [0.0625, 0.5]
    values, arrays = texture_attack.compute(run("noise", {"attack": ATTACK, "eps": eps, "max_images": 20}), source, None)
    assert list(values) == ["eps_0", "eps_0.0625", "eps_0.5"]
    standing = [arrays[CORRECT + name].numpy() for name in values]
    x, y = load("noise", "test")
    assert np.array_equal(standing[0], logits_of(source.network(), x).argmax(1).numpy() == y)
    for smaller, larger in pairwise(standing):
        assert not (larger & ~smaller).any()
    network, image, label = source.network(), torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(y)
    moved = image.clone()
    for _ in range(3):  # PGD(3) in steps of 2.5 eps / 3 along the gradient of unit length, as their code does it
        moved.requires_grad_(True)
        [gradient] = torch.autograd.grad(torch.nn.functional.cross_entropy(network(moved), label, reduction="sum"), moved)
        step = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        delta = moved.detach() + 2.5 * eps[0] / 3 * step - image
        delta *= (eps[0] / delta.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp_max(1)[:, None, None, None]
        moved = (image + delta).clamp(0, 1).detach()
    with torch.no_grad():
        stood = network(moved).argmax(1) == label
    assert np.array_equal(standing[1], standing[0] & stood.numpy())


def test_the_category_is_that_of_the_highest_mean_over_its_classes_and_not_of_the_highest_sum():
    probabilities = torch.tensor([[0.30, 0.12, 0.12, 0.46], [0.05, 0.2, 0.35, 0.4]])
    groups = [[0], [1, 2, 3]]  # means 0.30 and 0.233, sums 0.30 and 0.70
    assert categories.answers(probabilities.log(), groups).tolist() == [0, 1]


def test_the_sixteen_categories_of_imagenet_share_no_class():
    classes = [number for group in categories.IMAGENET.values() for number in group]
    assert (len(categories.IMAGENET), len(classes), len(set(classes))) == (16, 207, 207)
    assert {len(categories.IMAGENET[name]) for name in ("dog", "bird")} == {109, 49}
    assert categories.groups_of("cues", ["cat", "airplane"], 1000) == [list(range(281, 287)), [404]]
    assert categories.groups_of("letters", ["cat", "airplane"], 2) == [[0], [1]]


def test_categories_that_are_no_classes_of_a_source_are_one_line():
    for named, outputs in ((["cat", "unicorn", "dog"], 1000), (["cat", "dog"], 10)):
        with pytest.raises(Exception, match=r"cues: its [23] categories, such as '.*', are no classes of a source with 10") as error:
            categories.groups_of("cues", named, outputs)
        assert "\n" not in str(error.value)


def test_a_set_of_other_classes_is_one_line(source):
    files = Path("data/images/noise/card.json")
    card = files.read_text()
    files.write_text(card.replace('"classes": 4', '"classes": 5'))
    for compute, how, also in (
        (shape_bias.compute, {}, "clash"),
        (texture_attack.compute, {"attack": ATTACK, "eps": [0.1], "max_images": 8}, None),
    ):
        with pytest.raises(RunError, match="noise: has 5 classes, and the source that is tested on it 4; allowed"):
            compute(run("noise", how, also=also), source, None)
    files.write_text(card)


def test_a_run_of_two_sets_has_both_in_its_key(source):
    one, two = run("noise", {}), run("noise", {}, also="clash")
    assert one.key != two.key
    assert (one.image_sets, two.image_sets) == (["noise"], ["noise", "clash"])
    assert one.key == run("noise", {}).key
