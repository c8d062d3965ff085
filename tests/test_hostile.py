"""Hostile input: bad files by the thousand for every reader; each gives a right result or a clear error, in time.

`FERLIB_TORTURE=10000 pytest -s -n0 tests/test_hostile.py` is the long run, and prints what became of the inputs.
"""

import contextlib
import copy
import csv
import gzip
import io
import itertools
import json
import lzma
import os
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from hostile import GOOD, NAMES, NASTY, Judge, emptied, examples, mutated, names, packed, tree, within
from hypothesis import given
from hypothesis import strategies as st
from on_disk import agreed, write_ferplus, write_votes
from PIL import Image
from safetensors.torch import load as load_tensors
from safetensors.torch import save

import lesson
from ferlib import data, evaluation, models, sample, training
from ferlib.apps import pictures
from ferlib.data import archives, ferplus, layouts
from ferlib.data.votes import VOTES, read_votes
from ferlib.emotions import EMOTIONS, SPLITS, emotion_index
from ferlib.lesson import CLAIM_COLUMNS
from ferlib.training.optim import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of long reprs
FACES = np.random.default_rng(0).integers(0, 256, (7, 48, 48), np.uint8)
FACES[1] = np.arange(2304).reshape(48, 48) // 9  # 0 to 255: one digit, two and three
LABELS = [3, 0, 1, 2, 4, 5, 6]
OFFICIAL = ["Training", "Training", "PublicTest", "PrivateTest", "Training", "PublicTest", "PrivateTest"]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty one, `in`, for what is given, and a cache beside it that must stay without leftovers."""
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    return tmp_path


def loaded(judge: Judge, room: Path, source: Path, size: int = 48) -> data.FaceDataset | None:
    """All splits of a source through the cache; nothing is written but a whole cache folder."""
    emptied(room / "cache")
    before = tree(room / "in")
    made = judge(lambda: data._load(source, size=size, sealed=True))
    assert tree(room / "in") == before
    assert sorted(os.listdir(room)) == ["cache", "in"], "something was written outside of its folder"
    kept = tree(room / "cache")
    assert len([name for name in kept if "/" not in name]) == (made is not None), f"left in the cache: {kept}"
    return made


def csv_of(faces: int, head: str = "emotion,pixels,Usage") -> bytes:
    file = io.StringIO()
    file.write(head + "\n")
    for image, label, split in zip(FACES[:faces], LABELS, OFFICIAL, strict=False):
        fields = {"emotion": str(label), "pixels": " ".join(map(str, image.ravel())), "usage": split}
        file.write(",".join(fields[name.strip().lower()] for name in head.split(",")) + "\n")
    return file.getvalue().encode()


def csv_by_hand(raw: bytes) -> tuple[list[int], list[str], list[list[int]]]:
    """Labels, splits (Training where there is no such column) and pixels of a CSV, in the plainest way."""
    head, *lines = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    names = [name.strip().strip(b'"').lower() for name in head.split(b",")]
    rows = [
        dict(zip(names, line.strip().replace(b'"', b"").split(b","), strict=True)) for line in lines if line.strip()
    ]
    usage = b"split" if b"split" in names and b"usage" not in names else b"usage"
    splits = [row.get(usage, b"Training").strip().decode() for row in rows]
    return [int(row[b"emotion"]) for row in rows], splits, [list(map(int, row[b"pixels"].split())) for row in rows]


# ---- the challenge's CSV


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Name, text and what is on disk of a CSV: whole fields are replaced, then bytes, then it is compressed."""
    head = draw(st.sampled_from(("emotion,pixels,Usage", "emotion, Usage, pixels", "emotion,pixels")))
    raw = csv_of(draw(st.integers(1, 3)), head)
    if draw(st.booleans()):
        rows = [line.split(b",") for line in raw.splitlines()]
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from((*NASTY, b"emotion", b"pixels", b"Usage", b"3")))
        rows.insert(draw(st.integers(0, len(rows))), draw(st.sampled_from(rows)))
        if draw(st.booleans()):
            rows = [[*row, draw(st.sampled_from((b"emotion", b"Usage", b"", b"0")))] for row in rows]
        raw = b"\n".join(map(b",".join, rows))
    if draw(st.booleans()):
        raw = draw(mutated(raw))
    name = draw(st.sampled_from(("fer2013.csv", "icml_face_data.csv", "fer2013.csv.gz", "fer2013.csv.xz", "train.CSV")))
    return name, raw, packed(draw, raw, Path(name).suffix)


def test_csv(room: Path):
    with Judge("csv") as judge:

        @examples(40)
        @given(csv_files(), st.one_of(st.none(), st.sampled_from((b"pixels\n", b"", *NASTY))))
        def check(made: tuple[str, bytes, bytes], beside: bytes | None) -> None:
            name, raw, whole = made
            emptied(room / "in")
            (room / "in" / name).write_bytes(whole)
            if beside is not None:
                (room / "in" / "test.csv").write_bytes(beside)
            dataset = loaded(judge, room, room / "in" / name)
            if dataset is not None and name[-3:] in (".gz", ".xz"):
                raw = gzip.decompress(whole) if name.endswith(".gz") else lzma.decompress(whole)
            if dataset is not None:
                labels, splits, pixels = csv_by_hand(raw)
                order = np.argsort([split == "PrivateTest" for split in splits], kind="stable")  # sealed ones come last
                np.testing.assert_array_equal(dataset.table["row"], order)
                np.testing.assert_array_equal(dataset.labels, np.array(labels)[order])
                np.testing.assert_array_equal(dataset.table["split"], np.array(splits)[order])
                np.testing.assert_array_equal(dataset.images.reshape(-1, 2304), np.array(pixels)[order])

        check()


# ---- archives


def png(face: int = 0) -> bytes:
    return cv2.imencode(".png", FACES[face])[1].tobytes()


CONTENTS = (png(), png(1), b"", b"no picture", csv_of(1), b"fer0000000.png,10,0,0,0,0,0,0,0,0,0\n")


@st.composite
def zips(draw: st.DrawFn) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names(draw):
            about = zipfile.ZipInfo("x")
            about.filename = name.encode("utf-8", "replace").decode()
            about.external_attr = draw(st.sampled_from((0o644, 0o120777, 0o10644, 0o40755))) << 16  # file, link, pipe
            about.compress_type = draw(st.sampled_from((0, 8, 8, 12, 14)))
            content = png(draw(st.integers(0, 1))) if name in GOOD else draw(st.sampled_from(CONTENTS))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that stand there twice
                archive.writestr(about, content)
    return draw(mutated(file.getvalue(), 3)) if draw(st.booleans()) else file.getvalue()


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    file = io.BytesIO()
    kinds = [bytes([kind]) for kind in b"0123456789SLKxg"]
    with tarfile.open(fileobj=file, mode="w", format=draw(st.sampled_from((0, 1, 2)))) as archive:
        for name in names(draw):
            about = tarfile.TarInfo(name)
            about.type = tarfile.REGTYPE if name in GOOD or draw(st.booleans()) else draw(st.sampled_from(kinds))
            about.mode = draw(st.sampled_from((0o644, 0, 0o4777)))
            about.linkname = draw(st.sampled_from(NAMES)) if about.type in (b"1", b"2") else ""
            content = png(draw(st.integers(0, 1))) if name in GOOD else draw(st.sampled_from(CONTENTS))
            about.size = len(content)
            try:
                archive.addfile(about, io.BytesIO(content))
            except (ValueError, UnicodeError):  # a name that this kind of tar cannot hold
                continue
    raw = bytearray(file.getvalue())
    if draw(st.sampled_from((False, False, True))):  # a size that was not written so, with its checksum right
        sizes = (
            b"77777777777\0",
            b"\xff" * 12,
            b"\x80" + b"\xff" * 11,
            b"\xff" * 11 + b"\0",
            b"\x80" + bytes(5) + b"\1" + bytes(5),
        )
        raw[124:136] = draw(st.sampled_from(sizes))
        raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 256 + sum(raw[156:512]))
    raw = bytes(raw)
    if draw(st.booleans()):
        raw = draw(mutated(raw, 3))
    end = draw(st.sampled_from((".gz", ".xz", "")))
    return packed(draw, raw, end)


