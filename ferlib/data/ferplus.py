"""FER+'s votes, of ten people on each face of FER2013, joined to a dataset as hard or soft labels.

The schemes follow E. Barsoum et al., *Training deep networks for facial expression recognition with crowd-sourced
label distribution* (2016, arXiv 1608.01041): their MV is "majority", PLD (probabilistic label drawing) "probability",
CEL "cross_entropy". Theirs are eight emotions, contempt too: no published FER+ figure compares with one on our seven.
And Microsoft's code ends a face's shares at 75% of its votes or three classes, which costs it a few hundred faces more.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ferlib.data import FaceDataset
from ferlib.data.votes import VOTES, read_votes, seven_votes
from ferlib.emotions import EMOTIONS, FER2013_COUNTS

SCHEMES = ("majority", "probability", "cross_entropy")
# Of 100 faces of a class in FER2013 (rows), those that FER+ calls each (columns), in the open splits; no less than 1/2.
CALLED = np.array([
    (52, 1, 1, 3, 8, 4, 30), (25, 39, 2, 3, 22, 1, 8), (10, 0.5, 15, 3, 24, 15, 33), (0.5, 0.5, 0.5, 93, 0.5, 2, 5),
    (3, 0.5, 1, 1, 46, 1, 48), (1, 0.5, 3, 7, 1, 80, 7), (0.5, 0.5, 0.5, 7, 6, 1, 86),
])  # fmt: skip


def join(dataset: FaceDataset, votes: str | Path | None = None, *, how: str = "majority") -> FaceDataset:
    """The dataset under FER+'s labels, without the faces that these leave out; `notes` count them.

    `votes` is FER+'s table (`fer2013new.csv`), whose row i is row i of the challenge's CSV, whatever its image names
    say; None takes the votes that came with FER+'s folders. A class with a single vote loses it. Left out are faces
    without an image name, and those for which contempt, unknown or "not a face" then has more votes than each of the
    seven emotions, or none of these has any. Of the rest, "majority" keeps the faces with one class for more than half
    of all votes left, as hard labels; "cross_entropy" makes the votes for the seven, as shares, the `targets`;
    "probability" draws a label from these shares each time that a face is taken. `labels` are the largest share's, of
    equals the first in the order of `EMOTIONS`. Raises `ValueError` where scheme, table or order of rows do not fit; a
    note says where too few faces were there to check the order.
    """
    if how not in SCHEMES:
        raise ValueError(f"how is {how!r}; allowed are {', '.join(SCHEMES)}")
    if dataset.classes != EMOTIONS:
        raise ValueError(f"FER+'s votes are for the seven emotions; {dataset.name} has {', '.join(dataset.classes)}")
    counts, named, unsure = _own_votes(dataset) if votes is None else _votes_by_row(dataset, Path(votes))
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
    return replace(relabelled.subset(kept), notes=(*dataset.notes, *unsure, note), draw=how == "probability",
                   targets=None if how == "majority" else shares)  # fmt: skip


def _own_votes(dataset: FaceDataset) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Votes (n, 10) from the table of a dataset that was read from FER+'s folders, where every face has a name."""
    if not set(VOTES) <= set(dataset.table):
        raise ValueError(f"{dataset.name} came without votes; give the path of FER+'s table, fer2013new.csv")
    return dataset.table[list(VOTES)].to_numpy(), np.ones(len(dataset), bool), []


def _votes_by_row(dataset: FaceDataset, path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Votes (n, 10) of the rows that the dataset has, whether each has an image name (n,) bool, and maybe a note.

    How much likelier each face's pair of labels, FER2013's and FER+'s, is on one row than on two is summed up in the
    order of rows: where the rows agree the sum rises by about 0.7 a face, where they do not it falls by as much.
    """
    table, rows = read_votes(path), dataset.table["row"]
    if "path" in dataset.table:  # a copy in folders: some name their images by the CSV's rows
        numbers = dataset.table["path"].str.extract(r"(?:Training|Test)_(\d+)\.\w+$")[0]
        rows = numbers.fillna(str(len(table))).astype(int)
    fits = (rows < len(table)).all() and (table["split"].to_numpy()[rows] == dataset.table["split"]).all()
    sums = np.zeros(1)
    if fits:
        counts = table[list(VOTES)].to_numpy()[rows]
        seven, told = seven_votes(counts)
        ratios = np.log(CALLED / np.average(CALLED, axis=0, weights=FER2013_COUNTS["Training"]))
        gains = np.where(told, ratios[dataset.labels, seven.argmax(1)], 0)[np.argsort(rows.to_numpy())]
        sums = np.append(0, np.cumsum(gains))
        fits = (sums - np.maximum.accumulate(sums)).min() > -20  # -8 is the lowest in the whole of FER2013
    if not fits:
        raise ValueError(f"the faces of {dataset.name} are not in the order of {path.name}: splits or labels disagree; "
                         "load the challenge's own CSV, fer2013.csv, and FER+'s fer2013new.csv")  # fmt: skip
    unsure = f"too few faces to check that they are in the order of {path.name}: their splits fit it, no more is known"
    return counts, (table["image"].to_numpy()[rows] != ""), [unsure] * bool(sums[-1] < 10)
