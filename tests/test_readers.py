"""No reader gives a silent wrong result: generated trees and tables, whose truth the generator knows.

For each of them: files read and files named as left out are all files there; labels and splits are the truth, or the
reader refuses, or a note says what it assumed; a number is never a name; a face is counted once.
"""

import io
import itertools
import os
import random
import re
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from on_disk import write_npz, zip_folder
from PIL import Image

from ferlib import data
from ferlib.data import FaceDataset
from ferlib.data.loading import load_with_sealed
from ferlib.data.sources import walk
from ferlib.data.words import COLUMNS, IMAGES, split_in
from ferlib.emotions import EMOTIONS, ORDERS

FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), np.uint8)  # no two are alike
WORDS = {
    "Training": ("train", "training", "Train", "TRAIN"),
    "PublicTest": ("val", "valid", "validation", "dev", "eval", "Validation", "VAL", "PublicTest", "public_test"),
    "PrivateTest": ("test", "testing", "Test", "TEST", "PrivateTest", "private-test"),
}
AROUND = ("{}", "{}_images", "new_{}", "aligned_{}", "{}_class", "{}Set", "{}-2", "{}_data", "01_{}", "fer2013{}",
          "my {} faces", "{}.old")  # fmt: skip
NAMES = (  # by emotion: what a class folder may be called
    ("angry", "Anger", "ANGRY"), ("disgust", "Disgusted"), ("fear", "fearful", "Scared"), ("happy", "Happiness", "joy"),
    ("sad", "Sadness"), ("surprise", "Surprised", "suprise"), ("neutral", "Neutral", "calm"),
)  # fmt: skip
Truth = dict[str, tuple[int, str, str]]  # by path: the number of the face, its split, its emotion


def read(source: Path, **options: object) -> FaceDataset:
    """`load` of all splits, whose notes are asserted on where they matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_with_sealed(source, **options)


def write(root: Path, truth: Truth, junk: tuple[str, ...] = ()) -> Path:
    for name, (face, _, _) in truth.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(FACES[face]).save(path)
    for name in junk:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def found(dataset: FaceDataset) -> list[tuple[int, str, str]]:
    """The faces that were read, with their splits and classes; the faces are told by their pixels."""
    numbers = {face.tobytes(): number for number, face in enumerate(FACES)}
    rows = zip(dataset.images, dataset.table["split"], dataset.labels, strict=True)
    return sorted((numbers[image.tobytes()], split, dataset.classes[label]) for image, split, label in rows)


def left_out(dataset: FaceDataset) -> int:
    counts = [re.match(r"left out ([\d,]+) (?!columns)", note) for note in dataset.notes]
    return sum(int(count[1].replace(",", "")) for count in counts if count)


def remarks(dataset: FaceDataset) -> list[str]:
    """The notes that tell of a doubt, without those on missing classes and on splits other than FER2013's."""
    usual = ("no image of", "are not FER2013's official", "it has no validation split", "of FER2013's")
    return [note for note in dataset.notes if not any(text in note for text in usual)]


def honest_tree(chance: random.Random) -> tuple[Truth, tuple[str, ...]]:
    """A tree whose names tell all: one folder a split, each class called in one way; files that are no images."""
    splits = chance.sample(list(WORDS), chance.randint(1, 3))
    folders = {split: chance.choice(AROUND).format(chance.choice(WORDS[split])) for split in splits}
    outer, suffix = chance.choice(("", "images/", "fer 2013/data/")), chance.choice((".png", ".bmp", ".tiff", ".tga"))
    calls, style = [chance.choice(names) for names in NAMES], chance.choice(("{0}", "im{0}", "{1}_{0}", "IMG-{0}"))
    truth = {}
    for face in range(chance.randint(7, 20)):
        split, label = chance.choice(splits), face % 7
        name = style.format(face, calls[label]) + chance.choice((suffix, suffix.upper()))
        truth[f"{outer}{folders[split]}/{calls[label]}/{name}"] = (face, split, EMOTIONS[label])
    folder = next(iter(truth)).rpartition("/")[0]
    junk = ("about.txt", f"{outer}list.csv", f"{folder}/film.mp4", "more.zip")
    return truth, tuple(chance.sample(junk, chance.randint(0, 4)))


