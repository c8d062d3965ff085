"""What lessons are made with: guesses, checks of exercises, claims and their table."""

import csv
from pathlib import Path

import numpy as np
import pytest

import lesson as tool
from ferlib import models
from ferlib.lesson import Lesson


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lesson:
    for name in ("FERLIB_DATA", "FERLIB_FAST", "FERLIB_ANSWERS", "FERLIB_SEEDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FERLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("FERLIB_CLAIMS", str(tmp_path / "claims.csv"))
    return Lesson("03")


def test_a_guess_is_held_against_the_value(here: Lesson, capsys: pytest.CaptureFixture[str]):
    here.guess(30, 25.1)
    here.guess(..., 25.1, "faces")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "It is 25.1 %; you guessed 30, 4.9 off."
    assert said[1].startswith("It is 25.1 faces. You made no guess")
    here.guess(1500, 2000, "faces")
    assert capsys.readouterr().out == "It is 2,000 faces; you guessed 1500, 500 off.\n"
    here.guess("40", 25.1)
    assert capsys.readouterr().out == "It is 25.1 %. '40' is no number: put a number in, and run this again.\n"


def double(x: int) -> int:
    return 2 * x


def square(x: int) -> int:
    return x * x


WRONG = [(square, "that squares it")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (double, "Right."),
        (square, "Not yet: that squares it"),
        (lambda x: x, "Not yet: 2 is not what is asked for."),
        (lambda x: ..., "No answer yet"),
        (lambda x: x / 0, "Not yet: your function stopped with ZeroDivisionError"),
        (..., "No answer yet"),
        (7, "Not yet: 7 is not"),
    ],
)
def test_check_explains(here: Lesson, capsys: pytest.CaptureFixture[str], answer, said):
    here.check(answer, double, WRONG, on=[(2,), (3,)])
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    ("answer", "said"), [(0.5, "Right."), ([0.5], "Not yet: [0.5]"), (0.25, "Not yet: half"), ("x", "Not yet: 'x'")]
)
def test_check_of_values(here: Lesson, capsys: pytest.CaptureFixture[str], answer, said):
    here.check(answer, 0.5, [(0.25, "half")])
    assert capsys.readouterr().out.startswith(said)


def test_check_of_a_type(here: Lesson, capsys: pytest.CaptureFixture[str]):
    right, wide = np.array([1, 2], np.uint8), np.array([1, 2])
    here.check(wide, right)
    here.check(wide, right, [(wide, "too wide")], dtype=True)
    here.check(right.copy(), right, [(wide, "too wide")], dtype=True)
    assert capsys.readouterr().out.splitlines() == ["Right.", "Not yet: too wide", "Right."]


