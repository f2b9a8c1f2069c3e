"""The section `influence` of params.yaml: which training images help most (Utrera et al. 2021, Section 6)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.settings.fields import (
    LAST_SEED,
    AnyNumber,
    Count,
    Name,
    NotNegative,
    OneOrMore,
    Positive,
    Real,
    Seed,
    Settings,
    Whole,
    bounded,
)

Cut = Annotated[Real, Field(ge=0, lt=1)]


class Finetuned(Settings):
    """How the models are fine-tuned whose training images are asked about; as the section `finetune`, but of one schedule."""

    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    head_init: Literal["normal", "default"]
    frozen_batchnorm: Literal["source", "adapted", "batch"]
    normalisation: Literal["none", "source", "target", "imagenet", "published"]
    augmentation: Literal["none", "published", "resized_crop", "crop_flip"]
    augment_grey: bool


class InfluenceSettings(Settings):
    """Every source, fine-tuned on the same subsets of each target; and the inverses of the Hessian by which images are scored."""

    sources: OneOrMore[Name]
    targets: OneOrMore[Name]
    blocks: Whole
    n_images: Count
    n_seeds: bounded(10_000)
    first_seed: Seed
    seed_step: Count
    method: Literal["choice", "covering"]
    finetune: Finetuned
    cuts: OneOrMore[Cut]
    damping: AnyNumber[Positive]
    ranks: bounded(1000, 5)
    memory_gib: Positive

    @model_validator(mode="after")
    def _has_seeds_and_ranks(self) -> "InfluenceSettings":
        last = self.first_seed + self.seed_step * (self.n_seeds - 1)
        if last > LAST_SEED:
            raise ValueError(f"`first_seed`, `seed_step` and `n_seeds` whose last seed, now {last}, is at most {LAST_SEED}")
        if self.ranks > self.n_images:
            raise ValueError(f"`ranks`, now {self.ranks}, of at most the {self.n_images} of `n_images`")
        return self

    @property
    def seeds(self) -> list[int]:
        return [self.first_seed + self.seed_step * i for i in range(self.n_seeds)]
