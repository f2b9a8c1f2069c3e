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
NAMES = {  # what is read but cannot be run: the changes, and what is said of each
    "shape_bias__conflict": ("digits", ["shape_bias.conflict: 'digits' has one label for each image", "image sets with two labels"]),
    "targets": (["digits", "glyphs_conflict"], ["targets: 'glyphs_conflict' has two labels", "image sets with one label for each image"]),
    "texture_attack__both": ("natural", ["texture_attack.sources: 'natural'", "params.yaml: models"]),
    "texture_dial__targets": (["cifar10"], ["texture_dial.targets: 'cifar10'", "params.yaml: datasets"]),
    "shape_bias__blocks": ([3, 40], ["shape_bias.blocks: 40 is above the", "blocks of dial_95_natural", "or all"]),
    "report__utrera2021__degraded": ({"digits": {"low_pass": "digit_low"}}, ["report.utrera2021.degraded: 'digit_low'"]),
}  # fmt: skip
WRONG = {  # what cannot be read
    "shape_bias__stylised": (None, ["shape_bias", "`stylised` and `finetuning` where there are `blocks`"]),
    "texture_dial__dial": (
        {"at_0": ["dial_0_natural"], "at_101": ["dial_100_natural"]},
        ["texture_dial.dial.at_101", "^at_(0|[1-9][0-9]?|100)$"],
    ),
    "texture_attack__step_ratio": (1, ["texture_attack.step_ratio", "greater than 1"]),
}
OF_SETS = {
    "digits_low_pass__low_pass": (0, ["digits_low_pass.low_pass", "0"]),
    "textures_low_pass__low_resolution": (4, ["textures_low_pass", "either `low_resolution` or `low_pass`"]),
    "textures_low__low_pass_reading": ("round", ["textures_low.low_pass_reading", "'square', 'highest' or 'border'"]),
    "glyphs_dial__dial": ([1.5], ["glyphs_dial.dial", "1.5"]),
}


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


@pytest.mark.parametrize(
    ("path", "asked"), [("params.yaml", NAMES), ("params.yaml", WRONG), ("data/catalog.yaml", OF_SETS)], ids=["names", "settings", "sets"]
)
def test_what_cannot_be_run_is_one_line_each(repository, path, asked):
    repository.edit(path, **{key: value for key, (value, _) in asked.items()})
    found = said()
    assert [part for _, says in asked.values() for part in says if part not in found] == [], found
    assert "\n" not in found


def test_a_low_pass_above_the_image_or_of_images_of_all_shapes_is_one_line(repository):
    repository.edit("data/catalog.yaml", digits_low_pass__low_pass=32)
    repository.edit("params.yaml", upscale={"image_size": 32, "store": "whole"})
    found = said()
    assert "digits_low_pass.low_pass is 32; allowed: 1 to 31, below upscale.image_size" in found
    assert "upscale.store: whole, and data/catalog.yaml: digits_low_pass.low_pass is 32; allowed: upscaled" in found


def test_a_source_stands_at_one_place_of_the_dial(profile):
    dial = {place: ["dial_0_natural"] for place in ("at_0", "at_100")}
    with pytest.raises(ValueError, match="each source at one place of the dial"):
        TextureDialSettings(**profile["texture_dial"] | {"dial": dial})


def test_every_model_of_each_source_is_asked_and_seeds_take_them_in_turn(profile, monkeypatch):
    monkeypatch.setattr(sources, "count", lambda name: 4)
    bias = runs.shape_bias(ShapeBiasSettings(**profile["shape_bias"]), None)
    assert len(bias) == 3 * (4 + 2 * 7)
    assert {(run.target, run.also) for run in bias} == {("glyphs_stylised", "glyphs_conflict")}
    dial = runs.texture_dial(TextureDialSettings(**profile["texture_dial"]), None)
    assert len(dial) == 11 * (4 + 2 * 7)
    assert {run.seed: run.number for run in dial if run.method == "transfer"} == {seed: seed % 4 for seed in range(7)}
    assert {run.setting for run in dial if run.source.startswith("dial_50_")} == {0.5}
    attack = runs.texture_attack(TextureAttackSettings(**profile["texture_attack"]), None)
    assert [run.how["attack"]["random_start"] for run in attack] == [False] * 12
    alone = runs.shape_bias(ShapeBiasSettings(sources=["a"], conflict="clash"), None)
    assert {(run.target, run.also, run.method) for run in alone} == {("clash", None, "as_is")}
