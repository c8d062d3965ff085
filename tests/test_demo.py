"""The demo page: what its handlers answer, what it says, and that it serves this computer alone."""

import gc
import sys
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ferlib import sample
from ferlib.apps import demo
from ferlib.emotions import EMOTIONS
from ferlib.explain import occlusion, overlay
from ferlib.models import build_model, save_model
from ferlib.apps.recognizer import EmotionRecognizer
from ferlib.transforms import EvalTransform

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gradio's and its dependencies' own, at import
    pytest.importorskip("gradio")


# gradio leaves the event loops that it makes for its locks to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """No garbage of this file is left to the next one's tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save_model(build_model("fernet", widths=(4, 8, 8, 8)), tmp_path_factory.mktemp("model")).parent


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> EmotionRecognizer:
    return EmotionRecognizer.load(folder, threshold=0)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Two drawn faces side by side in an RGB picture (200, 440, 3)."""
    faces, _ = sample.draw(2, size=160, seed=5, yaw=0.0, pitch=0.0, roll=0.0, occlusion="none")
    gray = np.full((200, 440), 120, np.uint8)
    gray[20:180, 40:200], gray[20:180, 240:400] = faces
    return np.repeat(gray[..., None], 3, 2)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switches that the page sets do not outlive a test."""
    for name, value in demo.OFFLINE.items():
        monkeypatch.setenv(name, value)


def test_each_face_that_the_recognizer_names_is_found(recognizer: EmotionRecognizer, picture: np.ndarray):
    rows = recognizer.predict(picture).sort_values("x0")
    marked, faces, said = demo.find(recognizer, picture)
    assert len(faces) == len(rows) == 2
    for place, (face, row) in enumerate(zip(faces, rows.to_dict("records"), strict=True), 1):
        assert face["name"] == f"face {place}: {row['emotion']} ({row['confidence']:.0%})"
        assert face["chances"] == [row[name] for name in EMOTIONS]
        np.testing.assert_allclose(recognizer.probabilities(face["crop"][None])[0], face["chances"], atol=1e-6)
    assert said == f"{faces[0]['name']}; {faces[1]['name']}"
    assert (marked.shape[2] == 3 and marked.shape != picture.shape) or (marked != picture).any(), "boxes are drawn"


def test_an_answer_below_the_threshold_is_called_unsure(recognizer: EmotionRecognizer, picture: np.ndarray):
    shy = EmotionRecognizer(recognizer.model, detector=recognizer.detector, threshold=1)
    _, faces, _ = demo.find(shy, picture)
    sure = demo.find(recognizer, picture)[1]
    assert [face["name"] for face in faces] == [face["name"].replace(": ", ": unsure, perhaps ") for face in sure]


@pytest.mark.parametrize("shape", [(120, 160, 3), (1, 1, 3)])
def test_no_face_is_a_sentence_and_no_error(recognizer: EmotionRecognizer, shape: tuple[int, ...]):
    marked, faces, said = demo.find(recognizer, np.full(shape, 90, np.uint8))
    assert faces == [] and said == demo.NO_FACE
    assert (marked == 90).all()


def test_no_picture_is_asked_for(recognizer: EmotionRecognizer):
    assert demo.find(recognizer, None) == (None, [], "Upload a picture, or take one with the camera.")


def test_a_face_is_explained_by_its_bars_and_its_heat_map(recognizer: EmotionRecognizer, picture: np.ndarray):
    face = demo.find(recognizer, picture)[1][0]
    figure, heat, said = demo.explain_face(recognizer, face)
    ax = figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([100 * chance for chance in face["chances"]])
    assert ax.get_title() == face["name"] and said == demo.HEAT
    batch = EvalTransform(recognizer.model.input_spec)(torch.tensor(face["crop"])[None, None])
    want = overlay(face["crop"][None], occlusion(recognizer.model, batch, int(np.argmax(face["chances"]))))[0]
    np.testing.assert_array_equal(heat, want.repeat(7, 0).repeat(7, 1))  # 48 -> 336 px


