"""One recommendation from a folder to an answer, in the time that it was given; whatever was finished before is in the store."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.progress import log
from stages.lib.report import reading
from stages.lib.report.binomial import wilson
from stages.lib.report.intervals import resampled
from stages.lib.report.statistics import ACCURACY
from stages.lib.report.wording import counted
from stages.lib.workers import executors
from stages.recommending import after, workspace
from stages.recommending.answer import Answer, Ranked
from stages.recommending.clock import Clock
from stages.recommending.computing import candidates as gathering
from stages.recommending.computing import features
from stages.recommending.computing.racing import Racing
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding import halving, pruning
from stages.recommending.deciding.arms import Arm, Scored
from stages.recommending.images import census, draws
from stages.recommending.images.draws import Draws

DEFAULT_LABELS = 100
RESERVED, LEAST_RESERVED_S, MOST_RESERVED_S = 0.2, 20.0, 120.0  # of the time, for the final figure, the model and the page
STARTS, MOST_STARTS = 3, 0.5  # ... and for so many processes to begin, as long as this machine takes for one; at most that part of the time
SCORING = 0.4  # of the time that is left, for features
SCORED = 5  # draws by which features are scored
BRINGING, FIRST = 0.5, 0.25  # of the time, that is kept from bringing sources; from bringing the first, without which there is no answer


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
    with workspace.Workspace(root, asked.place(), clock) as work:
        work.catalogs([])
        names = gathering.wanted(work, asked.sources)
        tell(asked, taken, division, planned, names, root)
        work.view(taken, division)
        gathered = gathering.gather(
            work, names, lambda any_at_hand: clock.left_before(reserved_s(clock) + (BRINGING if any_at_hand else FIRST) * clock.total_s)
        )
        targets = {size: f"{asked.place()}_{size}" for size in sorted({one.size for one in gathered.candidates})}
        robust = asked.aim == "robustness"
        pools = {size: f"{name}_{workspace.POOL}" for size, name in targets.items()} if robust else {}
        work.catalogs([*targets.values(), *pools.values()])
        for size, target in targets.items():
            for name in [target, *([pools[size]] if robust else [])]:
                work.images(name, size, taken.digest)
        settings = {size: work.settings(size) for size in targets}
        trials = Trials(gathered.candidates, targets, settings, next(iter(settings.values())).grid, asked.eps_255 / 255 if robust else None)
        course, scored = decide(trials, gathered, planned, clock)
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
    brought = f", {len(away)} of them to be fetched or trained first: {', '.join(away)}" if away else ""
    log(
        f"recommend: {counted(len(names), 'source')}{brought}; features, then at most {halving.ROUNDS[-1]} runs for each source and "
        f"number of blocks; within {asked.minutes:g} minutes"
    )


def decide(trials: Trials, gathered: gathering.Gathered, planned: Draws, clock: Clock) -> tuple[halving.Course, dict[str, Scored]]:
    """Prune by features, then let what is left race; for robustness nothing is pruned, as features say nothing of it."""
    ordered = sorted(gathered.candidates, key=lambda one: -one.own_accuracy)
    best = gathering.favourite(gathered.candidates)
    with executors.workers(trials.grid, trials.preload) as workers:
        clock.begin(workers)
        reserved = reserved_s(clock)
        scored = features.score(trials, ordered, draws.seeds(SCORED), planned, clock, SCORING * clock.left_before(reserved), workers)
        kept, out = pruning.prune(scored, planned.share, best.name)
        if trials.eps is not None:
            kept, out = kept + list(out), {}
        gathered.left_out |= out
        kept += [one.name for one in ordered if one.name not in scored and one.name not in kept]
        arms = [Arm(name, str(b)) for name in kept for b in trials.candidates[name].blocks]
        first = Arm(best.name, str(best.blocks[min(1, len(best.blocks) - 1)]))
        known = {name: float(np.mean(scored[name].heads)) for name in kept if name in scored and np.isfinite(scored[name].heads).all()}
        return halving.race(arms, first, planned.share, Racing(trials, planned, clock, reserved, workers, scored), known), scored


def reserved_s(clock: Clock) -> float:
    """Seconds that are kept for what follows the decision."""
    usual = min(max(LEAST_RESERVED_S, RESERVED * clock.total_s), MOST_RESERVED_S)
    return min(max(usual, STARTS * clock.start_s), MOST_STARTS * clock.total_s)


def answered(
    asked: Asked, work: workspace.Workspace, trials: Trials, gathered: gathering.Gathered, planned: Draws, course: halving.Course,
    scored: dict[str, Scored], clock: Clock, taken: census.Census, division: workspace.Division,
) -> Answer:  # fmt: skip
    """The ranking, the figures of the best on images that no decision saw, and its model."""
    if not course.standing:
        ahead = max(scored, key=lambda name: float(np.nan_to_num(np.mean(scored[name].heads))), default=None)
        so_far = f"by frozen features alone {ahead} is ahead ({np.mean(scored[ahead].heads):.1f} %); " if ahead else ""
        raise RunError(
            f"the {asked.minutes:g} minutes did not suffice for a first round of fine-tuning; {so_far}what was finished is kept: "
            "run again to go on, or with more --minutes"
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
            {"source": name, "linear": float(np.mean(one.linear)), "neighbours": float(np.mean(one.neighbours)),
             "nearest": float(np.mean(one.nearest)), "log_me": one.log_me, "h_score": one.h_score} for name, one in scored.items()
        ],
    )  # fmt: skip
    final = [taken.paths[place] for place in division.final]
    after.complete(answer, work, trials, tied, planned, clock, asked.eps_255 / 255, final)
    answer.seconds = clock.spent_s
    return answer


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
    parameters, n_bytes = reading.size_of(sources.paths(arm.source)[0])
    return Ranked(
        arm.source, arm.blocks, len(done), mean if done else None, None if np.isnan(low) else low, None if np.isnan(high) else high, behind,
        float(np.mean([one.final for _, one in done])) if done else None,
        float(np.mean([one.seconds for _, one in done])) if done else None,
        n_bytes / 1e6, status, course.dropped.get(arm, "") or course.aside.get(arm, ""), parameters,
    )  # fmt: skip
