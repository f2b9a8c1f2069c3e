"""One recommendation from a folder to an answer, in the time that it was given; whatever was finished before is in the store."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.norms.table import norm_of
from stages.lib.progress import log
from stages.lib.report.binomial import wilson
from stages.lib.report.intervals import resampled
from stages.lib.report.statistics import ACCURACY
from stages.lib.report.wording import counted
from stages.lib.runs import computing
from stages.lib.workers import executors
from stages.recommending import handover, workspace
from stages.recommending.answer import Answer, Ranked
from stages.recommending.clock import Clock
from stages.recommending.computing import attacks, beside, features
from stages.recommending.computing import candidates as gathering
from stages.recommending.computing.racing import Racing
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding import halving, pruning
from stages.recommending.deciding.arms import Arm
from stages.recommending.images import census, draws
from stages.recommending.images.draws import Draws

DEFAULT_LABELS = 100
RESERVED, LEAST_RESERVED_S = 0.2, 20.0  # of the time, for the final figure, the model and the page
SCORING = 0.3  # of the time, for features
SCORED = 5  # draws by which features are scored
FOR_PAGE_S = 8.0  # the last of all
BESIDE = 0.3  # of what is left once the model is there, for accuracy under attack


@dataclass(frozen=True)
class Asked:
    """What a person asks for."""

    folder: Path
    labels: int | None
    minutes: float
    sources: list[str]
    aim: str  # accuracy, or robustness
    eps_255: float
    most: int
    name: str

    def place(self) -> str:
        """The name of the recommendation: that asked for, or that of the folder."""
        return re.sub(r"[^a-z0-9_]+", "_", (self.name or self.folder.resolve().name).lower()).strip("_") or "images"


def recommend(asked: Asked, root: Path, clock: Clock) -> Answer:
    """The answer; its model lies beside it.

    Raises:
        RunError: where the folder, the labels or the sources cannot be used, or the time did not suffice for anything.
    """
    taken = census.take(asked.folder.resolve(), asked.most)
    division = workspace.divide(taken)
    planned = draws.plan(taken.y[division.pool], asked.labels, DEFAULT_LABELS)
    reserved = max(LEAST_RESERVED_S, RESERVED * clock.total_s)
    with workspace.Workspace(root, asked.place()) as work:
        work.catalogs([])
        names = gathering.wanted(work, asked.sources)
        tell(asked, taken, division, planned, names, root)
        work.view(taken, division)
        gathered = gathering.gather(work, names, lambda: clock.left_before(reserved + 0.5 * clock.total_s))
        targets = {size: f"{asked.place()}_{size}" for size in sorted({one.size for one in gathered.candidates})}
        robust = asked.aim == "robustness"
        pools = {size: f"{name}_{workspace.POOL}" for size, name in targets.items()} if robust else {}
        work.catalogs([*targets.values(), *pools.values()])
        for size, target in targets.items():
            for name in [target, *([pools[size]] if robust else [])]:
                work.images(name, size, taken.digest)
        settings = {size: work.settings(size) for size in targets}
        trials = Trials(gathered.candidates, targets, settings, next(iter(settings.values())).grid, asked.eps_255 / 255 if robust else None)
        course, scored = decide(trials, gathered, planned, clock, reserved)
        return answered(asked, work, trials, gathered, planned, course, scored, clock, taken, division)


def tell(asked: Asked, taken: census.Census, division: workspace.Division, planned: Draws, names: list[str], root: Path) -> None:
    """Say what will be computed, before it is."""
    away = [name for name in names if not (root / sources.paths(name)[1]).is_file()]
    for note in taken.notes:
        log(f"recommend: {note}")
    log(
        f"recommend: {counted(len(taken.y), 'image')} of {counted(len(taken.classes), 'class', 'classes')}: {len(division.final)} that no "
        f"decision sees, {len(planned.y)} to learn from and decide by, {planned.n_labels} labels and {planned.n_tested} test images a run"
    )
    brought = f", {counted(len(away), 'of them')} to be fetched or trained first: {', '.join(away)}" if away else ""
    log(
        f"recommend: {counted(len(names), 'source')}{brought}; features, then at most {halving.ROUNDS[-1]} runs for each source and "
        f"number of blocks; within {asked.minutes:g} minutes"
    )


def decide(trials: Trials, gathered: gathering.Gathered, planned: Draws, clock: Clock, reserved: float) -> tuple[halving.Course, dict]:
    """Prune by features, then let what is left race; for robustness nothing is pruned, as features say nothing of it."""
    ordered = sorted(gathered.candidates, key=lambda one: -one.own_accuracy)
    best = gathering.favourite(gathered.candidates)
    seconds = min(SCORING * clock.total_s, clock.left_before(reserved))
    scored = features.score(trials, ordered, draws.seeds(SCORED), planned, clock, seconds) if seconds else {}
    kept, out = pruning.prune(scored, planned.share, best.name)
    if trials.eps is not None:
        kept, out = kept + list(out), {}
    gathered.left_out |= out
    kept += [one.name for one in ordered if one.name not in scored and one.name not in kept]
    arms = [Arm(name, str(b)) for name in kept for b in trials.candidates[name].blocks]
    first = Arm(best.name, str(best.blocks[min(1, len(best.blocks) - 1)]))
    known = {name: float(np.mean(scored[name].best)) for name in kept if name in scored and np.isfinite(scored[name].best).all()}
    with executors.workers(trials.grid, trials.preload) as workers:
        return halving.race(arms, first, planned.share, Racing(trials, planned, clock, reserved, workers), known), scored


def answered(
    asked: Asked, work: workspace.Workspace, trials: Trials, gathered: gathering.Gathered, planned: Draws, course: halving.Course,
    scored: dict[str, features.Scored], clock: Clock, taken: census.Census, division: workspace.Division,
) -> Answer:  # fmt: skip
    """The ranking, the figures of the best on images that no decision saw, and its model."""
    if not course.standing:
        raise RunError(
            f"the {asked.minutes:g} minutes did not suffice for a first round of fine-tuning; what was finished is kept: run again to go on"
        )
    seeds = draws.seeds(course.n_draws)
    tied = halving.tied(course.standing, trials.scores(course.standing, seeds, planned), planned.share)
    winner = tied[0]
    rows = [ranked(arm, trials, planned, course, winner, tied) for arm in (*course.standing, *course.dropped, *course.aside)]
    rows.sort(key=lambda row: (row.status != "winner", -(row.mean if row.mean is not None else -1.0)))
    finals = [trials.found(winner, seed, planned).final for seed in seeds]
    mean, n_final = float(np.mean(finals)), len(division.final)
    low, high = wilson(mean, n_final)
    cheapest = min((row for row in rows if Arm(row.source, row.blocks) in tied), key=lambda row: row.seconds)
    answer = Answer(
        folder=str(asked.folder), aim=asked.aim, n_labels=planned.n_labels, classes=taken.classes,
        minutes=asked.minutes, seconds=clock.spent_s,
        counts={"used": len(taken.y), "found": taken.n_found, "deciding": len(planned.y), "tested": planned.n_tested, "final": n_final},
        ranking=rows, tied=[str(arm) for arm in tied], cheapest=cheapest.name, undecided=[str(arm) for arm in course.aside],
        favourite=gathering.favourite(gathered.candidates).name, share=planned.share,
        final={"mean": mean, "low": low, "high": high, "n": n_final}, rounds=course.rounds, left_out=gathered.left_out, notes=taken.notes,
        proxies=[
            {"source": name, "linear": float(np.mean(one.linear)), "neighbours": float(np.mean(one.neighbours)), "log_me": one.log_me,
             "h_score": one.h_score} for name, one in scored.items()
        ],
    )  # fmt: skip
    eps = asked.eps_255 / 255
    with executors.workers(trials.grid, [*computing.PRELOAD, *attacks.WORK.values()]) as workers:
        hand_over(answer, work, trials, winner, planned, workers, clock, eps, [taken.paths[place] for place in division.final])
        measure_beside(answer, trials, tied[: beside.CURVES], planned, workers, clock, eps)
    answer.seconds = clock.spent_s
    return answer


def hand_over(
    answer: Answer, work: workspace.Workspace, trials: Trials, winner: Arm, planned: Draws, workers: executors.Workers, clock: Clock,
    eps: float, final: list[str],
) -> None:  # fmt: skip
    """Train the best on all images that decide, where the time suffices, and make it a model to take home.

    Args:
        final: paths of the images that no decision saw.
    """
    everything, [seed], left = Draws(planned.y, len(planned.y), 0), draws.seeds(1), clock.left_before(FOR_PAGE_S)
    if not left or not trials.run_each("the model", {winner: [seed]}, everything, clock, left, workers, weights=True, whole=True):
        log("recommend: no time for the model; run again to go on")
        return
    cell, size = trials.cell(winner, seed, everything, whole=True), trials.candidates[winner.source].size
    answer.model = handover.take(work, cell, size, cell.epochs, everything.draw(seed)[0])
    counts, answer.wrong, answer.examples = handover.mistakes(work.out / handover.MODEL, cell.target, final)
    answer.confusion = counts.tolist()
    answer.model["under_attack"] = beside.of_cell(trials, cell, eps, workers, clock, clock.left_before(FOR_PAGE_S)) or {}


def measure_beside(
    answer: Answer, trials: Trials, shown: list[Arm], planned: Draws, workers: executors.Workers, clock: Clock, eps: float
) -> None:  # fmt: skip
    """Add to the answer what decided nothing: accuracy under attack, or without one where that decided; and other numbers of labels."""
    accuracy, attacked = "accuracy", f"accuracy under attack, {norm_of(attacks.NORM).eps_text(eps)}"
    answer.measures = dict(zip(("mean", "beside"), (accuracy, attacked) if trials.eps is None else (attacked, accuracy), strict=True))
    if trials.eps is None:
        found = beside.under_attack(trials, shown, planned, eps, workers, clock, BESIDE * clock.left_before(FOR_PAGE_S))
        for row in answer.ranking:
            row.beside = found.get(Arm(row.source, row.blocks), {})
    else:
        n = int(answer.final["n"])
        for row in (row for row in answer.ranking if row.final is not None):
            row.beside = dict(zip(("mean", "low", "high", "n"), (row.final, *wilson(row.final, n), n), strict=True))
    answer.curve, answer.gains = beside.curves(trials, shown, planned, answer.winner.n, workers, clock, clock.left_before(FOR_PAGE_S))


def ranked(arm: Arm, trials: Trials, planned: Draws, course: halving.Course, winner: Arm, tied: list[Arm]) -> Ranked:
    """A row of the ranking, of all draws that the arm has had."""
    seeds = draws.seeds(course.n_draws)
    done = [(i, one) for i, seed in enumerate(seeds) if (one := trials.found(arm, seed, planned)) is not None]
    values = np.array([one.decided for _, one in done])
    mean, low, high = resampled.interval(values, planned.share, ACCURACY)
    status = "winner" if arm == winner else "tied" if arm in tied else "aside" if arm in course.aside else "behind"
    behind = None
    if done:
        leaders = trials.scores([winner], seeds, planned)[0][[i for i, _ in done]]
        behind = float(np.mean(leaders - values))
    path = sources.paths(arm.source)[0]
    return Ranked(
        arm.source, arm.blocks, len(done), mean if done else None, None if np.isnan(low) else low, None if np.isnan(high) else high, behind,
        float(np.mean([one.final for _, one in done])) if done else None,
        float(np.mean([one.seconds for _, one in done])) if done else None,
        path.stat().st_size / 1e6 if path.is_file() else 0.0, status, course.dropped.get(arm, "") or course.aside.get(arm, ""),
        handover.parameters(path) if path.is_file() else 0,
    )  # fmt: skip
