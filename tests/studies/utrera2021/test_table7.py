"""Table 7 from rows that lie a known distance from the published values."""

import made
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.lib.report import statistics
from stages.studies.utrera2021 import table7

PUBLISHED = pd.DataFrame(
    [("mnist", 100, 60.0, 70.0, 71.0, 69.0, 12.0), ("mnist", 60000, 99.0, 98.0, 97.0, 96.0, 99.5), ("svhn", 100, 1.0, 2.0, 3.0, 4.0, 5.0)],
    columns=["target", "n_images", *table7.COLUMNS],
)
SEEDS = pd.DataFrame(
    [
        ("mnist", source, 3, 100, epoch, 10, 0.0, sd)
        for source in ("natural", "l2_eps3", "linf_eps8_255")
        for epoch, sd in ((21, 9.0), (100, 2.0))
    ],
    columns=["target", "source", "blocks", "n_images", "epoch", "n", "mean", "sd"],
)
THREATS = {"linf": {"norm": "linf", "eps": 8 / 255}, "mine": {"norm": "l2", "eps": 1.0}, "l2": {"norm": "l2", "eps": 3.0}, "random": None}
STANDS = {"l2_eps3": "l2", "linf_eps8_255": "linf", "natural": "natural", "random_init": "random"}
LEAD = {"l2": 8.0, "linf": 10.0, "mine": 12.0, "random": 30.0}


def results(blocks: tuple[str, ...] = ("3",), published: dict | None = None):
    cards = {"natural": made.short_card(), **{s: made.short_card(t, "random" if s == "random" else "fetched") for s, t in THREATS.items()}}
    return made.results(
        lambda source, *_: LEAD[source], seeds=lambda s, t, n: 1 if n == 60000 else 5 if s == "l2" else 7, targets=("mnist", "usps"),
        sizes=(100, 60000), blocks=blocks, cards=cards, published=STANDS if published is None else published, exemplar="l2",
    )  # fmt: skip


def cells(blocks: tuple[str, ...] = ("3",), **kwargs: dict) -> pd.DataFrame:
    return table7.table7(results(blocks, **kwargs), PUBLISHED, SEEDS).set_index(["target", "n_images", "source"])


def test_each_cell_has_our_mean_the_published_value_and_their_difference():
    found = cells().loc[("mnist", 100)]
    assert found["n"].to_dict() == {"natural": 7, "l2": 5, "linf": 7, "mine": 7, "random": 7}
    assert found["mean"].to_dict() == {"natural": 63.0, "l2": 70.0, "linf": 73.0, "mine": 75.0, "random": 93.0}
    assert found["difference"].dropna().to_dict() == {"natural": 3.0, "l2": 0.0, "linf": 4.0, "random": 81.0}


def test_the_interval_of_a_difference_has_both_variances_and_is_there_where_the_authors_seeds_are():
    found = cells()
    row = found.loc[("mnist", 100, "l2")]
    ours = 60 + LEAD["l2"] + np.arange(5)  # by seed
    parts = np.array([ours.var(ddof=1) / 5, 2.0**2 / 10])
    half = stats.t.ppf(0.975, parts.sum() ** 2 / (parts**2 / [4, 9]).sum()) * np.sqrt(parts.sum())
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((row["difference"] - half, row["difference"] + half))
    assert found.loc[("mnist", 100, "random"), ["difference_low", "difference_high"]].isna().all()
    assert found.loc[("mnist", 60000), ["difference_low", "difference_high"]].isna().all().all()


def test_of_perfect_replications_five_in_a_hundred_differ():
    rng, outside = np.random.default_rng(0), []
    for _ in range(4000):
        ours, theirs = rng.normal(60, 2.0, 20), rng.normal(60, 3.0, 10)
        low, high = statistics.welch(ours.mean() - theirs.mean(), statistics.spread(ours), statistics.spread(theirs))
        outside.append(low > 0 or high < 0)
    assert 0.04 < np.mean(outside) < 0.06


def test_sources_stand_in_the_paper_s_order_and_those_without_a_column_after():
    assert cells().loc[("mnist", 100)].index.tolist() == ["natural", "l2", "linf", "mine", "random"]


def test_the_best_of_each_row_is_marked_among_pretrained_sources():
    found = cells()
    assert found[found["best"]].index.tolist() == [(t, 100, "mine") for t in ("mnist", "usps")], (
        "one run of all images is too few to be sure"
    )
    assert found[found["published_best"]].index.tolist() == [("mnist", 100, "l2"), ("mnist", 60000, "natural")]


def test_a_target_that_is_not_published_has_ours_alone():
    found = cells().loc["usps"]
    assert found["published"].isna().all()
    assert found["mean"].notna().all()


def test_other_numbers_of_blocks_and_no_mapping_have_nothing_to_stand_beside():
    for found in (cells(("1",)), cells(published={})):
        assert found["published"].isna().all()
        assert not found["published_best"].any()
        assert found["mean"].notna().all()


def test_agreement_counts_the_differences_that_exclude_zero():
    assert table7.agreement(table7.table7(results(), PUBLISHED, SEEDS)) == {"compared": 3, "outside": 2, "by_chance": pytest.approx(0.15)}
    assert table7.agreement(table7.table7(results(("1",)), PUBLISHED, SEEDS)) is None


def test_rows_of_the_page_hold_the_cell_of_each_source():
    [mnist, usps] = table7.rows_of(table7.table7(results(), PUBLISHED, SEEDS))
    assert [row["n_images"] for row in mnist["rows"]] == [100, 60000]
    assert usps["rows"][0]["cells"]["l2"]["published"] is None
    assert mnist["rows"][0]["cells"]["l2"]["published"] == 70.0
