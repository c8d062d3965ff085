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
            if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                raise ValueError("its pixels have 32 bits")
            gray = to_gray(to_array(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read as an image ({error}); remove it or save it as 8-bit PNG") from error
    return square(gray, size), gray.shape[0] != gray.shape[1]


def to_array(image: Image.Image) -> np.ndarray:
    """Return Pillow's image as uint8 gray (h, w) or RGB (h, w, 3), upright; 16 bits become 8.

    Transparent pixels are laid over mid gray.

    Args:
        image: an image of any kind; of an animation, its first frame.

    Raises:
        ValueError: its pixels are fractions.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are fractions, where 8 or 16 bits are needed")
    if image.mode.startswith("I"):  # 16 bits, which some formats store in 32
        values = np.asarray(image).clip(0, 65535)
        scale = 257 if image.mode != "I" or values.max(initial=0) > 255 else 1  # in "I" 8 bits are usual, too
        return (values / scale).round().astype(np.uint8)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


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
