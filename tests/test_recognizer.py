"""The recognizer on drawn scenes and stand-in detectors: files of all kinds, tables, batches, videos, drawing."""

import base64
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ferlib import sample
from ferlib.apps.detection import crop_face, find_detector
from ferlib.apps.pictures import camera_frames, capture_on_colab, read_image, read_shots, to_image, upload_on_colab
from ferlib.apps.recognizer import BOX, CROP, EmotionRecognizer, annotate, plot_answers, save_annotated, writable_folder
from ferlib.data import FaceDataset
from ferlib.emotions import COLORS, EMOTIONS, class_colors
from ferlib.evaluation import Predictions, flip, predict
from ferlib.models import FaceModel, build_model, save_model
from ferlib.sample import scenes
from ferlib.transforms import InputSpec

COLUMNS = [
    "file", "frame", "time", "x0", "y0", "x1", "y1", "roll", "score",
    "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "emotion", "confidence", "abstained", "error",
]  # fmt: skip


class FakeDetector:
    """Finds the same boxes in every image, and remembers what it was asked."""

    margin = 0.0

    def __init__(self, *boxes):
        self.boxes, self.asked = np.array(boxes, float).reshape(-1, 5), []

    def detect(self, image, *, smallest=24):
        self.asked.append((image.shape, smallest))
        return self.boxes


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("fernet", widths=(8, 8, 8, 8))


@pytest.fixture(scope="module")
def whole(model):
    return EmotionRecognizer(model, detector=find_detector("whole"), threshold=0.0)


@pytest.fixture
def faces():
    return sample.draw(5, seed=1)[0]


def save(path: Path, image: np.ndarray, **options) -> Path:
    Image.fromarray(image).save(path, **options)
    return path


# ---- reading


RED_LEFT = np.zeros((40, 60, 3), np.uint8)
RED_LEFT[:, :30, 0] = 255


@pytest.mark.parametrize(
    ("name", "made", "options"),
    [
        ("rgb.png", Image.fromarray(RED_LEFT), {}),
        ("cmyk.tif", Image.fromarray(RED_LEFT).convert("CMYK"), {}),
        ("cmyk.jpg", Image.fromarray(RED_LEFT).convert("CMYK"), {"quality": 95}),
        ("palette.gif", Image.fromarray(RED_LEFT).convert("P"), {}),
    ],
)
def test_colour_of_any_kind_becomes_rgb(tmp_path: Path, name: str, made: Image.Image, options: dict):
    made.save(tmp_path / name, **options)
    found = read_image(tmp_path / name)
    assert found.shape == (40, 60, 3) and found.dtype == np.uint8
    np.testing.assert_allclose(found[20, 10], [255, 0, 0], atol=8)
    np.testing.assert_allclose(found[20, 50], [0, 0, 0], atol=8)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_exif_rotation_is_undone(tmp_path: Path, turn: int):
    stored = Image.fromarray(RED_LEFT)
    # What has to be done to show the picture upright; so the opposite is done before it is stored.
    back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    (stored if back is None else stored.transpose(back)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    found = read_image(tmp_path / "turned.jpg")
    assert found.shape == (40, 60, 3)
    assert found[:, :25, 0].mean() > 240 and found[:, 35:, 0].mean() < 15


def test_gray_16_bit_and_transparent_pixels(tmp_path: Path):
    gray = np.array([[0, 100], [200, 255]], np.uint8)
    np.testing.assert_array_equal(read_image(save(tmp_path / "gray.png", gray)), gray)
    for name in ("deep.png", "deep.tif"):
        np.testing.assert_array_equal(read_image(save(tmp_path / name, gray.astype(np.uint16) * 257)), gray)
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, 0], rgba[0, 1], rgba[0, 2] = (255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)
    expected = [[[255, 0, 0], [128, 128, 128], [102, 102, 102]]]  # 0.8 * 128 = 102.4
    np.testing.assert_array_equal(read_image(save(tmp_path / "rgba.png", rgba)), expected)
    np.testing.assert_array_equal(next(read_shots(rgba)).image, expected)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path):
    first, second = (Image.fromarray(np.full((8, 8), tone, np.uint8)) for tone in (50, 200))
    first.save(tmp_path / "two.gif", save_all=True, append_images=[second])
    assert (read_image(tmp_path / "two.gif") == 50).all()