@pytest.mark.parametrize("seed", range(40))
def test_a_tree_whose_names_tell_all_is_read_as_it_is(tmp_path: Path, seed: int):
    chance = random.Random(seed)
    truth, junk = honest_tree(chance)
    root = write(tmp_path / "d", truth, junk)
    source = root if seed % 4 else zip_folder(root, tmp_path / "d.zip", root)
    dataset = read(source)
    assert found(dataset) == sorted(truth.values())
    assert len(dataset) + left_out(dataset) == len(walk(root)) == len(truth) + len(junk)
    assert all(note.startswith("left out") for note in remarks(dataset))
    for name in junk[:5]:
        assert any(name in note for note in dataset.notes)


# ---- names of splits


@pytest.mark.parametrize("split", WORDS)
def test_a_splits_word_is_known_inside_of_a_name(split: str):
    for word, around in itertools.product(WORDS[split], AROUND):
        assert split_in(around.format(word)) == split


@pytest.mark.parametrize(
    "name",
    [
        "trainval",
        "train_test",
        "test+val",
        "mytraining2test",
        "pretrained",
        "validated",
        "unittest",
        "private",
        "public_faces",
        "not_train",
        "non-train",
        "cross-validation",
        "CrossVal",
        "test_public_private",
    ],
)
def test_a_name_that_may_be_a_splits_is_refused(tmp_path: Path, name: str):
    truth = {f"{folder}/happy/{face}.png": (face, "", "") for face, folder in enumerate((name, "train"))}
    with pytest.raises(ValueError, match="sounds like a split; rename it to train, val or test"):
        read(write(tmp_path / "d", truth))


@pytest.mark.parametrize("name", ["test_public", "TestPublic", "test (public)", "Test-Public_2", "public test set"])
def test_public_beside_test_is_publictest(name: str):
    assert split_in(name) == "PublicTest" and split_in(name.replace("ublic", "rivate")) == "PrivateTest"
    assert split_in(name.lower().replace("public", "private")) in ("PrivateTest", "?")


@pytest.mark.parametrize("name", ["latest", "contest", "device", "value", "valence", "faces", "2013", "trn", "valley"])
def test_other_names_are_none(name: str):
    assert split_in(name) == ""


@pytest.mark.parametrize(
    "folders", [("trn", "tst"), ("part1", "part2"), ("a", "b", "c"), ("x/fold0", "x/fold1"), ("s01", "s02"), ("", "b")]
)
def test_class_folders_in_several_places_are_noted(tmp_path: Path, folders: tuple[str, ...]):
    names = [f"{folder}/happy/{face}.png".lstrip("/") for face, folder in enumerate(folders)]
    dataset = read(write(tmp_path / "d", {name: (face, "Training", "happy") for face, name in enumerate(names)}))
    (note,) = remarks(dataset)
    assert note.startswith(f"class folders of {len(folders)} folders are all Training, such as ")
    assert all((folder or ".") in note for folder in folders)
    dataset = read(tmp_path / "d", classes={"happy": "open", "sad": "shut"}) if len(folders) > 9 else dataset
    assert len(dataset) == len(folders)


def test_two_folders_of_one_split_are_noted_too(tmp_path: Path):
    truth = {f"{folder}/happy/{k}.png": (k, "", "") for k, folder in enumerate(("train", "extra/train", "val", "dev"))}
    assert remarks(read(write(tmp_path / "d", truth))) == [
        "class folders of 2 folders are all PublicTest, such as val, dev",
        "class folders of 2 folders are all Training, such as train, extra/train",
    ]


def test_a_folder_that_is_no_split_beside_one_is_refused_whatever_the_source_is_called(tmp_path: Path):
    truth = {f"{folder}/happy/{k}.png": (k, "", "") for k, folder in enumerate(("train", "holdout"))}
    for name in ("d", "train_faces"):
        with pytest.raises(ValueError, match="holdout/happy/1.png lies in no folder of a split, unlike train/happy/0"):
            read(write(tmp_path / name, truth))


def test_a_function_that_merges_places_is_noted(tmp_path: Path):
    truth = {f"{folder}/joy/{k}.png": (k, "Training", "happy") for k, folder in enumerate(("trn", "tst"))}
    dataset = read(write(tmp_path / "d", truth), classes=lambda path: "happy")
    assert found(dataset) == sorted(truth.values())
    assert remarks(dataset) == ["class folders of 2 folders are all Training, such as trn, tst"]
    by_person = write(tmp_path / "e", {f"{name}/s01/{k}.png": (k, "", "") for k, name in enumerate(("happy", "sad"))})
    assert remarks(read(by_person, classes=lambda path: path.split("/")[0])) == []


# ---- files and folders that are odd


