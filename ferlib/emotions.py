"""The seven emotions of FER2013: names, order, aliases, counts and colours, and how labels map to classes.

Every array in `ferlib` with a class axis has it in the order of `EMOTIONS`, the order of the challenge's CSV. Copies in
folders sort by name, so they differ from index 4 on. Map labels by name, never by position.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Classes = str | Mapping[str | int, str] | Sequence[str] | Callable[[str], str] | None

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")

ALIASES = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "scared": "fear",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "surprised": "surprise", "suprise": "surprise",
    "calm": "neutral", "neutrality": "neutral",
}  # fmt: skip

FER2013_COUNTS = {  # images of each emotion in the challenge's CSV, in the order of EMOTIONS
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}

# Okabe and Ito's palette: people with common kinds of colour blindness can tell its colours apart (2008,
# jfly.uni-koeln.de/color). Then Paul Tol's "muted" scheme, for other classes.
COLORS = dict(zip(EMOTIONS, ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#0072B2", "#56B4E9", "#595959"), strict=True))
OTHER_COLORS = ("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#117733", "#88CCEE", "#DDCC77", "#CC6677")

ORDERS = {  # number -> name, as each dataset documents it
    "fer2013": {str(number): name for number, name in enumerate(EMOTIONS)},
    "rafdb": {"1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral"},
    "affectnet": {"0": "neutral", "1": "happy", "2": "sad", "3": "surprise", "4": "fear", "5": "disgust",
                  "6": "angry", "7": "contempt"},
}  # fmt: skip
ORDERS["affectnet7"] = {number: name for number, name in ORDERS["affectnet"].items() if name != "contempt"}
WAYS = 'give classes="fer2013", "rafdb", "affectnet", classes="folders", {"0": "happy", ...} (`--classes`), a function'


def canonical(name: object) -> str:
    """Return a class name in lower case, with an emotion's alias replaced by its name.

    >>> canonical(" Happiness")
    'happy'
    """
    key = str(name).strip().lower()
    return ALIASES.get(key, key)


def class_colors(classes: Sequence[str]) -> list[str]:
    """Return a colour for each class, as `"#RRGGBB"`.

    Args:
        classes: the class names; an emotion gets its own colour, another name the next of a second palette.

    >>> class_colors(["happy", "open"])
    ['#E69F00', '#882255']
    """
    others = iter(OTHER_COLORS * (1 + len(classes) // len(OTHER_COLORS)))
    return [COLORS.get(canonical(name)) or next(others) for name in classes]


def check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Check class names and return them as a tuple.

    Args:
        classes: an ordered list of two names or more.

    Raises:
        ValueError: `classes` has no order, fewer than two names, an empty name, or one name twice.
    """
    names = tuple(classes) if isinstance(classes, Sequence) and not isinstance(classes, str) else ()
    if len(names) < 2 or not all(isinstance(name, str) and name.strip() for name in names):
        cure = "give two names or more, each a text, in a list; of a folder, the one above the class folders"
        raise ValueError(f"classes are {names or classes!r:.200}; {cure}")
    keys = [canonical(name) for name in names]
    if same := [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]:
        raise ValueError(f"two classes have one name, {same[0]!r} and {same[1]!r}; give each its own")
    return names


@dataclass(frozen=True)
class ClassMap:
    """The class that each label of a data source stands for.

    Attributes:
        classes: the names in the order of the indices; () where each class folder is a class, in alphabetical order.
        names: from a label in lower case (a folder's name, a number) to the class.
        asked: whether `classes=` was given. If not, a number counts only where the source is shown to be FER2013.
        lenient: whether a class may have no image, as in a part of FER2013.
        by_file: a function from an image's relative path to its class, used instead of folders.
    """

    classes: tuple[str, ...]
    names: Mapping[str, str]
    asked: bool = False
    lenient: bool = False
    by_file: Callable[[str], str] | None = None

    def find(self, label: str) -> int | None:
        """Return the class index of a label, by its own name, or an alias of the class; None if it has none."""
        key = label.strip().lower()
        name = canonical(self.names.get(key, key))
        return next((index for index, known in enumerate(self.classes) if canonical(known) == name), None)

    def index(self, label: str) -> int:
        """Return the class index of a label.

        Raises:
            ValueError: the label is none of the known ones; the message names the ways to map it.
        """
        index = self.find(label)
        if index is not None:
            return index
        if not self.asked:
            raise ValueError(f"{label!r:.80} is none of the seven emotions ({', '.join(EMOTIONS)}); {WAYS}")
        known = ", ".join(dict.fromkeys([*self.names, *self.classes]))
        step = 'map the numbers: classes={"0": "happy", ...}' if label.strip().isdigit() else "add it there"
        raise ValueError(f"{label!r:.80} is not in classes, which knows {known}; {step}")


def class_map(classes: Classes = None) -> ClassMap:
    """Build the map from labels to classes that `data.load` uses.

    Args:
        classes: None for the seven emotions, by name or alias. A list of names. A mapping from folder names or numbers
            to names; its classes keep the order in which they first appear. `"fer2013"`, `"rafdb"`, `"affectnet"`
            (eight classes) or `"affectnet7"` (without contempt) for their published numbers. `"folders"` to make each
            class folder a class. A function from an image's path to its class, or to None to leave the image out.

    Raises:
        ValueError: `classes` is something else.
    """
    if classes is None:
        return ClassMap(EMOTIONS, {})
    if callable(classes):
        return ClassMap((), {}, asked=True, by_file=classes)
    if isinstance(classes, str) and classes == "folders":
        return ClassMap((), {}, asked=True)
    if isinstance(classes, str) and classes not in ORDERS:
        raise ValueError(f"classes is {classes!r}; allowed are folders, {', '.join(ORDERS)}, a list or a mapping")
    order = ORDERS[classes] if isinstance(classes, str) else classes
    if not isinstance(order, Mapping):
        order = {name: name for name in check_classes(order)}
    names = {str(label).strip().lower(): name for label, name in order.items()}
    if len(names) < len(order):
        raise ValueError(f"classes has two labels that differ only in case, among {', '.join(map(str, order))}")
    ordered = check_classes([*dict.fromkeys(names.values())])
    return ClassMap(ordered, names, asked=True, lenient=classes == "fer2013")


def match_classes(wanted: Sequence[str], given: Sequence[str], whose: str = "the data") -> np.ndarray | None:
    """Match two lists of class names by name, without case and with emotions' aliases.

    Args:
        wanted: the model's class names.
        given: the data's class names, in any order.
        whose: what the error calls the data.

    Returns:
        The index in `wanted` of each class in `given`, (k,) int64, or None where both have one order.

    Raises:
        ValueError: the two lists hold different classes.

    >>> match_classes(["happy", "sad"], ["Sadness", "joy"])
    array([1, 0])
    """
    mine, theirs = [canonical(name) for name in wanted], [canonical(name) for name in given]
    if sorted(mine) != sorted(theirs):
        names = f"the model's classes are {', '.join(wanted)}, those of {whose} are {', '.join(given)}"
        raise ValueError(f"{names}; give both the same: build_model(..., classes=...) or data.load(..., classes=...)")
    return None if mine == theirs else np.array([mine.index(name) for name in theirs])
