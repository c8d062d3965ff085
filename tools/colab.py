"""Google Colab: `install` brings ferlib into its runtime and replaces nothing; `check` tries the lessons as there.

The first cell of each lesson runs `install` on Colab, and `check` runs it in a throw-away environment that has the
versions of Colab's published list (of 19 August 2026).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.13"
BRINGS = (  # with a version where the list tells it
    "torch==2.11.0", "torchvision==0.26.0", "albumentations==2.0.8", "timm==1.0.28", "opencv-python==5.0.0.93",
    "opencv-python-headless==5.0.0.93", "opencv-contrib-python==4.14.0.94", "numpy==2.1.3", "pandas==2.2.3",
    "matplotlib==3.10.0", "scikit-learn==1.6.1", "ipython==7.34.0", "ipywidgets==7.7.1", "kagglehub==1.0.2",
    "accelerate", "ipykernel", "packaging", "pillow", "requests", "safetensors", "scipy", "seaborn", "setuptools",
    "tqdm",
)  # fmt: skip
COPIED = ("benchmarks", "ferlib", "notebooks", "tools", "LICENSE", "README.md", "pyproject.toml")


def missing() -> list[str]:
    """Requirements of ferlib of which this Python has no version at all, as pip takes them.

    All OpenCV wheels fill the same folder, so where there is one, another would replace it.
    """
    from packaging.requirements import Requirement

    def lacks(name: str) -> bool:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            return True
        return False

    needs = [Requirement(line) for line in metadata.requires("ferlib") or []]
    needs = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    wheels = {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
    cv2 = not all(map(lacks, wheels))
    return [f"{need.name}{need.specifier}" for need in needs if lacks(need.name) and not (cv2 and need.name in wheels)]


def install(root: Path) -> None:
    """Install ferlib from `root`, and what it needs and this Python lacks; say what stays unlike the requirements."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, str(root)], check=True)
    lacking = missing()
    if lacking:
        subprocess.run([*pip, *lacking], check=True)
    print("installed:", ", ".join(["ferlib", *lacking]), "and nothing replaced", flush=True)
    from ferlib import doctor

    checks = [check for check in doctor.check() if not check.ok]
    if checks:
        print("this runtime differs from what ferlib asks for; a lesson says where that matters, and this mends it:")
        print(doctor.report(checks), flush=True)


def find_python(version: str = PYTHON) -> str:
    """A Python of that version on this machine, else the one that runs this."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for command in (f"python{version}", *map(str, sorted(pyenv.glob(f"{version}*/bin/python")))):
        path = shutil.which(command)
        show = "import sys; print('%d.%d' % sys.version_info[:2])"
        if path and subprocess.run([path, "-c", show], capture_output=True, text=True).stdout.strip() == version:
            return path
    return sys.executable


def make(place: Path, python: str) -> Path:
    """Make an environment like Colab's in `place`, with a copy of this folder beside it, and install as Colab would.

    Returns its Python. Raises `RuntimeError` where the installing replaced something.
    """
    env, home = place / "env", place / "ferlib"
    own = env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([python, "-m", "venv", env], check=True)
    subprocess.run([own, "-m", "pip", "install", "-q", "--disable-pip-version-check", *BRINGS], check=True)
    home.mkdir()
    for path in map(ROOT.joinpath, COPIED):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, home / path.name)
    before = versions(own)
    subprocess.run([own, home / "tools/colab.py", "install"], check=True)
    after = versions(own)
    replaced = [f"{name} {version} by {after.get(name)}" for name, version in before.items() if after[name] != version]
    if replaced:
        raise RuntimeError(f"installing must replace nothing, and it replaced {', '.join(replaced)}")
    return own


@contextmanager
def throwaway(kind: str, keep: bool) -> Iterator[Path]:
    """A folder for an environment of up to 7 GB, which is removed afterwards unless it is to be kept."""
    place = Path(tempfile.mkdtemp(prefix=f"ferlib-{kind}-"))
    print(f"making an environment in {place}: some minutes, up to 7 GB", flush=True)
    try:
        yield place
    finally:
        if keep:
            print(f"kept: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


def versions(python: Path) -> dict[str, str]:
    """Name and version of each package that a Python has."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    return dict(line.split("==", 1) for line in listed.stdout.splitlines() if "==" in line)


def check(python: str, only: Sequence[str] = (), keep: bool = False) -> int:
    """Run the lessons fast in an environment like Colab's, made for it and then removed; 1 if one fails, else 0."""
    import course
    import lesson

    sources, failed = course.find_sources(ROOT, only), []
    try:
        said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        print(f"{said}; Colab has Python {PYTHON}")
        with throwaway("colab", keep) as place:
            own = make(place, python)
            env = {"FERLIB_FAST": "1", "FERLIB_ANSWERS": "solution", "FERLIB_RUNS": str(place / "runs")}
            for source in sources:
                begun, notebook = time.monotonic(), course.runnable(source, fast=True)
                failure = lesson.execute(notebook, place / "ferlib/notebooks", 600, env=env, python=str(own))
                how = "stopped" if failure else "ran"
                print(f"{source.stem}: {how} after {time.monotonic() - begun:.0f} s", flush=True)
                if failure:
                    failed.append(source.stem)
                    print(f"cell {failure.cell}:\n{failure.source}\n\n{failure.message}\n", flush=True)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"colab: {error}", file=sys.stderr)
        return 1
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(sources)} lessons ran")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="tools/colab.py", description="Install on Colab, or try the lessons as there."
    )
    parser.add_argument("what", choices=("install", "check"))
    parser.add_argument("--only", nargs="+", default=(), metavar="NN", help="check: numbers of the lessons")
    parser.add_argument("--python", metavar="PATH", help=f"check: the Python to use (else {PYTHON}, else this one)")
    parser.add_argument("--keep", action="store_true", help="check: leave the environment where it was made")
    args = parser.parse_args(argv)
    if args.what == "check":
        return check(args.python or find_python(), args.only, args.keep)
    try:
        install(ROOT)
    except subprocess.CalledProcessError as error:
        print(f"pip could not install {error.cmd[-1]}: is there a network?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
