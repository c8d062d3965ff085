"""Colab's side of the course: what is installed there, that nothing is replaced, and the throw-away environment."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import colab
from ferlib import doctor


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The packages of a runtime, which the test changes, and what ferlib asks for."""
    there = {"torch": "2.11.0", "opencv-python": "5.0.0"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    asked = ["torch>=2.4", "captum>=0.7", "opencv-contrib-python>=4.11,<5", 'onnx>=1.16; extra == "onnx"']
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    monkeypatch.setattr(metadata, "version", version)
    return there


def test_missing_is_what_has_no_version_at_all(runtime: dict[str, str]):
    assert colab.missing() == ["captum>=0.7"]  # an OpenCV is there: another one would replace its files
    runtime["torch"] = "1.0"  # too old, and left alone all the same
    assert colab.missing() == ["captum>=0.7"]
    del runtime["opencv-python"]
    assert colab.missing() == ["captum>=0.7", "opencv-contrib-python<5,>=4.11"]


def test_install_replaces_nothing_and_says_what_is_lacking(runtime, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path):
    called: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: called.append(command))
    lacks = [doctor.Check("cv2", False, "cv2.face is missing", "pip install this"), doctor.Check("x", True, "fine")]
    monkeypatch.setattr(doctor, "check", lambda: lacks)
    colab.install(tmp_path)
    assert [command[-1] for command in called] == [str(tmp_path), "captum>=0.7"]
    assert all(command[:5] == [sys.executable, "-m", "pip", "install", "-q"] for command in called)
    assert all("--no-deps" in command for command in called)
    said = capsys.readouterr().out
    assert "installed: ferlib, captum>=0.7 and nothing replaced" in said
    assert "FIX   cv2.face is missing\n      pip install this" in said and "fine" not in said


def test_without_a_network_install_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys):
    def fail(command: list[str], check: bool) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fail)
    assert colab.main(["install"]) == 1
    assert capsys.readouterr().err == f"pip could not install {colab.ROOT}: is there a network?\n"


def test_the_environment_gets_a_copy_of_the_course_and_is_told_what_was_replaced(monkeypatch, tmp_path: Path):
    called = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: called.append([*map(str, command)]))
    have = iter([{"torch": "2.11.0"}, {"torch": "2.11.0", "captum": "0.9"}])
    monkeypatch.setattr(colab, "versions", lambda python: next(have))
    own = colab.make(tmp_path, sys.executable)
    assert own.is_relative_to(tmp_path / "env")
    assert (tmp_path / "ferlib/ferlib/lesson.py").is_file() and (tmp_path / "ferlib/notebooks/src").is_dir()
    assert called[0] == [sys.executable, "-m", "venv", str(tmp_path / "env")]
    assert {"torch==2.11.0", "opencv-python==5.0.0.93", "ipython==7.34.0"} <= set(called[1])
    assert called[2] == [str(own), str(tmp_path / "ferlib/tools/colab.py"), "install"]
    other = iter([{"torch": "2.11.0"}, {"torch": "2.14.0"}])
    monkeypatch.setattr(colab, "versions", lambda python: next(other))
    (tmp_path / "b").mkdir()
    with pytest.raises(RuntimeError, match="it replaced torch 2.11.0 by 2.14.0"):
        colab.make(tmp_path / "b", sys.executable)


@pytest.mark.parametrize("keep", [False, True])
def test_check_leaves_nothing_behind_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys, keep):
    def broken(place: Path, python: str) -> Path:
        raise RuntimeError("no room")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(colab, "make", broken)
    assert colab.check(sys.executable, keep=keep) == 1
    assert len(list(tmp_path.iterdir())) == keep
    out, err = capsys.readouterr()
    assert f"Python {sys.version.split()[0]}; Colab has Python 3.13" in out
    assert err == "colab: no room\n"


def test_a_python_is_found_or_this_one_taken(monkeypatch: pytest.MonkeyPatch):
    assert colab.find_python("9.9") == sys.executable
    here = "{}.{}".format(*sys.version_info)
    found = subprocess.run([colab.find_python(here), "--version"], capture_output=True, text=True, check=True).stdout
    assert found.startswith(f"Python {here}.")
    assert colab.versions(Path(sys.executable))["ferlib"]
