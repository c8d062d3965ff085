"""The teacher's kit on small classes: grading through nbgrader itself, preflight, reports, mistakes in the call."""

import csv
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import nbformat
import nbgrader.api
import pytest
import warm

import assignments
import preflight
import rehearsal
import report
import teach

NAMES = [one.name for one in assignments.find()]
pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SAWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module", autouse=True)
def forked() -> Iterator[None]:
    """Kernels that start fast; and nbgrader asks a command for its database's version once, not for each class."""
    with warm.kernels(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbgrader.api, "get_alembic_version", functools.cache(nbgrader.api.get_alembic_version))
        yield


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class folder in which a01 is released, and nothing was handed in; not to be changed."""
    folder = tmp_path_factory.mktemp("class")
    teach.release(assignments.find(["a01"])[0], folder, "a secret")
    return folder


@pytest.fixture
def folder(released: Path, tmp_path: Path) -> Path:
    """A copy of it, of one's own."""
    return Path(shutil.copytree(released, tmp_path / "class"))


@pytest.fixture
def paper(folder: Path) -> Callable[[str], rehearsal.Paper]:
    """A submission for a01 by a student of that name."""
    import numpy as np

    one = assignments.find(["a01"])[0]
    cells = preflight.read(folder / "source/a01_data/a01_data.ipynb").cells
    return lambda student: rehearsal.Paper(one, cells, folder, student, np.random.default_rng(0))


def graded(folder: Path, student: str, name: str = "a01_data") -> teach.Outcome:
    """Grade one submission in this process, and keep the outcome."""
    outcome = teach.grade_one(folder, name, student)
    teach.keep(folder, name, [*teach.outcomes(folder, name), outcome])
    return outcome


# ---- through nbgrader
@pytest.mark.parametrize("name", NAMES)
def test_a_right_and_a_wrong_paper_through_nbgrader(name: str, tmp_path: Path):
    one = assignments.find([name])[0]
    path = teach.release(one, tmp_path)
    assert path.read_bytes() == one.released.read_bytes()
    cells = preflight.read(tmp_path / "source" / name / f"{name}.ipynb").cells
    wrong = [next(other for other in one.wrong if other.function == function) for function in one.functions]
    teach.hand_in(tmp_path, name, "right", cells)
    teach.hand_in(tmp_path, name, "wrong", assignments.answered(cells, *wrong))
    outcomes = {student: graded(tmp_path, student, name) for student in ("right", "wrong")}
    scores = report.scores(tmp_path, name)
    full = assignments.points_of(cells)
    for function in one.functions:
        of = full[f"{function}_seen"] + full[f"{function}_hidden"]
        assert scores["right"].questions[function] == (of, of)
        had = scores["wrong"].questions[function]
        assert had[1] == of and had[0] < of, f"{function} answered wrong gets {had}"
    assert outcomes["right"].of == sum(full.values())
    assert outcomes["right"].notes == ""
    due = sum(assignments.run(assignments.answered(cells, *wrong)).values())
    assert outcomes["wrong"].points == pytest.approx(due, abs=1e-9)


@pytest.mark.parametrize(
    "kind",
    [
        rehearsal.tampered, rehearsal.richer, rehearsal.deleted_tests, rehearsal.through_colab, rehearsal.lost_metadata,
        rehearsal.copied_cell, rehearsal.moved_cells, rehearsal.own_cells, rehearsal.renamed, rehearsal.other_kernel,
        rehearsal.untouched, rehearsal.half, rehearsal.typo, rehearsal.warns, rehearsal.peeks, rehearsal.empty_file,
        rehearsal.cut_short, rehearsal.no_notebook, rehearsal.nothing_inside, rehearsal.huge_output,
    ],
)  # fmt: skip
def test_odd_papers_get_what_they_are_due_and_are_told(
    kind: Any, paper: Callable[[str], rehearsal.Paper], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rehearsal, "LINES", 10_000)
    submitted = paper("ada")
    points, word = kind(submitted)
    outcome = teach.grade_one(submitted.folder, "a01_data", "ada")
    assert (None if outcome.status == "not graded" else outcome.points) == points
    assert word in outcome.notes


