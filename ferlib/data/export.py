"""A dataset as ordinary files: class folders of PNG, or the challenge's CSV, for code that does not know ferlib."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ferlib.data import FaceDataset
from ferlib.emotions import EMOTIONS
from ferlib.utils import write_whole

FOLDERS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
LAYOUTS = ("folders", "csv")


def export_faces(dataset: FaceDataset, out: str | Path, layout: str = "folders") -> Path:
    """Write a dataset's faces and labels as class folders or as one CSV; returns the path.

    dataset: what `data.load` gives: its open splits, without transforms or soft labels.
    out: a folder that is not there yet or is empty; for `"csv"` a file that is not there yet.
    layout: `"folders"`: `train/happy/00012.png`, `valid/...`, 8-bit gray PNG numbered in the dataset's order.
        `"csv"`: FER2013's own layout, `emotion,pixels,Usage`, for 48 px and the seven emotions.

    All is written, or nothing. Raises `ValueError` for another layout, classes or sizes that it cannot hold, or an
    `out` that is in use; `OSError` when the disk is full.
    """
    out = Path(os.path.expanduser(out))
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; allowed are {', '.join(LAYOUTS)} (`--as`)")
    if layout == "csv" and out.suffix != ".csv":
        raise ValueError(f"{out} was given; a CSV's name ends in .csv: {out}.csv")
    if out.exists() and not (layout == "folders" and out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} is there already; give a name that is not in use")
    out.parent.mkdir(parents=True, exist_ok=True)
    if layout == "csv":
        size = dataset.images.shape[1:]
        if dataset.classes != EMOTIONS or size != (48, 48):
            raise ValueError(f"the CSV is FER2013's, 48x48 px and {', '.join(EMOTIONS)}; {dataset.name} has "
                             f"{size[0]}x{size[1]} px and {', '.join(dataset.classes)}: take --as folders")  # fmt: skip
        return write_whole(out, lambda scratch: scratch.write_text("\n".join(_rows(dataset)) + "\n"))
    odd = [name for name in dataset.classes if name in (".", "..") or {"/", "\\", ":"} & {*name}]
    if odd:
        raise ValueError(
            f"the class {odd[0]!r} cannot be a folder's name; give it another: data.load(..., classes=...)"
        )
    scratch = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        for split in dict.fromkeys(dataset.table["split"]):
            for name in dataset.classes:
                (scratch / FOLDERS[split] / name).mkdir(parents=True, exist_ok=True)
        places = zip(dataset.table["split"], dataset.labels, dataset.images, strict=True)
        for number, (split, label, image) in enumerate(places):
            path = scratch / FOLDERS[split] / dataset.classes[label] / f"{number:05d}.png"
            Image.fromarray(image).save(path)
        if out.is_dir():
            out.rmdir()
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def _rows(dataset: FaceDataset) -> Iterator[str]:
    yield "emotion,pixels,Usage"
    for label, split, image in zip(dataset.labels, dataset.table["split"], dataset.images, strict=True):
        yield f"{label},{' '.join(map(str, image.ravel().tolist()))},{split}"
