"""Published accuracies of Shafahi et al.: beside ours where all that they say of theirs holds of ours, and nowhere else."""

import itertools
from typing import Any

import made_shafahi
import pytest
import yaml
from repository import ROOT

from stages import source as stage
from stages.lib.settings import overlays, params
from stages.studies import registry
from stages.studies.shafahi2020 import published
from stages.studies.shafahi2020.study import EXPERIMENTS

PUBLISHED = published.load()
HALF = {"of": 2, "number": 0, "seed": 0}
CIFAR = {
    "training": "frozen", "card": made_shafahi.ROBUST, "target": "cifar10", "norm": "linf", "eps": 8 / 255, "attack": made_shafahi.HOW,
}  # fmt: skip
IMAGENET = CIFAR | {
    "card": {"architecture": "resnet50", "dataset": "imagenet", "part": None,
             "threat": {"norm": "linf", "eps": 5 / 255, "perturbation": "free, m = 4"}},
    "eps": 5 / 255,
}  # fmt: skip


def beside(ours: dict[str, Any], **changes: Any) -> dict[str, float] | None:
    """The published accuracies beside ours, with changes of nested keys, such as card__threat__eps."""
    ours = yaml.safe_load(yaml.safe_dump(ours))
    for path, value in changes.items():
        *above, last = path.split("__")
        place = ours
        for name in above:
            place = place[name]
        place[last] = value
    return PUBLISHED.beside(**ours)


def test_what_is_as_theirs_has_their_accuracies():
    assert beside(CIFAR) == {"clean": 72.05, "robust": 17.70}
    assert beside(CIFAR, card__threat=None) == {"clean": 83.05, "robust": 0.0}
    assert beside(CIFAR, card__part=HALF, target="cifar100_same") == {"clean": 64.96, "robust": 25.16}
    assert beside(CIFAR, training="trained on target", target="cifar100") == {"clean": 59.87, "robust": 22.76}
    assert beside(CIFAR, training="LwF", lambda_d=0.0025) == {"clean": 81.90, "robust": 15.42}
    assert beside(IMAGENET) == {"clean": 88.33, "robust": 22.66}
    assert beside(IMAGENET, card__threat=None, target="cifar100") == {"clean": 72.84, "robust": 0.05}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("card__architecture", "wide_resnet34_10"),
        ("card__architecture", "madry_wide_resnet32_1"),
        ("card__dataset", "cifar10"),
        ("card__part", HALF),
        ("card__threat__norm", "l2"),
        ("card__threat__eps", 4 / 255),
        ("card__threat__perturbation", "PGD(1)"),
        ("card__threat__perturbation", None),
        ("target", "cifar100_other"),
        ("target", "digits"),
        ("training", "LwF"),
        ("norm", "l2"),
        ("eps", 4 / 255),
        ("attack__kind", "fgsm"),
        ("attack__steps", 10),
        ("attack__step_ratio", 2.5),
        ("attack__loss", "margin"),
        ("attack__random_start", False),
        ("attack__restarts", 2),
        ("attack__target", "random"),
        ("attack", {"kind": "autoattack", "queries": 5000, "restarts": 1}),
        ("attack", {}),
    ],
)
def test_where_one_thing_is_not_as_theirs_nothing_published_stands_beside_ours(key, value):
    ours = CIFAR | {"lambda_d": 0.3} if value == "LwF" else CIFAR
    assert beside(ours, **{key: value}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"card__threat__eps": 8 / 255},
        {"card__threat__perturbation": "PGD(7)"},
        {"card__architecture": "resnet18"},
        {"eps": 8 / 255},
        {"card__dataset": "cifar100"},
        {"target": "cifar100_same"},
    ],
)
def test_the_sources_of_table_3_are_not_those_of_table_2(changes):
    assert beside(IMAGENET, **changes) is None


@pytest.mark.parametrize("part", [HALF | {"of": 3}, HALF | {"number": 1}, HALF | {"seed": 1}])
def test_of_another_part_of_the_classes_nothing_is_published(part):
    for target, training in itertools.product(("cifar10", "cifar100", "cifar100_same", "cifar100_other"), ("frozen", "trained on target")):
        assert beside(CIFAR, card__part=part, target=target, training=training) is None


def asked_for(profile: str) -> dict[str, int]:
    """By experiment, how many of the runs of a profile have published accuracies beside them."""
    settings = params.parse(registry.Params, overlays.merged([profile], ROOT / "profiles"), params.PARAMS)

    def card_of(name: str) -> Any:
        return stage.card(name, params.source_entry(name, ROOT / params.MODEL_CATALOG), settings.source, origin="")

    trainings = {("retrain", "source"): "trained on target", ("train_heads", "plain"): "frozen",
                 ("learn_without_forgetting", "written"): "LwF", ("learn_without_forgetting", "released"): "LwF"}  # fmt: skip
    found: dict[str, int] = {}
    for experiment in (each for each in EXPERIMENTS if each.name in settings.experiments):
        for run in experiment.runs(getattr(settings, experiment.name), card_of):
            training = trainings.get((experiment.name, run.method))
            if training and not (training == "frozen" and run.setting):
                [attack, *_] = run.measured["attacks"].values()
                there = PUBLISHED.beside(
                    training, card_of(run.source).model_dump(), run.target, norm=run.measured["norm"],
                    eps=run.measured["eps"], attack=attack, lambda_d=run.setting if training == "LwF" else None,
                )  # fmt: skip
                found[experiment.name] = found.get(experiment.name, 0) + (there is not None)
    return found


def test_the_profiles_ask_for_what_the_paper_has():
    of_tables_4_5_and_6 = 2 * (6 + 5 + 4)  # in both ways
    assert asked_for("shafahi-cifar100") == {"retrain": 2, "train_heads": 6, "learn_without_forgetting": of_tables_4_5_and_6}
    assert asked_for("shafahi-imagenet") == {"train_heads": 4}
    assert not any(asked_for("embedded-shafahi").values())