def archive_is_right(dataset: data.FaceDataset | None, raw: bytes) -> None:
    if dataset is not None:
        known = {FACES[0].tobytes(), FACES[1].tobytes()}
        assert {image.tobytes() for image in dataset.images} <= known
        if "path" in dataset.table:  # none is lost on the way
            assert {name for name in GOOD if name.encode() in raw} <= set(dataset.table["path"])
        for path, label in zip(dataset.table.get("path", ()), dataset.labels, strict=False):
            folder = path.split("/")[-2] if "/" in path else ""
            assert folder in ("", *EMOTIONS[label : label + 1], "FER2013Train"), path


def test_zip(room: Path):
    with Judge("zip") as judge:

        @examples(50)
        @given(zips(), st.sampled_from(("fer.zip", "test.zip", "fer.tar")))
        def check(raw: bytes, name: str) -> None:
            (room / "in" / name).write_bytes(raw)
            archive_is_right(loaded(judge, room, room / "in" / name), raw)
            (room / "in" / name).unlink()

        check()


def test_tar(room: Path):
    with Judge("tar") as judge:

        @examples(50)
        @given(tars(), st.sampled_from(("fer.tgz", "fer.tar", "fer.tar.gz", "train.tgz")))
        def check(raw: bytes, name: str) -> None:
            (room / "in" / name).write_bytes(raw)
            archive_is_right(loaded(judge, room, room / "in" / name), raw)
            (room / "in" / name).unlink()

        check()


# ---- folders and images


@st.composite
def images(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """A file's end, an image that it could hold whole, and that with faults."""
    kind = draw(st.sampled_from(sorted(layouts.IMAGE_SUFFIXES)))
    shape = draw(st.sampled_from(((48, 48), (48, 48, 3), (48, 48, 4), (1, 90), (3, 2, 3))))
    dtype = draw(st.sampled_from((np.uint8, np.uint8, np.uint16))) if kind in (".png", ".tif", ".tiff") else np.uint8
    if kind == ".pgm":
        shape = shape[:2]
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    whole = cv2.imencode(kind, image)[1].tobytes()
    end = draw(st.sampled_from((kind, kind, kind, kind.upper(), ".png", ".jpg", ".tif")))
    return end, whole, draw(st.one_of(mutated(whole, 3), mutated(whole, 3), st.just(whole)))


def by_pillow(raw: bytes) -> np.ndarray | None:
    """A gray picture of 48 px of a kind that keeps every bit; None for any other, and where Pillow reads none."""
    with contextlib.suppress(Exception), Image.open(io.BytesIO(raw)) as opened:
        if (opened.mode, opened.size) == ("L", (48, 48)) and opened.format in ("PNG", "PPM", "BMP"):
            return np.asarray(opened)
    return None


def test_images_of_a_folder(room: Path):
    with Judge("image in a folder") as judge:

        @examples(50)
        @given(images(), st.sampled_from((48, 48, 48, 1, 1024)))
        def check(made: tuple[str, bytes, bytes], size: int) -> None:
            end, whole, raw = made
            file = room / "in" / "fer" / "train" / "happy" / f"a{end}"
            emptied(file.parent)
            file.write_bytes(raw)
            dataset = loaded(judge, room, room / "in" / "fer", size)
            if dataset is not None:
                assert dataset.images.shape == (1, size, size) and dataset.images.dtype == np.uint8
                assert dataset.labels.tolist() == [3] and dataset.table["split"].tolist() == ["Training"]
                said = by_pillow(raw)
                if size == 48 and said is not None:
                    np.testing.assert_array_equal(dataset.images[0], said)
                if whole[:4] == b"\x89PNG" == raw[:4]:  # a checksum tells all that is wrong
                    before = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_UNCHANGED)
                    after = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
                    np.testing.assert_array_equal(after, before)

        check()


PARTS = (
    "train", "test", "Training", "happy", "sad", "3", "angry", "FER2013Train", "private", "smug", "a.png", "a.PNG",
    "PublicTest_1.png", "im0.jpg", "x.txt", "train.csv", "label.csv", "fer2013new.csv", ".DS_Store", "a\nb.png",
    "<b>.png", "\udcff.png", "\udce9t\udce9", "n" * 250 + ".png", "a" * 255, "~", "-rf", "$(x).png", "\u202e.png",
)  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, object]]:
    """Paths and what they are: a file's content, None for a folder, a text for a link to it."""
    made: list[tuple[str, object]] = []
    for _ in range(draw(st.integers(1, 3))):
        split, label = draw(st.sampled_from(("train", "val", "Test_Set"))), draw(st.sampled_from(EMOTIONS))
        made.append((f"{split}/{label}/{len(made)}.png", png(draw(st.integers(0, 1)))))
    for _ in range(draw(st.sampled_from((0, 1, 1, 2, 6)))):
        path = "/".join(draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4)))
        link = "/".join(draw(st.lists(st.sampled_from((*PARTS, "..", "..", ".")), min_size=1, max_size=3)))
        made.append((path, draw(st.one_of(st.sampled_from(CONTENTS), st.none(), st.just(link)))))
    return draw(st.permutations(made))


def plant(root: Path, made: list[tuple[str, object]]) -> None:
    emptied(root)
    for path, what in made:
        file = root / path
        try:
            if not Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(root)):  # through a planted link
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            if what is None:
                file.mkdir()
            elif isinstance(what, bytes):
                file.write_bytes(what)
            else:
                file.symlink_to(what)
        except OSError:  # two of the paths cannot both be
            continue


