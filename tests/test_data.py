"""Loading: layouts read to the same arrays, official splits, the cache, the seal, and every way to get it wrong."""

import gzip
import io
import lzma
import pickle
import re
import tarfile
import warnings
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from on_disk import write_csv, write_folders, zip_folder

from ferlib import data, sample
from ferlib.data import FaceDataset, load, loader, loading
from ferlib.data.loading import load_with_sealed
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, class_map
from ferlib.emotions import SPLITS as SPLIT_NAMES

NOTES = ("of FER2013's", "are not FER2013's official", "no image of", "its test stays sealed")
pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOTES]
SPLITS = ["Training"] * 14 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
LABELS = [i % 7 for i in range(28)]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return sample.draw(28, seed=1)[0]


@pytest.fixture
def csv(tmp_path: Path, faces: np.ndarray) -> Path:
    return write_csv(tmp_path / "fer2013.csv", faces, LABELS, SPLITS)


def edit(path: Path, line: int, change) -> Path:
    lines = path.read_text().split("\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("name", "index"),
    [("angry", 0), ("Disgusted", 1), (" FEAR ", 2), ("happiness", 3), ("neutral", 6)],
)
def test_emotions_are_known_by_name_and_alias(name: str, index: int):
    assert class_map().index(name) == index


def test_unknown_emotion_names_what_is_allowed():
    with pytest.raises(ValueError, match=r"'contempt' is none of the seven emotions \(angry, disgust"):
        class_map().index("contempt")


def test_csv_gives_pixels_labels_and_splits_in_order(csv: Path, faces: np.ndarray):
    dataset = load(csv)
    assert dataset.images.dtype == np.uint8 and dataset.images.flags.c_contiguous
    np.testing.assert_array_equal(dataset.images, faces[:21])
    assert dataset.labels.tolist() == LABELS[:21]
    assert dataset.table["split"].tolist() == SPLITS[:21]
    assert dataset.table["row"].tolist() == list(range(21))


def test_csv_whose_rows_are_shuffled_keeps_each_label_with_its_face(tmp_path: Path, faces: np.ndarray):
    order = np.random.default_rng(0).permutation(28)
    path = write_csv(tmp_path / "a.csv", faces[order], np.array(LABELS)[order], np.array(SPLITS)[order])
    dataset = load(path)
    rows = dataset.table["row"].to_numpy()
    np.testing.assert_array_equal(dataset.images, faces[order][rows])
    assert dataset.labels.tolist() == [LABELS[order[row]] for row in rows]


def test_csv_with_quotes_and_windows_line_ends(tmp_path: Path, csv: Path, faces: np.ndarray):
    text = csv.read_text().replace("\n", "\r\n").replace(",Training", ',"Training"').replace("emotion", '"emotion"')
    other = tmp_path / "quoted.csv"
    other.write_bytes(text.encode())
    np.testing.assert_array_equal(load(other).images, faces[:21])


def test_labels_follow_folder_names_not_their_sorted_position(tmp_path: Path, faces: np.ndarray):
    root = write_folders(tmp_path / "d", faces[:7], range(7), [f"train/{{}}/{i}.png" for i in range(7)])
    dataset = load(root)
    by_name = {Path(file).parent.name: label for file, label in zip(dataset.table["path"], dataset.labels, strict=True)}
    assert by_name == {name: index for index, name in enumerate(EMOTIONS)}


def test_test_folder_without_official_names_stays_sealed_and_says_why(tmp_path: Path, faces: np.ndarray):
    names = [f"train/{{}}/im{i}.png" for i in range(14)] + [f"test/{{}}/im{i}.png" for i in range(14)]
    with pytest.warns(UserWarning, match="has no validation split, and its test stays sealed: ferlib.protocol.split"):
        dataset = load(write_folders(tmp_path / "d", faces, LABELS, names))
    assert dataset.counts().index.tolist() == ["Training"] and len(dataset) == 14
    with pytest.raises(ValueError, match="no split 'PublicTest' open; it has Training"):
        dataset.subset("PublicTest")