def test_metadata_that_was_lost_is_a_silent_zero_without_the_preflight(paper: Callable[[str], rehearsal.Paper]):
    submitted = paper("ada")
    rehearsal.lost_metadata(submitted)
    config = submitted.folder / "nbgrader_config.py"
    ours = config.read_text()
    config.write_text(ours.replace("add_missing_cells = True", "add_missing_cells = False"))  # as nbgrader has it
    error, _ = teach.run_nbgrader("Autograde", submitted.folder, "a01_data", "ada", force=True)
    with teach.gradebook(submitted.folder) as book:
        assert (error, book.find_submission("a01_data", "ada").score) == ("", 0)  # and all of it is right
    config.write_text(ours)
    assert teach.grade_one(submitted.folder, "a01_data", "ada").points == 15
    kept = submitted.folder / "submitted/ada/a01_data/a01_data.original"
    assert "grade_id" not in kept.read_text(encoding="utf-8")


def test_an_endless_loop_costs_its_own_function(folder: Path, paper: Callable[[str], rehearsal.Paper]):
    config = folder / "nbgrader_config.py"
    config.write_text(config.read_text().replace("timeout = 20", "timeout = 2"))
    points, word = rehearsal.endless(paper("ada"))
    outcome = teach.grade_one(folder, "a01_data", "ada")
    assert (outcome.status, outcome.points) == ("graded", points)
    assert word in outcome.notes


def test_who_ends_python_is_named_and_the_others_are_graded(folder: Path, paper: Callable[[str], rehearsal.Paper]):
    rehearsal.leaves(paper("ada"))
    rehearsal.right(paper("grace"))
    assert graded(folder, "ada").notes == "Python ended in the middle of it"
    assert graded(folder, "grace").points == 15
    assert "NOT GRADED: ada: Python ended" in report.summary(folder, "a01_data")


def test_points_given_by_hand_stay_when_it_is_graded_again(folder: Path, paper: Callable[[str], rehearsal.Paper]):
    rehearsal.wrong(paper("ada"))
    before = graded(folder, "ada").points
    with teach.gradebook(folder) as book:
        grade = book.find_grade("find_twins_hidden", "a01_data", "a01_data", "ada")
        grade.manual_score = 3
        book.db.commit()
        lost = grade.max_score - grade.auto_score
    assert lost > 0
    assert graded(folder, "ada").points == pytest.approx(before + lost)
    header, row = report.table(folder, "a01_data")  # it waits for another look, and its columns add up all the same
    assert (row[0], row[1]) == ("ada", "by hand")
    each = [float(row[header.index(name)]) for name in assignments.find(["a01"])[0].functions]
    assert sum(each) == pytest.approx(float(row[header.index("points")]))


# ---- what is looked at
def test_a_clean_paper_is_left_alone(folder: Path, paper: Callable[[str], rehearsal.Paper]):
    path = paper("ada").hand_in()
    before = path.read_bytes()
    assert teach.check_in(folder, "a01_data", "ada") == []
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a01_data.ipynb"]


