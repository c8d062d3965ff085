"""Write a dataset as ordinary files: class folders of PNG, or the challenge's CSV."""

import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

from ferlib.data.dataset import FaceDataset
from ferlib.emotions import EMOTIONS
from ferlib.utils import user_path, write_whole

FOLDERS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}


def export_faces(dataset: FaceDataset, out: str | Path, layout: str = "folders") -> Path:
    """Write a dataset's faces and labels as class folders or as one CSV, all or nothing.

    Args:
        dataset: what `data.load` gives; transforms and soft labels are left out.
        out: a new or empty folder; for `"csv"` a new file.
        layout: `"folders"`: `train/happy/00012.png`, `valid/...`, 8-bit gray PNG numbered in the dataset's order.
            `"csv"`: FER2013's own layout, `emotion,pixels,Usage`, for 48 px and the seven emotions.

    Returns:
        The path that was written.

    Raises:
        ValueError: another layout, classes or sizes that it cannot hold, or `out` is in use.

    >>> import tempfile, numpy as np
    >>> faces = FaceDataset.from_arrays(np.zeros((2, 48, 48), np.uint8), [3, 0])
    >>> folder = export_faces(faces, Path(tempfile.mkdtemp()) / "faces")
    >>> sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    ['train/angry/00001.png', 'train/happy/00000.png']
    """
    out = user_path(out)
    if layout not in ("folders", "csv"):
        raise ValueError(f"layout is {layout!r}; allowed are folders and csv (`--as`)")
    if layout == "csv" and out.suffix != ".csv":
        raise ValueError(f"{out} was given; a CSV's name ends in .csv: {out}.csv")
    if out.is_file() or (out.is_dir() and (layout == "csv" or any(out.iterdir()))):
        raise ValueError(f"{out} is there already; give a name that is not in use")
    if not len(dataset):
        raise ValueError(f"{dataset.name} has no open face to write; give a dataset with Training or PublicTest")
    out.parent.mkdir(parents=True, exist_ok=True)
    return _write_csv(dataset, out) if layout == "csv" else _write_folders(dataset, out)


def _write_csv(dataset: FaceDataset, out: Path) -> Path:
    if dataset.classes != EMOTIONS or dataset.images.shape[1:] != (48, 48):
        raise ValueError(f"a CSV takes 48x48 px and FER2013's emotions, {dataset.name} has others: take --as folders")
    pixels = [" ".join(map(str, image.ravel().tolist())) for image in dataset.images]
    rows = pd.DataFrame({"emotion": dataset.labels, "pixels": pixels, "Usage": dataset.table["split"]})
    return write_whole(out, lambda temporary: temporary.write_text(rows.to_csv(index=False)))


def _write_folders(dataset: FaceDataset, out: Path) -> Path:
    odd = [name for name in dataset.classes if {"/", "\\", ":"} & set(name)]
    if odd:
        raise ValueError(f"the class {odd[0]!r} cannot be a folder's name; give it another: load(..., classes=...)")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        for number, (split, label) in enumerate(zip(dataset.table["split"], dataset.labels, strict=True)):
            path = Path(scratch, "faces", FOLDERS[split], dataset.classes[label], f"{number:05d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(dataset.images[number]).save(path)
        if out.is_dir():
            out.rmdir()
        return Path(scratch, "faces").rename(out)
