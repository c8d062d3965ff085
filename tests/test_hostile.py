"""Hostile input: bad files by the thousand for every reader; each gives a right result or a clear error, in time.

`FERLIB_TORTURE=10000 pytest -s -n0 tests/test_hostile.py` is the long run, and prints what became of the inputs.
"""

import contextlib
import csv
import gzip
import io
import itertools
import lzma
import pickle
import re
import warnings
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from hostile import NASTY, Judge, emptied, examples, mutated, packed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import lesson
from ferlib import data, models
from ferlib.apps import pictures
from ferlib.data.loading import load_with_sealed
from ferlib.lesson import CLAIM_COLUMNS

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


def csv_of(faces: int, head: str = "emotion,pixels,Usage") -> bytes:
    file = io.StringIO()
    file.write(head + "\n")
    for image, label, split in zip(FACES[:faces], LABELS, OFFICIAL, strict=False):
        fields = {"emotion": str(label), "pixels": " ".join(map(str, image.ravel())), "usage": split}
        file.write(",".join(fields[name.strip().lower()] for name in head.split(",")) + "\n")
    return file.getvalue().encode()


def csv_by_hand(raw: bytes) -> tuple[list[int], list[str], list[list[int]]]:
    """Labels, splits (Training where there is no such column) and pixels of a CSV, in the plainest way."""
    head, *lines = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n").split(b"\n")
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
            dataset = judge(lambda: load_with_sealed(room / "in" / name))
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


def png(face: int = 0) -> bytes:
    return cv2.imencode(".png", FACES[face])[1].tobytes()


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = models.build_model("fernet", widths=(4, 4, 4, 4))
    return models.save_model(model, tmp_path_factory.mktemp("model"), temperature=1.5, epoch=3)


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
        with pytest.raises((OSError, ValueError), match="does not exist|is neither|is not known|is empty|too long"):
            read(name)


class Mark:
    """Leaves a file behind when a pickle of it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_no_foreign_pickle_is_loaded(room: Path, model_file: Path):
    mark = room / "loaded"
    objects = np.array([Mark(mark)], object)
    assert pickle.loads(pickle.dumps(objects)).shape == (1,) and mark.exists()
    mark.unlink()
    np.savez(room / "in" / "fer.npz", images=FACES[:1], labels=objects)
    for name in ("model.safetensors", "x.npz", "x.csv", "x.zip"):
        (room / "in" / name).write_bytes(pickle.dumps(objects))
    torch.save({"built_with": Mark(mark)}, room / "in" / "m.safetensors")
    for read, name in (
        (data.load, "fer.npz"), (data.load, "x.npz"), (data.load, "x.csv"), (data.load, "x.zip"),
        (models.load_model, "model.safetensors"), (models.load_model, "m.safetensors"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            read(room / "in" / name)
    assert not mark.exists()


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
            (out / "claims").mkdir()
            with open(out / "claims/01.csv", "w", newline="", encoding="utf-8", errors="replace") as file:
                rows = [["01", claim, 1, 0, 2, f"at least {unit}", unit, 7, 1, 2, "True"]]
                csv.writer(file).writerows([CLAIM_COLUMNS, *rows])
            lessons = {name: nbformat.v4.new_notebook(), "01_claims": nbformat.v4.new_notebook()}
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
