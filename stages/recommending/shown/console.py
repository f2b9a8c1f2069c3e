"""The answer as text of a terminal that is 80 columns wide."""

import textwrap

from stages.lib.report.wording import counted
from stages.recommending.answer import Answer, Ranked

WIDTH = 80
ROWS = 12  # of the ranking that are shown
NAME = 40  # columns of a name


def console(answer: Answer) -> str:
    lines = [answer.sentence, answer.final_line, answer.model_line, answer.labels_line]
    text = [textwrap.fill(line, WIDTH) for line in lines if line]
    besides = any(row.beside for row in answer.ranking)
    head = f"  {'source (what is fine-tuned)':<{NAME}} {'mean':>5}  {'95 % interval':<14}{'draws':>5}  "
    text.append(head + ("beside" if besides else ""))
    text += [_row(answer, row, besides) for row in answer.ranking[:ROWS]]
    if len(answer.ranking) > ROWS:
        text.append(f"  and {len(answer.ranking) - ROWS} more")
    if len(answer.tied) > 1:
        text.append("* cannot be told from the best")
    if besides:
        text += textwrap.wrap(f"mean: {answer.measures['mean']}; beside: {answer.measures['beside']}", WIDTH)
    if answer.left_out:
        text.append(f"{counted(len(answer.left_out), 'source')} left out, see index.html")
    blank = [i for i, line in enumerate(text) if line.startswith("  source (")]
    text.insert(blank[0], "")
    return "\n".join(text) + "\n"


def _row(answer: Answer, row: Ranked, besides: bool) -> str:
    name = row.name if len(row.name) <= NAME else f"{row.name[: NAME - 1]}…"
    interval = f"{row.low:.1f} to {row.high:.1f}" if row.low is not None else ""
    mean = f"{row.mean:.1f}" if row.mean is not None else "–"
    line = f"{'* ' if row.name in answer.tied else '  '}{name:<{NAME}} {mean:>5}  {interval:<14}{row.n:>5}  "
    if besides:
        line += f"{row.beside['mean']:>6.1f}" if row.beside else f"{'–':>6}"
    return line.rstrip()
