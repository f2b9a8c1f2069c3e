"""The networks that are attacked: a source on its source data, and the fine-tuned networks whose weights were kept for that."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.lib.datasets.sets import IMAGES, card_of
from stages.lib.networks import sources
from stages.lib.networks.pretrained import Pretrained
from stages.lib.runs import deciding
from stages.lib.settings.catalog import Part
from stages.lib.settings.robustness import EvaluateRobustnessSettings
from stages.lib.settings.sections import KeptWeights
from stages.lib.store import files
from stages.lib.store.tables import kept_weights

CHECKING = "checks"  # in the place of an attack's name
WORK = {"attack": "stages.lib.runs.work.attack", CHECKING: "stages.lib.runs.work.check_attack"}  # a table of choices (`choice.py`)


@dataclass(frozen=True)
class AttackedNetwork:
    """A source (weights None), or a source with the trained part that a cell kept; small, as every worker is sent it."""

    source: Pretrained
    dataset: str  # whose test images are attacked
    blocks: str = ""
    n_images: int = 0
    seed: int = 0
    weights: str | None = None
    resolution: int | None = None  # pixels a side to which images were reduced in fine-tuning
    part: Part | None = None  # of the dataset's classes

    @property
    def kind(self) -> str:
        """The name of its kind in tables: `source` or `finetuned`."""
        return "finetuned" if self.weights else "source"

    @property
    def columns(self) -> dict[str, str | int]:
        """The columns of a table that name the network."""
        return {"model": self.kind, "source": self.source.name, "dataset": self.dataset, "blocks": self.blocks,
                "n_images": self.n_images, "seed": self.seed}  # fmt: skip

    @cached_property
    def contents(self) -> dict:
        """All that decides the outputs of the network for the images under attack, as part of a cell's key."""
        data = card_of(self.dataset)
        return {
            "source": self.source.sha256, "architecture": self.source.architecture, "blocks": self.blocks,
            "weights": self.weights and files.sha256_of(Path(self.weights)), "data": data.splits["test"].sha256,
            "image_size": data.image_size, "resolution": self.resolution, "part": self.part and self.part.model_dump(),
        }  # fmt: skip


@dataclass(frozen=True)
class OtherNetwork:
    """Another source that sees the images under attack, by its own head, or by one that is fitted to the dataset; for checks."""

    source: Pretrained
    own_head: bool  # as it was trained on these classes
    train: str  # hash of the training images that its head is fitted to; empty where it has its own

    @property
    def contents(self) -> dict:
        """All that decides its outputs, as part of a cell's key."""
        return {"source": self.source.sha256, "architecture": self.source.architecture, "train": self.train}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One attack on one network within one norm at every radius; or the checks of all attacks there."""

    network: AttackedNetwork
    norm: str
    name: str  # of the attack in params.yaml, or CHECKING
    attacks: list[dict]  # its settings; of checks, those of all attacks, on which the figures rest together
    radii: list[float]  # rising, from 0
    max_images: int  # that are drawn from the test split
    check_images: int  # of these that are labelled correctly; for checks
    other: OtherNetwork | None = None  # whose adversarial examples the network is tried on; for checks
    examples: bool = False  # whether pictures are kept of what the attack does

    def __str__(self) -> str:
        return f"{self.name}, {self.norm}, {self.network.kind} {self.network.source.name} on {self.network.dataset}"

    @property
    def module(self) -> str:
        """The module that computes the evaluation in a worker."""
        return WORK[CHECKING if self.name == CHECKING else "attack"]

    @cached_property
    def key(self) -> str:
        """The hash of all that decides the result; the attack's name decides nothing."""
        check_images = self.check_images if self.name == CHECKING else None
        architectures = [self.network.source.architecture] + ([self.other.source.architecture] if self.other else [])
        made_by = deciding.code_of(
            self.module, *map(deciding.modules_of_architecture, architectures), deciding.modules_of_norm(self.norm),
            *map(deciding.modules_of_attack, self.attacks),
        )  # fmt: skip
        return files.digest_of(self.network.contents | made_by | {
            "norm": self.norm, "radii": self.radii, "attacks": self.attacks, "max_images": self.max_images, "check_images": check_images,
            "examples": self.examples, "other": self.other and self.other.contents,
        })  # fmt: skip