def test_backslashes_in_an_archive_are_folders(tmp_path: Path):
    truth = {"train/happy/1.png": (0, "Training", "happy"), "test/sad/2.png": (1, "PrivateTest", "sad")}
    root = write(tmp_path / "d", truth)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in truth:
            entry = zipfile.ZipInfo()
            entry.filename = name.replace("/", "\\")
            file.writestr(entry, (root / name).read_bytes())
            tar.add(root / name, entry.filename)
    for source in ("a.zip", "a.tar"):
        assert found(read(tmp_path / source)) == sorted(truth.values())
        assert found(read(tmp_path / source, classes=lambda path: path.split("/")[1])) == sorted(truth.values())


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_two_files_of_one_name_in_an_archive_are_refused(tmp_path: Path, ending: str):
    root, path = write(tmp_path / "d", {f"happy/{k}.png": (k, "", "") for k in range(2)}), tmp_path / f"a{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own
        with zipfile.ZipFile(path, "w") if ending == ".zip" else tarfile.open(path, "w") as file:
            add = file.write if isinstance(file, zipfile.ZipFile) else file.add
            add(root / "happy/0.png", "happy/0.png")
            add(root / "happy/1.png", "./happy/0.png")
    with pytest.raises(ValueError, match=f"a{ending} cannot be unpacked: it has several files 'happy/0.png'"):
        read(path)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, scandir = write(tmp_path / "d", {"happy/1.png": (0, "", ""), "happy/locked/2.png": (1, "", "")}), os.scandir

    def locked(folder: str):
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)  # root may read all folders
    with pytest.raises(ValueError, match=r"the folder .*happy/locked cannot be read \(Permission denied\); give it"):
        read(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_left_out(tmp_path: Path):
    root = write(tmp_path / "d", {"happy/1.png": (0, "", "")})
    os.mkfifo(root / "happy" / "2.png")
    os.mkfifo(root / "train.csv")
    dataset = read(root)
    assert len(dataset) == 1 and not any("2.png" in note or "train.csv" in note for note in dataset.notes)


def test_files_that_change_places_are_read_anew(tmp_path: Path):
    root = write(tmp_path / "d", {"happy/1.bmp": (0, "", ""), "sad/1.bmp": (1, "", "")})
    for path in (root / "happy/1.bmp", root / "sad/1.bmp"):
        os.utime(path, (10**9, 10**9))
    before = found(read(root))
    (root / "happy/1.bmp").rename(root / "x")
    (root / "sad/1.bmp").rename(root / "happy/1.bmp")
    (root / "x").rename(root / "sad/1.bmp")
    assert before == [(0, "Training", "happy"), (1, "Training", "sad")]
    assert found(read(root)) == [(0, "Training", "sad"), (1, "Training", "happy")]


@pytest.mark.parametrize(("name", "path"), [("calm", "contempt/2.png"), ("joy", "open/1.png"), ("happy", "s01/1.png")])
def test_a_source_named_like_a_class_is_one_only_for_its_own_images(tmp_path: Path, name: str, path: str):
    root = write(tmp_path / name, {"1.png": (0, "", ""), path: (1, "", "")})
    with pytest.raises(ValueError, match=f"'{path.split('/')[0]}' is none of the seven emotions"):
        read(root)
    shutil.rmtree(root / path.split("/")[0])
    assert len(read(root)) == 1


# ---- arrays


@pytest.mark.parametrize(
    "images", [FACES / 255, FACES.astype(np.float32), FACES.astype(int), FACES > 9, FACES[..., None], FACES.tolist()]
)
def test_images_that_are_no_gray_uint8_are_refused(images: np.ndarray):
    with pytest.raises(
        ValueError, match=r"images are .*; due is gray uint8 \(n, h, w\), 0 to 255; if they are 0 to 1: \(255"
    ):
        FaceDataset.from_arrays(images, [0] * 40)


@pytest.mark.parametrize("labels", [[0.9, 1.7], [3.0, 4.0], ["3", "4"], [True, False], np.eye(7)[:2], [[3], [4]]])
def test_labels_that_are_no_whole_numbers_are_refused(labels: object):
    with pytest.raises(ValueError, match=r"labels are .*; give class indices, .*whole number"):
        FaceDataset.from_arrays(FACES[:2], labels)


def test_masks_that_are_numbers_or_in_another_order_are_refused():
    faces = FaceDataset.from_arrays(FACES[:5], [0, 1, 1, 0, 1])
    mask = faces.table["label"] == 1
    assert len(faces.subset(mask)) == 3 and len(faces.subset([0, 1, 1, 1])) == 4
    assert faces.subset([1, 0]).subset([1, 0]).table["row"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="numbers 0 and 1, one for each image, are a mask; give it as bool: mask.ast"):
        faces.subset(mask.astype(int))
    with pytest.raises(ValueError, match="the mask's index is not the table's, in its order; give a mask made from"):
        faces.subset(mask[::-1])


# ---- two sources of truth


def test_a_number_inside_of_a_class_folder_is_no_class(tmp_path: Path):
    truth = {f"train/{name}/{k % 3}/{k}.png": (k, "Training", name) for k, name in enumerate(EMOTIONS * 2)}
    root = write(tmp_path / "d", truth)
    dataset = read(root)
    assert found(dataset) == sorted(truth.values())
    assert remarks(dataset)[0].startswith("14 images lie in folders inside of their class folder, which counts, such")
    for classes in ("fer2013", "folders", "rafdb", "affectnet"):  # by which the number is a class too
        with pytest.raises(ValueError, match=r"lies in the folders \w+ and \d, and both may be its class; move it, or"):
            read(root, classes=classes)
    assert found(read(root, classes=lambda path: path.split("/")[1])) == sorted(truth.values())


@pytest.mark.parametrize("path", ["happy/sad/1.png", "joy/train/sad/1.png", "train/happy/Anger/s01/1.png"])
def test_an_image_in_two_class_folders_is_refused(tmp_path: Path, path: str):
    with pytest.raises(ValueError, match=r"lies in the folders \w+ and \w+, and both may be its class"):
        read(write(tmp_path / "d", {path: (0, "", "")}))


@pytest.mark.parametrize("tree", ["{1}/{0}", "{1}/{0}/s01", "{0}/{1}", "s01/{1}/{0}", "{0}/{1}/2"])
def test_splits_inside_of_class_folders_and_persons_around_them(tmp_path: Path, tree: str):
    splits = {"train": "Training", "val": "PublicTest"}
    cases = [(word, name) for word in splits for name in EMOTIONS]
    truth = {f"{tree.format(*case)}/{k}.png": (k, splits[case[0]], case[1]) for k, case in enumerate(cases)}
    dataset = read(write(tmp_path / "d", truth))
    assert found(dataset) == sorted(truth.values())
    assert tree == "{0}/{1}" or "inside of their class folder" in dataset.notes[0]


@pytest.mark.parametrize("seed", range(12))
def test_a_users_own_folders_win_over_the_names_of_files(tmp_path: Path, seed: int):
    chance, truth, odd = random.Random(seed), {}, 0
    words = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
    styles = chance.choice((("Training", "PublicTest", "PrivateTest"), ("train", "val", "test")))
    for face in range(20):
        word, style = chance.choice(list(words)), chance.choice(styles)
        odd += split_in(style) != words[word]
        truth[f"{word}/happy/{style}_{face}.png"] = (face, words[word], "happy")
    dataset = read(write(tmp_path / "d", truth))
    assert found(dataset) == sorted(truth.values())
    assert f"{odd - both_tests(truth)} images are named for another split" in dataset.notes[0] or odd == 0
    assert not dataset.table["official"].any()


def both_tests(truth: Truth) -> int:
    """The images called PublicTest in `test/`, as in copies of FER2013 with both tests in one folder."""
    return sum(path.startswith("test/") and "PublicTest" in path for path in truth)


def test_a_test_folder_is_parted_only_if_all_its_names_are_official(tmp_path: Path):
    truth = {
        "test/happy/PublicTest_1.png": (0, "PublicTest", "happy"),
        "test/sad/PrivateTest_2.png": (1, "PrivateTest", "sad"),
    }
    assert found(read(write(tmp_path / "d", truth))) == sorted(truth.values())
    dataset = read(write(tmp_path / "d", {"test/happy/mine.png": (2, "PrivateTest", "happy")}))
    assert {row[1] for row in found(dataset)} == {"PrivateTest"}
    assert (
        "1 images are named for another split than their folder's, which counts, such as test/happy/Pub"
        in dataset.notes[0]
    )


def test_the_name_of_the_folder_that_is_given_is_held_against_the_files_too(tmp_path: Path):
    for name, split, odd in (("val", "PublicTest", 1), ("fer-private", "Training", 0), ("Training", "Training", 0)):
        dataset = read(write(tmp_path / name, {"happy/Training_1.png": (0, "", "")}))
        assert dataset.table["split"].tolist() == [split]
        assert sum("named for another split than their folder's" in note for note in dataset.notes) == odd


@pytest.mark.parametrize("path", ["test/train/happy/1.png", "val/x/train_images/sad/1.png", "train/fear/val/1.png"])
def test_folders_of_two_splits_around_an_image_are_noted(tmp_path: Path, path: str):
    dataset = read(write(tmp_path / "d", {path: (0, "", "")}))
    assert dataset.table["split"].tolist() == [split_in(path.split("/")[-2]) or split_in(path.split("/")[-3])]
    assert dataset.notes[0] == f"1 images lie in folders of two splits, the innermost counts, such as {path}"


def test_names_of_files_tell_the_split_where_no_folder_does(tmp_path: Path):
    truth = {f"{k % 7}/{word}_{k:05}_aligned.png": (k, split_in(word), EMOTIONS[k % 7])
             for k, word in enumerate(("train", "test") * 7)}  # fmt: skip
    dataset = read(write(tmp_path / "raf", truth), classes="fer2013")
    assert found(dataset) == sorted(truth.values())
    assert "14 images lie in no split's folder: their names count, as all tell one, such as" in dataset.notes[0]
    only = {f"happy/test{k}.png": (k, "Training", "happy") for k in range(3)}
    dataset = read(write(tmp_path / "only", only))
    assert found(dataset) == sorted(only.values())
    assert "3 images lie in no split's folder: their names do not count, such as happy/test0.png" in dataset.notes[0]


def test_names_of_files_are_held_against_their_class(tmp_path: Path):
    names = ("happy/sad_1.png", "happy/S5-joy.png", "sad/x_happy_sad.png", "sad/ANGRY 7.png", "fear/unhappy.png")
    dataset = read(write(tmp_path / "d", {name: (k, "", "") for k, name in enumerate(names)}))
    assert [EMOTIONS[label] for label in dataset.labels] == [name.split("/")[0] for name in dataset.table["path"]]
    numbered = read(write(tmp_path / "n", {"0/happy_1.png": (0, "", ""), "1/2.png": (1, "", "")}), classes="folders")
    assert "1 images are named for another class" in numbered.notes[0]
    other = {"open/happy_1.png": (0, "", ""), "shut/2.png": (1, "", "")}
    assert remarks(read(write(tmp_path / "o", other), classes="folders")) == []
    (note,) = remarks(dataset)
    assert note.startswith("2 images are named for another class than their folder's, which counts, such as ")
    assert "happy/sad_1.png" in note and "sad/ANGRY 7.png" in note


def test_two_words_for_one_class_are_noted(tmp_path: Path):
    for k, (first, second) in enumerate(
        (("joy", "happy"), ("calm", "neutral"), ("Sadness", "SAD"), ("fear", "scared"))
    ):
        truth = {f"{first}/1.png": (0, "", ""), f"{second}/2.png": (1, "", "")}
        (note,) = remarks(read(write(tmp_path / str(k), truth)))
        one, other = sorted((first.lower(), second.lower()))
        assert note.startswith(f"{one} and {other} are one class, ")
    mapped = read(tmp_path / "1", classes={"calm": "calm", "neutral": "plain"})
    assert remarks(mapped) == [] and mapped.classes == ("calm", "plain")


# ---- a number is never a name


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("tree", ["{}", "train/{}", "{}/s01", "{}/{}", "x/{}/y/{}"])
def test_numbers_need_classes(tmp_path: Path, first: int, tree: str):
    numbers = range(first, first + 5)
    truth = {f"{tree.replace('{}', str(number))}/{number}.png": (number, "", "") for number in numbers}
    root = write(tmp_path / "d", truth)
    with pytest.raises(ValueError, match=r"nothing shows what they stand for; give classes=|is none of the seven emot"):
        read(root)
    if not tree.endswith("s01"):
        dataset = read(root, classes={str(number): f"c{number}" for number in numbers})
        assert [row[2] for row in found(dataset)] == [f"c{number}" for number in numbers]
    path = write_npz(tmp_path / "a.npz", {"images": FACES[:5], "labels": list(numbers)})
    with pytest.raises(ValueError, match="its labels are numbers .*nothing shows what they stand for; give classes="):
        read(path)


def test_numbers_in_two_folders_of_one_path_disagree(tmp_path: Path):
    root = write(tmp_path / "d", {f"{k}/{k + 1}/{k}.png": (k, "", "") for k in range(3)})
    for classes in ("fer2013", "affectnet", {str(k): f"c{k}" for k in range(4)}):
        with pytest.raises(ValueError, match="0/1/0.png lies in the folders 0 and 1, and both may be its class"):
            read(root, classes=classes)


# ---- copies


def twice(root: Path, how: str) -> None:
    """Put all images, or some, there twice."""
    if how == "inside":
        shutil.copytree(root, root.with_name("copy"))
        root.with_name("copy").rename(root / "d")
    elif how == "split inside":
        shutil.copytree(root / "train", root.with_name("copy"))
        (root / "images").mkdir()
        root.with_name("copy").rename(root / "images" / "train")
    elif how == "beside":
        shutil.copytree(root / "train", root / "train__copy")
    else:
        for path in sorted(root.rglob("*.png"))[::2]:
            shutil.copy(path, path.with_stem(path.stem + how))


@pytest.mark.parametrize("how", ["inside", "split inside", "beside", " (1)", "_copy", " - Copy (2)", "__copy"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_there_twice_is_named_and_read_once(tmp_path: Path, how: str, packed: bool):
    truth = {f"{split}/{EMOTIONS[k % 7]}/im{k // 7}.png": (k, split_in(split), EMOTIONS[k % 7])
             for k, split in enumerate(["train"] * 14 + ["val"] * 14)}  # fmt: skip
    root = write(tmp_path / "d", truth)
    twice(root, how)
    dataset = read(zip_folder(root, tmp_path / "d.zip") if packed else root)
    assert found(dataset) == sorted(truth.values())
    assert len(dataset) + left_out(dataset) == len(walk(root)) > len(truth)
    assert "images that are copies of others, such as" in dataset.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        ("1.png", "1 (copy).png", "1 (another copy).png", "1 (3rd copy).png"),
        ("1.png", "Copy of 1.png", "1 - Kopie.png", "1 - Copie (2).png", "Kopie von 1.png"),
        ("1.png", "1.PNG", "1.jpg", "1.jpeg", "2.png"),
        ("im1.png", "im1 (1).png", "old/Im1.png"),
    ],
)
def test_equal_files_of_a_class_are_read_once(tmp_path: Path, names: tuple[str, ...]):
    dataset = read(
        write(tmp_path / "d", {f"train/happy/{names[0]}": (0, "", ""), "train/happy/other.png": (1, "", "")})
    )
    for name in names[1:]:
        (tmp_path / "d/train/happy" / name).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "d/train/happy" / names[0], tmp_path / "d/train/happy" / name)
    (tmp_path / "d/train/happy/link.png").symlink_to(names[0])
    dataset = read(tmp_path / "d")
    assert found(dataset) == [(0, "Training", "happy"), (1, "Training", "happy")] and left_out(dataset) == len(names)


