"""The answer as text: 80 columns, whatever the names."""

from dataclasses import replace
from pathlib import Path

import made_answer

from stages.recommending.shown.console import console


def test_it_fits_a_terminal_and_holds_the_answer():
    text = console(made_answer.answer(Path("/data/mine")))
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines() if line.startswith("* l2") or line.startswith("  natural")]
    assert rows == [
        ["*", "l2_eps0_5", "(1", "block)", "84.0", "81.0", "to", "87.0", "10", "21.0"],
        ["*", "l2_eps0_5", "(head", "alone)", "82.0", "78.0", "to", "86.0", "10", "20.5"],
        ["natural", "(3", "blocks)", "76.0", "73.0", "to", "79.0", "10", "–"],
        ["natural", "(all", "blocks)", "71.0", "63.0", "to", "79.0", "10", "–"],
    ]
    assert "58 more labels are worth +3.5 points (+1.0 to +6.0)." in text
    assert "of 90 images that no decision saw" in " ".join(text.split())


def test_long_names_are_cut_and_many_rows_are_counted():
    answer = made_answer.answer(Path("/data/mine"))
    rows = [replace(row, source=f"salman_wide_resnet50_2_linf_eps8_255_{i}") for i, row in enumerate(answer.ranking * 3)]
    text = console(replace(answer, ranking=rows, tied=[rows[0].name]))
    assert max(map(len, text.splitlines())) <= 80
    assert "and 6 more" in text
    assert "salman_wide_resnet50_2_linf_eps8_255_0 …" in text