def networks_of(source: str) -> list[AttackedNetwork]:
    """The source on its source data, where it has any, and every fine-tuned network whose weights were kept to be attacked."""
    card = sources.card_of(source)
    pretrained = sources.pretrained_of(card)
    networks = [AttackedNetwork(pretrained, card.dataset, part=card.part)] if "test" in card.accuracy and at_hand(card.dataset) else []
    kept = kept_weights(source)
    settings = files.read_json(kept / "settings.json")
    keep, resolution = KeptWeights(**settings["keep"]), settings["resolution"]
    for path in sorted(kept.glob("*/*.safetensors")):
        blocks, *subset = path.stem.rsplit("_", 2)
        if keep.attacks(blocks):
            networks.append(AttackedNetwork(pretrained, path.parent.name, blocks, *map(int, subset), str(path), resolution))
    return networks


def evaluations_of(
    networks: list[AttackedNetwork], norms: list[str], settings: EvaluateRobustnessSettings, compared: list[str]
) -> list[Evaluation]:
    """An evaluation for each network, norm and attack; where the section asks for checks, one of these for each network and norm, too.

    Of networks that differ by the seed of their subset alone one is checked (`first_seeds`). Pictures are kept of the first attack, on the
    source and on the first network of each dataset. Where there is neither a radius nor a check, nothing is evaluated.

    Args:
        compared: the sources among which the checks look for another network.
    """
    if not settings.check_images and not any(settings.radii(norm) for norm in norms):
        return []
    attacks = {name: [attack.model_dump()] for name, attack in settings.attacks.items()}
    radii = {norm: sorted({0.0, *settings.radii(norm)}) for norm in norms}
    evaluations, checked = [], first_seeds(networks) if settings.check_images else []
    shown = {(network.kind, network.dataset): network for network in reversed(networks)}
    for network in networks:
        shows = network in shown.values()
        asked = {name: (of_name, None, shows and name == next(iter(attacks))) for name, of_name in attacks.items()}
        if network in checked:
            asked[CHECKING] = [attack for [attack] in attacks.values()], other_of(network, compared), False
        evaluations += [
            Evaluation(network, norm, name, of_name, radii[norm], settings.max_images, settings.check_images, other, examples)
            for norm in norms
            for name, (of_name, other, examples) in asked.items()
        ]
    return evaluations


def first_seeds(networks: list[AttackedNetwork]) -> list[AttackedNetwork]:
    """Of networks that differ by the seed of their subset alone, the one of the lowest seed."""
    first: dict[tuple, AttackedNetwork] = {}
    for network in sorted(networks, key=lambda network: network.seed):
        first.setdefault((network.source.name, network.dataset, network.blocks, network.n_images), network)
    return list(first.values())


def other_of(network: AttackedNetwork, compared: list[str]) -> OtherNetwork | None:
    """The first other source that has learnt anything; None where there is none, and where no images are at hand to fit its head to."""
    for card in (sources.card_of(name) for name in compared if name != network.source.name):
        own_head = (card.dataset, card.part) == (network.dataset, network.part)
        train = card_of(network.dataset).splits.get("train")
        if card.classes is not None and (own_head or train):
            return OtherNetwork(sources.pretrained_of(card), own_head, "" if own_head else train.sha256)
    return None


def at_hand(dataset: str, split: str = "test") -> bool:
    """Whether this machine has these images of a dataset: a set may be left out, or its folder may be elsewhere."""
    return (IMAGES / dataset / "card.json").is_file() and split in card_of(dataset).splits
