"""How a class did: points as a file for Canvas, Moodle or a spreadsheet, and the distribution as text."""

from __future__ import annotations

import csv
import re
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assignments import AssignmentError
from classroom import gradebook, outcomes, submissions

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")  # go back with the points, as they came


@dataclass(frozen=True)
class Score:
    """One student's points: in all, and of each question (points, of); `waiting` for points that a person gives.

    A question's points are None as long as some of them wait; what was given by hand before, and waits for another
    look, is in `kept` with the rest of its question, and counts in `points`.
    """

    student: str
    points: float
    of: float
    waiting: bool
    questions: dict[str, tuple[float | None, float]]
    kept: dict[str, float] = field(default_factory=dict)


def scores(folder: Path, name: str) -> dict[str, Score]:
    """The points in the gradebook, those given by hand included, of everybody whose last submission was graded."""
    lost = {outcome.student for outcome in outcomes(folder, name) if outcome.status == "not graded"}
    found = {}
    with gradebook(folder) as book:
        for one in book.assignment_submissions(name):
            student = one.student_id
            if student in lost or not (folder / "autograded" / student / name / f"{name}.ipynb").exists():
                continue
            questions: dict[str, tuple[float | None, float]] = {}
            for grade in (grade for notebook in one.notebooks for grade in notebook.grades):
                question = grade.name.removesuffix("_seen").removesuffix("_hidden")
                had, of = questions.get(question, (0.0, 0.0))
                waits = had is None or grade.needs_manual_grade
                questions[question] = (None if waits else had + grade.score, of + grade.max_score)
            waiting = any(had is None for had, _ in questions.values())
            found[student] = Score(student, one.score, one.max_score, waiting, questions, _kept(one, questions))
    return found


def _kept(submission: Any, questions: dict[str, tuple[float | None, float]]) -> dict[str, float]:
    """The points so far of questions that wait, if a person or a test has given any."""
    kept: dict[str, float] = {}
    for grade in (grade for notebook in submission.notebooks for grade in notebook.grades):
        question = grade.name.removesuffix("_seen").removesuffix("_hidden")
        if questions[question][0] is None and (grade.manual_score is not None or grade.score):
            kept[question] = kept.get(question, 0.0) + grade.score
    return kept


