"""The teacher's kit: release assignments, look at what was handed in, grade it, report it. A thin layer on nbgrader.

    python tools/teach.py release a01 --class ~/fer-class --secret "this term's words"
    python tools/teach.py autograde a01 --class ~/fer-class
    python tools/teach.py report a01 --class ~/fer-class --roster students.csv

A class folder is an nbgrader course: `nbgrader` and its formgrader work in it as well. notebooks/assignments/guide.md
leads through a term.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import assignments
import course
import preflight
import report
from assignments import Assignment, AssignmentError
from classroom import (
    Outcome,
    digest,
    earlier,
    fingerprint,
    gradebook,
    keep,
    keep_earlier,
    keep_secret,
    outcomes,
    prepare,
    reason,
    run_nbgrader,
    secrets,
    submissions,
)
from ferlib.cli.options import path_given

MOST_OUTPUT = 20_000  # characters that a graded cell keeps


# ---- release
def release(
    assignment: Assignment,
    folder: Path,
    secret: str = assignments.PUBLIC,
    database: bool = True,
    new_secret: bool = False,
) -> Path:
    """Write an assignment's teacher's version to source/ and its students' version to release/; the latter's path.

    The hidden data is drawn from `secret`. Raises `AssignmentError` where nbgrader refuses, as when cells would come or
    go after work was handed in, and, without `new_secret`, for another secret than the class's releases had so far.
    """
    import nbformat

    name = assignment.name
    _check_secret(folder, name, secret, new_secret)
    prepare(folder)
    text = nbformat.writes(assignment.notebook(secret)) + "\n"
    paths = [folder / step / name / f"{name}.ipynb" for step in ("source", "release")]
    kept = {path: path.read_bytes() for path in paths if path.exists()}
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    paths[0].write_text(text, encoding="utf-8")
    error, log = run_nbgrader("GenerateAssignment", folder, name, force=True, no_database=not database)
    if error:
        for path, data in kept.items():  # nbgrader has removed what it could not replace
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        raise AssignmentError(f"nbgrader did not release {name}, and all is as it was: {reason(error, log)}")
    if kept.get(paths[1]) not in (None, paths[1].read_bytes()):
        keep_earlier(folder, name, kept[paths[1]])
    keep_secret(folder, name, fingerprint(secret))
    return paths[1]


def _check_secret(folder: Path, name: str, secret: str, new_secret: bool) -> None:
    """Raises `AssignmentError` for a secret of no words, and for one that this class did not use so far."""
    if not secret.strip():
        raise AssignmentError("the secret is empty, most likely an unset variable; give words, or leave --secret out")
    known = secrets(folder)
    due = {known[name]} if name in known else {*known.values()}
    if new_secret or not due or fingerprint(secret) in due:
        return
    had, given = (
        " or ".join("no secret" if mark == fingerprint(assignments.PUBLIC) else f"the secret {mark}" for mark in marks)
        for marks in (due, [fingerprint(secret)])
    )
    where = name if name in known else "this class"
    raise AssignmentError(
        f"{where} was released with {had}, and now it is {given}; give --secret as then, or change it with --new-secret"
    )


def student_notebook(assignment: Assignment) -> bytes:
    """What students get, as nbgrader makes it; the same bytes whatever the secret."""
    with tempfile.TemporaryDirectory() as folder:
        return release(assignment, Path(folder), database=False).read_bytes()


def sync(root: Path = assignments.ROOT, write: bool = True) -> list[str]:
    """Write the students' notebooks from their sources, or only say which differ, one sentence each."""
    import nbformat

    due = {one.released: student_notebook(one) for one in assignments.find(root=root)}
    capstone = root / assignments.FOLDER / "src" / "capstone.py"
    if capstone.exists():
        text = nbformat.writes(course.read_lesson(capstone)) + "\n"
        due[root / assignments.FOLDER / "capstone.ipynb"] = text.encode()
    changed = []
    for path, data in due.items():
        if not path.exists() or path.read_bytes() != data:
            changed.append(f"{path.name} differs from src/{path.stem}.py; edit that source, then run: make notebooks")
            if write:
                path.write_bytes(data)
    known = {path.name for path in due}
    for path in sorted((root / assignments.FOLDER).glob("*.ipynb")):
        if path.name not in known:
            changed.append(f"{path.name} has no source in src/; write one, or delete the notebook")
    return changed


