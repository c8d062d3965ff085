"""The tests with the oldest or the newest versions that pyproject.toml allows, in an environment made for it.

    python tools/versions.py oldest              # Python 3.10, each requirement at its lower bound
    python tools/versions.py newest              # the newest Python found here, whatever pip finds newest

Each takes up to 7 GB beside this repository's own environment, and removes them. `--pytest "-k data"` runs some tests.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

import colab

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = "3.10", ("3.14", "3.13", "3.12", "3.11")
OF_ITS_TIME = ("pyparsing<3.3",)  # what an oldest one needs and a newer one warns of: matplotlib 3.8 reads fonts by it
FREE = ("mypy", "nbstripout", "pandas-stubs", "ruff")  # they look at the code and do not run it


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for, its extras included."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # tomllib begins with Python 3.11
    lists = text.split("\ndependencies = ")[1].split("[project.scripts]")[0]
    return [Requirement(each) for each in re.findall(r'"([A-Za-z][\w.-]*[<>=~!][^"]*)"', lists)]


def lower_bounds() -> list[str]:
    """Each requirement at its lower bound, as pip takes it: torch>=2.4 gives torch==2.4.*, the first such minor."""
    found = []
    for need in requirements():
        bound = next(each.version for each in need.specifier if each.operator == ">=")
        parts = bound.split(".")
        exact = bound if len(parts) > 2 else ".".join([*parts, "0"][:2]) + ".*"
        found += [] if need.name in FREE else [f"{need.name}=={exact}"]
    return found


def find_python(which: str) -> str:
    """The Python for it; the one that runs this where there is none."""
    for version in (OLDEST,) if which == "oldest" else NEWEST:
        path = colab.find_python(version)
        if path != sys.executable or sys.version.startswith(version + "."):
            return path
    return sys.executable


def check(which: str, python: str, pytest_args: Sequence[str] = (), keep: bool = False) -> int:
    """Make the environment, run the tests in a copy of this repository, remove both; pytest's exit code."""
    try:
        said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        print(f"{said}, the {which} packages")
        with colab.throwaway(which, keep) as place:
            home, own = copied(place / "ferlib"), installed(place, python, which)
            there = {name.lower(): version for name, version in colab.versions(own).items()}
            print(", ".join(f"{need.name} {there.get(need.name.lower(), '?')}" for need in requirements()), flush=True)
            old = ["-W", "default"] if which == "oldest" else []  # old packages warn of what newer neighbours deprecate
            command = [own, "-m", "pytest", "-n", "2", "--dist", "worksteal", *old, *pytest_args]
            return subprocess.run(command, cwd=home, check=False).returncode
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"versions: {error}", file=sys.stderr)
        return 1


def copied(home: Path) -> Path:
    """A copy of what git tracks here, itself a repository, as some tests ask git which files are tracked."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / name)
    subprocess.run(["git", "init", "-q"], cwd=home, check=True)
    subprocess.run(["git", "add", "-A"], cwd=home, check=True)
    return home


def installed(place: Path, python: str, which: str) -> Path:
    """The Python of a new environment in `place`, with what the copy beside it asks for."""
    own = place / ("env/Scripts/python.exe" if sys.platform == "win32" else "env/bin/python")
    subprocess.run([python, "-m", "venv", place / "env"], check=True)
    pip = [own, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", "requirements.txt"]
    pip += ["-e", ".[demo,dev,teach]"]
    if which == "oldest":
        pins = place / "lower_bounds.txt"
        pins.write_text("\n".join([*lower_bounds(), *OF_ITS_TIME]) + "\n", encoding="utf-8")
        pip += ["-c", pins]
    subprocess.run(pip, cwd=place / "ferlib", check=True)
    return own


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns pytest's exit code, 1 where the environment could not be made."""
    parser = argparse.ArgumentParser(prog="tools/versions.py", description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=("oldest", "newest"))
    parser.add_argument("--python", metavar="PATH", help="the Python to use")
    parser.add_argument("--keep", action="store_true", help="leave the environment where it was made")
    parser.add_argument("--pytest", default="", metavar="ARGS", help='what to give to pytest, as in --pytest="-k data"')
    args = parser.parse_args(argv)
    python = args.python or find_python(args.which)
    if args.which == "oldest" and python == sys.executable and not args.python and sys.version_info[:2] != (3, 10):
        parser.error(f"Python {OLDEST} is not here; install it, or name another: --python PATH")
    return check(args.which, python, shlex.split(args.pytest), args.keep)


if __name__ == "__main__":
    sys.exit(main())
