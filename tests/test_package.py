"""The package as a whole: what importing it does, who may import whom, and that all of it is documented."""

import ast
import doctest
import importlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ferlib

FOLDER = Path(ferlib.__file__).parent
FILES = sorted(path for path in FOLDER.rglob("*.py") if path.name != "__main__.py")
MODULES = {".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
ROOMS = sorted({name.partition(".")[0] for name in MODULES} - {"__init__"})
ALLOWED = {  # the rooms, in order: each imports only from rooms above it, and only from those named
    "emotions": set(),
    "utils": set(),
    "transforms": {"utils"},
    "sample": {"emotions"},
    "data": {"emotions", "sample", "transforms", "utils"},
    "protocol": {"data", "emotions"},
    "models": {"data", "emotions", "transforms", "utils"},
    "training": {"data", "emotions", "models", "transforms", "utils"},
    "recipes": {"models", "training", "transforms", "utils"},
    "evaluation": {"data", "emotions", "models", "utils"},
    "plots": {"emotions", "evaluation", "utils"},
    "explain": {"evaluation", "models", "utils"},
    "doctor": {"utils"},
    "apps": {"data", "emotions", "evaluation", "explain", "models", "plots", "transforms", "utils"},
    "lesson": {"data", "evaluation", "models", "utils"},
    "cli": {*ROOMS} - {"lesson"},
}


def run_python(code: str, **env: str) -> str:
    """Output of `code` in a fresh Python."""
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"} | env
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imported(source: str) -> set[str]:
    """Rooms of ferlib that a module's source imports, wherever in it and in whichever way."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("ferlib.")}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "ferlib imports by full names"
            parts = (node.module or "").split(".")
            if parts[0] == "ferlib":
                found |= {parts[1]} if len(parts) > 1 else {name.name for name in node.names}
    return {name for name in found if not name.startswith("__")}


def test_importing_ferlib_loads_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "cv2", "matplotlib", "albumentations"}
    assert run_python(f"import sys, ferlib; print(*sorted({heavy} & set(sys.modules)))") == ""


def test_importing_the_modules_is_quick_and_quiet():
    """No plot setting changes, nothing asks the network, and two heavy packages wait until they are needed.

    Batched augmentation never needs albumentations. That asks for its newest version when it is imported, unless the
    environment forbids it, as ferlib does.
    """
    code = f"""
import importlib, socket, sys
import matplotlib
def refuse(*args, **kwargs):
    raise SystemExit(f"an import reached for the network: {{args}}")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
before = matplotlib.rcParams.copy()
for name in {list(MODULES)}:
    importlib.import_module(("ferlib." + name).removesuffix(".__init__"))
    changed = [key for key in before if before[key] != matplotlib.rcParams[key]]
    if changed:
        print(name, "changes", changed)
    if {{"timm", "albumentations"}} & set(sys.modules):
        raise SystemExit(f"{{name}} imports timm or albumentations, which take seconds")
sys.modules["albumentations"] = None
import torch
from ferlib import recipes, transforms
assert recipes.get_recipe("fast").build()[2] is None
augment = transforms.BatchAugment(transforms.InputSpec())
print(tuple(augment(torch.zeros(2, 1, 48, 48, dtype=torch.uint8)).shape))
del sys.modules["albumentations"]
print(len(transforms.light().transforms), len(recipes.plain_cnn().transforms))
"""
    assert run_python(code).splitlines() == ["(2, 1, 48, 48)", "4 3"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import ferlib", set()),
        ("import ferlib.data as d", {"data"}),
        ("from ferlib import data, plots", {"data", "plots"}),
        ("from ferlib.data import load", {"data"}),
        ("from ferlib.data.layouts import read", {"data"}),
        ("def late():\n    from ferlib import models", {"models"}),
        ("from ferlib import __version__", set()),
        ("import numpy\nfrom torch import nn", set()),
    ],
)
def test_imports_are_found_in_every_form(source: str, found: set[str]):
    assert imported(source) == found


def test_there_are_sixteen_rooms_in_one_order():
    assert sorted(ALLOWED) == ROOMS and len(ROOMS) == 16
    before: set[str] = set()
    for room, may in ALLOWED.items():
        assert may <= before | {room} or room == "cli", f"{room} may import {sorted(may - before)}, which come later"
        before.add(room)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__"])
def test_modules_import_only_what_the_design_allows(name: str):
    room = name.partition(".")[0]
    assert room in ALLOWED, f"ferlib/{room} is new: give it a row in ALLOWED"
    extra = imported(MODULES[name].read_text(encoding="utf-8")) - ALLOWED[room] - {room}
    assert not extra, f"ferlib.{name} imports {sorted(extra)}; allowed are {sorted(ALLOWED[room])}"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("cli")])
def test_public_functions_tell_each_parameter(name: str):
    """A line a parameter in `Args:`, where there are two or more; ruff's D rules ask for the docstring itself."""
    tree, short = ast.parse(MODULES[name].read_text(encoding="utf-8")), []
    owners = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))]
    for node in [node for owner in owners for node in owner.body if isinstance(node, ast.FunctionDef)]:
        if node.name.startswith("_"):
            continue
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        parameters = {argument.arg for argument in every} - {"self", "cls", "ax"}
        lines = re.findall(
            r"^\s+((?:\*{0,2}\w+, )*\*{0,2}\w+)(?: \([^)]*\))?:", ast.get_docstring(node) or "", re.MULTILINE
        )
        told = {word.strip("* ") for line in lines for word in line.split(",")}
        if len(parameters) > 1 and not parameters <= told:
            short.append(f"{node.name}: {sorted(parameters - told)}")
    assert not short


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str):
    failed, _ = doctest.testmod(
        importlib.import_module(f"ferlib.{name}".removesuffix(".__init__")), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert failed == 0


def test_tests_reach_no_network_but_this_computer():
    with socket.socket() as sock, pytest.raises(RuntimeError, match="without a network"):
        sock.connect(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