def test_preflight_changes_nothing_and_says_what_grading_will_do(
    folder: Path, paper: Callable[[str], rehearsal.Paper], capsys: pytest.CaptureFixture[str]
):
    rehearsal.lost_metadata(paper("ada"))
    rehearsal.cut_short(paper("bob"))
    rehearsal.renamed(paper("cleo"))
    paper("dora").hand_in()
    before = {path: path.read_bytes() for path in folder.rglob("*.ipynb")}
    assert teach.main(["preflight", "a01", "--class", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "ada: mended: nbgrader's metadata was lost from setup, recover_splits_task" in out
    assert "bob: LOST: a01_data.ipynb is cut short or no notebook at all" in out
    assert "cleo: mended: it was called a01_data (1).ipynb" in out
    assert "dora" not in out
    assert out.endswith("4 submissions looked at, 1 cannot be graded; autograde mends what says mended\n")
    assert {path: path.read_bytes() for path in folder.rglob("*.ipynb")} == before


def test_mending_twice_changes_nothing_more(paper: Callable[[str], rehearsal.Paper]):
    submitted = paper("ada")
    rehearsal.moved_cells(submitted)
    path = submitted.folder / "submitted/ada/a01_data/a01_data.ipynb"
    assert [problem.kind for problem in teach.check_in(submitted.folder, "a01_data", "ada")] == ["mended"]
    first = path.read_bytes()
    assert teach.check_in(submitted.folder, "a01_data", "ada") == []
    assert path.read_bytes() == first


def test_a_cell_of_ones_own_stays_behind_the_cell_it_followed(paper: Callable[[str], rehearsal.Paper]):
    submitted = paper("ada")
    path = submitted.hand_in()

    def change(notebook: Any) -> None:
        place = [assignments.grade_id(cell) for cell in notebook.cells].index("find_twins")
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("mine = 1"))
        del notebook.cells[0]
        notebook.cells.insert(0, notebook.cells.pop())

    submitted.change(path, change)
    mended, _ = preflight.look(preflight.read(path), preflight.read(submitted.one.released))
    after = [assignments.grade_id(cell) or cell.source for cell in mended.cells]
    assert after[after.index("mine = 1") - 1] == "find_twins"


def test_files_where_nbgrader_never_looks_are_told(folder: Path, capsys: pytest.CaptureFixture[str]):
    call = ["preflight", "a01", "--class", str(folder)]
    assert teach.main(call) == 1
    nobody = f"nobody handed a01_data in; due is {folder}/submitted/STUDENT/a01_data/a01_data.ipynb"
    assert capsys.readouterr().out == f"{nobody}\n"
    archive = folder / "downloaded/a01_data/archive/all.zip"
    archive.parent.mkdir(parents=True)
    archive.write_text("")
    for place in ("ada/work.ipynb", "bob/a01/a01.ipynb", "a01_data/cleo/a01_data.ipynb", "dora/a02/x.ipynb",
                  "a01_data.ipynb", "eve/a02_splits_and_images/a02_splits_and_images.ipynb"):  # fmt: skip
        path = folder / "submitted" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert teach.main(call) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"look: submitted/{place} is not looked at where it lies; {what} belongs at submitted/{due}/a01_data.ipynb"
        for place, what, due in (
            ("a01_data/cleo/a01_data.ipynb", "it", "cleo/a01_data"),
            ("a01_data.ipynb", "it", "STUDENT/a01_data"),
            ("ada/work.ipynb", "a01_data", "ada/a01_data"),
            ("bob/a01/a01.ipynb", "it", "bob/a01_data"),
        )
    ] + [f"{nobody}; what lies in {folder}/downloaded/a01_data was not collected: see Collect in the guide"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def find_twins(x)\n    return x", ["find_twins does not compile: line 1: expected ':'"]),
        ("\n  \nx = 1\nreturn x", ["find_twins does not compile: line 4: 'return' outside function"]),
        ("%matplotlib inline\n!ls\ndef find_twins(x):\n    return x", []),
    ],
)
def test_an_answer_that_does_not_compile_is_told(code: str, told: list[str]):
    released, submitted = (preflight.read(assignments.find(["a01"])[0].released) for _ in range(2))
    for cell in submitted.cells:
        if assignments.grade_id(cell) in ("recover_splits", "find_twins", "conflicting_groups"):
            cell.source = code if assignments.grade_id(cell) == "find_twins" else "x = 1"
    assert [problem.text for problem in preflight.look(submitted, released)[1]] == told


@pytest.mark.parametrize("bare", [False, True])
def test_another_assignments_notebook_is_not_graded(bare: bool, folder: Path, capsys: pytest.CaptureFixture[str]):
    notebook = preflight.read(assignments.find(["a02"])[0].released)
    for cell in notebook.cells if bare else []:
        cell.metadata = nbformat.from_dict({})
    path = folder / "submitted/ada/a01_data/a02_splits_and_images.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    outcome = teach.grade_one(folder, "a01_data", "ada")
    assert (outcome.status, outcome.notes) == ("not graded", "this is a02_splits_and_images, not a01_data")
    assert path.exists()
    assert teach.main(["preflight", "a01", "--class", str(folder)]) == 1
    assert "ada: LOST: this is a02_splits_and_images, not a01_data\n" in capsys.readouterr().out


