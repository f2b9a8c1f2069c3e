"""The models that this workspace can give away: its sources, the fine-tuned models whose weights were kept, and the best of these.

| name | model | where |
|---|---|---|
| `natural` | a source | `models/sources/natural/` |
| `natural/digits/1_100_20000000` | a fine-tuned model: source, target, and blocks_images_seed | `models/finetuned/natural/weights/` |
| `digits` | the best model of a target, as the stage `export` chose it | `models/best/digits/` |
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.datasets import sets, subsets
from stages.lib.errors import RunError
from stages.lib.models import card as cards
from stages.lib.models.card import Card
from stages.lib.networks import sources
from stages.lib.networks.sources import SourceCard
from stages.lib.settings.params import choices
from stages.lib.store import code, files
from stages.lib.store.tables import finetuned, kept_weights

BEST = Path("models/best")
FINETUNED = Path("models/finetuned")
WORK = {"finetune": "stages.lib.runs.work.finetune"}  # the code that made them: a table of choices (`choice.py`)


@dataclass(frozen=True)
class Kept:
    """A fine-tuned model whose weights were kept."""

    source: str
    target: str
    blocks: str
    n_images: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.source}/{self.target}/{self.blocks}_{subsets.name_of(self.n_images, self.seed)}"

    @property
    def path(self) -> Path:
        """The weights that differ from the source's."""
        return kept_weights(self.source) / f"{self.name.partition('/')[2]}.safetensors"


def kept_of(source: str, target: str | None = None) -> list[Kept]:
    """The models that were fine-tuned from a source on a target, or on any."""
    paths = sorted(kept_weights(source).glob(f"{target or '*'}/*.safetensors"))
    found = [(path.parent.name, *path.stem.rsplit("_", 2)) for path in paths]
    return [Kept(source, of_target, blocks, int(n_images), int(seed)) for of_target, blocks, n_images, seed in found]


def names() -> list[str]:
    """The names of all models that are at hand."""
    best = sorted(path.parent.name for path in BEST.glob(f"*/{cards.CARD}"))
    origins = [path.parent.name for path in sorted(sources.FOLDER.glob("*/0.json")) if sources.card_of(path.parent.name).classes]
    tuned = [kept.name for path in sorted(FINETUNED.glob("*/weights")) for kept in kept_of(path.parent.name)]
    return [*best, *origins, *tuned]


def model(name: str) -> tuple[Card, dict[str, np.ndarray]]:
    """A model by its name or its folder: its card, and the weights of its whole network.

    Raises:
        RunError: where there is no such model; names those that there are.
    """
    for folder in (Path(name), BEST / name):
        if (folder / cards.CARD).is_file():
            card = cards.read(folder)
            return card, files.read_arrays(cards.weights_of(folder, card))
    source, _, run = name.partition("/")
    if run and (tuned := next((kept for kept in kept_of(source) if kept.name == name), None)):
        return tuned_model(tuned)
    if not run and sources.paths(name)[1].is_file():
        return source_model(name)
    raise RunError(f"{name}: no such model; allowed: a folder with {cards.CARD}, or {choices(name, names()) or 'nothing yet: `dvc repro`'}")


def source_model(source: str) -> tuple[Card, dict[str, np.ndarray]]:
    """The first model of a source; raises RunError for one without weights, as `random` is."""
    card = sources.card_of(source)
    if card.classes is None:
        raise RunError(f"{source}: has no weights, as it is not pre-trained; allowed: another source, or what was fine-tuned from it")
    at_hand = (sets.IMAGES / card.dataset / "card.json").is_file()
    images = sets.card_of(card.dataset) if at_hand else None
    described = _described(card, images, card.dataset, card.classes)
    return replace(described, test_accuracy=card.accuracy.get("test", card.published_accuracy)), files.read_arrays(_path_of(card))


def tuned_model(kept: Kept) -> tuple[Card, dict[str, np.ndarray]]:
    """A fine-tuned model: its card, and the weights of its whole network."""
    card, paths = tuned_parts(kept)
    return card, merged(paths)


