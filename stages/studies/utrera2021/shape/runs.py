"""The runs of the experiments on shape and texture, as their sections of params.yaml ask for them, and what of these cannot be run."""

from typing import Any

from stages.lib.networks import sources
from stages.lib.networks.architectures import blocks_problem
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource
from stages.lib.settings.params import DATA_CATALOG, PARAMS, entry_names, unknown
from stages.lib.settings.sections import Params
from stages.studies.study import CardOf, Experiment, blocks_of_sources, name_problems, sections_on
from stages.studies.utrera2021.shape.settings import ShapeBiasSettings, TextureAttackSettings, TextureDialSettings, Tuning

SHAPE_BIAS, TEXTURE_ATTACK, TEXTURE_DIAL = "shape_bias", "texture_attack", "texture_dial"
FOLDER = "stages.studies.utrera2021.shape.experiments"
AS_IS, FINETUNED, CONFLICT, TRANSFER, ATTACKED = "as_is", "finetuned", "conflict", "transfer", "attacked"  # methods
WHOLE = -1  # in the place of a number of blocks: all


def shape_bias(settings: ShapeBiasSettings, card_of: CardOf) -> list[Run]:
    """Each model of each source as it is, and fine-tuned on stylised images with each number of blocks, from each seed."""
    tested = {"target": settings.stylised or settings.conflict, "also": settings.conflict if settings.stylised else None}
    runs = []
    for name in settings.sources:
        runs += [_run(SHAPE_BIAS, name, AS_IS, number, {}, **tested) for number in range(sources.count(name))]
        runs += [
            _run(SHAPE_BIAS, name, FINETUNED, seed, _tuned(settings.finetuning, blocks), setting=_number(blocks), **tested)
            for blocks in settings.blocks
            for seed in range(settings.n_seeds)
        ]
    return runs


def texture_attack(settings: TextureAttackSettings, card_of: CardOf) -> list[Run]:
    """Each model of each source, under PGD from the images themselves."""
    attack = {"kind": "pgd", "norm": settings.norm, "steps": settings.steps, "step_ratio": settings.step_ratio, "random_start": False}
    how = {"attack": attack, "eps": settings.eps, "max_images": settings.max_images}
    return [
        _run(TEXTURE_ATTACK, name, ATTACKED, number, how, target=settings.dataset)
        for name in settings.sources
        for number in range(sources.count(name))
    ]


def texture_dial(settings: TextureDialSettings, card_of: CardOf) -> list[Run]:
    """Each model of each source on the cue-conflict set, and on each target from each seed; `setting` is its place on the dial."""
    runs, how = [], _tuned(settings.finetuning, settings.blocks)
    for position, names in settings.dial.items():
        for name in names:
            at = {"setting": int(position.removeprefix("at_")) / 100}
            runs += [_run(TEXTURE_DIAL, name, CONFLICT, n, {}, target=settings.conflict, **at) for n in range(sources.count(name))]
            runs += [
                _run(TEXTURE_DIAL, name, TRANSFER, seed, how, target=target, **at)
                for target in settings.targets
                for seed in range(settings.n_seeds)
            ]
    return runs


def _run(experiment: str, source: str, method: str, seed: int, how: dict, setting: float = 0, **sets: Any) -> Run:
    """A run of the source's model that the seed takes."""
    number = seed % sources.count(source)
    return Run(
        experiment, source, sets["target"], method, setting, seed, how, {}, f"{FOLDER}.{experiment}", number=number, also=sets.get("also")
    )


def _tuned(settings: Tuning, blocks: int | str) -> dict[str, Any]:
    return {"finetuning": settings.model_dump(), "blocks": blocks}


def _number(blocks: int | str) -> int:
    return WHOLE if blocks == "all" else int(blocks)


EXPERIMENTS = tuple(
    Experiment(name, settings, runs, f"{FOLDER}.{name}")
    for name, settings, runs in (
        (SHAPE_BIAS, ShapeBiasSettings, shape_bias),
        (TEXTURE_ATTACK, TextureAttackSettings, texture_attack),
        (TEXTURE_DIAL, TextureDialSettings, texture_dial),
    )
)


def problems(settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    """Sources and sets that are not brought here, sources that name nothing, too many blocks, and degraded targets of no entry."""
    wrong = []
    for name in (SHAPE_BIAS, TEXTURE_ATTACK, TEXTURE_DIAL):
        if (section := sections_on(settings).get(name)) is None:
            continue
        wrong += name_problems(name, section, settings, of_catalog)
        for key, dataset in (getattr(section, "with_one_label", {}) | getattr(section, "with_two_labels", {})).items():
            wrong += unknown(f"{name}.{key}", [dataset], settings.datasets, f"{PARAMS}: datasets")
        wrong += _block_problems(name, section, of_catalog)
    degraded = settings.report.utrera2021.degraded
    named = [name for target, less in degraded.items() for name in (target, *less.names.values())]
    return wrong + unknown("report.utrera2021.degraded", named, entry_names(DATA_CATALOG), DATA_CATALOG)


def _block_problems(name: str, section: Any, of_catalog: dict[str, AnySource]) -> list[str]:
    """Numbers of blocks above those of a source."""
    asked = getattr(section, "blocks", [])
    found = (
        blocks_problem(blocks, source, of_catalog[source].architecture)
        for source in blocks_of_sources(section.sources, of_catalog)
        for blocks in (asked if isinstance(asked, list) else [asked])
    )
    return [f"{PARAMS}: {name}.blocks: {problem}" for problem in found if problem]
