"""The answer as a terminal shows it: a line for each target."""

from stages.lib.report.evidence import SUPPORTS
from stages.lib.report.results import Results
from stages.lib.report.wording import block_text, images, signed
from stages.studies.question.answers import Answer


def in_words(results: Results, answers: list[Answer]) -> list[str]:
    """The best source of each target, how far it is from the second, and the best number of blocks; what all of it is of; and
    sources that have not learnt their own data."""
    if not answers:
        return ["No runs."]
    return [
        f"With {images(results.size)} and {block_text(results.blocks)} fine-tuned besides the head:",
        *(_line(results, a) for a in answers),
        *(f"  warning: {results.labels[model.source]}: {model.text}; its runs count" for model in results.unlearnt),
    ]


def _line(results: Results, answer: Answer) -> str:
    if answer.best is None:
        return f"  {answer.target}: too few subsets for an answer"
    score = " (mean over classes)" if results.metrics.get(answer.target) == "mean_per_class" else ""
    text = f"  {answer.target}: {results.labels[answer.best]}, {answer.accuracy[0]:.1f} %{score}"
    if answer.tied:
        text += f"; not told apart from {' or '.join(results.labels[name] for name in answer.tied)}"
    elif answer.runner_up:
        text += f", {signed(answer.differences[answer.runner_up].mean)} points over {results.labels[answer.runner_up]}"
    any_blocks = answer.any_blocks
    if any_blocks and any_blocks.gain:
        sure = "" if any_blocks.gain.verdict == SUPPORTS else ", not surely"
        better = f"{signed(any_blocks.gain.mean)} points{sure}"
        text += f". With {block_text(any_blocks.blocks)} of {results.labels[any_blocks.source]}: {any_blocks.accuracy[0]:.1f} %, {better}"
    return text
