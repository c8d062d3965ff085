"""What ferlib writes never replaces what is not its own; paths, names and surroundings as people have them."""

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from on_disk import write_csv
from PIL import Image
from test_cli import ferlib, refuses

from ferlib import cli, doctor, evaluation, models, protocol, sample, utils
from ferlib.apps import demo, export, pictures, recognizer
from ferlib.apps.recognizer import EmotionRecognizer
from ferlib.cli import apps, data, evaluate, train
from ferlib.data import FaceDataset, load
from ferlib.data.words import IMAGES

pytestmark = pytest.mark.filterwarnings("ignore:.*of FER2013's")
LATIN = b"caf\xe9".decode("utf-8", "surrogateescape")
OUTPUTS = {"--out", "--json", "--csv", "--annotate", "--to", "to"}  # options and arguments that name what is written


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 42 Training and 21 PublicTest faces."""
    images, table = sample.draw(63, seed=4, balance="equal")
    splits = ["Training"] * 42 + ["PublicTest"] * 21
    return write_csv(tmp_path_factory.mktemp("small") / "faces.csv", images, table["label"].to_numpy(), splits)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(sample.draw(1, size=64, seed=3)[0][0]).save(tmp_path / "me.png")
    return tmp_path / "me.png"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home folder, and an empty working folder."""
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    yield home
    assert not [path for path in here.rglob("*") if path.name.startswith("~")], "no folder is called ~"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- outputs


def test_the_list_of_outputs_is_whole():
    """A new option whose name or help speaks of writing belongs into OUTPUTS, and into the test below."""
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()
    for module in (apps, data, evaluate, train):
        module.add_verbs(verbs)
    named = set()
    waiting = [parser]
    while waiting:
        for action in waiting.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
            elif action.type is not None and "path_given" in repr(action.type):
                named |= {*(action.option_strings or [action.dest])}
    assert named == OUTPUTS | {"paths", "a", "b", "--model", "--teacher", "--votes"}


TRAIN = ("train", "--recipe=plain_cnn", "--epochs=1", "--limit=28", "--batch-size=7", "--workers=0")
CALLS = [
    ("explain {photo} --detector whole --out {photo}", "is one of the files that are read"),
    ("explain {photo} --detector whole --out {photo} --force", "is one of the files that are read"),
    ("explain {folder} --detector whole --out {photo} --force", "is one of the files that are read"),
    ("explain {photo} --detector whole --out {folder}/link.png --force", "is one of the files that are read"),
    ("explain {photo} --detector whole --out {folder}/other.png", "is there already"),
    ("explain --out {folder}/other.png", "is there already"),
    ("evaluate --json {folder}/me.json", "me.png is there already"),
    ("evaluate --json {folder}/notes.json", "notes.json is there already"),
    ("evaluate --data {folder} --json {folder}/me.json --force", "is one of the files that are read"),
    ("compare A A --json {folder}/notes.json", "notes.json is there already"),
    ("predict {photo} --csv {folder}/labels.csv", "labels.csv is there already"),
    ("predict {folder}/labels.csv --csv {folder}/labels.csv --force", "is one of the files that are read"),
    ("predict {photo} --annotate {folder}", "would replace the source's own"),
    ("predict {photo} --annotate {folder} --force", "would replace the source's own"),
    ("predict {folder} --recursive --annotate {folder}/sub --force", "would replace the source's own"),
    ("predict {folder}/*.png --annotate {folder} --force", "would replace the source's own"),
    ("predict {photo} --annotate {folder}/sub", "holds files already"),
    ("export --out {folder}/model.onnx", "model.onnx is there already"),
    ("export --out {folder}/model.safetensors", "ends in .onnx"),
    ("data export {small} {folder}", "is there already"),
    ("data export {small} {folder}/labels.csv", "is there already"),
    ("data export {folder} {folder}/new", "whose faces would then be there twice"),
    ("train --out {folder}", "without the state of a run; give another --out"),
    ("train --out {folder} --resume", "without the state of a run; give another --out"),
    ("train --data {folder}/sub --out {folder}/sub", "--out and --data are both"),
    ("train --out {folder}/kept", "holds a history.csv without the state of a run"),
]


