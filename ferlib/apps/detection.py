"""Find faces in pictures and cut them out with the frame of FER2013.

A detector maps an image, uint8 gray (h, w) or RGB (h, w, 3), to boxes: float (n, 5) with rows (x0, y0, x1, y1, score),
in pixels of the image, best score first. Its `margin` is added on each side of a box, as a share of the box's longer
side, so that the square around it shows a face as FER2013 does.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ferlib.apps.pictures import check_image

SMALLEST = 24  # px, default height of the smallest face
MAX_SEARCH_SIDE = 1600  # px; a larger image is searched at this size, which limits time and memory
CASCADE = "haarcascade_frontalface_alt2.xml"  # the frontal cascade with the most hits and fewest false boxes
INSTALL_CV2 = 'pip install --force-reinstall --no-deps "opencv-contrib-python>=4.11,<5"'


class Detector(Protocol):
    """Finds faces; any class with these two members will do."""

    @property
    def margin(self) -> float:
        """Share of a box's longer side that is added on each side."""

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Find faces.

        Args:
            image: uint8 gray (h, w) or RGB (h, w, 3).
            smallest: height of the smallest face in pixels.

        Returns:
            Boxes, float (n, 5).
        """


@dataclass(frozen=True)
class WholeImage:
    """Takes each image for one face that is already cut out, with score 1."""

    margin: float = 0.0

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Return the box of the whole image.

        Args:
            image: uint8 gray (h, w) or RGB (h, w, 3).
            smallest: has no effect.

        Returns:
            One box, float (1, 5).
        """
        height, width = check_image(image).shape[:2]
        return np.array([[0, 0, width, height, 1]], float)


def _load_cascade() -> Any:
    """Load OpenCV's cascade of frontal faces, which OpenCV 5 lacks."""
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    cascade = cv2.CascadeClassifier(folder + CASCADE) if hasattr(cv2, "CascadeClassifier") else None
    if cascade is None or cascade.empty():
        raise ValueError(f"OpenCV {cv2.__version__} lacks its face cascade; install one that has it: {INSTALL_CV2}")
    return cascade


@dataclass(frozen=True)
class Haar:
    """Finds frontal faces by boosted Haar features.

    The score is the last stage's sum of votes. A box reaches from brow to chin. The margin was measured on drawn faces:
    the median box is 0.78 of the side of FER2013's frame. Images are searched at 1,600 px at most, where the smallest
    face is 20 px: in an image of 4,000 px, faces from 50 px on are found. Do not share one between threads.

    Source: P. Viola and M. Jones, Rapid object detection using a boosted cascade of simple features, CVPR 2001.

    Args:
        margin: share of a box's side that is added on each side.
        cascade: a `cv2.CascadeClassifier`; OpenCV's own by default.
    """

    margin: float = 0.14
    cascade: Any = field(default_factory=_load_cascade, repr=False)

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Find faces.

        Args:
            image: uint8 gray (h, w) or RGB (h, w, 3).
            smallest: height of the smallest face in pixels.

        Returns:
            Boxes, float (n, 5).
        """
        # The cascade's smallest face is 20 px. A face of `smallest` px, whose box is a little lower, becomes 28 px.
        resized, scale = _resize(to_gray(image), 28 / smallest)
        boxes, _, scores = self.cascade.detectMultiScale3(resized, 1.1, 3, minSize=(24, 24), outputRejectLevels=True)
        return _select(boxes, scores, scale)


@dataclass(frozen=True)
class YuNet:
    """Finds faces by OpenCV's small network, `cv2.FaceDetectorYN`.

    A box reaches from hairline to chin, from which the margin was computed. A score is a probability.

    Source: W. Wu, H. Peng and S. Yu, YuNet: a tiny millisecond-level face detector, 2023.

    Args:
        path: path of YuNet's .onnx file.
        margin: share of a box's longer side that is added on each side.
        least: lowest score of a face.
    """

    path: str | Path
    margin: float = 0.2
    least: float = 0.6
    network: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"{self.path} does not exist; give the path of YuNet's .onnx file, or 'haar'")
        try:
            network = cv2.FaceDetectorYN.create(str(self.path), "", (320, 320), self.least, 0.3)
            network.detect(np.zeros((320, 320, 3), np.uint8))  # fails for another network's file
        except cv2.error as error:
            raise ValueError(f"{self.path} is not a YuNet model that OpenCV can read; download it again") from error
        object.__setattr__(self, "network", network)

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Find faces.

        Args:
            image: uint8 gray (h, w) or RGB (h, w, 3).
            smallest: height of the smallest face in pixels.

        Returns:
            Boxes, float (n, 5).
        """
        image = check_image(image)
        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        resized, scale = _resize(bgr, 20 / smallest)
        self.network.setInputSize(resized.shape[1::-1])
        _, faces = self.network.detect(resized)  # box, five landmarks, score
        return np.empty((0, 5)) if faces is None else _select(faces[:, :4], faces[:, -1], scale)


