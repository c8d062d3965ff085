"""A page on this computer alone, by gradio: a picture in; faces, probabilities, heat maps and their limits out."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ferlib import explain, plots
from ferlib.apps.detection import crop_face
from ferlib.apps.recognizer import BOX, EmotionRecognizer, annotate
from ferlib.transforms import EvalTransform

OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False"}
NO_FACE = "No face was found. A larger, upright one, seen from the front in even light, is found more easily."
HEAT = "How far this answer's probability falls where a small gray square hides the face: yellow most, violet least."
LIMITS = """### What this cannot tell
- **What somebody feels.** It names a look. The same look means different things in different people and places, and
  feelings often do not show (L. F. Barrett et al., *Emotional expressions reconsidered*, 2019).
- **Anything beyond its few words.** Whatever it is shown, it chooses among them; "unsure" is its only way out.
- **How sure you may be.** It learned from small gray pictures, on whose labels people often disagree. How often it is
  right with your camera, your light, or people of one age or origin has not been measured.
- **Why.** A heat map is not a reason, and looks as neat for a wrong answer as for a right one.

Do not judge people by it. In the European Union, inferring emotions at work or in education has been prohibited since
February 2025 (Regulation 2024/1689, article 5). Your pictures do not leave this computer.
"""


def find(recognizer: EmotionRecognizer, picture: np.ndarray | None) -> tuple[np.ndarray | None, list[dict], str]:
    """The RGB picture, marked; `name`, `chances` (k,) and `crop` (h, w) of each face from the left; what to say."""
    if picture is None:
        return None, [], "Upload a picture, or take one with the camera."
    rows, detector, faces = recognizer.predict(picture), recognizer.detector, []
    margin = detector.margin if recognizer.margin is None else recognizer.margin
    for number, row in enumerate(rows.dropna(subset=[*BOX]).sort_values("x0").to_dict("records"), 1):
        box, size = np.array([row[edge] for edge in BOX]), recognizer.model.input_spec.size
        seen = f"unsure, perhaps {row['emotion']}" if row["abstained"] else row["emotion"]
        name, chances = (
            f"face {number}: {seen} ({row['confidence']:.0%})",
            [row[emotion] for emotion in recognizer.model.classes],
        )
        faces.append({"name": name, "chances": chances, "crop": crop_face(picture, box, margin=margin, size=size)})
    said = "; ".join([str(face["name"]) for face in faces] or [*filter(None, rows["error"].tolist()), NO_FACE][:1])
    return annotate(picture, rows), faces, said


def explain_face(recognizer: EmotionRecognizer, face: dict) -> tuple[Figure, np.ndarray, str]:
    """A face's probabilities as bars; the likeliest emotion's occlusion map over it, RGB; and what to say of that."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    bars = plots.plot_probabilities(face["chances"], classes=recognizer.model.classes, ax=figure.subplots())
    bars.set_title(face["name"])
    batch = EvalTransform(recognizer.model.input_spec)(torch.tensor(face["crop"])[None, None])
    falls = explain.occlusion(recognizer.model, batch, int(np.argmax(face["chances"])))
    heat, times = explain.overlay(face["crop"][None], falls)[0], max(1, 336 // len(face["crop"]))
    return figure, heat.repeat(times, 0).repeat(times, 1), HEAT


def page(recognizer: EmotionRecognizer, first: np.ndarray | None = None) -> Any:
    """The page as `gradio.Blocks`, not yet launched; `first` is an RGB picture to begin with."""
    gr = _gradio()

    def on_picture(picture: np.ndarray | None) -> list[Any]:
        marked, faces, said = find(recognizer, picture)
        menu = gr.Dropdown([(face["name"], i) for i, face in enumerate(faces)], value=0 if faces else None)
        return [marked, said, faces, menu, *on_face(0, faces)]

    def on_face(place: int | None, faces: list[dict]) -> list[Any]:
        return [*explain_face(recognizer, faces[place or 0])] if faces else [None, None, ""]

    shown, looks = on_picture(first), {"height": 400, "format": "png", "buttons": ["fullscreen"]}
    with gr.Blocks(title="Facial expressions", analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.Markdown("# Facial expressions, and how far to trust their names")
        with gr.Row():
            given = gr.Image(first, sources=["upload", "webcam"], label="Your picture", **looks)
            marked = gr.Image(shown[0], label="What was found", interactive=False, **looks)
        said, faces = gr.Markdown(shown[1]), gr.State(shown[2])
        chosen = gr.Dropdown(shown[3].choices, value=shown[3].value, label="Faces, from the left", interactive=True)
        with gr.Row():
            bars = gr.Plot(shown[4], label="Probabilities")
            with gr.Column():
                heat = gr.Image(shown[5], label="Heat map (occlusion)", interactive=False, **looks)
                note = gr.Markdown(shown[6])
        gr.Markdown(LIMITS)
        closer, in_turn = [bars, heat, note], {"concurrency_id": "model", "concurrency_limit": 1}
        given.change(on_picture, given, [marked, said, faces, chosen, *closer], **in_turn)
        chosen.input(on_face, [chosen, faces], closer, **in_turn)
    return blocks


def launch(model: str | Path = "fer2013", *, port: int = 7860, open_browser: bool = True,
           detector: str | Path = "haar", first: np.ndarray | None = None, wait: bool = True) -> Any:  # fmt: skip
    """Serve the page at http://127.0.0.1:`port`, to this computer alone, until Ctrl-C; returns its `gradio.Blocks`.

    `model` and `detector` are those of `EmotionRecognizer.load`. With `wait=False` it returns at once, and `.close()`
    ends the page. Raises `ValueError` without gradio and for a port that is taken or does not exist.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"port is {port}; allowed are 1 to 65535, and 7860 is usual")
    blocks = page(EmotionRecognizer.load(model, detector=detector), first)
    try:
        blocks.launch(server_name="127.0.0.1", server_port=port, share=False, inbrowser=open_browser, quiet=True,
                      prevent_thread_lock=not wait, max_file_size="30mb")  # fmt: skip
    except OSError as error:
        raise ValueError(f"port {port} cannot be had ({error}); give another, such as port={port + 1}") from error
    return blocks


def _gradio() -> Any:
    os.environ |= OFFLINE  # which gradio reads when it is imported and when it is launched
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise ValueError(f'{error}; to mend it: pip install "gradio>=6.17.3"') from error
