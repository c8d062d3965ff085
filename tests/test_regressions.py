"""Mistakes that a rewrite has brought back once, and must not again."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferlib import data
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
    args = argparse.Namespace(split="val", data="sample", classes=None)
    assert len(evaluate._load_split(args)) == 2000 and args.split == "PublicTest"
    with pytest.raises(ValueError, match="PrivateTest stays sealed"):
        evaluate._load_split(argparse.Namespace(split="test", data="sample", classes=None))
    with pytest.raises(ValueError, match="--split: split is 'nonsense'; allowed are"):
        evaluate._load_split(argparse.Namespace(split="nonsense", data="sample", classes=None))
