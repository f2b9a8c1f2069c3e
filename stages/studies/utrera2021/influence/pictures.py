"""What the report draws of one model: the image that helps most on a test image of each class, and the matrix of all influences."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from stages.studies.utrera2021.influence.influence import Found

SEED = 0  # of the test image of each class, which is the same for every source
ROWS, COLUMNS = 400, 320  # of the matrix that is drawn, at most: evenly spaced test and training images
LIMIT, PUBLISHED = 1e-5, 10_000 * 3_200  # grey ends there in Figure 7a, of a matrix of so many influences with norm 1


def of_run(found: "Found", train_x: np.ndarray, test_x: np.ndarray) -> dict[str, Tensor]:
    """`picture/...`: of each class a test image and the training image that helps most; `matrix/...`: influences, sorted by label.

    Args:
        train_x, test_x: the images of the subset, and of the test split; uint8 [n, H, W, 1 or 3].
    """
    labels = found.test.labels.cpu().numpy()
    random = np.random.default_rng(SEED)
    chosen = np.array([random.choice(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    best = found.top[found.shown][:, 0].cpu().numpy()[chosen]
    shown = {"test": (test_x, labels, chosen), "train": (train_x, found.train.labels.cpu().numpy(), best)}
    arrays = {}
    for name, (x, y, places) in shown.items():
        arrays |= {f"picture/{name}": torch.from_numpy(np.array(x[places])), f"picture/{name}_label": torch.from_numpy(y[places])}
    return arrays | matrix(found)


def matrix(found: "Found") -> dict[str, Tensor]:
    """Influences of some training images (columns) on some test images (rows), in the order of their labels.

    A value is an influence over the root mean square of all influences, uint8: 0 at minus the limit of Figure 7a, 255 at the limit.
    """
    down, across = in_order(found.test.labels, ROWS), in_order(found.train.labels, COLUMNS)
    drawn, squares, count = torch.zeros(len(down), len(across)).double(), 0.0, 0
    for places, of_ways in found.scores([found.shown]):
        scores = of_ways[found.shown]
        squares, count = squares + float((scores**2).sum()), count + scores.numel()
        here = (down >= places.start) & (down < places.stop)
        drawn[here] = scores[(down[here] - places.start).to(scores.device)][:, across.to(scores.device)].cpu()
    limit = LIMIT * PUBLISHED**0.5 * (squares / count) ** 0.5
    grey = (127.5 + 127.5 * (drawn / limit if limit else drawn)).clamp(0, 255).round().to(torch.uint8)
    return {"matrix/grey": grey, "matrix/test": found.test.labels.cpu()[down], "matrix/train": found.train.labels.cpu()[across]}


def in_order(labels: Tensor, most: int) -> Tensor:
    """Places of at most so many images in the order of their labels, evenly spaced: int64 [min(most, n)]."""
    in_line = torch.argsort(labels.cpu(), stable=True)
    return in_line[torch.linspace(0, len(in_line) - 1, min(most, len(in_line))).round().long()]
