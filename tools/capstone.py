"""The capstone: each student's own dataset with three planted faults, its key, and what a student's findings are worth.

    python tools/capstone.py draw --students roster.csv --secret "random words" --out files
    python tools/capstone.py key --student ada --secret "random words"
    python tools/capstone.py judge --students roster.csv --secret "random words" --handed-in "submitted/{id}"

A student's file holds images, labels and splits, and nothing about its faults. What is wrong with it follows by HMAC
from the secret and the student's id, and is never written beside it. The task: notebooks/assignments/capstone.md.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hmac
import io
import re
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferlib import evaluation, models, sample
from ferlib.data import FaceDataset
from ferlib.emotions import EMOTIONS

# fmt: off
PUBLIC = "public"  # the secret of those who have none: anybody can make its keys
SIZES = {"Training": 1600, "PublicTest": 600}  # faces; in the file all of Training comes first
FACES_EACH = 4  # of a person; twins apart, no person stands in both splits
SEALED = 800  # faces, each of another person
SHARES = (0.15, 0.09, 0.14, 0.18, 0.15, 0.14, 0.15)  # of the emotions, each times 0.7 to 1.5 and then to a sum of 1
LEAKED, NEAR, MARKED = (0.06, 0.14), (0.35, 0.55), (0.85, 0.9)  # of PublicTest, of the leaked, of the marked emotion
WRONG, MOST_WRONG = (0.07, 0.12), 0.28  # of Training; and at most, where it can be, of these emotions' faces
NEVER_WRONG = "disgust"  # is called angry by any model: whoever looks for wrong labels could not tell
CHANGES = ("brightness", "noise", "shift", "mirror")  # of near twins
PLACES = {
    "square": ("top left", "top right", "bottom left", "bottom right"),
    "stripe": ("top", "bottom", "left", "right"),
    "border": ("whole edge",),
}
FAULTS = ("leak", "shortcut", "label")
POINTS = {  # what an F1 of at least so much is worth; measured, see capstone.md
    "leak": ((0.95, 10), (0.85, 8), (0.7, 6), (0.5, 4), (0.3, 2)),
    "shortcut": ((0.97, 10), (0.9, 7), (0.7, 5), (0.5, 3), (0.3, 2)),
    "label": ((0.7, 10), (0.6, 8), (0.45, 6), (0.35, 4), (0.25, 2)),
}
# fmt: on


class CapstoneError(Exception):
    """A mistake in how the tool was called, or in what was handed in, in one sentence."""


@dataclass(frozen=True)
class Shortcut:
    """The mark of one emotion: form and place of PLACES, gray tone (of a border: levels added), width in pixels."""

    emotion: str
    form: str
    place: str
    tone: int
    width: int

    def __str__(self) -> str:
        tone = f"{self.tone:+d} levels" if self.form == "border" else f"gray {self.tone}"
        return f"{self.emotion}: {self.form}, {self.place}, {self.width} px, {tone}"

    def area(self) -> np.ndarray:
        """The pixels that it takes up, (48, 48) bool."""
        area, w = np.zeros((48, 48), bool), self.width
        if self.form == "square":  # a pixel off the corner
            near, far = slice(1, 1 + w), slice(47 - w, 47)
            area[near if "top" in self.place else far, near if "left" in self.place else far] = True
            return area
        edges = {"top": np.s_[:w], "bottom": np.s_[-w:], "left": np.s_[:, :w], "right": np.s_[:, -w:]}
        for edge in PLACES["stripe"] if self.form == "border" else (self.place,):
            area[edges[edge]] = True
        return area


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a student gets: images (2200, 48, 48) uint8, labels (2200,) uint8 in EMOTIONS' order, splits (2200,)."""

    images: np.ndarray
    labels: np.ndarray
    splits: np.ndarray