@pytest.mark.parametrize(("call", "told"), CALLS, ids=[call for call, _ in CALLS])
def test_no_output_replaces_a_file_of_the_users(capsys, call: str, told: str, photo: Path, model: Path, small: Path):
    folder = photo.parent
    for name in ("other.png", "notes.json", "labels.csv", "model.onnx", "model.safetensors", "history.csv"):
        (folder / name).write_text("mine")
    for place in ("sub", "kept"):
        (folder / place).mkdir()
    (folder / "kept" / "history.csv").write_text("mine")
    Image.open(photo).save(folder / "sub" / "me.jpg")
    (folder / "link.png").hardlink_to(photo)
    before = content(folder)
    words = (
        call.format(photo=photo, folder=folder, small=small)
        .replace(" A ", f" {model} ")
        .replace(" A ", f" {model} ")
        .split()
    )
    if words[0] in ("explain", "evaluate", "predict", "export"):
        words += ["--model", str(model)]
    assert told in refuses(capsys, *(TRAIN[:1] + tuple(words[1:]) + TRAIN[1:] if words[0] == "train" else words))
    assert content(folder) == before


def test_force_replaces_and_a_free_name_needs_none(capsys, photo: Path, model: Path, tmp_path: Path):
    csv, seen = tmp_path / "faces.csv", tmp_path / "seen"
    call = ("predict", photo, "--model", model, "--detector", "whole", "--csv", csv, "--annotate", seen)
    assert ferlib(capsys, *call)[0] == 0
    first = content(seen)
    csv.write_text("mine")
    assert "add --force" in refuses(capsys, *call)
    assert ferlib(capsys, *call, "--force")[0] == 0
    assert content(seen) == first and pd.read_csv(csv)["annotated"].tolist() == ["me.jpg"]


# ---- paths


@pytest.mark.parametrize("text", ["~/faces.csv", "~/runs/new/faces.csv", "~/a b/faces.csv"])
def test_a_tilde_is_the_home_folder(capsys, home: Path, photo: Path, model: Path, text: str):
    assert ferlib(capsys, "predict", photo, "--model", model, "--detector=whole", f"--csv={text}")[0] == 0
    assert (home / text[2:]).is_file()