def test_a_copys_own_splits_are_told_from_the_official_ones(tmp_path: Path, faces: np.ndarray):
    names = [f"train/{{}}/a{i}.png" for i in range(14)] + [f"val/{{}}/a{i}.png" for i in range(14)]
    with pytest.warns(UserWarning, match="are not FER2013's official ones"):
        load(write_folders(tmp_path / "own", faces, LABELS, names))


@pytest.mark.parametrize(
    ("folder", "split"),
    [("test", "PrivateTest"), ("Testing", "PrivateTest"), ("train", "Training"), ("FER2013Valid", "PublicTest")],
)
def test_the_folder_that_is_given_itself_can_name_the_split(tmp_path: Path, faces: np.ndarray, folder: str, split: str):
    root = write_folders(tmp_path / folder, faces[:7], range(7), [f"{{}}/{i}.png" for i in range(7)])
    for source in (root, zip_folder(root, tmp_path / f"{folder}.zip")):
        whole = load_with_sealed(source)
        assert set(whole.table["split"]) == {split}
        assert len(load(source)) == (0 if split == "PrivateTest" else 7)


def test_a_folder_that_is_no_known_split_beside_one_is_refused(tmp_path: Path, faces: np.ndarray):
    names = [f"train/{{}}/a{i}.png" for i in range(14)] + [f"holdout/{{}}/a{i}.png" for i in range(14)]
    with pytest.raises(
        ValueError, match=r"holdout/angry/a0.png lies in no folder of a split, unlike train/angry/a0.png"
    ):
        load(write_folders(tmp_path / "d", faces, LABELS, names))


def test_other_sizes_and_colours_become_gray_faces_of_the_size_asked(tmp_path: Path):
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[..., 2] = 200  # OpenCV's order is blue, green, red
    write_folders(tmp_path / "d", picture[None], [3], ["{}/red.png"])
    for size in (48, 64):
        dataset = load(tmp_path / "d", size=size)
        assert dataset.images.shape == (1, size, size)
        assert set(np.unique(dataset.images)) == {round(0.299 * 200)}


def test_fer2013_is_held_against_the_official_counts(csv: Path):
    with pytest.warns(UserWarning, match="of FER2013's") as caught:
        dataset = load(csv)
    assert any(
        "Training: 14 of FER2013's 28,709 images (angry 2 of 3995, disgust 2 of 436" in str(w.message) for w in caught
    )
    assert "PrivateTest: 7 of FER2013's 3,589 images" in dataset.notes[3]
    assert "note: Training: 14" in repr(dataset)


def test_official_counts_are_the_challenges():
    assert {split: sum(counts) for split, counts in FER2013_COUNTS.items()} == {
        "Training": 28709, "PublicTest": 3589, "PrivateTest": 3589,
    }  # fmt: skip


