"""Find and name the faces of photos, folders and videos, and draw the answers on the pictures.

recognizer = EmotionRecognizer.load("fer2013")
picture = read_image("party.jpg")                       # on Colab upload_on_colab(), of a camera next(camera_frames())
plot_answers(picture, recognizer.predict(picture))      # its faces in boxes, and a bar for each emotion
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from ferlib.apps.detection import SMALLEST, Detector, WholeImage, crop_face, find_detector
from ferlib.apps.pictures import Item, Picture, Shot, Source, list_files, read_shots, to_image
from ferlib.emotions import class_colors
from ferlib.evaluation import flip
from ferlib.models.face_model import FaceModel, device_of, face_model
from ferlib.models.files import load_model
from ferlib.plots import plot_probabilities
from ferlib.transforms import EvalTransform
from ferlib.utils import prepare_folder, require, user_path, write_whole

BOX = ["x0", "y0", "x1", "y1"]
CROP = [*BOX, "score", "roll"]  # what `EmotionRecognizer.crop` needs
BEFORE, AFTER = ["file", "frame", "time", *BOX, "roll", "score"], ["emotion", "confidence", "abstained", "error"]
FRAMINGS = (-0.04, 0.0, 0.04)  # added to the margin; the answers to the three crops are averaged
UNSURE = "#8C8C8C"  # gray
LIMITS = "It names a look, not what a person feels; its training labels are disputed. Do not judge people by it."


@dataclass(frozen=True, eq=False)
class EmotionRecognizer:
    """Goes from pictures to emotions with a detector and a model.

    The model is put into evaluation mode. Probabilities are calibrated by the temperature in the model's file (1 if it
    has none). The temperature was fitted for one view of a face; averaged views are a little less sure.

    Args:
        model: a FaceModel. It gets gray faces, also if it was trained on colour: three equal channels.
        detector: "yunet", "haar", "whole" (faces that are already cut out), a YuNet file (.onnx), or a detector.
        margin: share of a box's side that is added on each side; None takes that of the model's file, else 0, which
            frames a face as FER2013 does. `save_model(model, path, margin=0.2)` notes another framing. A face is also
            cut out a little closer and a little wider, and the three answers are averaged. For "whole" it is 0.
        threshold: confidence, 0 to 1, below which the recognizer abstains.
        views: functions of a batch whose probabilities are averaged, as in `ferlib.evaluation.VIEWS`.
        smallest: height in px of the smallest face; None takes 24, in videos a sixth of the shorter side.
        batch_size: faces that go through the model together.

    Raises:
        ValueError: threshold, margin or `smallest` is out of range, or a class has the name of a column.

    >>> recognizer = EmotionRecognizer.load("drawn", detector="whole")
    >>> recognizer.predict(np.zeros((48, 48), np.uint8))[["file", "x1", "y1", "error"]].values.tolist()
    [['image 0', 48.0, 48.0, '']]
    """

    model: FaceModel
    _: KW_ONLY
    detector: Detector = field(default_factory=find_detector)
    margin: float | None = None
    threshold: float = 0.5
    views: Sequence[Callable[[torch.Tensor], torch.Tensor] | None] = (None, flip)
    smallest: float | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        face_model(self.model, "a recognizer").eval()
        if isinstance(self.detector, str | Path):
            object.__setattr__(self, "detector", find_detector(self.detector))
        require(0 <= self.threshold <= 1, f"threshold is {self.threshold}; allowed are 0 to 1")
        margin = self.margin
        if margin is None:
            cut_out = isinstance(self.detector, WholeImage)
            margin = 0.0 if cut_out else float(self.model.about.get("margin", 0.0))
            object.__setattr__(self, "margin", margin)
        require(-0.4 <= margin <= 2, f"margin is {margin}; allowed are -0.4 to 2, a share of the box's side")
        if self.smallest is not None and not self.smallest > 0:
            raise ValueError(f"smallest is {self.smallest}; give the height of the smallest face in px, such as 24")
        if reserved := {*BEFORE, *AFTER} & {*self.model.classes}:
            raise ValueError(f"the class {min(reserved)!r} has the name of a column; rename the class")

    @classmethod
    def load(cls, weights: str | Path = "fer2013", *, network: Any = None, **options: Any) -> "EmotionRecognizer":
        """Load a model and build a recognizer with it.

        Args:
            weights: a shipped name, a model's file or a run's folder.
            network: your own `nn.Module`, as for `load_model`.
            options: the other arguments of `EmotionRecognizer`, such as `detector`.

        Returns:
            The recognizer.
        """
        return cls(load_model(weights, network=network), **options)

    def batch(self, crops: np.ndarray) -> torch.Tensor:
        """Prepare face crops for the model.

        Args:
            crops: uint8 gray (n, size, size), of the model's size.

        Returns:
            float32 (n, channels, size, size), on the model's device.
        """
        return EvalTransform(self.model.input_spec)(torch.from_numpy(crops)[:, None].to(device_of(self.model)))

    @torch.inference_mode()
    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """Compute calibrated probabilities of face crops.

        Args:
            crops: uint8 gray (n, size, size), of the model's size.

        Returns:
            float32 (n, k), one column per class.
        """
        batch = self.batch(crops)
        views = [self.model(batch if view is None else view(batch)).float().softmax(1) for view in self.views]
        return (torch.stack(views).mean(0).log() / self.model.temperature).softmax(1).cpu().numpy()

    def predict(
        self, source: Source, *, no_face: str = "nan", every: int = 1, recursive: bool = False, progress: bool = False
    ) -> pd.DataFrame:
        """Find and name the faces of pictures and videos.

        A file that cannot be read gives a row with its `error`. One picture is held in memory at a time.

        Args:
            source: an image in memory (array, tensor, Pillow's), the path of an image, folder or video, or a list of
                these; see `pictures.read_shots`.
            no_face: for a picture without a face, "nan" gives a row without numbers, "drop" none.
            every: read each `every`-th frame of a video.
            recursive: read the subfolders of a folder too.
            progress: show a progress bar.

        Returns:
            One row per face, the best first in each picture. Columns: file, frame, time (s, of a video), x0, y0, x1, y1
            (px of the upright picture), roll (degrees by which the face is turned clockwise), score (the detector's),
            one probability per class, emotion (the likeliest), confidence (its probability), abstained, error.

        Raises:
            FileNotFoundError: a path does not exist; raised before any work, of an iterator when it is reached.
            ValueError: a wrong argument.
        """
        require(no_face in ("nan", "drop"), f"no_face is {no_face!r}; allowed are nan, drop")
        require(every >= 1, f"every is {every}; give 1 or more")
        rows: list[dict[str, Any]] = []
        waiting: list[tuple[dict[str, Any], np.ndarray]] = []  # faces without a name: their rows, their crops
        for shot in tqdm(read_shots(source, every=every, recursive=recursive), unit="picture", disable=not progress):
            about = {"file": shot.file, "frame": shot.frame, "time": shot.time, "error": shot.error}
            boxes = self._find_faces(shot)
            if not len(boxes) and (shot.error or no_face == "nan"):
                rows.append(about)
            for box in boxes:
                roll = float(box[5]) if len(box) > 5 else 0.0
                rows.append(about | dict(zip(CROP, [*box[:5].tolist(), roll], strict=True)))
                waiting.append((rows[-1], self._crops(shot.image, box)))
                if len(waiting) == self.batch_size:
                    self._add_probabilities(waiting)
        self._add_probabilities(waiting)
        return self._build_table(rows)

    def crop(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Cut a face out as the model needs it.

        Args:
            image: uint8 gray (h, w) or RGB (h, w, 3).
            box: (x0, y0, x1, y1, ...) in pixels; of a table's row, `row[CROP]`, so that a face whose roll is 12 degrees
                or more becomes upright.

        Returns:
            uint8 gray (size, size).
        """
        return crop_face(image, box, margin=self.margin or 0.0, size=self.model.input_spec.size)

    def _crops(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Cut a face out in each of the framings (n, size, size)."""
        framings = (0.0,) if isinstance(self.detector, WholeImage) else FRAMINGS
        margins = [(self.margin or 0.0) + framing for framing in framings]
        return np.stack([crop_face(image, box, margin=each, size=self.model.input_spec.size) for each in margins])

    def _find_faces(self, shot: Shot) -> np.ndarray:
        """Find the boxes (n, 5 or 6) of a shot; none where there is no picture."""
        if shot.image is None:
            return np.empty((0, 5))
        smallest = SMALLEST if math.isnan(shot.time) else max(SMALLEST, min(shot.image.shape[:2]) / 6)
        smallest = self.smallest or smallest
        boxes = self.detector.detect(shot.image, smallest=smallest)
        if isinstance(self.detector, WholeImage):
            return boxes
        return boxes[boxes[:, 3] - boxes[:, 1] >= 0.75 * smallest]  # a box may be a little lower than its face

    def _add_probabilities(self, waiting: list[tuple[dict[str, Any], np.ndarray]]) -> None:
        """Add the classes' probabilities to the rows of the waiting faces, and empty the list."""
        if waiting:
            crops = np.stack([crops for _, crops in waiting])  # (faces, framings, size, size)
            probabilities = self.probabilities(crops.reshape(-1, *crops.shape[2:])).reshape(*crops.shape[:2], -1)
            for (row, _), values in zip(waiting, probabilities.mean(1).tolist(), strict=True):
                row.update(zip(self.model.classes, values, strict=True))
        waiting.clear()

    def _build_table(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """Build the table, with each face's likeliest class as its emotion."""
        classes = list(self.model.classes)
        table = pd.DataFrame(rows, columns=[*BEFORE, *classes, *AFTER])
        table = table.astype(dict.fromkeys(["time", *CROP, *classes], float))
        table["emotion"] = table[classes].dropna().idxmax(axis=1).astype(object)
        table["confidence"] = table[classes].max(axis=1)
        table["abstained"] = table["confidence"] < self.threshold
        return table


def annotate(image: Picture, rows: pd.DataFrame) -> np.ndarray:
    """Draw each face's box, emotion and confidence on a picture.

    A face on which the recognizer abstains gets a gray box and "unsure". A picture below 400 px is enlarged by a whole
    number, so that the words can be read.

    Args:
        image: a picture in memory, see `pictures.to_image`.
        rows: the picture's rows of `EmotionRecognizer.predict`; rows without a box are skipped.

    Returns:
        uint8 RGB.
    """
    classes = _classes(rows)
    colors = dict(zip(classes, class_colors(classes), strict=True))
    picture = Image.fromarray(to_image(image)).convert("RGB")
    times = max(1, math.ceil(400 / max(picture.size)))
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)
    for row in rows.dropna(subset=BOX).sort_values("x0").to_dict("records"):
        box = [times * row[edge] for edge in BOX]
        name, color = ("unsure", UNSURE) if row["abstained"] else (row["emotion"], colors[row["emotion"]])
        _draw_face(picture, box, f"{name} {row['confidence']:.0%}", color)
    return np.asarray(picture)


def plot_answers(image: Picture, rows: pd.DataFrame, *, faces: int = 4) -> Figure:
    """Draw a picture with its faces in boxes, and the probabilities of its first faces as bars.

    Args:
        image: a picture in memory, see `pictures.to_image`.
        rows: the picture's rows of `EmotionRecognizer.predict`.
        faces: the largest number of faces with bars: the largest ones, from left to right.

    Returns:
        A figure. Below it stands what the answers cannot tell.
    """
    classes, shown = _classes(rows), rows.dropna(subset=BOX)
    areas = (shown["x1"] - shown["x0"]) * (shown["y1"] - shown["y0"])
    first = shown.iloc[np.argsort(-areas.to_numpy(), kind="stable")[:faces]].sort_values("x0")
    figure = plt.figure(figsize=(11, max(4.5, 2.4 * -(-len(first) // 2) + 0.5)), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1.1, 1)) if len(first) else (figure, None)
    left, right = parts
    ax = left.subplots()
    ax.imshow(annotate(image, rows))
    ax.set(xticks=[], yticks=[], title=f"{len(shown)} face{'s' * (len(shown) != 1)} found")
    if right is not None:
        grid = right.subplots(-(-len(first) // 2), min(2, len(first)), squeeze=False).ravel()
        for number, (ax, row) in enumerate(zip(grid, first.to_dict("records"), strict=False), 1):
            plot_probabilities([row[name] for name in classes], classes=classes, ax=ax)
            ax.set_title(f"{number}: {'unsure' if row['abstained'] else row['emotion']}")
            ax.set_xticks((0, 50, 100))
        for ax in grid[len(first) :]:
            ax.set_axis_off()
    figure.supxlabel(LIMITS, fontsize=8)
    return figure


def _classes(rows: pd.DataFrame) -> list[str]:
    """Return the classes of a table: its columns between the score and the emotion."""
    columns = list(rows.columns)
    return columns[columns.index("score") + 1 : columns.index("emotion")]


def _draw_face(picture: Image.Image, box: Sequence[float], text: str, color: str) -> None:
    """Draw a box, and its text above it or, at the picture's upper edge, inside it."""
    draw, side = ImageDraw.Draw(picture), max(picture.size)
    line = max(2, round(side / 400))
    draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline="white", width=line + 2)
    draw.rectangle(list(box), outline=color, width=line)
    # As wide as the box, but neither too small to read nor too large for the picture.
    size = round(min(max((box[2] - box[0]) / 7, 11, side / 110), max(14, side / 40)))
    font = ImageFont.load_default(size)
    width, height = font.getlength(text) + size, 1.5 * size
    x = max(0, min(box[0], picture.width - width))
    y = box[1] - height if box[1] >= height else max(0, box[1])
    draw.rectangle((x, y, x + width, y + height), fill="black", outline=color)
    draw.text((x + size / 2, y + height / 2), text, fill="white", font=font, anchor="lm")


def writable_folder(folder: str | Path, source: Source = (), *, recursive: bool = False) -> Path:
    """Make a folder for new pictures, and prove that it can be written.

    Args:
        folder: the folder.
        source: the source of the pictures, as for `predict`.
        recursive: as for `predict`.

    Returns:
        The folder as a path.

    Raises:
        ValueError: the folder cannot be written, or it holds the source's own files.
    """
    folder = prepare_folder(user_path(folder))
    if folder.resolve() in {file.resolve().parent for file in list_files(source, recursive=recursive)}:
        raise ValueError(f"new pictures in {folder} would replace the source's own; give another folder")
    return folder


def annotated_names(rows: pd.DataFrame) -> pd.Series:
    """Name the annotated picture of each row of `EmotionRecognizer.predict`'s table; "" where there is none.

    It is called as its file, with the frame's number for a video; of several files of a name, the second gets "_2".
    """
    names: dict[tuple[str, int], str] = {}
    used: set[str] = set()
    for row in rows[rows["error"] == ""].itertuples():
        stem = Path(row.file).stem[:60] + ("" if math.isnan(row.time) else f"_{row.frame:06d}")
        name, number = stem, 1
        while (row.file, row.frame) not in names and name.lower() in used:
            number += 1
            name = f"{stem}_{number}"
        used.add(names.setdefault((row.file, row.frame), f"{name}.jpg")[:-4].lower())
    return pd.Series([names.get(key, "") for key in zip(rows["file"], rows["frame"], strict=True)], rows.index, str)


def save_annotated(rows: pd.DataFrame, source: Source, folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """Write the annotated pictures of a source into a folder, as JPEG.

    Args:
        rows: `EmotionRecognizer.predict`'s table of the source.
        source: the same source.
        folder: the folder, which must not hold the source's own files.
        recursive: as for `predict`.

    Returns:
        Paths of the pictures, named by `annotated_names`.

    Raises:
        ValueError: the folder cannot be written, raised before any work; or the source gave no picture of the table.
    """
    source = [source] if isinstance(source, Item) else list(source)
    folder, paths = writable_folder(folder, source, recursive=recursive), []
    named = rows.assign(annotated=annotated_names(rows))
    groups = dict(iter(named[named["annotated"] != ""].groupby(["file", "frame"], sort=False)))
    for shot in read_shots(source, recursive=recursive):
        faces = groups.get((shot.file, shot.frame))
        if faces is not None and shot.image is not None:
            picture = Image.fromarray(annotate(shot.image, faces))
            paths.append(folder / faces["annotated"].iloc[0])
            write_whole(paths[-1], partial(picture.save, format="JPEG", quality=92, subsampling=0))
    require(paths or not groups, "the source gave no picture of the table; an iterator is read once: give a list")
    return paths
