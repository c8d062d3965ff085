"""Find faces: OpenCV's Haar cascade, YuNet from its file, or the whole image; and cut them out as FER2013 frames them.

A detector maps an image, uint8 gray (h, w) or RGB (h, w, 3), to boxes: floats (n, 5), a row (x0, y0, x1, y1, score) in
the image's pixels, best first. Its `margin` is the share of a box's side to add on each side of it, so that the square
around it is a face as FER2013 frames it.
"""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ferlib.doctor import CASCADE, MEND_CV2

SMALLEST = 24  # px: the lowest face that is sought unless told otherwise
PROBE = """import sys, cv2, numpy
cv2.FaceDetectorYN.create(sys.argv[1], "", (320, 320)).detect(numpy.zeros((320, 320, 3), numpy.uint8))"""
LONGEST = 1600  # px: images are searched at this length at most, so that time and memory stay bounded


class Detector(Protocol):
    """What finds faces; anything with these two will do."""

    @property
    def margin(self) -> float:
        """Share of a box's longer side to add on each side of it."""

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Boxes (n, 5) of the faces at least `smallest` px high."""


@dataclass(frozen=True)
class WholeImage:
    """Takes the image for a face that is already cut out, its one box with a score of 1."""

    margin: float = 0.0

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """The box of the image, (1, 5)."""
        high, wide = _checked(image).shape[:2]
        return np.array([[0, 0, wide, high, 1]], float)


@dataclass(frozen=True)
class Haar:
    """Frontal faces by boosted Haar features (Viola and Jones 2001); the score is the last stage's sum of votes.

    Images are searched at 1,600 px at most, where it knows no face below 20 px: in one of 4,000 px, those of 50 px and
    more are found. Its boxes reach from brow to chin. The margin was measured on drawn faces, framed as FER2013's are:
    the median box is 0.78 of the frame's side. Not to be used by two threads at once.
    """

    margin: float = 0.14
    cascade: Any = field(default=None, repr=False)  # OpenCV's own unless given

    def __post_init__(self) -> None:
        if self.cascade is None:
            object.__setattr__(self, "cascade", _load_cascade())

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Boxes (n, 5) of the faces at least `smallest` px high."""
        gray = _checked(image) if image.ndim == 2 else cv2.cvtColor(_checked(image), cv2.COLOR_RGB2GRAY)
        # The cascade knows no face below 20 px: a face of `smallest` px, whose box is a little lower, comes to 28.
        scaled, scale = _scaled(gray, 28 / smallest)
        found, _, scores = self.cascade.detectMultiScale3(scaled, 1.1, 3, minSize=(24, 24), outputRejectLevels=True)
        if not len(found):
            return np.empty((0, 5))
        corners = np.array(found, float)
        corners[:, 2:] += corners[:, :2]
        return merge(np.column_stack([corners / np.tile(scale, 2), np.ravel(scores)]))


