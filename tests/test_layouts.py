"""Every layout that FER data comes in gives the same faces, labels and splits; conversions; notes; refusals by name."""

import lzma
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from on_disk import agreed, write_csv, write_folders, write_npz, write_votes, zip_folder
from PIL import Image
from torchvision.datasets import ImageFolder

from ferlib import data, sample
from ferlib.data import FaceDataset
from ferlib.data.loading import load_with_sealed
from ferlib.emotions import ALIASES, EMOTIONS, SPLITS, class_map

LABELS = [i % 7 for i in range(28)]
OFFICIAL = ["Training"] * 14 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
OF = dict(zip(SPLITS, ("train", "validation", "test"), strict=True))
FACES = sample.draw(28, seed=11)[0]
BUILDERS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {}


def load(path: Path, **options) -> FaceDataset:
    """`load` without its warnings: the notes are asserted on where they matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return data.load(path, **options)


def layout(splits: list[str]):
    """Registers a function that writes the 28 faces into a folder; `splits` are those that the layout can tell."""

    def register(build: Callable[[Path], Path]) -> Callable[[Path], Path]:
        BUILDERS[build.__name__] = (build, splits)
        return build

    return register


def packed(path: Path) -> Path:
    target = path.with_name(path.name + ".xz")
    target.write_bytes(lzma.compress(path.read_bytes(), preset=0))
    path.unlink()
    return target


@layout(OFFICIAL)
def challenge_csv(folder: Path) -> Path:
    return write_csv(folder / "fer2013.csv", FACES, LABELS, OFFICIAL)


@layout(OFFICIAL)
def packed_csv_in_a_folder_with_votes(folder: Path) -> Path:
    packed(challenge_csv(folder))
    return write_votes(folder / "fer2013new.csv", [agreed(6)] * 28, OFFICIAL).parent


@layout(OFFICIAL)
def icml_face_data(folder: Path) -> Path:
    return write_csv(folder / "icml_face_data.csv", FACES, LABELS, OFFICIAL, "emotion, Usage, pixels")


@layout(OFFICIAL)
def kaggles_challenge_folder(folder: Path) -> Path:
    write_csv(folder / "train.csv", FACES[:14], LABELS[:14], OFFICIAL[:14], "emotion,pixels")
    write_csv(folder / "test.csv", FACES[14:], LABELS[14:], OFFICIAL[14:], "pixels")
    (folder / "example_submission.csv").write_text("Id,Prediction\n1,0\n")
    return icml_face_data(folder).parent


@layout(["Training"] * 28)
def train_csv(folder: Path) -> Path:
    return write_csv(folder / "train.csv", FACES, LABELS, OFFICIAL, "emotion,pixels")


def official_names(folder: Path, suffix: str = ".jpg") -> Path:
    names = [f"{'train' if s == 'Training' else 'test'}/{{}}/{s}_{90 - i:08}{suffix}" for i, s in enumerate(OFFICIAL)]
    return write_folders(folder / "fer", FACES, LABELS, names)


@layout(OFFICIAL)
def folders_with_both_tests_merged(folder: Path) -> Path:
    return official_names(folder)


@layout(OFFICIAL)
def folders_by_the_splits_long_names(folder: Path) -> Path:
    long = dict(zip(SPLITS, ("training_set", "Public Test", "private-test"), strict=True))
    names = [f"{long[split]}/{{}}/im{i}.png" for i, split in enumerate(OFFICIAL)]
    return write_folders(folder / "d", FACES, LABELS, names)


@layout(["Training"] * 14 + ["PublicTest"] * 14)
def folders_train_and_dev(folder: Path) -> Path:
    names = [f"test/{'train' if i < 14 else 'dev'}/{{}}/{i}.png" for i in range(28)]  # the innermost tells
    return write_folders(folder / "d", FACES, LABELS, names)


@layout(OFFICIAL)
def csv_with_a_split_column(folder: Path) -> Path:
    return write_csv(folder / "fer.csv", FACES, LABELS, OFFICIAL, "split,emotion,pixels")


@layout(["PrivateTest"] * 28)
def labelled_test_csv(folder: Path) -> Path:
    return write_csv(folder / "PrivateTest.csv", FACES, LABELS, OFFICIAL, "emotion,pixels")


@layout(["PrivateTest"] * 28)
def labelled_test_csv_in_a_zip(folder: Path) -> Path:
    source = write_csv(folder / "d" / "faces.csv", FACES, LABELS, OFFICIAL, "emotion,pixels").parent
    return zip_folder(source, folder / "test.zip", source)


@layout(OFFICIAL)
def csv_as_windows_may_save_it(folder: Path) -> Path:
    text = write_csv(folder / "a.csv", FACES, LABELS, OFFICIAL).read_text()
    (folder / "FER.CSV").write_text("\ufeff" + text.replace("\n", "\r\n") + "\r\n\r\n")
    return folder / "FER.CSV"


@layout(OFFICIAL)
def zip_made_on_a_mac(folder: Path) -> Path:
    source = challenge_csv(folder / "fer2013").parent
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._fer2013.csv").write_bytes(b"\0\5\x16\7")
    (source / "._fer2013.csv").write_bytes(b"\0\5\x16\7")
    return zip_folder(folder, folder.with_suffix(".zip"), folder)


@layout(OFFICIAL)
def zip_of_an_npz(folder: Path) -> Path:
    return zip_folder(npz_of_gray(folder / "d").parent, folder / "d.zip", folder / "d")


@layout(["PrivateTest"] * 28)
def zip_named_test_of_class_folders(folder: Path) -> Path:
    root = class_folders_without_splits(folder)
    return zip_folder(root, folder / "test.zip", root)


@layout(OFFICIAL)
def folders_behind_links(folder: Path) -> Path:
    root, linked = numbered_from_im0_in_each_class(folder), folder / "linked"
    (linked / "validation").mkdir(parents=True)
    for name in ("train", "test", "validation/happy"):
        (linked / name).symlink_to(root / name)
    for name in EMOTIONS:
        if name != "happy":
            (linked / "validation" / name).symlink_to(root / "validation" / name, target_is_directory=True)
    return linked


@layout(OFFICIAL)
def zip_of_folders(folder: Path) -> Path:
    return zip_folder(official_names(folder, ".png"), folder / "fer.zip")


@layout(OFFICIAL)
def tgz_of_folders(folder: Path) -> Path:
    return zip_folder(official_names(folder), folder / "fer.tgz")


@layout(OFFICIAL)
def images_train_and_validation(folder: Path) -> Path:
    names = [f"images/{OF[split]}/{{}}/{i}.jpg" for i, split in enumerate(OFFICIAL)]
    return write_folders(folder / "archive", FACES, LABELS, names)


@layout(OFFICIAL)
def numbered_from_im0_in_each_class(folder: Path) -> Path:
    names = [f"{OF[split]}/{{}}/im{i // 7}.png" for i, split in enumerate(OFFICIAL)]
    return write_folders(folder / "fer", FACES, LABELS, names)


@layout(OFFICIAL)
def class_folders_by_number(folder: Path) -> Path:
    names = [f"{OF[split]}/{{}}/{i}.png" for i, split in enumerate(OFFICIAL)]
    return write_folders(folder / "fer", FACES, LABELS, names, "0123456")


@layout(OFFICIAL)
def class_folders_by_alias(folder: Path) -> Path:
    names = [f"{OF[split].title()}/{{}}/{i}.PNG" for i, split in enumerate(OFFICIAL)]
    aliases = ("Anger", "DISGUSTED", "Fearful", "happiness", "Sadness", "surprised", "Neutral")
    return write_folders(folder / "fer", FACES, LABELS, names, aliases)


@layout(["Training"] * 28)
def class_folders_without_splits(folder: Path) -> Path:
    suffixes = (".png", ".bmp", ".tif", ".webp", ".pgm")
    return write_folders(folder / "f", FACES, LABELS, [f"{{}}/{i}{suffixes[i % 5]}" for i in range(28)])


@layout(OFFICIAL)
def npz_of_gray(folder: Path) -> Path:
    return write_npz(folder / "faces.npz", {"images": FACES, "labels": LABELS, "splits": OFFICIAL})


@layout(OFFICIAL)
def npz_with_split_in_the_singular(folder: Path) -> Path:
    return write_npz(folder / "faces.npz", {"images": FACES, "labels": LABELS, "split": OFFICIAL})


@layout(["PrivateTest"] * 28)
def npz_named_test(folder: Path) -> Path:
    return write_npz(folder / "test.npz", {"images": FACES, "labels": LABELS})


@layout(OFFICIAL)
def npz_of_rgb_and_names(folder: Path) -> Path:
    names = [EMOTIONS[label].title() for label in LABELS]
    colour = np.repeat(FACES[..., None], 3, axis=3)
    return write_npz(folder / "f.npz", {"images": colour, "labels": names, "splits": [OF[s] for s in OFFICIAL]})


@layout(["Training"] * 28)
def npz_without_splits(folder: Path) -> Path:
    return write_npz(folder / "faces.npz", {"images": FACES, "labels": np.array(LABELS, np.uint8)})


NUMBERED = ("zip_of_an_npz", "class_folders_by_number", "npz_of_gray", "npz_with_split_in_the_singular",
            "npz_named_test", "npz_without_splits")  # fmt: skip


@pytest.mark.parametrize("name", BUILDERS)
def test_every_layout_gives_the_same_faces_labels_and_splits(tmp_path: Path, name: str):
    build, splits = BUILDERS[name]
    source, classes = build(tmp_path), None
    if name in NUMBERED:
        classes = "fer2013"
        with pytest.raises(
            ValueError, match=r'are numbers \(0, 1, .* nothing shows .*classes="fer2013".*"rafdb".*\{"0": '
        ):
            data.load(source)
    found = load_with_sealed(source, classes=classes)
    far = np.abs(found.images[:, None].astype(int) - FACES).mean((2, 3))
    lossy = "path" in found.table and found.table["path"].str.endswith(".jpg").all()
    assert far.min(1).max() <= (2 if lossy else 0)
    assert sorted(far.argmin(1)) == sorted(found.table["row"]) == list(range(28))
    assert found.labels.tolist() == [LABELS[i] for i in far.argmin(1)]
    assert found.table["split"].tolist() == [splits[i] for i in far.argmin(1)]
    assert len(load(source, classes=classes)) == 28 - splits.count("PrivateTest")


# ---- what sounds like a test is never Training


@pytest.mark.parametrize("inside", ["happy", "."])
def test_a_folder_inside_of_a_tree_keeps_its_split(tmp_path: Path, inside: str, monkeypatch: pytest.MonkeyPatch):
    root = numbered_from_im0_in_each_class(tmp_path)
    monkeypatch.chdir(root / "test" / inside)
    for source in (Path("."), root / "test" / inside):
        assert len(load(source)) == 0
        assert set(load_with_sealed(source).table["split"]) == {"PrivateTest"}
    (tmp_path / "test").symlink_to(root / "train")  # the name that is given may be a link's
    assert set(load_with_sealed(root / "train").table["split"]) == {"Training"}
    (tmp_path / "test" / ".." / "faces").symlink_to(root / "test")
    assert len(load(root / "faces")) == 0


@pytest.mark.parametrize("folder", ["private", "fer_public", "trainval", "train_and_test", "pretrained/deep"])
def test_a_folder_that_sounds_like_a_split_is_refused(tmp_path: Path, folder: str):
    write_folders(tmp_path / "d", FACES[:1], [3], [f"{folder}/{{}}/1.png"])
    name = folder.split("/")[0]
    with pytest.raises(
        ValueError, match=f"{folder}/happy/1.png: '{name}' sounds like a split; rename it to train, val or test"
    ):
        load(tmp_path / "d")


def test_harmless_names_are_no_tests(tmp_path: Path):
    root = write_folders(tmp_path / "contest_latest", FACES[:2], [3, 3], ["{}/1.png", "{}/2.png"])
    assert load(root).counts().index.tolist() == ["Training"]
    write_folders(tmp_path / "my_tests", FACES[:2], [3, 3], ["train/{}/1.png", "val/{}/2.png"])
    assert load(tmp_path / "my_tests").counts().index.tolist() == ["Training", "PublicTest"]


def test_a_csv_with_other_columns_must_tell_the_split(tmp_path: Path):
    source = write_csv(tmp_path / "a.csv", FACES, LABELS, OFFICIAL, "emotion,pixels,Fold")
    with pytest.raises(ValueError, match="line 1: the columns are 'emotion, pixels, fold'; due are emotion,"):
        load(source)
    source = write_csv(tmp_path / "b.csv", FACES, LABELS, ["holdout"] * 28, "emotion,pixels,split")
    with pytest.raises(ValueError, match="b.csv, line 2: split is 'holdout'; allowed are train, training"):
        load(source)
    source = write_csv(tmp_path / "our_trainval.csv", FACES, LABELS, OFFICIAL, "emotion,pixels")
    with pytest.raises(ValueError, match="our_trainval.csv: 'our_trainval' sounds like a split"):
        load(source)


# ---- what the CSVs leave out


def test_a_test_csv_is_left_out_with_a_note_or_refused_without_labels(tmp_path: Path):
    root = train_csv(tmp_path / "d").parent
    assert not any("test.csv" in note for note in load(root).notes)
    test = write_csv(root / "test.csv", FACES, LABELS, OFFICIAL, "pixels")
    for source, note in (
        (root, "left out 1 files beside train.csv, such as test.csv"),
        (root / "train.csv", "left out 1 tables beside it, to be loaded by their own names, such as test.csv"),
    ):
        dataset = load(source)
        assert dataset.notes[0] == note
        assert dataset.counts().sum(axis=1).to_dict() == {"Training": 28}
    with pytest.raises(ValueError, match="test.csv, line 1: the columns are 'pixels'; due are emotion,pixels,Usage"):
        load(test)


def test_of_several_csvs_the_challenges_own_comes_first(tmp_path: Path):
    for i, name in enumerate(("train.csv", "icml_face_data.csv", "fer2013.csv")):
        write_csv(tmp_path / name, FACES[i : i + 1], [i], ["Training"])
        assert load(tmp_path).labels.tolist() == [i]
    assert load(tmp_path).notes[0] == ("left out 2 files beside fer2013.csv, such as icml_face_data.csv, train.csv")
    write_folders(tmp_path, FACES[:1], [3], ["test/{}/1.png"])
    assert load(tmp_path).notes[0].endswith("icml_face_data.csv, test/happy/1.png, train.csv")


def test_a_csv_parted_otherwise_is_refused_with_a_hint(tmp_path: Path):
    path = challenge_csv(tmp_path)
    for mark in (";", "\t"):
        path.write_text(path.read_text().replace(",", mark))
        with pytest.raises(ValueError, match="the columns are .*; due are emotion,pixels,Usage, with commas"):
            load(path)
        challenge_csv(tmp_path)


def test_a_train_csv_beside_class_folders_is_a_list_of_them(tmp_path: Path):
    root = write_folders(tmp_path / "d", FACES[:7], LABELS[:7], [f"train/{{}}/{i}.png" for i in range(7)])
    (root / "train.csv").write_text("path,label\ntrain/happy/3.png,3\n")
    dataset = load(root)
    assert len(dataset) == 7
    assert dataset.notes[0] == "left out 1 files that are no images, such as train.csv"


# ---- folders: numbers, missing classes, another split, links, names


def test_links_that_lead_nowhere_or_back_are_refused(tmp_path: Path):
    root = numbered_from_im0_in_each_class(tmp_path)
    (root / "train" / "happy" / "loop").symlink_to(root / "train")
    with pytest.raises(ValueError, match="train/happy/loop is a link to a folder that is read already; remove it"):
        load(root)
    (root / "train" / "happy" / "loop").unlink()
    (root / "train" / "happy" / "gone.png").symlink_to(root / "gone.png")
    with pytest.raises(FileNotFoundError, match="train/happy/gone.png"):
        load(root)


def test_only_what_systems_leave_behind_is_passed_over(tmp_path: Path):
    root = write_folders(tmp_path / "d", FACES[:3], [3, 3, 3], ["{}/__2.png", "{}/.3.png", "__extra/{}/4.png"])
    for name in (".DS_Store", "._1.png", "__MACOSX/happy/1.png", "happy/.ipynb_checkpoints/1.png", "Thumbs.db"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"junk")
    dataset = load(root)
    assert sorted(dataset.table["path"]) == ["__extra/happy/4.png", "happy/.3.png", "happy/__2.png"]
    assert not any("left out" in note for note in dataset.notes)


def test_what_is_wrong_is_named_by_its_path_in_the_source(tmp_path: Path):
    root = write_folders(tmp_path / "d", FACES[:1], [3], ["train/{}/1.png"])
    (root / "train" / "happy" / "1.png").write_bytes(b"x")
    for source in (root, zip_folder(root, tmp_path / "d.zip")):
        with pytest.raises(ValueError, match=r"^(d/)?train/happy/1.png cannot be read as an image"):
            load(source)
    for name in ("happy/1.png", "happy/2.txt"):
        (root / "train" / name).unlink(missing_ok=True)
    (root / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"^d.zip holds no image in class folders"):
        load(zip_folder(root, tmp_path / "d.zip"))


# ---- a number is never a name


def numbered(folder: Path, counts: dict[int, int], name: str = "train/{}/{}.png") -> Path:
    for number, count in counts.items():
        for k in range(count):
            path = folder / "copy" / name.format(number, k)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), FACES[k])
    return folder / "copy"


def test_no_numbers_are_taken_for_fer2013s_but_the_csvs(tmp_path: Path):
    official = numbered(tmp_path, dict.fromkeys(range(7), 2), "{}/Training_{}.png")
    with pytest.raises(ValueError, match="are numbers .* nothing shows what they stand for; give classes="):
        load(official)
    assert np.bincount(load(official, classes="fer2013").labels).tolist() == [2] * 7


@pytest.mark.parametrize(
    ("numbers", "allowed"),
    [
        ((1, 2, 3, 4, 5, 6, 7), "rafdb"),
        ((0, 1, 2, 3, 4, 5, 6, 7), "affectnet"),
        ((0, 1, 2, 3, 4, 5, 6), "affectnet7"),
        ((0, 1), None),
        ((1,), None),
    ],
)
def test_other_numbers_are_refused_and_read_by_their_published_order(
    tmp_path: Path, numbers: tuple[int, ...], allowed: str | None
):
    root = numbered(tmp_path, dict.fromkeys(numbers, 2))
    if numbers[0] == 1 and allowed:  # RAF-DB's, called AffectNet's
        with pytest.raises(
            ValueError, match=r"no image has the class neutral, which classes= names; it has happy, .*: leave"
        ):
            load(root, classes="affectnet")
    with pytest.raises(ValueError, match="its labels are numbers .*nothing shows what they stand for"):
        load(root)
    if allowed:
        faces = load(root, classes=allowed)
        first = "surprise" if allowed == "rafdb" else "neutral"
        assert faces.classes[0] == first and (faces.counts() == 2).all(axis=None)
    if numbers == (0, 1):
        faces = load(root, classes="fer2013")
        assert len(faces.classes) == 7 and "no image of fear, happy" in faces.notes[-2]


def test_a_csv_of_eight_classes_and_one_of_names(tmp_path: Path):
    eight = write_csv(tmp_path / "ck.csv", FACES[:8], range(8), ["Training"] * 8)
    with pytest.raises(ValueError, match=r"ck.csv, line 9: '7' is none of the seven emotions .*\{\"0\": \"happy\""):
        load(eight)
    order = {str(k): name for k, name in enumerate([*EMOTIONS, "contempt"])}
    assert load(eight, classes=order).labels.tolist() == list(range(8))
    swapped = {str(k): name for k, name in enumerate(["contempt", *EMOTIONS])}
    assert load(eight, classes=swapped).classes[0] == "contempt", "each mapping is cached apart"
    named = write_csv(tmp_path / "named.csv", FACES[:3], ["Happiness", "sad", "ANGER"], ["Training"] * 3)
    assert load(named).labels.tolist() == [3, 4, 0]
    with pytest.raises(ValueError, match="ck.csv has no class folders that classes= could name; give a list"):
        load(eight, classes="folders")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("raf", "classes is 'raf'; allowed are folders, fer2013, rafdb, affectnet, affectnet7, a list or a mapping"),
        (["happy"], "give two names or more"),
        (["happy", ""], "give two names or more"),
        ({"0": "happy", "1": 3}, "give two names or more, each a text"),
        (["happy", "sad", "Sadness"], "two classes have one name, 'sad' and 'Sadness'; give each its own"),
        (["happy", "sad"], "'0' is not in classes, which knows happy, sad; map the numbers: classes="),
        ({"0": "happy", "3": "sad"}, "'1' is not in classes, which knows 0, 3, happy, sad; map the numbers"),
        (
            {"0": "happy", "1": "sad", "2": "wink"},
            "no image has the class wink, which classes= names; it has happy, sad",
        ),
    ],
)
def test_classes_that_do_not_explain_the_source_are_refused(tmp_path: Path, classes: object, message: str):
    root = numbered(tmp_path, {0: 2, 1: 2})
    with pytest.raises(ValueError, match=message):
        load(root, classes=classes)
    with pytest.raises(ValueError, match="of the seven emotions; leave size= and classes= out"):
        data.load("sample", classes=["happy", "sad"])


def test_a_mapping_may_swap_names(tmp_path: Path):
    root = write_folders(tmp_path / "d", FACES[:3], [3, 4, 4], ["{}/0.png", "{}/1.png", "{}/2.png"])
    faces = load(root, classes={"happy": "sad", "sad": "happy"})
    assert faces.counts().loc["Training"].to_dict() == {"sad": 1, "happy": 2}


def test_a_missing_class_is_told_and_shifts_no_label_as_it_does_in_torchvision(tmp_path: Path):
    kept = [i for i in range(14) if LABELS[i] != 1]
    names = [f"train/{{}}/{i}.png" for i in kept]
    root = write_folders(tmp_path / "d", FACES[kept], [LABELS[i] for i in kept], names)
    theirs = ImageFolder(root / "train").class_to_idx
    assert theirs["fear"] == 1 and theirs["happy"] == 2
    dataset = load(root)
    assert {int(label) for label in dataset.labels} == {0, 2, 3, 4, 5, 6}
    for i, image in zip(kept, FACES[kept], strict=True):
        (at,) = np.flatnonzero((dataset.images == image).all((1, 2)))
        assert dataset.labels[at] == LABELS[i]
    assert dataset.notes == ("Training: no image of disgust",)


def test_a_missing_class_is_told_by_the_official_counts(tmp_path: Path):
    source = write_csv(tmp_path / "a.csv", FACES[:3], [0, 1, 2], ["Training"] * 3)
    order, note, *_ = load(source).notes
    assert order.startswith("its counts are none of FER2013's, and its numbers were read in FER2013's order, 0 angry")
    assert note.startswith("Training: 3 of FER2013's 28,709 images (angry 1 of 3995, ") and "happy 0 of 7215" in note


def test_another_split_is_named(tmp_path: Path):
    notes = load(images_train_and_validation(tmp_path)).notes
    assert notes[0] == "its splits are not FER2013's official ones: scores on them compare with no published figure"


def test_aliases_are_all_of_the_seven():
    assert set(ALIASES.values()) == set(EMOTIONS)
    wanted = {"Happiness": 3, "fearful": 2, "DISGUSTED": 1, "surprised": 5, "anger": 0, "sadness": 4, "Neutral": 6}
    assert {name: class_map().index(name) for name in wanted} == wanted


# ---- sizes and pixels


def one(tmp_path: Path, raw: bytes, name: str, size: int = 48) -> np.ndarray:
    """A single image file, read."""
    path = tmp_path / "d" / "happy" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    (image,) = load(tmp_path / "d", size=size).images
    path.unlink()
    return image


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm"])
def test_half_an_image_is_refused_by_name(tmp_path: Path, suffix: str):
    whole = encoded(FACES[0], suffix)
    assert np.abs(one(tmp_path, whole, "a" + suffix).astype(int) - FACES[0]).mean() < 2
    with pytest.raises(ValueError, match=f"happy/a{suffix} cannot be read as an image"):
        one(tmp_path, whole[: len(whole) // 2], "a" + suffix)


def encoded(image: np.ndarray, suffix: str = ".png", *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def saved(tmp_path: Path, image: Image.Image, name: str, **options) -> bytes:
    image.save(tmp_path / name, **options)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(("high", "wide"), [(48, 61), (62, 48)])
def test_oblong_images_give_their_largest_centred_square_and_are_counted(tmp_path: Path, high: int, wide: int):
    whole = np.random.default_rng(0).integers(0, 256, (high, wide), np.uint8)
    top, left = (high - 48) // 2, (wide - 48) // 2
    np.testing.assert_array_equal(one(tmp_path, encoded(whole), "a.png"), whole[top : top + 48, left : left + 48])
    write_folders(tmp_path / "d", [whole, FACES[0], whole[:, ::-1]], [0, 1, 2], ["{}/1.png", "{}/2.png", "{}/3.png"])
    dataset = load(tmp_path / "d")
    assert dataset.notes[0] == "2 images were not square: the largest centred square was taken of each"
    assert dataset.table["cropped"].tolist() == [True, False, True]


def test_other_sizes_are_averaged_down_and_interpolated_up(tmp_path: Path):
    fine = np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)
    means = fine.reshape(48, 2, 48, 2).mean((1, 3))
    assert np.abs(one(tmp_path, encoded(fine), "a.png") - means).max() <= 0.5
    coarse = fine[:24, :24]
    expected = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(one(tmp_path, encoded(coarse), "a.png"), expected)
    found = load(write_npz(tmp_path / "a.npz", {"images": fine[None], "labels": ["angry"]})).images[0]
    np.testing.assert_array_equal(found, one(tmp_path, encoded(fine), "a.png"))


RGB = np.random.default_rng(5).integers(0, 256, (48, 48, 3), np.uint8)
GRAY = np.round(RGB @ [0.299, 0.587, 0.114])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_colours_are_weighed(tmp_path: Path, suffix: str):
    raw = encoded(RGB[..., ::-1], suffix, *([cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []))
    assert np.abs(one(tmp_path, raw, "a" + suffix) - GRAY).max() <= 1
    found = load(write_npz(tmp_path / "a.npz", {"images": RGB[None], "labels": ["angry"]})).images[0]
    assert np.abs(found - GRAY).max() <= 1 and found[0].tolist() == one(tmp_path, raw, "a" + suffix)[0].tolist()


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_mid_gray(tmp_path: Path, suffix: str, mode: str):
    alpha = np.random.default_rng(6).integers(0, 256, (48, 48), np.uint8)
    alpha[0], alpha[1] = 0, 255
    image = Image.fromarray(RGB).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    found = one(tmp_path, saved(tmp_path, image, "a" + suffix, **options), "a" + suffix)
    assert np.abs(found - (GRAY * (alpha / 255) + 128 * (1 - alpha / 255))).max() <= 1.5
    assert set(found[0]) == {128}
    assert np.abs(found[1] - GRAY[1]).max() <= 1


def test_palettes_are_expanded_and_their_transparent_colour_is_alpha(tmp_path: Path):
    image = Image.fromarray(np.repeat(np.arange(48, dtype=np.uint8)[:, None] % 3, 48, axis=1)).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    found = one(tmp_path, saved(tmp_path, image, "a.png"), "a.png")
    assert found[:3, 0].tolist() == [76, 150, 29] and (found == found[:, :1]).all()
    found = one(tmp_path, saved(tmp_path, image, "a.png", transparency=1), "a.png")
    assert found[:3, 0].tolist() == [76, 128, 29]


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17)])
def test_few_bits_of_gray_span_the_whole_range(tmp_path: Path, bits: int, step: int):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    values = np.arange(48) % 2**bits
    line = b"\0" + np.packbits([int(bit) for value in values for bit in format(value, f"0{bits}b")]).tobytes()
    head = struct.pack(">IIBBBBB", 48, 48, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(line * 48)) + chunk(b"IEND", b"")
    assert one(tmp_path, b"\x89PNG\r\n\x1a\n" + body, "a.png")[7].tolist() == (values * step).tolist()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_divided_by_257_and_rounded(tmp_path: Path, suffix: str):
    deep = np.random.default_rng(7).integers(0, 65536, (48, 48), np.uint16)
    deep[0, :4] = 0, 65535, 128, 129  # 128 / 257 is just below a half, 129 just above
    found = one(tmp_path, encoded(deep, suffix), "a" + suffix)
    np.testing.assert_array_equal(found, np.round(deep / 257))
    assert found[0, :4].tolist() == [0, 255, 0, 1]


def test_sixteen_bits_of_colour_and_alpha_follow_the_same_rules(tmp_path: Path):
    deep = np.dstack([RGB[..., ::-1].astype(np.uint16) * 257, np.full((48, 48), 51 * 257, np.uint16)])
    assert np.abs(one(tmp_path, encoded(deep), "a.png") - (GRAY * 0.2 + 128 * 0.8)).max() <= 1.5


def test_cmyk_jpegs_are_read_as_pillow_reads_them(tmp_path: Path):
    smooth = cv2.resize(RGB[:6, :6], (48, 48), interpolation=cv2.INTER_CUBIC)
    raw = saved(tmp_path, Image.fromarray(smooth).convert("CMYK"), "a.jpg", quality=95, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == "CMYK"
        expected = np.asarray(image.convert("L"), int)
    assert np.abs(one(tmp_path, raw, "a.jpg") - expected).max() <= 3


def test_the_orientation_of_a_jpeg_is_applied(tmp_path: Path):
    smooth = cv2.resize(FACES[0], (96, 96), interpolation=cv2.INTER_CUBIC)
    upright = one(tmp_path, saved(tmp_path, Image.fromarray(smooth), "a.jpg", quality=95), "a.jpg")
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned clockwise by a quarter
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(smooth)))
    found = one(tmp_path, saved(tmp_path, turned, "a.jpg", quality=95, exif=exif), "a.jpg")
    assert np.abs(found.astype(int) - upright).max() <= 8
    assert np.abs(np.rot90(found).astype(int) - upright).max() > 50


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_32_bits_are_refused_by_name(tmp_path: Path, kind: type):
    raw = saved(tmp_path, Image.fromarray(np.zeros((48, 48), kind)), "deep.tif")
    with pytest.raises(ValueError, match="happy/deep.tif cannot be read as an image .its pixels have 32 bits.; remove"):
        one(tmp_path, raw, "deep.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bits_never_wrap_around(tmp_path: Path, suffix: str):
    """As bytes, 300 would be 44, and 40,000 be 64."""
    found = one(tmp_path, encoded(np.full((48, 48), 300, np.uint16), suffix), "a" + suffix)
    assert set(np.unique(found)) == {1}
    found = one(tmp_path, encoded(np.full((48, 48), 40_000, np.uint16), suffix), "a" + suffix)
    assert set(np.unique(found)) == {156}


def test_comments_of_a_pgm_are_passed_over_and_its_range_is_kept(tmp_path: Path):
    body = FACES[0].tobytes()
    np.testing.assert_array_equal(one(tmp_path, b"P5\n# 1 2 3\n48 48\n255\n" + body, "a.pgm"), FACES[0])
    assert set(np.unique(one(tmp_path, b"P5\n48 48\n100\n" + bytes([100]) * 2304, "a.pgm"))) == {255}


def test_what_is_not_read_as_an_image_is_told(tmp_path: Path):
    root = write_folders(tmp_path / "d", FACES[:7], LABELS[:7], [f"{{}}/{i}.png" for i in range(7)])
    for name in ("a.mp4", "b", "c.txt"):
        (root / "happy" / name).write_bytes(b"GIF89a")
    for _ in range(2):  # read, and from the cache
        with pytest.warns(UserWarning, match="d: left out 3 files that are no images, such as happy/a.mp4, happy/b, h"):
            assert len(data.load(root)) == 7


# ---- npz


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"usage": OFFICIAL}, "has the arrays images, labels, splits, usage; due are images, labels and maybe splits"),
        ({"images": None}, "has the arrays labels, splits; due are images, labels and maybe splits"),
        ({"images": FACES / 255}, r"images is float64 \(28, 48, 48\); due is uint8 \(n, h, w\) or RGB"),
        ({"images": FACES[:, None]}, r"images is uint8 \(28, 1, 48, 48\)"),
        ({"images": FACES[0]}, r"images is uint8 \(48, 48\)"),
        ({"images": FACES[:0]}, r"images is uint8 \(0, 48, 48\)"),
        ({"labels": LABELS[:27]}, r"labels \(27,\) and splits \(28,\) must be \(28,\)"),
        ({"labels": np.eye(7)[LABELS]}, r"labels \(28, 7\) and splits"),
        ({"labels": np.array(LABELS) / 1}, "image 0: '0.0' is none of the seven emotions"),
        ({"labels": 3}, r"labels \(\) and splits"),
        ({"labels": [*LABELS[:27], 7]}, r"its labels are numbers \(0, 1, 2, 3, 4, 5, 6, 7\), and nothing shows what"),
        ({"labels": ["sad"] * 27 + ["smug"]}, "image 27: 'smug' is none of the seven emotions"),
        ({"labels": np.array(LABELS, object)}, "cannot be read .Object arrays cannot be loaded"),
        ({"splits": OFFICIAL[:3]}, r"splits \(3,\) must be \(28,\)"),
        ({"splits": ["train"] * 27 + ["holdout"]}, "image 27: split is 'holdout'; allowed are train, training"),
    ],
)
def test_a_bad_npz_is_refused_with_the_reason(tmp_path: Path, change: dict, message: str):
    arrays = {"images": FACES, "labels": LABELS, "splits": OFFICIAL} | change
    path = write_npz(tmp_path / "f.npz", {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=f"f.npz.*{message}"):
        load(path)


def test_what_is_no_npz_is_refused(tmp_path: Path):
    path = npz_of_gray(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"faces.npz cannot be read .*; write numbers and texts with numpy.savez"):
        load(path)
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="faces.npz cannot be read"):
        load(path)
    with open(path, "wb") as file:
        np.save(file, FACES)
    with pytest.raises(ValueError, match="faces.npz cannot be read"):
        load(path)