@pytest.mark.parametrize(
    "name", ["train/happy/Training_{}.jpg", "happy/im{}.png", "happy/fer000012{}.png", "happy/0000{}.png"]
)
def test_fer2013s_own_twins_are_all_read(tmp_path: Path, name: str):
    dataset = read(write(tmp_path / "d", {name.format(k): (0 if k < 2 else k, "", "") for k in range(12)}))
    assert len(dataset) == 12 and left_out(dataset) == 0
    twins = [
        note
        for note in dataset.notes
        if note == "some faces are equal: 1 again in their class; ferlib audit counts them"
    ]
    assert len(twins) == ("Training" not in name)


def test_faces_that_only_share_a_name_are_all_read_and_equal_ones_elsewhere_are_noted(tmp_path: Path):
    faces = {"train/happy/1.png": 0, "train/happy/a/1.png": 1, "train/sad/2.png": 0, "val/sad/3.png": 1}
    dataset = read(write(tmp_path / "d", {name: (face, "", "") for name, face in faces.items()}))
    assert [row[0] for row in found(dataset)] == [0, 0, 1, 1] and left_out(dataset) == 0
    assert dataset.notes[-1] == "some faces are equal: 4 in two classes, 2 in two splits; ferlib audit counts them"


# ---- tables


def csv_text(faces: range, columns: dict[str, list[str]]) -> str:
    """`columns` are by their name in the head; "" stands for the pixels."""
    rows = [",".join(columns)]
    for k, face in enumerate(faces):
        pixels = " ".join(map(str, FACES[face].ravel()))
        rows.append(",".join(values[k] if values else pixels for values in columns.values()))
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("seed", range(30))
def test_a_csv_of_usual_columns_is_read(tmp_path: Path, seed: int):
    chance, count = random.Random(seed), 7
    column = {kind: chance.choice([name for name, own in COLUMNS.items() if own == kind]) for kind in COLUMNS.values()}
    splits, labels = [chance.choice(list(WORDS)) for _ in range(count)], [chance.randrange(7) for _ in range(count)]
    called = [str(label) if seed % 2 else chance.choice(NAMES[label]) for label in labels]
    parts = {
        chance.choice((column["label"], column["label"].title())): called,
        chance.choice((column["pixels"], f" {column['pixels'].upper()}")): [],
        column["split"]: [chance.choice(WORDS[split]) for split in splits],
        column["number"]: [str(k) for k in range(count)],
        "fold": ["1"] * count,
    }
    head = chance.sample(list(parts), 5)
    path = tmp_path / chance.choice(("my_faces.csv", "d/whatever.csv"))
    path.parent.mkdir(exist_ok=True)
    path.write_text(csv_text(range(count), {name: parts[name] for name in head}))
    dataset = read(path if path.parent == tmp_path else path.parent)
    truth = [(k, splits[k], EMOTIONS[labels[k]]) for k in range(count)]
    assert found(dataset) == truth
    assert any(note == f"left out 1 columns of {path.name}, such as fold" for note in dataset.notes)
    assert any("its numbers were read in FER2013's order" in note for note in dataset.notes) == bool(seed % 2)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("fer_train", "fer_dev"), ("Training", "publictest"),
                                   ("x/train", "x/valid"), ("train/faces", "val/faces", "test/faces")])  # fmt: skip