def test_heic_is_refused_by_name_with_advice(tmp_path: Path):
    for name, brand in (("phone.heic", b"heic"), ("phone.jpg", b"hevx")):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic")
        with pytest.raises(ValueError, match=f"{name} as an image: HEIC is not supported; save it as JPEG"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0", None])
def test_broken_images_are_told_by_name(tmp_path: Path, content: bytes | None):
    file = save(tmp_path / "broken.png", np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8))
    file.write_bytes(file.read_bytes()[:900] if content is None else content)
    with pytest.raises(ValueError, match="cannot read .*broken.png as an image: .*; save or download it again"):
        read_image(file)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "away.png")


def test_16_bits_are_rounded_and_never_wrap(tmp_path: Path):
    deep = np.array([[0, 256, 385, 65535]], np.uint16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "deep.png", deep)), [[0, 1, 1, 255]])
    np.testing.assert_array_equal(read_image(save(tmp_path / "deep.tif", deep.astype(np.int32) * 2)), [[0, 2, 3, 255]])
    with pytest.raises(ValueError, match="its pixels are fractions"):
        read_image(save(tmp_path / "fractions.tif", np.full((2, 2), 0.5, np.float32)))


def test_images_of_1_px_and_of_20_000_px_width(model, tmp_path: Path):
    files = [
        save(tmp_path / "1.png", np.zeros((1, 1), np.uint8)),
        save(tmp_path / "2.png", np.zeros((90, 20_000), np.uint8)),
    ]
    rows = EmotionRecognizer(model).predict(files)
    assert rows["file"].tolist() == [str(file) for file in files]
    assert rows["score"].isna().all() and (rows["error"] == "").all()


# ---- the table


def test_probabilities_are_those_of_evaluation_predict_for_the_crops(model, whole, faces):
    rows = whole.predict(list(faces))
    expected = predict(model, FaceDataset.from_arrays(faces, np.zeros(5, np.int64)), views=(None, flip))
    np.testing.assert_allclose(rows[list(EMOTIONS)], expected.probabilities, atol=1e-6)
    assert rows["emotion"].tolist() == [EMOTIONS[i] for i in expected.predicted]
    np.testing.assert_allclose(rows["confidence"], expected.probabilities.max(1), atol=1e-6)
    assert list(rows) == COLUMNS
    assert rows["file"].tolist() == [f"image {i}" for i in range(5)] and (rows["frame"] == 0).all()
    assert rows[[*BOX]].to_numpy().tolist() == [[0, 0, 48, 48]] * 5
    assert rows["time"].isna().all() and rows["abstained"].dtype == bool


def test_views_are_averaged_and_the_temperature_is_the_models(model, faces, tmp_path: Path):
    save_model(model, tmp_path, temperature=2.0)
    recognizer = EmotionRecognizer.load(tmp_path, detector="whole", views=(None,))
    logits = predict(model, FaceDataset.from_arrays(faces, np.zeros(5, np.int64))).logits
    expected = Predictions(logits / 2, np.zeros(5, np.int64)).probabilities
    np.testing.assert_allclose(recognizer.predict(list(faces))[list(EMOTIONS)], expected, atol=1e-6)


def test_faces_are_cut_out_with_the_margin_in_the_detectors_order(model):
    image = scenes.draw(1, seed=1)[0][0]
    boxes = [[100, 50, 200, 150, 9.0], [300.5, 100, 380, 190, 4.0]]
    recognizer = EmotionRecognizer(model, detector=FakeDetector(*boxes), margin=0.2)
    rows = recognizer.predict(image)
    assert rows[[*BOX, "score"]].to_numpy().tolist() == boxes
    margins = (0.16, 0.2, 0.24)
    crops = [[crop_face(image, np.array(box), margin=each, size=48) for box in boxes] for each in margins]
    expected = np.mean([recognizer.probabilities(np.stack(framing)) for framing in crops], 0)
    np.testing.assert_allclose(rows[list(EMOTIONS)], expected, atol=1e-6)


