"""The authors' lines: which of their results stand beside ours, and the intervals of means and of differences."""

import made
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.studies.utrera2021 import authors, numbers, published

THREATS = {"l2": {"norm": "l2", "eps": 3.0}, "linf4": {"norm": "linf", "eps": 4 / 255}}
STANDS = {"natural": "natural", "l2_eps3": "l2", "linf_eps4_255": "linf4"}
PAPER = published.load(["mnist"])


def results(**changes):
    made_of = {"targets": ("mnist", "usps"), "sizes": (100, 3200, 60000), "blocks": ("0", "1", "3"), "epochs": (1, 21, 100),
               "threats": THREATS, "published": STANDS, "whole": {"mnist": 60000, "usps": 60000}, "epochs_at": ["100"]}  # fmt: skip
    return made.results(lambda *_: 0.0, **made_of | changes)


def test_by_seed_where_these_are_known_and_of_table_7_elsewhere():
    found = authors.results_of_authors(results(), PAPER)
    assert set(found["target"]) == {"mnist"}, "the paper has no USPS"
    assert set(found["source"]) == {"natural", "l2", "linf4"}
    last = found[found["last"]]
    assert last.groupby("n_images")["blocks"].unique().map(list).to_dict() == {100: ["0", "1", "3"], 3200: ["3"], 60000: ["3"]}
    assert (last[last["n_images"] == 3200]["n"] == 0).all()
    assert last[last["n_images"] == 3200]["sd"].isna().all()
    by_name = PAPER.table7.set_index(["target", "n_images"])
    [whole] = last[(last["n_images"] == 60000) & (last["source"] == "l2")].to_dict("records")
    assert (whole["size"], whole["mean"]) == ("all", by_name.loc[("mnist", 60000), "l2_eps3"])
    at_100 = last[(last["n_images"] == 100) & (last["blocks"] == "3")].set_index("source")["mean"]
    assert at_100.to_dict() == pytest.approx({s: by_name.loc[("mnist", 100), column] for column, s in STANDS.items()}, abs=0.006)


@pytest.mark.parametrize(("stands", "sources"), [({}, set()), ({"natural": "natural"}, {"natural"}), ({"l2_eps3": "linf4"}, {"linf4"})])
def test_only_sources_that_stand_for_a_column_have_lines(stands, sources):
    assert set(authors.results_of_authors(results(published=stands), PAPER)["source"]) == sources


def test_the_interval_of_a_mean_is_student_s_and_that_of_a_difference_welch_s():
    rows = authors.results_of_authors(results(), PAPER)
    rows = rows[(rows["n_images"] == 100) & (rows["blocks"] == "3") & rows["last"]].set_index("source")
    [mean] = authors.accuracies(rows.loc[["l2"]].reset_index()).to_dict("records")
    half = stats.t.ppf(0.975, 9) * mean["sd"] / np.sqrt(10)
    assert (mean["low"], mean["high"]) == pytest.approx((mean["mean"] - half, mean["mean"] + half))
    ours, theirs = (rows.loc[[name]].reset_index() for name in ("l2", "natural"))
    [gap] = authors.differences(ours, theirs, ["target", "n_images"]).to_dict("records")
    assert (gap["low"], gap["high"]) == pytest.approx(welch_of(ours, theirs))


def welch_of(left: pd.DataFrame, right: pd.DataFrame) -> tuple[float, float]:
    parts = np.array([rows["sd"].iloc[0] ** 2 / 10 for rows in (left, right)])
    freedom = parts.sum() ** 2 / (parts**2 / 9).sum()
    gap, half = left["mean"].iloc[0] - right["mean"].iloc[0], stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    return gap - half, gap + half


def test_each_figure_has_the_authors_lines_with_bands():
    ours = results()
    theirs = authors.results_of_authors(ours, PAPER)
    found = numbers.all_figures(ours, theirs)
    lines = {name: figure.table[figure.table["whose"] == numbers.AUTHORS] for name, figure in found.items() if len(figure.table)}
    assert {name for name, rows in lines.items() if len(rows)} == {
        "figure2",
        "figure3_10",
        "figure4",
        "figure5",
        "figure11_natural",
        "figure11_linf4",
    }
    assert sorted(lines["figure2"]["size"].unique()) == ["100", "3200", "all"]
    assert lines["figure3_10"]["epoch"].unique().tolist() == [1, 21, 41, 61, 81, 100]
    assert set(lines["figure4"]["series"]) == {"0 blocks", "1 block", "3 blocks", "3 blocks minus 1 block"}
    assert set(lines["figure5"]["panel"]) == {"a", "d"}
    for rows in lines.values():
        known = rows["size"] == "100"
        assert (rows[known]["low"] < rows[known]["mean"]).all()
        assert rows[~known][["low", "high"]].isna().all().all()