def test_solutions_stand_in_for_answers_when_tests_ask(here: Lesson, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FERLIB_ANSWERS", "solution")
    here.check(..., double, WRONG, on=[(2,), (3,)])
    assert capsys.readouterr().out == "Right.\n"
    with pytest.raises(AssertionError, match="not told apart: that squares it"):
        here.check(..., double, WRONG, on=[(2,)])  # 2 * 2 is 2 ** 2: this question cannot tell


def test_claims_go_into_the_table_and_failures_are_counted(here: Lesson, tmp_path: Path, capsys):
    assert here.claim("a gap", 7.25, 5, interval=(6, 8.5), n=2000, seeds=3)
    assert not here.claim("a cost", 4, 3, at_most=True, n=100)
    assert tool.show_claims(tmp_path) == 1
    said = capsys.readouterr().out
    assert "Claim held: a gap: 7.25 [6, 8.5] points, at least 5 expected" in said
    assert "Claim FAILED: a cost: 4 points, at most 3 expected" in said
    assert "7.25 points" in said and "6 to 8.5" in said
    with (tmp_path / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["lesson"], row["n"], row["seeds"], row["held"]) for row in rows] == [
        ("03", "2000", "3", "True"), ("03", "100", "1", "False"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at_most", "interval", "held"),
    [(False, (5.5, 9), True), (False, (4, 9), False), (True, (1, 4.5), True), (True, (1, 9), False)],
)
def test_a_claim_may_be_judged_by_its_intervals_end(here: Lesson, at_most: bool, interval, held: bool):
    measured = 4.0 if at_most else 6.0
    assert here.claim("a gap", measured, 5, n=10, at_most=at_most, interval=interval, by_interval=True) == held
    assert here.claim("a gap", measured, 5, n=10, at_most=at_most, interval=interval)
    assert here.claim("a gap", measured, 5, n=10, at_most=at_most, by_interval=True), "without one, by the value"


@pytest.mark.parametrize("name", ["FERLIB_FAST", "FERLIB_DATA"])
def test_fast_runs_and_photographs_only_report(here: Lesson, tmp_path: Path, monkeypatch, capsys, name):
    monkeypatch.setenv(name, "1")
    assert not Lesson("04").claim("a gap", 1, 5, n=10)
    assert "reported only" in capsys.readouterr().out
    assert tool.show_claims(tmp_path) == 0


def test_training_faces_are_thinned_and_it_is_said(here: Lesson, capsys: pytest.CaptureFixture[str]):
    faces = here.load(most=100)
    assert faces.counts().sum(axis=1).to_dict() == {"Training": 100, "PublicTest": 2000}
    assert "of 2,800 training faces 100 are used" in capsys.readouterr().out


def small() -> models.FaceModel:
    return models.build_model("fernet", widths=(8, 8, 8, 8))


def test_the_model_is_the_one_kept_earlier_or_the_one_that_ships(here: Lesson, capsys: pytest.CaptureFixture[str]):
    shipped = here.model("03")
    assert "the model that ships, 'drawn': lesson 03 has kept none" in capsys.readouterr().out
    path = here.keep(small())
    kept = Lesson("04").model("03")
    assert capsys.readouterr().out == f"the model that lesson 03 kept, {path}\n"
    assert models.model_hash(kept) != models.model_hash(shipped)
    assert kept.about["lesson"] == "03"


def begin(monkeypatch: pytest.MonkeyPatch, number: str, **env: str) -> Lesson:
    """A lesson that begins under these variables."""
    for name in ("FERLIB_DATA", "FERLIB_FAST"):
        monkeypatch.setenv(name, env.get(name, ""))
    return Lesson(number)


@pytest.mark.parametrize(("kept", "now", "ships"), [("", "faces.csv", "fer2013"), ("faces.csv", "", "drawn")])
def test_a_kept_model_of_other_faces_is_left(here: Lesson, monkeypatch, capsys, kept: str, now: str, ships: str):
    path = begin(monkeypatch, "03", FERLIB_DATA=kept).keep(small())
    model = begin(monkeypatch, "04", FERLIB_DATA=now).model("03")
    why = f"was trained on {kept or 'sample'!r}, not on {now or 'sample'!r}"
    assert capsys.readouterr().out == f"the model that ships, {ships!r}: {path} {why}\n"
    assert models.model_hash(model) == models.model_hash(models.load_model(ships))


def test_a_fast_run_leaves_a_full_ones_model_alone(here: Lesson, monkeypatch: pytest.MonkeyPatch, capsys):
    path = begin(monkeypatch, "03").keep(small())
    whole = path.read_bytes()
    quick = begin(monkeypatch, "03", FERLIB_FAST="1").keep(small())
    assert quick != path and path.read_bytes() == whole
    begin(monkeypatch, "04", FERLIB_FAST="1").model("03")
    begin(monkeypatch, "04").model("03")
    said = capsys.readouterr().out.splitlines()
    assert said == [f"the model that lesson 03 kept, {kept}" for kept in (quick, path)]


def test_a_kept_model_that_does_not_tell_its_faces_is_left(here: Lesson, capsys: pytest.CaptureFixture[str]):
    path = models.save_model(small(), here.folder)
    assert models.model_hash(here.model("03")) == models.model_hash(models.load_model("drawn"))
    assert capsys.readouterr().out == (
        f"the model that ships, 'drawn': {path} was trained on 'faces that it does not name', not on 'sample'\n"
    )


def test_the_twelve_are_the_same_everywhere(here: Lesson, monkeypatch: pytest.MonkeyPatch):
    test_set = here.load().subset("PublicTest")
    twelve = here.twelve(test_set)
    assert len(set(twelve)) == 12 and np.array_equal(twelve, Lesson("09").twelve(test_set))
    table = test_set.table.iloc[twelve]
    assert Lesson("03").twelve(test_set.subset(np.arange(100))).tolist() == [*range(12)]  # as in a fast run
    assert (table["twin_of"] < 0).all() and not table["blank"].any()
    assert table["label"].nunique() >= 5
    monkeypatch.setenv("FERLIB_DATA", "faces.csv")
    assert Lesson("03").twelve(test_set.subset(np.arange(5))).tolist() == [0, 1, 2, 3, 4]


def test_seeds_are_three_one_in_a_fast_run_or_as_told(here: Lesson, monkeypatch: pytest.MonkeyPatch):
    assert here.seeds == range(3)
    monkeypatch.setenv("FERLIB_SEEDS", "10")
    assert Lesson("03").seeds == range(10)
    monkeypatch.setenv("FERLIB_FAST", "1")
    assert Lesson("03").seeds == range(1)


def test_the_photographs_answers_are_those_of_the_shipped_run(here: Lesson, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = here.photographs()
    assert found is not None and (found.correct.sum(), len(found.labels)) == (2526, 3589)
    assert here.photographs(views="single_view").correct.sum() == 2453
    clean = here.photographs(clean=True)
    assert (clean.correct.sum(), len(clean.labels)) == (2268, 3309)  # 68.54%, as in benchmarks/fer2013/figures.csv
    assert here.evidence("long-0").name == "long-0"
    assert here.photographs("no such run") is None
    assert "get the whole repository" in capsys.readouterr().out
