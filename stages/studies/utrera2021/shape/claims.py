"""What Utrera et al. (2021, Section 5) claim on shape and texture, and what these results say about it; and what the texture dial says."""

from collections.abc import Iterator

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import ABSENT, Claim, Evidence, over_images, over_models, over_seeds
from stages.lib.report.results import at
from stages.lib.report.wording import block_text
from stages.studies.utrera2021.results import UtreraResults
from stages.studies.utrera2021.shape.measures import ACCURACY, BIAS
from stages.studies.utrera2021.shape.numbers import AS_IS_VERSION, STATE, ShapeNumbers, pairs, turn_of_the_dial
from stages.studies.utrera2021.shape.published import PublishedTexture
from stages.studies.utrera2021.shape.runs import AS_IS, TEXTURE_ATTACK, TEXTURE_DIAL, WHOLE

SECTION5 = "Section 5"
SINGLE = "one model each: the interval is over images, which are taken as independent"
UP, DOWN = 1, -1


def claims_of(results: UtreraResults, numbers: ShapeNumbers, published: PublishedTexture) -> list[Claim]:
    """The claims of Section 5 and those of the dial, where any of its experiments is on."""
    if numbers.is_empty:
        return []
    table = {row["measure"]: (row["robust_l2_eps3"], row["natural"]) for row in published.texture.to_dict("records")}
    theirs = {name: f"{measure}: L2 3 {robust:g} %, natural {natural:g} %" for name, (measure, (robust, natural)) in zip(
        ("before", "after", "low", "pass"), table.items(), strict=True)}  # fmt: skip
    return [
        Claim("Robust sources do better on stylised images, before and after fine-tuning", f"{SECTION5}, Table 1a",
         "accuracy on images whose texture says nothing of the class: the robust source minus natural, paired by model and seed",
         list(_of_state(results, numbers, ACCURACY)), f"{theirs['before']}. {theirs['after']}"),
        Claim("Robust sources decide by shape where natural ones decide by texture", f"{SECTION5}, after Geirhos et al. (2019)",
         "shape bias on cue-conflict images: the robust source minus natural, paired by model and seed",
         list(_of_state(results, numbers, BIAS)), "nothing of robust sources; ResNet-50 on ImageNet 22.07, on Stylised ImageNet 80.61"),
        Claim("Sources that learn stylised images besides natural ones are more robust", f"{SECTION5}, Table 1b",
         "accuracy under PGD(3): the source of both minus that of images rich in texture",
         list(_attacked(numbers)), _table1b(published)),
        Claim("Robust sources transfer better to images without detail", f"{SECTION5}, Table 2",
         "accuracy on the target at a low resolution or low-passed: the robust source minus natural, paired by subset",
         list(_degraded(results, numbers, beyond=False)), f"{theirs['low']}. {theirs['pass']}"),
        Claim("Their advantage grows as detail is taken away", f"{SECTION5}, Table 2: the paper has no accuracy on the target as it is",
         "(the robust source minus natural) without detail minus the same on the target as it is, paired by subset",
         list(_degraded(results, numbers, beyond=True)), "not measured"),
        Claim("Adversarial training helps because it drops texture: its advantage follows the texture dial", "in no paper",
         "(a robust source minus natural) where texture always tells the class minus the same where it never does: above zero for shape "
         "bias and targets that have shapes, below zero for targets that are texture",
         list(_dial(results, numbers)), "not measured"),
    ]  # fmt: skip


def state_text(method: str, setting: float) -> str:
    """What a source is when it is tested: `as it is`, or how much of it was fine-tuned."""
    if method == AS_IS:
        return AS_IS_VERSION
    return f"{block_text('all' if setting == WHOLE else f'{setting:g}')} fine-tuned"


def _compared(comparison: str, rows: pd.DataFrame, left: str, right: str, on: list[str], value: str, expected: int) -> Evidence:
    """One source minus another: over models and seeds, or over images where there is one run of each."""
    differences = pairs(rows, left, right, on, value)
    if len(differences) == 1 and "n_test" in rows:
        pair = [at(rows, source=source).iloc[0] for source in (left, right)]
        counts = [int(row["n_test"]) if pd.notna(row["n_test"]) else None for row in pair]
        return over_images(comparison, [row[value] for row in pair], counts, [1, -1], expected=expected, note=SINGLE)
    return over_seeds(comparison, differences, expected, counted="paired seeds")


def _of_state(results: UtreraResults, numbers: ShapeNumbers, measure: str) -> Iterator[Evidence]:
    rows, robust = at(numbers.bias_runs, measure=measure), results.exemplar
    if rows.empty or not {robust, numbers.natural} <= set(rows["source"]):
        yield Evidence("the robust source minus natural", note=ABSENT)
        return
    for (method, setting), group in rows.groupby(STATE, sort=False):
        yield _compared(state_text(method, setting), group, robust, numbers.natural, ["seed"], "value", UP)


def _attacked(numbers: ShapeNumbers) -> Iterator[Evidence]:
    settings = numbers.settings.get(TEXTURE_ATTACK, {})
    rows = numbers.attack_runs[numbers.attack_runs["eps"] > 0]
    if rows.empty or not settings.get("both"):
        yield Evidence("a source of both kinds of images under attack", note=ABSENT)
        return
    for eps, group in rows.groupby("eps", sort=False):
        yield _compared(f"eps {eps:.4g}: both minus rich", group, settings["both"], settings["rich"], ["seed"], "value", UP)
        yield _compared(f"eps {eps:.4g}: poor minus rich", group, settings["poor"], settings["rich"], ["seed"], "value", 0)


def _degraded(results: UtreraResults, numbers: ShapeNumbers, beyond: bool) -> Iterator[Evidence]:
    """Comparisons on each target without detail; `beyond`: how much more than on the target as it is."""
    rows, robust = numbers.degraded_runs, results.exemplar
    if rows.empty or robust is None:
        yield Evidence("the robust source minus natural on a target without detail", note=ABSENT)
        return
    gains = pairs(rows, robust, results.natural, ["target", "version", "seed"], "test_accuracy")
    whole = at(gains, version=AS_IS_VERSION)
    less = gains[gains["version"] != AS_IS_VERSION]
    if beyond:  # the difference of two differences, as `difference`
        less = statistics.paired(less, whole, ["target", "seed"], value="difference")
    for (target, version), group in less.groupby(["target", "version"], sort=False):
        yield over_seeds(f"{target}, {version}", group, UP)


def _dial(results: UtreraResults, numbers: ShapeNumbers) -> Iterator[Evidence]:
    turns = turn_of_the_dial(numbers.advantage_runs, numbers.cards) if len(numbers.advantage_runs) else {}
    if not turns:
        yield Evidence("robust minus natural sources at both ends of the dial", note=ABSENT)
        return
    targets = numbers.settings[TEXTURE_DIAL]["targets"]
    for (quantity, eps), differences in turns.items():
        expected = DOWN if quantity in targets and quantity in results.textures else UP
        yield over_models(f"{quantity}, eps {eps:g}", differences, expected)


def _table1b(published: PublishedTexture) -> str:
    rows = published.attack.to_dict("records")
    return "ImageNet, " + "; ".join(
        f"eps {row['eps_l2_pgd3']}: IN {row['trained_on_IN']:g}, SIN {row['trained_on_SIN']:g}, both {row['trained_on_IN_and_SIN']:g} %"
        for row in rows
    )
