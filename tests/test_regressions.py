"""Mistakes that a rewrite has brought back once, and must not again."""

import argparse
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ferlib import data, protocol
from ferlib.apps import pictures
from ferlib.cli import evaluate, main
from ferlib.data.export import export_faces


@pytest.fixture(scope="module")
def faces() -> data.FaceDataset:
    return data.load("sample").subset(np.arange(64))


def test_a_splits_folder_is_no_class(tmp_path: Path):
    for split in ("train", "test"):
        (tmp_path / "flat" / split).mkdir(parents=True)
        Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / "flat" / split / "0.png")
    for classes in (None, "folders"):
        with pytest.raises(ValueError, match="lies in no class folder, but directly in"):
            data.load(tmp_path / "flat", classes=classes)


def test_no_open_face_is_nothing_to_export(faces: data.FaceDataset, tmp_path: Path):
    with pytest.raises(ValueError, match="has no open face to write"):
        export_faces(faces.subset([]), tmp_path / "out")
    assert not [*tmp_path.iterdir()]


def test_an_npz_without_splits_is_not_called_official(faces: data.FaceDataset, tmp_path: Path, recwarn):
    names = np.array(faces.classes)[faces.labels]
    np.savez(tmp_path / "own.npz", images=faces.images, labels=names)
    data.load(tmp_path / "own.npz")
    assert not [note for note in recwarn if "of FER2013's" in str(note.message)]


def test_no_face_to_explain_is_a_users_mistake(capsys: pytest.CaptureFixture[str]):
    for number in ("0", "-3"):
        assert main(["explain", "--faces", number, "--model", "drawn"]) == 2
        assert capsys.readouterr().err == f"ferlib explain: error: --faces is {number}; give 1 or more\n"


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr("os.dup2", lambda *_: None)
    monkeypatch.setattr("ferlib.recipes.RECIPES", Closed())
    assert main(["recipes"]) == 0
    assert capfd.readouterr().err == ""


class Closed(dict):
    """A table whose reading fails as printing to a closed pipe does."""

    def values(self):
        raise BrokenPipeError


def test_a_splits_folder_name_goes_for_the_split():
    args = argparse.Namespace(split="val", data="sample", classes=None, face_size=48)
    assert len(evaluate._load_split(args)) == 2000 and args.split == "PublicTest"
    with pytest.raises(ValueError, match="PrivateTest stays sealed"):
        evaluate._load_split(argparse.Namespace(split="test", data="sample", classes=None))
    with pytest.raises(ValueError, match="--split: split is 'nonsense'; allowed are"):
        evaluate._load_split(argparse.Namespace(split="nonsense", data="sample", classes=None))


def test_a_folder_with_a_built_in_name_is_read_where_its_path_is_given(
    faces: data.FaceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for name in ("sample", "fer2013"):
        some = protocol.take(faces, 20)
        export_faces(some, tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a rare class in few faces
            assert len(data.load(Path(name))) == 20
        for given in (f"./{name}", f"{name}/"):
            assert main(["data", "--data", given]) == 0
            assert "20 faces, 48x48 px" in capsys.readouterr().out
    assert len(data.load("sample")) > 20


def test_pictures_of_folders_are_read_at_the_size_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn
):
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "own" / "train" / ("happy", "sad")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (96, 96), np.uint8)).save(folder / f"{number}.png")
    call = ["--data", str(tmp_path / "own"), "--classes", "folders"]
    for size, shown in ((None, "48x48"), ("96", "96x96")):
        assert main(["data", *call, *(["--face-size", size] if size else [])]) == 0
        assert f"12 faces, {shown} px" in capsys.readouterr().out
    assert main(["data", "export", str(tmp_path / "own"), str(tmp_path / "out"), *call[2:], "--face-size", "96"]) == 0
    assert Image.open(next((tmp_path / "out").rglob("*.png"))).size == (96, 96)


def test_an_option_without_the_one_that_it_belongs_to_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--votes-as", "majority", "--out", str(tmp_path / "run")]) == 2
    assert "--votes-as goes with --votes FILE; add it" in capsys.readouterr().err


def test_a_recursive_folder_is_read_through_links(faces: data.FaceDataset, tmp_path: Path):
    for number, folder in enumerate(("album", "elsewhere")):
        (tmp_path / folder).mkdir()
        Image.fromarray(faces.images[number]).save(tmp_path / folder / f"{number}.png")
    try:
        (tmp_path / "album" / "2024").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    found = pictures.list_files(tmp_path / "album", recursive=True)
    assert sorted(path.name for path in found) == ["0.png", "1.png"]


def test_a_model_of_other_classes_leaves_no_line_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for name, gray in (("open", 200), ("shut", 50)):
            (tmp_path / "eyes" / split / name).mkdir(parents=True)
            for number in range(3):
                image = np.full((48, 48), gray + number + 5 * (split == "test"), np.uint8)
                Image.fromarray(image).save(tmp_path / "eyes" / split / name / f"{number}.png")
    call = ["evaluate", "--model", "drawn", "--data", str(tmp_path / "eyes"), "--classes", "folders"]
    assert main([*call, "--split", "test", "--open-sealed-test", "the end"]) == 2
    assert "classes" in capsys.readouterr().err
    assert not (tmp_path / "sealed_test_ledger.jsonl").exists()


def test_the_map_is_of_the_class_that_the_title_names(
    faces: data.FaceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    targets, titles = [], []
    for name in ("grad_cam", "occlusion"):
        monkeypatch.setattr(
            f"ferlib.explain.{name}", lambda model, batch, given: targets.append(given) or np.ones((8, 48, 48))
        )
    monkeypatch.setattr("ferlib.plots.explanation_grid", lambda images, maps, texts: titles.extend(texts) or Figure())
    assert main(["explain", "--model", "drawn", "--faces", "8", "--out", str(tmp_path / "e.png")]) == 0
    assert [faces.classes[k] for k in targets[0]] == [title.split()[0] for title in titles]
    assert targets[0] == targets[1] and len(titles) == 8


def test_a_camera_that_gives_nothing_is_told(monkeypatch: pytest.MonkeyPatch):
    capture = SimpleNamespace(isOpened=lambda: True, read=lambda: (False, None), release=lambda: None)
    monkeypatch.setattr("cv2.VideoCapture", lambda device: capture)
    with pytest.raises(ValueError, match="camera 0 gives no picture; does another program use it"):
        next(pictures.camera_frames())
