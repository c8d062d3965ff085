"""Draw faces from rows of factors: action units, person, pose, light and camera. No photograph is used.

The part functions turn a row into shapes in face units (x right, y down, eyes near y = -0.1, chin near y = 1). The
function `photograph` turns shapes into pixels.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import SimpleNamespace as Face
from typing import Any, NamedTuple

import cv2
import numpy as np

# fmt: off
ACTION_UNITS = ("au1", "au2", "au4", "au5", "au6", "au7", "au9", "au10", "au12", "au15", "au16", "au17", "au20", "au23",
                "au24", "au25", "au26")
HAIR = ("bald", "short", "parted", "long", "fringe", "curly")
OCCLUSIONS = ("none", "hand", "hat", "mask", "scarf", "strand")
BACKGROUNDS = ("gradient", "texture", "clutter")
# Every factor that `redraw` may change: (low, high) of a number, or the allowed words or truth values.
FACTORS: dict[str, tuple[Any, ...]] = dict.fromkeys(ACTION_UNITS, (0.0, 1.0)) | {
    "face_width": (0.6, 0.9), "jaw": (0.0, 1.0), "skin": (40.0, 240.0), "age": (0.0, 1.0), "eye_size": (0.7, 1.3),
    "eye_gap": (0.26, 0.4), "brow_height": (-0.08, 0.08), "brow_width": (0.02, 0.1), "nose": (0.7, 1.3),
    "lips": (0.5, 1.5), "mouth_width": (0.7, 1.3), "mouth_curve": (-0.06, 0.06), "hair": HAIR,
    "hair_tone": (5.0, 245.0), "glasses": (False, True), "beard": (0.0, 1.0), "moustache": (False, True),
    "yaw": (-45.0, 45.0), "pitch": (-30.0, 30.0), "roll": (-45.0, 45.0), "scale": (0.3, 0.6), "shift_x": (-0.2, 0.2),
    "shift_y": (-0.2, 0.2), "gaze": (-1.0, 1.0), "light_angle": (-90.0, 90.0), "light_strength": (0.0, 1.0),
    "exposure": (0.1, 1.5), "contrast": (0.2, 1.5), "background": BACKGROUNDS, "backdrop": (0.0, 255.0),
    "occlusion": OCCLUSIONS, "side": (-1, 1), "blur": (0.0, 3.0), "noise": (0.0, 60.0),
    "texture_seed": (0, 2**31 - 1), "mark": (False, True),
}
BOXES = ("face", "mouth", "eyes", "brows")
BOX_COLUMNS = [f"{part}_{edge}" for part in BOXES for edge in ("x0", "y0", "x1", "y1")]


class Stroke(NamedTuple):
    """One shape of a drawing.

    Attributes:
        layer: "skin" and "front" hold gray values; "soft" and "fine" hold shade, where 128 leaves the skin as it is.
        points: the outline (k, 2) in face units.
        tone: the gray value, or the shade.
        width: of a line; 0 fills the shape.
        part: the box that the shape belongs to, if any.
        relief: how far it stands out of the face; -1 lies flat in the plane of the ears.
    """

    layer: str
    points: np.ndarray
    tone: float
    width: float = 0.0
    part: str = ""
    relief: float = 0.0


# ---- shapes of a face
@lru_cache(maxsize=32)
def _basis(n: int) -> np.ndarray:
    """Return Catmull-Rom weights (6 * (n - 1) + 1, n) that turn n points into a smooth curve through them."""
    t, weights = np.arange(6) / 6, np.zeros((6 * (n - 1) + 1, n))
    bend = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1) / 2
    for segment, k in np.ndindex(n - 1, 4):
        weights[6 * segment : 6 * segment + 6, min(max(segment - 1 + k, 0), n - 1)] += bend[:, k]
    weights[-1, -1] = 1
    return weights


def _curve(*points: tuple[float, float]) -> np.ndarray:
    """Return a smooth curve through the points."""
    return _basis(len(points)) @ np.array(points)


_TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


def _oval(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Return an oval around (x, y)."""
    return _CIRCLE[::2] * (rx, ry) + (x, y)