def test_batches_across_images_give_what_one_by_one_gives(model, faces):
    detector = FakeDetector([0, 0, 48, 48, 2], [8, 8, 40, 40, 1])
    rows = [EmotionRecognizer(model, detector=detector, batch_size=size).predict(list(faces)) for size in (1, 3, 64)]
    single = pd.concat([EmotionRecognizer(model, detector=detector).predict(face) for face in faces])
    for other in (rows[1], rows[2], single):
        np.testing.assert_allclose(rows[0][list(EMOTIONS)], other[list(EMOTIONS)], atol=1e-5)
    assert rows[0]["file"].tolist() == rows[2]["file"].tolist() == [f"image {i // 2}" for i in range(10)]


def test_a_hundred_faces(model):
    boxes = [[x, y, x + 40, y + 40, 1] for y in range(0, 400, 40) for x in range(0, 400, 40)]
    rows = EmotionRecognizer(model, detector=FakeDetector(*boxes)).predict(np.zeros((400, 400), np.uint8))
    assert len(rows) == 100 and rows["emotion"].isin(EMOTIONS).all()


def test_it_abstains_below_the_threshold(model, faces):
    sure = EmotionRecognizer(model, detector=find_detector("whole"), threshold=0.0).predict(list(faces))
    at = float(sure["confidence"].sort_values().iloc[2])
    rows = EmotionRecognizer(model, detector=find_detector("whole"), threshold=at).predict(list(faces))
    assert not sure["abstained"].any()
    assert rows["abstained"].tolist() == (sure["confidence"] < at).tolist() and rows["abstained"].sum() == 2
    assert rows["emotion"].tolist() == sure["emotion"].tolist()


def test_without_a_face_there_is_a_row_of_nan_or_none(model):
    recognizer, image = EmotionRecognizer(model, detector=FakeDetector()), np.zeros((30, 30), np.uint8)
    rows = recognizer.predict([image, image])
    assert rows["file"].tolist() == ["image 0", "image 1"] and (rows["error"] == "").all()
    assert rows[[*BOX, "score", *EMOTIONS, "emotion", "confidence"]].isna().to_numpy().all()
    assert not rows["abstained"].any()
    dropped = recognizer.predict([image, image], no_face="drop")
    assert list(dropped) == COLUMNS and not len(dropped)


def test_wrong_arguments_are_refused(model, whole, tmp_path: Path):
    with pytest.raises(ValueError, match="no_face is 'skip'; allowed are nan, drop"):
        whole.predict(tmp_path, no_face="skip")
    with pytest.raises(ValueError, match=r"^threshold is 2; allowed are 0 to 1$"):
        EmotionRecognizer(model, threshold=2)
    bare = r"Flatten is a bare network, and a recognizer needs .*; wrap it: FaceModel\("
    with pytest.raises(ValueError, match=bare):
        EmotionRecognizer(torch.nn.Flatten())
    with pytest.raises(ValueError, match="^the class 'score' has the name of a column; rename the class$"):
        EmotionRecognizer(build_model("fernet", widths=(8, 8, 8, 8), classes=("time", "score", "happy")))
    with pytest.raises(FileNotFoundError, match="neither a run's folder"):
        EmotionRecognizer.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="away.png does not exist"):
        whole.predict([np.zeros((4, 4), np.uint8), tmp_path / "away.png"])


@pytest.mark.parametrize(
    "names",
    [("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"), ("open eyes", "shut eyes")],
)
def test_other_classes_are_named_and_drawn(faces, names: tuple[str, ...]):
    torch.manual_seed(0)
    other = build_model("fernet", widths=(8, 8, 8, 8), classes=names)
    recognizer = EmotionRecognizer(other, detector=find_detector("whole"), threshold=0.0)
    rows = recognizer.predict(list(faces))
    faces_of = FaceDataset.from_arrays(faces, np.zeros(5, int), classes=names)
    expected = predict(other, faces_of, views=(None, flip))
    assert list(rows) == [*COLUMNS[:9], *names, *COLUMNS[-4:]]
    np.testing.assert_allclose(rows[list(names)], expected.probabilities, atol=1e-6)
    assert rows["emotion"].tolist() == [names[i] for i in expected.predicted]
    assert list(recognizer.predict(np.zeros((0, 4, 3), np.uint8))) == list(rows)
    gray = np.full((500, 500), 90, np.uint8)
    boxed = recognizer.predict(gray).assign(x0=50, y0=100, x1=250, y1=300)
    best = class_colors(names)[names.index(boxed["emotion"][0])]
    assert annotate(gray, boxed)[200, 50].tolist() == [int(best[i : i + 2], 16) for i in (1, 3, 5)]


