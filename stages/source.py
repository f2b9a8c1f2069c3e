"""A source model: trained naturally or adversarially, fetched, or none at all (`random`), as models/catalog.yaml says.

Reads data/images/<source dataset>/, models/catalog.yaml: <source>, params.yaml: source, download. Writes models/sources/<source>/:
0.safetensors and its card 0.json, and where `source.n_models` asks for more models, trained from other seeds, 1.safetensors and so
on; of trained ones also cells.json, the trainings as cells, for machines that pull them. Training goes on from its last epoch after a
kill; started by torchrun, it trains the models whose numbers are further arguments, or all, and keeps the weights in the cell store,
where the next `dvc repro` finds them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib import command, machine
from stages.lib.datasets.sets import IMAGES, card_of, load, load_part, n_classes, only
from stages.lib.errors import RunError
from stages.lib.fetching.pinned import fetch_pinned
from stages.lib.networks import names, sources
from stages.lib.progress import bar, log
from stages.lib.report.cards import unlearnt
from stages.lib.runs import pretraining
from stages.lib.settings import params
from stages.lib.settings.catalog import AnySource, Part, Published, Random, Timm, Trained
from stages.lib.settings.sections import DownloadSettings, SourceSettings
from stages.lib.store import cells, files, packed
from stages.lib.store.journal import Journal, execution

if TYPE_CHECKING:
    from torch import nn

FETCHED = Path("models/fetched")
WORTH_SAYING = 1.0  # points between measured and published accuracy


def main(source: str, models: Sequence[str] = ()) -> None:
    settings, download, entry = params.section("source"), params.section("download"), params.source_entry(source)
    if machine.launched():
        from stages.lib.runs.work import resumable  # here, as torch takes seconds to import
        from stages.lib.training import parallel

        with parallel.group():
            trainings = pretraining.trainings_of(source, entry, settings)
            resumable.train_together([each for each in trainings if not models or str(each.number) in models])
        return
    shown = settings.model_dump() | {source: entry.model_dump()}
    inputs = [IMAGES / settings.dataset] if getattr(entry, "dataset", None) == settings.dataset else []
    with execution("source", source, settings=shown, inputs=inputs, outputs=[sources.folder_of(source)]) as journal:
        journal.params({"source": source} | ({} if isinstance(entry, Random) else {"dataset": entry.dataset}))
        if isinstance(entry, Random):
            sources.save(card(source, entry, settings, origin="weights drawn from each run's seed"), {})
        elif isinstance(entry, Published):
            network, file_sha256 = fetched(source, entry, download)
            known = {"origin": entry.file.mirrors[0], "file_sha256": file_sha256, "published_accuracy": entry.published_accuracy}
            save(source, entry, settings, network, journal, **known)
        else:
            trainings = pretraining.trainings_of(source, entry, settings)
            if len(trainings) < settings.n_models:
                log(f"source@{source}: {len(trainings)} of source.n_models = {settings.n_models} models: its entry has no more seeds")
            others = [name for name in params.section("models") if name != source]  # in the order of their stages

            def done(training: pretraining.Training) -> None:
                known = {"origin": f"trained on {settings.dataset} by this pipeline", "number": training.number, "seed": training.seed,
                         "published_accuracy": entry.published_accuracy}  # fmt: skip
                save(source, entry, settings, training.network(), journal, **known)

            pretraining.train_lacking(trainings, journal, done, pretraining.trainings_of_all(others, settings))
            finished = {training.key: cells.load("source", training.key) for training in trainings}
            packed.pack(sources.folder_of(source), finished, with_weights=finished)
        written = {path for number, _ in enumerate(entry.model_seeds(settings.n_models)) for path in sources.paths(source, number)}
        written |= {sources.folder_of(source) / packed.NAME} if isinstance(entry, Trained) else set()
        for left in set(sources.folder_of(source).iterdir()) - written:
            left.unlink()  # by an earlier run without DVC, which begins with an empty folder
        warn_of_unlearnt(source)


def save(
    source: str, entry: Trained | Published, settings: SourceSettings, network: "nn.Sequential", journal: Journal, **known: Any
) -> None:
    """Measure a model on its own data, and write its weights and its card."""
    accuracy, counted = {}, {}
    if entry.dataset == settings.dataset:  # DVC brings the images of no other set before this stage
        accuracy = accuracies(network, settings.dataset, getattr(entry, "part", None))
        counted = counts(settings.dataset, getattr(entry, "part", None), list(accuracy))
    else:
        log(f"source@{source}: its accuracy on {entry.dataset} is not measured, as source.dataset is {settings.dataset}")
    compare(source, entry, accuracy)
    journal.metrics({f"{split}_accuracy": value for split, value in accuracy.items()}, known.get("number", 0))
    sources.save(card(source, entry, settings, network, accuracy=accuracy, **counted, **known), network.state_dict())


def card(name: str, entry: AnySource, settings: SourceSettings, network: "nn.Sequential | None" = None, **known) -> sources.SourceCard:
    """The card of a source; the source `random` has no network."""
    normalise = network and network.normalise
    return sources.SourceCard(
        name=name,
        kind="fetched" if isinstance(entry, Published) else entry.kind,
        architecture=entry.architecture,
        classes=network.head.out_features if network else None,
        dataset=None if isinstance(entry, Random) else entry.dataset,
        part=getattr(entry, "part", None),
        threat=None if isinstance(entry, Random) else threat_of(entry, settings),
        sha256="",  # set as it is saved
        mean=normalise.mean.flatten().tolist() if normalise else [0.5] * 3,
        std=normalise.std.flatten().tolist() if normalise else [0.25] * 3,
        licence=getattr(entry, "licence", None),
        threat_model=getattr(entry, "threat_model", None),
        **({"accuracy": {}} | known),
    )


def threat_of(entry: Trained | Published, settings: SourceSettings) -> sources.ThreatCard | None:
    if entry.threat is None:
        return None
    perturbation = pretraining.perturbation_of(entry, settings) if isinstance(entry, Trained) else entry.threat.perturbation
    called = {"pgd": "PGD({steps})", "gaussian": "Gaussian", "free": "free, m = {replay}"}
    how = called[perturbation.kind].format(**perturbation.model_dump()) if perturbation else None
    return sources.ThreatCard(norm=entry.threat.norm, eps=entry.threat.eps, perturbation=how)


def accuracies(network: "nn.Sequential", dataset: str, part: Part | None) -> dict[str, float]:
    """Percent on each test split of the source data (of a part of its classes), where that is at hand and has the network's classes."""
    from stages.lib.networks import devices, inference  # here, as torch takes seconds to import

    card = card_of(dataset)
    if n_classes(part, card.classes) != network.head.out_features:
        return {}
    model = inference.CutNetwork(None, network.to(devices.best_device()), inference.View(card.image_size))
    percent = {split: inference.accuracy(model, *load_part(dataset, split, part)) for split in card.splits if not split.startswith("train")}
    network.cpu()
    return percent


