"""What follows the decision, in the time that is left: the model, accuracy under attack beside accuracy, and other numbers of labels."""

from stages.lib.errors import RunError
from stages.lib.norms.table import norm_of
from stages.lib.progress import log
from stages.lib.report.binomial import wilson
from stages.lib.runs import computing
from stages.lib.runs.attacked import WORK
from stages.lib.workers import executors
from stages.recommending import handover
from stages.recommending.answer import Answer
from stages.recommending.clock import Clock
from stages.recommending.computing import attacks, beside
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding.arms import Arm
from stages.recommending.images.draws import Draws, seeds
from stages.recommending.workspace import Workspace

FOR_PAGE_S = 8.0  # the last of all
BESIDE = 0.3  # of what is left once the model is there, for accuracy under attack


def complete(
    answer: Answer, work: Workspace, trials: Trials, tied: list[Arm], draws: Draws, clock: Clock, eps: float, final: list[str]
) -> None:  # fmt: skip
    """Add to an answer what decided nothing, the most wanted first, as far as the time goes.

    Args:
        tied: what cannot be told from the winner, itself the first.
        eps: the radius of attacks, in pixel units.
        final: paths of the images that no decision saw, in their order.
    """
    with executors.workers(trials.grid, [*computing.PRELOAD, *WORK.values()]) as workers:
        hand_over(answer, work, trials, tied[0], draws, clock, eps, final, workers)
        measure(answer, trials, tied[: beside.CURVES], draws, clock, eps, workers)


def hand_over(
    answer: Answer, work: Workspace, trials: Trials, winner: Arm, draws: Draws, clock: Clock, eps: float, final: list[str],
    workers: executors.Workers,
) -> None:  # fmt: skip
    """Train the winner on all images that decide, where the time suffices, and make it a model to take home."""
    everything, [seed], left = Draws(draws.y, len(draws.y), 0), seeds(1), left_s(clock)
    if not left or not trials.run_each("the model", {winner: [seed]}, everything, clock, left, workers, weights=True, whole=True):
        log("recommend: no time for the model; run again to go on")
        return
    cell, size = trials.cell(winner, seed, everything, whole=True), trials.candidates[winner.source].size
    try:
        answer.model = handover.take(work, cell, size, cell.epochs, everything.draw(seed)[0])
    except RunError as error:
        log(f"recommend: no model is handed over: {error}; run again to go on")
        return
    counts, answer.wrong, answer.examples = handover.mistakes(work.out / handover.MODEL, cell.target, final)
    answer.confusion = counts.tolist()
    attacked = beside.of_cell(trials, cell, eps, workers, clock, left_s(clock))
    answer.model["under_attack"] = attacked | {"norm": attacks.NORM, "eps": eps} if attacked else {}


def measure(
    answer: Answer, trials: Trials, shown: list[Arm], draws: Draws, clock: Clock, eps: float, workers: executors.Workers
) -> None:  # fmt: skip
    """Accuracy under attack beside accuracy, or the other way round where that decided; and other numbers of labels, of some arms."""
    accuracy, attacked = "accuracy", f"accuracy under attack, {norm_of(attacks.NORM).eps_text(eps)}"
    answer.measures = dict(zip(("mean", "beside"), (accuracy, attacked) if trials.eps is None else (attacked, accuracy), strict=True))
    if trials.eps is None:
        found = beside.under_attack(trials, shown, draws, eps, workers, clock, BESIDE * left_s(clock))
        for row in answer.ranking:
            row.beside = found.get(Arm(row.source, row.blocks), {})
    else:
        n = int(answer.final["n"])
        for row in (row for row in answer.ranking if row.final is not None):
            row.beside = dict(zip(("mean", "low", "high", "n"), (row.final, *wilson(row.final, n), n), strict=True))
    answer.curve, answer.gains = beside.curves(trials, shown, draws, answer.winner.n, workers, clock, left_s(clock))


def left_s(clock: Clock) -> float:
    """Seconds that are left before the page."""
    return clock.left_before(max(FOR_PAGE_S, clock.start_s))
