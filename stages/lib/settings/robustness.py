"""The sections of params.yaml about robustness: how models are attacked, and the experiments of Shafahi et al. (2020)."""

from typing import Annotated, Literal

from pydantic import Field, create_model, model_validator

from stages.lib.norms.table import NORMS, all_norms
from stages.lib.settings.attacks import AnyAttack, NormName, radii_of
from stages.lib.settings.fields import Count, Fraction, Name, NotNegative, OneOrMore, Positive, Real, Settings, Whole


class EvaluatedImages(Settings):
    max_images: Count


Radii = create_model("Radii", __base__=EvaluatedImages, **{norm.name: (radii_of(norm), None) for norm in all_norms()})
"""A list of radii for each norm, below its name; a norm that is not there is not evaluated."""


class EvaluateRobustnessSettings(Radii):
    attacks: Annotated[dict[Name, AnyAttack], Field(min_length=1)]
    check_images: Whole

    @property
    def norms(self) -> list[str]:
        """Names of the norms that are evaluated."""
        return [name for name in NORMS if getattr(self, name) is not None]

    def radii(self, norm: str) -> list[float]:
        return getattr(self, norm)

    @model_validator(mode="after")
    def _has_a_norm(self) -> "EvaluateRobustnessSettings":
        if not self.norms:
            raise ValueError(f"a list of radii for one norm or more: {', '.join(NORMS)}")
        return self


class RobustTransferSettings(Settings):
    """How robustness is measured in the sections of Shafahi et al. (2020)."""

    norm: NormName
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
    norm: NormName
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