def test_a_recognizer_of_an_own_network_needs_its_spec_alone(faces):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24 * 24, 2))
    own = FaceModel(network, InputSpec(24), ("open", "shut"), about={"temperature": 4.0})
    rows = EmotionRecognizer(own, detector="whole", threshold=0, views=(None,)).predict(list(faces))
    crops = np.stack([crop_face(face, np.array([0, 0, 48, 48, 1]), margin=0, size=24) for face in faces])
    with torch.no_grad():
        fed = (torch.from_numpy(crops)[:, None] / 255 - 0.5077) / 0.2550
        np.testing.assert_allclose(rows[["open", "shut"]], (network(fed) / 4).softmax(1), atol=1e-5)


def test_answers_are_drawn_with_a_bar_for_each_class_and_what_they_cannot_tell(model):
    gray = np.full((200, 300), 90, np.uint8)
    boxes = FakeDetector([150, 20, 250, 120, 0.9], [10, 20, 60, 70, 0.8], [100, 150, 120, 170, 0.7])
    rows = EmotionRecognizer(model, detector=boxes, threshold=0.9).predict(gray)
    figure = plot_answers(gray, rows, faces=2)
    picture, left, right = figure.axes
    assert picture.get_title() == "3 faces found" and figure.get_supxlabel().startswith("It names a look")
    for ax, row, number in ((left, 1, 1), (right, 0, 2)):
        assert ax.get_title() == f"{number}: unsure"
        widths = [bar.get_width() for bar in ax.patches]
        np.testing.assert_allclose(widths, 100 * rows.loc[row, list(EMOTIONS)].astype(float))
    none = plot_answers(gray, EmotionRecognizer(model, detector=FakeDetector()).predict(gray))
    assert [ax.get_title() for ax in none.axes] == ["0 faces found"]


def test_a_models_file_may_name_its_own_framing(model, tmp_path: Path):
    save_model(model, tmp_path, margin=0.4)
    assert EmotionRecognizer.load(tmp_path).margin == 0.4
    assert EmotionRecognizer.load(tmp_path, margin=0.1).margin == 0.1
    assert EmotionRecognizer.load("drawn").margin == 0.22 and EmotionRecognizer.load("fer2013").margin == 0
    assert EmotionRecognizer.load("drawn", detector="whole").margin == 0, "a whole picture is a face already"
    with pytest.raises(ValueError, match="margin is -0.5; allowed are -0.4 to 2"):
        EmotionRecognizer(model, margin=-0.5)


# ---- files and folders


def test_the_good_files_of_a_folder_are_done_and_the_broken_one_is_a_row_with_its_error(whole, faces, tmp_path: Path):
    for name, face in zip("acde", faces, strict=False):
        save(tmp_path / f"{name}.png", face)
    (tmp_path / "b.JPG").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").write_text("")
    with pytest.warns(UserWarning, match="skipped files that are not images: notes.txt"):
        rows = whole.predict(tmp_path)
    assert [Path(name).name for name in rows["file"]] == ["a.png", "b.JPG", "c.png", "d.png", "e.png"]
    assert "b.JPG as an image: " in rows["error"][1] and rows["emotion"].isna().tolist() == [0, 1, 0, 0, 0]
    np.testing.assert_allclose(rows.drop(1)[list(EMOTIONS)], whole.predict(list(faces[:4]))[list(EMOTIONS)], atol=1e-6)
    alone = whole.predict(tmp_path / "b.JPG", no_face="drop")
    assert alone["error"].tolist() == [rows["error"][1]]


def test_a_folder_without_images_is_refused(whole, tmp_path: Path):
    with pytest.raises(ValueError, match="holds no image; it holds no file; give pictures"):
        whole.predict(tmp_path)