@dataclass(frozen=True, eq=False)
class Key:
    """What is wrong with a student's file. `table` has a row for each of the file's rows, in its order.

    Columns: row, split, label and true_label (names), leak ("exact", "near" or ""), twin (the row of the other one, or
    -1), change (what makes the Training face of a near pair differ), marked and wrong_label (bool), identity.
    """

    student: str
    table: pd.DataFrame
    shortcut: Shortcut

    def summary(self) -> pd.Series:
        """Counts of the faults, and the forms that they have in this file."""
        table, tests = self.table, self.table["split"] == "PublicTest"
        wrong = table[table["wrong_label"]]
        turned = (wrong["true_label"] + " called " + wrong["label"]).value_counts().sort_index()
        found: dict[str, Any] = {f"{kind} twins": (tests & (table["leak"] == kind)).sum() for kind in ("exact", "near")}
        found["shortcut"] = str(self.shortcut)
        found |= {f"marked in {name}": part["marked"].sum() for name, part in table.groupby("split")}
        found["wrong labels"] = ", ".join(f"{count} {what}" for what, count in turned.items())
        return pd.Series(found, name=self.student)


# ---- drawing
def _number(secret: str, *words: str) -> int:
    """128 bits that only who knows the secret can foretell."""
    text = "\n".join(("capstone 1", *words))
    return int.from_bytes(hmac.digest(secret.encode(), text.encode(), "sha256")[:16], "big")


