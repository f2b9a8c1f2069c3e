"""The runs that the embedded profile asks for, and what of it cannot be run: one clear line each, before anything starts."""

import pytest
import yaml
from inprocess import settings_only
from repository import ROOT

from stages import check
from stages.lib.networks import sources
from stages.lib.settings import overlays, params
from stages.studies import registry
from stages.studies.utrera2021.shape import runs
from stages.studies.utrera2021.shape.settings import ShapeBiasSettings, TextureAttackSettings, TextureDialSettings

PROFILE = "embedded-why-shape"
WRONG = {
    "a conflict set with one label": ({"shape_bias__conflict": "digits"}, ["shape_bias.conflict: 'digits' has one label", "cue_conflict"]),
    "a target with two labels": ({"targets": ["glyphs_conflict"]}, ["targets: 'glyphs_conflict' has two labels", "one label for each image"]),
    "a source that is not brought": ({"texture_attack__both": "natural"}, ["texture_attack.sources", "'natural'", "params.yaml: models"]),
    "a set that is not brought": ({"texture_dial__targets": ["cifar10"]}, ["texture_dial.targets", "'cifar10'", "params.yaml: datasets"]),
    "too many blocks": ({"shape_bias__blocks": [3, 40]}, ["shape_bias.blocks: 40 is above the", "blocks of dial_95_natural", "or all"]),
    "blocks and nothing to fine-tune on": ({"shape_bias__stylised": None}, ["shape_bias", "`stylised` and `finetuning`"]),
    "a dial that falls": ({"texture_dial__dial": [{"correlation": c, "sources": [f"dial_{n}_natural"]} for c, n in ((1.0, 100), (0.0, 0))]},
                          ["texture_dial", "`correlation` that rises"]),
    "a source at two places": ({"texture_dial__dial": [{"correlation": c, "sources": ["dial_0_natural"]} for c in (0.0, 1.0)]},
                               ["texture_dial", "each source at one place"]),
    "a correlation above 1": ({"texture_dial__dial": [{"correlation": c, "sources": [n]} for c, n in ((0.0, "dial_0_natural"), (1.5, "dial_100_natural"))]},
                              ["texture_dial.dial", "1.5"]),
    "a degraded target of no entry": ({"report__utrera2021__degraded": {"digits": {"low_pass": "digit_low"}}}, ["report.utrera2021.degraded", "'digit_low'"]),
}  # fmt: skip
OF_SETS = {
    "a low pass above the image": ({"digits_low_pass__low_pass": 32}, ["digits_low_pass.low_pass is 32", "1 to 31", "upscale.image_size"]),
    "a low pass of nothing": ({"digits_low_pass__low_pass": 0}, ["data/catalog.yaml", "digits_low_pass.low_pass", "0"]),
    "two ways to lose detail": ({"digits_low_pass__low_resolution": 4}, ["digits_low_pass", "either `low_resolution` or `low_pass`"]),
    "a reading that is none": ({"digits_low_pass__low_pass_reading": "round"}, ["digits_low_pass.low_pass_reading", "'square', 'highest' or 'border'"]),
    "a dial beyond 1": ({"glyphs_dial__dial": [1.5]}, ["glyphs_dial.dial", "1.5"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def profile() -> dict:
    return overlays.merged([PROFILE], ROOT / "profiles")


@pytest.fixture
def repository(tmp_path, profile, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return settings_only(tmp_path, yaml.safe_load(yaml.safe_dump(profile)))


def said() -> str:
    try:
        return "; ".join(check.problems(registry.load_params()))
    except params.SettingsError as error:
        return str(error)


def test_the_profiles_can_be_run(repository):
    assert said() == ""
    real = settings_only(repository.folder, overlays.merged(["utrera-why-shape"], ROOT / "profiles"))
    assert real.folder == repository.folder
    assert said() == ""


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_run_is_one_line(repository, changes, says):
    repository.edit("params.yaml", **changes)
    found = said()
    assert all(part in found for part in says), found
    assert "\n" not in found


@pytest.mark.parametrize(("changes", "says"), OF_SETS.values(), ids=OF_SETS)
def test_a_set_that_cannot_be_made_is_one_line(repository, changes, says):
    repository.edit("data/catalog.yaml", **changes)
    found = said()
    assert all(part in found for part in says), found


def test_frequencies_of_images_of_all_shapes_are_one_line(repository):
    repository.edit("params.yaml", upscale={"image_size": 32, "store": "whole"})
    assert "upscale.store: whole, and data/catalog.yaml: digits_low_pass.low_pass is 4; allowed: upscaled" in said()


def test_every_model_of_each_source_is_asked_and_seeds_take_them_in_turn(profile, monkeypatch):
    monkeypatch.setattr(sources, "count", lambda name: 4)
    bias = runs.shape_bias(ShapeBiasSettings(**profile["shape_bias"]), None)
    assert len(bias) == 3 * (4 + 2 * 4)
    assert {(run.target, run.also) for run in bias} == {("glyphs_stylised", "glyphs_conflict")}
    dial = runs.texture_dial(TextureDialSettings(**profile["texture_dial"]), None)
    assert len(dial) == 12 * (4 + 2 * 8)
    assert {run.seed: run.number for run in dial if run.method == "transfer"} == {seed: seed % 4 for seed in range(8)}
    assert {run.setting for run in dial if run.source.startswith("dial_50_")} == {0.5}
    attack = runs.texture_attack(TextureAttackSettings(**profile["texture_attack"]), None)
    assert [run.how["attack"]["random_start"] for run in attack] == [False] * 12
    alone = runs.shape_bias(ShapeBiasSettings(sources=["a"], conflict="clash"), None)
    assert {(run.target, run.also, run.method) for run in alone} == {("clash", None, "as_is")}
