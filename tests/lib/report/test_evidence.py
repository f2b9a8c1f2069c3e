"""Evidence from differences that are known: its verdict follows the interval, and stays open where there is too little of it."""

import numpy as np
import pytest

from stages.lib.report import evidence, statistics
from stages.lib.report.evidence import Claim, Evidence


def test_judging_looks_at_the_interval_and_the_expected_side():
    assert evidence.judge(1.0, 2.0) == evidence.judge(-2.0, -1.0, expected=-1) == "supports"
    assert evidence.judge(1.0, 2.0, expected=-1) == evidence.judge(-2.0, -1.0) == "contradicts"
    assert evidence.judge(-1.0, 1.0) == evidence.judge(np.nan, np.nan) == "open"


@pytest.mark.parametrize(
    ("differences", "expected", "verdict"),
    [
        ([1.0] * 5, 1, "supports"),
        ([1.0] * 5, -1, "contradicts"),
        ([-1.0, 1.0] * 3, 1, "open"),
        ([1.0] * 5, 0, "open"),
        ([1.0] * 4, 1, "open"),
    ],
)
def test_over_seeds_the_verdict_needs_five_of_them_and_a_sign_to_expect(differences, expected, verdict):
    found = evidence.over_seeds("a minus b", np.array(differences), 200, expected)
    assert (found.verdict, found.n, found.mean) == (verdict, len(differences), np.mean(differences))
    assert (found.mean, found.low, found.high) == statistics.interval(np.array(differences), 200)


def test_what_leaves_it_open_is_said():
    few, around, given = ([1.0] * 4, [-1.0, 1.0] * 3, [1.0] * 5)
    notes = [evidence.over_seeds("", np.array(values), 200).note for values in (few, around, [])]
    assert notes == ["4 subsets, no verdict from fewer than 5", "the interval includes zero", evidence.ABSENT]
    assert evidence.over_seeds("", np.array(given), 200, note="said by the claim").note == "said by the claim"
    assert evidence.over_seeds("", np.empty(0), 200).mean is None


def test_over_images_the_interval_is_newcombe_s_shifted_by_the_constant():
    found = evidence.over_images("", [90.0, 70.0], [100, 200], [1, -1], constant=-5.0)
    assert (found.mean, found.low, found.high) == tuple(v - 5.0 for v in statistics.contrast([90.0, 70.0], [100, 200], [1, -1]))
    assert (found.n, found.of, found.verdict) == (100, "test images", "supports")
    around = evidence.over_images("", [70.0, 70.0], [100, 100], [1, -1], note="over images")
    assert (around.verdict, around.note) == ("open", "over images; it includes zero")


def test_without_the_number_of_test_images_there_is_no_verdict():
    found = evidence.over_images("", [90.0, 70.0], [100, None], [1, -1])
    assert (found.mean, found.verdict, found.n, found.of) == (20.0, "open", 1, "model each")
    assert np.isnan(found.low)


def claims() -> list[Claim]:
    given = [Evidence("a", 1.0, 0.5, 2.0, 6, verdict="supports"), Evidence("b", -1.0, -2.0, 0.5, 6), Evidence("c", note=evidence.ABSENT)]
    return [Claim("first", "Table 1", "by counting", given, "2.0"), Claim("second", "Table 2", "", given[:1], "")]


def test_what_is_absent_counts_in_no_verdict():
    assert evidence.verdicts(claims()) == {"supports": 2, "contradicts": 0, "open": 1}


def test_the_table_has_a_row_for_each_piece_of_evidence_and_counts_claims_from_1():
    table = evidence.table(claims())
    assert table[["claim", "statement", "comparison"]].values.tolist() == [
        [1, "first", "a"], [1, "first", "b"], [1, "first", "c"], [2, "second", "a"],
    ]  # fmt: skip
    assert table["difference"].isna().tolist() == [False, False, True, False]
    assert table.loc[0, ["low", "high", "n", "n_of", "verdict", "published"]].tolist() == [0.5, 2.0, 6, "paired subsets", "supports", "2.0"]
