"""Detectors on drawn scenes and with stand-ins; boxes and crops against cases worked out by hand."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ferlib import sample
from ferlib.apps.detection import INSTALL_CV2, Haar, WholeImage, YuNet, crop_face, find_detector, nms
from ferlib.sample import scenes


class FakeCascade:
    """Finds what it is told to, and remembers the size of the image it was shown."""

    def __init__(self, boxes, scores=()):
        self.boxes, self.scores, self.shape = boxes, scores, None

    def detectMultiScale3(self, image, *args, **kwargs):  # noqa: N802
        self.shape = image.shape
        return np.array(self.boxes), np.ones(len(self.boxes)), np.array(self.scores, float)


# ---- Haar


def test_haar_finds_frontal_faces_in_scenes():
    images, truth = scenes.draw(8, seed=5)
    frontal = truth[(truth["yaw"].abs() <= 15) & (truth["occlusion"] == "none")]
    detector, hits = find_detector("haar"), 0
    boxes = [detector.detect(image) for image in images]
    for row in frontal.itertuples():
        for x0, y0, x1, y1, _ in boxes[row.scene]:
            shared = max(0, min(x1, row.x1) - max(x0, row.x0)) * max(0, min(y1, row.y1) - max(y0, row.y0))
            whole = (x1 - x0) * (y1 - y0) + (row.x1 - row.x0) * (row.y1 - row.y0) - shared
            hits += shared / whole >= 0.5
    assert hits >= 0.85 * len(frontal)
    assert all((np.diff(found[:, 4]) <= 0).all() for found in boxes)


@pytest.mark.parametrize("side", [24, 400])
def test_haar_finds_a_face_of_that_height(side: int):
    face = sample.draw(
        1, size=round(side / 0.87), seed=5, yaw=0.0, pitch=0.0, roll=0.0, occlusion="none", hair="short", glasses=False,
        blur=0.0, noise=1.0, exposure=1.0, contrast=1.1, skin=180.0, scale=0.42, shift_x=0.0, shift_y=0.0,
        light_strength=0.3,
    )[0][0]  # fmt: skip
    found = find_detector("haar").detect(np.pad(face, len(face) // 2, mode="edge"))
    middle = [(found[0, 0] + found[0, 2]) / 2, (found[0, 1] + found[0, 3]) / 2]
    assert middle == pytest.approx([len(face), len(face)], abs=0.12 * len(face))


def test_haar_searches_small_images_enlarged_and_large_ones_shrunk_but_answers_in_their_own_pixels():
    cascade = FakeCascade([(10, 20, 40, 40)], [3.0])
    found = Haar(cascade=cascade).detect(np.zeros((60, 120), np.uint8), smallest=14)  # twice as large
    assert cascade.shape == (120, 240)
    np.testing.assert_allclose(found, [[5, 10, 25, 30, 3]])
    found = Haar(cascade=cascade).detect(np.zeros((800, 3200, 3), np.uint8))  # 1600 px are the most
    assert cascade.shape == (400, 1600)
    np.testing.assert_allclose(found, [[20, 40, 100, 120, 3]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 20_000), (30, 30)])
def test_haar_finds_nothing_in_an_empty_image_of_any_size(shape: tuple):
    assert find_detector("haar").detect(np.full(shape, 90, np.uint8)).shape == (0, 5)


def test_a_missing_cascade_is_told_with_pips_command(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "data", SimpleNamespace(haarcascades="/nowhere/"))
        with pytest.raises(ValueError, match="lacks its face cascade; install one that has it: pip install --force-re"):
            find_detector("haar")
    monkeypatch.delattr(cv2, "CascadeClassifier")  # as in OpenCV 5
    with pytest.raises(ValueError, match="lacks its face cascade") as caught:
        find_detector("haar")
    assert INSTALL_CV2 in str(caught.value)


# ---- the others


def test_whole_takes_the_image_for_the_face():
    np.testing.assert_array_equal(find_detector("whole").detect(np.zeros((3, 7), np.uint8)), [[0, 0, 7, 3, 1]])
    assert WholeImage().margin == 0


class FakeNetwork:
    def __init__(self, rows):
        self.rows, self.size, self.seen = rows, None, None

    def setInputSize(self, size):  # noqa: N802
        self.size = tuple(size)

    def detect(self, image):
        self.seen = image
        return 1, self.rows


def test_yunet_is_shown_blue_first_at_its_scale_and_its_boxes_are_scaled_back(monkeypatch, tmp_path: Path):
    (tmp_path / "yunet.onnx").write_bytes(b"stand-in")
    landmarks = [0.0] * 10
    network = FakeNetwork(np.array([[10, 20, 30, 40, *landmarks, 0.7], [100, 20, 30, 40, *landmarks, 0.9]], np.float32))
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *args: network)
    detector = find_detector(tmp_path / "yunet.onnx")
    image = np.zeros((100, 200, 3), np.uint8)
    image[..., 0] = 255  # red
    found = detector.detect(image, smallest=40)  # half as large
    assert network.size == (100, 50) and network.seen[0, 0].tolist() == [0, 0, 255]
    np.testing.assert_allclose(found, [[200, 40, 260, 120, 0.9], [20, 40, 80, 120, 0.7]], rtol=1e-6)
    network.rows = None
    assert detector.detect(image[..., 0]).shape == (0, 5)


def test_yunet_without_its_file_or_with_another_one(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="does not exist; give the path of YuNet's .onnx file"):
        YuNet(tmp_path / "yunet.onnx")
    for content in (b"", b"<!doctype html>"):
        (tmp_path / "yunet.onnx").write_bytes(content)
        with pytest.raises(ValueError, match="yunet.onnx is not a YuNet model that OpenCV can read; download it again"):
            YuNet(tmp_path / "yunet.onnx")
    onnx = pytest.importorskip("onnx")
    image = [[onnx.helper.make_tensor_value_info(name, 1, [1, 3, 320, 320])] for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "another network", *image)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "yunet.onnx")
    with pytest.raises(ValueError, match="is not a YuNet model"):
        YuNet(tmp_path / "yunet.onnx")


def test_unknown_names_and_images_are_refused():
    with pytest.raises(ValueError, match="'mtcnn'; allowed are haar, whole and the path"):
        find_detector("mtcnn")
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match="an image is uint8"):
            find_detector("whole").detect(wrong)


def test_of_boxes_that_overlap_the_best_stays():
    near = [20, 0, 120, 100, 0.7]  # IoU 0.67 with the best
    aside = [90, 0, 190, 100, 0.8]  # IoU 0.05 with the best, 0.18 with the one near it
    boxes = np.array([near, [0, 0, 100, 100, 0.9], aside], float)
    np.testing.assert_array_equal(nms(boxes), [[0, 0, 100, 100, 0.9], [90, 0, 190, 100, 0.8]])
    np.testing.assert_array_equal(nms(boxes, overlap=0.7)[:, 4], [0.9, 0.8, 0.7])
    assert nms(np.empty((0, 5))).shape == (0, 5)


# ---- crops


def test_a_crop_is_the_box_grown_and_squared():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    # A box of 2 x 4 px: 4 is the longer side, half of it on each side makes 8, about (5, 5).
    np.testing.assert_array_equal(crop_face(image, np.array([4, 3, 6, 7, 1]), margin=0.5, size=8), image[1:9, 1:9])


def test_a_crop_is_averaged_down():
    image = np.arange(0, 32, 2, dtype=np.uint8).reshape(4, 4)  # (0 + 2 + 8 + 10) / 4 = 5, and so on
    np.testing.assert_array_equal(crop_face(image, np.array([0, 0, 4, 4, 1]), margin=0, size=2), [[5, 9], [21, 25]])


def test_a_crop_repeats_the_border_beyond_the_image():
    image = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8)
    found = crop_face(image, np.array([-2, -1, 2, 3, 1]), margin=0, size=4)
    np.testing.assert_array_equal(found, [[1, 1, 1, 2], [1, 1, 1, 2], [4, 4, 4, 5], [7, 7, 7, 8]])
    assert (crop_face(image, np.array([50, 50, 60, 60, 1]), margin=0, size=5) == 9).all()


def test_a_crop_of_a_face_that_is_cut_out_already_is_that_face():
    face = sample.draw(1, seed=2)[0][0]
    np.testing.assert_array_equal(crop_face(face, WholeImage().detect(face)[0], margin=0, size=48), face)


def test_a_crop_of_a_long_colour_image_is_a_gray_square():
    image = np.full((3, 2_000, 3), (255, 0, 0), np.uint8)
    crop = crop_face(image, WholeImage().detect(image)[0], margin=0, size=48)
    assert crop.shape == (48, 48) and (crop == 76).all()  # 0.299 * 255


def test_haars_margin_frames_drawn_faces_as_fer2013_does():
    """A face is cut out of its own drawing with a wide border: the crop is to be about the drawing again."""
    images, _ = sample.draw(40, size=96, seed=7, occlusion="none", yaw=0.0)
    detector, sides = find_detector("haar"), []
    for image in images:
        found = detector.detect(np.pad(image, 40, mode="edge"))
        if len(found):
            sides.append((found[0, 2] - found[0, 0]) * (1 + 2 * detector.margin))
    assert len(sides) > 30 and np.median(sides) == pytest.approx(96, rel=0.06)