def test_the_courses_own_cell_is_not_held_against_a_student():
    released, submitted = (preflight.read(assignments.find(["a01"])[0].released) for _ in range(2))
    (own,) = [cell for cell in submitted.cells if "NBGRADER_EXECUTION" in cell.source]
    own.source = own.source.replace("'sample'", "'fer2013'").replace('"sample"', "'fer2013'") + "\n# mine"
    assert [problem.text[:12] for problem in preflight.look(submitted, released)[1]] == ["not answered"]
    own.source += "\nprint(os.environ)"
    assert preflight.look(submitted, released)[1][-1].text.startswith("an answer uses os.environ: see")


# ---- reports
@pytest.fixture(scope="module")
def small(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class in which ada is right, bob wrong in one function, and cleo's file is empty."""
    folder = Path(shutil.copytree(released, tmp_path_factory.mktemp("small") / "class"))
    one = assignments.find(["a01"])[0]
    cells = preflight.read(folder / "source/a01_data/a01_data.ipynb").cells
    wrong = next(other for other in one.wrong if other.name == "by_folder")
    teach.hand_in(folder, one.name, "ada", cells)
    teach.hand_in(folder, one.name, "bob", assignments.answered(cells, wrong))
    teach.hand_in(folder, one.name, "cleo", cells).write_text("")
    for student in ("ada", "bob", "cleo"):
        graded(folder, student)
    return folder


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_the_plain_report_leaves_nobody_out(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    roster = write(tmp_path / "students.csv", "id,name", "ada,Ada", "dora,Dora", "bob,Bob")
    header, *rows = report.table(small, "a01_data", roster=roster)
    named = ["student", "name", "status", "points", "of", "recover_splits", "find_twins", "conflicting_groups", "notes"]
    assert header == named
    assert rows == [
        ["ada", "Ada", "graded", "15", "15", "5", "5", "5", ""],
        ["dora", "Dora", "not handed in", "", "", "", "", "", ""],
        ["bob", "Bob", "graded", "10", "15", "0", "5", "5", ""],
        ["cleo", "", "not graded", "", "", "", "", "", "a01_data.ipynb is empty"],
    ]
    assert capsys.readouterr().err == "not handed in: dora\nnot on the roster: cleo\n"


def test_the_report_for_moodle(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    roster = write(tmp_path / "students.csv", "email,n", "ada,1", "dora,2", "cleo,3")
    rows = report.table(small, "a01_data", "moodle", roster, "email")
    assert rows == [
        ["email", "grade", "feedback"],
        ["ada", "15", ""],
        ["dora", "", "nothing was handed in"],
        ["cleo", "", "a01_data.ipynb is empty"],
    ]
    assert capsys.readouterr().err == "not handed in: dora\nnot on the roster, and so not in the file: bob\n"


def test_moodles_grading_worksheet_is_filled_in(folder: Path, paper: Callable[[str], rehearsal.Paper], tmp_path: Path):
    rehearsal.peeks(paper("1234"))  # whose note is not for the student
    graded(folder, "1234")
    columns = "Identifier,Full name,Grade,Maximum Grade,Feedback comments"
    roster = write(tmp_path / "w.csv", columns, "Participant 1234,Ada,,15.00,", "Participant 77,Dora,,15.00,")
    assert report.table(folder, "a01_data", "moodle", roster, "Identifier") == [
        columns.split(","),
        ["Participant 1234", "Ada", "10", "15.00", ""],
        ["Participant 77", "Dora", "", "15.00", "nothing was handed in"],
    ]
    roster = write(tmp_path / "w.csv", columns, "Participant 1234,Ada,,100.00,", "Participant 77,Dora,,100.00,")
    with pytest.raises(assignments.AssignmentError, match="maximum grade 100, and a01_data has 15 points; set 15 in"):
        report.table(folder, "a01_data", "moodle", roster, "Identifier")


def test_the_report_for_canvas_fills_its_own_export(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    roster = write(
        tmp_path / "export.csv",
        "Student,ID,SIS User ID,SIS Login ID,Section,a01_data (77),Current Score",
        "    Points Possible,,,,,15,(read only)",
        '"Lovelace, Ada",1,ada,al,S1,,90',
        '"Dee, Dora",2,dora,dd,S1,,80',
    )
    rows = report.table(small, "a01_data", "canvas", roster, "SIS User ID")
    assert rows == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "a01_data (77)"],
        ["    Points Possible", "", "", "", "", "15"],
        ["Lovelace, Ada", "1", "ada", "al", "S1", "15"],
        ["Dee, Dora", "2", "dora", "dd", "S1", ""],
    ]
    told = "not handed in: dora\nnot on the roster, and so not in the file: bob, cleo\n"
    assert capsys.readouterr().err == told
    header, *rows = report.table(small, "a01_data", "plain", roster, "SIS User ID")
    assert header[:6] == ["student", "Student", "ID", "SIS Login ID", "Section", "status"]
    assert [row[:3] for row in rows[:2]] == [["ada", "Lovelace, Ada", "1"], ["dora", "Dee, Dora", "2"]]
    assert [row[0] for row in rows] == ["ada", "dora", "bob", "cleo"]


def test_the_summary_tells_the_distribution_and_the_most_missed_question(small: Path):
    lines = report.summary(small, "a01_data").splitlines()
    assert lines[:2] == [
        "a01_data: 2 of 3 submissions graded",
        "points of 15: mean 12.5, median 12.5, least 10, most 15",
    ]
    assert "   60 to  70%  ######################################## 1" in lines
    place = lines.index("from the most missed question on, share of its points:")
    assert lines[place + 1].split() == ["recover_splits", "50%", "of", "2"]
    assert lines[-1] == "NOT GRADED: cleo: a01_data.ipynb is empty"


def test_report_writes_what_it_says(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "points.csv"
    assert teach.main(["report", "a01", "--class", str(small), "--out", str(out)]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    with out.open(newline="") as file:
        assert [row["points"] for row in csv.DictReader(file)] == ["15", "10", ""]


# ---- mistakes in the call
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["release", "a09", "--class", "X"], "there is no assignment 'a09'; there are a01_data"),
        (["autograde", "a02", "--class", "X"], "a02_splits_and_images was not released in X; run: teach.py release"),
        (["autograde", "a01", "--class", "X"], "nobody handed a01_data in; due is X/submitted/STUDENT/a01_data"),
        (["autograde", "a01", "--class", "X", "--jobs", "0"], "--jobs is 0; one is the least"),
        (["report", "a01", "--class", "X", "--roster", "missing.csv"], "the roster missing.csv cannot be read"),
        (["report", "a01", "--class", "X", "--form", "canvas"], "for Canvas, --roster is its own export"),
        (["report", "a01", "--class", "nowhere"], "nowhere is no class folder; run: teach.py release"),
        (["preflight", "a01", "--class", "nowhere"], "nowhere is no class folder; run: teach.py release"),
        (["report", "a01", "--class", "X/nbgrader_config.py"], "--class is X/nbgrader_config.py, which is a file"),
        (["release", "a01", "--class", "X/nbgrader_config.py/sub"], "the class folder X/nbgrader_config.py/sub"),
        (["report", "a01", "--class", "X", "--out", "no/p.csv"], "--out is no/p.csv, and there is no folder no; make"),
        (["report", "a01", "--class", "X", "--out", "X"], "X cannot be written: Is a directory; name"),
        (["autograde", "a01", "--class", "X", "ada", "bob"], "nobody handed a01_data in; due is X/submitted/STUDENT"),
        (["release", "a01", "--class", "X", "--secret", " "], "the secret is empty, most likely an unset variable"),
        (["release", "a01", "--class", "X", "--secret", "b"], "a01_data was released with the secret "),
        (["release", "a02", "--class", "X"], "this class was released with the secret "),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    call: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder.parent)
    folder.rename("X")
    assert teach.main(call) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"teach: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("id,name\nada,Zoë".encode("latin-1"), 'students.csv is not in UTF-8; save it as "CSV UTF-8"'),
        (b"id;name\nada;Ada", "students.csv is separated by semicolons; save it with commas"),
    ],
)
def test_a_roster_as_some_spreadsheets_save_it_is_refused(data: bytes, said: str, small: Path, tmp_path: Path):
    (tmp_path / "students.csv").write_bytes(data)
    with pytest.raises(assignments.AssignmentError, match=said):
        report.table(small, "a01_data", roster=tmp_path / "students.csv")


