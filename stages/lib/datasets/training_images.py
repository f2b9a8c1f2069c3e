"""How images of a target come to a network that learns them: changed at random, and normalised, as the settings say."""

from stages.lib.datasets.sets import DatasetCard
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.settings.fields import Moments
from stages.lib.settings.sections import FinetuneSettings

PIXELS = [0.0] * 3, [1.0] * 3  # mean and std of no normalisation
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # mean and std per channel, in [0, 1]


def augmentation_of(settings: FinetuneSettings, images: DatasetCard) -> str:
    """How images of a target are changed while training; colours alone are jittered where grey images are not to be augmented."""
    is_left = settings.augmentation == "published" and images.channels == 1 and not settings.augment_grey
    return "none" if is_left else settings.augmentation


def moments_of(normalisation: str | Moments, images: DatasetCard) -> tuple[list[float], list[float]] | None:
    """Mean and std per channel that images of a target are normalised with; None: those that the source was trained with.

    Raises:
        RunError: where they are to be those that were published for the target, and there are none.
    """
    if normalisation == "published" and images.published_mean is None:
        raise RunError(f"{params.DATA_CATALOG}: {images.name}.normalisation is missing, which finetune.normalisation: published asks for")
    if isinstance(normalisation, Moments):
        return normalisation.mean, normalisation.std
    published, own = (images.published_mean, images.published_std), (images.mean, images.std)
    return {"none": PIXELS, "source": None, "target": own, "imagenet": IMAGENET, "published": published}[normalisation]
