"""Serve a page on this computer: a picture in; faces, probabilities, heat maps and their limits out (by gradio)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferlib import explain
from ferlib.apps.recognizer import CROP, EmotionRecognizer, annotate
from ferlib.utils import import_extra, require

OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False"}
TITLE = "Facial expressions, and how far to trust their names"
NO_PICTURE = "Upload a picture, or take one with the camera."
NO_FACE = "No face was found. A larger, upright face, seen from the front in even light, is found more easily."
HEAT = "Heat maps: how far the answer's probability falls where a gray square hides the face (yellow: most)"
MAX_EXPLAINED = 12  # faces
Answer = tuple[np.ndarray | None, str, pd.DataFrame | None, list[tuple[np.ndarray, str]]]


def answer(recognizer: EmotionRecognizer, picture: np.ndarray | None) -> Answer:
    """Find, name and explain the faces of a picture.

    Args:
        recognizer: finds and names the faces.
        picture: uint8 RGB (h, w, 3), or None.

    Returns:
        The picture with the boxes of all faces. For the 12 best faces, from the left: the answers; a table of
        probabilities in percent, one row per face; heat maps (occlusion), uint8 RGB, with their answers.
    """
    if picture is None:
        return None, NO_PICTURE, None, []
    faces = recognizer.predict(picture, no_face="drop")
    if faces.empty:
        return picture, NO_FACE, None, []
    rows = faces.head(MAX_EXPLAINED).sort_values("x0")
    names = []
    for number, row in enumerate(rows.to_dict("records"), 1):
        doubt = "unsure, perhaps " if row["abstained"] else ""
        names.append(f"face {number}: {doubt}{row['emotion']} ({row['confidence']:.0%})")
    chances = rows[[*recognizer.model.classes]]
    table = (100 * chances).round(1).set_axis(range(1, len(rows) + 1)).rename_axis("face").reset_index()
    crops = np.stack([recognizer.crop(picture, box) for box in rows[CROP].to_numpy()])
    falls = explain.occlusion(recognizer.model, recognizer.batch(crops), chances.to_numpy().argmax(1))
    times = max(1, 336 // crops.shape[1])
    heats = explain.overlay(crops, falls).repeat(times, axis=1).repeat(times, axis=2)
    return annotate(picture, faces), "; ".join(names), table, list(zip(heats, names, strict=True))


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Use no proxy: gradio would ask it for its own page, which only this computer has."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before


def page(recognizer: EmotionRecognizer) -> Any:
    """Build the page.

    Args:
        recognizer: finds and names the faces.

    Returns:
        A `gradio.Interface`, not launched yet.

    Raises:
        ValueError: gradio is missing.
    """
    os.environ |= OFFLINE  # gradio reads them when it is imported and launched
    with _without_proxies():
        gr = import_extra("gradio", '"gradio>=6.17.3"')
    image = {"height": 400, "format": "png", "buttons": ["fullscreen"]}
    upload = gr.Image(sources=["upload", "webcam"], label="Your picture", **image)
    faces = gr.Image(label="Faces", **image)
    answers = gr.Textbox(NO_PICTURE, label="Answers, from the left")
    table = gr.Dataframe(label="Probabilities in %")
    heats = gr.Gallery(label=HEAT, columns=4, format="png", buttons=["fullscreen"])
    return gr.Interface(
        lambda picture: answer(recognizer, picture), upload, [faces, answers, table, heats], title=TITLE, live=True,
        article=(Path(__file__).parent / "limits.md").read_text(encoding="utf-8"), flagging_mode="never",
        analytics_enabled=False, concurrency_limit=1, delete_cache=(600, 600),  # seconds
    )  # fmt: skip


def launch(
    model: str | Path = "fer2013", *, port: int = 7860, open_browser: bool = True, detector: str | Path = "yunet"
) -> Any:
    """Serve the page at http://127.0.0.1:`port`, for this computer only.

    Args:
        model: a shipped name, a model's file or a run's folder.
        port: 1 to 65535.
        open_browser: open the page in the browser.
        detector: as for `find_detector`.

    Returns:
        The page, a `gradio.Interface`, at once: `.close()` ends it, and `.block_thread()` serves until Ctrl-C.

    Raises:
        ValueError: gradio is missing, or the port is wrong or taken.
    """
    require(1 <= port <= 65535, f"port is {port}; allowed are 1 to 65535")
    interface = page(EmotionRecognizer.load(model, detector=detector))
    try:
        with _without_proxies():
            interface.launch(server_name="127.0.0.1", server_port=port, share=False, inbrowser=open_browser, quiet=True,
                             prevent_thread_lock=True, max_file_size="30mb")  # fmt: skip
    except OSError as error:
        raise ValueError(f"port {port} cannot be used ({error}); give another, such as port={port + 1}") from error
    return interface
