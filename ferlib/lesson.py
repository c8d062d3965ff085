"""What every lesson needs: a kernel that is ready, its faces, guesses, exercises and claims."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import evaluation, models
from ferlib.data import FaceDataset, find, load
from ferlib.data.download import fetch
from ferlib.utils import user_path

CLAIM_COLUMNS = ["lesson", "claim", "measured", "low", "high", "threshold", "unit", "n", "seeds", "seconds", "held"]
TWELVE = (6, 10, 12, 13, 21, 27, 40, 91, 370, 499, 566, 1762)  # rows of the drawn PublicTest: see Lesson.twelve
COLAB_HOME = Path("/content/course")  # where a lesson's first cell puts the course on Google Colab


def prepare(data: str | None = None, *, keep: str | None = None) -> None:
    """Get this kernel ready for a lesson: its working folder, its faces, its models.

    Args:
        data: `"sample"` (drawn faces), `"fer2013"` (photographs; fetched on Colab, elsewhere found in `data/`), or the
            path of any copy. None: what the environment variable `FERLIB_DATA` says, else the sample.
        keep: a folder for the models that lessons train, such as `"/content/drive/MyDrive/fer"` on Colab.

    Raises:
        FileNotFoundError: the faces are not there; the message says how to get them.
        ConnectionError: they could not be fetched.
    """
    colab = "google.colab" in sys.modules
    if colab:
        os.chdir(COLAB_HOME / "notebooks")
    if keep and keep.startswith("/content/drive"):
        from google.colab import drive

        drive.mount("/content/drive")
    if keep:
        os.environ["FERLIB_RUNS"] = keep
    if data == "sample":
        os.environ.pop("FERLIB_DATA", None)
    elif data is not None:
        path = fetch(data, COLAB_HOME / "data") if colab and data == "fer2013" else find(data)
        os.environ["FERLIB_DATA"] = str(path.resolve())
        print(f"faces: {path.resolve()}")
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) is not None:
        shell.set_custom_exc((NameError,), _explain_name_error)


def _explain_name_error(shell: Any, kind: type, error: NameError, trace: Any, tb_offset: int | None = None) -> None:
    """Say what is mostly behind a NameError in a notebook, then show it."""
    print(f"If a cell above defines {error.name!r}, run that cell first: Run > Run All Above Selected Cell.")
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


class Lesson:
    """One run of a lesson: its faces, its folder, its clock.

    Args:
        number: the lesson's, such as `"03"`.
        source: what `data.load` takes. None: what `FERLIB_DATA` names, else `"sample"`.

    Attributes:
        drawn: whether the faces are the sample's. Only then is their truth known, and are claims checked.
        fast: whether the run only shows that everything works (`FERLIB_FAST=1`).
        folder: where the lesson keeps its model for later lessons.
        seeds: of what it trains: three, one in a fast run, or as many as `FERLIB_SEEDS` says.
    """

    def __init__(self, number: str, source: str | None = None) -> None:
        self.number, self.begun = number, time.monotonic()
        self.source = source or os.environ.get("FERLIB_DATA") or "sample"
        self.drawn = self.source == "sample"
        self.fast = bool(os.environ.get("FERLIB_FAST"))
        self.seeds = range(1 if self.fast else int(os.environ.get("FERLIB_SEEDS", "3")))
        runs = user_path(os.environ.get("FERLIB_RUNS") or "runs")
        self.folder = (runs / "fast" if self.fast else runs) / number  # a fast run leaves a full one's models alone

    def load(self, most: int | None = None) -> FaceDataset:
        """Load the lesson's faces, with at most `most` of Training, evenly spread; print it if some are left out."""
        faces = load(self.source)
        training = (faces.table["split"] == "Training").to_numpy()
        rows = np.flatnonzero(training)
        if most is not None and len(rows) > most:
            kept = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
            faces = faces.subset(np.sort(np.concatenate([kept, np.flatnonzero(~training)])))
            print(f"of {len(rows):,} training faces {most:,} are used, so that a laptop is done in minutes")
        return faces

    def twelve(self, test_set: FaceDataset) -> np.ndarray:
        """Return the positions (12,) in `test_set` of the course's twelve faces, the same in each lesson.

        In the drawn PublicTest they are fixed, chosen over ten seeds: the network of lesson 03 mostly fails on the last
        five; one trained with augmentation, as in lesson 04, mostly names them right. In other faces: the first twelve.
        """
        whole = self.drawn and len(test_set) > max(TWELVE)
        return np.array(TWELVE) if whole else np.arange(min(12, len(test_set)))

    def keep(self, model: Any) -> Path:
        """Save the lesson's model where later lessons find it, and return the file's path."""
        return models.save_model(model, self.folder, lesson=self.number, source=self.source)

    def model(self, lesson: str) -> Any:
        """Load the model that an earlier lesson saved, else the shipped one, and print which.

        A saved model counts if it was trained on the faces of this run. Fast runs and full runs save theirs apart. The
        shipped model is `drawn` for drawn faces and `fer2013` for photographs.
        """
        path, shipped = self.folder.parent / lesson / "model.safetensors", "drawn" if self.drawn else "fer2013"
        why = f"lesson {lesson} has kept none in {path.parent}"
        if path.exists():
            model = models.load_model(path)
            source = model.about.get("source", "faces that it does not name")
            if source == self.source:
                print(f"the model that lesson {lesson} kept, {path}")
                return model
            why = f"{path} was trained on {source!r}, not on {self.source!r}"
        print(f"the model that ships, {shipped!r}: {why}")
        return models.load_model(shipped)

    def evidence(self, run: str = "long-2") -> Path | None:
        """Return the folder with the history and PublicTest logits of a run on FER2013; None where it is missing.

        It lies in the repository's `benchmarks/fer2013`, which is not part of the installed package.
        """
        here, place = Path.cwd().resolve(), Path("benchmarks", "fer2013", run)
        for root in (Path(__file__).resolve().parents[1], here, *here.parents):
            if (root / place).is_dir():
                return root / place
        print(f"the numbers of the FER2013 run {run} are not here: get the whole repository, they lie in benchmarks/")
        return None

    def photographs(
        self, run: str = "long-2", views: str = "shift_flip_averaged", *, clean: bool = False
    ) -> evaluation.Predictions | None:
        """Return what a run answered on the 3,589 PublicTest photographs of FER2013; see `evidence`.

        Args:
            run: its name. `long-2` is the run whose weights ship as `fer2013`.
            views: a name in `evaluation.VIEWS`, whose views are averaged.
            clean: whether to leave out the 280 photographs that have a twin in Training.
        """
        folder = self.evidence(run)
        if folder is None:
            return None
        columns = np.loadtxt(folder.parent / "publictest.csv", int, delimiter=",", skiprows=1, usecols=(0, 1))
        rows = np.flatnonzero(columns[:, 1]) if clean else np.arange(len(columns))
        with np.load(folder / "logits.npz") as kept:
            return evaluation.Predictions(kept[views].astype(np.float32)[rows], columns[rows, 0])

    def guess(self, guessed: Any, value: float, unit: str = "%") -> None:
        """Print how far a guess was off the value.

        Args:
            guessed: the student's number; `...` counts as no guess.
            value: the right number.
            unit: of both.
        """
        if isinstance(guessed, (int, float, np.number)):
            print(f"It is {_figure(value)} {unit}; you guessed {guessed:g}, {_figure(abs(value - guessed))} off.")
        else:
            why = "You made no guess" if guessed is ... else f"{guessed!r:.40} is no number"
            print(f"It is {_figure(value)} {unit}. {why}: put a number in, and run this again.")

    def claim(
        self, text: str, measured: float, threshold: float, *, n: int, seeds: int = 1, unit: str = "points",
        at_most: bool = False, interval: Sequence[float] | None = None, by_interval: bool = False,
    ) -> bool:  # fmt: skip
        """Print whether a measured value keeps a threshold, and add it to the file `FERLIB_CLAIMS`, if set.

        Args:
            text: the claim in words.
            measured: the value.
            threshold: what it must reach.
            at_most: whether it must stay at or below the threshold instead.
            interval: its 95% interval.
            by_interval: whether the end of the interval nearer to the threshold must keep it, not only the value.
            unit: of the value.
            n: the number of faces that it is measured on.
            seeds: the number of trainings behind it.

        Returns:
            Whether the claim held. On other faces than the drawn ones, or in a fast run, it is only reported.
        """
        low, high = interval if interval is not None else (np.nan, np.nan)
        ends = (low, high) if by_interval and interval is not None else (measured, measured)
        held = bool(ends[1] <= threshold if at_most else ends[0] >= threshold)
        between = "" if interval is None else f" [{low:.3g}, {high:.3g}]"
        counts = not self.fast and self.drawn
        verdict = ("held" if held else "FAILED") if counts else "reported only"
        bound = f"{'at most' if at_most else 'at least'} {threshold:g}"
        print(f"Claim {verdict}: {text}: {f'{measured:.3g}{between} {unit}'.strip()}, {bound} expected")
        if os.environ.get("FERLIB_CLAIMS"):
            row = [self.number, text, measured, low, high, bound, unit, n, seeds, time.monotonic() - self.begun]
            path = user_path(os.environ["FERLIB_CLAIMS"])
            new = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([CLAIM_COLUMNS] * new + [[*row, held if counts else ""]])
        return held

    def check(
        self, answer: Any, solution: Any, wrong: Sequence[tuple[Any, str]] = (), *,
        on: Sequence[tuple] = (), tolerance: float = 1e-6, dtype: bool = False,
    ) -> None:  # fmt: skip
        """Print whether an exercise's answer equals its solution, and for a known mistake what went wrong.

        Args:
            answer: the student's value, or with `on` a function; `...` counts as no answer yet.
            solution: the right value or function.
            wrong: known wrong values or functions, each with its explanation.
            on: tuples of arguments; functions are called with each.
            tolerance: how far numbers may differ.
            dtype: whether an array's type counts, too.

        With `FERLIB_ANSWERS=solution`, as in the tests, the solution and each wrong answer are judged instead.
        """
        right = _results(solution, on)
        cases = [(_results(other, on), why) for other, why in wrong]
        if os.environ.get("FERLIB_ANSWERS") == "solution":
            for given, why in cases:
                if _verdict(given, right, cases, tolerance, dtype) != f"Not yet: {why}":
                    raise AssertionError(f"a wrong answer is not told apart: {why}")
            answer = solution
        try:
            given = _results(answer, on)
        except Exception as error:
            print(f"Not yet: your function stopped with {type(error).__name__}: {error}")
            return
        print(_verdict(given, right, cases, tolerance, dtype))


def _results(answer: Any, on: Sequence[tuple]) -> list[Any]:
    return [answer(*arguments) for arguments in on] if callable(answer) and on else [answer]


def _verdict(
    given: list[Any], right: list[Any], wrong: list[tuple[list[Any], str]], tolerance: float, dtype: bool
) -> str:
    if any(value is ... or value is None for value in given):
        return "No answer yet. Write yours above, run that cell, then this one; the solution is folded above."
    if _equal(given, right, tolerance, dtype):
        return "Right."
    hints = [why for other, why in wrong if _equal(given, other, tolerance, dtype)]
    return f"Not yet: {hints[0]}" if hints else f"Not yet: {given[0]!r:.80} is not what is asked for."


def _equal(given: list[Any], other: list[Any], tolerance: float, dtype: bool) -> bool:
    def same(a: Any, b: Any) -> bool:
        try:
            a, b = np.asarray(a), np.asarray(b)
        except ValueError:  # lists of several lengths
            return False
        if a.shape != b.shape or (dtype and a.dtype != b.dtype):
            return False
        if {a.dtype.kind, b.dtype.kind} <= {*"biufc"}:
            return bool(np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True))
        return bool(np.all(a == b))

    return len(given) == len(other) and all(map(same, given, other))


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