def test_folders(room: Path):
    with Judge("folder") as judge:

        @examples(40)
        @given(trees())
        def check(made: list[tuple[str, object]]) -> None:
            plant(room / "in" / "fer", made)
            dataset = loaded(judge, room, room / "in" / "fer")
            if dataset is not None:
                known = {FACES[0].tobytes(), FACES[1].tobytes()}
                assert {image.tobytes() for image in dataset.images} <= known
                for path, label in zip(dataset.table.get("path", ()), dataset.labels, strict=False):
                    folder = path.split("/")[-2] if "/" in path else ""
                    assert folder == "FER2013Train" or emotion_index(folder) == label
                if "path" in dataset.table and not {*dataset.table} & {*VOTES}:
                    root, splits = room / "in" / "fer", {"train": "Training", "val": "PublicTest"}
                    there = {
                        os.path.relpath(os.path.join(at, name), root)
                        for at, _, files in os.walk(root, followlinks=True)
                        for name in files
                        if name.lower().endswith((".png", ".jpg")) and ".DS_Store" not in os.path.relpath(at, root)
                    }
                    assert there == set(dataset.table["path"])
                    for path, split, image in zip(
                        dataset.table["path"], dataset.table["split"], dataset.images, strict=True
                    ):
                        if re.fullmatch(r"(train|val|Test_Set)/[a-z]+/\d\.png", path):
                            assert split == splits.get(path.split("/")[0], "PrivateTest")
                        np.testing.assert_array_equal(image, by_pillow((root / path).read_bytes()))

        check()


# ---- .npz


@st.composite
def npzs(draw: st.DrawFn) -> bytes:
    count = draw(st.integers(0, 3))
    images = draw(st.sampled_from((
        *[FACES[:count]] * 8, FACES[:count].astype(np.float32), FACES[:count, :5, :7],
        np.stack([FACES[:count]] * 3, -1),
        np.stack([FACES[:count]] * 4, -1), FACES[0], np.uint8(3), np.zeros((count, 0, 9), np.uint8),
        FACES[:count].astype("U3"), np.array([{}] * count, object), FACES[:count].astype(">u2"),
    )))  # fmt: skip
    labels = draw(st.sampled_from((
        *[np.array([EMOTIONS[label] for label in LABELS[:count]]), np.array(["happy", "Sad", "fear"][:count])] * 6,
        np.array(LABELS[:count]), np.array([7, -1, 99][:count]),
        np.array([np.nan] * count), np.array([2**63] * count, np.uint64), np.array(["x" * 50000] * count),
        np.array([b"happy"] * count), np.array([None] * count), np.array([["happy"]] * count), np.array("happy"),
        np.array(["<script>\n"] * count), np.array([1j] * count), np.array(["2020"] * count, "M8"),
        np.array([(1, 2)] * count, "i4,i4"), np.array([True, False, True][:count]),
    )))  # fmt: skip
    splits = draw(st.sampled_from((
        *[None, np.array(OFFICIAL[:count]), np.array(["train", "test_set", "VAL"][:count])] * 3,
        np.array(["no"] * count),
        np.array(["y" * 50000] * count), np.array([0] * count), np.array([b"train"] * count),
    )))  # fmt: skip
    arrays = {draw(st.sampled_from((*["images"] * 9, "image"))): images, "labels": labels}
    arrays |= {} if splits is None else {draw(st.sampled_from(("splits", "split"))): splits}
    arrays |= draw(
        st.sampled_from(({}, {}, {}, {}, {}, {}, {"more": np.zeros(3)}, {"\n": np.zeros(3)}, {"m" * 9000: np.zeros(3)}))
    )
    file = io.BytesIO()
    if draw(st.sampled_from((True, True, True, False))):
        draw(st.sampled_from((np.savez, np.savez_compressed)))(file, **arrays)
    else:  # one array, no file of several
        np.save(
            file, draw(st.sampled_from((*arrays.values(), np.array([[1, 2], [3, 4]]), np.array([["images", "x"]]))))
        )
    raw = file.getvalue()
    if (
        draw(st.sampled_from((False, False, False, True))) and b"'shape': (" in raw
    ):  # a header that claims something else, of equal length
        at = raw.index(b"'shape': (") + 10
        claim = draw(st.sampled_from((b"9" * 15 + b",", b"-1,", b"2**62,", b"(" * 60, b"1e5,", b"__import__('os'),")))
        raw = raw[:at] + claim + raw[at + len(claim) :]
    return draw(mutated(raw, 3)) if draw(st.booleans()) else raw


def test_npz(room: Path):
    with Judge("npz") as judge:

        @examples(60)
        @given(npzs())
        def check(raw: bytes) -> None:
            (room / "in" / "fer.npz").write_bytes(raw)
            dataset = loaded(judge, room, room / "in" / "fer.npz")
            if dataset is not None:
                with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                    labels, gray = [emotion_index(label) for label in arrays["labels"].tolist()], arrays["images"]
                    splits = [arrays[name].tolist() for name in ("splits", "split") if name in arrays.files]
                order = dataset.table["row"].to_numpy()
                assert dataset.labels.tolist() == np.array(labels)[order].tolist()
                assert sorted(order.tolist()) == list(range(len(gray)))
                if gray.shape[1:] == (48, 48):
                    np.testing.assert_array_equal(dataset.images, gray[order])
                elif gray.shape[1:] == (48, 48, 3):
                    assert abs(dataset.images - gray[order] @ np.array([0.299, 0.587, 0.114])).max() <= 1
                told = {"train": "Training", "test_set": "PrivateTest", "VAL": "PublicTest"}
                due = [told.get(name, name) for name in splits[0]] if splits else ["Training"] * len(gray)
                assert dataset.table["split"].tolist() == np.array(due)[order].tolist()

        check()


# ---- FER+'s votes


def test_votes(room: Path):
    votes = [agreed(label) for label in LABELS]
    raw = write_votes(room / "in" / "fer2013new.csv", votes, OFFICIAL).read_bytes()
    faces = data.FaceDataset(FACES, pd.DataFrame({"label": LABELS, "split": OFFICIAL, "row": range(7)}), "faces")

    @st.composite
    def tables(draw: st.DrawFn) -> bytes:
        rows = [line.split(b",") for line in raw.splitlines()]
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from((*NASTY, b"10", b"3", b"NF")))
        made = b"\n".join(map(b",".join, rows))
        return draw(mutated(made, 2)) if draw(st.booleans()) else made

    with Judge("FER+ votes") as judge:

        @examples(60)
        @given(tables(), st.sampled_from(ferplus.SCHEMES))
        def check(table: bytes, how: str) -> None:
            (room / "in" / "fer2013new.csv").write_bytes(table)
            joined = judge(lambda: ferplus.join(faces, room / "in" / "fer2013new.csv", how=how))
            if joined is not None:
                kept = joined.table["row"].tolist()
                lines = [row for row in csv.reader(io.StringIO(table.decode("utf-8-sig"), newline="")) if row]
                for row, label in zip(kept, joined.labels, strict=True):
                    given = list(map(int, lines[row + 1][2:]))
                    assert min(given) >= 0 and max(given) == given[{6: 0, 3: 1, 5: 2, 4: 3, 0: 4, 1: 5, 2: 6}[label]]
                    assert lines[row + 1][0] == joined.table["split"][kept.index(row)]
                assert joined.targets is None or np.isfinite(joined.targets).all()

        check()


