"""Draw samples of faces without a download: every factor is known, and they are made as hard as FER2013."""

from collections.abc import Mapping
from types import SimpleNamespace as Face
from typing import Any

import numpy as np
import pandas as pd

from ferlib.emotions import EMOTIONS, FER2013_COUNTS, SPLITS
from ferlib.sample.faces import ACTION_UNITS, BACKGROUNDS, BOX_COLUMNS, BOXES, HAIR, OCCLUSIONS, check, photograph

VERSION = 1  # of the drawn dataset: another number makes the cached faces anew
# fmt: off
SPLIT_SIZES = dict(zip(SPLITS, (2800, 2000, 2000), strict=True))
PERSONS = dict(zip(SPLITS, (350, 250, 250), strict=True))

# Action units of each emotion and how strongly each takes part, 0 to 1; one of 0.6 or less takes part in half of the
# faces only. Ekman and Friesen 1978, Facial Action Coding System; Friesen and Ekman 1983, EMFACS-7. Weights are ours.
PROTOTYPES = {
    "angry": {"au4": 1.0, "au5": 0.5, "au7": 0.8, "au23": 0.8, "au24": 0.6},
    "disgust": {"au9": 1.0, "au10": 0.8, "au15": 0.7, "au16": 0.5, "au17": 0.5, "au25": 0.4},
    "fear": {"au1": 0.9, "au2": 0.7, "au4": 0.7, "au5": 0.9, "au7": 0.3, "au20": 1.0, "au25": 0.7, "au26": 0.3},
    "happy": {"au6": 0.9, "au12": 1.0, "au25": 0.6},
    "sad": {"au1": 0.9, "au4": 0.7, "au15": 1.0, "au17": 0.6},
    "surprise": {"au1": 0.9, "au2": 1.0, "au5": 0.7, "au25": 0.7, "au26": 0.9},
    "neutral": {},
}
# What people confuse each emotion with: label flips, blended faces and raters' votes all use it.
CONFUSABLE = {"angry": "disgust", "disgust": "angry", "fear": "surprise", "happy": "neutral", "sad": "neutral",
              "surprise": "fear", "neutral": "sad"}
VOTE_COLUMNS = [f"votes_{name}" for name in EMOTIONS]

# ---- rows of factors
def _person(seed: int, identity: int) -> dict[str, Any]:
    """Draw the factors that stay with a person, from `seed` and the identity alone."""
    rng = np.random.default_rng((seed, 1, identity))
    skin, bearded = rng.uniform(90, 225), rng.random() < 0.2
    hair_tone = rng.uniform(10, 0.65 * skin) if rng.random() < 0.85 else rng.uniform(0.5 * skin + 100, 240)
    return {
        "identity": identity, "group": "dim" if identity % 25 in (3, 14) else "other",
        "face_width": rng.uniform(0.68, 0.82), "jaw": rng.random(), "skin": skin, "age": rng.beta(1, 2),
        "eye_size": rng.uniform(0.88, 1.15), "eye_gap": rng.uniform(0.3, 0.35), "brow_width": rng.uniform(0.04, 0.08),
        "brow_height": rng.uniform(-0.03, 0.03), "nose": rng.uniform(0.8, 1.2), "lips": rng.uniform(0.7, 1.3),
        "mouth_width": rng.uniform(0.88, 1.12), "mouth_curve": rng.uniform(-0.03, 0.03), "hair": str(rng.choice(HAIR)),
        "hair_tone": hair_tone, "glasses": rng.random() < 0.2, "beard": rng.uniform(0.3, 0.8) if bearded else 0.0,
        "moustache": bearded and rng.random() < 0.5,
    }


