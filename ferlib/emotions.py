"""The seven emotions of FER2013: their names, their one order, other spellings, official counts, and a colour each.

Every array in `ferlib` that has a class axis has it in the order of `EMOTIONS`, which is the order of the challenge's
CSV. Folder copies sort by name and so disagree from index 4 on: map by name, with `emotion_index`, never by position.
"""

from collections.abc import Sequence

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")

ALIASES = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "happiness": "happy", "joy": "happy",
    "sadness": "sad", "surprised": "surprise", "calm": "neutral",
}  # fmt: skip

FER2013_COUNTS = {  # images of each emotion, in EMOTIONS' order; counted in the challenge's CSV
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}

# Okabe and Ito's palette, which stays apart under the common kinds of colour blindness; 2008, jfly.uni-koeln.de/color.
COLORS = {
    "angry": "#D55E00", "disgust": "#009E73", "fear": "#CC79A7", "happy": "#E69F00", "sad": "#0072B2",
    "surprise": "#56B4E9", "neutral": "#595959",
}  # fmt: skip
# Paul Tol's "muted" scheme, for classes that are none of the seven.
OTHER_COLORS = ("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#117733", "#88CCEE", "#DDCC77", "#CC6677")


def emotion_index(name: object) -> int:
    """Class index of an emotion given by name, alias or CSV number (`"Happiness"`, `"3"`, `3`), whatever its case.

    Raises `ValueError` naming the allowed names when `name` is none of them.
    """
    key = str(name).strip().lower()
    key = EMOTIONS[int(key)] if key in {"0", "1", "2", "3", "4", "5", "6"} else ALIASES.get(key, key)
    if key not in EMOTIONS:
        raise ValueError(
            f"{name!r:.80} is no known emotion; allowed are {', '.join(EMOTIONS)}, their aliases, and 0 to 6"
        )
    return EMOTIONS.index(key)


def class_colors(classes: Sequence[str]) -> list[str]:
    """Return a colour for each class, as `"#RRGGBB"`: an emotion's own, and for other names one of a second palette."""
    others = iter(OTHER_COLORS * (1 + len(classes) // len(OTHER_COLORS)))
    names = [ALIASES.get(name.strip().lower(), name.strip().lower()) for name in classes]
    return [COLORS[name] if name in COLORS else next(others) for name in names]
