"""A class folder: nbgrader's settings and gradebook in it, and what became of each submission."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assignments import AssignmentError

CONFIG = r'''"""nbgrader's settings for this class; written by tools/teach.py, yours to change."""

c = get_config()
c.CourseDirectory.course_id = "fer"
c.Execute.timeout = 20  # seconds a cell; the assignments take less than one
c.Execute.extra_arguments = ["--log-level=ERROR"]
c.OverwriteCells.add_missing_cells = True
c.LimitOutput.max_lines = 200

# Whose a downloaded file is (`nbgrader zip_collect`): keep the line of your platform.
place = r"^.*/downloaded/(?P<file_id>[^/]+)/extracted/(?:.*/)?"
c.FileNameCollectorPlugin.named_regexp = place + r"(?P<student_id>[^/]+)/[^/]*\.ipynb$"  # a folder a student
# Moodle:
# c.FileNameCollectorPlugin.named_regexp = place + r"[^/]*_(?P<student_id>\d+)_assignsubmission_file_?/[^/]*\.ipynb$"
# Canvas:
# c.FileNameCollectorPlugin.named_regexp = place + r"[^/]*?_(?:LATE_)?(?P<student_id>\d+)_\d+_[^/]*\.ipynb$"
'''
SECRETS = ".secrets.csv"  # which assignment was released with which secret, as a fingerprint of it
OUTCOMES = ("student", "status", "points", "of", "seconds", "notes", "digest")


@dataclass(frozen=True)
class Outcome:
    """What became of one submission: `status` is "graded", "by hand" (some of it is yet to be), or "not graded".

    `digest` tells whether the file that was graded is still the one that lies there.
    """

    student: str
    status: str
    points: float
    of: float
    seconds: float
    notes: str
    digest: str = ""


def prepare(folder: Path) -> None:
    """Make a class folder, unless it is one. Raises `AssignmentError` where none can be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssignmentError(f"the class folder {folder} cannot be made: {error.strerror}") from error
    if not (folder / "nbgrader_config.py").exists():
        (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")


def submissions(folder: Path, name: str) -> list[str]:
    """The students who handed something in for an assignment, in order."""
    return sorted(path.parent.name for path in (folder / "submitted").glob(f"*/{name}") if path.is_dir())


def fingerprint(secret: str) -> str:
    """What may be kept of a secret: enough to know it again."""
    return hashlib.blake2b(f"a class's secret: {secret}".encode()).hexdigest()[:12]


def secrets(folder: Path) -> dict[str, str]:
    """The fingerprint of the secret with which each assignment was released."""
    path = folder / SECRETS
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {name: mark for name, mark, *_ in filter(None, csv.reader(file))}


def keep_secret(folder: Path, name: str, mark: str) -> None:
    """Write down with which secret an assignment was released."""
    rows = [*(secrets(folder) | {name: mark}).items()]
    with (folder / SECRETS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def earlier(folder: Path, name: str) -> list[Path]:
    """What students got before an assignment was released again with another text."""
    return sorted((folder / "outcomes").glob(f"{name}.earlier*.ipynb"))


def keep_earlier(folder: Path, name: str, data: bytes) -> None:
    """Keep a release that another one has replaced."""
    known = earlier(folder, name)
    if all(path.read_bytes() != data for path in known):
        (folder / "outcomes").mkdir(exist_ok=True)
        (folder / "outcomes" / f"{name}.earlier{len(known) + 1:03}.ipynb").write_bytes(data)


def settings(folder: Path) -> Any:
    """The class's nbgrader settings, as its own commands read them."""
    from traitlets.config import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    config.CourseDirectory.root = str(folder.resolve())
    return config


def run_nbgrader(converter: str, folder: Path, assignment: str, student: str = "*", **options: Any) -> tuple[str, str]:
    """Run one of nbgrader's converters; its error, empty if there was none, and its log."""
    from nbgrader import converters
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log
    from traitlets.config import LoggingConfigurable

    _find_alembic()
    config = settings(folder)
    if options.get("no_database"):
        config.SaveCells.enabled = False  # as nbgrader's own --no-db
    place = CourseDirectory(config=config)
    place.assignment_id, place.student_id = assignment, student
    app: LoggingConfigurable = getattr(converters, converter)(coursedir=place, config=config)
    for name, value in options.items():
        setattr(app, name, value)
    with _silent(app.log):
        result = capture_log(app)
    return result.get("error", ""), result.get("log", "")


@contextmanager
def _silent(log: logging.Logger) -> Iterator[None]:
    """What nbgrader logs goes to whoever captures it, and not to stderr."""
    kept, level, passes = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = [], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, log.propagate = kept, passes
        log.setLevel(level)


def _find_alembic() -> None:
    """nbgrader runs the command `alembic`, which lies beside this Python, be its environment active or not."""
    if shutil.which("alembic") is None:
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@contextmanager
def gradebook(folder: Path) -> Iterator[Any]:
    """The class's gradebook."""
    from nbgrader.api import Gradebook

    _find_alembic()
    with Gradebook(f"sqlite:///{folder.resolve() / 'gradebook.db'}") as book:
        yield book


def reason(error: str, log: str) -> str:
    """Why nbgrader gave up on a submission, in a sentence."""
    if "DeadKernelError" in log:
        return "Python ended in the middle of it"
    if "CellTimeoutError" in log or "UnresponsiveKernelError" in log:
        return "a cell could not be stopped"
    raised = re.findall(r"^\s*([\w.]+(?:Error|Exception|Entry)\b.*)$", log, re.MULTILINE)
    return f"nbgrader stopped with {raised[-1]}" if raised else error.strip().splitlines()[-1]


def outcomes(folder: Path, name: str) -> list[Outcome]:
    """What `autograde` kept of earlier runs."""
    path = folder / "outcomes" / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Outcome(
            r["student"], r["status"], float(r["points"]), float(r["of"]), float(r["seconds"]), r["notes"], r["digest"]
        )
        for r in rows
    ]


def keep(folder: Path, name: str, done: Sequence[Outcome]) -> None:
    """Write what became of an assignment's submissions, whole or not at all."""
    path = folder / "outcomes" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    rows = [[getattr(one, column) for column in OUTCOMES] for one in sorted(done, key=lambda one: one.student)]
    with path.with_suffix(".new").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([OUTCOMES, *rows])
    path.with_suffix(".new").replace(path)


def digest(folder: Path, name: str, student: str) -> str:
    """A text that changes when any notebook in a submission does."""
    made = hashlib.sha256()
    for path in sorted((folder / "submitted" / student / name).glob("*.ipynb")):
        made.update(path.name.encode() + path.read_bytes())
    return made.hexdigest()[:16]
