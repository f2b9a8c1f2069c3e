"""A source on the dial does what it does elsewhere: its shape bias, and its accuracy on a target with the weights that it ends with."""

import kinds
import numpy as np
import pytest
from shaped import logits_of, run, source_in

from stages.lib.datasets.sets import load
from stages.lib.store.tables import CORRECT
from stages.studies.utrera2021.shape.experiments import shape_bias, texture_dial, tuning


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with source_in(tmp_path_factory.mktemp("shape")) as made:
        yield made


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
