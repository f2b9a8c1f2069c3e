"""The answer to the question that the report opens with: the best source of each target, and how far it is from the next."""

from dataclasses import dataclass

from stages.lib.report import statistics
from stages.lib.report.evidence import Evidence
from stages.lib.report.results import Results, at, best


@dataclass(frozen=True)
class Answer:
    """The best source of a target, and its gap to natural; where natural is best, to the best robust source."""

    target: str
    best: str
    accuracy: tuple[float, float, float]  # mean, low, high, in percent
    rival: str | None
    difference: Evidence  # best minus rival


def answers(results: Results) -> list[Answer]:
    """The answer of each target at the compared blocks and size; random initialisation takes part with its whole network."""
    return [answer for target in results.targets if (answer := answer_of(results, target))]


def answer_of(results: Results, target: str) -> Answer | None:
    rows = at(results.last, target=target, size=results.size)
    rows = rows[(rows["blocks"] == results.blocks) | (rows["source"] == results.random)]
    name = best(rows, list(results.cards))
    if name is None:
        return None
    rival = best(rows, results.robust) if name == results.natural else results.natural
    best_rows, rival_rows = at(rows, source=name), at(rows, source=rival)
    gap = statistics.paired(best_rows, rival_rows, ["seed"])["difference"].to_numpy()
    comparison = f"{results.labels[name]} minus {results.labels.get(rival, 'robust')}"
    accuracy = statistics.interval(best_rows["test_accuracy"].to_numpy(), results.resamples)
    return Answer(target, name, accuracy, rival, results.evidence(comparison, gap))


def wins(results: Results, given: list[Answer]) -> list[Evidence]:
    """Gaps of the best robust source to natural, of the targets that are learned best from a robust source; the smallest first."""
    differences = [a.difference for a in given if a.best in results.robust and a.difference.mean is not None]
    return sorted(differences, key=lambda difference: difference.mean)