def test_fer2013_is_looked_up_in_the_environment_then_in_data(csv: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FERLIB_DATA", str(csv.parent))
    assert data.find("fer2013") == csv
    monkeypatch.setenv("FERLIB_DATA", str(csv))
    assert data.find("fer2013") == csv
    monkeypatch.setenv("FERLIB_DATA", str(csv.parent / "other"))
    (csv.parent / "other").mkdir()
    (csv.parent / "other" / "icml_face_data.csv").write_bytes(csv.read_bytes())
    assert data.find("fer2013") == csv.parent / "other" / "icml_face_data.csv"
    (csv.parent / "other" / "icml_face_data.csv").rename(csv.parent / "other" / "train.csv")
    monkeypatch.setenv("HOME", str(csv.parent))
    monkeypatch.setenv("FERLIB_DATA", "~/other")
    with pytest.warns(UserWarning, match="14 rows of train.csv name another split than it, which counts, such as line"):
        assert data.find("fer2013") == csv.parent / "other" and len(load("fer2013")) == 21
    monkeypatch.setenv("FERLIB_DATA", "~/nowhere")
    with pytest.raises(FileNotFoundError, match="fer2013 was not found in .*nowhere; fetch it"):
        data.find("fer2013")
    monkeypatch.delenv("FERLIB_DATA")
    (csv.parent / "data").mkdir()
    (csv.parent / "data" / "fer2013.csv").write_bytes(csv.read_bytes())
    monkeypatch.chdir(csv.parent)
    assert data.find("fer2013") == Path("data/fer2013.csv")


def test_what_is_absent_is_named_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(FileNotFoundError, match="nowhere.csv does not exist; give 'sample'"):
        load(tmp_path / "nowhere.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data.sources, "__file__", str(tmp_path / "ferlib" / "data" / "sources.py"))
    with pytest.raises(
        FileNotFoundError, match="fer2013 was not found in .*; fetch it \\(ferlib data fetch fer2013\\)"
    ):
        load("fer2013")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace(" ", ",", 1), "Expected 3 fields in line 9, saw 4"),
        (lambda line: "7" + line[1:], "line 9: '7' is none of the seven emotions"),
        (lambda line: "x" + line[1:], "line 9: 'x' is none of the seven emotions"),
        (lambda line: line.replace("Training", "held"), "line 9: split is 'held'; allowed are train, training"),
        (lambda line: line.rpartition(",")[0], "line 9: split is ''; allowed are train, training"),
        (lambda line: line.replace(" ", " 7 ", 1), "line 9: 2305 pixels where 2304 are due"),
        (lambda line: line[:2] + line[2:].split(" ", 1)[1], "line 9: 2303 pixels where 2304 are due"),
        (lambda line: re.sub(r" \d+ ", " 256 ", line, count=1), "line 9: pixel '256' is no whole number of 0 to 255"),
        (lambda line: re.sub(r" \d+ ", " 1000 ", line, count=1), "line 9: pixel '1000' is no whole number of 0 to 255"),
        (lambda line: re.sub(r" \d+ ", " -1 ", line, count=1), "line 9: pixel '-1' is no whole number of 0 to 255"),
        (lambda line: re.sub(r" \d+ ", " sad ", line, count=1), "line 9: pixel 'sad' is no whole number of 0 to 255"),
        (lambda line: re.sub(r" \d+ ", " 1.5 ", line, count=1), "line 9: pixel '1.5' is no whole number of 0 to 255"),
    ],
)
def test_a_bad_csv_row_is_named(csv: Path, change, message: str):
    with pytest.raises(ValueError, match=message):
        load(edit(csv, 9, change))


def test_a_pixel_moved_from_one_row_to_the_next_is_noticed(csv: Path):
    lines = csv.read_text().split("\n")
    label, pixels, usage = lines[4].split(",")
    lines[4] = f"{label},{pixels} 7,{usage}"
    label, pixels, usage = lines[5].split(",")
    lines[5] = f"{label},{pixels.split(' ', 1)[1]},{usage}"
    csv.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="line 5: 2305 pixels"):
        load(csv)


def test_doubled_blanks_between_pixels_are_read_all_the_same(csv: Path, faces: np.ndarray):
    np.testing.assert_array_equal(load(edit(csv, 5, lambda line: line.replace(" ", "  "))).images, faces[:21])


def test_text_of_every_number_is_read_right(tmp_path: Path):
    values = np.resize(np.arange(256, dtype=np.uint8), (48, 48))
    dataset = load(write_csv(tmp_path / "all.csv", values[None], [0], ["Training"]))
    np.testing.assert_array_equal(dataset.images[0], values)