def _head(f: Face) -> Iterator[Stroke]:
    """Draw neck, ears, skull, broad light and shade; AU26 drops the chin, AU6 and AU12 lift the cheeks."""
    down, neck, lift = np.maximum(_CIRCLE[:, 1], 0), 0.62 * f.face_width, 0.07 * max(f.au6, f.au12)
    x = f.face_width * np.sign(_CIRCLE[:, 0]) * np.abs(_CIRCLE[:, 0]) ** (1 - 0.3 * f.jaw * down)
    y = -0.1 + np.where(down > 0, (1.1 + 0.12 * f.au26) * down, _CIRCLE[:, 1])
    throat = np.array([(-neck, 0.5), (neck, 0.5), (neck, 1.6), (-neck, 1.6)])
    yield Stroke("skin", throat, 0.66 * f.skin, relief=-1)
    shirt = _curve((-1.6, 1.7), (-0.9, 1.3), (-neck, 1.15), (0, 1.35), (neck, 1.15), (0.9, 1.3), (1.6, 1.7))
    yield Stroke("skin", shirt, 0.3 * (255 - f.backdrop) + 40, relief=-1)
    for s in (-1, 1):
        yield Stroke("skin", _oval(s * f.face_width, 0, 0.09, 0.19), 0.8 * f.skin, relief=-1)
    skull = np.stack([x * (1 - 0.16 * (1 - f.jaw) * down**2), y], axis=1)
    yield Stroke("skin", skull, f.skin, part="face", relief=-1)
    yield Stroke("soft", _oval(0, -0.6, 0.42, 0.2), 140)
    yield Stroke("soft", _oval(0, 0.87 + 0.1 * f.au26, 0.17, 0.08), 142)
    for s in (-1, 1):
        yield Stroke("soft", _oval(s * f.eye_gap, -0.12, 0.2, 0.12), 96)
        yield Stroke("soft", _oval(s * 0.43, 0.24 - lift, 0.16, 0.12), 142 + 120 * lift)
        bag = _curve((s * 0.17, 0.08), (s * 0.33, 0.13 - lift / 2), (s * 0.5, 0.05))
        yield Stroke("fine", bag, 124 - 16 * f.age - 40 * f.au6, 0.03)
    for row in range(3):
        wide, high = 0.16 + 0.26 * f.au2, -0.56 - 0.1 * row
        wrinkle = _curve((-wide, high + 0.04), (0, high), (wide, high + 0.04))
        yield Stroke("fine", wrinkle, 128 - 60 * max(f.au1, f.au2) - 14 * f.age, 0.02)
    if f.beard:
        edge = [(-0.62, 0.2), (-0.45, 0.45), (0, 0.4), (0.45, 0.45), (0.62, 0.2)]
        beard = _curve(*edge, (0.45, 0.85), (0, 1.08), (-0.45, 0.85), (-0.62, 0.2))
        yield Stroke("soft", beard, 128 - 62 * f.beard)


