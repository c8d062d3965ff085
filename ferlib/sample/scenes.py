"""Draw scenes: several drawn faces on one drawn background, and a video of one face that moves.

They stand in for photographs of people where faces have to be found: every box is known. Each person is cut out of a
drawing, gets a body, and stands in front of those who are higher up. All share one light and one camera.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from ferlib import sample
from ferlib.emotions import EMOTIONS

# fmt: off
BOX = ["x0", "y0", "x1", "y1"]
# How a person is drawn: small enough to show the shoulders, and without the effects of the scene's camera.
FRAMED: dict[str, Any] = {"scale": 0.3, "shift_x": 0.0, "shift_y": 0.0, "background": "gradient", "noise": 0.0,
                          "exposure": 1.0, "contrast": 1.0}
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
Box = tuple[float, float, float, float]
Person = Mapping[Any, Any]  # a row of factors


def draw(n: int, *, width: int = 640, height: int = 480, faces: tuple[int, int] = (1, 5),
         size: tuple[int, int] = (60, 200), seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw scenes of several people whose faces do not overlap.

    Scene i of a seed is the same whatever n is. A face for which there is no room is left out.

    Args:
        n: how many scenes.
        width: of a scene in pixels.
        height: of a scene in pixels.
        faces: the smallest and the largest number of people in a scene.
        size: the smallest and the largest height of a face in pixels.
        seed: of the random numbers.

    Returns:
        Images, uint8 gray (n, height, width), and a table with a row a face: scene, x0, y0, x1, y1 in pixels of the
        scene, and the factors of `sample.draw` (label, yaw, occlusion, ...).

    Raises:
        ValueError: the numbers do not fit each other.

    >>> images, table = draw(1, faces=(2, 2))
    >>> images.shape
    (1, 480, 640)
    """
    if n < 1 or not 1 <= faces[0] <= faces[1] or not 24 <= size[0] <= size[1] <= 0.6 * min(width, height):
        raise ValueError(f"n={n}, faces={faces}, size={size} in {width} x {height} px given; needed are n >= 1, "
                         "1 <= fewest <= most faces and 24 <= least <= most <= 0.6 of the shorter side")
    images, rows = np.empty((n, height, width), np.uint8), []
    for scene in range(n):
        rng = np.random.default_rng((seed, scene))
        placed: list[tuple[Box, Person]] = []
        camera = sample.draw(1, size=24, seed=int(rng.integers(2**31)))[1].to_dict("records")[0]
        light = {name: camera[name] for name in ("light_angle", "light_strength")}
        many, key = int(rng.integers(faces[0], faces[1] + 1)), int(rng.integers(2**31))
        people = sample.draw(many, size=24, seed=key, balance="equal", **FRAMED, **light)[1]
        canvas = _background(rng, width, height)
        for person in people.to_dict("records"):
            high = rng.uniform(*size)
            tries = (_box(person, high, *rng.uniform(0, (width, height))) for _ in range(100))
            box = next((box for box in tries if _fits(box, [other for other, _ in placed], width, height)), None)
            placed += [] if box is None else [(box, person)]
        for box, one in sorted(placed, key=lambda each: each[0][3]):  # whoever is lower stands nearer
            behind = float(canvas[round(box[1]):round(box[3]), round(box[0]):round(box[2])].mean())
            _paste(canvas, one, _cut_out(one, box[3] - box[1], behind), box)
            rows.append({"scene": scene} | dict(zip(BOX, box, strict=True)) | dict(one))
        images[scene] = _photograph(canvas, camera, rng)
    return images, pd.DataFrame(rows).drop(columns=sample.BOX_COLUMNS)