def test_votes_of_a_folder(room: Path):
    with Judge("label.csv of a folder") as judge:

        @examples(25)
        @given(st.data())
        def check(drawn: st.DataObject) -> None:
            root = write_ferplus(emptied(room / "in" / "fer"), FACES[:2], [agreed(3), agreed(0)], ["Training"] * 2)
            table = root / "FER2013Train" / "label.csv"
            table.write_bytes(drawn.draw(mutated(table.read_bytes(), 2)))
            emptied(room / "cache")
            dataset = judge(lambda: data._load(root, size=48, sealed=True))
            if dataset is not None:
                assert set(dataset.table["split"]) <= set(SPLITS) and len(dataset) <= 2
                lines = list(csv.reader(io.StringIO(table.read_bytes().decode("utf-8-sig"), newline="")))
                said = {row[0]: [*map(int, row[-10:])] for row in lines if row}
                for row, label in zip(dataset.table.to_dict("records"), dataset.labels, strict=True):
                    votes = said[row["path"].rpartition("/")[2]]
                    assert [row[name] for name in VOTES] == votes
                    assert max(votes) == votes[{6: 0, 3: 1, 5: 2, 4: 3, 0: 4, 1: 5, 2: 6}[label]]

        check()


# ---- the cache


def test_cache(room: Path):
    source = room / "in" / "fer2013.csv"
    source.write_bytes(csv_of(4))
    whole = data._load(source, size=48, sealed=True)
    (kept,) = (room / "cache").iterdir()
    good = {name: (kept / name).read_bytes() for name in tree(kept)}
    assert len(good) == 4

    with Judge("cache", errors=False) as judge:

        @examples(25)
        @given(st.sampled_from(sorted(good)), st.data())
        def check(name: str, drawn: st.DataObject) -> None:
            (kept / name).write_bytes(drawn.draw(st.one_of(mutated(good[name], 2), st.sampled_from(NASTY))))
            again = judge(lambda: data._load(source, size=48, sealed=True))
            assert again is not None
            np.testing.assert_array_equal(again.images, whole.images)
            assert again.table.equals(whole.table) and again.notes == whole.notes
            assert sorted(os.listdir(room / "cache")) == [kept.name]
            for other, raw in good.items():
                (kept / other).write_bytes(raw)

        check()


# ---- models


WRONG: list[object] = [
    None, True, -1, 0, 3, 10**6, 10**30, 1e308, float("nan"), float("-inf"), "", "x" * 5000, "../../x",
    "hf-hub:evil/model", "vit_giant_patch14_224", "resnet18", "plain_cnn", [], [0], [10**9] * 4, [1] * 4, [4096] * 4,
    ["x"], {}, {"x": 1}, [[[]]],
]  # fmt: skip


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = models.build_model("fernet", widths=(4, 4, 4, 4))
    return models.save_model(model, tmp_path_factory.mktemp("model"), temperature=1.5, epoch=3)


def signed(about: dict[str, object], tensors: dict[str, torch.Tensor]) -> bytes:
    """A model's file with these facts, its hashes right: who makes a bad file can do so."""
    about = about | {"weights_sha256": models._hash(tensors)}
    about = json.loads(json.dumps({name: fact for name, fact in about.items() if name != "about_sha256"}))
    return save(tensors, {"ferlib": json.dumps(about | {"about_sha256": models._hash_about(about)})})


@st.composite
def model_files(draw: st.DrawFn, whole: bytes) -> bytes:
    if draw(st.booleans()):
        return draw(mutated(whole, 2))
    tensors = load_tensors(whole)
    (length,) = struct.unpack("<Q", whole[:8])
    about = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["ferlib"])
    for _ in range(draw(st.integers(1, 2))):
        facts = draw(
            st.sampled_from([about, about.get("built_with"), about.get("built_with"), about.get("input_spec")])
        )
        if isinstance(facts, dict):
            names = (*facts, "pretrained", "checkpoint_path", "features_only", "img_size")
            facts[draw(st.sampled_from(names))] = copy.deepcopy(draw(st.sampled_from(WRONG)))  # may be filled next
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(tensors)))
        tensors[name] = draw(st.sampled_from((
            tensors[name] * float("nan"), tensors[name].half(), tensors[name].double(), tensors[name].bool(),
            torch.zeros(0), tensors[name].reshape(-1)[:1], tensors[name].to(torch.complex64),
        )))  # fmt: skip
    return signed(about, tensors)


def test_checkpoints(room: Path, model_file: Path):
    whole, digest = model_file.read_bytes(), models.model_hash(models.load_model(model_file))
    path = room / "in" / "model.safetensors"
    with Judge("checkpoint") as judge:

        @examples(50)
        @given(st.one_of(model_files(whole), st.just(whole)))
        def check(raw: bytes) -> None:
            path.write_bytes(raw)
            model = judge(lambda: models.load_model(path))
            assert tree(room / "in") == ["model.safetensors"]
            if model is not None:
                assert models.model_hash(model) == digest or raw != whole
                said = load_tensors(raw)  # by what wrote them
                weights = model.network.state_dict()
                assert weights.keys() == said.keys()
                assert all(  # torch takes one number of any shape for a number
                    torch.equal(value, said[name].to(value.dtype).reshape(value.shape))
                    for name, value in weights.items()
                )
                spec = model.input_spec
                assert spec.size <= 1024
                if spec.size <= 64:
                    with torch.no_grad():
                        logits = model(torch.zeros(1, spec.channels, 48, 48))
                    assert logits.isfinite().all() and logits.shape[1] == len(model.classes)

        check()


# ---- what runs leave: logits, states, exported models


def test_logits(room: Path):
    rng, path = np.random.default_rng(0), room / "in" / "logits.npz"
    good = evaluation.Predictions(rng.normal(size=(20, 7)).astype(np.float32), rng.integers(0, 7, 20))
    good.save(path)
    whole = path.read_bytes()
    arrays = st.sampled_from([
        good.logits, good.labels.astype(np.uint8), good.logits.T, good.logits[:, :6], good.logits * np.nan,
        good.labels + 7, good.labels - 1, good.labels.astype(float), np.array(["happy"] * 20), np.zeros(0), np.array(3),
        good.logits > 0,
        good.logits.astype(complex), np.array(["2020"] * 20, "M8"), np.zeros((20, 7), [("a", "f4")]),
    ])  # fmt: skip

    @st.composite
    def others(draw: st.DrawFn) -> bytes:
        made = io.BytesIO()
        np.savez(
            made, **{draw(st.sampled_from(("logits", "labels", "logits.npy", "x"))): draw(arrays) for _ in range(2)}
        )
        return made.getvalue()

    with Judge("logits") as judge:

        @examples(50)
        @given(st.one_of(mutated(whole), others(), st.just(whole)))
        def check(raw: bytes) -> None:
            path.write_bytes(raw)
            found = judge(lambda: evaluation.Predictions.load(path))
            if found is not None:
                assert found.logits.shape == (len(found.labels), 7) and np.isfinite(found.probabilities).all()
                with np.lib.npyio.NpzFile(io.BytesIO(raw)) as said:  # np.load minds what stands before it
                    assert np.array_equal(found.logits, said["logits"]) and np.array_equal(found.labels, said["labels"])
                assert raw != whole or np.array_equal(found.logits, good.logits)

        check()


def changed_state(draw: st.DrawFn, state: dict[str, Any]) -> None:
    """Put something wrong somewhere into a state, at any depth."""
    inner: Any = state
    while True:
        key = draw(st.sampled_from(sorted(inner, key=str) if isinstance(inner, dict) else range(len(inner))))
        deeper = inner[key]
        if isinstance(deeper, (dict, list)) and len(deeper) and draw(st.booleans()):
            inner = deeper
            continue
        if isinstance(inner, dict) and draw(st.booleans()):
            del inner[key]
        else:
            inner[key] = draw(st.sampled_from([
                None, -1, "", [], {}, float("nan"), torch.zeros(3), torch.zeros(0), torch.tensor([1, 2]), 10**30, [{}],
                (1,), {"x": torch.zeros(2)}, True, b"x", [[1]],
            ]))  # fmt: skip
        return


