"""Inversions in the report: differences are those of the same images, intervals are over models, claims follow, and figures show all."""

import numpy as np
import pandas as pd
import pytest

from stages.lib.report import cards, evidence, figures
from stages.lib.report.inversions import claims, drawings, numbers
from stages.lib.report.looks import Look
from stages.lib.store.tables import CORRECT

CARD = {"architecture": "small_resnet", "kind": "trained", "dataset": "glyphs", "threat": None}
CARDS = {"nat": CARD, "rob": CARD | {"threat": {"norm": "l2", "eps": 0.5, "perturbation": "PGD(3)"}}}
LOOKS = {"nat": Look("natural", "#000000", "o"), "rob": Look("L2 0.5", "#e8590c", "s")}
N = 6
SPREAD = np.linspace(-3, 3, N)


def made(gain: float, *, models: int = 4, noise_gain: float = 0.0) -> numbers.Optimised:
    """Inversions of `gain` percent less distance from the robust source; images and models differ, each alike for both sources."""
    arrays = {}
    for source, lower in (("nat", 0.0), ("rob", gain)):
        for seed in range(models):
            for way, less in (("plain/0", 0.0), ("variational/0.001", noise_gain)):
                start = f"{source}/letters/{way}/{seed}/"
                level = 60 + SPREAD + seed - lower * (1 + 0.01 * seed) - less * (1 + 0.01 * seed)
                arrays |= {start + name: level.astype(np.float32) for name in ("pixel", "outline", "feature")}
                arrays |= {
                    start + name: np.full(N, 75, np.float32) for name in ("start", "blank", "other", "start_outline", "other_outline")
                }
                arrays[f"{start}{CORRECT}recognised_nat"] = np.arange(N) < (5 if source == "rob" else 2)
                arrays |= {
                    start + "curve_step": np.array([0, 1, 8]),
                    start + "curve_pixel": np.array([75, 70, 60]),
                    start + "curve_feature": np.array([90, 40, 5]),
                }
                if seed == 0:
                    arrays |= {start + name: np.full((2, 8, 8, 3), 9, np.uint8) for name in ("original", "inversion")}
                    arrays[start + "place"] = np.array([4, 1])
    return numbers.load(arrays, {"nat": models, "rob": models})


def test_a_difference_is_of_the_same_image_of_the_same_model():
    pairs = numbers.minus(made(7.0).images.query("method == 'plain'"), "pixel", {"source": "nat"}, {"source": "rob"})
    assert len(pairs) == 4 * N
    assert np.allclose(pairs["difference"], 7 * (1 + 0.01 * pairs["seed"]), atol=1e-4)
    assert pairs["source_model"].nunique() == 4


def test_intervals_are_over_models_and_of_one_model_over_images():
    several, one = (made(0.0, models=n).means("pixel").set_index(["source", "method"]).loc[("nat", "plain")] for n in (4, 1))
    assert (several["n"], one["n"]) == (4 * N, N)
    assert several["mean"] == pytest.approx(61.5)
    half = 3.182 * np.std([0, 1, 2, 3], ddof=1) / 2  # Student's, of four models
    assert (several["high"] - several["low"]) / 2 == pytest.approx(half, rel=1e-3)
    assert one["high"] - one["low"] > 2
    two = made(0.0, models=2).means("pixel")
    assert two["low"].isna().all()


@pytest.mark.parametrize(
    ("gain", "models", "verdict"), [(7.0, 4, "supports"), (-7.0, 4, "contradicts"), (7.0, 1, "supports"), (7.0, 2, "undecided")]
)
def test_the_claim_has_the_verdict_of_the_differences(gain, models, verdict):
    found = list(claims.closer(made(gain, models=models), CARDS, "nat", LOOKS))
    assert [e.comparison for e in found] == ["letters, pixels: natural minus L2 0.5", "letters, outlines: natural minus L2 0.5"]
    assert evidence.Claim("s", "p", "m", found, "").verdict == verdict
    assert found[0].mean == pytest.approx(gain * (1 + 0.005 * (models - 1)), rel=1e-4)


def test_what_a_judge_recognises_and_what_noise_does_are_differences_too():
    found = made(7.0, noise_gain=-2.0)
    [judged] = claims.recognised(found, CARDS, "nat", LOOKS)
    assert judged.mean == pytest.approx(50)
    assert judged.comparison == "letters, recognised by another natural: L2 0.5 minus natural"
    helps = list(claims.noise_helps(found, LOOKS))
    assert [round(e.mean, 2) for e in helps] == [-2.03, -2.03]
    assert evidence.Claim("s", "p", "m", helps, "").verdict == "contradicts"


def test_without_a_natural_source_nothing_is_compared():
    only = {name: card for name, card in CARDS.items() if name == "rob"}
    assert cards.natural_of(only, "nat") is None
    assert cards.natural_of(CARDS, "missing") == "nat"
    assert [e.verdict for e in claims.closer(made(7.0), only, None, LOOKS)] == ["not run"] * 2


def test_curves_have_a_point_for_each_step_and_the_summary_a_row_for_each_measure():
    found = made(7.0)
    curves = found.curves()
    assert curves.query("source == 'rob' and method == 'plain' and measure == 'feature'")["mean"].tolist() == [90, 40, 5]
    summary = found.summary()
    assert set(summary["measure"]) == {*numbers.MEASURES, "recognised_nat"}
    assert summary.query("measure == 'recognised_nat' and source == 'rob'")["mean"].round(2).tolist() == [83.33] * 2


def test_every_figure_shows_sources_ways_and_distances():
    found, drawn = made(7.0), {}
    for draw in (drawings.of_sources, drawings.distances, drawings.by_steps):
        drawn |= {d.name: figures.encode(d.draw(*d.arguments), "svg").decode() for d in draw(found, LOOKS, "x")}
    drawn |= {d.name: figures.encode(d.draw(*d.arguments), "svg").decode() for d in drawings.of_ways(found, LOOKS, "x", "rob")}
    assert set(drawn) == {"x_inversions_letters", "x_inversion_distances_letters", "x_inversion_steps_letters", "x_ways_letters_rob"}
    assert drawn["x_inversions_letters"].count("<image ") == 3 * 2  # original, natural, robust
    assert drawn["x_ways_letters_rob"].count("<image ") == 3 * 2  # original, and two ways
    assert "L2 0.5, without noise: 54.4" in drawn["x_inversion_distances_letters"]
    assert "L2 0.5, the start: 75.0" in drawn["x_inversion_distances_letters"]
    rows = drawings.picture_rows(found, "letters", LOOKS)
    assert [row.label for row in rows] == ["original", "natural", "L2 0.5"]
    assert rows[1].texts == [f"{60 + SPREAD[k]:.0f} | {60 + SPREAD[k]:.1f}" for k in (4, 1)]


def test_nothing_is_drawn_of_nothing():
    empty = numbers.load({}, {})
    assert list(drawings.of_sources(empty, LOOKS, "x")) == []
    assert list(drawings.of_features(empty, LOOKS, "x", "")) == []
    assert isinstance(empty.images, pd.DataFrame)
