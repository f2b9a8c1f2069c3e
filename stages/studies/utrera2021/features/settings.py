"""The sections `visualise` and `invert` of params.yaml: images that are optimised for what a source makes of them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stages.lib.settings.attacks import NormName
from stages.lib.settings.fields import Count, Name, NotNegative, OneOrMore, Positive, Settings, Whole

NOISE = "noise"  # in the place of an image set: images that begin as normal noise around grey
Layer = Literal["features", "classes"]  # the penultimate layer, which the head takes; the head itself


class Steps(Settings):
    """How images are optimised (`lib.attacks.inversion.descend`)."""

    steps: Count
    step_size: Positive  # pixel units of [0, 1] images
    decay: bool = False  # the step falls linearly; else it is the same throughout, as in the papers
    unit: bool = True  # steps of that length in the norm (Engstrom et al.); false: that times the gradient (Terzi et al.)
    norm: NormName = "l2"
    eps: Positive | None = None  # radius around the start; empty: none


class Optimised(Settings):
    """What both experiments have in common."""

    sources: OneOrMore[Name]
    n_seeds: Count  # of a source of several models, they take these in turn
    judges: list[Name]  # sources that say of what class an image is; another model than the one that it was optimised for
    descent: Steps
    start_std: NotNegative = 0.05  # of the noise around grey (Engstrom et al. 2019: 1/20)
    pictures: Whole  # that the report shows of each source

    @model_validator(mode="after")
    def _judges_are_named_once(self) -> "Optimised":
        if repeated := [name for i, name in enumerate(self.judges) if name in self.judges[:i]]:
            raise ValueError(f"`judges` that are named once, and {repeated[0]!r} is twice")
        return self


class VisualiseSettings(Optimised):
    """Features of a source as images: each is raised as far as it goes, from several starts (Utrera et al. 2021, Figure 1)."""

    start: Name  # an image set, of whose test split images are taken; or `noise`
    n_starts: Count
    layer: Layer
    features: OneOrMore[Whole] | Literal["all"]


class WeightNoise(Settings):
    """The noise of weights, beta/2 (F + beta / (2 lambda^2))^-1 (Terzi et al. 2021, Definition 3.4)."""

    variational: list[Positive] = Field(default_factory=list)  # levels beta at which it is drawn once (Algorithm 1)
    effective: list[Positive] = Field(default_factory=list)  # those at which it is drawn anew in each step (Algorithm 2)
    on: Literal["inversion", "original"] = "inversion"  # of Algorithm 2; `original`: of equation 10
    prior_std: Positive = 0.1  # lambda
    images: Count = 256  # of which F is estimated, of the training split

    @field_validator("variational", "effective")
    @classmethod
    def _once(cls, levels: list[float]) -> list[float]:
        if len(set(levels)) < len(levels):
            raise ValueError(f"levels that differ, and {levels} has one twice")
        return levels


class InvertSettings(Optimised):
    """Test images from their representations alone (Salman et al. 2020, Figure 1; Terzi et al. 2021, Figures 1, 2 and 9)."""

    targets: OneOrMore[Name]
    n_images: Annotated[Count, Field(ge=2)]
    start: Literal["noise", "image"] = NOISE  # `image`: a test image of another class
    noise: WeightNoise = WeightNoise()
