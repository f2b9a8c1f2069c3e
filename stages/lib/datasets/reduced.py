"""Images whose finer detail is taken away: an image set at a low resolution (Salman et al. 2020, Section 4.4 and Figure 7)."""

import numpy as np
from PIL import Image

from stages.lib.datasets.kinds.base import Images
from stages.lib.datasets.pictures import as_array, as_picture
from stages.lib.datasets.whole import taken


class Reduced:
    """Images with a shorter side of `side` pixels, which are reduced when a slice of them is asked for.

    Bilinearly and with antialiasing, by Pillow, as the released code does it with torchvision's `Resize` before all that it does
    besides. An image that is smaller already is made larger, as there.
    """

    def __init__(self, x: Images, side: int):
        self._x, self._side = x, side
        height, width = (int(side * length / min(x.shape[1:3])) for length in x.shape[1:3])
        self.shape = (len(x), height, width, x.shape[-1])

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, rows: slice | np.ndarray) -> "np.ndarray | Reduced":
        """The images of a slice, reduced; of an array of places, those that are reduced when they are asked for."""
        x = self._x[rows]
        if not isinstance(rows, slice):
            return Reduced(x, self._side)
        _, height, width, channels = self.shape
        return np.stack([_resized(image, height, width) for image in x]) if len(x) else np.empty((0, height, width, channels), np.uint8)

    def whole(self, rows: slice, shorter: int) -> list[np.ndarray]:
        """The whole images of a slice, as `whole.taken` gives them, with a shorter side that is no longer than the low resolution."""
        return taken(self._x, rows, min(shorter, self._side))


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:  # uint8 [H, W, channels] -> [height, width, channels]
    return as_array(as_picture(image).resize((width, height), Image.Resampling.BILINEAR))
