"""Everything that params.yaml asks for can be run: read and compared with the catalogs, before any other stage starts.

Reads params.yaml, data/catalog.yaml, models/catalog.yaml, stages/. Writes data/checked/<stage>: the hash of the code of each
stage, which depends on no setting. So a setting or a module that changed runs the stages that read it and no others. DVC
deletes the results of a stage before it runs it; so what can be found wrong is found here, while they are still in place.
"""

import math
from importlib.util import find_spec
from pathlib import Path

from stages.lib import command
from stages.lib.errors import RunError
from stages.lib.networks.architectures import BLOCKS, pieces_of
from stages.lib.settings import params
from stages.lib.settings.catalog import AnyDataset, AnySource, Part, Random
from stages.lib.settings.params import DATA_CATALOG, MODEL_CATALOG, PARAMS, SettingsError
from stages.lib.settings.sections import Params
from stages.lib.store import code, files
from stages.lib.store.journal import execution

CHECKED = Path("data/checked")


def main() -> None:
    with execution("check", settings={}, inputs=[PARAMS, DATA_CATALOG, MODEL_CATALOG], outputs=[CHECKED]):
        found = problems(params.load_params())
        if found:
            raise SettingsError("; ".join(found))
        for stage in sorted((code.ROOT / "stages").glob("[a-z]*.py")):
            digest = code.digest(f"stages.{stage.stem}", choices=True)
            files.write_bytes(CHECKED / stage.stem, f"{digest}\n".encode())


def problems(settings: Params) -> list[str]:
    """What cannot be run, each as one line that names file and key, what was found and what is allowed."""
    datasets, datasets_wrong = _entries(DATA_CATALOG, params.dataset_entry)
    sources, sources_wrong = _entries(MODEL_CATALOG, params.source_entry)
    wrong = datasets_wrong + sources_wrong
    wrong += _unknown("datasets", settings.datasets, _names(DATA_CATALOG), DATA_CATALOG)
    wrong += _unknown("models", settings.models, _names(MODEL_CATALOG), MODEL_CATALOG)
    wrong += _unknown("sources", settings.sources, settings.models, "params.yaml: models")
    wrong += _unknown("targets", settings.targets, settings.datasets, "params.yaml: datasets")
    wrong += _unknown("source.dataset", [settings.source.dataset], settings.datasets, "params.yaml: datasets")
    wrong += _unknown("report.natural", [settings.report.natural], settings.sources, "params.yaml: sources")
    wrong += _unknown("report.robust", [settings.report.robust], _names(MODEL_CATALOG), MODEL_CATALOG)
    wrong += _unknown("report.published", list(settings.report.published.values()), _names(MODEL_CATALOG), MODEL_CATALOG)
    wrong += _unknown("report.similar", settings.report.similar, _names(DATA_CATALOG), DATA_CATALOG)
    if isinstance(settings.finetune.normalisation, dict):
        wrong += _unknown("finetune.normalisation", list(settings.finetune.normalisation), _names(MODEL_CATALOG), MODEL_CATALOG)
    wrong += _size_problems(settings)
    wrong += _attack_problems(settings) + _transfer_problems(settings, sources)
    for name, dataset in datasets.items():
        wrong += _part_problems(name, DATA_CATALOG, dataset.part, dataset.classes)
    for name, source in sources.items():
        data = datasets.get(getattr(source, "dataset", None))
        wrong += _part_problems(name, MODEL_CATALOG, getattr(source, "part", None), data.classes if data else None)
    used = {name: sources[name] for name in settings.models if name in sources}
    for name, source in used.items():
        wrong += _source_problems(name, source, settings)
    for name in settings.targets:
        if name in datasets:
            wrong += _subset_problems(name, datasets[name], settings)
    return wrong


def _entries(path: Path, read) -> tuple[dict, list[str]]:
    """All entries of a catalog that can be read, and a line for each that cannot."""
    entries, wrong = {}, []
    for name in _names(path):
        try:
            entries[name] = read(name, path)
        except RunError as error:
            wrong.append(str(error))
    return entries, wrong


def _names(path: Path) -> list[str]:
    return list(params.read_yaml(path))


def _unknown(key: str, names: list[str], allowed: list[str], where: object) -> list[str]:
    return [
        f"{PARAMS}: {key}: {name!r} is not in {where}; allowed: {params.choices(name, allowed)}" for name in names if name not in allowed
    ]