def test_a_tilde_is_the_home_folder_for_what_is_read(capsys, home: Path, photo: Path, model: Path):
    (home / "model").mkdir()
    (home / "model" / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    (home / "me.png").write_bytes(photo.read_bytes())
    given = ("predict", "~/me.png", "--model=~/model", "--detector=whole", "--annotate=~/out")
    assert ferlib(capsys, *given)[0] == 0 and (home / "out" / "me.jpg").is_file()
    found = EmotionRecognizer.load("~/model", detector="whole").predict("~/me.png")
    assert found["file"].tolist() == [str(home / "me.png")]
    assert "no faces" in refuses(capsys, "data", "--data=~/no faces")


def test_environment_paths_have_a_tilde_too(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FERLIB_CACHE", "~/cache")
    assert utils.cache_folder() == home / "cache"
    monkeypatch.setenv("FERLIB_CACHE", "")
    assert utils.cache_folder() == home / ".cache" / "ferlib"
    monkeypatch.setenv("FERLIB_DATA", "~")
    found = {check.name: check for check in doctor.check(free_disk_gb=0)}
    assert found["data"].message.startswith(f"no FER2013 in {home};") and found["data"].ok


@pytest.mark.parametrize("text", ["", " ", "~nobody-of-this-name/x", "https://example.com/a.csv", "s3://bucket/a.csv"])
@pytest.mark.parametrize("option", ["--csv", "--annotate", "--model", "--detector", "PATH"])
def test_a_path_that_is_none_is_refused(capsys, home: Path, text: str, option: str, photo: Path):
    given = [photo, f"{option}={text}"] if option.startswith("--") else [text]
    message = refuses(capsys, "predict", *given)
    assert "a path is empty" in message or f"{text} " in message
    assert not any(Path().iterdir())


def test_without_a_home_a_tilde_is_refused_and_the_doctor_says_so(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.fspath(path))  # as where the user has no entry
    monkeypatch.delenv("FERLIB_CACHE")
    failed = {check.name: check for check in doctor.check(free_disk_gb=0) if not check.ok}
    assert "names a home folder that is not known" in failed["cache folder"].message
    assert failed["cache folder"].fix == 'export FERLIB_CACHE="$PWD/cache"'
    with pytest.raises(ValueError, match="names a home folder that is not known; give a path without ~"):
        utils.user_path("~/faces")


def test_patterns_are_expanded_where_the_shell_does_not(capsys, tmp_path: Path, model: Path):
    face = Image.fromarray(sample.draw(1, size=64, seed=3)[0][0])
    for name in ("b.png", "a.png", "c.jpg", "x[1].png"):
        face.save(tmp_path / name)
    names = {"*.png": ["a.png", "b.png", "x[1].png"], "[ab].*": ["a.png", "b.png"], "x[1].png": ["x[1].png"],
             "?.jpg": ["c.jpg"], "*": ["a.png", "b.png", "c.jpg", "x[1].png"]}  # fmt: skip
    for pattern, wanted in names.items():
        assert [path.name for path in pictures.list_files(str(tmp_path / pattern))] == wanted
    with pytest.raises(FileNotFoundError, match=r"\*.gif does not exist"):
        pictures.list_files(str(tmp_path / "*.gif"))
    code, out, _ = ferlib(capsys, "predict", tmp_path / "[ab].png", "--model", model, "--detector=whole")
    assert code == 0 and "2 faces in 2 pictures" in out
    assert "matches 3 files; give one of them" in refuses(capsys, "data", "--data", tmp_path / "*.png")


# ---- pictures


def in_memory() -> dict[str, tuple[object, np.ndarray]]:
    """One picture in many forms, and what each is as gray or RGB."""
    gray = np.arange(0, 240, 5, np.uint8).reshape(6, 8)
    rgb = np.stack([gray, gray[::-1], 255 - gray], 2)
    return {
        "Pillow gray": (Image.fromarray(gray), gray), "Pillow RGB": (Image.fromarray(rgb), rgb),
        "Pillow palette": (Image.fromarray(gray).convert("P"), np.stack([gray] * 3, 2)),
        "one channel": (gray[..., None], gray), "tensor": (torch.from_numpy(gray), gray),
        "tensor of a channel": (torch.from_numpy(gray)[None], gray),
        "tensor, channels first": (torch.from_numpy(rgb).permute(2, 0, 1), rgb),
        "tensor, channels last": (torch.from_numpy(rgb), rgb),
        "fractions": (gray / 255, gray), "tensor of fractions": (torch.from_numpy(rgb).permute(2, 0, 1) / 255, rgb),
        "single": ((gray / 255).astype(np.float32), gray),
        "with a gradient": (torch.tensor(gray / 255.0, requires_grad=True), gray),
    }  # fmt: skip


@pytest.mark.parametrize("form", in_memory())
def test_pictures_in_memory_are_read_in_any_form(form: str):
    given, wanted = in_memory()[form]
    (shot,) = pictures.read_shots(given)  # type: ignore[arg-type]
    assert shot.error == ""
    np.testing.assert_array_equal(shot.image, wanted)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "image 0 is None: its file was not read"), ([np.zeros((4, 4), np.uint8), None], "image 1 is None"),
        (b"bytes", "of the type bytes; give a path"), ({"a": 1}, "of the type dict"), ([("a", 1)], "of the type tuple"),
        (["https://a.b/c.jpg"], "https://a.b/c.jpg is a web address"), ("", "a path is empty"), ([3], "type int"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_told_at_once(given: object, told: str):
    with pytest.raises(ValueError, match=told):
        pictures.read_shots(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.full((4, 4), 200.0), "its fractions go from 200 to 200; give 0 to 1"),
        (torch.randn(3, 8, 8), "its fractions go from -"),
        (np.full((4, 4), np.nan), "its fractions go from nan"),
        (np.zeros((2, 4, 4, 3), np.uint8), "this array is uint8"), (np.zeros((4, 4), bool), "this array is bool"),
    ],
)  # fmt: skip
def test_pictures_of_other_numbers_are_rows_with_their_error(given: object, told: str):
    (shot,) = pictures.read_shots(given)  # type: ignore[arg-type]
    assert shot.image is None and shot.error.startswith(told)


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".tga", ".JPG", ".jp2", ".ppm", ".webp", ".dib"])
def test_every_ending_that_data_reads_is_read_from_a_folder(tmp_path: Path, ending: str):
    face = Image.fromarray(np.full((20, 20, 3), 90, np.uint8))
    face.save(tmp_path / "a.png")
    kind = {".jfif": "JPEG", ".jpe": "JPEG"}.get(ending)
    face.save(tmp_path / f"b{ending}", kind)
    assert [path.name for path in pictures.list_files(tmp_path)] == ["a.png", f"b{ending}"]
    assert all(shot.image is not None for shot in pictures.read_shots(tmp_path))
    assert ending.lower() in IMAGES


