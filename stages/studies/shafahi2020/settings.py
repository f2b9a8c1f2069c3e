"""The sections of params.yaml of the experiments of Shafahi et al. (ICLR 2020)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stages.lib.settings.attacks import NormName
from stages.lib.settings.fields import Count, Fraction, Name, NotNegative, OneOrMore, Real, Settings, Whole
from stages.lib.settings.robustness import Descent, MeasuredSettings


class OnTargets(Settings):
    """Sources, each with every target."""

    sources: OneOrMore[Name]
    targets: OneOrMore[Name]
    measured: MeasuredSettings


class RetrainSettings(Settings):
    """The last k pieces of a source, drawn anew and trained on clean images of its own data (Shafahi et al. 2020, Section 3)."""

    sources: OneOrMore[Name]
    measured: MeasuredSettings
    k: OneOrMore[Count]
    n_seeds: Count
    training: Descent


class HeadKind(Settings):
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    batchnorm: bool = False


class TrainHeadsSettings(OnTargets):
    """Heads on a frozen source, with hidden layers as wide as its features (Shafahi et al. 2020, Sections 4 and 5)."""

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


class HardenSettings(OnTargets):
    """Three ways to a robust model of a target with few images (Shafahi et al. 2020, Section 4.2)."""

    n_per_class: OneOrMore[Count]
    n_seeds: Count
    attack: AttackWhileTraining
    from_scratch: Descent
    adversarial_finetuning: Descent
    natural_head: Descent
    pieces: Count | Literal["all"]


REFERENCES = ("frozen", "source", "distance")  # methods of learning without forgetting that no sweep over lambda_d belongs to


class WayOfLearning(Settings):
    """One way of learning without forgetting, as the paper and its code do not say the same."""

    distance: Literal["l1", "l2"]  # of the features from those of the source
    batchnorm: Literal["fixed", "affine"]  # what of it is trained besides the other weights: nothing, or scale and shift
    warm_start: Fraction
    training: Descent  # its weight decay is of kernels and matrices alone


def _names_no_reference(ways: dict) -> dict:
    """The ways as they are; raises ValueError where one is called as what the ways are compared with."""
    if taken := [name for name in ways if name in REFERENCES]:
        raise ValueError(f"Input should call no way {taken[0]!r}; allowed: any name but {', '.join(REFERENCES)}")
    return ways


class LearnWithoutForgettingSettings(OnTargets):
    """Fine-tuning that keeps the features of the source (Shafahi et al. 2020, Section 6)."""

    ways: Annotated[dict[Name, WayOfLearning], Field(min_length=1), AfterValidator(_names_no_reference)]
    lambda_d: OneOrMore[NotNegative]
    n_seeds: Count
    histogram_images: Whole
