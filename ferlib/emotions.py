"""The seven emotions of FER2013: their names, their one order, other spellings, official counts, and a colour each.

Every array in `ferlib` that has a class axis has it in the order of `EMOTIONS`, which is the order of the challenge's
CSV. Folder copies sort by name and so disagree from index 4 on: map by name, with `emotion_index`, never by position.
"""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")

ALIASES = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "happiness": "happy", "joy": "happy",
    "sadness": "sad", "surprised": "surprise", "calm": "neutral",
} | {str(index): name for index, name in enumerate(EMOTIONS)}  # fmt: skip

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


def emotion_index(name: object) -> int:
    """Class index of an emotion given by name, alias or CSV number (`"Happiness"`, `"3"`, `3`), whatever its case.

    Raises `ValueError` naming the allowed names when `name` is none of them.
    """
    key = str(name).strip().lower()
    key = ALIASES.get(key, key)
    if key not in EMOTIONS:
        raise ValueError(
            f"{name!r:.80} is no known emotion; allowed are {', '.join(EMOTIONS)}, their aliases, and 0 to 6"
        )
    return EMOTIONS.index(key)