# ---- what was handed in
def known_assignments(folder: Path) -> dict[str, Path]:
    """What students got of each assignment: those of this class, and the repository's."""
    ours = {one.name: one.released for one in assignments.find()}
    return ours | {path.stem: path for path in sorted((folder / "release").glob("*/*.ipynb"))}


def nobody(folder: Path, name: str) -> str:
    """That nothing was handed in for an assignment, and where it was looked for."""
    text = f"nobody handed {name} in; due is {folder}/submitted/STUDENT/{name}/{name}.ipynb"
    if any(path.is_file() for path in (folder / "downloaded" / name).rglob("*")):
        text += f"; what lies in {folder}/downloaded/{name} was not collected: see Collect in the guide"
    return text


def check_in(folder: Path, name: str, student: str, mend: bool = True) -> list[preflight.Problem]:
    """Hold a submission against what was released; with `mend`, make it fit for grading.

    What was handed in is then kept beside it, as .original. A notebook under another name is taken if it is the only
    one. Raises `preflight.UnreadableError` where there is nothing to grade.
    """
    import nbformat

    place = folder / "submitted" / student / name
    path = place / f"{name}.ipynb"
    problems = []
    if not path.exists():
        others = sorted(place.glob("*.ipynb"))
        if len(others) != 1:
            listed = f"{path.name} but {', '.join(other.name for other in others)}" if others else "notebook"
            raise preflight.UnreadableError(f"there is no {listed}")
        problems = [preflight.Problem("mended", f"it was called {others[0].name}")]
        path = others[0]
    released = preflight.read(folder / "release" / name / f"{name}.ipynb")
    submitted = preflight.read(path)
    if another := _another(submitted, released, folder, name):
        raise preflight.UnreadableError(f"this is {another}, not {name}")
    if mend and path.stem != name:
        path = path.rename(place / f"{name}.ipynb")
    if others := sorted(other.name for other in place.glob("*.ipynb") if other != path):
        problems.append(preflight.Problem("look", f"not graded, and beside it: {', '.join(others)}"))
    mended, found = preflight.look(submitted, released, [preflight.read(one) for one in earlier(folder, name)])
    if mend and any(problem.kind == "mended" for problem in found):
        shutil.copy(path, path.with_suffix(".original"))
        path.write_text(nbformat.writes(mended) + "\n", encoding="utf-8")
    return problems + found


def _another(submitted: Any, released: Any, folder: Path, name: str) -> str:
    """The other assignment that a notebook is, or an empty text."""
    if len(preflight.named(submitted) & preflight.named(released)) > len(preflight.named(released)) / 2:
        return ""
    for other, path in known_assignments(folder).items():
        if other != name and path.exists() and preflight.is_rather(submitted, preflight.read(path), released):
            return other
    return ""


# ---- grading
def grade_one(folder: Path, name: str, student: str) -> Outcome:
    """Look at one submission, mend it, and let nbgrader grade it; whatever happens, it is told."""
    warnings.filterwarnings("ignore", "Object of type .* not in session")  # nbgrader's own; nothing is lost by it
    begun, points, of, notes = time.monotonic(), 0.0, 0.0, list[str]()
    try:
        if set(student) & set("*?["):  # nbgrader takes names for patterns
            raise preflight.UnreadableError("a student's folder has * ? or [ in its name; rename it")
        notes = [problem.text for problem in check_in(folder, name, student)]
        error, log = run_nbgrader("Autograde", folder, name, student, force=True)
        if error:
            status, notes = "not graded", [reason(error, log), *notes]
        else:
            with gradebook(folder) as book:
                found = book.find_submission(name, student)
                points, of, by_hand = found.score, found.max_score, found.needs_manual_grade
            status = "by hand" if by_hand else "graded"
            notes += _trim(folder / "autograded" / student / name / f"{name}.ipynb")
    except preflight.UnreadableError as error:
        status, notes = "not graded", [str(error)]
    except Exception as error:  # one odd file must not keep the class from being graded
        status, notes = "not graded", [f"grading stopped with {type(error).__name__}: {error}", *notes]
    seconds = round(time.monotonic() - begun, 1)
    return Outcome(student, status, points, of, seconds, "; ".join(notes), digest(folder, name, student))


