"""The sections of params.yaml of the experiments on shape and texture (Utrera et al. 2021, Section 5)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.settings.fields import Blocks, Count, Name, NotNegative, OneOrMore, Positive, Real, Settings, Size


class Degraded(Settings):
    """Targets that are the same images with less detail (Table 2)."""

    low_resolution: Name | None = None
    low_pass: Name | None = None

    @property
    def names(self) -> dict[str, str]:
        """The targets that there are, by the key of each."""
        return {key: name for key, name in self if name is not None}


class Tuning(Settings):
    """How a source is fine-tuned in these experiments, on images that are drawn from its seed, each class in proportion."""

    n_images: Size
    epochs: Count
    batch_size: Annotated[int, Field(strict=True, ge=2)]
    lr: Positive
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 0.0005
    head_init: Literal["normal", "default"] = "normal"
    frozen_batchnorm: Literal["source", "adapted", "batch"] = "source"
    augmentation: Literal["none", "published", "resized_crop", "crop_flip"] = "none"


class ShapeBiasSettings(Settings):
    """Cue-conflict images (Geirhos et al. 2019) and stylised ones (Table 1a), with sources as they are and fine-tuned on the latter."""

    sources: OneOrMore[Name]
    conflict: Name  # a set whose images have a label of their shape and one of their texture
    stylised: Name | None = None  # a set with the classes of the sources, whose textures say nothing of them
    blocks: list[Blocks] = Field(default_factory=list)  # that are fine-tuned on its images besides the head
    n_seeds: Count = 1  # of a source of several models, these take the seeds in turn
    finetuning: Tuning | None = None

    @model_validator(mode="after")
    def _can_be_fine_tuned(self) -> "ShapeBiasSettings":
        if self.blocks and (self.stylised is None or self.finetuning is None):
            raise ValueError("`stylised` and `finetuning` where there are `blocks`")
        return self

    @property
    def with_two_labels(self) -> dict[str, str]:
        """The sets whose images have to have two labels, by the keys that name them."""
        return {"conflict": self.conflict}

    @property
    def with_one_label(self) -> dict[str, str]:
        """The sets whose images have to have one label, by the keys that name them."""
        return {"stylised": self.stylised} if self.stylised else {}


class TextureAttackSettings(Settings):
    """Accuracy under PGD of sources that have learnt images rich or poor in texture (Table 1b); the attack starts at the image itself."""

    rich: Name  # the source that learnt natural images
    poor: Name  # ... stylised ones
    both: Name | None = None
    dataset: Name  # on whose test images they are attacked
    norm: Literal["l2", "linf"] = "l2"
    eps: OneOrMore[NotNegative]
    steps: Count = 3
    step_ratio: Annotated[Real, Field(gt=1)] = 2.5  # step times number of steps, over eps
    max_images: Count

    @property
    def sources(self) -> list[str]:
        return [name for name in (self.rich, self.poor, self.both) if name]

    @property
    def with_one_label(self) -> dict[str, str]:
        """The sets whose images have to have one label, by the keys that name them."""
        return {"dataset": self.dataset}


Position = Annotated[str, Field(pattern="^at_(0|[1-9][0-9]?|100)$")]  # the percentage of images whose texture is that of their class


class TextureDialSettings(Settings):
    """Shape bias and transfer of sources against how well texture told the class when they were trained."""

    dial: Annotated[dict[Position, OneOrMore[Name]], Field(min_length=2)]  # sources of several radii that learnt such images
    conflict: Name
    targets: OneOrMore[Name]
    blocks: Blocks
    n_seeds: Count
    finetuning: Tuning

    @model_validator(mode="after")
    def _is_a_dial(self) -> "TextureDialSettings":
        if len(set(self.sources)) < len(self.sources):
            raise ValueError("each source at one place of the dial")
        return self

    @property
    def with_two_labels(self) -> dict[str, str]:
        """The sets whose images have to have two labels, by the keys that name them."""
        return {"conflict": self.conflict}

    @property
    def sources(self) -> list[str]:
        return [name for names in self.dial.values() for name in names]
