"""The demo page: what its handlers answer, what it says, and that it serves this computer alone."""

import gc
import sys
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ferlib import sample
from ferlib.apps import demo
from ferlib.apps.recognizer import CROP, EmotionRecognizer, annotate
from ferlib.emotions import EMOTIONS
from ferlib.explain import occlusion, overlay
from ferlib.models import build_model, save_model
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


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_heat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heat maps of nothing, for tests of the rest: the true ones take a second."""
    monkeypatch.setattr(demo.explain, "occlusion", lambda model, batch, targets: np.zeros(batch[:, 0].shape))


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


def test_each_face_is_named_and_explained_from_the_left(recognizer: EmotionRecognizer, picture: np.ndarray):
    rows = recognizer.predict(picture).sort_values("x0")
    marked, text, table, heats = demo.answer(recognizer, picture)
    assert len(rows) == len(table) == len(heats) == 2
    names = [f"face {k}: {row.emotion} ({row.confidence:.0%})" for k, row in enumerate(rows.itertuples(), 1)]
    assert text == "; ".join(names) and [name for _, name in heats] == names
    assert list(table) == ["face", *EMOTIONS] and table["face"].tolist() == [1, 2]
    np.testing.assert_allclose(table[[*EMOTIONS]], 100 * rows[[*EMOTIONS]], atol=0.0501)
    np.testing.assert_array_equal(marked, annotate(picture, rows))
    for (heat, _), row in zip(heats, rows.to_dict("records"), strict=True):
        crop = recognizer.crop(picture, np.array([row[edge] for edge in CROP]))[None]
        batch = EvalTransform(recognizer.model.input_spec)(torch.tensor(crop)[:, None])
        want = overlay(crop, occlusion(recognizer.model, batch, EMOTIONS.index(row["emotion"])))[0]
        np.testing.assert_allclose(heat.astype(int), want.repeat(7, 0).repeat(7, 1), atol=1)  # 48 -> 336 px


@pytest.mark.usefixtures("no_heat")
def test_an_answer_below_the_threshold_is_called_unsure(recognizer: EmotionRecognizer, picture: np.ndarray):
    shy = EmotionRecognizer(recognizer.model, detector=recognizer.detector, threshold=1)
    assert demo.answer(shy, picture)[1] == demo.answer(recognizer, picture)[1].replace(": ", ": unsure, perhaps ")


@pytest.mark.parametrize("shape", [(120, 160, 3), (1, 1, 3)])
def test_no_face_is_a_sentence_and_no_error(recognizer: EmotionRecognizer, shape: tuple[int, ...]):
    marked, text, table, heats = demo.answer(recognizer, np.full(shape, 90, np.uint8))
    assert (text, table, heats) == (demo.NO_FACE, None, [])
    assert (marked == 90).all()


def test_no_picture_is_asked_for(recognizer: EmotionRecognizer):
    assert demo.answer(recognizer, None) == (None, demo.NO_PICTURE, None, [])


@pytest.mark.usefixtures("no_heat")
def test_a_crowd_is_marked_whole_and_explained_in_part(recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "MAX_EXPLAINED", 2)
    boxes = np.array([[x, 10, x + 40, 50, 1] for x in (120, 60, 0)], float)
    detector = SimpleNamespace(margin=0.0, detect=lambda image, smallest: boxes)
    crowd = np.full((400, 400, 3), 90, np.uint8)
    many = EmotionRecognizer(recognizer.model, detector=detector, threshold=0)
    marked, _, table, heats = demo.answer(many, crowd)
    assert len(table) == len(heats) == 2
    np.testing.assert_array_equal(marked, annotate(crowd, many.predict(crowd)))


def test_a_model_of_other_classes_and_size_has_its_own_columns(picture: np.ndarray):
    torch.manual_seed(0)
    names = ("open eyes", "shut eyes", "happy")
    coarse = build_model("resnet18", channels=(4, 4, 4, 4), size=10, small_stem=False, classes=names)
    other = EmotionRecognizer(coarse, threshold=0)  # too coarse for Grad-CAM
    _, text, table, heats = demo.answer(other, picture)
    assert list(table) == ["face", *names] and all(str(name) in text for name in other.predict(picture)["emotion"])
    assert [heat.shape for heat, _ in heats] == [(330, 330, 3)] * 2


@pytest.mark.usefixtures("no_heat")
def test_the_page_says_what_it_cannot_tell_and_answers(recognizer: EmotionRecognizer, picture: np.ndarray):
    interface = demo.page(recognizer)
    words = " ".join(str(part.value) for part in interface.blocks.values() if type(part).__name__ == "Markdown")
    assert "What this cannot tell" in words and "2024/1689" in words
    (upload,) = interface.input_components
    faces, answers, table, heats = interface.output_components
    assert list(upload.sources) == ["upload", "webcam"] and answers.value == demo.NO_PICTURE
    assert [one.buttons for one in (upload, faces, heats)] == [["fullscreen"]] * 3, "none to share with a website"
    assert interface.analytics_enabled is False and interface.flagging_mode == "never"
    marked, text, *_ = interface.fn(picture)
    assert "face 2: " in text and marked.shape[2] == 3
    assert table.postprocess(interface.fn(picture)[2]).data, "a table that the browser is sent"


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def launched(folder: Path, port: int) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("http_proxy", "ALL_PROXY"):  # nothing answers there
                patch.setenv(name, "http://127.0.0.1:9")
            blocks = demo.launch(folder, port=port, open_browser=False)
        yield blocks
        blocks.close(verbose=False)


def test_it_serves_this_computer_alone_and_asks_the_browser_for_nothing_else(launched: Any, folder: Path, port: int):
    assert launched.local_url == f"http://127.0.0.1:{port}/" and launched.share_url is None
    assert launched.server.config.host == "127.0.0.1"
    with urllib.request.urlopen(launched.local_url, timeout=30) as answer:
        html = answer.read().decode()
    assert answer.status == 200 and 'content="Facial expressions' in html
    head = html[: html.index("<body")].replace(launched.local_url, "/")
    assert 'href="http' not in head and 'src="http' not in head
    with pytest.raises(ValueError, match=rf"port {port} cannot be used .*; give another, such as port={port + 1}"):
        demo.launch(folder, port=port, open_browser=False)


def test_without_gradio_the_pip_line_is_told(recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match='pip install "gradio>=6.17.3"'):
        demo.page(recognizer)
