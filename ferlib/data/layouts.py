"""What FER data looks like on disk: each reader turns one layout into chunks of images, labels and split names.

Nothing is skipped in silence: the first row or file that is not as it should be is named in a `ValueError`.
"""

import contextlib
import gzip
import io
import itertools
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.archives import DEEPEST, bomb_told, listed, most, unpack
from ferlib.data.pixels import parse_pixels, parse_row, read_image, shown, square
from ferlib.data.votes import VOTES, read_votes, seven_votes
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, ORDERS, SPLITS, WAYS, ClassMap, canonical, emotion_index

SPLIT_FOLDERS = {  # by a name's letters alone, less a last "set": Test_Set, test-2 and testing are one
    "train": "Training", "training": "Training", "fertrain": "Training",
    "valid": "PublicTest", "val": "PublicTest", "validation": "PublicTest", "dev": "PublicTest",
    "publictest": "PublicTest", "fervalid": "PublicTest",
    "test": "PrivateTest", "testing": "PrivateTest", "privatetest": "PrivateTest", "fertest": "PrivateTest",
}  # fmt: skip
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar")
TABLE = re.compile(r"\.(csv|csv\.gz|csv\.xz|npz)$", re.I)  # the ends of what is one file
PIXEL_TABLES = ("fer2013", "icml_face_data", "train")  # the CSV that a folder with several is read from: the first
VOTE_TABLES = ("fer2013new.csv", "ferplus-votes.csv")  # FER+: a row of the ten VOTES for each row of FER2013's CSV
UNMINDED = ("label.csv", *VOTE_TABLES)  # no images, and no strangers among them
SYSTEM = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints", ".git")  # never looked at
SURROGATES = re.compile("[\ud800-\udfff]")  # what stands for bytes of a name that are no UTF-8
LINE = 2**20  # bytes of a CSV's line at most; a row of FER2013 has 10,000
SMALL = 5000  # bytes of a picture's file, up to which handing it to a thread costs more than decoding it (48 px: 2,000)
CHUNK = 256  # images read, checked and written at a time: about 0.6 MB, which stays in the processor's cache

Chunk = tuple[np.ndarray, pd.DataFrame]


def read(
    path: Path, size: int, unpacked: Path, notes: list[str], known: ClassMap
) -> tuple[tuple[str, ...], Iterator[Chunk]]:
    """Return the classes, and (images (m, size, size) uint8, table of m rows: label, split, ...) from any layout.

    Archives are unpacked into the folder `unpacked` first; what is left out or assumed is added to `notes`, which is
    whole after the last chunk. `known` says what a label stands for. Raises `ValueError` naming the first row or file
    at fault.
    """
    given, root, names = path, path, outer(path)
    if path.name.lower().endswith(ARCHIVES) and not path.is_dir():
        unpack(path, unpacked)
        path = root = unpacked
        while (
            path.is_dir() and len(inner := _entries(path)) == 1 and (inner[0].is_dir() or TABLE.search(inner[0].name))
        ):
            path = Path(inner[0].path)
            names += (_stem(path.name),)
    if path.is_dir():
        listed = (path / "train").is_dir()  # then a train.csv is but a list of its images
        wanted = [f"{name}.csv{end}" for name in PIXEL_TABLES[: -1 if listed else None] for end in ("", ".gz", ".xz")]
        found = {entry.name.lower(): entry for entry in _entries(path)}
        tables = [found[name].name for name in wanted if name in found and found[name].is_file()]
        if not tables:
            return _read_folder(root, given, outer(given), size, notes, known)
        others = [*tables[1:], *(f"{entry.name}/" for entry in found.values() if entry.is_dir())]
        if others:
            notes.append(f"read from {tables[0]} alone; beside it were left out {', '.join(others[:5])}")
        path = path / tables[0]
        names += (_stem(path.name),)
    if not TABLE.search(path.name):
        raise ValueError(f"{path.name} is no layout that ferlib reads; give a .csv (also .gz, .xz), a folder, a .zip, "
                         "a .tgz or a .npz")  # fmt: skip
    if not known.classes:
        how = "a function" if known.by_file else "folders"
        raise ValueError(f"classes is {how}, and {path.name} has no class folders; give a list of names or a mapping")
    return known.classes, (_read_npz if path.suffix.lower() == ".npz" else _read_csv)(path, names, size, notes, known)


