"""The environments with the oldest and the newest versions: what they are made of."""

import itertools
import subprocess
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