def _expression(rng: np.random.Generator, emotion: str) -> dict[str, float]:
    """Draw the action units of one face and its `intensity`: a prototype, varied, at times weak or blended."""
    intensity = 0.0 if emotion == "neutral" else rng.uniform(*((0.2, 0.55) if rng.random() < 0.16 else (0.5, 1.0)))
    units = dict.fromkeys(ACTION_UNITS, 0.0)
    for unit, weight in PROTOTYPES[emotion].items():
        units[unit] = intensity * weight * rng.uniform(0.6, 1.1) * (weight > 0.6 or rng.random() < 0.5)
    if emotion == "angry" and rng.random() < 0.25:  # the shouting kind of anger bares the teeth
        units |= {"au23": 0.0, "au24": 0.0, "au10": 0.4 * intensity, "au25": 0.9 * intensity, "au26": 0.2 * intensity}
    if rng.random() < 0.3 and emotion not in ("happy", "sad"):  # what these two are taken for has no units to blend
        share = rng.uniform(0.15, 0.5)
        for unit, weight in PROTOTYPES[CONFUSABLE[emotion]].items():
            units[unit] = (1 - share) * units[unit] + share * weight * max(intensity, 0.5)
    for unit in ACTION_UNITS:
        units[unit] = min(max(units[unit] + (rng.random() < 0.06) * rng.uniform(0, 0.35), 0.0), 1.0)
    return units | {"intensity": intensity}


def _circumstances(rng: np.random.Generator, dim: bool) -> dict[str, Any]:
    """Draw pose, framing, light, background, occlusion and camera of one face; dim ones are dark and noisy."""
    yaw, pitch, roll = np.clip(rng.normal(0, (11, 6, 7)), (-32, -16, -22), (32, 16, 22)).tolist()
    exposure, contrast, noise = ((0.42, 0.6), (0.7, 1.0), (4, 9)) if dim else ((0.8, 1.25), (0.7, 1.15), (1, 8))
    return {
        "yaw": yaw, "pitch": pitch, "roll": roll, "scale": rng.uniform(0.37, 0.46), "shift_x": rng.uniform(-0.05, 0.05),
        "shift_y": rng.uniform(-0.04, 0.04), "gaze": rng.uniform(-0.5, 0.5), "light_angle": rng.uniform(-65, 65),
        "light_strength": rng.uniform(0.2, 0.8), "exposure": rng.uniform(*exposure), "contrast": rng.uniform(*contrast),
        "background": str(rng.choice(BACKGROUNDS)), "backdrop": rng.uniform(10, 245),
        "occlusion": str(rng.choice(OCCLUSIONS[1:])) if rng.random() < 0.12 else "none",
        "side": int(rng.choice((-1, 1))), "blur": rng.uniform(0.0, 0.75), "noise": rng.uniform(*noise),
        "texture_seed": int(rng.integers(2**31)),
    }


def _votes(rng: np.random.Generator, row: Mapping[str, Any]) -> dict[str, int]:
    """Draw ten raters' votes: they agree less on a weak expression or a bad picture, and guess on a blank."""
    name, chances = EMOTIONS[row["true_label"]], dict.fromkeys(EMOTIONS, 1 / 7)
    if not row["blank"]:
        trouble = (row["occlusion"] != "none") + (row["group"] == "dim") + row["blur"] + abs(row["yaw"]) / 30
        sure = min(max((0.92 if name == "neutral" else 0.45 + 0.5 * row["intensity"]) - 0.15 * trouble, 0.25), 0.97)
        chances = dict.fromkeys(EMOTIONS, 0.02 * (1 - sure)) | {name: sure}
        chances[CONFUSABLE[name]] += 0.5 * (1 - sure)
        chances["sad" if name == "neutral" else "neutral"] += 0.36 * (1 - sure)
    share = np.array(list(chances.values()))
    return dict(zip(VOTE_COLUMNS, rng.multinomial(10, share / share.sum()).tolist(), strict=True))