def walk(folder: str | Path, above: str = "", seen: set[str] | None = None) -> Iterator[tuple[str, os.DirEntry]]:
    """Every file under a folder, through links: relative path and entry.

    Raises `ValueError` for a link to nowhere, up, or to a folder that another leads to, and for what cannot be named.
    """
    seen = set() if seen is None else seen
    seen.add(os.path.realpath(folder))
    for entry in _entries(folder):
        name = above + entry.name
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself
            is_folder = is_file = False
        if name.count("/") > DEEPEST or SURROGATES.search(name):
            raise ValueError(
                f"{name!a:.200} lies over {DEEPEST} folders deep, or its name is no UTF-8; move or rename it"
            )
        if is_folder and os.path.realpath(entry.path) not in seen:
            yield from walk(entry.path, f"{name}/", seen)
        elif is_file:
            yield name, entry
        else:
            around = f"{os.path.realpath(folder)}/".startswith(f"{os.path.realpath(entry.path)}/")
            told = "a folder above it" if around else "a folder that is read already" if is_folder else "nothing"
            raise ValueError(f"{name} is a link to {told}; remove it")


def _entries(folder: str | Path) -> list[os.DirEntry]:
    """What a folder holds, by name, without what operating systems and editors leave in it."""
    with os.scandir(folder) as entries:
        minded = [entry for entry in entries if entry.name not in SYSTEM and not entry.name.startswith("._")]
    return sorted(minded, key=lambda entry: entry.name)


def _stem(name: str) -> str:
    return re.sub(r"(\.(csv|npz|zip|tgz|tar|gz|xz))+$", "", name, flags=re.I)


def outer(path: Path) -> tuple[str, ...]:
    """The names that tell a path's split where nothing inside does: its own, and its parent's if it is a class folder.

    As it was given and, last, with links resolved.
    """
    names: list[str] = []
    for whole in (path.absolute(), path.resolve()):
        with contextlib.suppress(ValueError):
            names += [whole.parent.name] * (emotion_index(whole.name) >= 0)
        names.append(whole.name if path.is_dir() else _stem(whole.name))
    return tuple(names)


def _split_of(names: Iterable[str], what: str) -> str:
    """The split that the innermost of the names tells, "" if none does; `ValueError` for one that is like a test's."""
    for name in reversed(tuple(names)):
        key = _key(name)
        if key in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[key]
        if re.search(r"(?<!la)(?<!con)test|private|public", key):
            raise ValueError(f"{what}: {name!r} is the name of no split, though it sounds like a test's; known are "
                             f"{', '.join(SPLIT_FOLDERS)}: rename it")  # fmt: skip
    return ""


def _key(name: str) -> str:
    return "".join(filter(str.isalpha, name.lower())).removesuffix("set")


def beside(path: Path, names: Iterable[str] = (*VOTE_TABLES, "test.csv")) -> list[Path]:
    """The files of these names in the two folders above a path: what its reading looks at outside of it."""
    above = dict.fromkeys((*path.absolute().parents[:2], *path.resolve().parents[:2]))
    return [file for up in above for name in names if (file := up / name).is_file()]