@pytest.mark.parametrize("ending", [".3gp", ".flv", ".MTS", ".ogv", ".vob", ".mxf"])
def test_videos_that_cannot_be_read_are_told_as_videos(tmp_path: Path, ending: str):
    (tmp_path / f"a{ending}").write_bytes(b"no video")
    (shot,) = pictures.read_shots(tmp_path / f"a{ending}")
    assert "OpenCV can read no frame" in shot.error


def test_subfolders_are_told_and_read_when_asked(capsys, tmp_path: Path, model: Path):
    face = Image.fromarray(sample.draw(1, size=64, seed=3)[0][0])
    for place in ("ann", "bob/2024", ".hidden"):
        (tmp_path / place).mkdir(parents=True)
        face.save(tmp_path / place / "me.png")
    call = ("predict", tmp_path, "--model", model, "--detector=whole")
    assert "its subfolders (ann, bob) are read with recursive=True (`--recursive`)" in refuses(capsys, *call)
    code, out, _ = ferlib(capsys, *call, "--recursive", "--annotate", tmp_path / "seen")
    assert code == 0 and "2 faces in 2 pictures, " in out and "; 0 pictures without a face; 0 could not be read" in out
    assert sorted(content(tmp_path / "seen")) == ["me.jpg", "me_2.jpg"]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"holds no image; it holds a\.txt; give pictures such as \.jpg"):
        pictures.list_files(tmp_path / "texts")


@pytest.mark.parametrize("smallest", [-3, 0, float("nan")])
def test_a_smallest_face_of_no_height_is_refused(capsys, photo: Path, model: Path, smallest: float):
    given = ("predict", photo, "--model", model, f"--smallest={smallest}")
    assert "give the height of the smallest face in px" in refuses(capsys, *given)


def test_the_table_says_which_annotated_picture_is_whose(tmp_path: Path):
    files = ["x/a.jfif", "x/a.tga", "y/A.png", "film.mp4", "film.mp4", "bad.png"]
    rows = pd.DataFrame({"file": files, "frame": [0, 0, 0, 0, 30, 0], "error": [""] * 5 + ["broken"]})
    rows["time"] = [np.nan] * 3 + [0.0, 1.0, np.nan]
    wanted = ["a.jpg", "a_2.jpg", "A_3.jpg", "film_000000.jpg", "film_000030.jpg", ""]
    assert recognizer.annotated_names(rows).tolist() == wanted, "also where A and a are one name"


# ---- names, streams and surroundings