@pytest.mark.parametrize("ending", [".csv", ".npz"])
def test_tables_named_for_their_splits_are_read_together(tmp_path: Path, names: tuple[str, ...], ending: str):
    truth = []
    for k, name in enumerate(names):
        path = tmp_path / "d" / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == ".csv":
            path.write_text(csv_text(range(3 * k, 3 * k + 3), {"emotion": ["happy", "sad", "fear"], "pixels": []}))
        else:
            write_npz(path, {"images": FACES[3 * k : 3 * k + 3], "labels": ["happy", "sad", "fear"]})
        split = split_in(name) or split_in(name.split("/")[0])
        truth += [(3 * k + i, split, label) for i, label in enumerate(("happy", "sad", "fear"))]
    (tmp_path / "d" / "about.txt").write_text("about")
    (tmp_path / "d" / "list.csv").write_text("path,label\nx.png,3\n")
    dataset = read(tmp_path / "d")
    assert found(dataset) == truth
    assert left_out(dataset) == 2 and all(name in str(dataset.notes) for name in ("about.txt", "list.csv"))
    assert dataset.table["row"].tolist() == list(range(len(truth)))
    first = tmp_path / "d" / f"{names[0]}{ending}"
    beside = [path for path in first.parent.iterdir() if path.suffix in (".csv", ".npz") and path != first]
    assert left_out(read(first)) == len(beside)


