"""The answer as data: what index.html, answer.json and the console are made of, and the sentences that say it."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from stages.lib.report.wording import block_text, counted, listed


@dataclass
class Ranked:
    """One arm in the ranking; accuracies in percent, differences in percentage points."""

    source: str
    blocks: str
    n: int  # draws
    mean: float | None  # on the images that decide; None where no draw was done
    low: float | None
    high: float | None
    behind: float | None  # the winner, on the draws that both have
    final: float | None  # mean over draws, on the images that no decision saw
    seconds: float | None  # of a run, on one core
    megabytes: float
    status: str  # winner, tied, behind, dropped, aside, left out
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.source}, {'the head alone' if self.blocks == '0' else block_text(self.blocks)}"


@dataclass
class Answer:
    """All of the answer; every list and value is plain, as it is written to JSON."""

    folder: str
    aim: str  # accuracy, or robustness
    n_labels: int
    classes: list[str]
    counts: dict[str, int]  # images that are used, of all, of those that decide, of those each run is tested on, and of the final ones
    minutes: float
    seconds: float
    ranking: list[Ranked]
    tied: list[str]  # names of arms that cannot be told from the winner, itself the first
    cheapest: str
    undecided: list[str]  # arms that were set aside for lack of time
    favourite: str
    share: float
    final: dict[str, float]  # of the winner on n_labels: mean, low, high, n
    model: dict[str, Any] = field(default_factory=dict)  # the one that is handed over: folder, n_images, accuracy, low, high, n, size
    proxies: list[dict[str, Any]] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)  # [true, given], of the model on the final images
    rounds: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # a reason by the name of a source or an arm
    notes: list[str] = field(default_factory=list)  # on the images

    @property
    def winner(self) -> Ranked:
        return self.ranking[0]

    @property
    def sentence(self) -> str:
        """The answer in one sentence, ties included."""
        at = f"at {counted(self.n_labels, 'label')}"
        if self.winner.n == 0:
            return f"{self.winner.name}: chosen by its frozen features alone, as there was no time for a run of fine-tuning."
        if len(self.tied) == 1 and not self.undecided:
            return f"{self.winner.name} is the best {at}: every other that was compared can be told from it."
        if len(self.tied) == 1:
            return f"{self.winner.name} is the best of what there was time to compare {at}."
        if len(self.tied) > MOST_NAMED:
            first = f"{counted(len(self.tied), 'choice')} cannot be told apart {at}, among them {listed(self.tied[:MOST_NAMED])}"
        else:
            first = f"{listed(self.tied)} cannot be told apart {at}"
        taken = "" if self.cheapest == self.winner.name else f" {self.winner.name} has the highest mean and is handed over."
        time = f" For {counted(len(self.undecided), 'more choice')} there was no time." if self.undecided else ""
        return f"{first}; the cheapest of them is {self.cheapest}.{taken}{time}"

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"sentence": self.sentence}


MOST_NAMED = 3


def console(answer: Answer) -> str:
    """The answer as text of a terminal."""
    final = answer.final
    lines = [answer.sentence, ""]
    if final:
        lines.append(
            f"{answer.winner.name} labels {final['mean']:.1f} % ({final['low']:.1f} to {final['high']:.1f}) of {int(final['n'])} "
            f"images that no decision saw, after {counted(answer.n_labels, 'label')}"
        )
    if answer.model:
        lines.append(
            "the model in "
            f"{answer.model['folder']} has learnt {counted(answer.model['n_images'], 'image')}: {answer.model['accuracy']:.1f} % "
            f"({answer.model['low']:.1f} to {answer.model['high']:.1f}) of them"
        )
    lines += ["", f"{'':2}{'source, what is fine-tuned':<48}{'accuracy':>9}  {'interval':<15}{'draws':>5}  "]
    for row in answer.ranking[:SHOWN_ROWS]:
        interval = f"{row.low:.1f} to {row.high:.1f}" if row.low is not None else ""
        mean = f"{row.mean:.1f}" if row.mean is not None else "–"
        lines.append(f"{'* ' if row.name in answer.tied else '  '}{row.name:<48}{mean:>9}  {interval:<15}{row.n:>5}  {row.status}")
    lines += [f"  and {len(answer.ranking) - SHOWN_ROWS} more"] if len(answer.ranking) > SHOWN_ROWS else []
    lines += ["* cannot be told from the best"] if len(answer.tied) > 1 else []
    return "\n".join(lines) + "\n"


SHOWN_ROWS = 12
