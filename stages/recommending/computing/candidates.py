"""The sources that are compared: those that are at hand, and those that were asked for by name and can be brought in time."""

from collections.abc import Callable
from dataclasses import dataclass, field

from stages.lib.datasets import catalog
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.networks.architectures import blocks_of
from stages.lib.networks.sources import SourceCard
from stages.lib.progress import log
from stages.lib.runs.jobs import Blocks
from stages.lib.settings import params
from stages.lib.settings.catalog import AnySource, Fetched, Random
from stages.recommending.workspace import Workspace

IMAGENET = 224  # pixels a side at which networks of ImageNet are used
TRIED = ["torchvision_resnet18", "salman_resnet18_l2_eps0_5", "torchvision_resnet50", "salman_resnet50_l2_eps3"]
"""Sources that are fetched where none is at hand and none is named."""
EMBEDDED = ["natural", "l2_eps0_5"]
"""Sources that are trained here, in a minute or a few, where none of those can be fetched."""
NUMBERS_OF_BLOCKS = (0, 1, 3)  # that are fine-tuned besides the head, and `all`


@dataclass(frozen=True)
class Candidate:
    """A source that is compared."""

    card: SourceCard
    size: int  # pixels a side of the images that it takes

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def blocks(self) -> list[Blocks]:
        """The numbers of blocks that are tried; a source without pre-training is trained as a whole."""
        if self.card.classes is None:
            return ["all"]
        return [*(b for b in NUMBERS_OF_BLOCKS if b < blocks_of(self.card.architecture)), "all"]

    @property
    def own_accuracy(self) -> float:
        """Accuracy in percent on its own data, as published or else as measured here; -1 where there is none."""
        return self.card.published_accuracy or self.card.accuracy.get("test", -1.0)


@dataclass
class Gathered:
    """Sources that can be compared, and why others cannot."""

    candidates: list[Candidate] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # a reason by the name of a source


def wanted(workspace: Workspace, asked: list[str]) -> list[str]:
    """The names of the sources that are to be compared: those asked for or, without any, those that the project has at hand.

    Raises:
        RunError: for a name that is in no entry of the catalog.
    """
    for name in asked:
        params.source_entry(name)
    at_hand = sorted(path.parent.name for path in (workspace.root / sources.FOLDER).glob("*/0.json"))
    entries = set(params.entry_names(params.MODEL_CATALOG))
    return asked or [name for name in at_hand if name in entries] or [*TRIED, *EMBEDDED]


def gather(workspace: Workspace, names: list[str], seconds: Callable[[bool], float]) -> Gathered:
    """Bring every source that is to be compared; one that cannot be had is left out.

    Args:
        seconds: that may still be spent on bringing sources, with one at hand or, more, without any.

    Raises:
        RunError: where none can be had.
    """
    gathered, away = Gathered(), ""

    def left_s() -> float:
        return seconds(bool(gathered.candidates))

    for name in names:
        if names == [*TRIED, *EMBEDDED] and name in EMBEDDED and any(one.name in TRIED for one in gathered.candidates):
            continue  # those of ImageNet are there
        if not workspace.link_source(name):
            entry = params.source_entry(name)
            if left_s() <= 0 or (away and isinstance(entry, Fetched)):
                gathered.left_out[name] = "not at hand; there was no time to bring it" if left_s() <= 0 else f"not at hand; {away}"
                continue
            try:
                bring(workspace, name, entry, left_s)
            except RunError as error:
                gathered.left_out[name] = f"not at hand, and cannot be brought: {error}"
                away = "its addresses were not tried, as another could not be reached" if isinstance(entry, Fetched) else away
                log(f"recommend: {name} is left out: {error}")
                continue
        card = sources.card_of(name)
        gathered.candidates.append(Candidate(card, size_of(card)))
    if not gathered.candidates:
        reasons = "; ".join(f"{name}: {why}" for name, why in gathered.left_out.items())
        raise RunError(
            f"no source is at hand and none could be brought ({reasons}); allowed: a network, published files in models/fetched/, or "
            "sources that are trained here, such as SOURCES=natural, which takes a minute"
        )
    return gathered


def bring(workspace: Workspace, name: str, entry: AnySource, left_s: Callable[[], float]) -> None:
    """Fetch or train a source, in the workspace; raises RunError where that fails or takes too long."""
    if not isinstance(entry, Fetched | Random):
        of = catalog.dataset_entry(entry.dataset)
        size = of.native_size(IMAGENET)
        workspace.write(size)
        if not workspace.has_images(entry.dataset):
            workspace.stage("download", entry.dataset, most_s=left_s())
            workspace.stage("upscale", entry.dataset, most_s=left_s())
        workspace.write(size, source={"dataset": entry.dataset, "n_models": 1})
    else:
        workspace.write(IMAGENET)
    log(f"recommend: {'fetching' if isinstance(entry, Fetched) else 'making'} {name}")
    workspace.stage("source", name, most_s=left_s())


def size_of(card: SourceCard) -> int:
    """Pixels a side of the images that a source takes: those of its own data; of a source without any, those of the embedded sources."""
    if card.dataset is None:
        return IMAGENET if not card.architecture.startswith("small_") else 32
    if card.dataset == "imagenet":
        return IMAGENET
    return catalog.dataset_entry(card.dataset).native_size(IMAGENET)


def favourite(candidates: list[Candidate]) -> Candidate:
    """The source that a static list would take: of the highest accuracy on its own data; of equal ones the larger network."""
    return max(candidates, key=lambda one: (one.own_accuracy, blocks_of(one.card.architecture), one.name))
