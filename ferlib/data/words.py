"""The words that data uses for its splits, columns and image files: one table for all readers.

Class names and their aliases are in `ferlib.emotions`.
"""

import re
from functools import cache

IMAGES = (  # endings of the image files that Pillow reads, and HEIC, which is refused by name
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif", ".apng", ".avif", ".avifs",
    ".blp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc", ".fli", ".ftc", ".ftu", ".gbr", ".icb",
    ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpf", ".jpx", ".msp", ".pbm", ".pcd",
    ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".psd", ".pxr", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".vda",
    ".vst", ".xbm", ".xpm",
)  # fmt: skip
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar", ".tar.xz", ".tar.bz2")
TABLES = (".csv", ".csv.gz", ".csv.xz", ".npz")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "Training"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation", "publictest"), "PublicTest"),
    **dict.fromkeys(("test", "testing", "privatetest"), "PrivateTest"),
}
COLUMNS = {  # of a CSV, and arrays of an .npz
    **dict.fromkeys(("emotion", "emotions", "label", "labels", "class", "expression", "target", "y"), "label"),
    **dict.fromkeys(("pixels", "pixel", "images", "image", "faces", "x"), "pixels"),
    **dict.fromkeys(("usage", "split", "splits", "set", "subset", "partition"), "split"),
    **dict.fromkeys(("", "id", "index", "unnamed: 0"), "number"),
}
# A split's word inside of a name; letters beside it are only these. `SOUNDS` finds all other names that hold one.
_WORD = re.compile(
    rf"\b(?:fer|my|new|old)?({'|'.join(SPLIT_WORDS)})(?:sets?|data|dataset|images?|imgs?|faces?|folder|split|s)?\b"
)
_SOUNDS = re.compile(r"train|valid|(?<!la)(?<!con)test|private|public|\b(?:cross ?|x)val")
_DENIED = re.compile(r"\b(?:not|non)\b|\bcross ?val")
# The split's word at the start of an image's name, before a number: `Training_12.jpg`, `val/test_3.png`.
IN_NAME = re.compile(r"(?:^|/)(train(?:ing)?|val(?:id(?:ation)?)?|(?:public|private)?test(?:ing)?)[ _-]*\d[^/]*$", re.I)


@cache
def split_in(name: str) -> str:
    """Return the split that the name of a folder, file or cell holds as a word.

    Case, digits and signs do not count.

    Args:
        name: such as `train_images`, `FER2013Valid`, `Test-2`, `PrivateTest`.

    Returns:
        The split; "" if there is none, "?" if the name may be a split's, and does not say which.

    >>> split_in("new_validation"), split_in("latest"), split_in("trainval")
    ('PublicTest', '', '?')
    """
    parts = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    words = " ".join(parts)
    splits = {SPLIT_WORDS[word] for word in _WORD.findall(words)}
    if splits == {"PrivateTest"} and "public" in parts:  # of the two tests: `public_test`, `test (public)`
        splits = {"PublicTest", "PrivateTest"} if "private" in parts else {"PublicTest"}
    if len(splits) == 1 and not _DENIED.search(words):
        return splits.pop()
    return "?" if splits or _SOUNDS.search(words) else ""


def without_endings(name: str) -> str:
    """Return a file's name without the endings of tables and archives: `test.csv.gz` is `test`."""
    return re.sub(r"(\.(csv|npz|zip|tgz|tar|gz|xz|bz2))+$", "", name, flags=re.I)