def test_a_network_too_coarse_for_grad_cam_gets_its_heat_map_as_well(picture: np.ndarray):
    coarse = EmotionRecognizer(build_model("resnet18", channels=(4, 4, 4, 4), size=10, small_stem=False))
    face = {"name": "face 1", "chances": [1.0, 0, 0, 0, 0, 0, 0], "crop": np.zeros((10, 10), np.uint8)}
    figure, heat, said = demo.explain_face(coarse, face)
    assert heat.shape == (330, 330, 3) and said == demo.HEAT
    assert len(figure.axes[0].patches) == 7


def test_a_model_of_other_classes_has_its_own_bars(picture: np.ndarray):
    torch.manual_seed(0)
    names = ("open eyes", "shut eyes", "happy")
    other = EmotionRecognizer(build_model("fernet", widths=(4, 8, 8, 8), classes=names), threshold=0)
    _, faces, said = demo.find(other, picture)
    rows = other.predict(picture).sort_values("x0")
    assert len(faces) == 2 and all(str(name) in said for name in rows["emotion"])
    for face, row in zip(faces, rows.to_dict("records"), strict=True):
        assert face["chances"] == [row[name] for name in names]
        figure, heat, _ = demo.explain_face(other, face)
        ax = figure.axes[0]
        assert [label.get_text() for label in ax.get_yticklabels()] == list(names) and heat.shape == (336, 336, 3)
        assert [bar.get_width() for bar in ax.patches] == pytest.approx([100 * chance for chance in face["chances"]])


def handlers(blocks: Any) -> dict[str, Any]:
    return {function.name: function.fn for function in blocks.fns.values()}


def test_the_page_says_what_it_cannot_tell_and_answers(recognizer: EmotionRecognizer, picture: np.ndarray):
    blocks = demo.page(recognizer, picture)
    parts = {
        type(part).__name__ + str(part.label or ""): part for part in blocks.blocks.values() if hasattr(part, "label")
    }
    words = " ".join(str(part.value) for part in blocks.blocks.values() if type(part).__name__ == "Markdown")
    assert "What this cannot tell" in words and "2024/1689" in words and "face 2: " in words
    assert list(parts["ImageYour picture"].sources) == ["upload", "webcam"]
    names = [name for name, _ in parts["DropdownFaces, from the left"].choices]
    assert [name[:7] for name in names] == ["face 1:", "face 2:"]
    assert parts["ImageWhat was found"].value and parts["ImageHeat map (occlusion)"].value
    answer = handlers(blocks)["on_picture"](picture)
    assert answer[1] == "; ".join(names) and [face["name"] for face in answer[2]] == names
    figure, heat, said = handlers(blocks)["on_face"](1, answer[2])
    assert figure.axes[0].get_title() == names[1] and heat.shape == (336, 336, 3) and said == demo.HEAT
    blank = handlers(blocks)["on_picture"](np.zeros((100, 100, 3), np.uint8))
    assert blank[1:3] == [demo.NO_FACE, []] and blank[4:] == [None, None, ""]
    assert blocks.analytics_enabled is False
    pictures = [part for name, part in parts.items() if name.startswith("Image")]
    assert [part.buttons for part in pictures] == [["fullscreen"]] * 3, "none to share with a website"


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def launched(folder: Path, port: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        blocks = demo.launch(folder, port=port, open_browser=False, wait=False)
        yield blocks
        blocks.close(verbose=False)


def test_it_serves_this_computer_alone_and_asks_the_browser_for_nothing_else(launched: Any, folder: Path, port: int):
    assert launched.local_url == f"http://127.0.0.1:{port}/" and launched.share_url is None
    assert launched.server.config.host == "127.0.0.1"
    with urllib.request.urlopen(launched.local_url, timeout=30) as answer:
        html = answer.read().decode()
    assert answer.status == 200 and 'content="Facial expressions"' in html
    head = html[: html.index("<body")].replace(launched.local_url, "/")
    assert 'href="http' not in head and 'src="http' not in head
    with pytest.raises(ValueError, match=rf"port {port} cannot be had .*; give another, such as port={port + 1}"):
        demo.launch(folder, port=port, open_browser=False, wait=False)


def test_without_gradio_the_pip_line_is_told(recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match='pip install "gradio>=6.17.3"'):
        demo.page(recognizer)