def _read_csv(path: Path, names: tuple[str, ...], size: int, notes: list[str], known: ClassMap) -> Iterator[Chunk]:
    """The challenge's CSV: emotion, pixels (48*48 numbers of 0-255 and blanks), Usage (else its name tells).

    Its columns show that it is FER2013's layout, so that its numbers, 0 to 6, need no `classes=`.
    """
    if size != 48:
        raise ValueError(
            f"size {size} was asked of {path.name}, whose images are 48 px; resize in the transform instead"
        )
    opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix.lower(), io.FileIO)
    try:
        with io.BufferedReader(opener(path, "rb"), 1 << 20) as file:
            lines = _lines(file, path)
            head = next(lines, b"").removeprefix(b"\xef\xbb\xbf").lower()  # a byte-order mark
            columns = [field.strip().strip(b'"') for field in head.split(b",")]
            if b"usage" not in columns and b"split" in columns:
                columns[columns.index(b"split")] = b"usage"
            usual = {b"emotion", b"pixels"}
            if not usual <= set(columns) or not (b"usage" in columns or usual == set(columns)):
                found = b", ".join(columns).decode(errors="replace")[:80]
                hint = " (no labels: take train.csv or icml_face_data.csv)" if b"pixels" in columns else ""
                hint = " (beside other columns Usage must tell the split)" if usual <= set(columns) else hint
                hint = " (write commas between them)" if b";" in head or b"\t" in head else hint
                what = f"its first line is {found!r}{hint}"
                raise ValueError(f"{path.name} must have the columns emotion, pixels, Usage; {what}")
            if any(columns.count(name) > 1 for name in (*usual, b"usage")):
                raise ValueError(f"{path.name} has a column twice, of emotion, pixels, Usage; leave one of each")
            split = b""
            if b"usage" not in columns:
                split = (_split_of(names, path.name) or "Training").encode()
                test = path.with_name("test.csv")
                if path.name.lower() != "test.csv" and test.is_file():
                    with open(test, "rb") as other:
                        labelled = b"emotion" in other.readline(LINE).lower()
                    why = "it has labels: load it by its own name" if labelled else "the challenge's carries no labels"
                    notes.append(f"test.csv beside it was left out: {why}")
            where = [columns.index(name) for name in (b"emotion", b"pixels")]
            where.append(columns.index(b"usage") if b"usage" in columns else len(columns))
            rows: list[tuple[bytes, bytes, bytes]] = []
            first = 2  # the line of rows[0], as an editor counts them
            labels = {} if known.asked else {number.encode(): int(number) for number in ORDERS["fer2013"]}
            for number, line in enumerate(lines, start=2):
                fields = line.strip().replace(b'"', b"").split(b",")
                if len(fields) != len(columns):
                    ends = fields == [b""] and not any(map(bytes.strip, itertools.islice(lines, 1000)))
                    if ends and next(lines, None) is None:
                        break  # blank lines at the end
                    raise ValueError(f"{path.name}, line {number}: {len(fields)} fields where {len(columns)} are due")
                fields.append(split)  # what stands for a missing Usage
                rows.append((fields[where[0]], fields[where[1]], fields[where[2]]))
                if len(rows) == CHUNK:
                    yield _csv_chunk(rows, path.name, first, size, known, labels)
                    rows, first = [], number + 1
            if rows:
                yield _csv_chunk(rows, path.name, first, size, known, labels)
    except (EOFError, MemoryError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path.name} is broken or cut short: {error}; fetch it again") from error


def _lines(file: io.BufferedReader, path: Path) -> Iterator[bytes]:
    """A CSV's lines; `ValueError` for one longer than any row, and for more of them than the file could hold."""
    total, number = 0, 0
    while line := file.readline(LINE):
        total, number = total + len(line), number + 1
        if len(line) == LINE:
            raise ValueError(f"{path.name}, line {number}: over {LINE:,} bytes; a row of 48x48 pixels has some 10,000")
        if total > most(path):
            raise ValueError(f"{path.name} {bomb_told(path)}")
        yield line


