"""Features as images: raised by what is recomputed here, each for the class that the head weighs it for, and bad input is one line."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from repository import current

from stages import experiment
from stages.check import problems
from stages.lib.errors import RunError
from stages.lib.networks import sources, units
from stages.lib.store import tables
from stages.studies import registry
from stages.studies.utrera2021.features import visualise

CLASSES = 4  # of the letters of the miniature
OUT = tables.RESULTS / "visualise"
SECTION = {
    "sources": ["l2_eps0_5"], "n_seeds": 1, "judges": ["natural"], "start": "digits", "n_starts": 2, "layer": "features", "features": [0, 5, 9],
    "descent": {"steps": 10, "step_size": 0.5}, "pictures": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def ready(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("visualise")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with current(folder) as repository:
        repository.edit("params.yaml", experiments=["visualise"], visualise=SECTION, grid__workers=1)
        experiment.main("visualise")
        yield repository


def run_of(**changes: object):
    settings = registry.EXPERIMENTS["visualise"].settings(**(SECTION | changes))
    return registry.EXPERIMENTS["visualise"].runs(settings, sources.card_of)[0]


def computed(run):
    return visualise.compute(run, sources.pretrained_of(sources.card_of(run.source)), None)


def test_each_feature_rises_from_each_start(ready):
    arrays, network = np.load(OUT / "arrays.npz"), sources.load("l2_eps0_5")
    start = "l2_eps0_5/digits/features/0/0/"
    assert arrays[start + "feature"].tolist() == [0, 0, 5, 5, 9, 9]
    assert arrays[start + "feature_shown"].tolist() == [0, 5]
    assert arrays[start + "class"].tolist() == np.repeat(network.head.weight.argmax(0)[[0, 5, 9]].numpy(), 2).tolist()
    body, _ = units.split(network, 0)
    before, after = (torch.from_numpy(arrays[start + name]).permute(0, 3, 1, 2) / 255 for name in ("before", "after"))
    assert torch.equal(before[0], before[1])  # the first start
    with torch.no_grad():
        low, high = (body(at)[[0, 1], [0, 5]] for at in (before, after))
    assert (high > low + 0.1).all()
    values = pd.read_parquet(OUT / "runs.parquet").set_index("measure")["value"]
    assert values["raised"] > 0.1
    assert 0 < values["moved"] <= 10 * 0.5
    assert {"recognised_natural", "start_natural"} < set(values.index)


def test_a_class_is_raised_in_the_head(ready):
    values, arrays = computed(run_of(layer="classes", features="all", start="noise", judges=[]))
    assert torch.equal(arrays["class"], arrays["feature"])
    assert len(arrays["feature"]) == 2 * CLASSES
    network = sources.load("l2_eps0_5")
    with torch.no_grad():
        seen = network(arrays["after"].permute(0, 3, 1, 2) / 255).argmax(1)
    assert torch.equal(seen, arrays["feature_shown"])  # the source itself takes it for the class
    assert values["raised"] > 0.2


def test_a_feature_that_a_layer_does_not_have_is_one_line(ready):
    with pytest.raises(RunError, match=r"visualise.features: 4 is beyond the 4 of l2_eps0_5; allowed: 0 to 3, or all"):
        computed(run_of(layer="classes", features=[3, CLASSES]))


WRONG = {
    "features": ({"features": [0, 100000]}, [], r"visualise\.features: 100000 is beyond the 64 of l2_eps0_5, layer features; allowed: 0 to 63"),
    "classes": ({"sources": ["torchvision_resnet18"], "layer": "classes", "features": [1000]}, ["torchvision_resnet18"], r"visualise\.features: 1000 is beyond the 1000 of torchvision_resnet18, layer classes; allowed: 0 to 999"),
    "start": ({"start": "svhn"}, [], r"visualise\.start: 'svhn' is not in params\.yaml: datasets"),
    "noise": ({"sources": ["torchvision_resnet18"], "start": "noise"}, ["torchvision_resnet18"], r"visualise\.sources: torchvision_resnet18 has learnt imagenet; allowed: sources of one of params\.yaml: datasets"),
    "judges": ({"judges": ["random"]}, [], r"visualise\.judges: random is random and has learnt nothing"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "models", "line"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_run_is_said_before_anything_starts(ready, changes, models, line):
    settings = registry.load_params()
    section = registry.EXPERIMENTS["visualise"].settings(**(SECTION | changes))
    wrong = problems(settings.model_copy(update={"visualise": section, "models": [*settings.models, *models]}))
    [found] = [found for found in wrong if "visualise" in found]
    assert re.search(line, found)


def test_there_are_two_layers(ready):
    ready.edit("params.yaml", visualise=SECTION | {"layer": "layer5"})
    with pytest.raises(registry.SettingsError, match=r"visualise.layer is 'layer5'; allowed: 'features' or 'classes'"):
        registry.section("visualise")
    ready.edit("params.yaml", visualise=SECTION)