def _trim(path: Path) -> list[str]:
    """Cut outputs of a graded notebook that nobody could read; name the cells that ran out of time."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    late, cut = {}, False
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if len(output.get("text", "")) > MOST_OUTPUT:
                output["text"] = output["text"][:MOST_OUTPUT] + "\n... cut here\n"
                cut = True
            if output.get("ename") == "CellTimeoutError" or "KeyboardInterrupt" in output.get("ename", ""):
                late[assignments.grade_id(cell) or "an added cell"] = True
    notes = [f"did not end in time: {', '.join(late)}"] if late else []
    if cut:
        path.chmod(0o644)
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        notes.append("long output was cut")
    return notes


def autograde(
    folder: Path, name: str, students: Sequence[str] = (), *, again: bool = False, jobs: int = 1
) -> list[Outcome]:
    """Grade what was handed in, or handed in anew, and is not graded, or `again` all of it; or only some `students`.

    Prints a line a student, and how many were graded now and in all. Outcomes are kept in outcomes/NAME.csv, for
    `report`. Points given by hand stay. Raises `AssignmentError` where nothing was released or handed in.
    """
    if not (folder / "release" / name / f"{name}.ipynb").exists():
        raise AssignmentError(f"{name} was not released in {folder}; run: teach.py release {name} --class {folder}")
    there = submissions(folder, name)
    unknown = sorted(set(students) - set(there))
    if unknown or not there:
        due = f"{', '.join(unknown)}: nothing was handed in; due is {folder}/submitted/STUDENT/{name}/{name}.ipynb"
        raise AssignmentError(due if unknown and there else nobody(folder, name))
    done = {outcome.student: outcome for outcome in outcomes(folder, name)}

    def is_due(student: str) -> bool:
        if again or students:
            return not students or student in students
        kept = done.get(student)
        return kept is None or kept.status == "not graded" or kept.digest != digest(folder, name, student)

    todo = [student for student in there if is_due(student)]
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        waiting = {pool.submit(grade_one, folder, name, student): student for student in todo}
        for number, future in enumerate(as_completed(waiting), 1):
            student = waiting[future]
            try:
                outcome = future.result()
            except BrokenProcessPool:
                outcome = Outcome(student, "not graded", 0.0, 0.0, 0.0, "the grading process ended; grade it once more")
            done[student] = outcome
            keep(folder, name, list(done.values()))
            told = f"{outcome.points:g} of {outcome.of:g}" if outcome.status != "not graded" else "NOT GRADED"
            print(f"[{number}/{len(todo)}] {student}: {told} {outcome.notes and '- ' + outcome.notes}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    stand = [done[student] for student in there if student in done]
    lost = [outcome.student for outcome in stand if outcome.status == "not graded"]
    now = len({*todo} - {*lost})
    told = f"; NOT GRADED: {', '.join(lost)}" if lost else ""
    print(f"{now} graded now, {len(stand) - len(lost)} in all{told}")
    return stand


# ---- proof
def check(root: Path = assignments.ROOT, names: Sequence[str] = (), jobs: int = 1) -> list[str]:
    """Prove the assignments through nbgrader itself; what does not hold, one sentence each.

    Each is released twice to the same bytes, as the repository has it; the right answers score full marks, and every
    wrong one loses points in its own function and in no other. Prints a line an assignment.
    """
    problems = []
    for one in assignments.find(names, root):
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            path, again = (release(one, Path(folder), "a secret of its own") for folder in (first, second))
            if not path.read_bytes() == again.read_bytes() == one.released.read_bytes():
                problems.append(f"{one.name}: two releases, or the repository's, are not the same bytes")
            problems += _prove(one, Path(first), jobs)
        print(f"{one.name}: {len(one.functions)} functions, {len(one.wrong)} wrong answers, "
              f"{time.monotonic() - begun:.0f} s", flush=True)  # fmt: skip
    return problems


def _prove(one: Assignment, folder: Path, jobs: int) -> list[str]:
    source = preflight.read(folder / "source" / one.name / f"{one.name}.ipynb")
    full = assignments.points_of(source.cells)
    wrong = {name: [other for other in one.wrong if other.function == name] for name in one.functions}
    rounds = max(map(len, wrong.values()))
    papers = {"right": []} | {
        f"wrong{number}": [others[number] for others in wrong.values() if number < len(others)]
        for number in range(rounds)
    }
    for student, answers in papers.items():
        hand_in(folder, one.name, student, assignments.answered(source.cells, *answers))
    with _unheard():
        autograde(folder, one.name, jobs=jobs)
    found, problems = report.scores(folder, one.name), []
    for student, answers in papers.items():
        if student not in found:
            problems.append(f"{one.name}: {student} was not graded")
            continue
        missed = {answer.function: answer for answer in answers}
        for name in one.functions:
            had, of = found[student].questions[name]
            if name in missed and (had is None or had >= of):
                problems.append(f"{one.name}: {missed[name].name} passes for {name}")
            elif name not in missed and had != of:
                problems.append(f"{one.name}: a right {name} gets {had} of {of}")
    if sum(full.values()) != next(iter(found.values())).of:
        problems.append(f"{one.name}: nbgrader counts other points than the source")
    return problems


def hand_in(folder: Path, name: str, student: str, cells: Sequence[Any]) -> Path:
    """Put a submission together: the released notebook with the answers of `cells`; its path."""
    import nbformat

    notebook = preflight.read(folder / "release" / name / f"{name}.ipynb")
    answers = {assignments.grade_id(cell): cell.source for cell in cells}
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[assignments.grade_id(cell)]
    path = folder / "submitted" / student / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return path


@contextmanager
def _unheard() -> Iterator[None]:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


# ---- command line
def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code (0 well, 1 something does not hold, 2 a mistake in the call)."""
    parser = argparse.ArgumentParser(prog="tools/teach.py", description="The teacher's kit, a thin layer on nbgrader.")
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, about: str, *, one: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=about, description=about)
        if one:
            made.add_argument("assignment", help="such as a01")
            made.add_argument(
                "--class", dest="folder", type=path_given, required=True, metavar="FOLDER", help="the class"
            )
        return made

    add = verb("release", "write the teacher's and the students' version of an assignment into the class folder")
    add.add_argument("--secret", default=assignments.PUBLIC, help="words from which the hidden data is drawn")
    add.add_argument("--new-secret", action="store_true", help="take another secret than this class had so far")
    add = verb("preflight", "look at what was handed in, and change nothing")
    add = verb("autograde", "grade what was handed in and not yet graded")
    add.add_argument("--again", action="store_true", help="all of it once more; points given by hand stay")
    add.add_argument("--jobs", type=int, default=1, metavar="N", help="so many submissions at once (1)")
    add.add_argument("students", nargs="*", metavar="STUDENT", help="these alone, whether graded before or not")
    add = verb("report", "points as a CSV file, and how the class did")
    add.add_argument("--roster", type=path_given, metavar="CSV", help="the students, so that nobody is left out")
    add.add_argument("--id", dest="column", default="id", help="the roster's column with the students' ids (id)")
    add.add_argument("--form", choices=("plain", "canvas", "moodle"), default="plain", help="who shall read the CSV")
    add.add_argument("--out", type=path_given, metavar="CSV", help="where to write it (FOLDER/points_NAME.csv)")
    add = verb("new", "begin an assignment of your own as a copy of the template", one=False)
    add.add_argument("name", help="a number and a topic, such as a06_top_k")
    add = verb("sync", "write the students' notebooks of this repository from their sources", one=False)
    add.add_argument("--check", action="store_true", help="only name those that differ")
    add = verb("check", "prove every right and wrong answer through nbgrader", one=False)
    add.add_argument("--only", nargs="+", default=(), metavar="NAME", help="these assignments")
    add.add_argument("--jobs", type=int, default=1, metavar="N", help="so many submissions at once (1)")
    args, rest = parser.parse_known_args(argv)
    if args.verb == "autograde" and not any(word.startswith("-") for word in rest):
        args.students += rest  # names that stand after the options
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _do(args)
    except AssignmentError as error:
        print(f"teach: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what was graded is kept", file=sys.stderr)
        return 130