def find_detector(name: str | Path) -> Detector:
    """Return the detector of a name or a YuNet file.

    Args:
        name: "haar"; "whole", where each image is a face; or the path of YuNet's .onnx file.

    Returns:
        The detector.

    Raises:
        ValueError: another name, or OpenCV lacks the cascade files.
        FileNotFoundError: YuNet's file does not exist.

    >>> find_detector("whole").detect(np.zeros((48, 64), np.uint8)).tolist()
    [[0.0, 0.0, 64.0, 48.0, 1.0]]
    """
    if name == "haar":
        return Haar()
    if name == "whole":
        return WholeImage()
    if Path(name).suffix.lower() == ".onnx":
        return YuNet(name)
    raise ValueError(f"no detector is called {str(name)!r}; allowed are haar, whole and the path of YuNet's .onnx file")


def nms(boxes: np.ndarray, *, overlap: float = 0.3) -> np.ndarray:
    """Keep the best of boxes that overlap (non-maximum suppression).

    Args:
        boxes: float (n, 5), rows (x0, y0, x1, y1, score) with scores above 0.
        overlap: largest intersection over union with a better box.

    Returns:
        The boxes that stay, (m, 5), best first.

    >>> nms(np.array([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [20, 0, 30, 10, 0.7]])).tolist()
    [[1.0, 0.0, 11.0, 10.0, 0.9], [20.0, 0.0, 30.0, 10.0, 0.7]]
    """
    corner, sides = boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]
    best = cv2.dnn.NMSBoxes(np.hstack([corner, sides]).tolist(), boxes[:, 4].tolist(), 0.0, overlap)
    return boxes[np.array(best, int).ravel()]


def crop_face(image: np.ndarray, box: np.ndarray, *, margin: float, size: int) -> np.ndarray:
    """Cut a face out as a gray square.

    The box grows by the margin on each side and becomes a square around its middle. Beyond the image, the border's
    pixels are repeated. A larger square is averaged down, a smaller one interpolated.

    Args:
        image: uint8 gray (h, w) or RGB (h, w, 3).
        box: (x0, y0, x1, y1, ...) in pixels.
        margin: share of the box's longer side.
        size: side of the result in pixels.

    Returns:
        uint8 gray (size, size).

    >>> crop_face(np.arange(16, dtype=np.uint8).reshape(4, 4), np.array([1, 1, 3, 3]), margin=0, size=2).tolist()
    [[5, 6], [9, 10]]
    """
    side = max(1, round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin)))
    left, top = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
    height, width = image.shape[:2]
    rows = np.arange(top, top + side).clip(0, height - 1)
    columns = np.arange(left, left + side).clip(0, width - 1)
    square = to_gray(image)[rows[:, None], columns]
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def to_gray(image: np.ndarray) -> np.ndarray:
    """Convert an image to gray, uint8 (h, w)."""
    image = check_image(image)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _resize(image: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """Resize an image by `scale`, less where it would be too large; also return the scale."""
    sides = image.shape[:2]
    scale = max(min(scale, MAX_SEARCH_SIDE / max(sides)), 1 / min(sides))  # to 1 px at least
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=method), scale


def _select(rectangles: np.ndarray, scores: np.ndarray, scale: float) -> np.ndarray:
    """Turn rectangles (x, y, width, height) of a resized image into the image's boxes, without duplicates."""
    corner, sides = np.split(np.reshape(np.array(rectangles, float), (-1, 4)), 2, axis=1)
    return nms(np.hstack([corner / scale, (corner + sides) / scale, np.reshape(scores, (-1, 1))]))
