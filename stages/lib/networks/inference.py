"""Passes without gradients: images through the part of a network that is frozen, and tests of the whole.

In eval mode every image is mapped by itself, so that batches may be as large as memory allows, and the activations of an image
can be kept. The size of a batch changes results by rounding alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import pixels
from stages.lib.machine import Precision
from stages.lib.networks import metrics
from stages.lib.networks.devices import device_of, lower_precision

T = TypeVar("T")
Prepare = Callable[[np.ndarray | Tensor, torch.device, int | None, int | None], Tensor]
Changed = Callable[[slice, torch.device], Tensor]  # prepared images, float32 [batch, 3, H, W], of a slice of the rows that are asked for
BATCH = 256  # images in one pass
HELD_BYTES = {"cpu": 1 << 30, "cuda": 4 << 30}  # most of a run's images or activations in memory; of more, each batch is made anew


@dataclass(frozen=True)
class View:
    """How the network sees the images of the target."""

    size: int | None = None  # pixels a side; None: as they are stored
    resolution: int | None = None  # pixels a side to which they are reduced first; None: they are not
    augmentation: str = "none"  # how they are changed at random while training: a kind that `cropping.draw` knows
    mixed_precision: Precision = False  # True: products in bfloat16, where the device has it; sums and weights are in float32
    fused: bool = False  # whether torch compiles the networks and the augmentation, whose operations are fused then
    views: int | None = None  # so many changed ones of each image, drawn once (`training.views`); None: changed anew in each epoch

    @property
    def augmented(self) -> bool:
        return self.augmentation != "none"

    def precision(self, device: torch.device) -> torch.autocast:
        """The context of torch in which images pass through the network."""
        lower = lower_precision(device, self.mixed_precision)
        return torch.autocast(device.type, lower, enabled=lower is not None)


AS_STORED = View()


class CutNetwork:
    """A network cut into a frozen and a trained part; it takes images, or activations of the frozen part."""

    def __init__(self, frozen: nn.Module | None, trained: nn.Module, view: View):
        self.frozen, self.trained, self.view = frozen or nn.Identity(), trained, view
        self.device = device_of(trained)
        if view.fused:
            fuse(self.frozen, self.trained)

    def eval(self) -> None:
        """Put both parts into eval mode."""
        self.trained.eval()
        self.frozen.eval()

    def features(self, x: np.ndarray | Tensor, prepare: Prepare | None = None) -> Tensor:
        """The input of the trained part, [batch, C, ...] with channels last in memory.

        Args:
            x: images, uint8 [batch, H, W, 1 or 3]; or kept activations, [batch, ..., C], as `frozen_activations` gives them.
            prepare: in the place of `pixels.prepare`, with the same arguments, where images are changed while training.
        """
        if x.dtype not in (np.uint8, torch.uint8):
            return unpacked(widened(of_bits(torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x, device=self.device))))
        with torch.no_grad():
            batch = (prepare or pixels.prepare)(x, self.device, self.view.size, self.view.resolution)
            with self.view.precision(self.device):
                return widened(self.frozen(batch))

    def __call__(self, x: np.ndarray | Tensor) -> Tensor:
        """Logits [batch, classes]."""
        features = self.features(x)
        with self.view.precision(self.device):
            return self.trained(features)


def fuse(*networks: nn.Module) -> None:
    """Let torch compile networks when they are called for the first time; one code serves all networks of a shape, and sizes of batches."""
    torch._dynamo.config.recompile_limit = 64  # of one module's code: every number of blocks and every mode is a version of it
    for network in networks:
        network.compile()


def accuracy(model: CutNetwork, x: np.ndarray, y: np.ndarray) -> float:
    """Percent of the images (or activations) that the network in eval mode labels correctly."""
    return metrics.scores(predictions(model, x), np.asarray(y)).accuracy


@torch.no_grad()
def predictions(model: CutNetwork, x: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """The class that the network in eval mode gives each image (or activation) of x, or of some rows of it: int64 [n].

    Of several networks at once (`nested.Nested`), whose logits are [networks, batch, classes], int64 [networks, n].
    """
    model.eval()
    n, places = (len(x), lambda batch: batch) if rows is None else (len(rows), lambda batch: rows[batch])
    return torch.cat(list(in_batches(lambda batch: model(x[places(batch)]).argmax(-1), n)), -1).cpu().numpy()


@torch.no_grad()
def frozen_activations(
    frozen: nn.Module,
    x: np.ndarray,  # uint8 [n, H, W, C]
    view: View = AS_STORED,
    rows: np.ndarray | None = None,  # of x, in any order; None: all
    changed: Changed | None = None,  # gives the images of some of the rows; None: they stay as they are
) -> Iterator[np.ndarray]:
    """Activations of the frozen part in eval mode, [batch, ..., C], batch by batch: x may be larger than memory.

    They are in float32; those that the network gives in bfloat16, as with mixed precision, are int16, which are the bits of that.
    """
    frozen.eval().to(memory_format=torch.channels_last)
    device = device_of(frozen)
    rows = np.arange(len(x)) if rows is None else rows

    def activations(places: slice) -> np.ndarray:
        batch = changed(places, device) if changed else pixels.prepare(x[rows[places]], device, view.size, view.resolution)
        with view.precision(device):
            return bits_of(packed(frozen(batch))).cpu().numpy()

    yield from in_batches(activations, len(rows))


def first_activation(frozen: nn.Module, x: np.ndarray, view: View) -> np.ndarray:
    """The activation of the first of the images, [..., C], as `frozen_activations` gives it."""
    return next(frozen_activations(frozen, x[:1], view))[0]


def bits_of(x: Tensor) -> Tensor:
    """The bits of numbers in bfloat16, which NumPy does not have, as int16; others as they are."""
    return x.view(torch.int16) if x.dtype == torch.bfloat16 else x


def of_bits(x: Tensor) -> Tensor:
    """The numbers whose bits `bits_of` gives."""
    return x.view(torch.bfloat16) if x.dtype == torch.int16 else x


def widened(x: Tensor) -> Tensor:
    """The tensor in float32, where it is a product in bfloat16; any other as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