@dataclass(frozen=True)
class YuNet:
    """Faces at any angle by OpenCV's small network (`cv2.FaceDetectorYN`), from the path of its ONNX file.

    Its boxes reach from hairline to chin, from which the margin was worked out. A score is a probability.
    """

    path: str | Path
    margin: float = 0.2
    least: float = 0.6  # score of a face
    network: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"{self.path} is not there: give the path of YuNet's .onnx file, or take 'haar'")
        # First by another Python: OpenCV ends the one that gives it some damaged files.
        command = [sys.executable, "-c", PROBE, str(self.path)]
        try:
            subprocess.run(command, capture_output=True, timeout=60, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            told = (error.stderr or b"").decode(errors="replace").split("error: ")[-1]
            told = " ".join(told.split()) or f"it does not come back from it, {type(error).__name__}"
            raise ValueError(
                f"{self.path} is no YuNet model that OpenCV can read; fetch it again ({told:.200})"
            ) from error
        network = cv2.FaceDetectorYN.create(str(self.path), "", (320, 320), self.least, 0.3)
        object.__setattr__(self, "network", network)

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Boxes (n, 5) of the faces at least `smallest` px high."""
        bgr = cv2.cvtColor(_checked(image), cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        scaled, scale = _scaled(bgr, 20 / smallest)
        self.network.setInputSize(scaled.shape[1::-1])
        _, found = self.network.detect(scaled)
        if found is None:
            return np.empty((0, 5))
        corners = np.array(found[:, :4], float)
        corners[:, 2:] += corners[:, :2]
        return merge(np.column_stack([corners / np.tile(scale, 2), found[:, -1]]))


def find_detector(name: str | Path) -> Detector:
    """The detector called `"haar"` or `"whole"` (each image is a face), or YuNet by the path of its .onnx file.

    Raises `ValueError` for another name and where OpenCV lacks its cascades (with the line that mends it),
    `FileNotFoundError` where YuNet's file is not there.
    """
    if name == "haar":
        return Haar()
    if name == "whole":
        return WholeImage()
    if Path(name).suffix.lower() == ".onnx":
        return YuNet(name)
    raise ValueError(f"no detector is called {str(name)!r}; allowed are haar, whole and the path of YuNet's .onnx file")


def merge(boxes: np.ndarray, *, overlap: float = 0.5) -> np.ndarray:
    """Boxes (n, 5) best first, without those of which a better one covers, or which cover of it, more than `overlap`.

    The share is of the smaller of the two, so that a box within another goes as well.
    """
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-boxes[:, 4], kind="stable")]:
        sides = (np.minimum(box[2:4], other[2:4]) - np.maximum(box[:2], other[:2]) for other in kept)
        areas = (min(np.prod(one[2:4] - one[:2]) for one in (box, other)) for other in kept)
        if all(np.prod(side.clip(0)) <= overlap * area for side, area in zip(sides, areas, strict=True)):
            kept.append(box)
    return np.array(kept).reshape(-1, 5)


def crop_face(image: np.ndarray, box: np.ndarray, *, margin: float, size: int) -> np.ndarray:
    """A face as uint8 gray (size, size): its box grown by `margin` on each side and squared about its middle.

    Beyond the image its border is repeated. Pixels are averaged where there are too many, else interpolated.
    """
    side = max(1, round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin)))
    x0, y0 = (round((box[low] + box[low + 2] - side) / 2) for low in (0, 1))
    high, wide = image.shape[:2]
    # What lies within the image; a box beyond it altogether gets the nearest row or column.
    left, right = (min(max(x, edge), wide - 1 + edge) for x, edge in ((x0, 0), (x0 + side, 1)))
    top, bottom = (min(max(y, edge), high - 1 + edge) for y, edge in ((y0, 0), (y0 + side, 1)))
    part = np.ascontiguousarray(image[top:bottom, left:right])
    part = part if part.ndim == 2 else cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    # Resized before it is padded: the square around a long image may be far larger than the image.
    scale = size / side
    fitted = [min(max(1, round(length * scale)), size) for length in part.shape[::-1]]
    if tuple(fitted) != part.shape[::-1]:
        part = cv2.resize(part, fitted, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    before = [min(max(0, round(gap * scale)), size - length)
              for gap, length in zip((left - x0, top - y0), fitted, strict=True)]  # fmt: skip
    after = [size - gap - length for gap, length in zip(before, fitted, strict=True)]
    return cv2.copyMakeBorder(part, before[1], after[1], before[0], after[0], cv2.BORDER_REPLICATE)


def _scaled(image: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """An image resized by `scale`, or less where it would be too long; and by how much, across and down."""
    high, wide = image.shape[:2]
    scale = min(scale, LONGEST / max(high, wide))
    to = (max(1, round(wide * scale)), max(1, round(high * scale)))
    scaled = cv2.resize(image, to, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return scaled, np.array([to[0] / wide, to[1] / high])


def _load_cascade() -> Any:
    made = getattr(cv2, "CascadeClassifier", None)
    file = Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / CASCADE
    cascade = made(str(file)) if made is not None and file.is_file() else None
    if cascade is None or cascade.empty():
        raise ValueError(f"OpenCV {cv2.__version__} lacks its cascades of faces; this mends it: {MEND_CV2}")
    return cascade


def _checked(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] == (3,)) or not image.size:
        raise ValueError(f"an image is uint8, gray (h, w) or RGB (h, w, 3); {image.dtype} {image.shape} was given")
    return image
