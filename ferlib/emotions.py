"""The seven emotions of FER2013: their names, their one order, other spellings, official counts, and a colour each.

Every array in `ferlib` that has a class axis has it in the order of `EMOTIONS`, which is the order of the challenge's
CSV. Folder copies sort by name and so disagree from index 4 on: map by name, with `emotion_index`, never by position.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Classes = str | Mapping[str | int, str] | Sequence[str] | Callable[[str], str] | None

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


ORDERS: dict[str, dict[str, str]] = {  # number -> name, as each data set documents it
    "fer2013": {str(number): name for number, name in enumerate(EMOTIONS)},
    "rafdb": {"1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral"},
    "affectnet": {"0": "neutral", "1": "happy", "2": "sad", "3": "surprise", "4": "fear", "5": "disgust",
                  "6": "angry", "7": "contempt"},
    "affectnet7": {"0": "neutral", "1": "happy", "2": "sad", "3": "surprise", "4": "fear", "5": "disgust",
                   "6": "angry"},
}  # fmt: skip
WAYS = (
    'give classes="fer2013" (0 angry ... 6 neutral), "rafdb" (1 surprise ... 7 neutral), "affectnet" (0 neutral ... '
    '7 contempt), or your own: classes={"0": "happy", ...} (`--classes`)'
)


def canonical(name: str) -> str:
    """Return a class name in lower case, an emotion's alias as its name: `"Happiness"` is `"happy"`."""
    key = str(name).strip().lower()
    return ALIASES.get(key, key)


def check_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Return class names as a tuple.

    Raises `ValueError` for fewer than two, an empty one, two of one name, or what has no order of its own.
    """
    if isinstance(classes, str):
        raise ValueError(f"classes is the text {classes!r}; give a list of names, such as faces.classes")
    if isinstance(classes, set | frozenset | Mapping):
        raise ValueError(f"classes is a {type(classes).__name__}, which has no order; give a list of names")
    if not isinstance(classes, Iterable):
        raise ValueError(f"classes is {classes!r:.60}; give a list of names, such as faces.classes")
    names = tuple(classes)
    if len(names) < 2 or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"classes are {names!r:.200}; give two names or more, each a text")
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(canonical(name), name)) is not name or names.count(name) > 1:
            raise ValueError(f"two classes have one name, {other!r} and {name!r}; give each its own")
    return names


@dataclass(frozen=True)
class ClassMap:
    """What each label of a source stands for.

    classes: the names in the order of the indices; () where the folders' own names are taken, in alphabetical order.
    names: from a label in lower case (a folder's name, a number) to the class.
    asked: whether `classes=` was given; if not, a number counts only where the source shows that it is FER2013's.
    lenient: whether a class may have no image, as in a part of FER2013.
    by_file: a function from an image's relative path to its class, in place of folders.
    """

    classes: tuple[str, ...]
    names: Mapping[str, str]
    asked: bool = False
    lenient: bool = False
    by_file: Callable[[str], str] | None = None

    def index(self, label: str) -> int:
        """Return the class index of a label; raises `ValueError` that names the ways to map it."""
        key = label.strip().lower()
        name = self.names.get(key, key)
        if name not in self.classes:
            if not self.asked:
                ways = WAYS if key.isdigit() else 'give classes="folders" to take the names as they are, or ' + (
                    'your own: classes={"wink": "happy", ...} (`--classes`)')  # fmt: skip
                raise ValueError(
                    f"{label!r:.80} is none of the seven emotions ({', '.join(EMOTIONS)}) or their aliases; {ways}"
                )
            known = dict.fromkeys([*(name for name in self.names if name not in ALIASES), *self.classes])
            cure = 'map the numbers: classes={"0": "happy", ...}' if key.isdigit() else "add it there"
            raise ValueError(f"{label!r:.80} is not in classes, which knows {', '.join(known)}; {cure}")
        return self.classes.index(name)

    def is_number(self, label: str) -> bool:
        """Return whether a label is a number that nobody has given a meaning to."""
        return not self.asked and label.strip().isdigit()


def class_map(classes: Classes = None) -> ClassMap:
    """Build the map from what `data.load` was given.

    None: the seven emotions, by name or alias. A list: these names. A mapping: from folder names or numbers to names;
    its classes come in the order in which they are first named. `"fer2013"`, `"rafdb"`, `"affectnet"` (eight classes),
    `"affectnet7"` (without contempt): their published numbers, and names. `"folders"`: each class folder is a class. A
    function: from an image's path to its class, or None to leave it out. Raises `ValueError` for anything else.
    """
    aliases = dict(ALIASES)
    if classes is None:
        return ClassMap(EMOTIONS, aliases)
    if callable(classes):
        return ClassMap((), aliases, asked=True, by_file=classes)
    if isinstance(classes, str):
        if classes == "folders":
            return ClassMap((), {}, asked=True)
        if classes not in ORDERS:
            raise ValueError(f"classes is {classes!r}; allowed are folders, {', '.join(ORDERS)}, a list or a mapping")
        order = ORDERS[classes]
        return ClassMap(
            check_classes([*dict.fromkeys(order.values())]), aliases | order, asked=True, lenient=classes == "fer2013"
        )
    if isinstance(classes, Mapping):
        found = check_classes([*dict.fromkeys(classes.values())])
        named = {str(key).strip().lower(): name for key, name in classes.items()}
        if len(named) < len(classes):
            raise ValueError(f"classes has two keys that differ only in case, among {', '.join(map(str, classes))}; "
                             "keep one of them")  # fmt: skip
        return ClassMap(found, named, asked=True)
    found = check_classes(classes)
    names = {alias: name for alias, name in aliases.items() if name in found}
    return ClassMap(found, names | {name.lower(): name for name in found}, asked=True)


def match_classes(wanted: Sequence[str], given: Sequence[str], whose: str = "the data") -> np.ndarray | None:
    """Return the index in `wanted` of each class in `given`, (k,) int64, or None where nothing has to be moved.

    Names are compared without case, emotions' aliases as their names. Raises `ValueError` for other classes.
    """
    mine, theirs = [canonical(name) for name in wanted], [canonical(name) for name in given]
    if mine == theirs:
        return None
    if sorted(mine) != sorted(theirs):
        raise ValueError(
            f"the model's classes are {', '.join(wanted)}, those of {whose} are {', '.join(given)}; take a model with "
            "these classes (build_model(..., classes=faces.classes)), or map the data's: data.load(..., classes=...)"
        )
    return np.array([mine.index(name) for name in theirs])
