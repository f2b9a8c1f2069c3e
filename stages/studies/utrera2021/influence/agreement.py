"""How often the training images with the highest scores have the label of the test image (Utrera et al. 2021, Figure 7)."""

from collections.abc import Iterator

from torch import Tensor
from torch.nn.functional import normalize, one_hot

from stages.lib.curvature.head import Points
from stages.lib.curvature.influence import chunks

FIVE, THREE = 5, 3  # at least three of the first five: Section 6


def ranked(scores: Tensor, train_y: Tensor, test_y: Tensor, ranks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Training images in the order of their scores, and whether their classes help their own.

    Args:
        scores: [n_test, n_train], of each training image for some test images.

    Returns:
        places of the `ranks` training images with the highest scores, the highest first, int64 [n_test, ranks]; whether each has the
        label of the test image, bool [n_test, ranks]; whether the class with the highest mean score is that label, bool [n_test].
    """
    of_class = one_hot(train_y).double()
    top = scores.topk(ranks).indices
    means = scores @ (of_class / of_class.sum(0))  # every class has an image in a subset
    return top, train_y[top] == test_y[:, None], means.argmax(1) == test_y


def measures(same: Tensor) -> dict[str, Tensor]:
    """Of each test image, bool [n_test]: whether the first image has its label, and whether at least three of the first five do."""
    return {"first": same[:, 0], "three_of_five": same[:, :FIVE].sum(1) >= THREE}


def by_features(train: Points, test: Points) -> Iterator[tuple[slice, Tensor]]:
    """A control that no label enters: the cosine of the features of training and test images, without the 1 of the bias."""
    of_train, of_test = (normalize(points.features[:, :-1]) for points in (train, test))
    for places in chunks(len(of_test), len(of_train)):
        yield places, of_test[places] @ of_train.T


def by_labels(train: Points, test: Points) -> Iterator[tuple[slice, Tensor]]:
    """A control that no feature enters but through the prediction: the product of p - e_y of both, the gradients by the bias alone."""
    residuals = test.residuals
    for places in chunks(len(residuals), len(train.labels)):
        yield places, residuals[places] @ train.residuals.T
