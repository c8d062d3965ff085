"""Draw the pictures of the README and of data/README.md. Run: python tools/face_sheet.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from ferlib import plots, sample
from ferlib.apps.recognizer import EmotionRecognizer, annotate
from ferlib.emotions import EMOTIONS
from ferlib.sample import scenes

FIGURES = Path(__file__).resolve().parent.parent / "notebooks/figures"
SCENE = 77  # of seed 27: six people, six emotions, nothing in front of a face; the model names all six right


def draw_sheet(path: Path) -> None:
    """Draw seven people for each of four rows, a column for each emotion."""
    images, table = sample.draw(70, size=96, seed=16, balance="equal")
    rows = [np.flatnonzero(table["true_label"] == index)[:4] for index in range(7)]
    order = [row[k] for k in range(4) for row in rows]
    figure = plots.face_grid(images[order], [*EMOTIONS, *[""] * 21], columns=7, size=1.15)
    figure.savefig(path, dpi=90)
    Image.open(path).convert("L").save(path, optimize=True)  # half the size


def draw_scene(path: Path) -> None:
    """Draw a scene whose faces the shipped model `drawn` has found and named."""
    image = scenes.draw(SCENE + 1, width=960, height=440, faces=(5, 6), size=(110, 200), seed=27)[0][SCENE]
    rows = EmotionRecognizer.load("drawn").predict(image)
    Image.fromarray(annotate(image, rows)).save(path, quality=88)


def main() -> None:
    """Write both pictures to `FIGURES`."""
    for draw, name in ((draw_sheet, "drawn_faces.png"), (draw_scene, "named_faces.jpg")):
        draw(FIGURES / name)
        print(f"wrote {FIGURES / name}")


if __name__ == "__main__":
    main()
