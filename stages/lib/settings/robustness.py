"""Settings of attacks and of training by steps, which sections of params.yaml have in common."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.settings.fields import Count, Fraction, Name, NotNegative, Positive, Real, Settings, Whole


class Attack(Settings):
    """PGD(k) with step size alpha = c * eps / k (Utrera et al. 2021, A.2)."""

    steps: Count
    step_ratio: Annotated[Real, Field(gt=1)]


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


class MeasuredSettings(Settings):
    """How the robustness of an experiment's models is measured."""

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