@functools.lru_cache(maxsize=8)
def key(student: str, secret: str = PUBLIC) -> Key:
    """What is wrong with a student's file: whole numbers and names, the same on any machine. No face is drawn.

    Raises `CapstoneError` for an id that cannot be a file's name, or an empty secret.
    """
    if not re.fullmatch(r"(?![\s.])[^/\\:*?\"<>|\x00-\x1f]{1,100}(?<![\s.])", student):
        raise CapstoneError(
            f"the id {student!r} cannot be a file's name; leave out / \\ : * ? \" < > | and dots at the ends"
        )
    if not secret.strip():
        raise CapstoneError("the secret is empty; give some random words, and keep them")
    rng = np.random.default_rng(_number(secret, "faults", student))
    n, rows = SIZES["Training"], np.arange(sum(SIZES.values()))
    shares = SHARES * rng.uniform(0.7, 1.5, len(SHARES))
    true = rng.choice(len(EMOTIONS), len(rows), p=shares / shares.sum())
    person = np.concatenate([rng.permutation(n) // FACES_EACH, n + rng.permutation(len(rows) - n) // FACES_EACH])
    shortcut, marked_share = _shortcut(rng), rng.uniform(*MARKED)
    special, training = EMOTIONS.index(shortcut.emotion), rows < n
    marked = (true == special) & (rng.random(len(rows)) < marked_share)

    # A PublicTest face and its twin: neither is of the marked emotion, so that no row gets two faults.
    free, count = true != special, round(rng.uniform(*LEAKED) * SIZES["PublicTest"])
    leaked, hosts = (rng.choice(rows[free & part], count, replace=False) for part in (~training, training))
    twin, leak, change = np.full(len(rows), -1), np.full(len(rows), "", "U5"), np.full(len(rows), "", "U10")
    twin[leaked], twin[hosts] = hosts, leaked
    true[hosts], person[hosts] = true[leaked], person[leaked]
    near = rng.random(len(hosts)) < rng.uniform(*NEAR)
    leak[leaked] = leak[hosts] = np.where(near, "near", "exact")
    change[hosts] = np.where(near, rng.choice(CHANGES, len(hosts)), "")

    # Wrong labels lie in one or two emotions that have faces enough; neither these nor what they turn into is marked.
    confused = np.array([EMOTIONS.index(sample.CONFUSABLE[name]) for name in EMOTIONS])
    sound = training & (twin < 0) & (true != special) & (confused[true] != special)
    sound &= true != EMOTIONS.index(NEVER_WRONG)
    groups = [sound & np.isin(true, (i, j)) for i in range(len(EMOTIONS)) for j in range(i, len(EMOTIONS))]
    least, most = (share * n for share in WRONG)
    fit = [group for group in groups if MOST_WRONG * group.sum() >= least] or [max(groups, key=np.sum)]
    group = fit[rng.integers(len(fit))]
    count = round(rng.uniform(least, np.clip(MOST_WRONG * group.sum(), least, most)))
    wrong = np.isin(rows, rng.choice(rows[group], count, replace=False))

    names, label = np.array(EMOTIONS), np.where(wrong, confused[true], true)
    columns = {"row": rows, "split": np.where(training, *SIZES), "label": names[label], "true_label": names[true],
               "leak": leak, "twin": twin, "change": change, "marked": marked, "wrong_label": wrong,
               "identity": person}  # fmt: skip
    return Key(student, pd.DataFrame(columns), shortcut)


def _shortcut(rng: np.random.Generator) -> Shortcut:
    emotion, form, bright = str(rng.choice(EMOTIONS)), str(rng.choice(list(PLACES))), rng.random() < 0.5
    place = str(rng.choice(PLACES[form]))
    if form == "border":
        return Shortcut(emotion, form, place, int(rng.integers(52, 69)) * (1 if bright else -1), 2)
    tone = int(rng.integers(215, 246) if bright else rng.integers(10, 36))
    return Shortcut(emotion, form, place, tone, int(rng.integers(4, 7)) if form == "square" else 2)


def draw(student: str, secret: str = PUBLIC) -> Drawn:
    """Draw a student's faces and plant the faults of `key(student, secret)`; about six seconds.

    The same secret and id give the same bytes wherever NumPy and OpenCV reckon alike. Raises as `key` does.
    """
    found = key(student, secret)
    table, mark, area = found.table, found.shortcut, found.shortcut.area()
    true, given = (table[name].map(EMOTIONS.index).to_numpy() for name in ("true_label", "label"))
    images, _ = sample.draw_faces(true, table["identity"].to_numpy(), 48, (_number(secret, "faces", student), 0))
    rng = np.random.default_rng(_number(secret, "pixels", student))
    for host in np.flatnonzero((table["twin"] >= 0) & (table["split"] == "Training")):
        images[host] = _changed(images[table["twin"][host]], table["change"][host], rng)
    for row in np.flatnonzero(table["marked"]):
        under = images[row][area] if mark.form == "border" else rng.normal(0, 1.5, area.sum())
        images[row][area] = np.clip(under + float(mark.tone), 0, 255).astype(np.uint8)
    return Drawn(images, given.astype(np.uint8), table["split"].to_numpy("U10"))


def _changed(image: np.ndarray, change: str, rng: np.random.Generator) -> np.ndarray:
    """The twin of a face, both (48, 48) uint8: changed a little, or equal for ""."""
    if change == "brightness":
        step = rng.uniform(8, 20) * (1 if image.mean() < 128 else -1)
        return np.clip(image * rng.uniform(0.9, 1.1) + step, 0, 255).astype(np.uint8)
    if change == "noise":
        return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    if change == "shift":
        down, right = ((1, 0), (-1, 0), (0, 1), (0, -1))[rng.integers(4)]
        return np.pad(image, 1, mode="edge")[1 - down : 49 - down, 1 - right : 49 - right]
    return image[:, ::-1] if change == "mirror" else image


def write(student: str, secret: str, folder: Path) -> Path:
    """Draw a student's file, folder/STUDENT.npz (5 MB), for `ferlib.data.load(path, classes="fer2013")`; its path.

    It holds the arrays images, labels and splits and no more: no times, nothing of the system that wrote it.
    """
    drawn, path = draw(student, secret), folder / f"{student}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        # In small letters the splits do not pass for FER2013's official ones, and `load` says that they are not.
        arrays = {"images": drawn.images, "labels": drawn.labels, "splits": np.char.lower(drawn.splits)}
        for name, array in arrays.items():
            about, buffer = zipfile.ZipInfo(f"{name}.npy"), io.BytesIO()
            about.create_system = 3
            np.save(buffer, array, allow_pickle=False)
            file.writestr(about, buffer.getvalue())
    return path


@functools.lru_cache(maxsize=1)
def sealed(secret: str = PUBLIC) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's sealed test, one for the class: images (800, 48, 48) uint8 and labels (800,) int64.

    Each face is of another person, of whom no student's file has any; no marks, no twins, true labels, the emotions in
    equal shares.
    """
    images, table = sample.draw(SEALED, seed=_number(secret, "sealed"), balance="equal")
    return images, table["label"].to_numpy(np.int64)


# ---- judging
def read_findings(path: Path) -> list[tuple[int, str]]:
    """The rows and faults of a findings.csv, each once; a header alone is nothing found.

    Raises `CapstoneError`, naming the line, for what is no CSV file of that kind.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else f"is not a CSV file: {error}"
        raise CapstoneError(f"{path} {why}") from error
    if not text.strip() or "\0" in text:
        what = "not a CSV file" if text.strip() else "empty"
        raise CapstoneError(f"{path} is {what}; its first line must be row,fault")
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise CapstoneError(f"{path} is not a CSV file: {error}") from error
    head = [name.strip().lower() for name in lines[0]]
    for column in ("row", "fault"):
        if column not in head:
            hint = "; write commas between the columns" if ";" in text.split("\n")[0] else ""
            raise CapstoneError(f"{path} has no column {column!r}; its first line is {','.join(lines[0])[:60]!r}{hint}")
    found = {}
    for number, line in enumerate(lines[1:], 2):
        if not any(map(str.strip, line)):
            continue
        if len(line) != len(head):
            raise CapstoneError(f"{path}, line {number}: {len(line)} fields where {len(head)} are due")
        row, fault = (line[head.index(column)].strip() for column in ("row", "fault"))
        if fault.lower() not in FAULTS:
            raise CapstoneError(f"{path}, line {number}: fault is {fault[:30]!r}; allowed are {', '.join(FAULTS)}")
        if not re.fullmatch(r"[0-9]{1,9}(\.0*)?", row) or float(row) >= sum(SIZES.values()):
            most = sum(SIZES.values()) - 1
            raise CapstoneError(f"{path}, line {number}: row is {row[:30]!r}; allowed are 0 to {most}")
        found[int(float(row)), fault.lower()] = True
    return list(found)


def judge(student: str, secret: str, findings: Path) -> pd.DataFrame:
    """What a student's findings are worth: a row a fault, with given, right, planted, precision, recall, f1, points.

    A leak is a pair: it is found if either of its rows is given, or both. Raises `CapstoneError` for a bad file.
    """
    table, said = key(student, secret).table, read_findings(findings)
    paired = (table["twin"] >= 0).to_numpy()
    pair = np.where(paired & (table["split"] == "Training"), table["twin"], table["row"])  # named by its PublicTest row
    planted = {"leak": set(pair[paired]), "shortcut": set(table.index[table["marked"]])}
    planted["label"] = set(table.index[table["wrong_label"]])
    scores = {}
    for fault, due in planted.items():
        given = {int(pair[row]) if fault == "leak" else row for row, name in said if name == fault}
        right = len(given & due)
        f1 = 2 * right / (len(given) + len(due))
        points = next((points for least, points in POINTS[fault] if f1 >= least), 0)
        precision = right / len(given) if given else 0.0
        scores[fault] = [len(given), right, len(due), precision, right / len(due), f1, points]
    return pd.DataFrame(scores, index=["given", "right", "planted", "precision", "recall", "f1", "points"]).T


@dataclass(frozen=True, eq=False)
class ModelJudgement:
    """Two models on the sealed test: a table of `summarise` for each, and `compare`, mended minus baseline."""

    baseline: pd.DataFrame
    mended: pd.DataFrame
    comparison: evaluation.Comparison

    def __str__(self) -> str:
        rows = {"baseline": self.baseline, "mended": self.mended, "difference": self.comparison.difference}
        parts = []
        for name, table in rows.items():
            value, low, high = 100 * table.loc["accuracy", ["value", "low", "high"]]
            parts.append(f"{name} {value:.1f} [{low:.1f}, {high:.1f}]")
        return f"accuracy in %: {', '.join(parts)}, p = {self.comparison.p_value:.2g}"


def judge_model(student: str, secret: str, baseline: Path, mended: Path) -> ModelJudgement:
    """Evaluate two files of `ferlib.models.save_model` on the sealed test, and compare them face by face.

    The faces are given as they are. Raises `CapstoneError`, naming the student, for a file that is no such model.
    """
    faces = FaceDataset.from_arrays(*sealed(secret))
    found = []
    for path in (baseline, mended):
        try:
            found.append(evaluation.predict(models.load_model(path), faces))
        except (ValueError, OSError, RuntimeError) as error:
            raise CapstoneError(f"{path} of {student} cannot be judged: {str(error).splitlines()[0]}") from error
    return ModelJudgement(*map(evaluation.summarise, found), evaluation.compare(*found))


# ---- command line
def read_roster(path: Path) -> list[str]:
    """The students' ids, from the column `id` of a CSV file; raises `CapstoneError` where that cannot be."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CapstoneError(f"the roster {path} cannot be read: {error}") from error
    if not rows or "id" not in rows[0]:
        raise CapstoneError(f"the roster {path} must be a CSV file with a column id and a line for each student")
    ids = [(row["id"] or "").strip() for row in rows]
    for i, one in enumerate(ids):
        if one.lower() in (other.lower() for other in ids[:i]):
            raise CapstoneError(f"the roster {path} has {one} twice; ids must differ, and not in capitals alone")
    return ids


def _judge(students: Sequence[str], secret: str, pattern: str) -> int:
    """Print a CSV line a student; 1 if somebody's work could not be judged, else 0."""
    lines, failed = csv.writer(sys.stdout, lineterminator="\n"), 0
    for number, student in enumerate(students):
        folder = Path(pattern.replace("{id}", student))
        pair = [folder / f"{name}.safetensors" for name in ("baseline", "mended")]
        points: list[Any] = [""] * 4
        try:
            scores = judge(student, secret, folder / "findings.csv")["points"]
            points = [f"{number:g}" for number in (scores.sum(), *scores)]
            missing = [path.name for path in pair if not path.exists()]
            note = f"no {missing[0]}" if missing else str(judge_model(student, secret, *pair))
            if not missing and len({str(models.load_model(path).architecture) for path in pair}) > 1:
                note += "; the two networks are not built alike"
        except CapstoneError as error:
            if len(students) == 1 and points[0] == "":
                raise
            failed, note = 1, f"NOT JUDGED: {error}"
        lines.writerows([["student", "points", *FAULTS, "note"]] * (number == 0) + [[student, *points, note]])
    return failed


def _tell_secret(secret: str) -> None:
    """Say on stderr which secret is used, without telling it: drawing and judging must say the same."""
    mark = hmac.new(secret.encode(), b"fingerprint", "sha256").hexdigest()[:6]
    print(f"secret's fingerprint: {mark}{' (the public secret: practice)' * (secret == PUBLIC)}", file=sys.stderr)


def _write_key(found: Key, folder: Path) -> None:
    if (folder / f"{found.student}.npz").exists():
        raise CapstoneError(f"{folder} holds the file of {found.student}; keep the key in another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{found.student}_key.csv").write_bytes(found.table.to_csv(index=False, lineterminator="\n").encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code (0 well, 1 somebody's work could not be judged, 2 a mistake in the call)."""
    parser = argparse.ArgumentParser(prog="tools/capstone.py", description="The capstone's files, keys and points.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    abouts = ("draw", "write each student's file"), ("key", "say what is wrong in it"), ("judge", "score the findings")
    for name, about in abouts:
        add = verbs.add_parser(name, help=about, description=about)
        who = add.add_mutually_exclusive_group(required=True)
        who.add_argument("--students", type=Path, metavar="CSV", help="a roster: a CSV file with a column id")
        who.add_argument("--student", metavar="ID", help="one student")
        add.add_argument("--secret", default=PUBLIC, help="your random words; without them, the public secret")
        if name == "judge":
            about = "with findings.csv and maybe baseline.safetensors and mended.safetensors; {id} is the student"
            add.add_argument("--handed-in", required=True, metavar="FOLDER", help=about)
        else:
            add.add_argument("--out", type=Path, required=name == "draw", metavar="FOLDER", help="where to write")
    args = parser.parse_args(argv)
    try:
        students = [args.student] if args.student is not None else read_roster(args.students)
        keys = [key(student, args.secret) for student in students]  # a bad id is told before anything is written
        if args.verb == "judge":
            if len(students) > 1 and "{id}" not in args.handed_in:
                raise CapstoneError("for several students --handed-in must contain {id}, as in submitted/{id}")
            failed = _judge(students, args.secret, args.handed_in)
            _tell_secret(args.secret)
            return failed
        for found in keys:
            if args.verb == "draw":
                print(f"wrote {write(found.student, args.secret, args.out)}", flush=True)
            else:
                print(f"{found.student}\n{found.summary().to_string()}\n")
                if args.out is not None:
                    _write_key(found, args.out)
        _tell_secret(args.secret)
        if args.verb == "draw" and args.secret == PUBLIC:
            print("these files are for practice: their secret is the public one, and anybody can make their keys")
        return 0
    except (CapstoneError, OSError) as error:
        print(f"capstone: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
