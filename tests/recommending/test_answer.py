"""Sentences of an answer, and the answer as JSON."""

import json
import re
from dataclasses import replace
from pathlib import Path

import made_answer
import pytest

from stages.lib.store import code

ANSWER = made_answer.answer(Path("/data/mine"))
ALONE = replace(ANSWER, tied=ANSWER.tied[:1], cheapest=ANSWER.tied[0])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (replace(ALONE, undecided=[]), "l2_eps0_5 (1 block) is the best at 100 labels: every other that was compared can be told from it."),
        (ALONE, "l2_eps0_5 (1 block) is the best of what there was time to compare at 100 labels. For 2 more choices there was no time."),
        (
            replace(ANSWER, undecided=[], cheapest=ANSWER.tied[0]),
            "l2_eps0_5 (1 block), linf_eps8_255 (1 block) and l2_eps0_5 (head alone) cannot be told apart at 100 labels; the cheapest of them is "
            "l2_eps0_5 (1 block).",
        ),
        (
            replace(ANSWER, tied=[*ANSWER.tied, "a (1 block)"], undecided=[]),
            "4 choices cannot be told apart at 100 labels, among them l2_eps0_5 (1 block), linf_eps8_255 (1 block) and l2_eps0_5 (head alone); the "
            "cheapest of them is l2_eps0_5 (head alone). l2_eps0_5 (1 block) has the highest mean and is handed over.",
        ),
    ],
)  # fmt: skip
def test_ties_and_lack_of_time_are_said(answer, says):
    assert answer.sentence == says


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        (ANSWER.gains, "58 more labels are worth +3.5 points (+1.0 to +6.0)."),
        (ANSWER.gains[:1], "The last 25 of 50 labels are worth +15.0 points (+11.0 to +19.0)."),
        ([ANSWER.gains[1] | {"low": None, "high": None}], "58 more labels are worth +3.5 points."),
        ([], "There was no time for runs with other numbers of labels; the same command again goes on with them."),
    ],
)
def test_what_labels_are_worth(gains, says):
    assert replace(ANSWER, gains=gains).labels_line == says


def test_it_is_json_without_what_json_cannot_hold():
    content = json.loads(json.dumps(ANSWER.as_json(), allow_nan=False))
    assert content["proxies"] == [
        {"source": "natural", "linear": 70.5, "neighbours": 66.0, "nearest": 61.5, "log_me": None, "h_score": 1.25}
    ]
    assert [row["name"] for row in content["ranking"]][:2] == ["l2_eps0_5 (1 block)", "linf_eps8_255 (1 block)"]
    assert content["sentence"] == ANSWER.sentence


def test_the_keys_that_the_docs_list_are_those_of_the_file():
    docs = (code.ROOT / "docs/recommend.md").read_text()
    listed = docs[docs.index("### The keys of `answer.json`") : docs.index("### The model")]
    content = ANSWER.as_json()
    rows = [row.split("|")[1:3] for row in listed.splitlines() if row.startswith("| `")]
    assert sorted(key for keys, _ in rows for key in re.findall(r"`(\w+)`", keys)) == sorted(content)
    said = set(re.findall(r"`(\w+)`", listed))
    nested = [
        content["ranking"][0],
        content["model"],
        content["curve"][0],
        content["gains"][0],
        content["wrong"][0],
        content["counts"],
        content["final"],
    ]
    assert {key for one in nested for key in one} - said == set()