def _csv_chunk(
    rows: list[tuple[bytes, bytes, bytes]], name: str, first: int, size: int, known: ClassMap, indices: dict[bytes, int]
) -> Chunk:
    """One chunk of rows (label, pixels, usage); `indices` keeps the class of each label text seen so far."""
    labels, splits, images = [], [], []
    usages = {split.encode(): split for split in SPLITS}
    for number, (label, pixels, usage) in enumerate(rows, start=first):
        label = label.strip()
        if label not in indices:
            try:
                indices[label] = known.index(label.decode(errors="replace"))
            except ValueError as error:
                allowed = "" if known.asked else "allowed are 0 to 6 and their names; "
                raise ValueError(f"{name}, line {number}: emotion is {shown(label)}; {allowed}{error}") from error
        if usage.strip() not in usages:
            raise ValueError(f"{name}, line {number}: Usage is {shown(usage)}; allowed are {', '.join(SPLITS)}")
        labels.append(indices[label])
        splits.append(usages[usage.strip()])
        images.append(pixels.strip())
    table = pd.DataFrame({"label": labels, "split": splits, "official": True})
    values = parse_pixels(images, size * size)
    if values is not None:
        return values.reshape(-1, size, size), table
    return np.stack([parse_row(text, name, first + i, size) for i, text in enumerate(images)]), table