def test_arrays_that_are_no_images_are_rows_with_an_error(whole):
    rows = whole.predict([np.zeros((4, 4), int), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4), np.uint8)])
    assert ["an image is uint8" in error for error in rows["error"]] == [True, True, False]


# ---- videos


def test_each_kth_frame_of_a_video_with_its_time(model, tmp_path: Path):
    truth = scenes.video(tmp_path / "face.mp4", frames=10, fps=25, width=320, height=240, size=120)
    recognizer = EmotionRecognizer(model)
    rows = recognizer.predict(tmp_path / "face.mp4", every=3)
    assert rows["frame"].tolist() == [0, 3, 6, 9]
    np.testing.assert_allclose(rows["time"], [0, 0.12, 0.24, 0.36], atol=1e-3)
    middles = [(rows[low] + rows[high]) / 2 for low, high in (("x0", "x1"), ("y0", "y1"))]
    expected = truth.loc[rows["frame"]].reset_index()
    np.testing.assert_allclose(middles[0], (expected["x0"] + expected["x1"]) / 2, atol=12)
    np.testing.assert_allclose(middles[1], (expected["y0"] + expected["y1"]) / 2, atol=24)
    detector = FakeDetector()
    EmotionRecognizer(model, detector=detector).predict(
        [tmp_path / "face.mp4", np.zeros((600, 600), np.uint8)], every=9
    )
    assert detector.asked == [((240, 320, 3), 40), ((240, 320, 3), 40), ((600, 600), 24)]  # 40 is a sixth of 240


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF\0\0\0\0AVI LIST"])
def test_a_broken_video_is_a_row_with_its_error(whole, tmp_path: Path, content: bytes):
    (tmp_path / "broken.avi").write_bytes(content)
    rows = whole.predict([tmp_path / "broken.avi", np.zeros((4, 4), np.uint8)])
    assert "OpenCV can read no frame of " in rows["error"][0] and rows["error"][1] == ""


class FakeCapture:
    """A video of `count` frames."""

    stated = 0

    def __init__(self, path):
        self.frame, self.count = -1, 200

    def grab(self):
        self.frame += 1
        return self.frame < self.count

    def get(self, what):
        return self.stated if what == cv2.CAP_PROP_FRAME_COUNT else 40.0 * self.frame

    def retrieve(self):
        return True, np.zeros((60, 80, 3), np.uint8)

    def release(self):
        pass


def test_the_answers_to_three_framings_are_averaged(model):
    image = np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8)
    recognizer = EmotionRecognizer(model, detector=FakeDetector([20, 20, 70, 70, 1]), margin=0.1)
    crops = [crop_face(image, np.array([20, 20, 70, 70]), margin=margin, size=48) for margin in (0.06, 0.1, 0.14)]
    assert (crops[0] != crops[1]).any() and (crops[1] != crops[2]).any()
    answers = recognizer.predict(image)[list(model.classes)].to_numpy()
    np.testing.assert_allclose(answers[0], recognizer.probabilities(np.stack(crops)).mean(0), atol=1e-6)
    cut_out = EmotionRecognizer(model, detector="whole").predict(crops[1])[list(model.classes)].to_numpy()
    np.testing.assert_allclose(cut_out, recognizer.probabilities(crops[1][None]), atol=1e-6)


def test_a_video_is_streamed_and_a_video_cut_short_is_told(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "long.mp4").write_bytes(b"")
    monkeypatch.setattr(FakeCapture, "stated", 203)  # a header that is off by a little
    sizes = []
    captures, ahead = [], []
    monkeypatch.setattr(cv2, "VideoCapture", lambda *args: captures.append(FakeCapture(*args)) or captures[-1])

    class Counting(FakeDetector):
        def detect(self, image, *, smallest=24):
            ahead.append(captures[0].frame - len(self.asked))
            return super().detect(image, smallest=smallest)

    recognizer = EmotionRecognizer(model, detector=Counting([0, 0, 60, 60, 1]), batch_size=16)
    monkeypatch.setattr(
        EmotionRecognizer,
        "probabilities",
        lambda self, crops: sizes.append(len(crops)) or np.full((len(crops), 7), 1 / 7),
    )
    rows = recognizer.predict(tmp_path / "long.mp4")
    assert rows["frame"].tolist() == list(range(200)) and (rows["error"] == "").all()
    assert sizes == [3 * 16] * 12 + [3 * 8], "three framings of each face"
    assert ahead == [0] * 200, "no frame is read before the one before is done"
    for stated in (204, 400):
        monkeypatch.setattr(FakeCapture, "stated", stated)
        rows = recognizer.predict(tmp_path / "long.mp4")
        assert len(rows) == 201 and f"ends after 200 of {stated} frames" in rows["error"].iloc[-1]


