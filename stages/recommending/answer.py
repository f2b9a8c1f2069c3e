"""The answer as data: what index.html, answer.json and the console are made of, and the sentences that say it."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from stages.lib.report.wording import counted, listed, signed
from stages.recommending.deciding.arms import Arm

MOST_NAMED = 3  # choices that a sentence lists
HOW_SURE = "Of what there was time for, the best is among those that cannot be told from the leader, with a probability of 95 % or more."


@dataclass
class Ranked:
    """One choice in the ranking, a source and how many of its blocks are fine-tuned; accuracies in percent, differences in points."""

    source: str
    blocks: str
    n: int  # draws
    mean: float | None  # on the images that decide, under attack where robustness is asked for; None where no draw was done
    low: float | None
    high: float | None
    behind: float | None  # the winner, on the draws that both have
    final: float | None  # mean over draws of the accuracy on the images that no decision saw
    seconds: float | None  # of a run, on one core
    megabytes: float  # of the source's weights
    status: str  # winner, tied, behind, aside
    why: str = ""
    parameters: int = 0  # of the source
    beside: dict[str, float] = field(default_factory=dict)  # mean, low, high, n of what `Answer.measures` calls `beside`

    @property
    def name(self) -> str:
        return str(Arm(self.source, self.blocks))


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
    tied: list[str]  # names of choices that cannot be told from the winner, itself the first
    cheapest: str
    undecided: list[str]  # choices that were set aside for lack of time
    favourite: str  # the source of a static list
    share: float  # what two draws share, as intervals need it
    final: dict[str, float]  # of the winner on n_labels: mean, low, high, n
    model: dict[str, Any] = field(default_factory=dict)  # the one that is handed over: folder, n_images, accuracy, low, high, n, size
    measures: dict[str, str] = field(default_factory=dict)  # what the ranking's `mean` and `beside` are, in words
    curve: list[dict[str, Any]] = field(default_factory=list)  # name, n_labels, mean, low, high, n
    gains: list[dict[str, Any]] = field(default_factory=list)  # of the winner, from one number of labels to another, paired by draw
    proxies: list[dict[str, Any]] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)  # [true, given], of the model on the final images
    examples: list[str] = field(default_factory=list)  # a file of each class, of the final images; none where there is none
    wrong: list[dict[str, Any]] = field(default_factory=list)  # of these the images that it gets wrong: file, true, given, probability
    rounds: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # a reason by the name of a source
    notes: list[str] = field(default_factory=list)  # on the images

    @property
    def winner(self) -> Ranked:
        return self.ranking[0]

    @property
    def sentence(self) -> str:
        """The answer in one sentence, ties included."""
        at = f"at {counted(self.n_labels, 'label')}"
        if len(self.tied) == 1 and not self.undecided:
            return f"{self.winner.name} is the best {at}: every other that was compared can be told from it."
        if len(self.tied) == 1:
            return f"{self.winner.name} is the best of what there was time to compare {at}.{self._time}"
        if len(self.tied) > MOST_NAMED:
            first = f"{counted(len(self.tied), 'choice')} cannot be told apart {at}, among them {listed(self.tied[:MOST_NAMED])}"
        else:
            first = f"{listed(self.tied)} cannot be told apart {at}"
        taken = "" if self.cheapest == self.winner.name else f" {self.winner.name} has the highest mean and is handed over."
        return f"{first}; the cheapest of them is {self.cheapest}.{taken}{self._time}"

    @property
    def _time(self) -> str:
        return f" For {counted(len(self.undecided), 'more choice')} there was no time." if self.undecided else ""

    @property
    def final_line(self) -> str:
        """How well the winner does on what no decision saw."""
        final = self.final
        return (
            f"After {counted(self.n_labels, 'label')}, {self.winner.name} gives the right class to {final['mean']:.1f} % "
            f"({final['low']:.1f} to {final['high']:.1f}) of {counted(int(final['n']), 'image')} that no decision saw."
        )

    @property
    def model_line(self) -> str:
        """What is handed over, and how good it is; empty where there was no time for it."""
        if not (model := self.model):
            return ""
        return (
            f"The model in {model['folder']} has learnt from {counted(model['n_images'], 'image')}, and gives the right class to "
            f"{model['accuracy']:.1f} % ({model['low']:.1f} to {model['high']:.1f}) of those {counted(int(model['n']), 'image')}."
        )

    @property
    def labels_line(self) -> str:
        """What more labels are worth, or what the last ones were; why it is not known where there was no time."""
        if not self.gains:
            return "There was no time for runs with other numbers of labels; the same command again goes on with them."
        gain = max(self.gains, key=lambda one: one["to"])
        interval = f" ({signed(gain['low'])} to {signed(gain['high'])})" if gain["low"] is not None else ""
        many = gain["to"] - gain["from"]
        if gain["from"] >= self.n_labels:
            return f"{counted(many, 'more label')} are worth {signed(gain['points'])} points{interval}."
        return f"The last {many:,} of {gain['to']:,} labels are worth {signed(gain['points'])} points{interval}."

    def as_json(self) -> dict[str, Any]:
        """All of it; what is not known is null."""
        content = dataclasses.asdict(self) | {"sentence": self.sentence}
        for row, one in zip(content["ranking"], self.ranking, strict=True):
            row["name"] = one.name
        return plain(content)


def plain(value: Any) -> Any:
    """The value with None in the place of each number that is not finite."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