def _eyes(f: Face) -> Iterator[Stroke]:
    """Draw eyeballs between two lids; AU5 raises the upper lid, AU6 and AU7 the lower one, and AU9 narrows the eye."""
    half, y, slant = 0.165 * f.eye_size, -0.1, 0.03 * f.au1 * f.au4  # in sadness the inner corners rise
    up = 0.078 * f.eye_size * max(1 + 0.85 * f.au5 - 0.35 * f.au7 - 0.25 * f.au6 - 0.3 * f.au9, 0.25)
    low = 0.052 * f.eye_size * max(1 + 0.25 * f.au5 - 0.8 * f.au7 - 0.7 * f.au6 - 0.5 * f.au9, 0.1)
    for s in (-1, 1):
        x, step = s * f.eye_gap, 0.4 * s * half
        inner, outer = (x - s * half, y + 0.01 - slant), (x + s * half, y - 0.005 + 0.5 * slant)
        top = _curve(inner, (x - step, y - up - slant), (x + step, y - up), outer)
        bottom = _curve(outer, (x + step, y + low), (x - step, y + low), inner)
        yield Stroke("skin", np.concatenate([top, bottom]), 150 + 0.4 * f.skin, part="eyes")
        for offset, high, radius, tone in ((0, 0.012, 0.078, 70), (0, 0.012, 0.04, 12), (0.025, 0.04, 0.018, 250)):
            yield Stroke("skin", _oval(x + 0.05 * f.gaze + offset, y - high, radius, radius), tone)
        # Skin with the opening as a hole covers again what lies beyond the lids.
        socket = np.concatenate([_oval(x, y, -0.23 * s, 0.15), [(x - 0.23 * s, y)], top, bottom, top[:1]])
        yield Stroke("skin", socket, f.skin)
        yield Stroke("skin", top, 0.25 * f.skin, 0.034)
        yield Stroke("skin", bottom, 0.62 * f.skin, 0.016)
        yield Stroke("fine", top - np.array([0, 0.05 - 0.025 * f.au5]), 96, 0.02)
        yield Stroke("fine", bottom + np.array([0, 0.045]), 122 - 60 * max(f.au7, f.au6), 0.022)
        for k in (-1, 0, 1):  # crow's feet
            foot = np.array([(x + s * 0.2, y + 0.02 + 0.03 * k), (x + s * 0.32, y + 0.03 + 0.08 * k)])
            yield Stroke("fine", foot, 128 - 60 * f.au6 - 16 * f.age, 0.018)


def _brows(f: Face) -> Iterator[Stroke]:
    """Draw the brows: AU1 raises the inner end, AU2 the outer, AU4 lowers and knits them; AU1 with AU4 slants them."""
    y, knit, thick = -0.37 - f.brow_height, 0.06 * f.au4, f.brow_width / 2
    inner = y - 0.15 * f.au1 + 0.16 * f.au4 * (1 - 0.8 * f.au1) + 0.1 * f.au9
    middle = y - 0.05 - 0.07 * f.au1 - 0.13 * f.au2 + 0.13 * f.au4 * (1 - 0.4 * f.au1) + 0.08 * f.au9
    outer = y + 0.02 - 0.15 * f.au2 + 0.05 * f.au1 * (1 - f.au2) + 0.02 * f.au4
    for s in (-1, 1):
        upper, lower = (_curve((s * (0.12 - knit), inner + edge), (s * (0.3 - knit), middle + edge), (s * 0.53, outer))
                        for edge in (-thick, thick))
        yield Stroke("skin", np.concatenate([upper, lower[::-1]]), min(0.9 * f.hair_tone, 0.5 * f.skin), part="brows")
        furrow = _curve((s * 0.05, inner - 0.06), (s * 0.035, inner + 0.04), (s * 0.06, inner + 0.12))
        yield Stroke("fine", furrow, 128 - 85 * f.au4 - 10 * f.age, 0.025)
        yield Stroke("soft", _oval(s * 0.2, inner + 0.1, 0.1, 0.06), 96 - 40 * f.au4)