def packed(activations: Tensor) -> Tensor:
    """Activations in the layout in which they are kept: [batch, C, H, W] becomes [batch, H, W, C], [batch, C] stays."""
    return activations.movedim(1, -1).contiguous()


def unpacked(activations: Tensor) -> Tensor:
    """Kept activations in the layout that a network takes: [batch, C, H, W], channels last in memory, or [batch, C]."""
    return activations.movedim(-1, 1)


def settled(model: CutNetwork, x: np.ndarray, rows: np.ndarray, changed: Changed | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Activations of some rows of x, and the place of each row among them: computed once, to be read in every epoch.

    Where x holds activations already, or where they would take more than HELD_BYTES, x and the rows themselves.

    Args:
        changed: as `frozen_activations` takes it.
    """
    if x.dtype != np.uint8 or first_activation(model.frozen, x, model.view).nbytes * len(rows) > HELD_BYTES[model.device.type]:
        return x, rows
    return np.concatenate(list(frozen_activations(model.frozen, x, model.view, rows, changed))), np.arange(len(rows))


@torch.no_grad()
def adapt(frozen: nn.Module, x: np.ndarray, batches: list[np.ndarray], view: View) -> None:
    """Replace the statistics of the frozen part's batch norm by those of batches of x (uint8 [n, H, W, C]), not augmented.

    All batches pass once. Every layer sees the output that the layers before it have for a batch; the mean over batches is kept.
    """
    norms = [module for module in frozen.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to say: the mean of all batches
        norm.train()
    device = device_of(frozen)
    for rows in batches:
        batch = pixels.prepare(x[rows], device, view.size, view.resolution)
        with view.precision(device):
            frozen(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def in_batches(forward: Callable[[slice], T], n: int) -> Iterator[T]:
    """Results of a forward pass on n images, `BATCH` at a time; half as many, again and again, where the device's memory is too small.

    Args:
        forward: is given the places of a batch.
    """
    size, first = BATCH, 0
    while first < n:
        try:
            done = forward(slice(first, first + size))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
        else:
            yield done
            first += size