def test_a_roster_without_the_ids_is_refused(small: Path, tmp_path: Path):
    roster = write(tmp_path / "students.csv", "name,email", "Ada,a@b")
    with pytest.raises(assignments.AssignmentError, match="has no column 'id' but name, email; name one with --id"):
        report.table(small, "a01_data", roster=roster)


def test_a_roster_that_names_nobody_who_was_graded_is_refused(small: Path, tmp_path: Path):
    roster = write(tmp_path / "students.csv", "id", "77", "78")
    with pytest.raises(assignments.AssignmentError, match="nobody who was graded .ada, bob, ...+ stands in"):
        report.table(small, "a01_data", roster=roster)
    roster = write(tmp_path / "students.csv", "id", "ada", "ada")
    with pytest.raises(assignments.AssignmentError, match="names these more than once: ada"):
        report.table(small, "a01_data", roster=roster)


def test_points_that_wait_for_a_person_are_not_sent_as_grades(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    one = assignments.find(["a05"])[0]
    teach.release(one, tmp_path)
    teach.hand_in(tmp_path, one.name, "ada", one.read().cells)
    assert graded(tmp_path, "ada", one.name).status == "by hand"
    roster = write(tmp_path / "students.csv", "id", "ada")
    assert report.table(tmp_path, one.name, "moodle", roster)[1] == ["ada", "", ""]
    assert "waiting for points by hand: ada" in capsys.readouterr().err
    assert "1 wait for points by hand" in report.summary(tmp_path, one.name)
    with teach.gradebook(tmp_path) as book:
        for grade in book.find_submission(one.name, "ada").notebooks[0].grades:
            if grade.needs_manual_grade:
                grade.manual_score, grade.needs_manual_grade = 4, False
        book.db.commit()
    assert report.table(tmp_path, one.name, "moodle", roster)[1] == ["ada", "37", ""]
    assert report.table(tmp_path, one.name, roster=roster)[1][:4] == ["ada", "graded", "37", "40"]


# ---- the whole of it, as a teacher calls it


class Here(Executor):
    """A pool that works in this process."""

    def __init__(self, jobs: int, mp_context: Any):
        assert mp_context.get_start_method() == "spawn"

    def submit(self, task: Callable[..., Any], /, *arguments: Any) -> Future:
        future: Future = Future()
        future.set_result(task(*arguments))
        return future


def test_a_class_is_graded_goes_on_and_takes_what_is_handed_in_anew(
    folder: Path, paper: Callable[[str], rehearsal.Paper], capsys: pytest.CaptureFixture[str], monkeypatch
):
    call = ["autograde", "a01", "--class", str(folder)]
    rehearsal.right(paper("ada"))
    rehearsal.cut_short(paper("bob"))
    strange = paper("cleo").hand_in()
    notebook = json.loads(strange.read_text())
    notebook["cells"][0]["metadata"]["nbgrader"] = []
    strange.write_text(json.dumps(notebook))
    assert teach.main([*call, "--jobs", "2"]) == 1
    out = capsys.readouterr().out
    assert "ada: 15 of 15" in out and "cleo: 15 of 15 - nbgrader's metadata of a cell was broken" in out
    assert out.endswith("\n2 graded now, 2 in all; NOT GRADED: bob\n")
    monkeypatch.setattr(teach, "ProcessPoolExecutor", Here)
    assert teach.main([*call, "ada", "dora"]) == 2  # names may stand behind the options
    assert capsys.readouterr().err.startswith("teach: dora: nothing was handed in; due is")
    assert teach.main([*call[:2], "ada", *call[2:]]) == 1
    assert capsys.readouterr().out.endswith("\n1 graded now, 2 in all; NOT GRADED: bob\n")
    rehearsal.right(paper("bob"))  # hands in another file, as asked
    assert teach.main(call) == 0
    assert capsys.readouterr().out == "[1/1] bob: 15 of 15 \n1 graded now, 3 in all\n"
    assert teach.main(call) == 0
    assert capsys.readouterr().out == "0 graded now, 3 in all\n"
    rehearsal.untouched(paper("ada"))  # hands in once more
    assert teach.main(call) == 0
    assert capsys.readouterr().out.startswith("[1/1] ada: 0 of 15")


def test_a_release_that_nbgrader_refuses_leaves_all_as_it_was(folder: Path, paper: Callable[[str], rehearsal.Paper]):
    submitted = paper("ada")
    rehearsal.right(submitted)
    graded(folder, "ada")
    before = {path: path.read_bytes() for step in ("source", "release") for path in (folder / step).rglob("*.ipynb")}
    fewer = assignments.Assignment("a01_data")
    cells = fewer.read()
    cells.cells = [cell for cell in cells.cells if not assignments.grade_id(cell).startswith("find_twins")]
    object.__setattr__(fewer, "notebook", lambda secret: cells)
    with pytest.raises(assignments.AssignmentError, match="all is as it was: .*submissions"):
        teach.release(fewer, folder, "a secret")
    assert {path: path.read_bytes() for path in before} == before
    assert graded(folder, "ada").points == 15


def test_a_class_keeps_to_one_secret_until_told_otherwise(folder: Path, capsys: pytest.CaptureFixture[str]):
    call = ["release", "a01", "--class", str(folder), "--secret"]
    source = folder / "source/a01_data/a01_data.ipynb"
    before, marks = source.read_bytes(), [teach.fingerprint(words) for words in ("a secret", "other words")]
    assert [len(mark) for mark in marks] == [12, 12] and marks[0] != marks[1]
    assert teach.main([*call, "a secret"]) == 0
    assert f"the secret's fingerprint is {marks[0]}; the class's next releases" in capsys.readouterr().out
    assert source.read_bytes() == before
    assert teach.main([*call, "other words"]) == 2
    assert capsys.readouterr().err == (
        f"teach: a01_data was released with the secret {marks[0]}, and now it is the secret {marks[1]}; "
        "give --secret as then, or change it with --new-secret\n"
    )
    assert teach.main(call[:-1]) == 2
    assert f"the secret {marks[0]}, and now it is no secret; give" in capsys.readouterr().err
    assert source.read_bytes() == before
    assert teach.main([*call, "other words", "--new-secret"]) == 0
    assert capsys.readouterr().out.endswith(
        "students graded earlier met other hidden data; "
        f"grade all again: teach.py autograde a01_data --again --class {folder}\n"
    )
    assert source.read_bytes() != before
    assert teach.secrets(folder) == {"a01_data": marks[1]}


def test_who_holds_an_earlier_release_is_not_said_to_have_changed_it(
    folder: Path, paper: Callable[[str], rehearsal.Paper]
):
    paper("ada").hand_in()
    again = assignments.Assignment("a01_data")
    changed = again.notebook("a secret")
    for cell in changed.cells:
        if assignments.grade_id(cell) == "find_twins_task":
            cell.source += "\nA mistake is mended."
    object.__setattr__(again, "notebook", lambda secret: changed)
    teach.release(again, folder, "a secret")
    teach.release(again, folder, "a secret")
    assert [path.name for path in teach.earlier(folder, "a01_data")] == ["a01_data.earlier001.ipynb"]
    assert teach.check_in(folder, "a01_data", "ada") == []
    rehearsal.tampered(paper("bob"))
    assert [problem.text[:24] for problem in teach.check_in(folder, "a01_data", "bob")] == ["locked cells were change"]


def test_a_split_answer_stays_whole_and_words_are_known_by_their_place():
    released = preflight.read(assignments.find(["a05"])[0].released)
    submitted = preflight.read(assignments.find(["a05"])[0].released)
    for cell in submitted.cells:
        if assignments.grade_id(cell) == "claim":
            cell.source = "It is about words for looks."
        if assignments.grade_id(cell) == "ece":
            cell.source = "def helper():\n    return 1"
            other = nbformat.v4.new_code_cell("def ece(sure, right, bins=15):\n    return helper()")
            other.metadata = nbformat.from_dict({"nbgrader": dict(cell.metadata["nbgrader"])})
            last = nbformat.v4.new_code_cell("ece(1, 2)", metadata={"nbgrader": dict(cell.metadata["nbgrader"])})
    place = [assignments.grade_id(cell) for cell in submitted.cells].index("ece")
    submitted.cells[place + 1 : place + 1] = [other, last]
    for cell in submitted.cells:
        if assignments.grade_id(cell) == "claim":
            cell.metadata, cell.id = nbformat.from_dict({}), "lost"
    mended, problems = preflight.look(submitted, released)
    code = [cell.source for cell in mended.cells]
    assert code.index("def helper():\n    return 1") < code.index(other.source) < code.index("ece(1, 2)")
    named = {assignments.grade_id(cell): cell.source for cell in mended.cells}
    assert (named["ece"], named["claim"]) == (other.source, "It is about words for looks.")
    assert "ece is there 3 times; its last definition counts" in [problem.text for problem in problems]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import tensorflow as tf", "not installed here, so that a cell will fail: tensorflow"),
        ("from google.colab import files", "not installed here, so that a cell will fail: google.colab"),
        ("def credit(tried, cases, points):\n    return points", "an answer gives another meaning to credit"),
        ("all = [1]", "an answer gives another meaning to all, which the tests use"),
        ("import sqlite3", "an answer uses sqlite3"),
        ("from pathlib import Path\nname = Path('a/b').name  # inspect the name", ""),
        ("import numpy as np\nmodel.eval()", ""),
        ("%matplotlib inline", ""),
    ],
)
def test_what_students_code_says_about_itself(code: str, told: str):
    problems = [problem.text for problem in preflight._read_code([code])]
    assert [text[: len(told)] for text in problems] == ([told] if told else [])


