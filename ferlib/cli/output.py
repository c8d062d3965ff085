"""What several verbs print and write."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferlib.utils import write_whole


def counted(number: int, noun: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "face"), counted(1200, "face")
    ('1 face', '1,200 faces')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def note(text: object) -> None:
    """Print a note to the standard error."""
    print(f"ferlib: note: {text}", file=sys.stderr, flush=True)


def note_drawn(model: Any) -> None:
    """Note that a model has seen drawn faces only."""
    if "sample" in (model.about.get("source"), model.about.get("training", {}).get("data")):
        note("this model has seen drawn faces only; what it says of photographs means little")


def note_same(answers: Sequence[str]) -> None:
    """Note that a model names all of several faces alike."""
    if len(answers) >= 10 and len({*answers}) == 1:
        note(f"the model says {answers[0]} of all {len(answers):,} faces; it has learned nothing that is of use")


def save_plot(path: Path, figure: Any) -> Path:
    """Write a figure as PNG."""
    return write_whole(path, lambda scratch: figure.savefig(scratch, dpi=150, format="png"))