def _read_npz(path: Path, names: tuple[str, ...], size: int, notes: list[str], known: ClassMap) -> Iterator[Chunk]:
    """Arrays images (n, h, w) or (n, h, w, 3) uint8, labels (n,) numbers or names, and maybe splits (n,) names."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            bomb = sum(entry.file_size for entry in listed(archive, path)) > most(path)
            arrays = {} if bomb else {name: np.asarray(array) for name, array in np.load(file).items()}
    except Exception as error:  # NumPy's headers fail in many ways, and each is this one file's
        raise ValueError(
            f"{path.name} cannot be read: {error!s:.200}; write numbers and texts with numpy.savez"
        ) from error
    if bomb:
        raise ValueError(f"{path.name} {bomb_told(path)}")
    if not {"images", "labels"} <= set(arrays):
        found = ", ".join(arrays) or "none"
        raise ValueError(f"{path.name} must have the arrays images and labels; it has {found:.200}")
    images, labels = arrays.pop("images"), arrays.pop("labels")
    splits = arrays.pop("splits" if "splits" in arrays else "split", None)
    if arrays:
        unread = ", ".join(arrays)
        raise ValueError(
            f"{path.name} has arrays that ferlib does not read: {unread:.200}; allowed are images, labels, splits"
        )
    if splits is None:
        splits = np.full(images.shape[:1], (_split_of(names, path.name) or "train").lower())
    if images.dtype != np.uint8 or 0 in images.shape or images.shape[3:] not in ((), (3,)) or images.ndim < 3:
        due = "uint8 (n, h, w) or (n, h, w, 3)"
        raise ValueError(f"{path.name}: images is {images.dtype} {images.shape}; due is {due}")
    if len(images) * max(48, size) ** 2 > most(path):  # tiny images, which are enlarged
        raise ValueError(f"{path.name} {bomb_told(path)}")
    for name, array, kinds in (("labels", labels, "iuU"), ("splits", splits, "U")):
        if array.shape != images.shape[:1] or array.dtype.kind not in kinds:
            due = f"({len(images)},) of {'names' if kinds == 'U' else 'whole numbers or names'}"
            raise ValueError(f"{path.name}: {name} is {array.dtype} {array.shape}; due is {due}")
    rows = []
    for i, split in enumerate(splits.tolist()):
        if _key(split) not in SPLIT_FOLDERS:
            raise ValueError(f"{path.name}, image {i}: split is {split!r:.40}; allowed are {', '.join(SPLIT_FOLDERS)}")
        rows.append((SPLIT_FOLDERS[_key(split)], str(labels[i]), split in SPLITS))
    table = pd.DataFrame(rows, columns=["split", "class", "official"])
    _label(table, path.name, "its labels", known, notes)
    images = images[..., ::-1] if images.ndim == 4 else images  # OpenCV's order is blue, green, red
    for start in range(0, len(table), CHUNK):
        made = [square(image, size) for image in images[start : start + CHUNK]]
        yield _chunk(made, table[start : start + CHUNK])


def _read_folder(
    root: Path, given: Path, names: tuple[str, ...], size: int, notes: list[str], known: ClassMap
) -> tuple[tuple[str, ...], Iterator[Chunk]]:
    """A tree of class folders; the split is in the file name (`PublicTest_123.jpg`), else in a folder (`train`)."""
    places, strangers, unnamed = [], [], 0
    for path, entry in walk(root):
        if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
            place = _place(path, (*names, *path.split("/")[:-1]), known)
            unnamed += place is None
            places += [] if place is None else [(*place, path)]
        elif entry.name not in UNMINDED:
            strangers.append(path)
    if unnamed:
        notes.append(f"left out {unnamed:,} images for which the function in classes= gave None")
    if not places:
        wanted = ", ".join(known.classes or EMOTIONS)
        raise ValueError(f"{given.name} holds no image in class folders such as train/happy/ ({wanted})")
    if strangers:
        more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
        notes.append(f"left out what ferlib does not read as an image: {', '.join(strangers[:5])}{more}")
    told = [place for place in places if place[0]]
    untold = [place for place in places if not place[0]]
    if told and untold:
        raise ValueError(f"{untold[0][3]} lies in no folder of a split, unlike {told[0][3]}; known are "
                         f"{', '.join(SPLIT_FOLDERS)}")  # fmt: skip
    places = told or [("Training", *place[1:]) for place in untold]
    places.sort(key=lambda place: (SPLITS.index(place[0]), [int(n) for n in re.findall(r"\d+", place[3])], place[3]))
    table = pd.DataFrame(places, columns=["split", "class", "official", "path"])
    if (table["class"] == "").any():
        if known.classes != EMOTIONS:
            raise ValueError(f"{given.name} is labelled by FER+'s votes, for the seven emotions; leave classes= out")
        return EMOTIONS, _image_chunks(root, _label_by_votes(root, given, table, notes), size)
    classes = _label(table, given.name, "its class folders", known, notes)
    return classes, _image_chunks(root, table, size)


def _label(table: pd.DataFrame, name: str, what: str, known: ClassMap, notes: list[str]) -> tuple[str, ...]:
    """Turn a table's column `class`, texts, into `label`, indices, in place; return the classes.

    Numbers without `classes=` count as FER2013's only where the source itself shows that they are: by its official file
    names, or by the count of each.
    """
    texts = table.pop("class")
    unique = sorted(set(texts))
    classes = known.classes
    if not classes:  # the names as they are, of folders or by a function
        seven = known.by_file and {canonical(text) for text in unique} <= set(EMOTIONS)
        classes = EMOTIONS if seven else tuple(unique)
        if len(classes) < 2:
            raise ValueError(f"{name} has the class {', '.join(classes)} alone; two are the least")
        indices = {text: classes.index(canonical(text) if seven else text) for text in unique}
    elif not known.asked and any(map(str.isdigit, unique)):
        numbers = pd.crosstab(table["split"], texts).reindex(columns=[*ORDERS["fer2013"]], fill_value=0)
        counts = {split: tuple(row) for split, row in zip(numbers.index, numbers.to_numpy().tolist(), strict=True)}
        by_name = {split: tuple(count for _, count in sorted(zip(EMOTIONS, due, strict=True)))
                   for split, due in FER2013_COUNTS.items()}  # fmt: skip
        fits = all(map(str.isdigit, unique)) and {*unique} <= {*ORDERS["fer2013"]}
        if fits and any(counts[split] == by_name[split] for split in counts):
            sorted_order = {str(number): emotion for number, emotion in enumerate(sorted(EMOTIONS))}
            raise ValueError(f"{what} are numbers of FER2013 in alphabetical order, by their counts; give "
                             f"classes={sorted_order}")  # fmt: skip
        shown = any(counts[split] == FER2013_COUNTS[split] for split in counts)
        if not fits or not (shown or ("path" in table and table["official"].all())):
            listed = ", ".join(unique[:9])
            raise ValueError(f"{name}: {what} are numbers ({listed}), and nothing shows what they stand for; {WAYS}")
        indices = {number: int(number) for number in unique}
        order = ", ".join(f"{number} {emotion}" for number, emotion in enumerate(EMOTIONS))
        notes.append(f"{what} are numbers, read in FER2013's order: {order}")
    else:
        indices = {}
        for text in unique:
            try:
                indices[text] = known.index(text)
            except ValueError as error:
                where = table["path"][texts == text].iloc[0] if "path" in table else f"image {(texts == text).argmax()}"
                raise ValueError(f"{name}, {where:.300}: {error}") from error
    table["label"] = texts.map(indices).astype(np.int64)
    return classes


def _image_chunks(root: Path, table: pd.DataFrame, size: int) -> Iterator[Chunk]:
    """The images of a table's column `path`, decoded, in chunks."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(table), CHUNK):
            part = table[start : start + CHUNK]
            large = (root / part["path"].iloc[0]).stat().st_size > SMALL  # which says enough of the others
            made = (pool.map if large else map)(lambda name: read_image(root, name, size), part["path"])
            yield _chunk(list(made), part)