NAMES_OF_STUDENTS = ["o'brien, j. 90%", "Ána müller_李雷", "x{y}&z"]


def test_students_of_any_name_are_graded_and_reported(folder: Path, paper: Callable[[str], rehearsal.Paper]):
    for student in NAMES_OF_STUDENTS:
        paper(student).hand_in()
        outcome = graded(folder, student)
        assert (outcome.status, outcome.points, outcome.student) == ("graded", 15, student), outcome.notes
    paper("a[d]a").hand_in()
    assert "has * ? or [ in its name; rename it" in teach.grade_one(folder, "a01_data", "a[d]a").notes
    rows = report.table(folder, "a01_data", "plain", None, "id")
    assert {row[0] for row in rows[1:]} == {*NAMES_OF_STUDENTS, "a[d]a"}


def test_a_report_replaces_its_own_file_alone(folder: Path, paper: Callable[[str], rehearsal.Paper], capsys):
    paper("o'brien").hand_in()
    graded(folder, "o'brien")
    roster = folder / "students.csv"
    roster.write_text("id\no'brien\n")
    call = ["report", "a01", "--class", str(folder), "--roster", str(roster)]
    mine = folder / "mine.csv"
    mine.write_text("my own notes")
    for out in (roster, mine):
        before = out.read_bytes()
        assert teach.main([*call, "--out", str(out)]) == 2
        assert "is there already and is no such report; name another file" in capsys.readouterr().err
        assert out.read_bytes() == before
    for _ in range(2):
        assert teach.main(call) == 0, "a second report replaces the first"


def test_sync_names_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = tmp_path / assignments.FOLDER
    shutil.copytree(assignments.ROOT / assignments.FOLDER, place)
    for path in [*place.glob("*.ipynb"), *place.glob("src/a0[2-9]*"), *place.glob("src/capstone.py")]:
        path.unlink()
    assert teach.sync(tmp_path, write=False) == [
        "a01_data.ipynb differs from src/a01_data.py; edit that source, then run: make notebooks"
    ]
    teach.sync(tmp_path)
    assert teach.sync(tmp_path, write=False) == []
    notebook = json.loads((place / "a01_data.ipynb").read_text())
    notebook["cells"][0]["source"] = ["changed"]
    (place / "a01_data.ipynb").write_text(json.dumps(notebook))
    (place / "alone.ipynb").write_text("{}")
    assert [problem.split()[0] for problem in teach.sync(tmp_path, write=False)] == ["a01_data.ipynb", "alone.ipynb"]