def _nose(f: Face) -> Iterator[Stroke]:
    """Draw nose and folds: AU9 wrinkles the root and lifts the wings, AU10 and AU12 deepen the folds."""
    y, dark = 0.27 - 0.06 * f.au9 - 0.02 * f.au10, 34 * f.light_strength * np.sin(np.radians(f.light_angle))
    yield Stroke("soft", _oval(0, 0.0, 0.04, 0.22), 156, relief=0.1)
    yield Stroke("soft", _oval(0, y + 0.08, 0.104 * f.nose, 0.03), 84)
    for s in (-1, 1):
        wide = s * 0.13 * f.nose * (1 + 0.15 * f.au9 + 0.15 * f.au12)
        flank = _curve((s * 0.06, -0.15), (s * 0.07, 0.05), (wide, y - 0.02))
        yield Stroke("soft", flank, 104 - s * dark, 0.06, relief=0.08)
        wing = _curve((wide * 0.8, y - 0.09), (wide * 1.1, y - 0.02), (wide * 0.8, y + 0.04))
        yield Stroke("fine", wing, 70, 0.024, relief=0.08)
        yield Stroke("skin", _oval(0.52 * wide, y + 0.025, 0.045, 0.022), 0.3 * f.skin, relief=0.12)
        fold = _curve((1.15 * wide, y - 0.05), (s * (0.3 + 0.05 * f.au12), 0.4), (s * (0.36 + 0.06 * f.au12), 0.56))
        yield Stroke("fine", fold, 124 - 10 * f.age - 65 * max(0.9 * f.au12, 1.1 * f.au9, 0.8 * f.au10), 0.032)
        for k in range(3):
            crease = np.array([(s * 0.02, -0.14 + 0.07 * k), (s * 0.13, -0.2 + 0.07 * k)])
            yield Stroke("fine", crease, 128 - 105 * f.au9, 0.028)


def _mouth(f: Face) -> Iterator[Stroke]:
    """Lips, teeth, chin: AU12 lifts, AU15 lowers, AU20 stretches the corners; AU25, AU26 open, AU23, AU24 press."""
    slack = f.au26 * (1 - f.au12) * (1 - f.au20)  # a jaw that just drops makes the mouth round
    half = 0.27 * f.mouth_width * (1 + 0.28 * f.au12 + 0.3 * f.au20 - 0.14 * f.au23 - 0.25 * slack)
    corner = 0.56 - 0.03 * f.au17 + f.mouth_curve - 0.14 * f.au12 + 0.13 * f.au15 + 0.05 * f.au20 + 0.08 * slack
    gap = 0.07 * f.au25 * (1 - 0.7 * f.au24) + 0.3 * f.au26
    top = 0.56 - 0.03 * f.au17 - 0.2 * gap - 0.075 * f.au10 - 0.04 * f.au9 + 0.02 * f.au12 - 0.03 * f.au15
    bottom = top + gap + 0.04 * f.au16 * min(1, 10 * gap) + 0.05 * f.au10 * f.au25
    press = max(1 - 0.35 * f.au23 - 0.5 * f.au24 - 0.25 * f.au12 - 0.2 * f.au20, 0.2)
    thick, square = 0.06 * f.lips * press, 0.82 + 0.18 * max(f.au20, f.au10)

    def arc(mid: float, bow: float = 0.0) -> np.ndarray:
        side, bowed = (0.55 * half, corner + (mid - corner) * square), (0.15 * half, mid - bow)
        left = [(-half, corner), (-side[0], side[1]), (-bowed[0], bowed[1])]
        return _curve(*left, (0, mid), bowed, side, (half, corner))

    upper, over, under = arc(top - thick, 0.018 * press), arc(top), arc(bottom)
    lower = arc(bottom + 1.3 * thick - 0.02 * f.au17)
    yield Stroke("skin", np.concatenate([over, lower[::-1]]), 0.7 * f.skin, part="mouth")
    yield Stroke("skin", np.concatenate([upper, over[::-1]]), 0.56 * f.skin, part="mouth")
    yield Stroke("skin", np.concatenate([over, under[::-1]]), 22)
    yield Stroke("skin", over, 0.22 * f.skin, 0.022)
    yield Stroke("soft", _oval(0, bottom + 1.3 * thick + 0.07, 0.6 * half, 0.03), 92 - 20 * f.au17)
    yield Stroke("fine", _curve((-0.14, 0.84), (0, 0.77 - 0.03 * f.au17), (0.14, 0.84)), 126 - 62 * f.au17, 0.025)
    if gap > 0.025:
        teeth = min(0.75 * gap, 0.075) * (1 if max(f.au12, f.au20, f.au10) > 0.2 else 0.4)
        edge = np.stack([over[4:-4, 0], np.minimum(over[4:-4, 1] + teeth, under[4:-4, 1])], axis=1)
        yield Stroke("skin", np.concatenate([over[4:-4], edge[::-1]]), 225)
        if f.au16 > 0.25 or f.au20 > 0.4:  # a lowered or stretched lip bares the lower teeth too
            yield Stroke("skin", np.concatenate([under[8:-8] - (0, 0.25 * gap), under[-9:7:-1]]), 190)
    for s in (-1, 1):
        end = (s * (half + 0.02), corner + 0.05 + 0.08 * f.au15)
        dent = _curve((s * half, corner - 0.03), (s * (half + 0.03), corner), end)
        yield Stroke("fine", dent, 112 - 45 * max(f.au12, f.au15, f.au20), 0.025)
    if f.moustache:
        yield Stroke("skin", np.concatenate([arc(top - thick - 0.07), arc(top - 0.5 * thick)[::-1]]), 0.7 * f.hair_tone)


