"""Evidence from differences that are known: verdicts follow the sign, and there is none where there is too little of it."""

import numpy as np
import pandas as pd
import pytest

from stages.lib.report import evidence, statistics
from stages.lib.report.evidence import Claim, Evidence

SURE, WRONG, LIKELY, AROUND = [2.0, 2.1, 1.9, 2.2, 1.8], [-2.0, -2.1, -1.9, -2.2, -1.8], [1.0, 3.0, 0.3, 2.0, 2.2], [-1.0, 1.0] * 3


def over_seeds(values: list[float], expected: int = 1, models: list[int] | None = None, note: str = "") -> Evidence:
    return evidence.over_seeds("a minus b", pd.DataFrame({"difference": values, "source_model": models or 0}), expected, note)


def claim(*given: Evidence) -> Claim:
    return Claim("a statement", "Table 1", "by counting", list(given), "2.0")


@pytest.mark.parametrize(
    ("differences", "expected", "verdict"),
    [
        (SURE, 1, "supports"),
        (SURE, -1, "contradicts"),
        (AROUND, 1, "undecided"),
        (SURE, 0, "undecided"),
        (SURE[:4], 1, "undecided"),
        ([], 1, "not run"),
    ],
)
def test_over_seeds_the_verdict_needs_five_of_them_and_a_sign_to_expect(differences, expected, verdict):
    [found] = claim(over_seeds(differences, expected)).evidence
    assert (found.verdict, found.n) == (verdict, len(differences))
    if differences:
        assert (found.mean, found.low, found.high) == pytest.approx(statistics.interval(np.array(differences)), nan_ok=True)


def test_without_a_verdict_the_reason_is_said():
    found = claim(*(over_seeds(values) for values in (SURE[:4], AROUND, [])), over_seeds(SURE, models=[0, 1, 0, 1, 0])).evidence
    assert [e.note for e in found] == [
        "4 subsets, no verdict from fewer than 5", "the interval includes zero", evidence.ABSENT, "2 source models, no verdict from fewer than 3",
    ]  # fmt: skip
    assert over_seeds(SURE, note="said by the claim").note == "said by the claim"


def test_subsets_of_several_source_models_are_as_many_values_as_there_are_models():
    found = over_seeds([1.0, 1.1, 3.0, 3.1, 2.0, 2.1], models=[0, 0, 1, 1, 2, 2])
    assert (found.low, found.high) == statistics.interval(np.array([1.05, 3.05, 2.05]), np.arange(3))[1:]
    assert (found.n, found.of) == (6, "paired subsets of 3 source models")


def test_evidence_says_how_many_of_its_subsets_have_a_run_that_diverged():
    table = pd.DataFrame({"difference": [*SURE, -60.0], "source_model": 0, "diverged": [False] * 5 + [True]})
    found = evidence.over_seeds("a minus b", table)
    assert (found.n, found.of, found.mean) == (6, "paired subsets, 1 with a run that diverged", pytest.approx(-50 / 6))
    assert evidence.over_seeds("a minus b", table[:5]).of == "paired subsets"


def runs(**accuracies: list[float]) -> pd.DataFrame:
    rows = [(source, seed, value, 0) for source, values in accuracies.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["source", "seed", "test_accuracy", "source_model"])


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ({"a": [50.0] * 5, "b": [50.0 + gain for gain in SURE], "c": [40.0] * 5}, "b"),
        ({"a": [50.0] * 5, "b": [50.0 + gain for gain in SURE[:4]]}, None),  # too few
        ({"a": [50.0] * 6, "b": [50.0 + gain for gain in AROUND]}, None),
        ({"a": [50.0] * 5, "b": [50.0] * 5}, None),
        ({"a": [50.0] * 5}, None),  # of nothing
    ],
)
def test_the_surely_best_source_is_better_than_each_other(accuracies, best):
    assert evidence.surely_best(runs(**accuracies)) == best


def test_over_models_a_verdict_needs_three():
    assert claim(evidence.over_models("", [2.0, 2.1, 1.9])).verdict == "supports"
    [few] = claim(evidence.over_models("", [2.0, 2.1])).evidence
    assert (few.verdict, few.note) == ("undecided", "2 source models, no verdict from fewer than 3")


def test_of_many_comparisons_one_must_be_further_from_zero():
    alone, *others = [over_seeds(LIKELY), *(over_seeds(AROUND) for _ in range(4))]
    assert alone.p < 0.05
    assert claim(alone).evidence[0].verdict == "supports"
    [found, *_] = claim(alone, *others).evidence
    assert (found.verdict, found.adjusted) == ("undecided", pytest.approx(5 * alone.p))
    assert found.note == "not far enough from zero for one of 5 comparisons"


def test_of_claims_without_any_difference_few_have_a_verdict():
    rng = np.random.default_rng(0)
    verdicts = [claim(*(over_seeds(rng.normal(size=8)) for _ in range(6))).verdict for _ in range(400)]
    assert 0.02 < 1 - verdicts.count("undecided") / 400 < 0.08


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ([SURE, AROUND], "supports"),
        ([WRONG, AROUND, []], "contradicts"),
        ([SURE, WRONG], "mixed"),
        ([AROUND, []], "undecided"),
        ([[]], "not run"),
    ],
)
def test_a_claim_has_the_verdict_of_its_comparisons(given, verdict):
    assert claim(*map(over_seeds, given)).verdict == verdict


def test_over_images_the_interval_is_newcombe_s_shifted_by_the_constant():
    [found] = claim(evidence.over_images("", [90.0, 70.0], [100, 200], [1, -1], constant=-5.0)).evidence
    assert (found.mean, found.low, found.high) == tuple(v - 5.0 for v in statistics.contrast([90.0, 70.0], [100, 200], [1, -1]))
    assert (found.n, found.of, found.verdict) == (100, "test images", "supports")
    [around] = claim(evidence.over_images("", [70.0, 70.0], [100, 100], [1, -1], note="over images")).evidence
    assert (around.verdict, around.note) == ("undecided", "over images")


def test_without_the_number_of_test_images_there_is_no_verdict():
    [found] = claim(evidence.over_images("", [90.0, 70.0], [100, None], [1, -1])).evidence
    assert (found.mean, found.verdict, found.n, found.of) == (20.0, "undecided", 1, "model each")
    assert np.isnan(found.low)


def test_claims_are_counted_as_claims():
    claims = [claim(over_seeds(SURE), over_seeds(SURE)), claim(over_seeds(AROUND)), claim(over_seeds([]))]
    assert evidence.verdicts(claims) == {"supports": 1, "contradicts": 0, "mixed": 0, "undecided": 1, "not run": 1}
    assert evidence.false_verdicts(claims) == pytest.approx(2 * 0.05)


def test_the_table_has_a_row_for_each_comparison_and_counts_claims_from_1():
    table = evidence.table([claim(over_seeds(SURE), over_seeds(AROUND), over_seeds([])), claim(over_seeds(SURE))])
    assert table["claim"].tolist() == [1, 1, 1, 2]
    assert table["difference"].isna().tolist() == [False, False, True, False]
    assert table.loc[0, ["n", "n_of", "verdict", "verdict_of_claim", "published"]].tolist() == [
        5,
        "paired subsets",
        "supports",
        "supports",
        "2.0",
    ]
    assert table.loc[0, "p_holm"] == pytest.approx(2 * table.loc[0, "p"])