def read_roster(path: Path, column: str) -> list[dict[str, str]]:
    """The rows of a CSV file with the students, each with its id in `column`.

    Raises `AssignmentError` for a file that cannot be read, has no such column, or names somebody twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [{key: value or "" for key, value in row.items() if key} for row in reader]
    except UnicodeDecodeError as error:
        raise AssignmentError(f'the roster {path} is not in UTF-8; save it as "CSV UTF-8"') from error
    except (OSError, csv.Error) as error:
        raise AssignmentError(f"the roster {path} cannot be read: {error}") from error
    if len(header := reader.fieldnames or []) == 1 and ";" in header[0]:
        raise AssignmentError(f"the roster {path} is separated by semicolons; save it with commas")
    if not rows or column not in rows[0]:
        there = ", ".join(rows[0]) if rows else "nothing"
        raise AssignmentError(f"the roster {path} has no column {column!r} but {there}; name one with --id")
    twice = [
        student for student, count in Counter(row[column].strip() for row in rows).items() if student and count > 1
    ]
    if twice:
        raise AssignmentError(f"the roster {path} names these more than once: {', '.join(twice)}")
    return rows


def table(
    folder: Path, name: str, form: str = "plain", roster: Path | None = None, column: str = "id"
) -> list[list[str]]:
    """The points as rows of a CSV file, its header first: `form` is "plain", "canvas" or "moodle".

    Nobody is left out: who handed nothing in, could not be graded, or waits for points by hand, has an empty cell for
    Canvas and Moodle. Who handed nothing in, waits, or is not on the roster, is named on stderr. Raises
    `AssignmentError` where nobody graded stands on the roster.
    """
    found, told = scores(folder, name), {outcome.student: outcome for outcome in outcomes(folder, name)}
    if form != "plain" and roster is None:
        what = {"canvas": "its own export of the gradebook", "moodle": "its grading worksheet, or any list of students"}
        raise AssignmentError(f"for {form.title()}, --roster is {what[form]}, as it came")
    handed = {*found, *told, *submissions(folder, name)}
    rows = read_roster(roster, column) if roster else [{column: student} for student in sorted(handed)]
    if form == "plain":
        rows = [row for row in rows if _is_student(row, column)]
    ids = [_id(row[column]) for row in rows]
    if found and not {*ids} & {*found}:
        graded, there = (", ".join(names[:3]) for names in (sorted(found), ids))
        raise AssignmentError(f"nobody who was graded ({graded}, ...) stands in the column {column!r} of {roster} "
                              f"({there}, ...); name another with --id")  # fmt: skip
    extra = sorted(handed - {*ids})
    people = [who for row, who in zip(rows, ids, strict=True) if _is_student(row, column)]
    _tell("not handed in", [who or "(no id)" for who in people if who not in handed])
    _tell("handed in, and not graded yet", sorted(handed - {*found, *told}))
    _tell("not on the roster" + (", and so not in the file" if form != "plain" else ""), extra)
    if form == "plain":
        new = dict.fromkeys(handed, "not graded yet")
        return _plain(found, told, new, column, [*rows, *({column: student} for student in extra)])
    _tell("waiting for points by hand", [student for student, score in found.items() if score.waiting])
    points = {student: f"{score.points:g}" for student, score in found.items() if not score.waiting}
    if form == "canvas":
        return _canvas(name, rows, ids, points, f"{next(iter(found.values())).of:g}" if found else "")
    _check_maximum(roster, name, rows, found)
    said = [_feedback(told.get(student), student in handed) for student in ids]
    return _moodle(column, rows, ids, points, said)


def _tell(what: str, students: Sequence[str]) -> None:
    if students:
        print(f"{what}: {', '.join(students)}", file=sys.stderr)


def _is_student(row: dict[str, str], column: str) -> bool:
    """Whether a roster's row is somebody's: not empty, and none of the two with which Canvas begins."""
    if "Points Possible" in row.get("Student", ""):
        return False
    return any(row.get(key, "").strip() for key in ((column, *CANVAS) if _is_canvas(row) else row))


def _is_canvas(row: dict[str, str]) -> bool:
    return {*CANVAS} <= {*row}


def _check_maximum(roster: Path | None, name: str, rows: Sequence[dict[str, str]], found: dict[str, Score]) -> None:
    """Raises `AssignmentError` where Moodle's worksheet counts other points than the assignment."""
    of = next((score.of for score in found.values()), None)
    for key, text in ((key, text) for row in rows for key, text in row.items()):
        number = text.strip().replace(",", ".")
        if of is None or key.strip().lower() != "maximum grade" or not re.fullmatch(r"\d+(\.\d*)?", number):
            continue
        if float(number) != of:
            raise AssignmentError(f"the worksheet {roster} has the maximum grade {float(number):g}, and {name} has "
                                  f"{of:g} points; set {of:g} in Moodle and download it again")  # fmt: skip


def _id(text: str) -> str:
    """A student's id; of Moodle's "Participant 123" the number, by which it names submissions."""
    worded = re.fullmatch(r"\D+ (\d+)", text.strip())
    return worded[1] if worded else text.strip()


def _plain(found: dict, told: dict, new: dict[str, str], column: str, rows: Sequence[dict]) -> list[list[str]]:
    """A row a student, with the roster's other columns; `new` has the status of those who handed something in."""
    questions = list(dict.fromkeys(question for score in found.values() for question in score.questions))
    ours = ["student", "status", "points", "of", *questions, "notes"]
    theirs = [key for key in (rows[0] if rows else ()) if key not in (column, *ours)]
    if rows and _is_canvas(rows[0]):
        theirs = [key for key in theirs if key in CANVAS]  # not its other grades
    made = [["student", *theirs, *ours[1:]]]
    for row in rows:
        student = _id(row[column])
        score, outcome = found.get(student), told.get(student)
        each = [score.questions.get(one, (None, 0))[0] if score else None for one in questions]
        if score:
            each = [score.kept.get(one) if had is None else had for one, had in zip(questions, each, strict=True)]
        cells = [f"{score.points:g}", f"{score.of:g}"] if score else ["", ""]
        status = outcome.status if outcome else new.get(student, "not handed in")
        if score:
            status = "by hand" if score.waiting else "graded"
        cells += ["" if one is None else f"{one:g}" for one in each]
        kept = [row.get(key, "") for key in theirs]
        made.append([student, *kept, status, *cells, outcome.notes if outcome else ""])
    return made