def _do(args: argparse.Namespace) -> int:
    if args.verb == "new":
        for path in assignments.begin(args.name):
            print(f"wrote {path.relative_to(assignments.ROOT).as_posix()}")
        number = args.name.split("_")[0]
        print(f"change both, then: python tools/teach.py sync, and python tools/teach.py check --only {number}")
        return 0
    if args.verb in ("sync", "check"):
        problems = sync(write=not args.check) if args.verb == "sync" else check(names=args.only, jobs=args.jobs)
        if args.verb == "sync" and not args.check:
            return 0
        print("\n".join(problems) or "all holds")
        return 1 if problems else 0
    found = assignments.find([args.assignment])[0]
    name = found.name
    if args.folder.exists() and not args.folder.is_dir():
        raise AssignmentError(f"--class is {args.folder}, which is a file; name a folder")
    if args.verb == "release":
        return _release(found, args.folder, args.secret, args.new_secret)
    if not (args.folder / "nbgrader_config.py").exists():
        raise AssignmentError(f"{args.folder} is no class folder; run: teach.py release {name} --class {args.folder}")
    if args.verb == "preflight":
        return _preflight(args.folder, name)
    if args.verb == "autograde":
        if args.jobs < 1:
            raise AssignmentError(f"--jobs is {args.jobs}; one is the least")
        done = autograde(args.folder, name, args.students, again=args.again, jobs=args.jobs)
        return 1 if any(outcome.status == "not graded" for outcome in done) else 0
    out = args.out or args.folder / f"points_{name}.csv"
    if not out.parent.is_dir():
        raise AssignmentError(f"--out is {out}, and there is no folder {out.parent}; make it, or name another file")
    rows = report.table(args.folder, name, args.form, args.roster, args.column)
    is_roster = args.roster is not None and out.is_file() and out.samefile(args.roster)
    if out.is_file() and (is_roster or not _is_report(out, rows[0])):
        raise AssignmentError(f"--out is {out}, which is there already and is no such report; name another file")
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    except OSError as error:
        raise AssignmentError(f"{out} cannot be written: {error.strerror}; name another with --out") from error
    print(report.summary(args.folder, name))
    print(f"wrote {out}")
    return 0


