"""The answer that the report opens with, from results whose best source is known."""

import made

from stages.studies.question.answers import answers, wins


def test_answers_name_the_best_source_and_its_rival():
    [ours] = answers(made.results(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source]))
    assert (ours.best, ours.rival, ours.difference.mean) == ("linf", "natural", 3.0)
    [theirs] = answers(made.results(lambda source, *_: {"l2": -2.0, "linf": -3.0}[source]))
    assert (theirs.best, theirs.rival, theirs.difference.mean) == ("natural", "l2", 2.0)


def test_random_initialisation_takes_part_with_its_whole_network():
    cards = {"natural": made.short_card(), "random": made.short_card(kind="random")}
    [answer] = answers(made.results(lambda source, *_: 20.0, cards=cards))
    assert (answer.best, answer.rival, answer.difference.mean) == ("random", "natural", 20.0)


def test_targets_that_a_robust_source_wins_are_counted_the_least_first():
    lead = {"a": 3.0, "b": -1.0, "c": 2.0}
    results = made.results(lambda source, target, *_: lead[target], targets=tuple(lead), threats={"l2": {"norm": "l2", "eps": 0.5}})
    assert [gap.mean for gap in wins(results, answers(results))] == [2.0, 3.0]
