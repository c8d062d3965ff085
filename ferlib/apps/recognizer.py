"""From pictures to emotions: find the faces of a photo, a folder or a video, name what they show, draw it on them.

recognizer = EmotionRecognizer.load("fer2013")
rows = recognizer.predict("party.jpg")     # a row a face
picture = annotate(read_image("party.jpg"), rows)
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from tqdm.auto import tqdm

from ferlib.apps.detection import SMALLEST, Detector, crop_face, find_detector
from ferlib.apps.pictures import Shot, Source, read_shots
from ferlib.emotions import class_colors
from ferlib.models import FaceModel, load_model
from ferlib.models.face_model import device_of, face_model
from ferlib.transforms import EvalTransform

BOX = ("x0", "y0", "x1", "y1")
BEFORE, AFTER = ("file", "frame", "time", *BOX, "score"), ("emotion", "confidence", "abstained", "error")
NO_FACE = ("nan", "raise", "drop")


@dataclass(frozen=True, eq=False)
class EmotionRecognizer:
    """A FaceModel with all that it needs to go from pictures to emotions; it is put into evaluation mode.

    Its probabilities are calibrated by the temperature that its file holds (1 if none), fitted for one view of a face.
    Below `threshold` it abstains: under one half it is more often wrong than right.
    """

    model: FaceModel
    _: KW_ONLY
    detector: Detector = field(default_factory=lambda: find_detector("haar"))  # or its name, as for `load`
    margin: float | None = None  # share of a box's side, added on each side; None is the detector's own
    threshold: float = 0.5  # confidence
    views: Sequence[Callable[[torch.Tensor], torch.Tensor] | None] = (None,)  # averaged: `ferlib.evaluation.VIEWS`
    smallest: float | None = None  # px of the lowest face sought; None: 24, in videos a sixth of the shorter side
    batch_size: int = 64  # faces

    def __post_init__(self) -> None:
        face_model(self.model, "a recognizer").eval()
        if isinstance(self.detector, str | Path):
            object.__setattr__(self, "detector", find_detector(self.detector))
        taken = {*BEFORE, *AFTER} & {*self.model.classes}
        holds = {
            f"the class {min(taken, default='')!r} has the name of a column; give it another": not taken,
            f"threshold is {self.threshold}; allowed are 0 to 1": 0 <= self.threshold <= 1,
            "views has none; the least is one, (None,)": bool(self.views),
            f"batch_size is {self.batch_size}; 1 is the least": self.batch_size >= 1,
            f"the model's temperature is {self.model.temperature}; it has to be above 0": self.model.temperature > 0,
        }
        if wrong := [sentence for sentence, held in holds.items() if not held]:
            raise ValueError("; ".join(wrong))

    @classmethod
    def load(
        cls,
        weights: str | Path = "fer2013",
        *,
        detector: str | Path | Detector = "haar",
        network: nn.Module | None = None,
        **options: Any,
    ) -> "EmotionRecognizer":
        """The recognizer of a shipped name, a model's file or a run's folder; `options` are the fields above.

        `detector` is "haar", "whole" (for faces already cut out), the path of YuNet's .onnx file, or one made.
        `network` is for a model of your own, as in `load_model`.
        """
        found = find_detector(detector) if isinstance(detector, str | Path) else detector
        return cls(load_model(weights, network=network), detector=found, **options)

    @property
    def columns(self) -> list[str]:
        """The columns of `predict`'s table: where a face is, a probability a class, and what it is named."""
        return [*BEFORE, *self.model.classes, *AFTER]

    @torch.inference_mode()
    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (n, k) of faces cut out to the model's size, uint8 gray (n, size, size)."""
        batch = EvalTransform(self.model.input_spec)(torch.from_numpy(crops)[:, None].to(device_of(self.model)))
        seen = [self.model(batch if view is None else view(batch)).float().softmax(1) for view in self.views]
        return (torch.stack(seen).mean(0).log() / self.model.temperature).softmax(1).cpu().numpy()

    def predict(self, source: Source, *, no_face: str = "nan", every: int = 1, progress: bool = False) -> pd.DataFrame:
        """Find and name the faces of an image (gray, RGB or RGBA array), a file, a folder, a video, or a list of them.

        Gives a row a face, the best first in each picture: file, frame, time (s, of a video), x0, y0, x1, y1 (px of
        the upright picture), score (the detector's), a probability a column for each class, emotion (the likeliest),
        confidence (its probability), abstained, error. A picture without a face gives a row without numbers, or with
        `no_face="drop"` none, or with `"raise"` a `ValueError`; a file that cannot be read, a row with its `error`. Of
        videos each `every`-th frame is taken. Faces of many pictures go through the model together, and no more than
        one picture is held at a time. Raises `FileNotFoundError` before any work for a path that is not there.
        """
        if no_face not in NO_FACE or every < 1:
            raise ValueError(f"no_face={no_face!r}, every={every}; allowed are {', '.join(NO_FACE)}, and 1 or more")
        spec, rows, waiting = self.model.input_spec, [], []  # waiting: places in rows, with their crops
        shots = read_shots(source, every=every)
        for shot in tqdm(shots, unit="picture", disable=not progress):
            about = {"file": shot.file, "frame": shot.frame, "time": shot.time, "error": shot.error}
            if shot.image is None:
                rows.append(about)
                continue
            boxes = self._detect(shot)
            if not len(boxes) and no_face == "raise":
                raise ValueError(f"{shot.file}, frame {shot.frame}, shows no face that was found; no_face='nan' or "
                                 "'drop' goes on, detector='whole' takes the image for a face")  # fmt: skip
            if not len(boxes) and no_face == "nan":
                rows.append(about)
            margin = self.detector.margin if self.margin is None else self.margin
            for box in boxes:
                waiting.append((len(rows), crop_face(shot.image, box, margin=margin, size=spec.size)))
                rows.append(about | dict(zip((*BOX, "score"), box.tolist(), strict=True)))
                if len(waiting) == self.batch_size:
                    self._name(rows, waiting)
        self._name(rows, waiting)
        return self._table(rows)

    def _table(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        table = pd.DataFrame(rows, columns=self.columns)
        return table.astype(dict.fromkeys(("time", *BOX, "score", *self.model.classes, "confidence"), float)).assign(
            emotion=table["emotion"].astype(object).where(table["emotion"].notna(), None),
            abstained=(table["confidence"].astype(float) < self.threshold),
        )

    def _detect(self, shot: Shot) -> np.ndarray:
        assert shot.image is not None
        of_video = min(shot.image.shape[:2]) / 6 if not math.isnan(shot.time) else 0
        return self.detector.detect(shot.image, smallest=self.smallest or max(SMALLEST, of_video))

    def _name(self, rows: list[dict[str, Any]], waiting: list[tuple[int, np.ndarray]]) -> None:
        """Give the waiting faces their emotions, in place, and let none wait any more."""
        found = self.probabilities(np.stack([crop for _, crop in waiting])) if waiting else ()
        for (place, _), chances in zip(waiting, found, strict=True):
            names = self.model.classes
            rows[place] |= dict(zip(names, chances.tolist(), strict=True))
            rows[place] |= {"emotion": names[chances.argmax()], "confidence": float(chances.max())}
        waiting.clear()


# ---- drawing


def annotate(image: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """The picture, RGB uint8, with each face's box, emotion, confidence and, where there is room, a bar a probability.

    A face on which the recognizer abstains is gray and called unsure. Pictures under 400 px are enlarged by a whole
    number, to have room for words. Rows without a box are passed over.
    """
    times = max(1, -(-400 // max(image.shape[:2])))
    picture = Image.fromarray(image).convert("RGB")
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)
    draw, line = ImageDraw.Draw(picture, "RGBA"), max(2, round(max(picture.size) / 400))
    faces, sized, taken = rows.dropna(subset=[*BOX]).to_dict("records"), [], []
    for row in faces:
        box = [times * row[edge] for edge in BOX]
        letter = round(min(max((box[3] - box[1]) / 9, 11, max(picture.size) / 110), max(14, max(picture.size) / 40)))
        sized.append((row, box, letter))
        taken.append((box[0], box[1] - 1.5 * letter, *box[2:]))  # with the words above it
    columns = [*map(str, rows.columns)]
    if not {"score", "emotion"} <= {*columns}:
        raise ValueError(
            f"rows have the columns {', '.join(columns):.200}; give the table of EmotionRecognizer.predict"
        )
    names = columns[columns.index("score") + 1 : columns.index("emotion")]  # of the classes
    colors = dict(zip(names, class_colors(names), strict=True))
    for (row, box, letter), outer in zip(sized, tuple(taken), strict=True):
        color, font = "#8C8C8C" if row["abstained"] else colors[row["emotion"]], ImageFont.load_default(letter)
        draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline="white", width=line + 2)
        draw.rectangle(box, outline=color, width=line)
        panel, hides = _place(outer, (8.5 * letter, (0.5 + 1.15 * len(names)) * letter), picture.size, taken)
        shown = names if hides < 0.1 or len(faces) == 1 else ()  # in a crowd the words have to do
        if shown:
            taken.append(panel)
            draw.rectangle(panel, fill=(0, 0, 0, 170))
        for i, name in enumerate(shown):
            x, y = panel[0] + 4.4 * letter, panel[1] + letter * (0.25 + 1.15 * i)
            draw.text((x - 0.3 * letter, y + 0.57 * letter), name, fill="white", font=font, anchor="rm")
            right = x + max(1, 3.8 * letter * row[name])
            draw.rectangle((x, y + 0.1 * letter, right, y + letter), fill=colors[name], outline="white")
        text = f"{'unsure' if row['abstained'] else row['emotion']} {row['confidence']:.0%}"
        wide = font.getlength(text) + letter
        x, y = min(max(box[0], 0), max(picture.width - wide, 0)), max(outer[1], 0)
        draw.rectangle((x, y, x + wide, y + 1.5 * letter), fill=color)
        draw.text((x + letter / 2, y + 0.75 * letter), text, fill=_ink(color), font=font, anchor="lm")
    return np.asarray(picture)


def _ink(color: str) -> str:
    """Black or white, whichever reads better on a color."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else "white"


def _place(outer: Sequence[float], size: tuple[float, float], room: tuple[int, int], taken: Sequence[Sequence[float]]
           ) -> tuple[tuple[float, ...], float]:  # fmt: skip
    """Where a panel beside a box (right, left, below or above, within the picture) hides least of what is taken.

    And how much that is: the sum of the shares hidden.
    """
    (x0, y0, x1, y1), (wide, high) = outer, size
    corners = [(x, y) for y in (y0, y1 - high) for x in (x1 + 4, x0 - wide - 4)]
    corners += [(x, y) for y in (y1 + 4, y0 - high - 4) for x in (x0, x1 - wide)]
    panels = []
    for corner in corners:
        x, y = (min(max(at, 0), max(end - length, 0)) for at, end, length in zip(corner, room, size, strict=True))
        panels.append((x, y, x + wide, y + high))

    def hidden(panel: tuple[float, ...]) -> float:
        a, b = np.array(panel), np.array(taken)
        shared = (np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])).clip(0).prod(1)
        return float((shared / (b[:, 2:] - b[:, :2]).prod(1)).sum())  # shares, so that small faces count as well

    best = min(panels, key=hidden)
    return best, hidden(best)


def writable_folder(folder: str | Path, source: Source = ()) -> Path:
    """The folder, made if need be; raises `ValueError` if it cannot be written, or holds files of `source`."""
    given = [source] if isinstance(source, np.ndarray | str | Path) else source
    for path in (Path(item).resolve() for item in given if not isinstance(item, np.ndarray)):
        if Path(folder).resolve() in (path, path.parent):
            raise ValueError(f"{folder} holds what was given, which new pictures of the same names would replace; "
                             "give another folder")  # fmt: skip
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"cannot write into {folder} ({error.strerror}); give another folder") from error
    return Path(folder)


def save_annotated(rows: pd.DataFrame, source: Source, folder: str | Path) -> list[Path]:
    """Write `annotate`'s pictures of all that `rows` tell of `source` into a folder, as JPEG; returns their paths.

    They are called as the source's files are, a video's with the frame's number. Raises `ValueError` before any work
    if the folder cannot be written.
    """
    target, paths = writable_folder(folder, source), []
    known = dict(iter(rows[rows["error"] == ""].groupby(["file", "frame"], sort=False)))
    for shot in read_shots(source):
        faces = known.get((shot.file, shot.frame))
        if faces is None or shot.image is None:
            continue
        stem = Path(shot.file).stem + ("" if math.isnan(shot.time) else f"_{shot.frame:06d}")
        path, again = target / f"{stem}.jpg", 1
        while path in paths:  # files of one name from several folders
            again += 1
            path = target / f"{stem}_{again}.jpg"
        Image.fromarray(annotate(shot.image, faces)).save(path, quality=92, subsampling=0)
        paths.append(path)
    return paths
