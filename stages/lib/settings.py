"""What to run: the sections of params.yaml, one per stage."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.fields import (
    Blocks,
    BySize,
    Count,
    Fraction,
    Name,
    NotNegative,
    OneOrMore,
    Positive,
    Real,
    Settings,
    Size,
    Whole,
)  # fmt: skip


class DownloadSettings(Settings):
    timeout_s: Positive
    attempts: Count


class UpscaleSettings(Settings):
    image_size: Annotated[int, Field(strict=True, ge=8)]
    store: Literal["native", "upscaled"]


class DrawSubsetsSettings(Settings):
    n_images: OneOrMore[Size]
    n_seeds: BySize[Count]
    first_seed: Whole
    seed_step: Count


class Attack(Settings):
    """PGD(k) with step size alpha = c * eps / k (Utrera et al. 2021, A.2)."""

    steps: Count
    step_ratio: Annotated[Real, Field(gt=1)]


class TrainingAttack(Attack):
    step_ratio: Annotated[Real, Field(gt=1.5, lt=4)]
    eps_hold: Fraction
    eps_ramp: Fraction


class OneCycle(Settings):
    """The learning rate rises linearly over a fraction of the steps, then falls linearly to 0."""

    kind: Literal["one_cycle"]
    warmup: Annotated[Real, Field(gt=0, lt=1)]


class Stepwise(Settings):
    """The learning rate falls to a tenth at equal distances, so often (Utrera et al. 2021, A.10)."""

    kind: Literal["stepwise"]
    decays: Whole


class Piecewise(Settings):
    """The learning rate falls to a tenth at these fractions of the training (Madry et al. 2018: 0.5 and 0.75)."""

    kind: Literal["piecewise"]
    drops: list[Fraction]


class SourceSettings(Settings):
    dataset: Name
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    schedule: Annotated[OneCycle | Stepwise | Piecewise, Field(discriminator="kind")]
    augmentation: Literal["none", "resized_crop", "crop_flip"]
    mixed_precision: bool
    processes: Count | Literal["gpus"]
    attack: TrainingAttack


class KeptWeights(Settings):
    """Which cells keep their weights, for the evaluation of their robustness."""

    blocks: OneOrMore[Blocks]
    n_images: OneOrMore[Count]
    n_seeds: Whole


Normalisation = Literal["source", "target"]


class FinetuneSettings(Settings):
    epochs: BySize[Count]
    eval_every: BySize[Count]
    batch_size: Count
    lr: Positive
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    head_init: Literal["normal", "default"]
    frozen_batchnorm: Literal["source", "adapted", "batch"]
    normalisation: Normalisation | dict[Name, Normalisation]
    augmentation: Literal["none", "published"]
    mixed_precision: bool
    resolution: Annotated[int, Field(strict=True, ge=1)] | None
    keep: KeptWeights


class FgsmAttack(Settings):
    """One step over the whole radius (Goodfellow et al. 2015)."""

    kind: Literal["fgsm"]


class PgdAttack(Attack):
    kind: Literal["pgd"]
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    random_start: bool = True
    restarts: Count = 1
    target: Literal["least_likely", "random"] | None = None

    @model_validator(mode="after")
    def _starts_differ(self) -> "PgdAttack":
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts of 1 where random_start is false, as every start is the same")
        return self


class RandomSearchAttack(Settings):
    """Squares at random, kept where the margin falls: it sees logits alone (Andriushchenko et al. 2020)."""

    kind: Literal["random_search"]
    queries: Count


class AutoAttackAttack(Settings):
    """An extra (Croce & Hein 2020)."""

    kind: Literal["autoattack"]
    queries: Count = 5000
    restarts: Count = 1


AnyAttack = Annotated[FgsmAttack | PgdAttack | RandomSearchAttack | AutoAttackAttack, Field(discriminator="kind")]


class EvaluateRobustnessSettings(Settings):
    max_images: Count
    l2: list[NotNegative]
    linf: list[Fraction]
    attacks: Annotated[dict[Name, AnyAttack], Field(min_length=1)]
    check_images: Whole


class RobustTransferSettings(Settings):
    """How robustness is measured in the sections of Shafahi et al. (2020)."""

    norm: Literal["l2", "linf"]
    eps: NotNegative
    max_images: Count
    attacks: Annotated[dict[Name, AnyAttack], Field(min_length=1)]


class Descent(Settings):
    """Stochastic gradient descent on a part of a network, by steps; the rate falls to a tenth at each of `drops`, fractions of them."""

    steps: Count
    batch_size: Annotated[int, Field(strict=True, ge=2)]
    lr: Positive
    drops: list[Fraction] = Field(default_factory=list)
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 0.0
    augmentation: Literal["none", "crop_flip"] = "none"


class RetrainSettings(Settings):
    """The last k pieces of a source, drawn anew and trained on clean images of its own data (Shafahi et al. 2020, Section 3)."""

    sources: list[Name]
    k: OneOrMore[Count]
    n_seeds: Count
    training: Descent


class HeadKind(Settings):
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    batchnorm: bool = False


class TrainHeadsSettings(Settings):
    """Heads on a frozen source, with hidden layers as wide as its features (Shafahi et al. 2020, Sections 4 and 5)."""

    sources: list[Name]
    targets: list[Name]
    hidden: OneOrMore[Whole]
    kinds: Annotated[dict[Name, HeadKind], Field(min_length=1)]
    n_seeds: Count
    training: Descent
    gradients: Whole


class AttackWhileTraining(Settings):
    norm: Literal["l2", "linf"]
    eps: NotNegative
    steps: Count
    step_ratio: Annotated[Real, Field(gt=1)]
    replay: Count | None


class HardenSettings(Settings):
    """Three ways to a robust model of a target with few images (Shafahi et al. 2020, Section 4.2)."""

    sources: list[Name]
    targets: list[Name]
    n_per_class: OneOrMore[Count]
    n_seeds: Count
    attack: AttackWhileTraining
    from_scratch: Descent
    adversarial_finetuning: Descent
    natural_head: Descent
    pieces: Count | Literal["all"]


class LearnWithoutForgettingSettings(Settings):
    """Fine-tuning that keeps the features of the source (Shafahi et al. 2020, Section 6)."""

    sources: list[Name]
    targets: list[Name]
    lambda_d: OneOrMore[NotNegative]
    n_seeds: Count
    warm_start: Fraction
    training: Descent
    histogram_images: Whole


class Headline(Settings):
    n_images: Count
    blocks: Blocks


class ReportSettings(Settings):
    natural: Name
    robust: Name
    bootstrap: Count
    headline: Headline
    epochs_at: OneOrMore[Count]
    similar: list[Name]
    published: dict[Literal["natural", "l2_eps3", "linf_eps4_255", "linf_eps8_255", "random_init"], Name]


class TrackSettings(Settings):
    experiment: Annotated[str, Field(min_length=1)]


class GridSettings(Settings):
    """How the runs are computed; no result depends on it."""

    executor: Literal["local", "ray"]
    address: str | None
    workers: Count | None
    per_gpu: Count
    cache_gib: NotNegative


class Params(Settings):
    datasets: OneOrMore[Name]
    models: OneOrMore[Name]
    sources: OneOrMore[Name]
    targets: OneOrMore[Name]
    blocks: OneOrMore[Blocks]
    download: DownloadSettings
    upscale: UpscaleSettings
    draw_subsets: DrawSubsetsSettings
    source: SourceSettings
    finetune: FinetuneSettings
    evaluate_robustness: EvaluateRobustnessSettings
    robust_transfer: RobustTransferSettings
    retrain: RetrainSettings
    train_heads: TrainHeadsSettings
    harden: HardenSettings
    learn_without_forgetting: LearnWithoutForgettingSettings
    grid: GridSettings
    report: ReportSettings
    track: TrackSettings