def video(path: str | Path, *, frames: int = 90, fps: float = 30.0, width: int = 640, height: int = 480,
          size: int = 160, seed: int = 0) -> pd.DataFrame:
    """Write a video of one face that moves around and shows one emotion after another.

    Args:
        path: the file, .mp4 or .avi.
        frames: how many.
        fps: frames a second.
        width: of a frame in pixels.
        height: of a frame in pixels.
        size: height of the face in pixels.
        seed: of the random numbers.

    Returns:
        A row a frame: frame, x0, y0, x1, y1 in pixels, and label (the emotion shown; neutral in between).

    Raises:
        ValueError: OpenCV cannot write the file.
    """
    path, rng, rows, cuts = Path(path), np.random.default_rng(seed), [], {}
    codec = cv2.VideoWriter.fourcc(*CODECS.get(path.suffix.lower(), "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, fps, (width, height))
    if path.suffix.lower() not in CODECS or not writer.isOpened():
        raise ValueError(f"cannot write the video {path}: give {' or '.join(CODECS)} in a folder that exists")
    drawn = sample.draw(1, size=24, seed=seed, yaw=0.0, pitch=0.0, roll=0.0, occlusion="none", **FRAMED)[1]
    person, wall = drawn.to_dict("records")[0], _background(rng, width, height)
    for frame in range(frames):
        shown, strength = EMOTIONS[frame // 60 % 6], round(8 * np.sin(np.pi * frame / 60) ** 2) / 8
        if (shown, strength) not in cuts:
            units = {unit: strength * sample.PROTOTYPES[shown].get(unit, 0.0) for unit in sample.ACTION_UNITS}
            cuts[shown, strength] = _cut_out(person | units, size, float(wall.mean()))
        room = (width / 2 - 0.6 * size, height / 2 - 0.65 * size)
        x, y = width / 2 + room[0] * np.sin(frame / 37), height / 2 + room[1] * np.sin(frame / 23)
        box, canvas = _box(person, size, x, y), wall.copy()
        _paste(canvas, person, cuts[shown, strength], box)
        writer.write(cv2.cvtColor(_photograph(canvas, person | {"noise": 2.0}, rng), cv2.COLOR_GRAY2BGR))
        label = EMOTIONS.index(shown if strength >= 0.5 else "neutral")
        rows.append({"frame": frame} | dict(zip(BOX, box, strict=True)) | {"label": label})
    writer.release()
    return pd.DataFrame(rows)


def _box(person: Person, high: float, x: float, y: float) -> Box:
    """Return the box of a person's face that is `high` px high, with its middle at x, y."""
    wide = high * (person["face_x1"] - person["face_x0"]) / (person["face_y1"] - person["face_y0"])
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def _fits(box: Box, others: list[Box], width: int, height: int) -> bool:
    """Return whether a head, hair included, lies within the scene and apart from the others."""
    grown = [((9 * x0 - x1) / 8, (6 * y0 - y1) / 5, (9 * x1 - x0) / 8, (11 * y1 - y0) / 10)
             for x0, y0, x1, y1 in (box, *others)]
    x0, y0, x1, y1 = grown[0]
    apart = (x1 < a0 or a1 < x0 or y1 < b0 or b1 < y0 for a0, b0, a1, b1 in grown[1:])
    return x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height and all(apart)


def _cut_out(person: Person, high: float, behind: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut out the head of a person whose face is `high` px high, in front of a wall of the gray `behind`.

    Returns the drawing and the matte, float32 (side, side); the matte is 1 where the head is, 0 on wall and shirt.
    """
    zoom = high / (person["face_y1"] - person["face_y0"])
    side, chin = round(24 * zoom), round(person["face_y1"] * zoom)
    # Of two walls 50 gray values apart, only the wall grows brighter; the shirt grows darker by 15, being its contrast.
    dark, bright = (sample.redraw(person, size=side, light_strength=0.0, backdrop=tone).astype(np.float32)
                    for tone in (100.0, 150.0))
    matte, shirt = 1 - np.clip((bright - dark) / 30, 0, 1), (abs(dark - bright - 15) < 6).astype(np.float32)
    shirt[:chin] = 0
    shirt[:] = cv2.dilate(cv2.morphologyEx(shirt, cv2.MORPH_OPEN, np.ones((3, 3))), np.ones((side // 20, side // 20)))
    shirt[chin:, abs(np.arange(side) - side / 2) > 0.33 * side] = 1  # shoulders, of which no edge is to be left
    matte *= 1 - cv2.blur(shirt, (3, 3))
    return sample.redraw(person, size=side, backdrop=behind).astype(np.float32), matte


def _paste(canvas: np.ndarray, person: Person, cut: tuple[np.ndarray, np.ndarray], box: Box) -> None:
    """Paste a person into a float scene in place: a body, and the cut-out head so that the face fills the box."""
    side, unit = len(cut[0]), 0.3 * len(cut[0])  # a unit is the length that faces are drawn by
    left, top = round(box[0] - person["face_x0"] * side / 24), round(box[1] - person["face_y0"] * side / 24)
    x, y, wide = left + side / 2 - unit * np.sin(np.radians(person["roll"])), top + side / 2 + 2.2 * unit, 1.5 * unit
    body = np.zeros(canvas.shape, np.uint8)
    cv2.ellipse(body, (round(x), round(y)), (round(wide), round(1.1 * unit)), 0, 180, 360, 255, -1, cv2.LINE_AA)
    cv2.rectangle(body, (round(x - wide), round(y)), (round(x + wide), len(canvas)), 255, -1)
    tone = 40 + person["texture_seed"] % 150
    shade = tone * (1 - 0.35 * np.clip((np.arange(canvas.shape[1]) - x) / wide, -1, 1) ** 2)
    canvas += cv2.GaussianBlur(body, (0, 0), 1).astype(np.float32) / 255 * (shade.astype(np.float32) - canvas)
    y0, x0 = max(top, 0), max(left, 0)
    part = canvas[y0 : top + side, x0 : left + side]
    picture, matte = (layer[y0 - top :, x0 - left :][: part.shape[0], : part.shape[1]] for layer in cut)
    part += matte * (picture - part)


def _background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a wall with framed pictures and lamps, out of focus, float32 (height, width)."""
    tones = rng.normal(rng.uniform(70, 190), 25, (2, 3)).astype(np.float32)
    wall = cv2.resize(tones, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(4, 11)):
        (x, y), (a, b) = rng.uniform(0, (width, height)).astype(int), (rng.uniform(0.03, 0.2, 2) * height).astype(int)
        tone, edge = rng.uniform(20, 235, 2)
        if rng.random() < 0.6:
            cv2.rectangle(wall, (x - a, y - b), (x + a, y + b), tone, -1)
            cv2.rectangle(wall, (x - a, y - b), (x + a, y + b), edge, int(rng.integers(2, 9)))
        else:
            cv2.circle(wall, (x, y), a, tone, -1)
    wall = cv2.GaussianBlur(wall, (0, 0), rng.uniform(1, 5) * height / 480)
    grain = rng.normal(0, 6, (height // 4 + 1, width // 4 + 1)).astype(np.float32)
    return np.clip(wall + cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC), 5, 250)


def _photograph(canvas: np.ndarray, camera: Person, rng: np.random.Generator) -> np.ndarray:
    """Return the uint8 picture of a scene, by the exposure, contrast and noise of a row of factors."""
    shot = ((canvas - 110) * camera["contrast"] + 110) * camera["exposure"]
    return np.clip(shot + camera["noise"] * rng.standard_normal(shot.shape, np.float32), 0, 255).astype(np.uint8)
