"""Shape bias, degraded targets and the dial as numbers: made runs whose differences are known, their claims and their part of the page."""

from pathlib import Path

import made
import numpy as np
import pandas as pd
import pytest

from stages.lib.report import evidence, figures, looks
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.web import page
from stages.lib.store.tables import EXPERIMENT_IMAGES
from stages.studies.utrera2021.results import UtreraResults
from stages.studies.utrera2021.shape import numbers, published, report
from stages.studies.utrera2021.shape.runs import AS_IS, CONFLICT, FINETUNED, TRANSFER

MODELS, N = 4, 200
ROBUST = {"norm": "l2", "eps": 0.5}
DIAL = {0.0: ("nat0", "rob0"), 1.0: ("natural", "l2")}
CARDS = {
    name: made.short_card(threat) | {"architecture": "small_resnet", "dataset": "letters"}
    for name, threat in {"natural": None, "l2": ROBUST, "nat0": None, "rob0": ROBUST}.items()
}


def rows(source: str, target: str, method: str, setting: float, values: dict, seeds: int = MODELS) -> list[dict]:
    """Runs of a source; `values` gives each measure by the seed."""
    return [
        {"source": source, "target": target, "method": method, "setting": setting, "seed": seed, "measure": measure, "value": float(of(seed)),
         "n_test": N if measure in ("shape", "texture") or measure.startswith("eps_") else 0, "cell": "x"}
        for seed in range(seeds) for measure, of in values.items()
    ]  # fmt: skip


def named(shape: float, texture: float) -> dict:
    """Shape and texture accuracies of models that differ a little, and their shape bias."""
    return {
        "shape": lambda k: shape + k / 2, "texture": lambda k: texture, "shape_bias": lambda k: 100 * (shape + k / 2) / (shape + k / 2 + texture),
    }  # fmt: skip


def experiment(listed: list[dict], settings: dict) -> ExperimentResults:
    return ExperimentResults(settings, pd.DataFrame(listed), {}, pd.DataFrame(columns=[*EXPERIMENT_IMAGES]))


def experiments(gain: float = 10.0, models: int = MODELS) -> dict[str, ExperimentResults]:
    """Robust sources have more shape; where texture tells the class, `gain` points more on digits, and less on textures."""
    bias, dial = [], []
    for method, setting in ((AS_IS, 0.0), (FINETUNED, 3.0)):
        bias += rows("natural", "styled", method, setting, named(30, 60) | {"accuracy": lambda k: 50 + k}, models)
        bias += rows("l2", "styled", method, setting, named(60, 30) | {"accuracy": lambda k: 58 + 1.2 * k}, models)
    for correlation, (natural, robust) in DIAL.items():
        more = gain * correlation
        dial += rows(natural, "conflict", CONFLICT, correlation, named(50, 50), models)
        dial += rows(robust, "conflict", CONFLICT, correlation, named(50 + more, 50 - more), models)
        for target, sign in (("digits", 1), ("textures", -1)):
            dial += rows(natural, target, TRANSFER, correlation, {"accuracy": lambda k: 70 + k}, models)
            accuracy = {"accuracy": lambda k, more=sign * more: 71 + 1.1 * k + more}
            dial += rows(robust, target, TRANSFER, correlation, accuracy, models)
    attack = [row for source, at in (("natural", 40), ("nat0", 30), ("rob0", 55)) for row in rows(
        source, "letters", "attacked", 0, {"eps_0": lambda k: 80 + k, "eps_0.1": lambda k, at=at: at + k * (1 + at / 100)}, models)]  # fmt: skip
    return {
        "shape_bias": experiment(bias, {"stylised": "styled", "conflict": "conflict"}),
        "texture_attack": experiment(attack, {"rich": "natural", "poor": "nat0", "both": "rob0", "dataset": "letters", "norm": "l2", "steps": 3, "step_ratio": 2.5}),
        "texture_dial": experiment(dial, {"targets": ["digits", "textures"]}),
    }  # fmt: skip


def results() -> UtreraResults:
    """On digits the robust source has 2 points more, and 5 at a low resolution."""
    more = {"digits": 2.0, "digits_low": 5.0, "textures": 0.0}
    found = made.results(
        lambda source, target, b, n, epoch: more[target], targets=("digits", "digits_low", "textures"), sizes=(100,),
        cards={name: CARDS[name] for name in ("natural", "l2")}, textures=["textures"], degraded={"digits": {"low_resolution": "digits_low"}},
    )  # fmt: skip
    found.last["test_accuracy"] += 0.01 * np.random.default_rng(0).normal(size=len(found.last))  # as intervals need
    return found