def test_states_of_a_run(room: Path):
    """Of a run that has one epoch left: what is taken up is trained with, and ends as the run would have."""
    images, table = sample.draw(40, seed=1, balance="equal")
    faces = data.FaceDataset(images, table.assign(row=range(40)), "tiny")
    config = TrainConfig(epochs=2, batch_size=20, precision="fp32", ema=0.9)

    def run(out: Path, resume: bool = False) -> training.FitResult:
        torch.manual_seed(0)
        model = models.build_model("fernet", widths=(4, 4, 4, 4), depths=(1, 1, 1))
        return training.fit(model, faces, faces.subset(range(8)), config, out=out, resume=resume, progress=False)

    real = training._Run.epoch
    first = mock.patch.object(training._Run, "epoch", lambda self, number: real(self, number if number < 2 else 1 / 0))
    with first, pytest.raises(ZeroDivisionError):
        run(room / "in")
    path = room / "in" / "state.pt"
    whole, half = path.read_bytes(), tree(room / "in")
    uninterrupted = run(room / "beside")

    @st.composite
    def states(draw: st.DrawFn) -> bytes:
        state = torch.load(io.BytesIO(whole), weights_only=True)
        for _ in range(draw(st.integers(1, 2))):
            if state:
                changed_state(draw, state)
        made = io.BytesIO()
        torch.save(state, made)
        return made.getvalue()

    with Judge("state of a run") as judge:

        @examples(25)
        @given(st.one_of(mutated(whole, 2), states(), st.just(whole)))
        def check(raw: bytes) -> None:
            path.write_bytes(raw)
            found = judge(lambda: run(room / "in", True))
            assert tree(room / "in") == half
            if found is None:
                assert path.read_bytes() == raw, "what could not be gone on with was written over"
                return
            said = torch.load(io.BytesIO(raw), weights_only=True)
            before = len(said["history"])
            columns = ["epoch", "train_loss", "val_loss", "val_accuracy"]
            rows = found.history[columns].to_numpy(float)
            assert len(rows) == 2
            np.testing.assert_array_equal(
                rows[:before],
                np.array([[row[name] for name in columns] for row in said["history"]], float).reshape(-1, 4),
            )
            if raw == whole:
                np.testing.assert_array_equal(rows, uninterrupted.history[columns])
                for name, value in uninterrupted.model.state_dict().items():
                    assert torch.equal(found.model.state_dict()[name], value)

        check()


# ---- pictures and videos


@pytest.fixture(scope="module")
def pictures_of_all_kinds() -> dict[str, bytes]:
    made = {}
    for kind in ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "ICO", "TGA", "PCX", "SGI"):
        for mode in ("L", "RGB", "RGBA", "P", "I;16", "CMYK", "F"):
            file = io.BytesIO()
            image = Image.fromarray(np.stack([FACES[0]] * 3, -1))
            with contextlib.suppress(OSError, ValueError, KeyError):  # what a kind cannot hold
                frames = {"save_all": True, "append_images": [image]} if kind == "GIF" else {}
                image.convert("L" if mode == "I;16" else mode).convert(mode).save(file, kind, **frames)
                made[f"{kind} {mode}"] = file.getvalue()
    return made


