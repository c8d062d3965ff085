"""Write a dataset as ordinary files: class folders of PNG."""

import tempfile
from pathlib import Path

from PIL import Image

from ferlib.data.dataset import FaceDataset
from ferlib.utils import require, user_path

FOLDERS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}


def export_faces(dataset: FaceDataset, out: str | Path) -> Path:
    """Write a dataset's faces as class folders, all or nothing.

    Args:
        dataset: what `data.load` gives; transforms and soft labels are left out.
        out: a new or empty folder, for `train/happy/00012.png`, `valid/...`: 8-bit gray PNG numbered in the dataset's
            order.

    Returns:
        The path that was written.

    Raises:
        ValueError: `out` is in use, there is no face, or a class is no folder's name.

    >>> import tempfile, numpy as np
    >>> faces = FaceDataset.from_arrays(np.zeros((2, 48, 48), np.uint8), [3, 0])
    >>> folder = export_faces(faces, Path(tempfile.mkdtemp()) / "faces")
    >>> sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    ['train/angry/00001.png', 'train/happy/00000.png']
    """
    out = user_path(out)
    is_new = not any(out.iterdir()) if out.is_dir() else not out.exists()
    require(is_new, f"{out} is there already; give a name that is not in use")
    require(len(dataset), f"{dataset.name} has no open face to write; give a dataset with Training or PublicTest")
    odd = [name for name in dataset.classes if {"/", "\\", ":"} & set(name)]
    if odd:
        raise ValueError(f"the class {odd[0]!r} cannot be a folder's name; give it another: load(..., classes=...)")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        for number, (split, label) in enumerate(zip(dataset.table["split"], dataset.labels, strict=True)):
            path = Path(scratch, "faces", FOLDERS[split], dataset.classes[label], f"{number:05d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(dataset.images[number]).save(path)
        if out.is_dir():
            out.rmdir()
        return Path(scratch, "faces").rename(out)