def test_csv_without_the_columns_or_rows_is_refused(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text("id,age\n1,2\n")
    with pytest.raises(ValueError, match="x.csv, line 1: the columns are 'id, age'; due are emotion,pixels,Usage"):
        load(path)
    path.write_text("emotion,pixels,Usage,emotion\n")
    with pytest.raises(ValueError, match="x.csv, line 1: the columns are 'emotion, pixels, usage, emotion'; due are"):
        load(path)
    path.write_text("emotion,pixels,Usage\n")
    with pytest.raises(ValueError, match="x.csv, line 2: it holds no image"):
        load(path)


def test_folder_without_images_or_with_unknown_classes_is_refused(tmp_path: Path, faces: np.ndarray):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no image in class folders such as train/happy/"):
        load(tmp_path / "empty")
    write_folders(tmp_path / "odd", faces[:1], [0], ["train/smug/1.png"])
    with pytest.raises(ValueError, match=r"train/smug/1.png: 'smug' is none of the seven emotions"):
        load(tmp_path / "odd")


def test_unreadable_images_are_named_and_strangers_told(tmp_path: Path, faces: np.ndarray):
    root = write_folders(tmp_path / "d", faces[:2], [0, 1], ["{}/1.png", "{}/2.png"])
    (root / "angry" / "3.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ValueError, match="angry/3.jpg cannot be read as an image"):
        load(root)
    (root / "angry" / "3.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="angry/3.jpg cannot be read as an image"):
        load(root)
    (root / "angry" / "3.jpg").unlink()
    (root / "angry" / "notes.txt").write_text("hello")
    with pytest.warns(UserWarning, match="left out 1 files that are no images, such as angry/notes.txt"):
        assert len(load(root)) == 2


def test_broken_archives_are_refused(tmp_path: Path, faces: np.ndarray):
    root = write_folders(tmp_path / "d", faces[:4], LABELS[:4], [f"{{}}/{i}.png" for i in range(4)])
    for name in ("d.zip", "d.tgz"):
        whole = zip_folder(root, tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=f"cut-{name} cannot be unpacked: .*; fetch it again"):
            load(tmp_path / f"cut-{name}")


@pytest.mark.parametrize("name", ["../out.png", "train/../../out.png", "train\\..\\out.png", "/out.png", "C:\\out.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_would_lie_outside_of_an_archive_is_refused(tmp_path: Path, faces: np.ndarray, kind: str, name: str):
    """As `zipfile` unpacks it, without its climbing, it would be another face's."""
    png, path = cv2.imencode(".png", faces[0])[1].tobytes(), tmp_path / f"fer.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for each in ("train/happy/1.png", name):
                archive.writestr(each, png)
    else:
        with tarfile.open(path, "w") as tar:
            for each in ("train/happy/1.png", name):
                about = tarfile.TarInfo(each)
                about.size = len(png)
                tar.addfile(about, io.BytesIO(png))
    with pytest.raises(ValueError, match=f"fer.{kind} cannot be unpacked: its entry .* would lie outside"):
        load(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_out_of_an_archives_folder_is_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "link.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("happy/a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ValueError, match="link.tgz cannot be unpacked: .*link"):
        load(tmp_path / "link.tgz")


def test_no_pickle_is_loaded(tmp_path: Path, faces: np.ndarray):
    class Mine:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "it ran",))

    np.savez(tmp_path / "a.npz", images=faces, labels=np.array([Mine()] * 28, object))
    with pytest.raises(ValueError, match="a.npz cannot be read .Object arrays cannot be loaded"):
        load(tmp_path / "a.npz")
    path = write_csv(tmp_path / "pickled.csv", faces, LABELS, SPLITS)
    load(path)
    (entry,) = cached("pickled-csv-*-open")
    np.savez(entry, images=np.array([Mine()] * 28, object))
    with pytest.warns(UserWarning, match="is damaged .Object arrays cannot be loaded"):
        load(path)
    assert not (tmp_path / "it ran").exists()


def test_cut_compressed_csv_is_refused_and_leaves_nothing(csv: Path):
    for suffix, module in ((".gz", gzip), (".xz", lzma)):
        cut = csv.with_name("cut.csv" + suffix)
        packed = module.compress(csv.read_bytes())
        cut.write_bytes(packed[: len(packed) // 2])
        before = set(data.cache_folder().rglob("*"))
        with pytest.raises(ValueError, match="cut.csv.*, .*end-of-stream"):
            load(cut)
        assert set(data.cache_folder().rglob("*")) == before
    whole = gzip.compress(csv.read_bytes())
    for broken in (csv.read_bytes(), whole[:500] + bytes(64) + whole[564:]):  # not packed at all; spoilt
        (csv.parent / "cut.csv.gz").write_bytes(broken)
        with pytest.raises(ValueError, match="^cut.csv.gz, "):
            load(csv.parent / "cut.csv.gz")


def test_what_is_no_layout_is_refused(tmp_path: Path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"a.txt is no layout that ferlib reads; give a .csv"):
        load(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="size is 0"):
        load(tmp_path / "a.txt", size=0)
    with pytest.raises(ValueError, match="the faces of sample are 48 px and of the seven emotions; leave size="):
        load("sample", size=64)


def cached(pattern: str) -> list[Path]:
    return sorted(data.cache_folder().glob(f"{pattern}.npz"))


def never_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loading, "read_layout", lambda *_: pytest.fail("the source was read again"))
    patch.setattr(sample.drawn, "dataset", lambda *_: pytest.fail("the sample was drawn again"))


def test_second_load_comes_from_the_cache_and_a_changed_file_does_not(tmp_path: Path, faces: np.ndarray, monkeypatch):
    path = write_csv(tmp_path / "cached.csv", faces, LABELS, SPLITS)
    first, whole = load(path), load_with_sealed(path)
    with monkeypatch.context() as patch:
        never_read(patch)
        for fresh, again in ((first, load(path)), (whole, load_with_sealed(path))):
            np.testing.assert_array_equal(fresh.images, again.images)
            pd.testing.assert_frame_equal(fresh.table, again.table)
            assert fresh.notes == again.notes and fresh.name == again.name and fresh.classes == again.classes
    write_csv(path, faces[7:15], LABELS[7:15], SPLITS[:8])
    np.testing.assert_array_equal(load(path).images, faces[7:15])


def test_what_is_read_is_what_comes_from_the_cache(tmp_path: Path, faces: np.ndarray):
    names = [f"{split}/{{}}/{i}.png" for i, split in enumerate(SPLITS)]
    root = write_folders(tmp_path / "mixed", faces, LABELS, names[::-1])
    fresh, again = load_with_sealed(root), load_with_sealed(root)
    np.testing.assert_array_equal(fresh.images, again.images)
    pd.testing.assert_frame_equal(fresh.table, again.table)


def test_the_cache_follows_sizes_classes_and_tables_beside_but_not_the_spelling(
    tmp_path: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    root = write_folders(tmp_path / "keyed" / "d", faces[:7], LABELS[:7], ["train/{}/1.png"] * 7)
    load(root)
    with monkeypatch.context() as patch:
        never_read(patch)
        patch.chdir(root.parent)
        load("d")
    for change in ({"size": 24}, {"classes": EMOTIONS[::-1]}):
        assert load(root, **change).images.shape[1] == change.get("size", 48)
    assert load(root, classes=EMOTIONS[::-1]).classes == EMOTIONS[::-1] and load(root).classes == EMOTIONS
    table = write_csv(root.parent / "beside.csv", faces[:7], LABELS[:7], SPLITS[:7], "emotion,pixels")
    load(table)
    before = len(cached("beside-csv-*-open"))
    (root.parent / "another.csv").write_text("none")
    with pytest.warns(UserWarning, match="left out 1 tables beside it, to be loaded by their own names, such as ano"):
        load(table)
    assert len(cached("beside-csv-*-open")) == before + 1


def test_a_cached_sample_outlives_its_source_text_but_not_its_version(monkeypatch: pytest.MonkeyPatch):
    load("sample")
    with monkeypatch.context() as patch:
        never_read(patch)
        patch.setattr(sample.drawn.draw, "__doc__", "another comment")
        load("sample")
        patch.setattr(sample.drawn, "VERSION", "next")
        with pytest.raises(BaseException, match="the sample was drawn again"):
            load("sample")


DRAWN = {1: [92.550, 92.120, 93.087]}  # by version: the mean gray of each split


def test_another_drawn_dataset_has_another_version():
    whole = load_with_sealed("sample")
    means = [whole.images[(whole.table["split"] == split).to_numpy()].mean() for split in SPLIT_NAMES]
    assert sample.drawn.VERSION in DRAWN, "write its means down here"
    assert means == pytest.approx(DRAWN[sample.drawn.VERSION], abs=0.005), "raise sample.drawn.VERSION"


def test_a_function_is_asked_each_time(tmp_path: Path, faces: np.ndarray):
    root = write_folders(tmp_path / "asked", faces[:4], LABELS[:4], [f"{i}.png" for i in range(4)])
    assert load(root, classes=lambda path: "open" if path < "2" else "shut").labels.tolist() == [0, 0, 1, 1]
    assert load(root, classes=lambda path: "open" if path < "1" else "shut").labels.tolist() == [0, 1, 1, 1]
    assert cached("asked*") == []


@pytest.mark.parametrize("part", ["open", "sealed"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_cache_is_told_and_made_anew(tmp_path: Path, faces: np.ndarray, damage: str, part: str, monkeypatch):
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "cache"))
    path = write_csv(tmp_path / "damaged.csv", faces, LABELS, SPLITS)
    load(path)
    (file,) = cached(f"damaged-csv-*-{part}")
    whole = file.read_bytes()
    at = whole.index(faces[3 if part == "open" else 22].tobytes())
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "flipped": flipped}[damage])
    with pytest.warns(UserWarning, match="is damaged .*; damaged.csv is read again"):
        dataset = load_with_sealed(path)
    np.testing.assert_array_equal(dataset.images, faces)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*is damaged")
        np.testing.assert_array_equal(load_with_sealed(path).images, faces)


def test_a_part_that_is_gone_is_read_again(tmp_path: Path, faces: np.ndarray):
    path = write_csv(tmp_path / "gone.csv", faces, LABELS, SPLITS)
    load(path)
    (sealed,) = cached("gone-csv-*-sealed")
    sealed.unlink()
    np.testing.assert_array_equal(load(path).images, faces[:21])
    np.testing.assert_array_equal(load_with_sealed(path).images, faces)
    assert sealed.exists()


def test_unwritable_cache_is_said_and_done_without(csv: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FERLIB_CACHE", str(csv / "below-a-file"))
    with pytest.warns(UserWarning, match="the cache cannot be written .*; set FERLIB_CACHE to a folder with room"):
        dataset = load(csv)
    np.testing.assert_array_equal(dataset.images, faces[:21])


def test_load_never_opens_the_sealed_file(csv: Path, monkeypatch: pytest.MonkeyPatch):
    load(csv)
    real, seen = open, []

    def watch(path, *args, **kwargs):
        seen.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", watch)
    assert "PrivateTest" not in set(load(csv).table["split"])
    assert any(path.endswith("-open.npz") for path in seen) and not any("sealed" in path for path in seen)
    with pytest.raises(ValueError, match="PrivateTest stays sealed: see ferlib.protocol.open_sealed"):
        load(csv).subset("PrivateTest")


def test_all_counts_are_of_the_sealed_split_too(csv: Path):
    counts = data.all_counts(csv)
    assert counts.index.tolist() == list(SPLIT_NAMES) and counts.columns.tolist() == list(EMOTIONS)
    assert counts.to_numpy().tolist() == [[2] * 7, [1] * 7, [1] * 7]


def test_subsets_keep_rows_together(csv: Path, faces: np.ndarray):
    dataset = load(csv)
    np.testing.assert_array_equal(dataset.subset("PublicTest").images, faces[14:21])
    picked = dataset.subset([20, 3])
    np.testing.assert_array_equal(picked.images, faces[[20, 3]])
    assert picked.labels.tolist() == [LABELS[20], LABELS[3]] and picked.table["row"].tolist() == [20, 3]
    masked = dataset.subset(dataset.labels == 2)
    assert masked.labels.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="a mask of 3 was given for a dataset of 21"):
        dataset.subset(np.array([True, False, True]))
    assert len(dataset.subset([])) == 0
    assert dataset.subset([-1]).table["row"].tolist() == [20]
    with pytest.raises(IndexError):
        dataset.subset([21])


def test_counts_are_by_split_and_emotion(csv: Path):
    counts = load(csv).counts()
    assert counts.columns.tolist() == list(EMOTIONS)
    assert counts.loc["Training"].tolist() == [2] * 7 and counts.loc["PublicTest"].tolist() == [1] * 7


def test_items_batches_and_pickles_agree(csv: Path, faces: np.ndarray):
    dataset = pickle.loads(pickle.dumps(load(csv)))
    image, label = dataset[4]
    assert image.dtype == torch.uint8 and label == LABELS[4]
    np.testing.assert_array_equal(image[0].numpy(), faces[4])
    images, labels = next(iter(loader(dataset, 5)))
    np.testing.assert_array_equal(images[:, 0].numpy(), faces[:5])
    assert labels.tolist() == LABELS[:5] and labels.dtype == torch.int64


def test_images_and_table_must_be_of_one_length(faces: np.ndarray):
    with pytest.raises(ValueError, match="28 images but 1 rows"):
        FaceDataset(faces, pd.DataFrame({"label": [0], "split": ["Training"], "row": [0]}), "x")


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_loaders_repeat_by_seed_and_differ_by_epoch(csv: Path, workers: int):
    def epochs(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        made = loader(load(csv), 4, shuffle=True, workers=workers)
        return [
            torch.cat([labels * 1000 + images.sum((1, 2, 3)) for images, labels in made]).tolist() for _ in range(2)
        ]

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert first == again
    assert first[0] != first[1] and first != other
    assert len(first[0]) == 20, "the last, smaller batch is dropped"


def test_weights_decide_how_often_a_face_is_drawn_and_torchs_seed_the_order(csv: Path):
    dataset = load(csv)
    weights = np.resize([0, 0, 0, 1, 3, *[0] * 16], 2100)

    def epochs(seed: int, given: object = weights) -> list[list[int]]:
        torch.manual_seed(seed)
        made = loader(dataset.subset(np.resize(np.arange(21), 2100)), 100, shuffle=True, weights=given)
        return [torch.cat([labels for _, labels in made]).tolist() for _ in range(2)]

    first = epochs(0)
    assert set(first[0]) == {3, 4} and 0.7 < np.mean(np.array(first[0]) == 4) < 0.8
    assert first == epochs(0) == epochs(0, weights.tolist()) == epochs(0, torch.from_numpy(weights))
    assert first[0] != first[1] and first != epochs(1)
    made = loader(dataset, 7, shuffle=True, weights=np.ones(21))
    orders = [[made.sampler.generator.manual_seed(5), *(labels.tolist() for _, labels in made)][1:] for _ in range(2)]
    assert orders[0] == orders[1]
    for given, shuffle in ((np.ones(20), True), ([], True), (np.ones(21), False)):
        with pytest.raises(ValueError, match=f"{len(given)} weights for 21 faces, shuffle={shuffle}; give 21 and"):
            loader(dataset, 7, shuffle=shuffle, weights=given)


def test_the_drawn_dataset_loads_with_its_truth():
    dataset = load("sample")
    assert dataset.counts().sum(axis=1).to_dict() == {"Training": 2800, "PublicTest": 2000}
    assert {"true_label", "identity", "au12", "mouth_x0", "twin_of", "votes_happy"} <= set(dataset.table)
    plain = dataset.table[(dataset.table["twin_of"] < 0) & ~dataset.table["blank"]].iloc[5]
    np.testing.assert_array_equal(sample.redraw(plain), dataset.images[plain["row"]])
