"""The environments with the oldest and the newest versions: what they are made of."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import colab
import versions


def test_each_requirement_has_a_lower_bound_and_pip_is_given_it():
    needs = {need.name: need for need in versions.requirements()}
    assert {"torch", "albumentations", "nbgrader", "gradio", "onnxruntime", "jupyterlab", "hypothesis"} <= set(needs)
    bounds = versions.lower_bounds()
    assert {"torch==2.4.*", "albumentations==2.0.8", "timm==1.0.12", "gradio==6.17.3"} <= set(bounds)
    assert "mypy" not in " ".join(bounds)
    for bound in map(Requirement, bounds):
        first = next(iter(bound.specifier)).version.removesuffix(".*")
        assert f"{first}.0" in needs[bound.name].specifier or first in needs[bound.name].specifier


def test_all_requirements_are_read():
    project = pytest.importorskip("tomllib").loads((versions.ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    assert [str(Requirement(each)) for each in asked] == [str(need) for need in versions.requirements()]


def test_the_environment_is_made_with_the_bounds_and_removed(monkeypatch, capsys, tmp_path):
    called = []

    def run(command, **options):
        called.append([str(part) for part in command])
        pins = [part for part in called[-1] if part.endswith("lower_bounds.txt")]
        if pins:
            assert "torch==2.4.*" in Path(pins[0]).read_text().split()
        out = "requirements.txt\0" if "ls-files" in command else "Python 3.10.1\n"
        return subprocess.CompletedProcess(command, 3 if "pytest" in command else 0, out)

    place = tmp_path / "place"
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(colab.tempfile, "mkdtemp", lambda prefix: str(place))
    monkeypatch.setattr(colab, "versions", lambda python: {"torch": "2.4.1"})
    assert versions.main(["oldest", "--python", "python3.10", "--pytest=-k data"]) == 3
    assert called[-1][1:] == ["-m", "pytest", "-n", "2", "--dist", "worksteal", "-W", "default", "-k", "data"]
    assert not place.exists()
    assert "torch 2.4.1" in capsys.readouterr().out


def test_the_oldest_packages_are_not_tried_with_another_python(monkeypatch, capsys):
    monkeypatch.setattr(colab, "find_python", lambda version: sys.executable)
    monkeypatch.setattr(versions.sys, "version_info", (3, 12, 1))
    monkeypatch.setattr(versions, "check", lambda *_: pytest.fail("it was tried"))
    with pytest.raises(SystemExit):
        versions.main(["oldest"])
    assert "Python 3.10 is not here; install it, or name another: --python PATH" in capsys.readouterr().err


@pytest.mark.parametrize("tool", [versions, colab])
def test_a_python_that_is_not_there_is_told(capsys, tool):
    assert tool.main(["oldest" if tool is versions else "check", "--python", "/nowhere/python"]) == 1
    assert "/nowhere/python" in capsys.readouterr().err
