"""What stands for what in the paper: the robust source, its targets, and the numbers of blocks that are subtracted."""

from dataclasses import fields, replace

import made
import pytest

from stages.lib.report.results import Results
from stages.studies.utrera2021.results import as_in_paper
from stages.studies.utrera2021.study import UtreraSettings

SETTINGS = {"robust": "linf", "epochs_at": [50], "similar": ["digits"], "published": {"natural": "natural", "l2_eps3": "l2"}}


def as_configured(threats: dict | None = None, **settings: object):
    given = made.results(lambda *_: 1.0, threats=threats)
    plain = Results(**{each.name: getattr(given, each.name) for each in fields(Results) if each.init})
    return as_in_paper(plain, UtreraSettings(**SETTINGS | settings))


def test_the_robust_source_is_the_one_that_is_named():
    assert as_configured().exemplar == as_configured().robust_label == "linf"


def test_one_that_is_not_configured_has_the_first_that_is_in_its_place():
    results = as_configured(robust="elsewhere")
    assert (results.exemplar, results.robust_label) == ("l2", "l2")
    nothing = as_configured(threats={})
    assert (nothing.exemplar, nothing.robust_label) == (None, "robust")


def test_targets_and_columns_that_are_not_configured_are_left_out():
    results = as_configured(similar=["digits", "svhn"], published={"natural": "natural", "l2_eps3": "elsewhere"})
    assert results.similar == ["digits"]
    assert results.published == {"natural": "natural"}
    assert results.epochs_at == ["50"]


def test_the_rate_of_a_source_is_that_of_all_its_runs():
    given = made.results(lambda *_: 1.0)
    given.runs["lr"] = given.runs["source"].map({"natural": 0.02, "l2": 0.05, "linf": 0.05})
    given.runs.loc[given.runs["source"].eq("linf") & given.runs["seed"].eq(0), "lr"] = 0.1
    plain = Results(**{each.name: getattr(given, each.name) for each in fields(Results) if each.init})
    assert as_in_paper(plain, UtreraSettings(**SETTINGS)).lr == {"natural": 0.02, "l2": 0.05}


@pytest.mark.parametrize(
    ("blocks", "chosen", "pair"),
    [(("0", "1", "3", "9"), "9", ("3", "1")), (("0", "1"), "1", ("1", "0")), (("0", "3", "9"), "3", ("3", "0")), (("0", "1"), "0", None),
     (("3",), "3", None)],
)  # fmt: skip
def test_three_blocks_minus_one_or_else_the_headline_s_minus_the_next_smaller(blocks, chosen, pair):
    results = replace(made.results(lambda *_: 1.0, blocks=blocks), blocks=chosen)
    assert results.block_pair == pair


def test_where_all_sources_are_of_one_step_they_are_compared_by_their_norm():
    """As those of many steps are, of which there is none."""
    threats = {name: {"norm": norm, "eps": 0.5, "perturbation": "PGD(1)"} for name, norm in (("l2", "l2"), ("linf", "linf"))}
    results = as_configured(threats=threats, robust="l2")
    assert [results.family(name) for name in ("natural", "l2", "linf")] == ["natural", "l2", "linf"]
    assert results.norm_pairs == [("l2", "linf")]
    assert (results.robust, results.of_family("pgd1"), results.many_steps) == (["l2", "linf"], [], "l2")
    beside = as_configured(threats=threats | {"linf": threats["linf"] | {"perturbation": "PGD(3)"}}, robust="linf")
    assert (beside.robust, beside.of_family("pgd1"), beside.norm_pairs) == (["linf"], ["l2"], [])
