"""FER+'s votes, of ten people on each face of FER2013, as hard or soft labels.

The schemes follow E. Barsoum et al., *Training deep networks for facial expression recognition with crowd-sourced
label distribution* (2016, arXiv 1608.01041): their MV is "majority", PLD (probabilistic label drawing) "probability",
CEL "cross_entropy". Theirs are eight emotions, contempt too: no published FER+ figure compares with one on our seven.
And Microsoft's code ends a face's shares at 75% of its votes or three classes, which costs it a few hundred faces more.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.emotions import EMOTIONS, FER2013_COUNTS, canonical
from ferlib.utils import require

SCHEMES = ("majority", "probability", "cross_entropy")
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf")
# Of 100 faces of a class in FER2013 (rows), how many FER+ calls each class (columns), in the open splits; at least 0.5.
CALLED = np.array([
    (52, 1, 1, 3, 8, 4, 30), (25, 39, 2, 3, 22, 1, 8), (10, 0.5, 15, 3, 24, 15, 33), (0.5, 0.5, 0.5, 93, 0.5, 2, 5),
    (3, 0.5, 1, 1, 46, 1, 48), (1, 0.5, 3, 7, 1, 80, 7), (0.5, 0.5, 0.5, 7, 6, 1, 86),
])  # fmt: skip


def join(dataset: FaceDataset, votes: str | Path, *, how: str = "majority") -> FaceDataset:
    """Relabel a dataset by FER+'s votes, and leave out the faces that they reject.

    A class with a single vote loses it. Left out are faces without an image name, and faces for which contempt,
    unknown or "not a face" then has more votes than each of the seven emotions. The hard label is the class with most
    votes; of equals, the first in the order of `EMOTIONS`.

    Args:
        dataset: faces of FER2013, with the seven emotions.
        votes: path of FER+'s table, `fer2013new.csv`; its row i is row i of the challenge's CSV.
        how: `"majority"` keeps faces with one class for more than half of the votes left. `"cross_entropy"` makes the
            shares of the votes `targets`. `"probability"` draws a label from the shares each time a face is taken.

    Returns:
        The faces that are left; `notes` count those left out.

    Raises:
        ValueError: scheme, table or order of the rows do not fit.
        FileNotFoundError: there is no such table.
    """
    require(how in SCHEMES, f"how is {how!r}; allowed are {', '.join(SCHEMES)}")
    if dataset.classes != EMOTIONS:
        raise ValueError(f"FER+'s votes are for the seven emotions; {dataset.name} has {', '.join(dataset.classes)}")
    counts, named = votes_by_row(dataset, votes)
    counts = np.where(counts > 1, counts, 0)
    seven, valid = seven_votes(counts)
    keep = named & valid
    if how == "majority":
        keep &= 2 * seven.max(1) > counts.sum(1)
    note = f"FER+ {how}: {keep.sum():,} of {len(dataset):,} faces kept"
    shares = (seven[keep] / seven[keep].sum(1, keepdims=True)).astype(np.float32)
    relabelled = replace(dataset, table=dataset.table.assign(label=seven.argmax(1))).subset(keep)
    targets = None if how == "majority" else shares
    notes, name = (*dataset.notes, note), f"{dataset.name}, FER+ {how}"
    return replace(relabelled, name=name, notes=notes, targets=targets, draw=how == "probability")


def read_votes(path: Path) -> pd.DataFrame:
    """Read FER+'s table.

    Returns:
        The columns of `VOTES`, `image` ("" for no face) and `split`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table of votes.
    """
    try:
        rows = pd.read_csv(path, header=None, skiprows=1, dtype=str, keep_default_na=False)
        votes = rows.iloc[:, -len(VOTES) :].set_axis(list(VOTES), axis=1).astype(np.int64)
        return votes.assign(split=rows[0], image=rows[1])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path.name} is no table of FER+ votes ({error!s:.200}); fetch it again") from error


def seven_votes(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the votes (n, 7) for EMOTIONS among the ten VOTES (n, 10), and whether an emotion has the most, (n,)."""
    seven = votes[:, np.argsort([EMOTIONS.index(canonical(name)) for name in VOTES[:7]])]
    return seven, (seven.max(1) > 0) & (seven.max(1) >= votes[:, 7:].max(1))


def votes_by_row(dataset: FaceDataset, path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Look up the votes on a dataset's faces.

    Args:
        dataset: faces of FER2013, with the seven emotions.
        path: FER+'s table, `fer2013new.csv`.

    Returns:
        The votes (n, 10) in the order of `VOTES`, and whether each face has an image name in the table, (n,).

    Raises:
        ValueError: the faces are not in the table's order.
    """
    # `sums` adds up, row by row, how much likelier the pair of labels, FER2013's and FER+'s, is for one face than for
    # two. It rises by about 0.7 a face where the rows agree, and falls where not.
    path = Path(path)
    table, rows = read_votes(path), dataset.table["row"]
    if "path" in dataset.table:  # a copy in folders: some name their images by the CSV's rows
        numbers = dataset.table["path"].str.extract(r"(?:Training|Test)_(\d+)\.\w+$")[0]
        rows = numbers.fillna(str(len(table))).astype(int)
    wrong = f"the faces of {dataset.name} are not in the order of {path.name}; load the challenge's own fer2013.csv"
    if (rows >= len(table)).any() or (table["split"].to_numpy()[rows] != dataset.table["split"]).any():
        raise ValueError(wrong)
    counts = table[list(VOTES)].to_numpy()[rows]
    seven, valid = seven_votes(counts)
    ratios = np.log(CALLED / np.average(CALLED, axis=0, weights=FER2013_COUNTS["Training"]))
    gains = np.where(valid, ratios[dataset.labels, seven.argmax(1)], 0)[np.argsort(rows.to_numpy())]
    sums = np.append(0, np.cumsum(gains))
    # -8 is the lowest in the whole of FER2013
    require((sums - np.maximum.accumulate(sums)).min() > -20, wrong)
    return counts, (table["image"].to_numpy()[rows] != "")
