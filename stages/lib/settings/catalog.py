"""The entries of models/catalog.yaml, and what they share with those of data/catalog.yaml (`datasets.catalog`)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from stages.lib.settings.attacks import AnyPerturbation, NormName
from stages.lib.settings.fields import (
    MOST_PIXELS,
    Count,
    FileName,
    Md5,
    Name,
    NotNegative,
    OneOrMore,
    Percent,
    Positive,
    Real,
    Seed,
    Settings,
    Sha256Start,
    Whole,
    bounded,
)  # fmt: skip

Labels = Literal["one", "objects", "two"]
"""What an image of a set has: one label; several objects with boxes; or two labels, of its shape and of its texture."""


def _of_the_table(architecture: str) -> str:
    """The architecture as it is; raises ValueError for one of an open family, which is fetched in its own way and not trained here."""
    if "/" in architecture:
        raise ValueError(
            "Input should be an architecture of the table in docs/sources.md; networks of timm are of the kind timm, or random"
        )
    return architecture


Architecture = Annotated[str, AfterValidator(_of_the_table)]


class File(Settings):
    """A published file: its addresses, and the size and checksums that it is known by."""

    name: FileName  # on disk
    mirrors: OneOrMore[str]  # http(s)://, file:// or paths, tried in turn
    size: bounded(1 << 50) | None = None  # bytes
    sha256: Sha256Start | None = None
    md5: Md5 | None = None


class Part(Settings):
    """Some of the classes of a set: one of so many equal parts, drawn from a seed (Shafahi et al. 2020, Section 4)."""

    of: Annotated[Count, Field(ge=2)]
    number: Whole  # from 0
    seed: Seed = 0

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "Part":
        if self.number >= self.of:
            raise ValueError(f"`number` from 0 to {self.of - 1}, the last of {self.of} parts")
        return self


class Threat(Settings):
    """The ball within which a source was (or is to be) trained on perturbed images; eps in pixel units of [0, 1] images."""

    norm: NormName
    eps: NotNegative
    perturbation: AnyPerturbation | None = None  # none: the attack of params.yaml: source.attack


class Source(Settings):
    def model_seeds(self, n_models: int) -> list[int | None]:
        """The seed of each model of the source, of at most `n_models`; a source that is not trained here is one model without a seed."""
        return [None]


class Trained(Source):
    kind: Literal["trained"]
    architecture: Architecture
    dataset: Name
    part: Part | None = None  # of the classes of the dataset
    split: Name = "train"  # the images that it learns; a split of its dataset
    threat: Threat | None
    seeds: OneOrMore[Seed]  # of its models, of which params.yaml: source.n_models says how many are trained
    published_accuracy: Percent | None = None  # on the test split, of a model of this architecture, data and threat

    def model_seeds(self, n_models: int) -> list[int | None]:
        return self.seeds[:n_models]


class Published(Source):
    """Published weights: safetensors, or a checkpoint of torch or of the `robustness` library that needs no code to read."""

    dataset: Name  # on which its authors trained it
    threat: Threat | None
    file: File
    mean: Annotated[list[Real], Field(min_length=3, max_length=3)] | None = None  # where the file has no normaliser
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    published_accuracy: Percent | None = None  # on the test split of its dataset


class Fetched(Published):
    """Published weights of an architecture that the table of families has."""

    kind: Literal["fetched"]
    architecture: Architecture
    classes: Count  # outputs of its head


class Timm(Published):
    """Published weights of a network of the timm library, which knows how to preprocess images for it.

    What timm says of the network, by the tag of its weights, holds where the entry is silent: `mean`, `std`, `classes`, `image_size`.
    """

    kind: Literal["timm"]
    network: Annotated[str, Field(pattern=r"^\w+(\.\w+)?$")]  # timm's name for it, with the tag of its weights or without
    stem: Literal["convstem"] | None = None  # of Singh et al. (2023), in the place of timm's
    depth: Count | None = None  # blocks of a network that has them in one row, where it has others than timm's of this name
    image_size: bounded(MOST_PIXELS, 8) | None = None  # pixels a side at which the network sees images
    classes: Count | None = None
    licence: str | None = None  # of the weights
    threat_model: str | None = None  # in the words of RobustBench

    @property
    def architecture(self) -> str:
        """The name of its network among all architectures."""
        stem, size = f"+{self.stem}" if self.stem else "", f"@{self.image_size}" if self.image_size else ""
        return f"timm/{self.network}{stem}{f',depth={self.depth}' if self.depth else ''}{size}"


class Random(Source):
    """No pre-training: random weights, and every weight trained on the target."""

    kind: Literal["random"]
    architecture: str


AnySource = Annotated[Trained | Fetched | Timm | Random, Field(discriminator="kind")]