def counts(dataset: str, part: Part | None, splits: list[str]) -> dict[str, dict[str, float]]:
    """Of each split, as the card of a source has them: its number of images, and percent that the commonest class has of them."""
    of_all = {split: only(part, card_of(dataset).classes, load(dataset, split)[1])[1] for split in splits}
    commonest = {split: 100 * float(np.bincount(labels).max()) / len(labels) for split, labels in of_all.items()}
    return {"n_test": {split: len(labels) for split, labels in of_all.items()}, "commonest": commonest}


def warn_of_unlearnt(source: str) -> None:
    """Say which models of a source have not learnt their own data; all that is fine-tuned from them counts like any other."""
    for model in unlearnt([card.model_dump() for card in sources.cards_of(source)]):
        log(f"warning: source@{source}: {model.text}; results from it count, and the report says so")


def compare(name: str, entry: Trained | Published, accuracy: dict[str, float]) -> None:
    """Log how far the accuracy measured here is from the published one."""
    published, tested = entry.published_accuracy, accuracy.get("test")
    if published is None or tested is None:
        return
    line = f"source@{name}: {tested:.2f} % on the test split of {entry.dataset}; published: {published:.2f} % ({tested - published:+.2f})"
    log(f"warning: {line}" if abs(tested - published) > WORTH_SAYING else line)


def fetched(name: str, entry: Published, download: DownloadSettings) -> "tuple[nn.Sequential, str]":
    """Published weights as a network, and the sha256 of their file, which stays in models/fetched/ and is not downloaded again."""
    from stages.lib.networks import checkpoints, units  # here, as torch takes seconds to import

    path = files.state_folder() / FETCHED / entry.file.name
    with bar(title=name, unit="B") as progress:
        sha256 = fetch_pinned(entry.file, path, timeout_s=download.timeout_s, attempts=download.attempts,
                       progress=lambda done, total: (setattr(progress, "total", total), progress.update(done - progress.n)))  # fmt: skip
    weights = checkpoints.read(path)
    mean, std, classes, tensors = weights.mean or entry.mean, weights.std or entry.std, entry.classes, weights.tensors
    if isinstance(entry, Timm):
        from stages.lib.networks.timm import networks as timm_networks  # here, as it takes seconds to import

        says = timm_networks.configuration(entry.network)
        mean, std, classes = mean or list(says.mean), std or list(says.std), classes or says.num_classes or 1
        tensors = timm_networks.as_timm_names(entry.architecture, classes, tensors)
    if mean is None or std is None:
        raise RunError(f"{params.MODEL_CATALOG}: {name}: its file holds no mean and std to normalise with; give `mean` and `std`")
    network = units.build(names.known(entry.architecture), classes, mean, std)
    try:
        units.load(network, units.with_unit_names(entry.architecture, tensors), but="normalise.")
        if isinstance(entry, Timm):
            timm_networks.check(network, entry.architecture, classes, tensors)
    except RunError as error:
        mismatch = f"{entry.file.name} is no {entry.architecture} with {classes} classes"
        raise RunError(f"{params.MODEL_CATALOG}: {name}: {mismatch}: {error}") from None
    return network.eval(), sha256


if __name__ == "__main__":
    command.run(main, __doc__, "source", "models*")