def test_pictures(room: Path, pictures_of_all_kinds: dict[str, bytes]):
    assert len(pictures_of_all_kinds) > 25
    with Judge("picture") as judge:

        @examples(80)
        @given(
            st.sampled_from(sorted(pictures_of_all_kinds)), st.sampled_from((".png", ".jpg", ".heic", "")), st.data()
        )
        def check(kind: str, end: str, drawn: st.DataObject) -> None:
            path = room / "in" / f"a{end}"
            path.write_bytes(drawn.draw(mutated(pictures_of_all_kinds[kind], 3)))
            image = judge(lambda: pictures.read_image(path))
            if image is not None:
                assert image.dtype == np.uint8 and image.size and (image.ndim == 2 or image.shape[2:] == (3,))
                with contextlib.ExitStack() as stack:
                    stack.enter_context(warnings.catch_warnings())
                    warnings.simplefilter("ignore")
                    said = stack.enter_context(Image.open(path))
                    assert {*image.shape[:2]} == {*said.size}
                    if said.mode in ("L", "RGB") and not said.getexif().get(274) and not said.has_transparency_data:
                        assert np.array_equal(image, np.asarray(said))
            path.unlink()

        check()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    made = {}
    for name, code in (("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("b.avi", "PNG ")):
        path = tmp_path_factory.mktemp("video") / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (64, 48))
        for _ in range(5):
            writer.write(np.stack([FACES[0]] * 3, -1)[:, np.arange(64) % 48])
        writer.release()
        if path.is_file() and path.stat().st_size > 1000:
            made[name] = path.read_bytes()
    assert "a.avi" in made
    return made


def test_videos(room: Path, videos: dict[str, bytes]):
    with Judge("video") as judge:

        @examples(30)
        @given(
            st.sampled_from(sorted(videos)), st.sampled_from((".avi", ".mp4", ".mkv", "%02d.mov", "1.webm")), st.data()
        )
        def check(kind: str, end: str, drawn: st.DataObject) -> None:
            path = room / "in" / f"a{end}"
            path.write_bytes(drawn.draw(mutated(videos[kind], 3)))
            shots = judge(lambda: list(itertools.islice(pictures.read_shots(path), 200))) or []
            for shot in shots:
                assert shot.file == str(path) and (shot.image is None) == bool(shot.error)
                assert shot.image is None or (shot.image.dtype == np.uint8 and shot.image.shape[2:] == (3,))
            assert shots
            if shots[-1].error:
                judge.told, judge.right = judge.told + 1, judge.right - 1
            path.unlink()

        check()


# ---- what is no file of one reader alone


@pytest.mark.parametrize("name", ["\0", "a\0b.csv", "~nobody-is-called-so/x", "x" * 5000, "\udcff", "a/" * 3000, "\n"])
def test_paths_that_cannot_be_are_not_there(name: str):
    for read in (data.load, models.load_model, data.all_counts):
        with pytest.raises(FileNotFoundError, match="does not exist|is neither|is not there"):
            read(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("name", ["x.csv", "x.zip", "model.safetensors"])
def test_what_is_neither_file_nor_folder_is_not_waited_for(room: Path, name: str):
    os.mkfifo(path := room / "in" / name)
    for read in (data.load, models.load_model):
        with (
            within(5),
            pytest.raises(ValueError, match="is neither a file nor a folder|is no file; give a run's folder"),
        ):
            read(path)


class Mark:
    """Leaves a file behind when a pickle of it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_no_foreign_pickle_is_loaded(room: Path, model_file: Path):
    mark, source = room / "loaded", room / "in" / "fer2013.csv"
    source.write_bytes(csv_of(4))
    whole = data._load(source, size=48, sealed=True)
    (kept,) = (room / "cache").iterdir()
    objects = np.array([Mark(mark)], object)
    assert pickle.loads(pickle.dumps(objects)).shape == (1,) and mark.exists()
    mark.unlink()
    np.savez(kept / "table.npz", label=objects, split=objects)
    np.savez(room / "in" / "fer.npz", images=FACES[:1], labels=objects)
    for path in (
        room / "in" / "model.safetensors",
        room / "in" / "x.npz",
        room / "in" / "x.csv",
        room / "in" / "x.zip",
    ):
        path.write_bytes(pickle.dumps(objects))
    torch.save({"built_with": Mark(mark)}, room / "in" / "m.safetensors")
    with pytest.warns(UserWarning, match="is damaged .*allow_pickle=False"):
        assert data._load(source, size=48, sealed=True).table.equals(whole.table)
    for read, name in (
        (data.load, "fer.npz"), (data.load, "x.npz"), (data.load, "x.csv"), (data.load, "x.zip"),
        (models.load_model, "model.safetensors"), (models.load_model, "m.safetensors"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            read(room / "in" / name)
    assert not mark.exists()


# ---- bombs: little on disk, much in memory


def zeros(size: int, pack) -> bytes:
    return pack(bytes(size))


def claims(size: int) -> bytes:
    """A .tar whose one entry, a file, claims to be of that size."""
    about = tarfile.TarInfo("train/happy/1.png")
    about.size = size
    return about.tobuf(tarfile.GNU_FORMAT)


def long_name(size: int) -> bytes:
    about = tarfile.TarInfo("././@LongLink")
    about.type, about.size = b"L", size
    return about.tobuf(tarfile.GNU_FORMAT) + bytes(2**26)


def zip_that_claims(size: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", 8) as archive:
        archive.writestr("train/happy/1.png", bytes(2**20))
    raw = bytearray(file.getvalue())
    at = raw.index(b"PK\1\2") + 24
    raw[at : at + 4] = struct.pack("<I", size)
    return bytes(raw)


def npz_of(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def picture_bomb(kind: str, side: int, mode: str = "1") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, kind, **({"compression": "tiff_deflate"} if kind == "TIFF" else {}))
    return file.getvalue()


def header_that_claims(kind: str, side: int) -> bytes:
    raw = bytearray(cv2.imencode(kind, FACES[0])[1].tobytes())
    if kind == ".png":
        raw[16:24] = struct.pack(">II", side, side)
        raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    elif kind == ".bmp":
        raw[18:26] = struct.pack("<II", side, side)
    elif kind == ".jpg":
        at = raw.index(b"\xff\xc0") + 5
        raw[at : at + 4] = struct.pack(">HH", side, side)
    else:
        raw[:9] = b"P5\n%d %d\n255\n" % (side, side)
    return bytes(raw)


def bzipped(name: str, size: int) -> bytes:
    """A .zip that unpacks all of 64 KiB at once, whatever size it claims."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(name, bytes(size))
    raw = bytearray(file.getvalue())
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        raw[raw.index(mark) + at : raw.index(mark) + at + 4] = struct.pack("<I", 100)
    return bytes(raw)


def radiance(side: int) -> bytes:
    """A picture of a kind that OpenCV reads and Pillow does not, packed by the lengths of its runs."""
    runs, left = divmod(side, 127)
    row = b"\2\2" + struct.pack(">H", side) + 4 * (b"\xff\x80" * runs + bytes((128 + left, 128)))
    return b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (side, side) + row * side


def fractions_tiff(side: int) -> bytes:
    """Three floats a pixel, which Pillow does not know."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "TIFF", compression="tiff_deflate", tiffinfo={339: (2, 2, 2)})
    return file.getvalue()


def two_sizes_tiff(side: int) -> bytes:
    """Both sides stand there twice, first as they are, then as 48."""
    raw = picture_bomb("TIFF", side)
    at = int.from_bytes(raw[4:8], "little")
    count = int.from_bytes(raw[at : at + 2], "little")
    entries = [raw[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    for tag in (257, 256):
        (place,) = (i for i, entry in enumerate(entries) if int.from_bytes(entry[:2], "little") == tag)
        entries.insert(place + 1, struct.pack("<HHII", tag, 4, 1, 48))
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return raw[:4] + struct.pack("<I", len(raw)) + raw[8:] + table


LARGE = "has over 33,554,432 pixels; save it smaller"
BOMBS = {
    "claims.zip": (lambda: zip_that_claims(2**32 - 2), "was refused: it would unpack to over 1,073,741,824 bytes"),
    "claims.tar": (lambda: claims(2**32) + bytes(1024), "was refused: it would unpack to over"),
    "claims.tgz": (lambda: gzip.compress(claims(2**40) + bytes(1024)), "was refused: it would unpack to over"),
    "name.tgz": (lambda: gzip.compress(long_name(2**33), 1), "a header claims 8,589,934,592 bytes"),
    "line.csv.gz": (lambda: gzip.compress(b"emotion,pixels,Usage\n" + b"0 " * 2**25, 1),
                    "line 2: over 1,048,576 bytes"),
    "line.csv.xz": (lambda: lzma.compress(bytes(2**26), preset=0), "line 1: over 1,048,576 bytes"),
    "many.npz": (lambda: npz_of(images=np.zeros((2**19, 1, 1), np.uint8), labels=np.zeros(2**19, np.uint8)),
                 "was refused: it would unpack"),
    "bzip2.zip": (lambda: bzipped("fer2013.csv", 2**29), "'fer2013.csv' is packed by bzip2, LZMA or another way"),
    "bzip2.npz": (lambda: bzipped("images.npy", 2**29), "'images.npy' is packed by bzip2, LZMA or another way"),
    "blank.csv.xz": (lambda: lzma.compress(csv_of(7) + b"\n" * 2**26, preset=0), "line 9: 1 fields where 3 are due"),
    "0.png": (lambda: radiance(6600), "0.png cannot be read as an image"),
    "0.tif": (lambda: fractions_tiff(8000), "0.tif cannot be read as an image"),
    "1.tif": (lambda: two_sizes_tiff(8000), "1.tif cannot be read as an image"),
    "1.png": (lambda: picture_bomb("PNG", 8000), LARGE),
    "2.png": (lambda: header_that_claims(".png", 30000), LARGE),
    "3.tif": (lambda: picture_bomb("TIFF", 8000), LARGE),
    "4.webp": (lambda: webp_that_claims(16000), LARGE),
    "5.gif.png": (lambda: picture_bomb("GIF", 6000, "L"), LARGE),
    "6.jpg": (lambda: header_that_claims(".jpg", 32000), LARGE),
    "9.jpg": (lambda: b"\xff\xd8" + b"\xff\xc0\0\x11\x08\0\1\0\1" * 300_000, "9.jpg cannot be read as an image"),
    "7.bmp": (lambda: header_that_claims(".bmp", 30000), LARGE),
    "8.pgm": (lambda: header_that_claims(".pgm", 30000), LARGE),
}  # fmt: skip


@contextlib.contextmanager
def little_memory(most: int = 300) -> Iterator[None]:
    """Fails when the block needs over so many MiB at its peak, where the system tells, or over ten seconds."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")

    def peak(name: str) -> int:
        return int(re.search(name + r":\s+(\d+)", status.read_text())[1]) // 1024

    with within(10):
        if not os.access(reset, os.W_OK):
            yield
            return
        reset.write_text("5")
        before = peak("VmRSS")
        yield
    used = peak("VmHWM") - before
    assert used < most, f"{used} MiB"


def test_a_picture_whose_file_is_too_large_is_not_read(room: Path):
    path = room / "in" / "fer" / "train" / "happy" / "1.png"
    path.parent.mkdir(parents=True)
    with open(path, "wb") as file:
        file.truncate(2**30)  # of nothing, which takes no disk
    with little_memory(100), pytest.raises(ValueError, match="1.png has over 268,435,456 bytes; save it smaller"):
        data.load(room / "in" / "fer")


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_among_the_data_are_refused(room: Path, name: str):
    make, message = BOMBS[name]
    picture = not name.endswith((".zip", ".tar", ".tgz", ".csv.gz", ".csv.xz", ".npz"))
    path = room / "in" / "fer" / "train" / "happy" / name if picture else room / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make())
    assert path.stat().st_size < 3e6
    source = room / "in" / "fer" if picture else path
    with little_memory(), pytest.raises(ValueError, match=message):
        data.load(source)
    assert os.listdir(room / "cache") == []


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.xz", ".zip", ".tgz", ".npz"])
def test_what_is_compressed_may_hold_so_much_and_no_more(room: Path, suffix: str, monkeypatch: pytest.MonkeyPatch):
    """A hundred equal faces, which pack well, against bounds that are lowered from gigabytes."""
    head, row = csv_of(1).split(b"\n", 1)
    raw, path = head + b"\n" + row * 100, room / "in" / f"fer2013{suffix}"
    files = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(files, "w", 8) as archive:
            archive.writestr("fer2013.csv", raw)
    elif suffix == ".tgz":
        with tarfile.open(fileobj=files, mode="w:gz") as archive:
            about = tarfile.TarInfo("fer2013.csv")
            about.size = len(raw)
            archive.addfile(about, io.BytesIO(raw))
    packs = {".csv.gz": gzip.compress, ".csv.xz": lzma.compress}
    path.write_bytes(packs[suffix](raw) if suffix in packs else files.getvalue() or npz_of(
        images=np.zeros((100, 96, 96), np.uint8), labels=np.full(100, "angry")))  # fmt: skip
    monkeypatch.setattr(archives, "LARGEST", 900_000)
    if suffix not in (".npz",):
        assert path.stat().st_size < 60_000 < len(raw) < 900_000
        assert len(data._load(path, size=48, sealed=True)) == 100
    monkeypatch.setattr(archives, "LARGEST", 800_000)
    monkeypatch.setattr(archives, "TIMES", 10)
    monkeypatch.setenv("FERLIB_CACHE", str(room / "other"))
    with pytest.raises(
        ValueError, match=r"was refused: it would unpack to over 800,000 bytes from [\d,]+; unpack it by"
    ):
        data._load(path, size=48, sealed=True)
    monkeypatch.setattr(archives, "TIMES", 1000)  # a large file may hold more than a small one
    assert len(data._load(path, size=48, sealed=True)) == 100


