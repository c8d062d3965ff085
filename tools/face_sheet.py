"""Draw the README's picture: seven people, seven emotions. Run: python tools/face_sheet.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from ferlib import plots, sample
from ferlib.emotions import EMOTIONS

PICTURE = Path(__file__).resolve().parent.parent / "notebooks/figures/drawn_faces.png"


def main() -> None:
    """Write the picture to `PICTURE`."""
    images, table = sample.draw(70, size=96, seed=16, balance="equal")
    rows = [np.flatnonzero(table["true_label"] == index)[:4] for index in range(7)]
    order = [row[k] for k in range(4) for row in rows]
    figure = plots.face_grid(images[order], [*EMOTIONS, *[""] * 21], columns=7, size=1.15)
    figure.savefig(PICTURE, dpi=90)
    Image.open(PICTURE).convert("L").save(PICTURE, optimize=True)  # half the size
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