@pytest.mark.parametrize("names", [("a", "b"), ("train", "faces"), ("train", "train_2"), ("my", "train", "val")])
def test_tables_that_do_not_tell_their_splits_are_refused(tmp_path: Path, names: tuple[str, ...]):
    for k, name in enumerate(names):
        (tmp_path / f"{name}.csv").write_text(csv_text(range(k, k + 1), {"emotion": ["happy"], "pixels": []}))
    with pytest.raises(ValueError, match=r"has several tables \(.*\); give one, or name them train, val and test"):
        read(tmp_path)


def test_a_table_that_is_there_twice_is_read_once(tmp_path: Path):
    for name in ("train.csv", "fer/train.csv", "fer/fer/train.csv"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(csv_text(range(3), {"emotion": ["3"] * 3, "pixels": []}))
    dataset = read(tmp_path / "d")
    assert [row[0] for row in found(dataset)] == [0, 1, 2] and left_out(dataset) == 2


def test_equal_rows_are_read_and_counted(tmp_path: Path):
    text = csv_text(range(3), {"emotion": ["3"] * 3, "pixels": []})
    (tmp_path / "a.csv").write_text(text + text.partition("\n")[2])
    dataset = read(tmp_path / "a.csv")
    assert len(dataset) == 6
    assert dataset.notes[-1] == "some faces are equal: 3 again in their class; ferlib audit counts them"
    (tmp_path / "d").mkdir()
    usage = {"emotion": ["3"] * 3, "pixels": [], "Usage": ["train", "val", "val"]}
    (tmp_path / "d/train.csv").write_text(csv_text(range(3), usage))
    (tmp_path / "d/val.csv").write_text(csv_text(range(1, 2), {"emotion": ["3"], "pixels": []}))
    dataset = read(tmp_path / "d")
    assert dataset.notes[-1].startswith("some faces are equal: 1 again in their class;")
    assert sum("its numbers were read in FER2013's order" in note for note in dataset.notes) == 1


def test_a_table_whose_name_and_column_disagree_is_noted(tmp_path: Path):
    path = tmp_path / "val.csv"
    path.write_text(csv_text(range(3), {"emotion": ["3"] * 3, "pixels": [], "Usage": ["Training", "val", "test"]}))
    dataset = read(path)
    assert [row[1] for row in found(dataset)] == ["Training", "PublicTest", "PrivateTest"]
    assert dataset.notes[0] == "2 rows of val.csv name another split than it, which counts, such as line 2, line 4"


@pytest.mark.parametrize("head", ["emotion,label,pixels", "emotion,pixels,image", "emotion,pixels,Usage,split"])
def test_two_columns_of_one_kind_are_refused(tmp_path: Path, head: str):
    columns: dict[str, list[str]] = {name: ["train"] for name in head.split(",")}
    (tmp_path / "a.csv").write_text(csv_text(range(1), columns | {"emotion": ["3"], "pixels": []}))
    with pytest.raises(ValueError, match="a.csv, line 1: the columns are .*; due are emotion,pixels,Usage"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("pixel", ["-1", "-255", "256", "1e2", "0x1", "²"])
def test_one_wrong_pixel_is_refused(tmp_path: Path, pixel: str):
    text = csv_text(range(1), {"emotion": ["3"], "pixels": []})
    (tmp_path / "a.csv").write_text(re.sub(r" \d+\n", f" {pixel}\n", text))
    with pytest.raises(ValueError, match=f"line 2: pixel '{pixel}' is no whole number of 0 to 255"):
        read(tmp_path / "a.csv")


def test_names_in_classes_are_known_by_their_aliases(tmp_path: Path):
    root = write(tmp_path / "d", {f"{name}/1.png": (k, "", "") for k, name in enumerate(("joy", "Sad", "anger"))})
    for classes in (["Happiness", "Sadness", "Angry"], {"9": "Joy", "8": "sadness", "7": "angry"}):
        dataset = read(root, classes=classes)
        assert [row[2] for row in found(dataset)] == [*(classes if isinstance(classes, list) else classes.values())]
    assert set(ORDERS["rafdb"].values()) == set(EMOTIONS)


# ---- endings


def test_each_ending_that_pillow_writes_is_read_by_every_reader(tmp_path: Path):
    Image.init()
    kinds = {ending: kind for ending, kind in Image.registered_extensions().items() if ending in IMAGES}
    read_and_written = 0
    for ending, kind in kinds.items():
        file = io.BytesIO()
        try:
            Image.fromarray(np.stack([FACES[0]] * 3, -1)).save(file, kind)
            Image.open(file).load()
        except (OSError, KeyError, ValueError):  # what Pillow only reads, or not as a colour image
            continue
        path = tmp_path / ending[1:] / "happy" / f"a{ending}"
        path.parent.mkdir(parents=True)
        path.write_bytes(file.getvalue())
        dataset = read(tmp_path / ending[1:])
        assert dataset.images.shape == (1, 48, 48) and left_out(dataset) == 0
        read_and_written += 1
    assert read_and_written >= 25


def test_the_table_of_endings_holds_all_that_pillow_reads_here():
    Image.init()
    not_read = {".bufr", ".emf", ".eps", ".grib", ".h5", ".hdf", ".iim", ".mpeg", ".mpg", ".ps", ".wmf"}  # need more
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    assert known - not_read <= set(IMAGES)


@pytest.mark.parametrize(("names", "endings"), [(("a.mp4", "b.TXT"), ".mp4, .txt"), (("a",), "none"), ((), "there is")])
def test_a_folder_without_images_is_told_with_the_endings_there(tmp_path: Path, names: tuple[str, ...], endings: str):
    (tmp_path / "d").mkdir()
    root = write(tmp_path / "d", {}, tuple(f"happy/{name}" for name in names))
    with pytest.raises(
        ValueError, match=rf"d holds no image in class folders such as train/happy/ \(endings: {endings}"
    ):
        data.load(root)
