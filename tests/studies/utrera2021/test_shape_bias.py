"""What a source names in cue-conflict images, against a count by hand; and what fine-tuning moves."""

from pathlib import Path

import kinds
import numpy as np
import pytest
import torch
from shaped import ATTACK, logits_of, run, source_in

from stages.lib.datasets.sets import load
from stages.lib.errors import RunError
from stages.lib.store.tables import CORRECT, IMAGE
from stages.studies.utrera2021.shape import categories
from stages.studies.utrera2021.shape.experiments import shape_bias, texture_attack, tuning


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with source_in(tmp_path_factory.mktemp("shape")) as made:
        yield made


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


def test_a_seed_draws_another_subset_and_head(source):
    first, again, other = (tuning.finetuned(source, "noise", 0, kinds.TUNING, seed)[0].head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


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