@pytest.fixture(autouse=True)
def _models(monkeypatch):
    monkeypatch.setattr(numbers, "count", lambda source: MODELS)


def claims(**changes: float) -> dict[str, evidence.Claim]:
    of = looks.looks_of([(name, name, "l2" if card["threat"] else "natural", 0.5) for name, card in CARDS.items()])
    return {claim.place.split(":")[0]: claim for claim in report.part(results(), experiments(**changes), CARDS, of).claims}


def test_a_shape_bias_has_an_interval_over_models_and_of_one_model_over_the_images_that_are_named():
    found = numbers.load(results(), experiments(), CARDS)
    row = found.bias[(found.bias["measure"] == "shape_bias") & (found.bias["source"] == "natural")].iloc[0]
    each = [100 * (30 + k / 2) / (90 + k / 2) for k in range(MODELS)]
    assert row["mean"] == pytest.approx(np.mean(each))
    assert (row["n"], row["low"] < min(each) + 1, row["low"] < row["mean"] < row["high"]) == (MODELS, True, True)
    alone = numbers.load(results(), experiments(models=1), CARDS)
    row = alone.bias[(alone.bias["measure"] == "shape_bias") & (alone.bias["source"] == "natural")].iloc[0]
    k, n, z = 60, 180, 1.959963984540054  # 30 and 60 % of 200 images: Wilson's interval of a third of 180
    centre = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert (row["low"], row["high"]) == (pytest.approx(100 * (centre - half)), pytest.approx(100 * (centre + half)))


def test_the_turn_of_the_dial_is_the_advantage_at_its_end_minus_that_at_its_beginning_for_each_model():
    found = numbers.load(results(), experiments(gain=10.0), CARDS)
    turns = numbers.turn_of_the_dial(found.advantage_runs, found.cards)
    assert set(turns) == {("shape bias", 0.5), ("digits", 0.5), ("textures", 0.5)}
    assert turns["digits", 0.5] == pytest.approx([10.0] * MODELS)
    assert turns["textures", 0.5] == pytest.approx([-10.0] * MODELS)
    ends = [100 * (60 + k / 2) / (100 + k / 2) - 100 * (50 + k / 2) / (100 + k / 2) for k in range(MODELS)]
    assert turns["shape bias", 0.5] == pytest.approx(ends)


def test_models_turn_the_dial_that_are_at_both_of_its_ends_however_few_there_are_between():
    found = numbers.load(results(), experiments(), CARDS)
    between = found.advantage_runs.assign(setting=0.5)
    few = pd.concat([found.advantage_runs, between[between["seed"] == 0]])
    expected = numbers.turn_of_the_dial(found.advantage_runs, found.cards)
    turns = numbers.turn_of_the_dial(few, found.cards)
    assert {key: list(turn) for key, turn in turns.items()} == {key: list(turn) for key, turn in expected.items()}
    at_one_end = found.advantage_runs[(found.advantage_runs["seed"] < 3) | (found.advantage_runs["setting"] < 1)]
    assert {len(turn) for turn in numbers.turn_of_the_dial(at_one_end, found.cards).values()} == {3}


@pytest.mark.parametrize(("gain", "verdict"), [(10.0, "supports"), (-10.0, "contradicts")])
def test_the_dial_decides_its_claim_either_way(gain, verdict):
    claim = claims(gain=gain)["in no paper"]
    assert claim.verdict == verdict
    assert {e.comparison: e.expected for e in claim.evidence} == {"shape bias, eps 0.5": 1, "digits, eps 0.5": 1, "textures, eps 0.5": -1}


def test_a_dial_that_nothing_follows_is_undecided():
    assert claims(gain=0.0)["in no paper"].verdict == "undecided"


def test_each_claim_of_the_section_has_a_verdict_and_poor_against_rich_has_none():
    found = claims()
    assert {place: claim.verdict for place, claim in found.items()} == {
        "Section 5, Table 1a": "supports", "Section 5, after Geirhos et al. (2019)": "supports", "Section 5, Table 1b": "supports",
        "Section 5, Table 2": "supports", "in no paper": "supports",
    }  # fmt: skip
    by = {e.comparison: e.verdict for e in found["Section 5, Table 1b"].evidence}
    assert by == {"eps 0.1: both minus rich": "supports", "eps 0.1: poor minus rich": "undecided"}


