"""What of the settings of this study cannot be run is one line each, before anything starts."""

import pytest
import yaml
from pydantic import ValidationError
from repository import ROOT

from stages import check
from stages.lib.networks.architectures import blocks_problem
from stages.lib.settings import overlays
from stages.lib.settings.sections import FinetuneSettings
from stages.studies import registry
from stages.studies.terzi2021.settings import TerziSettings


@pytest.fixture
def problems(tmp_path, monkeypatch):
    """A function that changes the embedded profile and gives what `check` finds wrong with it."""
    monkeypatch.chdir(ROOT)

    def found(change) -> list[str]:
        settings = overlays.merged(["embedded-terzi"], ROOT / "profiles")
        change(settings)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(settings))
        return check.problems(registry.load_params(path))

    return found


def test_the_profile_has_none(problems):
    assert problems(lambda settings: None) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: (s["models"].append("random"), s["measure_distance"]["sources"].append("random")),
            "params.yaml: measure_distance.sources: random is random and has learnt nothing; allowed: a source that is trained or fetched",
        ),
        (
            lambda s: (s["models"].append("torchvision_resnet18"), s["measure_distance"]["sources"].append("torchvision_resnet18")),
            "params.yaml: measure_distance.sources: torchvision_resnet18 has learnt imagenet, which is not here; allowed: sources of letters",
        ),
        (lambda s: s["measure_distance"]["targets"].append("svhn"), "params.yaml: measure_distance.targets: 'svhn' is not in params.yaml: datasets"),
        (
            lambda s: (s["datasets"].append("scenes"), s["measure_distance"]["targets"].append("scenes")),
            "params.yaml: measure_distance.targets: 'scenes' has several objects in an image",
        ),
        (
            lambda s: (s["models"].append("torchvision_vgg16_bn"), s["sources"].append("torchvision_vgg16_bn")),
            "params.yaml: blocks: last_norm is no part of torchvision_vgg16_bn (vgg16_bn), between whose last batch norm and head are other "
            "layers with weights; allowed: 0 to 15, norms, or all",
        ),
        (lambda s: s["report"]["terzi2021"]["near"].append("nothing"), "params.yaml: report.terzi2021.near: 'nothing' is not in data/catalog.yaml"),
    ],
    ids=["random", "elsewhere", "unknown", "objects", "vgg", "near"],
)  # fmt: skip
def test_what_cannot_be_run_is_one_line(problems, change, said):
    found = problems(change)
    assert [line for line in found if line.startswith(said)], found


def test_a_mode_is_a_number_or_one_of_three_words():
    assert blocks_problem("last_norm", "src", "resnet50") is None
    assert blocks_problem("norms", "src", "vgg16_bn") is None
    assert blocks_problem(17, "src", "resnet50") == "17 is above the 16 blocks of src (resnet50); allowed: 0 to 16, or all"
    with pytest.raises(ValidationError, match="either `near` or `distant`; both are digits"):
        TerziSettings(near=["digits"], distant=["digits", "textures"])


@pytest.mark.parametrize("drops", [[3, 2], [10], [2, 2]])
def test_drops_of_the_rate_rise_and_come_before_the_end(drops):
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"] | {"epochs": 10}
    assert FinetuneSettings(**settings, drops=[5, 8]).drops == [5, 8]
    with pytest.raises(ValidationError):
        FinetuneSettings(**settings, drops=drops)