def test_a_cameras_frames_are_read_one_by_one():
    pulled = []

    def camera():
        while True:
            pulled.append(np.full((40, 40), len(pulled), np.uint8))
            yield pulled[-1]

    shots = read_shots(camera())
    assert [next(shots).image[0, 0] for _ in range(3)] == [0, 1, 2] and len(pulled) == 3


def test_an_iterator_that_was_read_already_is_told(whole, tmp_path: Path):
    pictures = iter([np.full((40, 40), 128, np.uint8)])
    rows = whole.predict(pictures)
    with pytest.raises(ValueError, match="the source gave no picture of the table; an iterator is read once"):
        save_annotated(rows, pictures, tmp_path / "seen")


def test_a_face_that_is_already_cut_out_may_be_of_any_size(model):
    recognizer = EmotionRecognizer(model, detector="whole", smallest=100)
    assert recognizer.predict(np.full((12, 12), 128, np.uint8))["emotion"].notna().all()


def test_a_picture_that_pillow_refuses_for_its_size_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("L", (100, 100)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (shot,) = read_shots(tmp_path / "huge.png")
    assert shot.error.endswith("make it smaller")


# ---- drawing


def rows_of(
    rows: list[tuple], emotion: str = "happy", confidence: float = 0.8, abstained: bool = False
) -> pd.DataFrame:
    chances = dict.fromkeys(EMOTIONS, (1 - confidence) / 6) | {emotion: confidence}
    facts = {
        "emotion": emotion,
        "confidence": confidence,
        "abstained": abstained,
        "error": "",
        "frame": 0,
        "score": 1.0,
    }
    table = pd.DataFrame([dict(zip(BOX, box, strict=True)) | {"roll": 0.0} | chances | facts for box in rows])
    return table.assign(file="image 0", time=np.nan)[COLUMNS]


def share_of(picture: np.ndarray, color: str) -> float:
    return float((picture == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(2).mean())


@pytest.mark.parametrize("tone", [0, 255])
@pytest.mark.parametrize("side", [60, 400])
def test_a_face_gets_a_box_of_its_emotions_colour_and_a_label_above_it(tone: int, side: int):
    image = np.full((600, 800), tone, np.uint8)
    picture = annotate(image, rows_of([(100, 100, 100 + side, 100 + side)], confidence=0.4))
    assert picture.shape == (600, 800, 3) and (image == tone).all()
    middle = 100 + side // 2
    assert picture[middle, 100].tolist() == picture[100 + side, middle].tolist() == [0xE6, 0x9F, 0x00]
    assert (picture[104 : 96 + side, 104 : 96 + side] == tone).all(), "the face is left free"
    assert (picture[110 + side :] == tone).all() and (picture[:60] == tone).all()
    above = picture[60:96, 100:300]
    assert (above[:, :60] > 150).all(2).sum() > 40 and (above < 60).all(2).sum() > 300, "white letters on black"


def test_at_the_upper_edge_the_label_stands_inside_the_box_and_at_the_right_it_stays_in_the_picture():
    image = np.full((600, 800), 90, np.uint8)
    picture = annotate(image, rows_of([(740, 2, 790, 300)]))
    assert (picture[4:40, 650:] > 150).all(2).sum() > 100
    assert (picture[45:290, 745:785] == 90).all()
    letters = [(annotate(image, rows_of([(400, 300, 480, 380)], **more)) > 150).all(2).sum()
               for more in ({}, {"confidence": 0.1}, {"emotion": "surprise"})]  # fmt: skip
    assert len({*letters}) == 3, "each text is another one"


def test_columns_are_read_by_name_whatever_stands_beside_them():
    image, rows = np.full((600, 800), 90, np.uint8), rows_of([(100, 100, 300, 300)], confidence=0.4)
    want = annotate(image, rows)
    first = rows.assign(person="Ann")[["person", *COLUMNS]]
    for other in (rows.assign(person="Ann"), first, rows.drop(columns="time")):
        np.testing.assert_array_equal(annotate(image, other), want)


def test_an_unsure_face_is_gray():
    picture = annotate(np.full((500, 500, 3), 30, np.uint8), rows_of([(50, 100, 250, 300)], abstained=True))
    assert picture[200, 50].tolist() == [0x8C] * 3
    assert share_of(picture[:, :254], COLORS["happy"]) == 0


def test_small_pictures_are_enlarged_and_rows_without_a_face_passed_over():
    face = np.full((48, 48), 90, np.uint8)
    assert annotate(face, rows_of([(0, 0, 48, 48)])).shape == (432, 432, 3)  # nine times 48 is the first above 400
    nothing = rows_of([(np.nan,) * 4])
    assert (annotate(np.full((500, 400), 90, np.uint8), nothing) == 90).all()


def test_labels_of_many_faces_leave_the_faces_free():
    boxes = [(x, y, x + 60, y + 70) for y in range(40, 700, 110) for x in range(10, 900, 90)]
    picture = annotate(np.full((800, 1000), 90, np.uint8), rows_of(boxes))
    for x0, y0, x1, y1 in boxes:
        assert (picture[y0 + 5 : y1 - 4, x0 + 5 : x1 - 4] == 90).all()
        assert (picture[y0 - 18 : y0 - 2, x0:x1] > 150).all(2).sum() > 40


def test_annotated_pictures_are_written_under_the_names_of_their_files(whole, faces, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "more").mkdir()
    sources = [save(tmp_path / folder / "a.png", face) for folder, face in zip(("in", "more"), faces, strict=False)]
    (tmp_path / "in" / "b.png").write_bytes(b"broken")
    scenes.video(tmp_path / "film.mp4", frames=4, width=160, height=120, size=80)
    sources += [tmp_path / "in" / "b.png", tmp_path / "film.mp4"]
    rows = whole.predict(sources, every=2)
    paths = save_annotated(rows, sources, tmp_path / "out")
    assert [path.name for path in paths] == ["a.jpg", "a_2.jpg", "film_000000.jpg", "film_000002.jpg"]
    expected = annotate(faces[1], rows[1:2]).astype(float)
    np.testing.assert_allclose(read_image(paths[1]).astype(float).mean(), expected.mean(), atol=1)


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    rows = rows_of([(0, 0, 9, 9)])
    with pytest.raises(ValueError, match="cannot write into .*out.*give another folder"):
        save_annotated(rows, tmp_path / "this is not even there.png", tmp_path / "file" / "out")
    (tmp_path / "photo.jpg").write_text("mine")
    for given in (tmp_path, tmp_path / "photo.jpg", [np.zeros((9, 9), np.uint8), tmp_path / "photo.jpg"]):
        with pytest.raises(ValueError, match="would replace the source's own; give another folder"):
            writable_folder(tmp_path, given)
    assert writable_folder(tmp_path / "new" / "one", tmp_path / "photo.jpg").is_dir()
    assert not any((tmp_path / "new" / "one").iterdir())


# ---- cameras


def test_frames_of_a_camera_are_rgb_and_it_is_let_go(monkeypatch: pytest.MonkeyPatch):
    calls = []

    class Camera:
        def __init__(self, device):
            self.frames = [np.full((2, 2, 3), (255, 0, 0), np.uint8)] * 2 if device == 1 else []

        def isOpened(self):  # noqa: N802 (OpenCV's name)
            return bool(self.frames)

        def read(self):
            return (True, self.frames.pop()) if self.frames else (False, None)

        def release(self):
            calls.append("released")

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    frames = list(camera_frames(1))
    assert len(frames) == 2 and frames[0][0, 0].tolist() == [0, 0, 255]
    with pytest.raises(ValueError, match="no camera 0; on Colab call capture_on_colab"):
        next(camera_frames())
    assert calls == ["released"] * 2


def test_colabs_picture_comes_from_the_browser(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="this is not Google Colab"):
        capture_on_colab()
    fake = ModuleType("google.colab.output")
    for name, module in (
        ("google", ModuleType("google")),
        ("google.colab", ModuleType("google.colab")),
        (fake.__name__, fake),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    raw = cv2.imencode(".jpg", np.full((40, 50, 3), (0, 0, 255), np.uint8))[1].tobytes()
    fake.eval_js = lambda script: "data:image/jpeg;base64," + base64.b64encode(raw).decode()
    picture = capture_on_colab()
    assert picture.shape == (40, 50, 3)
    np.testing.assert_allclose(picture[20, 20], [255, 0, 0], atol=3)

    def refused(script):
        raise RuntimeError("NotAllowedError: Permission denied")

    fake.eval_js = refused
    with pytest.raises(ValueError, match="gave no picture .*Permission denied.*allow the camera"):
        capture_on_colab()


def test_colabs_upload_is_read_as_one_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ValueError, match="this is not Google Colab; give the picture's path"):
        upload_on_colab()
    files = ModuleType("google.colab.files")
    for name, module in (
        ("google", ModuleType("google")),
        ("google.colab", ModuleType("google.colab")),
        (files.__name__, files),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RED_LEFT).save("me.png")
    files.upload = lambda: {"me.png": b"the bytes"}
    np.testing.assert_array_equal(upload_on_colab(), RED_LEFT)
    files.upload = dict
    with pytest.raises(ValueError, match="0 files were uploaded; run this again and choose one picture"):
        upload_on_colab()


def test_reading_leaks_no_warning(whole, tmp_path: Path):
    image = Image.fromarray(RED_LEFT).convert("P")
    image.save(tmp_path / "palette.png", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert whole.predict(tmp_path / "palette.png")["error"].tolist() == [""]


def test_a_face_that_is_too_small_is_left_out(model):
    boxes = FakeDetector([0, 0, 40, 40, 0.9], [50, 0, 60, 12, 0.8])
    rows = EmotionRecognizer(model, detector=boxes, smallest=24).predict(np.zeros((100, 100), np.uint8))
    assert rows[["y1", "roll"]].values.tolist() == [[40, 0]]


def test_the_table_tells_the_roll_by_which_a_crop_is_upright(model):
    class Turned(FakeDetector):
        def detect(self, image, *, smallest=24):
            return np.array([[30.0, 30.0, 70.0, 70.0, 0.9, 90.0]])

    image = np.zeros((100, 100), np.uint8)
    image[:, 50:] = 200  # light at the right: at the top of a head that is turned clockwise by 90 degrees
    recognizer = EmotionRecognizer(model, detector=Turned())
    rows = recognizer.predict(image)
    crop = recognizer.crop(image, rows[CROP].to_numpy()[0])
    assert rows["roll"].tolist() == [90] and (crop[:20] > 150).all() and (crop[-20:] < 50).all()


def test_a_file_given_twice_is_read_once(whole, faces, tmp_path: Path):
    save(tmp_path / "a.png", faces[0])
    with pytest.warns(UserWarning, match="1 files are given more than once, and read once"):
        rows = whole.predict([tmp_path / "a.png", tmp_path / ".." / tmp_path.name / "a.png"])
    assert len(rows) == 1


def test_annotated_pictures_of_a_generator_never_write_through_a_link(whole, faces, tmp_path: Path):
    save(tmp_path / "a.png", faces[0])
    (tmp_path / "kept.jpg").write_bytes(b"mine")
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "a.jpg").symlink_to(tmp_path / "kept.jpg")
    rows = whole.predict(tmp_path / "a.png")
    (saved,) = save_annotated(rows, (path for path in [tmp_path / "a.png"]), tmp_path / "seen")
    assert (tmp_path / "kept.jpg").read_bytes() == b"mine" and not saved.is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_no_picture(whole, tmp_path: Path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="a.jpg is no ordinary file"):
        whole.predict(tmp_path / "a.jpg")


def test_more_kinds_of_pictures_in_memory(faces):
    np.testing.assert_array_equal(to_image(Image.fromarray(faces[0].astype(np.int32))), faces[0])
    light = torch.from_numpy(faces[0])[None].bfloat16() / 255
    np.testing.assert_allclose(to_image(light).astype(int), faces[0], atol=2)