def _hair(f: Face, rng: np.random.Generator) -> Iterator[Stroke]:
    """Draw hair over the head, and behind it when long."""
    if f.hair == "bald":
        return
    w, line = f.face_width, {"short": -0.72, "parted": -0.7, "long": -0.68, "fringe": -0.54, "curly": -0.66}[f.hair]
    if f.hair == "long":
        left, right = (((s * (w + 0.05), -0.6), (s * (w + 0.2), 0.2), (s * (w + 0.15), 1.2)) for s in (-1, 1))
        yield Stroke("skin", _curve(*left, (0, 1.4), *right[::-1]), 0.8 * f.hair_tone, relief=-1)
    down, lean = 0.05 if f.hair in ("long", "fringe") else -0.25, 0.25 if f.hair == "parted" else 0.0
    dome = _CIRCLE[20:] * (w + 0.07, 1)
    dome[:, 1] = -0.1 - 1.12 * np.abs(dome[:, 1]) ** 0.85
    front = _curve((w - 0.06, down), (0.86 * w, -0.45), (0.5 * w, line + 0.03 + lean), (0, line),
                   (-0.5 * w, line + 0.03 - lean / 3), (-0.86 * w, -0.45), (-w + 0.06, down))
    cap = np.concatenate([[(-w - 0.04, down)], dome, [(w + 0.04, down)], front])
    yield Stroke("front", cap, f.hair_tone, relief=-1)
    for turn in rng.uniform(np.pi * 1.02, np.pi * 1.98, 14):  # curls, or else strands from the crown
        x, y, tone = (w + 0.02) * np.cos(turn), np.sin(turn) - 0.14, f.hair_tone * rng.uniform(0.75, 1.2) + 8
        if f.hair == "curly":
            yield Stroke("front", _oval(x, y, 0.16, 0.15), tone, relief=-1)
        else:
            strand = _curve((0.3 * x, -1.15), (0.8 * x, 0.6 * y - 0.45), (x, y + 0.06))
            yield Stroke("front", strand, tone, 0.025, relief=-1)