def _labels(n: int, seed: int, balance: str) -> np.ndarray:
    """Return class indices (n,) whose shares are met as closely as whole faces allow."""
    if balance == "equal":
        blocks = [np.random.default_rng((seed, 3, block)).permutation(7) for block in range(-(-n // 7))]
        return np.concatenate(blocks)[:n]
    edges = np.cumsum(FER2013_COUNTS["Training"]) / sum(FER2013_COUNTS["Training"])
    start = np.random.default_rng((seed, 3)).random()
    return np.searchsorted(edges, (start + np.arange(n) * (5**0.5 - 1) / 2) % 1, side="right")  # golden-ratio steps


def draw_faces(labels: np.ndarray, identities: np.ndarray, size: int, key: tuple[int, int],
               mark: tuple[str, float] = ("", 0), **fixed: Any) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw faces of given classes and persons.

    Args:
        labels: class indices (n,).
        identities: the person of each face, (n,).
        size: height and width in pixels.
        key: the seed, and the split's number in SPLITS.
        mark: a class and the share of it that gets a bright square in the corner.
        fixed: factors that are the same for all faces.

    Returns:
        Images, uint8 (n, size, size), and a row of factors, votes and boxes for each.
    """
    images, rows = np.empty((len(labels), size, size), np.uint8), []
    for i, (label, identity) in enumerate(zip(labels.tolist(), identities.tolist(), strict=True)):
        rng = np.random.default_rng((*key, 2, i))
        row = {"split": SPLITS[key[1]], "label": label, "true_label": label} | _person(key[0], identity)
        row |= _expression(rng, EMOTIONS[label]) | _circumstances(rng, row["group"] == "dim")
        row["mark"] = EMOTIONS[label] == mark[0] and rng.random() < mark[1]
        row |= {"twin_of": -1, "twin_kind": "", "twin_change": "", "conflict": False, "blank": False, "flipped": False}
        row |= fixed
        images[i], edges = photograph(Face(**row), size)
        rows.append(row | _votes(rng, row) | dict(zip(BOX_COLUMNS, edges, strict=True)))
    return images, rows


def draw(n: int, *, size: int = 48, seed: int = 0, balance: str = "fer2013", mark: tuple[str, float] | None = None,
         **fixed: Any) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw n faces, each of another person.

    Face i of a seed is the same whatever n is.

    Args:
        n: how many.
        size: height and width in pixels, 24 or more.
        seed: of the random numbers.
        balance: "fer2013" (its shares of the classes) or "equal".
        mark: a class and a share: `("happy", 0.9)` puts a bright square into the corner of 90% of the happy faces.
        fixed: factors of `FACTORS` that are the same for all faces, such as `yaw=0`.

    Returns:
        Images, uint8 (n, size, size), and a table with a row a face. Its columns:

        - split: "Training"; label and true_label: the class's index in `ferlib.emotions.EMOTIONS`
        - identity: the person's number; group: "dim" (dark and noisy pictures) or "other"
        - intensity: how strong the expression is, 0 (neutral) to 1
        - the factors that the face is drawn from, in the ranges of `FACTORS`
        - `VOTE_COLUMNS`: how many of ten raters chose each emotion
        - `BOX_COLUMNS`: left, top, right and bottom edge of face, mouth, eyes and brows in pixels
        - twin_of, twin_kind, twin_change, conflict, blank, flipped: the faults that `dataset` plants; here there are
          none

    Raises:
        ValueError: the size, the balance, the class, or a factor or its value is not allowed.

    >>> images, table = draw(3, yaw=0)
    >>> images.shape, table["yaw"].tolist()
    ((3, 48, 48), [0, 0, 0])
    """
    if balance not in ("fer2013", "equal"):
        raise ValueError(f"balance is {balance!r}; allowed are 'fer2013' and 'equal'")
    if mark is not None and (mark[0] not in EMOTIONS or not 0 <= mark[1] <= 1):
        raise ValueError(f"mark is {mark!r}; give one of {', '.join(EMOTIONS)} and a share from 0 to 1")
    check(fixed)
    images, rows = draw_faces(_labels(n, seed, balance), np.arange(n), size, (seed, 0), mark or ("", 0), **fixed)
    return images, pd.DataFrame(rows)


# ---- the embedded dataset
def dataset(*, seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw the embedded dataset, and plant its faults.

    It has 2,800 Training, 2,000 PublicTest and 2,000 PrivateTest faces; the splits share no person. Then 8% of each
    test split become exact twins of Training images and 3% near ones (`twin_of`, `twin_kind`, `twin_change`). 8% of
    the Training labels flip to a class that people confuse (`flipped`), 20 Training images repeat another one with a
    wrong label (`conflict`), and 12 images are blank (`blank`).

    Args:
        seed: of the random numbers.

    Returns:
        Images, uint8 (6800, 48, 48), and a table with the columns of `draw`. `label` is the one that a data set would
        give, `true_label` what the face shows. A twin's row is its source's (`twin_of`), except for split, label and
        the columns of faults.
    """
    parts, rows, first = [], [], 0
    for stream, (split, count) in enumerate(SPLIT_SIZES.items()):
        labels = _labels(count, 3 * seed + stream, "fer2013")
        images, drawn = draw_faces(labels, first + np.arange(count) % PERSONS[split], 48, (seed, stream))
        parts.append(images)
        rows += drawn
        first += PERSONS[split]
    images = np.concatenate(parts)
    _plant(images, rows, np.random.default_rng((seed, 4)))
    return images, pd.DataFrame(rows)


def _plant(images: np.ndarray, rows: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """Plant twins, conflicts, flips and blanks in place; no Training row gets two roles, so the counts are exact."""
    sizes = list(SPLIT_SIZES.values())
    pools = [(end - size + rng.permutation(size)).tolist() for size, end in zip(sizes, np.cumsum(sizes), strict=True)]

    def take(split: int, count: int) -> list[int]:
        return [pools[split].pop() for _ in range(count)]

    def twin(split: int, count: int, kind: str) -> list[int]:
        targets = take(split, count)
        for target, source in zip(targets, take(0, count), strict=True):
            rows[target] = rows[source] | {"split": SPLITS[split], "twin_of": source, "twin_kind": kind}
            images[target] = images[source]
        return targets

    for split in (1, 2):
        twin(split, round(0.08 * sizes[split]), "exact")
        for target in twin(split, round(0.03 * sizes[split]), "near"):
            images[target] = _alter(images[target], rows[target], rng)
    for column, targets in (("conflict", twin(0, 20, "exact")), ("flipped", take(0, round(0.08 * sizes[0])))):
        for target in targets:
            wrong = EMOTIONS.index(CONFUSABLE[EMOTIONS[rows[target]["true_label"]]])
            rows[target] |= {"label": wrong, column: True}
    blanks = take(0, 6) + take(1, 3) + take(2, 3)
    for target, gray in zip(blanks, rng.choice(256, len(blanks), replace=False), strict=True):  # no two are twins
        images[target] = gray
        rows[target]["blank"] = True
        rows[target] |= _votes(rng, rows[target])


def _alter(image: np.ndarray, row: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Return a near twin of an image: shifted, brightened, noisier or mirrored; its row's boxes move along."""
    change = row["twin_change"] = str(rng.choice(("shift", "brightness", "noise", "flip")))
    if change == "brightness":
        return np.clip(image * rng.uniform(0.8, 1.2) + rng.uniform(4, 12), 0, 255).astype(np.uint8)
    if change == "noise":
        return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    for part in BOXES:
        left, right = row[f"{part}_x0"], row[f"{part}_x1"]
        moved = (left + 1, right + 1) if change == "shift" else (48 - right, 48 - left)
        row |= dict(zip((f"{part}_x0", f"{part}_x1"), moved, strict=True))
    return image[:, ::-1] if change == "flip" else np.pad(image, ((0, 0), (1, 0)), mode="edge")[:, :-1]
