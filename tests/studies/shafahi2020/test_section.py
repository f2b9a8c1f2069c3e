"""The section of the page: published accuracies stand beside ours where there are any, and else no column is kept for them."""

from dataclasses import replace
from pathlib import Path

import made
import made_shafahi

from stages.lib.report import looks
from stages.lib.report.section import Section
from stages.lib.report.web import page
from stages.studies.shafahi2020 import published, tables
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.shafahi2020.report import TEMPLATE

LOOKS = looks.looks_of([("nat", "natural", "natural", 0.0), ("rob", "L∞ 8/255", "linf", 8 / 255)])


def section_of(transfers: Transfers, diverged: list[dict] = ()) -> str:
    environment = page.environment_of(made.results(lambda *_: 0.0, seeds=2), LOOKS, {}, {})
    macros = environment.from_string(Path(page.MACROS).read_text(), globals=environment.globals).module
    context = {"transfers": transfers, "beside": tables.all_tables(transfers, published.load()), "diverged": diverged, "unlearnt": []}
    return page._filled(environment, TEMPLATE, Section(title="", template=TEMPLATE, context=context), macros)


def test_published_accuracies_stand_beside_ours_and_beside_no_others():
    transfers = made_shafahi.transfers(made_shafahi.rows(), made_shafahi.CARDS)
    text = section_of(transfers)
    assert [value for value in ("78.84", "22.76", "72.05", "17.70", "86.15") if f"<td>{value}</td>" not in text] == []
    assert text.count("published: clean") == 3
    weaker = section_of(replace(transfers, how=transfers.how | {"steps": 10}))
    assert "17.70" not in weaker
    assert "published: clean" not in weaker
    assert "diverged" not in weaker


def test_runs_that_diverged_are_said_with_their_rate():
    rows = [
        {"experiment": "retrain", "source": name, "target": "cifar10", "n": n, "runs": 3, "rates": "0.1"}
        for name, n in (("nat", 2), ("rob", 1))
    ]
    text = section_of(made_shafahi.transfers(made_shafahi.rows(), made_shafahi.CARDS), rows)
    assert "<b>3 runs diverged</b>" in text
    assert "natural</b> on cifar10: 2 of 3, at the learning rate 0.1; retrain," in text