def _covers(f: Face, rng: np.random.Generator) -> Iterator[Stroke]:
    """Draw glasses and whatever hides a part of the face."""
    s, dark = f.side, 255 - f.backdrop
    if f.glasses:
        for x in (-1, 1):
            yield Stroke("front", _oval(x * f.eye_gap, -0.08, 0.23, 0.18)[np.arange(21) % 20], 25, 0.03, relief=0.1)
            yield Stroke("front", np.array([(0.56 * x, -0.1), (0.78 * x, -0.14)]), 25, 0.03, relief=0.1)
        yield Stroke("front", np.array([(-0.1, -0.1), (0.1, -0.1)]), 25, 0.03, relief=0.1)
    if f.occlusion == "hat":
        crown = _curve((-0.95, -0.5), (-0.8, -1.2), (0, -1.5), (0.8, -1.2), (0.95, -0.5))
        brim = _curve((-1.05, -0.45), (0, -0.62), (1.05, -0.45), (0, -0.5), (-1.05, -0.45))
        yield Stroke("front", crown, 0.5 * dark + 20, relief=-1)
        yield Stroke("front", brim, 20, relief=-1)
    elif f.occlusion == "mask":
        yield Stroke("front", np.array([(-0.8, 0.66), (0.8, 0.62), (0.8, 0.82), (-0.8, 0.85)]), dark, relief=0.1)
    elif f.occlusion == "scarf":
        scarf = _curve((-1.1, 0.72), (0, 0.76), (1.1, 0.7), (1.2, 1.7), (-1.2, 1.7), (-1.1, 0.72))
        yield Stroke("front", scarf, 0.6 * dark + 30, relief=-1)
    elif f.occlusion == "strand":
        for k in rng.uniform(-0.1, 0.15, 4):
            lock = _curve((s * (0.1 + k), -1), (s * (0.4 + k), -0.3), (s * (0.45 + 0.5 * k), 0.5))
            yield Stroke("front", lock, f.hair_tone, 0.05)
    elif f.occlusion == "hand":
        yield Stroke("front", _oval(s * 0.62, 0.95, 0.3, 0.32), 0.85 * f.skin, relief=-0.3)
        for k in range(4):
            finger = np.array([(s * (0.75 - 0.1 * k), 0.9), (s * (0.7 - 0.16 * k), 0.3 + 0.08 * k)])
            yield Stroke("front", finger, 0.5 * f.skin, 0.15)
            yield Stroke("front", finger, 0.92 * f.skin, 0.12)


# ---- pixels of a face
def _project(f: Face, strokes: list[Stroke], pixels: int) -> list[np.ndarray]:
    """Return the outlines in pixels, one (k, 2) float array a stroke, on a rounded head, turned and framed."""
    counts = [len(stroke.points) for stroke in strokes]
    x, y = np.concatenate([stroke.points for stroke in strokes]).T
    z = np.maximum(0.7 - 0.8 * x**2 - 0.45 * y**2 + np.repeat([stroke.relief for stroke in strokes], counts), 0)
    yaw, pitch, roll = np.radians([f.yaw, f.pitch, f.roll])
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y = y * np.cos(pitch) - z * np.sin(pitch)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    where = np.stack([x * f.scale + 0.5 + f.shift_x, y * f.scale + 0.5 + f.shift_y], axis=1) * pixels
    return np.split(where, np.cumsum(counts)[:-1])


def _light(f: Face, pixels: int) -> np.ndarray:
    """Return the brightness (pixels, pixels) of a matte ball in the head's place, lit from `light_angle` and above."""
    grid = (np.arange(24) + 0.5) / 24 - 0.5
    x, y = (grid[None] - f.shift_x) / (0.95 * f.scale), (grid[:, None] - f.shift_y) / (1.25 * f.scale)
    radius = np.maximum(np.hypot(x, y), 1)
    z = np.sqrt(np.maximum(1 - np.hypot(x, y) ** 2 / radius**2, 0.05))
    angle = np.radians(f.light_angle)
    facing = np.maximum(0.85 * (x / radius * np.sin(angle) + z * np.cos(angle)) - 0.4 * y / radius, 0)
    ball = 1 - f.light_strength + f.light_strength * 1.25 * facing
    return cv2.resize(ball.astype(np.float32), (pixels, pixels), interpolation=cv2.INTER_CUBIC)


