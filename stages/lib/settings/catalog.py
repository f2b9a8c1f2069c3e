"""What exists: the entries of data/catalog.yaml and models/catalog.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.settings.attacks import AnyPerturbation, NormName
from stages.lib.settings.fields import (
    Count,
    FileName,
    Fraction,
    Md5,
    Name,
    NotNegative,
    OneOrMore,
    Percent,
    Positive,
    Real,
    Settings,
    Sha256,
    Sha256Start,
    Whole,
)  # fmt: skip


class File(Settings):
    """A file that is published elsewhere: where, and what it is known by."""

    name: FileName  # that it has on disk
    mirrors: OneOrMore[str]  # http(s)://, file:// or paths, tried in turn
    size: Count | None = None  # bytes
    sha256: Sha256Start | None = None
    md5: Md5 | None = None


class Part(Settings):
    """Some of the classes of a set: one of so many equal parts, drawn from a seed (Shafahi et al. 2020, Section 4)."""

    of: Annotated[Count, Field(ge=2)]
    number: Whole  # from 0
    seed: Whole = 0

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "Part":
        if self.number >= self.of:
            raise ValueError(f"`number` from 0 to {self.of - 1}, the last of {self.of} parts")
        return self


# data/catalog.yaml


class Dataset(Settings):
    classes: Annotated[Count, Field(ge=2)]
    channels: Literal[1, 3]
    train: Count
    test: Count
    part: Part | None = None  # of its classes; the counts are those of the whole set


class Procedural(Dataset):
    kind: Literal["procedural"]
    size: Annotated[int, Field(strict=True, ge=8)]
    seed: Whole
    clutter: Fraction
    texture_amplitude: Fraction


class Glyphs(Procedural):
    set: Literal["glyphs"]
    classes: Annotated[int, Field(strict=True, ge=2, le=24)]
    min_contrast: Annotated[Real, Field(ge=0, le=0.5)]
    texture_correlation: Fraction


class Textures(Procedural):
    set: Literal["textures"]


class Packaged(Dataset):
    """A file that an installed package carries."""

    kind: Literal["packaged"]
    package: str
    file: str
    sha256: Sha256
    reader: Literal["digits_csv"]
    split_seed: Whole


class Torchvision(Dataset):
    """Archives as their authors published them, read by a class of torchvision.datasets."""

    kind: Literal["torchvision"]
    reader: Literal["CIFAR10", "CIFAR100", "SVHN", "FashionMNIST", "KMNIST", "MNIST"]
    files: Annotated[list[File], Field(min_length=1)]


class Folder(Settings):
    """Images in sub-folders that are named after their classes: on this machine, or in archives (tar, zip).

    Counts may be left out: they are found. With `test_fraction` the class folders lie in the folder itself, and a
    stratified part of them is the test split.
    """

    kind: Literal["folder"]
    path: str | None = None  # of the folder; relative to the repository
    files: list[File] = Field(default_factory=list)
    splits: dict[Literal["train", "test"], str] = Field(default_factory=lambda: {"train": "train", "test": "test"})
    test_fraction: Annotated[Real, Field(gt=0, lt=1)] | None = None
    split_seed: Whole = 0
    channels: Literal[1, 3] = 3
    classes: Annotated[Count, Field(ge=2)] | None = None
    train: Count | None = None
    test: Count | None = None
    crop: Annotated[Real, Field(gt=0, le=1)] = 1.0  # side of the central square that is kept over the shorter side; ImageNet: 0.875
    part: Part | None = None  # of its classes; the counts are those of the whole set
    optional: bool = False  # a folder that is not there is no error, and has no images

    @model_validator(mode="after")
    def _is_somewhere(self) -> "Folder":
        if (self.path is None) == (not self.files):
            raise ValueError("either `path`, or `files` with the archives that hold it")
        return self


AnyDataset = Annotated[
    Annotated[Glyphs | Textures, Field(discriminator="set")] | Packaged | Torchvision | Folder,
    Field(discriminator="kind"),
]

# models/catalog.yaml


class Threat(Settings):
    """The ball within which a source was (or is to be) trained on perturbed images; eps in pixel units of [0, 1] images."""

    norm: NormName
    eps: NotNegative
    perturbation: AnyPerturbation | None = None  # none: as params.yaml: source.attack says


class Source(Settings):
    architecture: str


class Trained(Source):
    kind: Literal["trained"]
    dataset: Name
    part: Part | None = None  # of its classes
    threat: Threat | None
    seed: Whole


class Fetched(Source):
    """Published weights: safetensors, or a checkpoint of torch or of the `robustness` library that needs no code to read."""

    kind: Literal["fetched"]
    dataset: Name
    threat: Threat | None
    classes: Count
    file: File
    mean: Annotated[list[Real], Field(min_length=3, max_length=3)] | None = None  # where the file has no normaliser
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    published_accuracy: Percent | None = None  # on the test split of its dataset


class Random(Source):
    """No pre-training: random weights, and every weight trained on the target."""

    kind: Literal["random"]


AnySource = Annotated[Trained | Fetched | Random, Field(discriminator="kind")]