def test_folders_that_lead_to_each_other_end(room: Path):
    """Twenty-five folders, each with two links to the next: thirty million paths."""
    root = room / "in" / "fer" / "train"
    for number in range(25):
        (root / f"d{number}").mkdir(parents=True)
        for name in "ab":
            (root / f"d{number}" / name).symlink_to(root / f"d{number + 1}")
    (root / "d25" / "happy").mkdir(parents=True)
    (root / "d25" / "happy" / "1.png").write_bytes(png())
    with little_memory(), pytest.raises(ValueError, match="is a link to a folder that is read already; remove it"):
        data.load(room / "in" / "fer")


def test_what_stands_there_twice_is_refused(room: Path):
    with zipfile.ZipFile(room / "in" / "fer.zip", "w") as archive:
        archive.writestr("train/happy/1.png", png(0))
        archive.writestr("./train//happy/1.png", png(1))
    with pytest.raises(ValueError, match="fer.zip was refused: its entry './train//happy/1.png' stands there twice"):
        data.load(room / "in" / "fer.zip")
    with zipfile.ZipFile(room / "in" / "lost.zip", "w") as archive:  # zipfile would make a folder, and lose its content
        archive.writestr("train/happy/1.png", png(0))
        archive.writestr("train/happy/2.png/", png(1))
    with pytest.raises(ValueError, match="its entry 'train/happy/2.png/' is called a folder, and has content"):
        data.load(room / "in" / "lost.zip")
    head, row = csv_of(1).split(b"\n", 1)
    (room / "in" / "fer2013.csv").write_bytes(head + b",emotion\n" + row.strip() + b",5\n")
    with pytest.raises(
        ValueError, match="fer2013.csv has a column twice, of emotion, pixels, Usage; leave one of each"
    ):
        data.load(room / "in" / "fer2013.csv")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_are_one_on_this_disk_are_told(room: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    """As on Windows and macOS, where of two names that differ in case one file would be written over the other."""
    names = ("train/happy/a.png", "train/happy/A.png")
    if kind == "zip":
        with zipfile.ZipFile(room / "in" / "fer.zip", "w") as archive:
            for i, name in enumerate(names):
                archive.writestr(name, png(i))
    else:
        with tarfile.open(room / "in" / "fer.tar", "w") as archive:
            for i, name in enumerate(names):
                about = tarfile.TarInfo(name)
                about.size = len(png(i))
                archive.addfile(about, io.BytesIO(png(i)))
    if not (room / "IN").exists():  # on a disk that tells them apart
        assert len(data._load(room / "in" / f"fer.{kind}", size=48, sealed=True)) == 2
    monkeypatch.setenv("FERLIB_CACHE", str(room / "other"))

    def folding(path: str, mode: str) -> io.BufferedWriter:
        at, name = os.path.split(path)
        return open(os.path.join(at, name.lower()), mode)

    said = "its entries 'train/happy/a.png' and 'train/happy/A.png' are one file on this disk; rename one"
    module, opener = (zipfile, "open") if kind == "zip" else (tarfile, "bltn_open")
    real = getattr(module, opener, open)
    monkeypatch.setattr(module, opener, lambda at, mode: folding(at, mode) if mode == "wb" else real(at, mode), False)
    with pytest.raises(ValueError, match=f"fer.{kind} was refused: {said}"):
        data._load(room / "in" / f"fer.{kind}", size=48, sealed=True)


@pytest.mark.parametrize("name", ["../out.png", "train/../../out.png", "train\\..\\out.png", "/out.png", "C:\\out.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_would_lie_outside_is_refused_and_not_moved_inside(room: Path, kind: str, name: str):
    """As `zipfile` does it: a name without its climbing is another face's."""
    path = room / "in" / f"fer.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train/happy/1.png", png())
            archive.writestr(name, png())
    else:
        with tarfile.open(path, "w") as archive:
            for each in ("train/happy/1.png", name):
                about = tarfile.TarInfo(each)
                about.size = len(png())
                archive.addfile(about, io.BytesIO(png()))
    with pytest.raises(
        ValueError, match=f"fer.{kind} was refused: its entry .* would be written outside of its folder"
    ):
        data.load(path)
    assert tree(room) == sorted(["cache", "in", f"in/fer.{kind}"])


def test_a_tar_that_ends_in_a_zip_is_a_tar(room: Path):
    """`zipfile` finds the inner one's end, and would read that alone."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("train/happy/zz.png", png(3))
    with tarfile.open(room / "in" / "fer.tar", "w") as archive:
        for name, raw in (("train/sad/1.png", png(0)), ("train/sad/2.png", png(1)), ("notes.zip", inner.getvalue())):
            about = tarfile.TarInfo(name)
            about.size = len(raw)
            archive.addfile(about, io.BytesIO(raw))
    found = data._load(room / "in" / "fer.tar", size=48, sealed=True)
    assert found.labels.tolist() == 2 * [emotion_index("sad")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_in_an_archive_is_refused(room: Path, kind: bytes):
    """A link that stays inside of its folder, too: several of them can lead out of it all the same."""
    with tarfile.open(room / "in" / "fer.tgz", "w:gz") as archive:
        for name in ("train/happy/1.png", "train/sad/2.png"):
            about = tarfile.TarInfo(name)
            about.type, about.linkname, about.size = tarfile.REGTYPE, "", len(png())
            if name.startswith("train/sad"):
                about.type, about.linkname, about.size = kind, "train/happy/1.png", 0
            archive.addfile(about, io.BytesIO(png()))
    with pytest.raises(
        ValueError, match="fer.tgz was refused: its entry 'train/sad/2.png' is no file; pack what a link"
    ):
        data.load(room / "in" / "fer.tgz")
    assert os.listdir(room / "cache") == []


def test_deep_folders_are_refused_and_an_archive_of_them_leaves_nothing(room: Path):
    deep = "d/" * 1500 + "happy/1.png"
    with zipfile.ZipFile(room / "in" / "deep.zip", "w") as archive:
        archive.writestr(deep, png())
    with pytest.raises(ValueError, match="deep.zip was refused: its entry 'd/d/.* lies too deep"):
        data.load(room / "in" / "deep.zip")
    (room / "in" / "fer" / ("d/" * 40) / "happy").mkdir(parents=True)
    with pytest.raises(ValueError, match="lies over 32 folders deep"):
        data.load(room / "in" / "fer")
    assert os.listdir(room / "cache") == []


def test_a_table_of_votes_that_a_parser_would_blow_up_is_refused(room: Path):
    """A row of a million fields, and a hundred thousand rows of one: as a rectangle, 10^11 cells."""
    path = room / "in" / "fer2013new.csv"
    path.write_bytes(b"," * 30_000_000 + b"\n" + b"1\n" * 100_000)
    with (
        little_memory(),
        pytest.raises(ValueError, match=r"fer2013new.csv is no table of FER\+ votes: row 1 has no name"),
    ):
        read_votes(path)


MANY_TOKENS = {  # 16,384, each of which looks at all of them: minutes a layer where they are a few more
    "name": "vit_tiny_patch16_224", "patch_size": 1, "embed_dim": 8, "num_heads": 1, "depth": 1, "size": 128,
    "img_size": 128,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "vit_giant_patch14_224"}, "names a network far larger than the file"),
        ({"widths": [8192, 8192, 8192, 8192]}, "names a network far larger than the file"),
        ({"widths": [8192, 1, 1, 1], "size": 1024}, "fernet cannot take faces of 1024 px"),
        ({"depths": [10**5, 1, 1]}, "names a network far larger than the file"),
        ({"size": 10**6}, "cannot be"),
        (MANY_TOKENS, "vit_tiny_patch16_224 cannot take faces of 128 px"),
    ],
)
def test_a_small_file_that_names_a_large_network_is_refused(room: Path, model_file: Path, change: dict, message: str):
    whole = model_file.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    about = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["ferlib"])
    about["built_with"] |= change
    if "vit" in str(change):
        about["built_with"] = {"num_classes": 7, "in_chans": 1, "size": 224, "small_stem": False} | change
    path = room / "in" / "model.safetensors"
    path.write_bytes(signed(about, load_tensors(whole)))
    with little_memory(700), pytest.raises(ValueError, match=f"does not fit the model that it names: .*{message}"):
        models.load_model(path)


def webp_that_claims(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (64, 64)).save(file, "WEBP", lossless=True)
    raw = bytearray(file.getvalue())
    at = raw.index(b"VP8L") + 9  # 14 bits of width less one, 14 of height less one
    (bits,) = struct.unpack("<I", raw[at : at + 4])
    raw[at : at + 4] = struct.pack("<I", (bits >> 28 << 28) | (side - 1) << 14 | (side - 1))
    return bytes(raw)


# ---- pages


@st.composite
def texts(draw: st.DrawFn) -> str:
    marks = (
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "' onfocus=alert(1) '",
        "</title><script>", "&lt;b&gt;", "\n", "\0", "$(x)", "${title}", "é", "javascript:alert(1)",
    )  # fmt: skip
    return "".join(draw(st.lists(st.one_of(st.sampled_from(marks), st.text(max_size=5)), min_size=1, max_size=3)))


def unsafe(page: str) -> list[str]:
    """What in a page would run, or is not of its own making."""
    soup = BeautifulSoup(page, "html.parser")
    bad = [tag.name for tag in soup.find_all(["script", "svg", "img", "iframe", "object"])]
    return bad + [f"{tag.name} {name}" for tag in soup.find_all(True) for name in tag.attrs if name.startswith("on")]


def test_names_on_pages_are_escaped(room: Path):
    with Judge("names on pages", errors=False) as judge:

        @examples(15)
        @given(texts(), texts(), texts(), texts())
        def check(name: str, note: str, claim: str, unit: str) -> None:
            name = re.sub(r"[/\0\ud800-\udfff]", "", name)[:40] or "x"
            out = emptied(room / "in")
            notebook = nbformat.v4.new_notebook(metadata={"course": note})
            (out / f"{name}.html").write_text("")
            nbformat.write(notebook, out / f"{name}.ipynb")
            with open(out / "claims.csv", "w", newline="", encoding="utf-8", errors="replace") as file:
                rows = [["01", claim, 1, 0, 2, f"at least {unit}", unit, 7, 1, 2, "True"]]
                csv.writer(file).writerows([CLAIM_COLUMNS, *rows])
            lessons = {name: nbformat.v4.new_notebook()}
            page = judge(lambda: lesson.index_page(lessons, out, {f"{name}.html": claim}))
            assert page is not None and unsafe(page) == []
            assert page.count('href="') == 2 and "<td>" in page

        check()


def test_a_lesson_takes_in_no_picture_from_outside_of_its_folder(room: Path):
    inside, outside = room / "in" / "a.png", room / "out.png"
    for path in (inside, outside):
        path.write_bytes(png())
    (room / "in" / "link.png").symlink_to(outside)
    names = {"a.png": True, "../out.png": False, str(outside): False, "link.png": False, "n" * 5000: False, "\0": False}
    for name, taken in names.items():
        page = lesson._fold(f'<img src="{name}">', room / "in")
        assert ("data:image/png" in page) == taken, name
    outside.unlink()
