"""Read image files of any kind: gray, square and of one size."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps


def read_image(path: Path, name: str, size: int) -> tuple[np.ndarray, bool]:
    """Read one image file as (size, size) uint8 gray, and whether it was cropped.

    Args:
        path: the file.
        name: its name in the source, for the error.
        size: side in pixels.

    Raises:
        ValueError: the image cannot be read.
    """
    try:
        with Image.open(path) as image:
            gray = _gray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read as an image ({error}); remove it or save it as 8-bit PNG") from error
    return square(gray, size), gray.shape[0] != gray.shape[1]


def _gray(image: Image.Image) -> np.ndarray:
    """Return an opened image of any kind as (h, w) uint8, upright."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise ValueError("its pixels have 32 bits")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        return ((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8)
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        background = Image.new("RGBA", upright.size, (128, 128, 128, 255))
        upright = Image.alpha_composite(background, upright.convert("RGBA"))
    return np.asarray(upright.convert("L"))


def to_gray(image: np.ndarray) -> np.ndarray:
    """Return a gray (h, w) or RGB (h, w, 3) uint8 image as gray, 0.299 R + 0.587 G + 0.114 B."""
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def square(image: np.ndarray, size: int) -> np.ndarray:
    """Return the largest centred square of an image, in another size.

    Args:
        image: gray, uint8 (h, w).
        size: side of the square in pixels; averaged over areas down, cubic up.
    """
    side = min(image.shape)
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    middle = image[top : top + side, left : left + side]
    if side == size:
        return middle
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