def merged(paths: list[Path]) -> dict[str, np.ndarray]:
    """The source's weights, where there are any, with those that the run changed in their place; the last file holds these."""
    *source, run = map(files.read_arrays, paths)
    of_source = {name: array for weights in source for name, array in weights.items() if not name.startswith("head.")}
    return of_source | run


def tuned_parts(kept: Kept) -> tuple[Card, list[Path]]:
    """The card of a fine-tuned model, and the files that `merged` makes its weights of."""
    source, images = sources.card_of(kept.source), sets.card_of(kept.target)
    paths = [*([_path_of(source)] if source.classes is not None else []), kept.path]
    weights = files.read_arrays(kept.path)
    mean, std = (
        weights[f"normalise.{name}"].ravel().tolist() if f"normalise.{name}" in weights else getattr(source, name)
        for name in ("mean", "std")
    )
    settings, run = files.read_json(kept_weights(kept.source) / "settings.json"), _last_epoch(kept)
    card = replace(
        _described(source, images, kept.target, images.classes), kind="finetuned", resolution=settings["resolution"], mean=mean, std=std,
        blocks=kept.blocks, n_images=kept.n_images, seed=kept.seed, epochs=int(run["epoch"]),
        training={name: value for name, value in settings.items() if name not in ("keep", "select")} | {"lr": float(run["lr"])},
        test_accuracy=float(run["test_accuracy"]), cell=str(run["cell"]), code=code.digest(WORK["finetune"]),
    )  # fmt: skip
    return card, paths


def save(folder: Path, card: Card, weights: dict[str, np.ndarray]) -> None:
    """Write a model to take home."""
    from safetensors.numpy import save as as_bytes  # here, beside `files.read_arrays`

    content = as_bytes({name: np.asarray(array, order="C") for name, array in weights.items()})
    files.write_bytes(folder / cards.WEIGHTS, content)
    files.write_bytes(folder / cards.CARD, replace(card, sha256=hashlib.sha256(content).hexdigest()).text().encode())


def _described(source: SourceCard, images: sets.DatasetCard | None, dataset: str, classes: int) -> Card:
    """What the cards of a source and of an image set say of a model."""
    named = images.class_names if images and images.class_names else None
    if named and source.part and dataset == source.dataset:
        named = [named[i] for i in sets.classes_of(source.part, images.classes)]
    return Card(
        kind="source", source=source.name, dataset=dataset, architecture=source.architecture,
        classes=named or [str(i) for i in range(classes)], image_size=images.image_size if images else 224,
        channels=images.channels if images else 3, crop=images.crop if images else 1.0, resolution=None, mean=source.mean, std=source.std,
        threat=source.threat and source.threat.model_dump(), origin=source.origin,
        blocks=None, n_images=None, seed=source.seed, epochs=None, training=None,
        test_accuracy=None, n_test=images.splits["test"].n if images and "test" in images.splits else None,
        images_sha256={name: split.sha256 for name, split in images.splits.items()} if images else {},
        cell=None, code=None, torch=code.version_of("torch"), sha256=source.sha256,
    )  # fmt: skip


def _path_of(card: SourceCard) -> Path:
    """The file of a source's weights; raises RunError where they are not those of its card."""
    pretrained = sources.pretrained_of(card)
    pretrained.check()
    return Path(pretrained.weights)


def _runs(source: str) -> pd.DataFrame:
    path = finetuned(source) / "runs.parquet"
    if not path.is_file():
        raise RunError(f"{path}: the file is missing; run `dvc repro finetune@{source}`")
    return pd.read_parquet(path)


def _last_epoch(kept: Kept) -> pd.Series:
    """The row of the run's last evaluation; raises RunError where the table has none."""
    runs = _runs(kept.source)
    where = {"target": kept.target, "blocks": kept.blocks, "n_images": kept.n_images, "seed": kept.seed, "source_model": 0}
    rows = runs[(runs[list(where)] == pd.Series(where)).all(axis=1)]
    if rows.empty:
        raise RunError(f"{kept.path}: {finetuned(kept.source) / 'runs.parquet'} has no such run; run `dvc repro finetune@{kept.source}`")
    return rows.sort_values("epoch").iloc[-1]
