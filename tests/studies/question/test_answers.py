"""The answer that the report opens with, from results whose best source is known, and from results without any difference."""

from dataclasses import replace

import made
import numpy as np
import pytest

from stages.lib.report.results import Results
from stages.studies.question.answers import answers, better_of_natural_and_robust
from stages.studies.question.words import in_words

SEEDS = 12  # six choose, six measure


def test_answers_name_the_best_source_the_runner_up_and_what_they_differ_by():
    results = made.results(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source], seeds=SEEDS)
    [ours] = answers(results)
    assert (ours.best, ours.runner_up, ours.tied, ours.n) == ("linf", "l2", [], 6)
    assert {name: gap.mean for name, gap in ours.differences.items()} == {"l2": 1.0, "natural": 3.0}
    assert ours.accuracy[0] == 60 + 3 + np.mean([0, 2, 4, 6, 8, 10])
    assert list(ours.shown("natural")) == ["l2", "natural"]
    assert better_of_natural_and_robust(results, ours) == "robust"
    results = made.results(lambda source, *_: {"l2": -2.0, "linf": -3.0}[source], seeds=SEEDS)
    [theirs] = answers(results)
    assert (theirs.best, theirs.runner_up, [*theirs.shown("natural")]) == ("natural", "l2", ["l2"])
    assert better_of_natural_and_robust(results, theirs) == "natural"


def test_the_half_that_chooses_does_not_measure():
    """L2 is better on every second subset, by which it is chosen, and worse on the others, by which it is measured."""
    results = made.results(lambda *_: 0.0, seeds=SEEDS, threats={"l2": {"norm": "l2", "eps": 0.5}})
    ours = (results.last["source"] == "l2").to_numpy()
    results.last.loc[ours, "test_accuracy"] += (
        np.where(results.last.loc[ours, "seed"] % 2 == 1, 5.0, -4.0) + results.last.loc[ours, "seed"] / 100
    )
    [answer] = answers(results)
    assert (answer.best, answer.tied) == ("l2", ["natural"])
    assert answer.differences["natural"].mean == pytest.approx(-4.0 + 0.05)
    assert better_of_natural_and_robust(results, answer) is None


@pytest.mark.parametrize(("seeds", "best", "measure"), [(6, None, 3), (7, "linf", 5), (8, "linf", 5), (9, "linf", 5), (12, "linf", 6)])
def test_five_subsets_measure_or_more_and_two_choose_or_there_is_no_best_source(seeds, best, measure):
    [answer] = answers(made.results(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source], seeds=seeds))
    assert (answer.best, answer.n) == (best, measure)


def test_of_models_with_one_subset_each_every_second_model_chooses():
    results = made.results(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source], seeds=SEEDS)
    results.last["source_model"] = results.last["seed"]
    [answer] = answers(results)
    assert (answer.best, answer.n, answer.tied) == ("linf", 6, [])
    assert answer.accuracy[0] == 60 + 3 + np.mean([0, 2, 4, 6, 8, 10])


def test_of_sources_without_any_difference_few_are_told_apart():
    """The error of a choice that is measured on the runs that it was made by would be about a fifth."""
    rng, told = np.random.default_rng(0), 0
    for _ in range(150):
        results = made.results(lambda *_: 0.0, seeds=SEEDS, sizes=(50,), epochs=(1,))
        results.last["test_accuracy"] += rng.normal(size=len(results.last))
        [answer] = answers(results)
        told += len(answer.tied) < len(answer.differences)
    assert told / 150 < 0.1


BLOCKS = {"0": 0.0, "1": 1.0, "3": 4.0}  # points


def with_blocks(gain: dict[str, float], lead: float = 2.0) -> Results:
    """L2 above natural, and both above themselves with fewer blocks."""
    return made.results(
        lambda source, _, blocks, *__: gain[blocks] + (lead if source == "l2" else 0.0), seeds=SEEDS, blocks=tuple(gain),
        threats={"l2": {"norm": "l2", "eps": 0.5}},
    )  # fmt: skip


def test_the_best_number_of_blocks_is_chosen_on_one_half_and_measured_on_the_other():
    [answer] = answers(replace(with_blocks(BLOCKS), blocks="1"))
    found = answer.any_blocks
    assert (answer.best, found.source, found.blocks, found.tied, found.others) == ("l2", "l2", "3", 0, 5)
    assert (found.accuracy[0], found.gain.mean, found.gain.verdict) == (60 + 4 + 2 + 5.0, 3.0, "supports")
    results = replace(with_blocks(BLOCKS), blocks="1")
    lucky = (results.last["blocks"] == "0").to_numpy()  # better on the subsets that choose, worse on those that measure
    results.last.loc[lucky, "test_accuracy"] += np.where(results.last.loc[lucky, "seed"] % 2 == 1, 20.0, -20.0)
    [answer] = answers(results)
    assert (answer.any_blocks.blocks, answer.any_blocks.gain.mean, answer.any_blocks.tied) == ("0", -21.0, 4), (
        "natural with 0 blocks is worse"
    )


def test_where_the_compared_number_of_blocks_is_the_best_or_alone_there_is_nothing_to_gain():
    [answer] = answers(replace(with_blocks(BLOCKS), blocks="3"))
    assert (answer.any_blocks.blocks, answer.any_blocks.gain) == ("3", None)
    [answer] = answers(made.results(lambda *_: 1.0, seeds=SEEDS))
    assert answer.any_blocks is None


def test_the_answer_in_words_is_a_line_for_each_target():
    results = replace(with_blocks(BLOCKS), blocks="1")
    assert in_words(results, answers(results)) == [
        "With 200 images and 1 block fine-tuned besides the head:",
        "  digits: l2, 68.0 %, +2.0 points over natural. With 3 blocks of l2: 71.0 %, +3.0 points",
    ]
    tied = made.results(lambda *_: 0.0, seeds=SEEDS)
    assert in_words(tied, answers(tied))[1] == "  digits: natural, 65.0 %; not told apart from l2 or linf"
    few = made.results(lambda *_: 0.0, seeds=6)
    assert in_words(few, answers(few))[1] == "  digits: too few subsets for an answer"
    assert in_words(few, []) == ["No runs."]


def test_random_initialisation_takes_part_with_its_whole_network():
    cards = {"natural": made.short_card(), "random": made.short_card(kind="random")}
    [answer] = answers(made.results(lambda source, *_: 20.0, cards=cards, seeds=SEEDS))
    assert (answer.best, answer.runner_up, answer.differences["natural"].mean) == ("random", "natural", 20.0)