def _chunk(made: list[tuple[np.ndarray, bool]], table: pd.DataFrame) -> Chunk:
    return np.stack([image for image, _ in made]), table.assign(cropped=[cropped for _, cropped in made])


def _place(path: str, folders: tuple[str, ...], known: ClassMap) -> tuple[str, str, bool] | None:
    """Split ("" if nothing tells it), class folder ("": FER+'s votes tell it) and whether the split is official.

    None where the function in `classes=` leaves the image out.
    """
    if folders[-1].lower() in ("fer2013train", "fer2013valid", "fer2013test"):
        return SPLIT_FOLDERS[_key(folders[-1])], "", True
    label, above = folders[-1], folders[:-1]
    if known.by_file is not None:
        said: object = known.by_file(path)
        above = folders
        if said is None:
            return None
        if not isinstance(said, str) or not said.strip():
            raise ValueError(f"the function in classes= gave {said!r:.80} for {path:.200}; it gives a name, or None")
        label = said
    elif _key(label) in SPLIT_FOLDERS and not label.isdigit():
        raise ValueError(f"{path:.300} lies in no class folder, but directly in {label}; put a folder a class into it")
    named = re.match(r"(Training|PublicTest|PrivateTest)_", path.rpartition("/")[2])
    return (named[1], label, True) if named else (_split_of(above, path), label, False)


def _label_by_votes(root: Path, given: Path, table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """FER+'s folders: each image's votes, and as label the class with the most; what is none of the seven is out."""
    if (table.pop("class") != "").any():
        raise ValueError(f"{given.name} holds both FER+'s folders and class folders; load one of them")
    tables = []
    for folder, part in table.groupby(table["path"].map(lambda name: Path(name).parent), sort=False):
        inside = [root / up / name for up in (folder, *folder.parents) for name in VOTE_TABLES]
        found = [file for file in (root / folder / "label.csv", *inside) if file.is_file()] + beside(given, VOTE_TABLES)
        if not found:
            name = folder.name or given.name
            raise ValueError(f"{name} lacks FER+'s votes; put label.csv into it or fer2013new.csv beside it")
        # Four names stand in FER+'s table twice; who writes its images in its order keeps the last.
        votes = read_votes(found[0]).drop_duplicates("image", keep="last").set_index("image")
        names = part["path"].map(lambda name: name.split("/")[-1])
        if not names.isin(votes.index).all():
            raise ValueError(f"{part['path'][~names.isin(votes.index)].iloc[0]} has no row in {found[0].name}")
        tables.append(part.assign(**votes.loc[names, list(VOTES)].set_index(part.index)))
    table = pd.concat(tables).sort_index()
    seven, kept = seven_votes(table[list(VOTES)].to_numpy())
    ties = kept & ((seven == seven.max(1, keepdims=True)).sum(1) > 1)
    notes.append(f"FER+: {(~kept).sum():,} images left out, with most votes for contempt, unknown or no face; "
                 f"{ties.sum():,} whose votes tie got the first such class in the order of EMOTIONS")  # fmt: skip
    return table.assign(label=seven.argmax(1))[kept].reset_index(drop=True)
