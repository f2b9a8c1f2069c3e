"""Images whose finer detail is taken away: an image set at a low resolution (Salman et al. 2020, Section 4.4 and Figure 7; Utrera et al.
2021, Table 2), or without its high frequencies (Table 2 of the latter).
"""

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from stages.lib.datasets.pictures import as_array, as_picture
from stages.lib.datasets.whole import taken

if TYPE_CHECKING:  # whose settings take the readings from here
    from stages.lib.datasets.kinds.base import Images

Reading = Literal["square", "highest", "border"]


class Reduced:
    """Images with a shorter side of `side` pixels, which are reduced when a slice of them is asked for.

    Bilinearly and with antialiasing, by Pillow, as the released code does it with torchvision's `Resize` before all that it does
    besides. An image that is smaller already is made larger, as there.
    """

    def __init__(self, x: "Images", side: int):
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


def low_passed(x: np.ndarray, size: int, reading: Reading = "square") -> np.ndarray:
    """Images without their high frequencies, each channel by itself: uint8 [n, side, side, channels], rounded and cut to 0 to 255.

    Utrera et al. (2021, Table 2) keep or drop "the top 1,024 frequencies" of 224 x 224 pixels and publish no code. Of an image's Fourier
    transform, with frequency zero in the centre, there stays, and of the result the real part:

    - `square`: the `size` x `size` lowest coefficients (32 x 32 are 1,024);
    - `highest`: all but the `size` x `size` coefficients of the greatest frequency, by distance from the centre;
    - `border`: all but the `size` rows and the `size` columns that lie furthest out, half of them on each side.

    Args:
        size: below the side of the images.
    """
    spectrum = np.fft.fft2(x, axes=(1, 2)) * _kept(x.shape[1], size, reading)[..., None]
    return np.clip(np.rint(np.fft.ifft2(spectrum, axes=(1, 2)).real), 0, 255).astype(np.uint8)


@cache
def _kept(side: int, size: int, reading: Reading) -> np.ndarray:
    """Which coefficients stay, in the order of `numpy.fft.fft2`: bool [side, side]."""
    if reading == "highest":
        frequency = np.fft.fftfreq(side)
        distance = np.hypot(frequency[:, None], frequency)
        kept = np.ones(side * side, bool)
        kept[np.argsort(-distance, axis=None, kind="stable")[: size**2]] = False
        return kept.reshape(side, side)
    stays = size if reading == "square" else side - size
    lowest = np.zeros(side, bool)
    lowest[side // 2 - stays // 2 :][:stays] = True  # about the centre, where frequency zero is
    lowest = np.fft.ifftshift(lowest)
    return lowest[:, None] & lowest