def test_one_model_of_each_source_is_compared_over_images():
    claim = claims(models=1)["Section 5, after Geirhos et al. (2019)"]
    assert {(e.of, e.n) for e in claim.evidence} == {("test images", 180)}
    assert claim.verdict == "supports"
    assert claims(models=1)["in no paper"].verdict == "undecided"


def test_the_part_of_the_page_has_every_table_and_the_dial():
    of = looks.looks_of([(name, name, "l2" if card["threat"] else "natural", 0.5) for name, card in CARDS.items()])
    ours = results()
    part = report.part(ours, experiments(), CARDS, of)
    assert set(part.tables) == {"utrera_table1a", "utrera_table1b", "utrera_table2", "utrera_dial"}
    [drawing] = part.drawings
    assert len(drawing.draw(*drawing.arguments).axes) == 6
    assert figures.encode(drawing.draw(*drawing.arguments), "svg").startswith(b"<?xml")
    environment = page.environment_of(ours, of, {}, {})
    macros = environment.from_string(Path(page.MACROS).read_text(), globals=environment.globals).module
    text = page._filled(environment, part.template, part, macros)
    assert text.count('<td class="left">as it is</td>') == 2 + 1  # two sources of Table 1a, one target of Table 2
    assert text.count("3 blocks fine-tuned</td>") == 2
    assert text.count('<td class="left">low resolution</td>') == 1
    assert "published" not in text


def test_without_experiments_and_degraded_targets_there_is_nothing():
    plain = made.results(lambda *_: 1.0)
    part = report.part(plain, {}, {}, {})
    assert (part.tables, part.drawings, part.claims, part.anchors) == ({}, [], [], {})


def card(architecture: str = "resnet50", dataset: str = "imagenet", threat: dict | None = None) -> dict:
    return {"architecture": architecture, "dataset": dataset, "threat": threat}


def with_settings(**settings: dict) -> numbers.ShapeNumbers:
    found = numbers.load(made.results(lambda *_: 1.0), {}, {})
    found.settings.update(settings)
    return found


def test_published_figures_stand_beside_their_own_sources_sets_and_states_alone():
    paper, l2 = published.load(), {"norm": "l2", "eps": 3.0}
    ours = with_settings(shape_bias={"stylised": "stylised_imagenet"})
    assert (paper.table1a(card(), AS_IS, 0, ours), paper.table1a(card(threat=l2), FINETUNED, 3, ours)) == (11.4, 64.2)
    assert paper.table1a(card(), FINETUNED, 0, ours) is None
    assert paper.table1a(card(threat={"norm": "l2", "eps": 1.0}), AS_IS, 0, ours) is None
    assert paper.table1a(card(), AS_IS, 0, with_settings(shape_bias={"stylised": "glyphs_stylised"})) is None
    assert (
        paper.table2(card(), "caltech101_224", "low resolution", "3"),
        paper.table2(card(threat=l2), "caltech101_224", "low pass", "3"),
    ) == (79.1, 85.3)
    assert [
        paper.table2(card(), *other)
        for other in (("digits", "low pass", "3"), ("caltech101_224", "as it is", "3"), ("caltech101_224", "low pass", "1"))
    ] == [None] * 3
    theirs = {"dataset": "imagenet", "norm": "l2", "steps": 3, "step_ratio": 2.5}
    attacked = with_settings(texture_attack=theirs)
    assert [paper.table1b(card(dataset=name), 3 / 16, attacked) for name in ("imagenet", "stylised_imagenet", "imagenet_and_stylised")] == [
        34.7,
        25.5,
        38.5,
    ]
    assert paper.table1b(card(), 0.1, attacked) is None
    assert paper.table1b(card(), 3 / 32, with_settings(texture_attack=theirs | {"norm": "linf"})) is None
    assert paper.geirhos(card(), AS_IS, ours, 1200) == {"shape": 13.5, "texture": 47.67, "shape_bias": 22.07}
    assert paper.geirhos(card(dataset="stylised_imagenet"), AS_IS, ours, 1200)["shape_bias"] == 80.61
    assert paper.geirhos(card(threat=l2), AS_IS, ours, 1200) is None
    assert paper.geirhos(card(), AS_IS, ours, 1280) is None
    assert paper.geirhos(card(), FINETUNED, ours, 1200) is None