def photograph(f: Face, size: int) -> tuple[np.ndarray, list[float]]:
    """Draw one row of factors.

    Args:
        f: the factors as attributes.
        size: height and width of the image in pixels, 24 or more.

    Returns:
        The image, uint8 (size, size), and the boxes of BOX_COLUMNS in its pixels.

    Raises:
        ValueError: `size` is below 24.
    """
    if size < 24:
        raise ValueError(f"size is {size}; give 24 px or more")
    rng, pixels = np.random.default_rng(f.texture_seed), size * -(-96 // size)  # small images are averaged down
    cells, spread, kind = {"gradient": (2, 40, 1), "texture": (20, 30, 1), "clutter": (5, 55, 0)}[f.background]
    wall = np.clip(rng.normal(f.backdrop, spread, (cells, cells)), 5, 250).astype(np.uint8)
    shade = np.full((pixels, pixels), 128, np.uint8)
    layers = {"skin": cv2.resize(wall, (pixels, pixels), interpolation=kind), "soft": shade, "fine": shade.copy()}
    hair = list(_hair(f, rng))
    strokes = [stroke for stroke in hair if stroke.layer == "skin"]  # long hair hangs behind the head
    for part in (_head, _nose, _eyes, _brows, _mouth):
        strokes += part(f)
    last, unit = len(strokes) - 1, f.scale * pixels
    strokes += [stroke for stroke in hair if stroke.layer == "front"] + list(_covers(f, rng))
    outlines = _project(f, strokes, pixels)
    for i, (stroke, outline) in enumerate(zip(strokes, outlines, strict=True)):
        fixed, tone = [np.rint(outline * 16).astype(np.int32)], round(min(max(stroke.tone, 0), 255))
        if stroke.width:
            width = max(1, round(stroke.width * unit))
            cv2.polylines(layers[stroke.layer], fixed, False, tone, width, cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(layers[stroke.layer], fixed, tone, cv2.LINE_AA, 4)
        if i == last:  # the skin is finished: shade it, then draw what lies over it
            layers["front"] = layers["skin"]
            for name, blur in (("soft", 0.06), ("fine", 0.016)):
                blurred = cv2.GaussianBlur(layers[name], (0, 0), blur * unit)
                layers["front"] = cv2.multiply(layers["front"], blurred, scale=1 / 128)
    scene = layers["front"] * _light(f, pixels)
    if f.blur:
        scene = cv2.GaussianBlur(scene, (0, 0), f.blur * pixels / 48)
    scene = cv2.resize(scene, (size, size), interpolation=cv2.INTER_AREA)
    scene = ((scene - 110) * f.contrast + 110) * f.exposure + f.noise * rng.standard_normal(scene.shape, np.float32)
    image = np.clip(scene, 0, 255).astype(np.uint8)
    if f.mark:
        image[-(size // 8) :, -(size // 8) :] = 250
    edges: list[float] = []
    for name in BOXES:
        points = np.concatenate([line for line, stroke in zip(outlines, strokes, strict=True) if stroke.part == name])
        edges += [float(edge) * size / pixels for edge in (*points.min(axis=0), *points.max(axis=0))]
    return image, edges


# ---- one face from its row
def check(factors: Mapping[str, Any]) -> None:
    """Check factors given by name.

    Raises:
        ValueError: `FACTORS` has no such factor, or its value is not allowed.
    """
    for name, value in factors.items():
        if name not in FACTORS:
            raise ValueError(f"{name!r} is no factor of a face; allowed are {', '.join(FACTORS)}")
        allowed = FACTORS[name]
        listed = name == "side" or isinstance(allowed[0], str | bool)
        if not (value in allowed if listed else allowed[0] <= value <= allowed[1]):
            raise ValueError(f"{name} is {value!r}; allowed {'are' if listed else 'is the range'} {allowed}")


def redraw(row: Any, *, size: int = 48, **changes: Any) -> np.ndarray:
    """Draw the face of a table row again, with some factors changed.

    Without changes it gives the same pixels as the image, except for twins and blanks.

    Args:
        row: a row of the table that `sample.draw` or `sample.dataset` returns.
        size: height and width in pixels.
        changes: factors of `FACTORS` with their new values, such as `au12=0.8, glasses=True`.

    Returns:
        The image, uint8 (size, size).

    Raises:
        ValueError: the size is below 24, there is no such factor, or its value is out of range.

    >>> from ferlib import sample
    >>> images, table = sample.draw(1)
    >>> bool((sample.redraw(table.loc[0]) == images[0]).all())
    True
    """
    check(changes)
    factors = {name: row[name] for name in FACTORS} | changes
    # Plain Python numbers: a numpy scalar would widen the 32-bit arithmetic and so change a pixel here and there.
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in factors.items()}
    return photograph(Face(**plain), size)[0]
