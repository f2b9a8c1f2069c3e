"""A check, before any other stage starts, that everything that params.yaml asks for can be run: it is compared with the catalogs.

Reads params.yaml, data/catalog.yaml, models/catalog.yaml, stages/. Writes data/checked/<stage>: the hash of the code of each stage
and of each experiment, which depends on no setting. So a setting or a module that changed runs the stages that read it and no others.
DVC deletes the results of a stage before it runs it; so settings are checked here, while the results are still in place, and the
cells among results that were pulled from elsewhere are taken into the store.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from stages.lib import command
from stages.lib.datasets import catalog
from stages.lib.errors import RunError
from stages.lib.networks.architectures import blocks_of, blocks_problem
from stages.lib.networks.sources import FOLDER as SOURCES
from stages.lib.norms.table import all_norms
from stages.lib.progress import log
from stages.lib.settings import params
from stages.lib.settings.catalog import AnySource, File, Part, Published, Random, Trained
from stages.lib.settings.fields import LAST_SEED, OTHERS, by_source, is_by_source
from stages.lib.settings.params import DATA_CATALOG, MODEL_CATALOG, PARAMS, SettingsError
from stages.lib.settings.sections import DrawSubsetsSettings, Params
from stages.lib.store import code, files, packed
from stages.lib.store.journal import execution
from stages.lib.store.tables import FINETUNED
from stages.studies import registry
from stages.studies.study import label_problems, sections_on

CHECKED = Path("data/checked")
BY_TARGET = ("lr", "normalisation")  # settings of fine-tuning that may differ by target, too


def main() -> None:
    with execution("check", settings={}, inputs=[PARAMS, DATA_CATALOG, MODEL_CATALOG], outputs=[CHECKED]):
        if wrong := problems(registry.load_params()):
            raise SettingsError("; ".join(wrong))
        for name, digest in digests().items():
            files.write_bytes(CHECKED / name, f"{digest}\n".encode())
        take_in_pulled_cells()


def digests() -> dict[str, str]:
    """The hash of the code of each stage, of the report with its sections, and of each experiment with the stage that runs it."""
    sections = {"report": [study.report for study in registry.STUDIES]}
    stages = [path.stem for path in sorted((code.ROOT / "stages").glob("[a-z]*.py"))]
    of_stages = {stage: code.digest(f"stages.{stage}", *sections.get(stage, []), choices=True) for stage in stages}
    experiments = registry.EXPERIMENTS.values()
    return of_stages | {each.name: code.digest("stages.experiment", each.module, choices=True) for each in experiments}


def take_in_pulled_cells() -> None:
    """Take the finished trainings and fine-tuning runs that are packed among the results, and that the store lacks, into the store."""
    for kind, of_all in (("source", SOURCES), ("finetune", FINETUNED)):
        if taken := sum(packed.unpack(folder, kind, log) for folder in sorted(of_all.glob("*/"))):
            log(f"check: {taken} cells of {of_all} were computed elsewhere; the store has them now")


def problems(settings: Params) -> list[str]:
    """A line for each setting that cannot be run: it names the file and the key, the value, and what is allowed."""
    datasets, datasets_wrong = _entries(DATA_CATALOG, catalog.dataset_entry)
    sources, sources_wrong = _entries(MODEL_CATALOG, params.source_entry)
    wrong = datasets_wrong + sources_wrong
    wrong += params.unknown("datasets", settings.datasets, params.entry_names(DATA_CATALOG), DATA_CATALOG)
    wrong += params.unknown("models", settings.models, params.entry_names(MODEL_CATALOG), MODEL_CATALOG)
    wrong += params.unknown("sources", settings.sources, settings.models, "params.yaml: models")
    wrong += params.unknown("targets", settings.targets, settings.datasets, "params.yaml: datasets")
    wrong += params.unknown("source.dataset", [settings.source.dataset], settings.datasets, "params.yaml: datasets")
    wrong += params.unknown("report.natural", [settings.report.natural], settings.sources, "params.yaml: sources")
    wrong += params.unknown("experiments", settings.experiments, list(registry.EXPERIMENTS), "stages/studies")
    wrong += [
        f"{PARAMS}: experiments: {name!r} has no settings; allowed: an experiment with a section {name} in {PARAMS}"
        for name in settings.experiments
        if name in registry.EXPERIMENTS and getattr(settings, name) is None
    ]
    wrong += _name_of_value_problems(settings) + _rate_problems(settings)
    wrong += params.unknown("upscale.store", sorted({*settings.upscale.store} - {OTHERS}), params.entry_names(DATA_CATALOG), DATA_CATALOG)
    wrong += _normalisation_problems(settings, datasets)
    wrong += _size_problems(settings) + _seed_problems(settings.draw_subsets)
    wrong += _attack_problems(settings, sources) + _name_problems(settings)
    wrong += [line for study in registry.STUDIES for line in study.problems(settings, sources)]
    for name, dataset in datasets.items():
        wrong += _part_problems(name, DATA_CATALOG, dataset.part, dataset.classes)
        wrong += dataset.size_problems(name, settings.upscale) if name in settings.datasets else []
    for name, source in sources.items():
        data = datasets.get(getattr(source, "dataset", None))
        wrong += _part_problems(name, MODEL_CATALOG, getattr(source, "part", None), data.classes if data else None)
    used = {name: sources[name] for name in settings.models if name in sources}
    for name, source in used.items():
        wrong += _source_problems(name, source, settings)
    wrong += _file_problems({name: source.file for name, source in used.items() if isinstance(source, Published)})
    wrong += label_problems(settings, {name: dataset.labels for name, dataset in datasets.items()})
    for name in settings.targets:
        if name in datasets:
            wrong += _subset_problems(name, datasets[name], settings)
    return wrong


def _entries(path: Path, read) -> tuple[dict, list[str]]:
    """All entries of a catalog that can be read, and a line for each that cannot."""
    entries, wrong = {}, []
    for name in params.entry_names(path):
        try:
            entries[name] = read(name, path)
        except RunError as error:
            wrong.append(str(error))
    return entries, wrong


def _source_problems(name: str, source: AnySource, settings: Params) -> list[str]:
    try:
        blocks_of(source.architecture)
    except RunError as error:
        return [f"{MODEL_CATALOG}: {name}.{error}"]
    if isinstance(source, Random):
        return []
    found = (blocks_problem(blocks, name, source.architecture) for blocks in settings.blocks)
    wrong = [f"{PARAMS}: blocks: {problem}" for problem in found if problem]
    if isinstance(source, Trained) and source.dataset != settings.source.dataset:  # others may have learnt anything
        allowed = f"{settings.source.dataset!r}, as {PARAMS}: source.dataset says"
        wrong.append(f"{MODEL_CATALOG}: {name}.dataset is {source.dataset!r}; allowed: {allowed}")
    return wrong


def _file_problems(named: dict[str, File]) -> list[str]:
    """Different files of one name, of which one would be taken for the other in models/fetched/."""
    first = {file.name: name for name, file in reversed(named.items())}
    return [
        f"{MODEL_CATALOG}: {name}.file.name is {file.name!r}, as that of {first[file.name]}, which is another file; allowed: another name"
        for name, file in named.items()
        if file != named[first[file.name]]
    ]


def _subset_problems(name: str, dataset: catalog.AnyDataset, settings: Params) -> list[str]:
    """Subsets that cannot be drawn from a target; none where its counts are not in the catalog, as with a folder that is not yet read."""
    if dataset.classes is None or dataset.train is None or dataset.part:
        return []
    allowed = f"{dataset.classes} (its classes) to {dataset.train} (its training images)"
    return [
        f"{PARAMS}: draw_subsets.n_images: {n} cannot be drawn from {name}; allowed: {allowed}"
        for n in settings.draw_subsets.n_images
        if n != "all" and not dataset.classes <= n <= dataset.train
    ]


def _normalisation_problems(settings: Params, datasets: dict[str, catalog.AnyDataset]) -> list[str]:
    """Targets that are to be normalised as published, and for which the catalog has no such mean and std."""
    asked = settings.finetune.normalisation
    return [
        f"{DATA_CATALOG}: {name}.normalisation is missing; allowed: a mean and std, as finetune.normalisation is `published`"
        for name in settings.targets
        if name in datasets and datasets[name].normalisation is None
        if "published" in [by_source(asked, source, name) for source in settings.sources]
    ]


def _name_of_value_problems(settings: Params) -> list[str]:
    """Names of no source, or of no target where a setting may differ by it, in settings that differ; and of both, which has no order."""
    wrong, sources, targets = [], params.entry_names(MODEL_CATALOG), params.entry_names(DATA_CATALOG)
    for key, values in settings.finetune:
        named = [name for name in values if name != OTHERS] if isinstance(values, dict) and is_by_source(values) else []
        by_target = key in BY_TARGET and any(name in targets for name in named)
        allowed, where = (targets, DATA_CATALOG) if by_target else (sources, MODEL_CATALOG)
        wrong += params.unknown(f"finetune.{key}", named, allowed, where)
    return wrong


def _rate_problems(settings: Params) -> list[str]:
    """Several learning rates, and nothing that says by what one of them is chosen."""
    several = [rates for rates in settings.finetune.lr.values() if len(rates) > 1]
    if not several or settings.finetune.select:
        return []
    allowed = "one rate, or finetune.select, such as {by: test} or {by: validation, validation: 0.1}"
    return [f"{PARAMS}: finetune.lr is {several[0]}, and nothing says by what one is chosen; allowed: {allowed}"]


def _name_problems(settings: Params) -> list[str]:
    """Names that some file systems take for one: those that differ in capitals alone."""
    wrong = []
    for key in ("datasets", "models", "experiments"):
        first: dict[str, str] = {}
        for name in getattr(settings, key):
            if (other := first.setdefault(name.casefold(), name)) != name:
                wrong.append(
                    f"{PARAMS}: {key}: {name!r} and {other!r} differ in capitals alone; allowed: names whose folders differ everywhere"
                )
    return wrong


def _attack_problems(settings: Params, sources: dict[str, AnySource]) -> list[str]:
    """Balls that are wider than the range of pixels."""
    widest = {norm.name: norm.diameter(3 * settings.upscale.image_size**2) for norm in all_norms()}
    radii = settings.evaluate_robustness
    balls = [(f"{PARAMS}: evaluate_robustness.{norm}", norm, eps) for norm in radii.norms for eps in radii.radii(norm)]
    balls += [(f"{PARAMS}: {key}.eps", ball.norm, ball.eps) for key, ball in _balls_of_experiments(settings)]
    threats = {name: getattr(sources.get(name), "threat", None) for name in settings.models}
    balls += [(f"{MODEL_CATALOG}: {name}.threat.eps", threat.norm, threat.eps) for name, threat in threats.items() if threat]
    return [
        f"{key} is {eps:g}, beyond the range of pixels; "
        f"allowed: 0 to {widest[norm]:.4g}, the greatest distance of two images of upscale.image_size in {norm}"
        for key, norm, eps in balls
        if eps and eps > widest[norm]
    ]


def _balls_of_experiments(settings: Params) -> Iterator[tuple[str, BaseModel]]:
    """Settings with a norm and an eps in the sections of experiments, each with its key."""
    for name, section in sections_on(settings).items():
        yield from ((f"{name}.{key}", value) for key, value in section if hasattr(value, "norm") and hasattr(value, "eps"))


def _part_problems(name: str, path: Path, part: Part | None, classes: int | None) -> list[str]:
    """Parts of a set that would have fewer than two classes; none where the number of classes is unknown before the set is read."""
    if part is None or classes is None or classes >= 2 * part.of:
        return []
    return [
        f"{path}: {name}.part.of is {part.of}, and {classes} classes cannot be split so; allowed: 2 to {classes // 2} parts of two or more"
    ]


def _seed_problems(subsets: DrawSubsetsSettings) -> list[str]:
    """Seeds of subsets beyond those that NumPy takes."""
    last = subsets.first_seed + subsets.seed_step * (max(subsets.n_seeds.values()) - 1)
    allowed = f"first_seed, seed_step and n_seeds whose last seed is at most {LAST_SEED}"
    return [f"{PARAMS}: draw_subsets: the last seed is {last}; allowed: {allowed}"] if last > LAST_SEED else []


def _size_problems(settings: Params) -> list[str]:
    """Settings by size that hold no value for the smallest subset."""
    fewest = min((n for n in settings.draw_subsets.n_images if n != "all"), default=None)
    by_size = {
        "draw_subsets.n_seeds": settings.draw_subsets.n_seeds,
        "finetune.epochs": settings.finetune.epochs,
        "finetune.eval_every": settings.finetune.eval_every,
    }
    return [
        f"{PARAMS}: {key} holds from {first} images on; allowed: from {fewest} or fewer, the smallest of draw_subsets.n_images"
        for key, values in by_size.items()
        if fewest is not None and (first := min(size for size in values if size != "all")) > fewest
    ]


if __name__ == "__main__":
    command.run(main, __doc__)
