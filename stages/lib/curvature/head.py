"""The cross-entropy of a last layer, a softmax of W z + b: gradients, and their Hessian in closed form, in float64.

Of an image with features z (a 1 appended, which stands for the bias), probabilities p and label y, the gradient by W and b is
(p - e_y) x z, and the Hessian of the loss over images is the sum of (diag p - p p^T) x z z^T; x is the Kronecker product. Both are zero
along directions that all images share: adding the same to the logits of all classes changes no probability, and no image sees what lies
outside the span of the features. `Hessian` leaves these out, which is exact, so that of C classes and n images with D - 1 features it has
(C - 1) min(n, D) rows in the place of C D.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Points:
    """Images as the last layer sees them."""

    features: Tensor  # float64 [n, width + 1], 1 in the last column
    probabilities: Tensor  # float64 [n, classes]
    labels: Tensor  # int64 [n]

    @property
    def residuals(self) -> Tensor:
        """p - e_y, float64 [n, classes]; at the label minus the sum of the others, as p - 1 of a sure image is rounding."""
        place = self.labels[:, None]
        others = self.probabilities.scatter(1, place, 0.0)
        return others.scatter(1, place, -others.sum(1, keepdim=True))


def points_of(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Points:
    """Images with features [n, width], before a last layer with weight [classes, width] and bias [classes]."""
    z = torch.cat([features.double(), torch.ones(len(features), 1, dtype=torch.float64, device=features.device)], 1)
    logits = z @ torch.cat([weight.double(), bias.double()[:, None]], 1).T
    return Points(z, logits.softmax(1), labels)


def contrasts(classes: int, device: torch.device | None = None) -> Tensor:
    """Orthonormal directions of logits that change probabilities, [classes, classes - 1]: Helmert's, at right angles to (1, ..., 1)."""
    size = torch.arange(1, classes, dtype=torch.float64, device=device)
    below = torch.ones(classes, classes - 1, dtype=torch.float64, device=device).triu()
    below[1:].diagonal().copy_(-size)
    return below / (size * (size + 1)).sqrt()


class Hessian:
    """The Hessian of the summed loss of some images, on orthonormal coordinates of what they do not share.

    A vector of `size` numbers stands for [classes - 1, rank]: contrasts of classes by directions of features.
    """

    def __init__(self, points: Points):
        n, width = points.features.shape
        self.contrasts = contrasts(points.probabilities.shape[1], points.features.device)
        self.span = torch.linalg.qr(points.features.T).Q if n < width else None  # [width, n]; of more images, all directions
        self.z, _ = self.coordinates(points)  # [n, rank]
        q = points.probabilities @ self.contrasts
        spread = torch.einsum("nc,ci,cj->nij", points.probabilities, self.contrasts, self.contrasts)
        self.blocks = spread - q[:, :, None] * q[:, None, :]  # [n, classes - 1, classes - 1]

    @property
    def shape(self) -> tuple[int, int]:
        """Contrasts of classes, and directions of features."""
        return self.blocks.shape[1], self.z.shape[1]

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def coordinates(self, points: Points) -> tuple[Tensor, Tensor]:
        """Features [n, rank] and residuals [n, classes - 1] whose product is the gradient of each image, as far as H sees it."""
        return points.features if self.span is None else points.features @ self.span, points.residuals @ self.contrasts

    def times(self, vectors: Tensor) -> Tensor:  # [size, k] -> [size, k]
        """H times vectors, from the images: 4 n size k operations and 8 n (C - 1) k bytes."""
        k = vectors.shape[1]
        seen = self.z @ vectors.view(*self.shape, k).transpose(0, 1).reshape(self.shape[1], -1)  # [n, (C - 1) k]
        weighted = self.blocks @ seen.view(len(self.z), -1, k)
        return (self.z.T @ weighted.flatten(1)).view(self.shape[1], -1, k).transpose(0, 1).reshape(self.size, k)

    def dense(self) -> Tensor:
        """H as a matrix [size, size]: n size^2 operations."""
        count, rank = self.shape
        whole = self.z.new_empty(count, rank, count, rank)
        for i in range(count):
            for j in range(i + 1):
                block = self.z.T @ (self.blocks[:, i, j, None] * self.z)
                whole[i, :, j], whole[j, :, i] = block, block.T
        return whole.view(self.size, self.size)
