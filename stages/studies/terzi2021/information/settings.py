"""The section `information` of params.yaml: what sources know of their data and of images (Terzi et al. 2021, Figures 4 to 6)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.settings.fields import Count, Name, OneOrMore, Positive, Real, Settings, bounded


class WeightsSettings(Settings):
    """The Fisher information of the weights, over training images of the source's own data."""

    images: Count
    labels: bounded(10_000) | Literal["all"]  # drawn for each image from the source; or their expectation
    beta: Positive  # what information costs, of the noise that is put on the weights (Definition 3.4)
    prior_std: Positive  # lambda: the deviation of a weight that has no information


class RepresentationSettings(Settings):
    """The Fisher information of representation and label by the image, over test images of the source's own data."""

    images: Count
    probes: Count  # of Hutchinson's estimator, for each image


class NeighboursSettings(Settings):
    k: Count
    images: Count  # of the training images of a set, among which the neighbours of its test images are


class MapSettings(Settings):
    """t-SNE of test images, by the first model of each source."""

    images: Count
    perplexity: Annotated[Real, Field(ge=1)]

    @model_validator(mode="after")
    def _has_more_images_than_its_perplexity(self) -> "MapSettings":
        if self.perplexity >= self.images:
            raise ValueError(f"`perplexity` below the {self.images} `images`")
        return self


class InformationSettings(Settings):
    """Each source, with all of its models; a part that is absent is off."""

    sources: OneOrMore[Name]
    targets: OneOrMore[Name]  # sets whose classes the representations are to separate
    weights: WeightsSettings | None = None
    representation: RepresentationSettings | None = None
    neighbours: NeighboursSettings
    map: MapSettings | None = None
