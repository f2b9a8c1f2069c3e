"""Settings of attacks and of training by steps, which sections of params.yaml have in common."""

from typing import Annotated, Literal

from pydantic import Field, create_model, model_validator

from stages.lib.norms.table import NORMS, all_norms
from stages.lib.settings.attacks import AnyAttack, NormName, radii_of
from stages.lib.settings.fields import Count, Fraction, Name, NotNegative, Positive, Real, Settings, Whole


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


class MeasuredSettings(Settings):
    """How the robustness of an experiment's models is measured."""

    norm: NormName
    eps: NotNegative
    max_images: Count
    attacks: Annotated[dict[Name, AnyAttack], Field(min_length=1)]


class Descent(Settings):
    """Stochastic gradient descent on a part of a network, by steps; the rate falls to a tenth at each of `drops`, fractions of them.

    Where there are `epochs`, the number of steps follows from the number of images.
    """

    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Annotated[int, Field(strict=True, ge=2)]
    lr: Positive
    drops: list[Fraction] = Field(default_factory=list)
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 0.0
    augmentation: Literal["none", "crop_flip"] = "none"

    @model_validator(mode="after")
    def _has_one_length(self) -> "Descent":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("either `steps`, or `epochs` of the training images")
        return self