def _is_report(path: Path, head: Sequence[str]) -> bool:
    """Whether a file begins as a report does, so that a new one may replace it."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return next(csv.reader(file), []) == [*map(str, head)]


def _release(one: Assignment, folder: Path, secret: str, new_secret: bool) -> int:
    """Release an assignment, and print what to give students and what to keep in mind."""
    before = secrets(folder).get(one.name)
    path = release(one, folder, secret, new_secret=new_secret)
    points = sum(assignments.points_of(preflight.read(path).cells).values())
    print(f"{one.name}, {points:g} points; give students {path}")
    if secret == assignments.PUBLIC:
        print("its hidden data is the public one; --secret draws another, that nobody can look up")
    else:
        print(f"the secret's fingerprint is {fingerprint(secret)}; the class's next releases take the same words")
    if before not in (None, fingerprint(secret)):
        print("the secret is another one now, and students graded earlier met other hidden data; "
              f"grade all again: teach.py autograde {one.name} --again --class {folder}")  # fmt: skip
    return 0


def _preflight(folder: Path, name: str) -> int:
    """Print what is odd about each submission; 1 if one cannot be graded, or there is none."""
    students, lost = submissions(folder, name), 0
    for problem in preflight.strays(folder, name, [*known_assignments(folder)]):
        print(f"{problem.kind}: {problem.text}")
    if not students:
        print(nobody(folder, name))
        return 1
    for student in students:
        try:
            problems = check_in(folder, name, student, mend=False)
        except preflight.UnreadableError as error:
            problems, lost = [preflight.Problem("lost", str(error))], lost + 1
        for problem in problems:
            print(f"{student}: {problem.kind.upper() if problem.kind == 'lost' else problem.kind}: {problem.text}")
    print(f"{len(students)} submissions looked at, {lost} cannot be graded; autograde mends what says mended")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
