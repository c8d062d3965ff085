"""`ferlib predict`, `explain`, `export` and `demo` as a user meets them; `test_cli` has the other verbs."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from on_disk import write_folders
from PIL import Image
from test_cli import ferlib, refuses

from ferlib import models, sample
from ferlib.apps import demo, recognizer
from ferlib.cli import parser
from ferlib.emotions import EMOTIONS
from ferlib.sample import scenes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three faces of each emotion, in train and in valid."""
    images, table = sample.draw(42, seed=2, balance="equal")
    folder = tmp_path_factory.mktemp("dataset") / "faces"
    paths = [f"{split}/{{}}/{number}.png" for number in range(21) for split in ("train", "valid")]
    write_folders(folder, images, table["label"].to_numpy(), paths)
    return folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three faces that are whole pictures, and one file that is none."""
    folder = tmp_path / "album"
    folder.mkdir()
    for place, face in enumerate(sample.draw(3, size=96, seed=3)[0]):
        cv2.imwrite(str(folder / f"{place}.png"), face)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("verb", ["predict", "explain", "export", "demo"])
def test_each_verb_helps_with_an_example(capsys, verb: str):
    code, out, _ = ferlib(capsys, verb, "--help")
    assert code == 0 and f"Example:\n    ferlib {verb}" in out


def test_predict_writes_the_table_and_the_pictures_and_names_what_failed(capsys, model: Path, album: Path):
    csv, seen = album.parent / "faces.csv", album.parent / "seen"
    given = ("predict", album, "--model", model, "--detector", "whole")
    code, out, err = ferlib(capsys, *given, "--csv", csv, "--annotate", seen)
    assert code == 1 and "3 faces in 3 pictures" in out and "1 could not be read" in out
    assert "broken.jpg as an image" in err
    written = pd.read_csv(csv)
    direct = recognizer.EmotionRecognizer.load(model, detector="whole").predict(album)
    assert written["emotion"][:3].tolist() == direct["emotion"][:3].tolist()
    np.testing.assert_allclose(written[list(EMOTIONS)], direct[list(EMOTIONS)], atol=1e-6)
    assert sorted(path.name for path in seen.iterdir()) == ["0.jpg", "1.jpg", "2.jpg"]
    code, out, _ = ferlib(capsys, *given, "--threshold", 1)
    assert "3 unsure" in out and out.count("True") == 3, "without --csv the table is printed"


def test_predict_says_before_any_work_what_it_could_not_write(capsys, monkeypatch, model: Path, album: Path):
    monkeypatch.setattr(recognizer.EmotionRecognizer, "predict", lambda *_, **__: pytest.fail("it began to work"))
    given = ("predict", album, "--model", model)
    assert "whose name ends in .csv" in refuses(capsys, *given, "--csv", album.parent / "faces.txt")
    assert "cannot write into" in refuses(capsys, *given, "--csv", album / "broken.jpg" / "faces.csv")
    assert "cannot write into" in refuses(capsys, *given, "--annotate", album / "broken.jpg" / "seen")
    assert "would replace" in refuses(capsys, *given, "--annotate", album)
    assert "would replace" in refuses(capsys, "predict", album / "0.png", "--annotate", album)
    (album.parent / "folder.csv").mkdir(exist_ok=True)
    assert "whose name ends in .csv" in refuses(capsys, *given, "--csv", album.parent / "folder.csv")
    onnx = album / "broken.jpg" / "a.onnx"
    assert "cannot write into" in refuses(capsys, "export", "--model", model, "--out", onnx)


def test_predict_refuses_paths_and_detectors_that_are_not_there(capsys, model: Path, tmp_path: Path):
    assert "nowhere.jpg does not exist" in refuses(capsys, "predict", tmp_path / "nowhere.jpg", "--model", model)
    assert "no detector is called 'nose'" in refuses(capsys, "predict", tmp_path, "--model", model, "--detector=nose")


def test_predict_names_the_files_without_a_face(capsys, model: Path, tmp_path: Path):
    for number in range(7):
        Image.fromarray(np.full((80, 80), 128, np.uint8)).save(tmp_path / f"{number}.png")
    code, out, err = ferlib(capsys, "predict", tmp_path / "0.png", "--model", model)
    assert (code, out) == (0, "0 faces in 1 picture, 0 unsure; 1 picture without a face; 0 could not be read\n")
    assert err.splitlines()[-1] == f"ferlib: note: no face found in {tmp_path / '0.png'}"
    _, _, err = ferlib(capsys, "predict", tmp_path, "--model", model)
    assert "4.png and 2 more" in err and "5.png" not in err


def test_an_unknown_option_names_the_verb_whose_help_lists_them(capsys, tmp_path: Path):
    with pytest.raises(SystemExit, match="2"):
        parser.main(["predict", "me.jpg", "--modle", "x"])
    assert "unrecognized arguments: --modle x (see ferlib predict --help)" in capsys.readouterr().err


def test_train_refuses_a_folder_that_holds_a_run(capsys, tmp_path: Path):
    (tmp_path / "state.pt").write_bytes(b"")
    assert "holds a run; add --resume to continue it" in refuses(capsys, "train", "--out", tmp_path)


def test_explain_draws_a_row_a_face_of_a_dataset_or_of_photos(capsys, model: Path, dataset: Path, album: Path):
    heights = {}
    for faces in (1, 3):
        out = album.parent / f"{faces}.png"
        given = ("explain", "--model", model, "--data", dataset, "--out", out, "--faces", faces)
        assert ferlib(capsys, *given)[0] == 0
        heights[faces] = cv2.imread(str(out)).shape[0]
    assert heights[3] > 1.8 * heights[1]
    photos = album.parent / "photos.png"
    code, _, err = ferlib(capsys, "explain", album, "--model", model, "--detector", "whole", "--out", photos)
    assert code == 0 and "broken.jpg as an image" in err
    assert 1.8 * heights[1] < cv2.imread(str(photos)).shape[0] <= heights[3], "three faces, as well"
    blank = album.parent / "blank.png"
    cv2.imwrite(str(blank), np.full((120, 120), 90, np.uint8))
    assert "no face was found" in refuses(capsys, "explain", blank, "--model", model, "--out", out.with_name("new.png"))
    broken = album / "broken.jpg"
    assert "no face was found" in refuses(
        capsys, "explain", broken, "--model", model, "--out", out.with_name("new.png")
    )
    assert "whose name ends in .png" in refuses(capsys, "explain", "--model", model, "--out", "a.jpg")


def test_export_reports_how_close_it_is_and_quantises_when_asked(capsys, model: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    plain, small = tmp_path / "plain.onnx", tmp_path / "small.onnx"
    code, out, _ = ferlib(capsys, "export", "--model", model, "--out", plain)
    assert code == 0 and "on the 2,000 PublicTest faces of sample" in out and "100.00% of 2,000 faces" in out
    assert ferlib(capsys, "export", "--model", model, "--out", small, "--int8")[0] == 0
    assert b"QuantizeLinear" in small.read_bytes() and b"QuantizeLinear" not in plain.read_bytes()
    assert "whose name ends in .onnx" in refuses(capsys, "export", "--model", model, "--out", tmp_path / "plain.pt")


def test_models_of_other_classes_predict_explain_and_are_exported(capsys, dataset: Path, album: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    names = ("open eyes", "shut eyes")
    models.save_model(models.build_model("fernet", widths=(8, 8, 8, 8), classes=names), tmp_path / "eyes")
    csv, out = tmp_path / "faces.csv", tmp_path / "eyes.onnx"
    given = ("--model", tmp_path / "eyes")
    code, _, _ = ferlib(
        capsys, "predict", album, *given, "--detector", "whole", "--csv", csv, "--annotate", tmp_path / "s"
    )
    written = pd.read_csv(csv)
    assert code == 1 and list(written)[9:-5] == list(names) and written["annotated"][0] == "0.jpg"
    assert written["emotion"][:3].isin(names).all()
    np.testing.assert_allclose(written[list(names)][:3].sum(axis=1), 1, atol=1e-6)
    photos = tmp_path / "photos.png"
    assert ferlib(capsys, "explain", album / "0.png", *given, "--detector", "whole", "--out", photos)[0] == 0
    assert cv2.imread(str(photos)).std() > 10
    told = "the model's classes are open eyes, shut eyes, those of"
    assert told in refuses(capsys, "explain", *given, "--data", dataset, "--out", tmp_path / "new.png")
    images, labels = sample.draw(64, seed=5)[0], [i % 2 for i in range(32)]
    for split, part in (("train", images[:32]), ("valid", images[32:])):
        write_folders(tmp_path / "data", part, labels, [f"{split}/{{}}/{i}.png" for i in range(32)], names)
    data = ("--data", tmp_path / "data", "--classes", "folders")
    for more in ((), ("--int8",)):
        code, printed, _ = ferlib(capsys, "export", *given, "--out", out, *data, "--force", *more)
        assert code == 0 and "on the 32 PublicTest faces of data" in printed
    code, _, err = ferlib(capsys, "export", *given, "--data", dataset, "--out", tmp_path / "other.onnx")
    assert code == 2 and told in err.splitlines()[-1]


def test_demo_hands_its_options_on(capsys, monkeypatch, model: Path):
    asked, blocks = {}, SimpleNamespace(block_thread=lambda: None)
    monkeypatch.setattr(demo, "launch", lambda name, **options: asked.update(options, model=name) or blocks)
    code, out, _ = ferlib(capsys, "demo", "--model", model, "--port", 7999, "--no-browser")
    assert code == 0 and "http://127.0.0.1:7999" in out
    assert asked == {"model": str(model), "port": 7999, "open_browser": False, "detector": "yunet"}


def test_a_folder_of_scenes_becomes_a_table_and_pictures_with_nearly_all_frontal_faces_found(capsys, tmp_path: Path):
    images, truth = scenes.draw(8, seed=0)
    folder, seen = tmp_path / "scenes", tmp_path / "seen"
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    csv = tmp_path / "faces.csv"
    code, out, _ = ferlib(capsys, "predict", folder, "--model", "drawn", "--csv", csv, "--annotate", seen)
    assert code == 0 and "0 could not be read" in out and len(list(seen.iterdir())) == 8
    rows = pd.read_csv(csv)
    hits = []
    for face in truth[(truth["yaw"].abs() <= 15) & (truth["occlusion"] == "none")].to_dict("records"):
        boxes = rows.loc[rows["file"].str.endswith(f"{face['scene']}.png"), list(recognizer.BOX)].to_numpy()
        corner = [face[edge] for edge in recognizer.BOX]
        low, high = np.maximum(boxes[:, :2], corner[:2]), np.minimum(boxes[:, 2:], corner[2:])
        shared = (high - low).clip(0).prod(1)
        both = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (corner[2] - corner[0]) * (corner[3] - corner[1]) - shared
        hits.append((shared / both >= 0.5).any())
    assert len(hits) >= 10 and np.mean(hits) >= 0.9