def _source_problems(name: str, source: AnySource, settings: Params) -> list[str]:
    if source.architecture not in BLOCKS:
        allowed = params.choices(source.architecture, BLOCKS)
        return [f"{MODEL_CATALOG}: {name}.architecture is {source.architecture!r}; allowed: {allowed}"]
    if isinstance(source, Random):
        return []
    most = BLOCKS[source.architecture]
    wrong = [
        f"{PARAMS}: blocks: {blocks} is above the {most} blocks of {name} ({source.architecture}); allowed: 0 to {most}, or all"
        for blocks in settings.blocks
        if blocks != "all" and blocks > most
    ]
    if source.dataset != settings.source.dataset:
        allowed = f"{settings.source.dataset!r}, as {PARAMS}: source.dataset says"
        wrong.append(f"{MODEL_CATALOG}: {name}.dataset is {source.dataset!r}; allowed: {allowed}")
    return wrong


def _subset_problems(name: str, dataset: AnyDataset, settings: Params) -> list[str]:
    """Of a folder whose counts are not in the catalog, nothing is known before it is read."""
    if dataset.classes is None or dataset.train is None or dataset.part:
        return []
    allowed = f"{dataset.classes} (its classes) to {dataset.train} (its training images)"
    return [
        f"{PARAMS}: draw_subsets.n_images: {n} cannot be drawn from {name}; allowed: {allowed}"
        for n in settings.draw_subsets.n_images
        if n != "all" and not dataset.classes <= n <= dataset.train
    ]


def _attack_problems(settings: Params) -> list[str]:
    """Balls no wider than the pixels allow, and attacks that are installed."""
    widest = {"linf": 1.0, "l2": math.sqrt(3 * settings.upscale.image_size**2)}
    balls = [("evaluate_robustness.l2", "l2", eps) for eps in settings.evaluate_robustness.l2]
    balls += [("robust_transfer.eps", settings.robust_transfer.norm, settings.robust_transfer.eps)]
    balls += [("harden.attack.eps", settings.harden.attack.norm, settings.harden.attack.eps)]
    wrong = [
        f"{PARAMS}: {key} is {eps:g}, beyond the range of pixels; "
        f"allowed: 0 to {widest[norm]:.4g}, the greatest distance of two images of upscale.image_size in {norm}"
        for key, norm, eps in balls
        if eps > widest[norm]
    ]
    return wrong + [
        f"{PARAMS}: {section}.attacks.{name}: autoattack is an extra that is not installed; "
        f"allowed: pgd, fgsm or random_search, or after pip install -c constraints.txt -e '.[autoattack]'"
        for section in ("evaluate_robustness", "robust_transfer")
        for name, attack in getattr(settings, section).attacks.items()
        if attack.kind == "autoattack" and find_spec("art") is None
    ]


def _transfer_problems(settings: Params, sources: dict[str, AnySource]) -> list[str]:
    """The sections of Shafahi et al.: sources and targets that are brought here, and what each source can do."""
    wrong = []
    for name in ("retrain", "train_heads", "harden", "learn_without_forgetting"):
        section = getattr(settings, name)
        wrong += _unknown(f"{name}.sources", section.sources, settings.models, "params.yaml: models")
        wrong += _unknown(f"{name}.targets", getattr(section, "targets", []), settings.datasets, "params.yaml: datasets")
        wrong += [
            f"{PARAMS}: {name}.sources: {source} is random and has no features to store; allowed: a source that is trained or fetched"
            for source in section.sources
            if isinstance(sources.get(source), Random)
        ]
    for source in settings.retrain.sources:
        architecture = sources[source].architecture if source in sources else None
        if architecture in BLOCKS:
            most = pieces_of(architecture)
            wrong += [
                f"{PARAMS}: retrain.k: {k} is above the {most} pieces of {source} ({architecture}); allowed: 1 to {most}"
                for k in settings.retrain.k
                if k > most
            ]
    return wrong


def _part_problems(name: str, path: Path, part: Part | None, classes: int | None) -> list[str]:
    """Of a set whose number of classes is not known before it is read, nothing."""
    if part is None or classes is None or classes >= 2 * part.of:
        return []
    return [
        f"{path}: {name}.part.of is {part.of}, and {classes} classes cannot be split so; allowed: 2 to {classes // 2} parts of two or more"
    ]


def _size_problems(settings: Params) -> list[str]:
    """Every number of images has its seeds and its epochs."""
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