def _canvas(name: str, rows: list, ids: Sequence[str], points: dict[str, str], of: str) -> list[list[str]]:
    lacking = [column for column in CANVAS if column not in rows[0]]
    if lacking:
        raise AssignmentError(f"for Canvas, --roster is its own export of the gradebook; it lacks {', '.join(lacking)}")
    titles = [title for title in rows[0] if title.startswith(name)]
    made = [[*CANVAS, titles[0] if titles else name]]
    for row, student in zip(rows, ids, strict=True):
        cell = of if "Points Possible" in row["Student"] else points.get(student, "")
        made.append([*(row[column] for column in CANVAS), cell])
    return made


def _moodle(column: str, rows: list, ids: Sequence[str], points: dict[str, str], said: list[str]) -> list[list[str]]:
    """Moodle's grading worksheet with grades and feedback filled in; or id, grade and feedback alone."""
    if not {"Grade", "Feedback comments"} <= {*rows[0]}:
        told = zip(rows, ids, said, strict=True)
        return [[column, "grade", "feedback"], *([row[column], points.get(who, ""), text] for row, who, text in told)]
    made = [[*rows[0]]]
    for row, student, text in zip(rows, ids, said, strict=True):
        filled = row | {
            "Grade": points.get(student, row["Grade"]),
            "Feedback comments": text or row["Feedback comments"],
        }
        made.append([*filled.values()])
    return made


def _feedback(outcome: object, handed: bool) -> str:
    """What a student may read: that there was nothing to grade. Other notes are for the teacher."""
    if outcome is None:
        return "" if handed else "nothing was handed in"
    return outcome.notes if outcome.status == "not graded" else ""  # type: ignore[attr-defined]


def summary(folder: Path, name: str) -> str:
    """The distribution, the questions from the most missed one on, and who has no points yet, as text."""
    found, told = scores(folder, name), outcomes(folder, name)
    lost = [outcome for outcome in told if outcome.status == "not graded"]
    waiting = [student for student, score in found.items() if score.waiting]
    lines = [f"{name}: {len(found)} of {len(found) + len(lost)} submissions graded"]
    if waiting:
        lines.append(f"{len(waiting)} wait for points by hand; until then these are the points so far")
    if found:
        points, of = [score.points for score in found.values()], next(iter(found.values())).of
        lines.append(f"points of {of:g}: mean {statistics.mean(points):.1f}, median {statistics.median(points):g}, "
                     f"least {min(points):g}, most {max(points):g}")  # fmt: skip
        bins = Counter(min(int(10 * one / of), 9) for one in points)
        most = max(bins.values())
        lines += [
            f"  {10 * k:3d} to {10 * k + 10:3d}%  {'#' * round(40 * bins[k] / most)} {bins[k]}" for k in range(10)
        ]
        lines.append("from the most missed question on, share of its points:")
        lines += _missed(found)
    return "\n".join([*lines, *(f"NOT GRADED: {outcome.student}: {outcome.notes}" for outcome in lost)])


def _missed(found: dict[str, Score]) -> list[str]:
    shares = []
    for question in next(iter(found.values())).questions:
        given = [score.questions[question] for score in found.values()]
        done = [had / most for had, most in given if had is not None and most]
        shares.append((statistics.mean(done) if done else 2.0, question, len(done)))
    return [f"  {name:<24} {f'{share:.0%} of {n}' if n else 'by hand'}" for share, name, n in sorted(shares)]
