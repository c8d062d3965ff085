"""Pixels from where they are kept, the CSV's numbers or image files of any kind: square, gray and of one size."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

FRAME = re.compile(rb"(?s)\xff[\xc0-\xcf](?=...(..)(..))")  # of a JPEG: length, bits, height, width
MOST_PIXELS = 2**25  # of an image among the data: several are decoded at a time
MOST_BYTES = 8 * MOST_PIXELS  # of its file: three colours and alpha, of 16 bits


def parse_pixels(images: list[bytes], count: int) -> np.ndarray | None:
    """All numbers of well-formed texts of `count` pixels each, uint8; None if anything is odd, for `parse_row` to see.

    The bytes in front of each blank are its number's ones, tens and hundreds: no loop over numbers is needed.
    """
    text = np.frombuffer(b" ".join(images) + b" ", np.uint8)
    digit = text - np.uint8(48)  # a blank, which is 32, wraps round to 240
    ends = np.flatnonzero(digit == 240)
    last = np.cumsum([len(image) + 1 for image in images]) - 1  # the blank behind each image
    if len(ends) != count * len(images) or (ends[count - 1 :: count] != last).any():
        return None
    ones, tens, hundreds = (digit[ends - place] for place in (1, 2, 3))
    has_tens = tens <= 9
    has_hundreds = has_tens & (hundreds <= 9)
    digits = len(ends) + has_tens.sum() + has_hundreds.sum()  # all there are, if no number has a fourth
    if (digit > 9).sum() != len(ends) or (ones > 9).any() or digits != len(text) - len(ends):
        return None
    values = ones + np.where(has_tens, tens, 0) * np.uint16(10) + np.where(has_hundreds, hundreds, 0) * np.uint16(100)
    return None if values.max() > 255 else values.astype(np.uint8)


def parse_row(text: bytes, name: str, line: int, size: int) -> np.ndarray:
    """One row's pixels (size, size) uint8, read with care; raises `ValueError` saying what is wrong with it."""
    words = text.split()
    for word in words:
        if not word.isdigit() or len(word) > 9 or int(word) > 255:
            raise ValueError(f"{name}, line {line}: pixel {shown(word)} is no whole number of 0 to 255")
    if len(words) != size * size:
        raise ValueError(f"{name}, line {line}: {len(words)} pixels where {size * size} are due")
    return np.array(words, dtype=np.uint8).reshape(size, size)


def shown(text: bytes) -> str:
    """The beginning of a text, as an error may show it."""
    return repr(text[:20].decode(errors="replace"))


def read_image(root: Path, name: str, size: int) -> tuple[np.ndarray, bool]:
    """One image file as (size, size) uint8 gray, and whether it was cropped; a `ValueError` names what is not read."""
    path, image = root / name, None
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{name} has over {MOST_BYTES:,} bytes; save it smaller")
    raw = path.read_bytes()
    claimed = _pixels_claimed(raw)
    if claimed > MOST_PIXELS:
        raise ValueError(f"{name} has over {MOST_PIXELS:,} pixels; save it smaller")
    # Alpha is told of these alone: a JPEG unchanged would lack its orientation, and a BMP's alpha is mostly idle zeros.
    unchanged = raw[:2] in (b"\x89P", b"RI", b"II", b"MM")  # PNG, WebP, TIFF
    flags = cv2.IMREAD_UNCHANGED if unchanged else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    with contextlib.suppress(cv2.error):  # raised where what follows a header is broken
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), flags) if claimed else None
    if image is None:
        raise ValueError(f"{name} cannot be read as an image; remove it or fetch it again")
    odd = raw[:1] == b"P" and re.sub(rb"#.*", b"", raw[:512]).split()[3:4] not in ([b"255"], [b"65535"])
    if odd or image.dtype not in (np.uint8, np.uint16) or (raw[:2] in (b"II", b"MM") and image.shape[2:] == (4,)):
        raise ValueError(f"{name} holds pixels of a kind that ferlib does not read "
                         f"({image.dtype} {image.shape}); convert it to an 8-bit PNG, gray or RGB")  # fmt: skip
    # Rounded in whole numbers, which for odd divisors have no halves, and need a quarter of the memory.
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.shape[2:] == (4,):
        alpha = image[..., 3:].astype(np.uint16)
        image = ((image[..., :3] * alpha + 128 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return square(image, size)


def _pixels_claimed(raw: bytes) -> int:
    """How many pixels a file's header claims, before they are decoded; 0 if it cannot be read."""
    claimed = 0
    if raw[:2] == b"\x89P" and len(raw) > 24:
        claimed = int.from_bytes(raw[16:20], "big") * int.from_bytes(raw[20:24], "big")
    elif raw[:2] == b"\xff\xd8":  # what looks like a frame's header, such as the true one, is soon looked through
        for found in FRAME.finditer(raw):
            claimed = max(claimed, int.from_bytes(found[1], "big") * int.from_bytes(found[2], "big"))
            if claimed > MOST_PIXELS:
                break
    elif raw[:2] in (b"II", b"MM"):  # a TIFF's tag that stands there twice: Pillow takes the last, OpenCV the first
        order: Any = "little" if raw[:2] == b"II" else "big"
        at = int.from_bytes(raw[4:8], order)
        tags = [
            raw[start : start + 2] for start in range(at + 2, at + 2 + 12 * int.from_bytes(raw[at : at + 2], order), 12)
        ]
        if len({*tags}) < len(tags):
            return 0
    if 0 < claimed <= MOST_PIXELS:
        return claimed
    try:
        with Image.open(io.BytesIO(raw)) as opened:
            return opened.width * opened.height
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return MOST_PIXELS + 1
    except Exception:  # a header that is not whole, or of a kind that OpenCV alone would read, however large
        return claimed


def square(image: np.ndarray, size: int) -> tuple[np.ndarray, bool]:
    """Gray (size, size) of the largest centred square of a gray or blue-green-red image, and whether that crops it."""
    high, wide = image.shape[:2]
    side = min(high, wide)
    top, left = (high - side) // 2, (wide - side) // 2
    image = image[top : top + side, left : left + side]
    if image.ndim == 3:
        image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)
    if side != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    return image, high != wide
