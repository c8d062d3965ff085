"""FER+'s votes, of ten people on each face of FER2013, joined to a dataset as hard or soft labels.

The schemes are those of E. Barsoum et al., *Training deep networks for facial expression recognition with crowd-sourced
label distribution* (2016, arXiv 1608.01041), with one simpler rule for what is none of the seven emotions: see `join`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ferlib.data import FaceDataset
from ferlib.emotions import EMOTIONS
from ferlib.layouts import VOTES, read_votes, seven_votes

SCHEMES = ("majority", "probability", "cross_entropy")


def join(dataset: FaceDataset, votes: str | Path | None = None, *, how: str = "majority") -> FaceDataset:
    """The dataset under FER+'s labels, without the faces that these leave out; `notes` count them.

    `votes` is FER+'s table (`fer2013new.csv`), whose row i is row i of the challenge's CSV, whatever its image names
    say; None takes the votes that came with FER+'s folders. A class with a single vote loses it. Left out are faces
    without an image name, and those for which contempt, unknown or "not a face" then has more votes than each of the
    seven emotions, or none of these has any. Of the rest, "majority" keeps the faces with one class for more than half
    of all votes left, as hard labels; "cross_entropy" makes the votes for the seven, as shares, the `targets`;
    "probability" draws a label from these shares each time that a face is taken. `labels` are the largest share's, of
    equals the first in the order of `EMOTIONS`. Raises `ValueError` where scheme, table or order of rows do not fit.
    """
    if how not in SCHEMES:
        raise ValueError(f"how is {how!r}; allowed are {', '.join(SCHEMES)}")
    counts, named = _own_votes(dataset) if votes is None else _votes_by_row(dataset, Path(votes))
    counts = np.where(counts > 1, counts, 0)
    seven, one_of_seven = seven_votes(counts)
    kept = named & one_of_seven
    left_out = {"without an image name": ~named, "of none of the seven emotions": named & ~kept}
    if how == "majority":
        kept &= 2 * seven.max(1) > counts.sum(1)
        left_out["without a majority"] = named & one_of_seven & ~kept
    told = ", ".join(f"{mask.sum():,} {what}" for what, mask in left_out.items())
    note = f"FER+ {how}: {kept.sum():,} of {len(dataset):,} faces kept; left out {told}"
    shares = (seven[kept] / seven[kept].sum(1, keepdims=True)).astype(np.float32)
    relabelled = replace(dataset, table=dataset.table.assign(label=seven.argmax(1)), name=f"{dataset.name}, FER+ {how}")
    return replace(relabelled.subset(kept), notes=(*dataset.notes, note), draw=how == "probability",
                   targets=None if how == "majority" else shares)  # fmt: skip


def _own_votes(dataset: FaceDataset) -> tuple[np.ndarray, np.ndarray]:
    """Votes (n, 10) from the table of a dataset that was read from FER+'s folders, where every face has a name."""
    if not set(VOTES) <= set(dataset.table):
        raise ValueError(f"{dataset.name} came without votes; give the path of FER+'s table, fer2013new.csv")
    return dataset.table[list(VOTES)].to_numpy(), np.ones(len(dataset), bool)


def _votes_by_row(dataset: FaceDataset, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Votes (n, 10) of the rows that the dataset has, and whether each has an image name (n,) bool."""
    table, rows = read_votes(path), dataset.table["row"]
    if "path" in dataset.table:  # a copy in folders: some name their images by the CSV's rows
        numbers = dataset.table["path"].str.extract(r"(?:Training|Test)_(\d+)\.\w+$")[0]
        rows = numbers.fillna(str(len(table))).astype(int)
    fits = (rows < len(table)).all() and (table["split"].to_numpy()[rows] == dataset.table["split"]).all()
    counts = table[list(VOTES)].to_numpy()[rows] if fits else np.zeros((0, len(VOTES)), int)
    if fits:  # of the faces labelled happy FER+ calls 92% so, and 27% when rows are shifted by one
        happy = np.flatnonzero(dataset.labels == EMOTIONS.index("happy"))
        happy = happy[np.argsort(rows.to_numpy()[happy])]
        agree = seven_votes(counts[happy])[0].argmax(1) == EMOTIONS.index("happy")
        fits = all(len(part) < 30 or part.mean() > 0.6 for part in np.array_split(agree, len(agree) // 100 + 1))
    if not fits:
        raise ValueError(f"the faces of {dataset.name} are not in the order of {path.name}: splits or labels disagree; "
                         "load the challenge's own CSV, fer2013.csv, and FER+'s fer2013new.csv")  # fmt: skip
    return counts, (table["image"].to_numpy()[rows] != "")