def run(*args: object, **options: object) -> subprocess.CompletedProcess:
    code = f"import sys; from ferlib.cli import main; sys.exit(main({[os.fspath(arg) for arg in args]!a}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=300, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_odd_names_lose_no_run(tmp_path: Path, model: Path):
    (tmp_path / "p").mkdir()
    face = Image.fromarray(sample.draw(1, size=64, seed=3)[0][0])
    for name in (LATIN, "Анна", "李雷", "😀", "a,b", 'q"q'):
        face.save(os.fsencode(tmp_path / "p") + b"/" + os.fsencode(name) + b".png")
    surroundings = [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
    for number, more in enumerate(surroundings):
        csv, seen = tmp_path / f"{number}.csv", tmp_path / f"seen{number}"
        given = ("predict", tmp_path / "p", "--model", model, "--detector=whole", "--csv", csv, "--annotate", seen)
        done = run(*given, env=os.environ | more)
        assert done.returncode == 0 and b"6 faces in 6 pictures" in done.stdout, done.stderr
        names = {Path(file).stem for file in pd.read_csv(csv, encoding="utf-8")["file"]}
        assert names == {"caf\\xe9", "Анна", "李雷", "😀", "a,b", 'q"q'}
        assert len(list(seen.iterdir())) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_odd_names_are_printed_and_kept_by_each_verb(capsys, tmp_path: Path, model: Path, small: Path):
    place = tmp_path / LATIN
    assert ferlib(capsys, "data", "export", small, place)[0] == 0
    for call in (("data", "--data", place), ("audit", "--data", place)):
        assert ferlib(capsys, *call)[0] == 0
    assert ferlib(capsys, *TRAIN, "--data", place, "--out", tmp_path / f"{LATIN}-run")[0] == 0
    given = ("evaluate", "--model", model, "--data", place, "--json", tmp_path / f"{LATIN}.json")
    code, out, _ = ferlib(capsys, *given)
    assert code == 0 and "caf\\udce9" in out
    assert json.loads((tmp_path / f"{LATIN}.json").read_text())["data"] == LATIN


def test_closed_streams_take_all(tmp_path: Path, photo: Path, model: Path):
    given = ("predict", photo, "--model", model, "--detector=whole", "--csv", tmp_path / "a.csv")
    done = run(*given, preexec_fn=lambda: os.close(2))
    assert done.returncode == 0 and b"1 face in 1 picture, " in done.stdout
    done = run("predict", "--every=none", preexec_fn=lambda: (os.close(1), os.close(2)))
    assert done.returncode == 2 and done.stdout == b""


@pytest.mark.parametrize("left", [{"RANK": "1"}, {"RANK": "3", "WORLD_SIZE": "1"}, {"RANK": "1", "WORLD_SIZE": ""}])
def test_a_rank_that_is_left_over_prints_all_the_same(capsys, monkeypatch, left: dict[str, str]):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    assert "plain_cnn" in ferlib(capsys, "recipes")[1]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "plain_cnn" in ferlib(capsys, "recipes")[1], "only `train` is run by several processes"
    monkeypatch.setattr("ferlib.cli.train.run_train", lambda args: print("it trains"))
    assert ferlib(capsys, *TRAIN, "--out", "unused")[:2] == (0, ""), "of two processes, only the first prints"


@pytest.mark.parametrize("before", [None, "example.com"])
def test_the_page_uses_no_proxy(monkeypatch: pytest.MonkeyPatch, before: str | None):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    if before:
        monkeypatch.setenv("no_proxy", before)
    with demo._without_proxies():
        assert urllib.request.proxy_bypass("127.0.0.1") and urllib.request.getproxies()["no"] == "*"
    assert os.environ.get("no_proxy") == before


def test_a_package_that_is_there_and_fails_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_one.py").write_text("raise ImportError('the socks package is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="^broken_one is installed, but cannot be imported: the socks package is"):
        utils.import_extra("broken_one", "broken-one>=1")


# ---- what an export says, and what a model is


ALONE = """
import sys
for name in ("torch", "ferlib", "pandas", "cv2"):
    sys.modules[name] = None
import json
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
facts = session.get_modelmeta().custom_metadata_map
(fed,) = session.get_inputs()
faces = numpy.load(sys.argv[2])
(probabilities,) = session.run(["probabilities"], {fed.name: faces})
print(json.dumps([fed.name, fed.type, fed.shape, json.loads(facts["classes"]), probabilities.tolist()]))
"""


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_onnxruntime_alone_gets_names_shapes_and_calibrated_probabilities(
    capsys, tmp_path: Path, model: Path, small: Path, temperature: float
):
    pytest.importorskip("onnxruntime")
    warm, path = tmp_path / "warm", tmp_path / "warm.onnx"
    models.save_model(models.load_model(model), warm, temperature=temperature)
    if temperature != 3:
        export.to_onnx(models.load_model(warm), path)
    else:
        code, out, _ = ferlib(capsys, "export", "--model", warm, "--data", small, "--out", path)
        assert code == 0 and "input    faces, uint8 (batch, 1, 48, 48), gray 0 to 255" in out
        assert "classes  0 angry, 1 disgust, " in out and "calibrated with the temperature 3" in out
    faces = sample.draw(5, seed=2)[0][:, None]
    np.save(tmp_path / "faces.npy", faces)
    call = [sys.executable, "-c", ALONE, str(path), str(tmp_path / "faces.npy")]
    name, kind, shape, classes, found = json.loads(subprocess.run(call, capture_output=True, check=True).stdout)
    assert (name, kind, shape) == ("faces", "tensor(uint8)", ["batch", 1, 48, 48])
    loaded = models.load_model(warm)
    assert classes == list(loaded.classes)
    logits = evaluation.predict(loaded, FaceDataset.from_arrays(faces[:, 0], np.zeros(5, int))).logits
    np.testing.assert_allclose(found, torch.from_numpy(logits / temperature).softmax(1), atol=1e-5)


@pytest.mark.parametrize(
    ("broken", "told"), [(1, "train/happy/x0.png cannot be read"), (3, "3 images cannot be read: train/happy/x0.png, "),
                         (30, "30 images cannot be read: .*x9.png and 20 more; remove them")],
)  # fmt: skip
def test_all_broken_images_of_a_folder_are_told_at_once(tmp_path: Path, broken: int, told: str):
    (tmp_path / "train" / "happy").mkdir(parents=True)
    for number in range(broken):
        (tmp_path / "train" / "happy" / f"x{number}.png").write_bytes(b"broken %d" % number)
    with pytest.raises(ValueError, match=told):
        load(tmp_path)


def test_a_class_with_one_face_is_taken():
    images = np.zeros((30, 48, 48), np.uint8)
    faces = FaceDataset.from_arrays(images, [0] * 15 + [1] * 13 + [2] + [3], classes=("a", "b", "c", "d"))
    for count in (4, 7, 15, 26):
        labels = protocol.take(faces, count).labels
        assert len(labels) == count and {2, 3} < {*labels.tolist()}


def test_a_model_that_says_one_class_or_saw_drawn_faces_only_is_remarked_upon(capsys, tmp_path: Path, small: Path):
    one = models.build_model("plain_cnn")
    with torch.no_grad():
        one.network.head[-1].bias[3] += 100
    models.save_model(one, tmp_path / "one")
    images = sample.draw(12, size=64, seed=3)[0]
    (tmp_path / "p").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "p" / f"{number}.png")
    _, _, err = ferlib(capsys, "predict", tmp_path / "p", "--model", tmp_path / "one", "--detector=whole")
    assert "the model says happy of all 12 faces" in err and "drawn faces only" not in err
    code, _, err = ferlib(capsys, "evaluate", "--model", tmp_path / "one", "--data", small)
    assert code == 0 and "the model says happy of all 21 faces" in err and "21 faces, 1 view each" in err
    _, _, err = ferlib(capsys, "predict", tmp_path / "p", "--model", "drawn", "--detector=whole")
    assert "this model has seen drawn faces only" in err and "the model says" not in err


def test_resuming_where_there_is_no_run_is_noted(capsys, tmp_path: Path, small: Path):
    code, _, err = ferlib(capsys, *TRAIN, "--data", small, "--out", tmp_path / "run", "--resume")
    assert code == 0 and "holds no run to resume; this one begins with epoch 1" in err


def test_help_tells_each_default(capsys):
    for verb in ("predict", "explain", "demo"):
        text = " ".join(ferlib(capsys, verb, "--help")[1].split())
        assert "whole (no search)" in text and text.count("(default: ") >= 2
    assert cli.main(["recipes", "plain_cnn"]) == 0
