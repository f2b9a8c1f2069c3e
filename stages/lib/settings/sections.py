"""The sections of params.yaml, one per stage."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from stages.lib.machine import Precision
from stages.lib.settings.attacks import Steps
from stages.lib.settings.fields import (
    MOST_PIXELS,
    AnyNumber,
    BySize,
    BySource,
    Count,
    Fraction,
    Moments,
    Name,
    NotNegative,
    OneOrMore,
    Positive,
    Rates,
    Real,
    Seed,
    Settings,
    Size,
    TrainedPart,
    Whole,
    bounded,
    by_source,
    unique,
)  # fmt: skip
from stages.lib.settings.robustness import EvaluateRobustnessSettings


class DownloadSettings(Settings):
    timeout_s: Positive
    attempts: Count


class UpscaleSettings(Settings):
    image_size: bounded(MOST_PIXELS, 8)
    store: BySource[Literal["native", "upscaled", "whole"]]  # or by names of image sets
    shorter_side: bounded(MOST_PIXELS, 8) | None = None  # of whole images, at most; None: what the test transform cuts its square from

    @model_validator(mode="after")
    def _is_of_whole_images(self) -> "UpscaleSettings":
        if self.shorter_side is not None and ("whole" not in self.store.values() or self.shorter_side < self.image_size):
            raise ValueError("`shorter_side` with `store: whole` alone, and not below `image_size`")
        return self

    def store_of(self, dataset: str) -> str:
        """How the images of a set are stored."""
        return by_source(self.store, dataset)


class DrawSubsetsSettings(Settings):
    n_images: OneOrMore[Size]
    n_seeds: BySize[bounded(10_000)]
    first_seed: Seed
    seed_step: Count
    method: Literal["choice", "covering"]


class TrainingAttack(Steps):
    step_ratio: Annotated[Real, Field(gt=1.5, lt=4)]
    eps_hold: Fraction
    eps_ramp: Fraction


class OneCycle(Settings):
    """The learning rate rises linearly over a fraction of the steps, then falls linearly to 0."""

    kind: Literal["one_cycle"]
    warmup: Annotated[Real, Field(gt=0, lt=1)]


class Stepwise(Settings):
    """The learning rate falls to a tenth `decays` times, at equal distances (Utrera et al. 2021, A.10)."""

    kind: Literal["stepwise"]
    decays: Whole


class Piecewise(Settings):
    """The learning rate falls to a tenth at these fractions of the training (Madry et al. 2018: 0.5 and 0.75)."""

    kind: Literal["piecewise"]
    drops: list[Fraction]


class SourceSettings(Settings):
    dataset: Name
    n_models: bounded(1000)
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    nesterov: bool
    weight_decay: NotNegative
    schedule: Annotated[OneCycle | Stepwise | Piecewise, Field(discriminator="kind")]
    augmentation: Literal["none", "resized_crop", "crop_flip"]
    mixed_precision: Precision
    processes: bounded(1024) | Literal["gpus"]
    threads: bounded(1024) = 2  # of a training on a processor by one process: rounding follows from their number, and so do the weights
    attack: TrainingAttack


class KeptWeights(Settings):
    """Which cells keep their weights: those whose robustness is evaluated, and those that are only there to be taken home."""

    blocks: OneOrMore[TrainedPart]
    n_images: OneOrMore[Count]
    n_seeds: Whole
    unattacked: AnyNumber[TrainedPart] = Field(default_factory=list)  # further numbers of blocks, of which the first seed alone is kept

    def seeds_of(self, blocks: int | str) -> int:
        """How many seeds of a number of blocks keep their weights."""
        if blocks in self.blocks:
            return self.n_seeds
        return min(1, self.n_seeds) if blocks in self.unattacked else 0

    def attacks(self, blocks: int | str) -> bool:
        """Whether kept models of a number of blocks are attacked."""
        return str(blocks) in map(str, self.blocks)


class Selection(Settings):
    """By what one of several learning rates is chosen, for each source, target, number of blocks and of images."""

    by: Literal["test", "validation"]  # the accuracy on the test images, as Salman et al. (2020) published, or on validation images
    validation: Annotated[Real, Field(gt=0, le=0.5)] | None = None  # share of the training images that other runs leave out for this
    epoch: Literal["last", "best"] = "last"  # which counts: the best one by the same accuracy

    @model_validator(mode="after")
    def _has_validation_images(self) -> "Selection":
        if self.by == "validation" and self.validation is None:
            raise ValueError("Input should have a share of the training images as its key validation, such as 0.1")
        return self


def _with_kind(value: object) -> object:
    """`published` as {kind: published}."""
    return value if isinstance(value, dict | Augmentation) else {"kind": value}


def _kind_or_all(value: "Augmentation") -> Any:
    return value.kind if value.views is None else {"kind": value.kind, "views": value.views}


class Augmentation(Settings):
    """How training images are changed at random: anew in each epoch, or once to a number of views, of which each epoch takes one."""

    kind: Literal["none", "published", "resized_crop", "crop_flip"]
    views: Count | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> "Augmentation":
        if self.views is not None and self.kind == "none":
            raise ValueError("`views` of another `kind` than none, which changes no image")
        return self


class FinetuneSettings(Settings):
    epochs: BySize[Count]
    eval_every: BySize[Whole]
    batch_size: Count
    lr: BySource[Rates]
    select: Selection | None = None
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    head_init: BySource[Literal["normal", "default"]]
    frozen_batchnorm: Literal["source", "adapted", "batch"]
    normalisation: BySource[Literal["none", "source", "target", "imagenet", "published"] | Moments]
    augmentation: Annotated[Augmentation, BeforeValidator(_with_kind), PlainSerializer(_kind_or_all, return_type=Any)]
    augment_grey: bool = False  # whether grey targets are augmented, too
    mixed_precision: Precision
    resolution: bounded(MOST_PIXELS) | None
    drops: OneOrMore[Count] | None = None  # epochs after which the rate falls to a tenth; None: every third of the epochs
    keep: KeptWeights

    @model_validator(mode="after")
    def _views_are_worth_keeping(self) -> "FinetuneSettings":
        fewest, views = min(self.epochs.values()), self.augmentation.views
        if views is not None and self.frozen_batchnorm != "source":
            raise ValueError(f"`augmentation.views` with `frozen_batchnorm: source` alone, not `{self.frozen_batchnorm}`")
        if views is not None and views > fewest:
            raise ValueError(f"`augmentation.views` from 1 to {fewest}, the fewest `epochs`; beyond, no run sees all views")
        return self

    @model_validator(mode="after")
    def _drops_rise(self) -> "FinetuneSettings":
        if self.drops and [*self.drops, min(self.epochs.values())] != sorted({*self.drops, min(self.epochs.values())}):
            raise ValueError(f"`drops` that rise, each below the {min(self.epochs.values())} epochs")
        return self


class Headline(Settings):
    n_images: Count
    blocks: TrainedPart


class ReportSettings(Settings):
    """How results are compared; studies add settings of their own."""

    natural: Name
    headline: Headline


class TrackSettings(Settings):
    experiment: Annotated[str, Field(min_length=1, max_length=256)]
    models: Literal["best", "all"]  # which of the fine-tuned models that are kept are sent
    registered: Annotated[Name | None, Field(alias="register")]  # the best of each target, as <register>-<target>


class GridSettings(Settings):
    """How the runs are computed; no result depends on it."""

    executor: Literal["local", "ray"]
    address: str | None
    workers: bounded(1024) | None
    per_gpu: bounded(64)
    compile: bool = False  # on a GPU: operations are fused, which takes a minute at first
    cache_gib: NotNegative


class Params(Settings):
    """The sections that every configuration has; `studies.registry` adds those of the studies."""

    datasets: OneOrMore[Name]
    models: OneOrMore[Name]
    sources: OneOrMore[Name]
    targets: OneOrMore[Name]
    blocks: OneOrMore[TrainedPart]
    experiments: Annotated[list[Name], AfterValidator(unique)]  # what papers compute beyond fine-tuning: sections of these names
    download: DownloadSettings
    upscale: UpscaleSettings
    draw_subsets: DrawSubsetsSettings
    source: SourceSettings
    finetune: FinetuneSettings
    evaluate_robustness: EvaluateRobustnessSettings
    grid: GridSettings
    report: ReportSettings
    track: TrackSettings
