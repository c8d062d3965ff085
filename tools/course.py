"""Build the course: run every lesson and write it as a web page, and keep the notebooks true to their sources.

A lesson is the text source `notebooks/src/NN_name.py` (jupytext's percent format); `notebooks/NN_name.ipynb` is made
from it and holds no outputs. So is `one_page`, which has no number and comes last. Lessons run in `notebooks/`, as for
a student, with the very Python that runs this tool.

A file `NN_name.json` beside the source may hold what no reader needs: `fast`, the values of a fast run for names in the
cell tagged "parameters", and `claims`, what the lesson says of the drawn faces (see `runnable`).
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 (so that an older one says so, before it meets what it cannot read)
    old = sys.version.split()[0]
    sys.exit(f"course: Python 3.10 or newer is needed, and this is {old}; name another: python3.12 tools/course.py")

import argparse
import contextlib
import hashlib
import importlib.util
import json
import multiprocessing
import os
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lesson

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("jupytext", "nbformat", "nbclient", "nbconvert", "ipykernel")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SETUP = """\
import importlib.util, sys
if "google.colab" in sys.modules and not importlib.util.find_spec("ferlib"):  # from a ZIP that you uploaded, or GitHub
    !cd /content; unzip -qo '*-main.zip' -d zip && mv zip/* course || git clone -q --depth 1 {repository} course
    !{{sys.executable}} /content/course/tools/colab.py install
from ferlib.lesson import prepare  # no ferlib? In the course's folder, run: make lab
prepare()  # or prepare(data="fer2013"): photographs instead of drawn faces"""
NUMBERED = "[0-9][0-9]*_*"  # a lesson's name: 05_name, and 05b_name for more on its subject
ONE_PAGE = "one_page"  # the whole project in one notebook: it has no set-up cell, for it needs no ferlib
FOLDED_TAGS = {"solution", "folded"}
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # in JupyterLab, and on Colab


class CourseError(Exception):
    """A mistake in how the tool was called, said in one sentence; it ends the tool with exit code 2."""


def find_lessons(root: Path) -> list[Path]:
    """Sources of the lessons under `root`, in number order ("05", "05b", "06"); `CourseError` when there are none."""
    sources = sorted((root / "notebooks/src").glob(f"{NUMBERED}.py"))
    if not sources:
        raise CourseError("there are no lessons: no file matches notebooks/src/NN_name.py")
    return sources


def find_sources(root: Path, only: Sequence[str] = ()) -> list[Path]:
    """Sources of the lessons and of the one page, or of those in `only` ("1", "01", "05b", "one_page").

    Raises `CourseError` when `only` names one that does not exist.
    """
    sources = [*find_lessons(root), *(root / "notebooks/src").glob(f"{ONE_PAGE}.py")]
    numbers = [number_of(path) for path in sources]
    wanted = [f"0{number}" if re.fullmatch(r"\d[a-z]?", number) else number for number in only]
    for number in wanted:
        if number not in numbers:
            raise CourseError(f"there is no lesson {number}; --only takes {', '.join(numbers)}")
    return [path for path in sources if not wanted or number_of(path) in wanted]


def number_of(source: Path) -> str:
    """Number of a lesson, such as "01" or "05b"; the one page has its name."""
    return source.stem if source.stem == ONE_PAGE else source.stem.partition("_")[0]


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def repository(root: Path) -> str:
    """Address of the repository, from the only place where it stands: `pyproject.toml`."""
    found = re.search(r'^Repository = "(.+?)"', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise CourseError("pyproject.toml has no Repository under [project.urls]")
    return found[1]


def notebook_of(source: Path) -> Path:
    """Path of the notebook that belongs to a lesson's source."""
    return source.parent.parent / f"{source.stem}.ipynb"


def read_lesson(source: Path) -> Any:
    """Notebook (nbformat 4.5, no outputs) of a lesson's source; the same source always gives the same notebook.

    `{colab}` in the lesson's head becomes the link to Colab, and the set-up cell comes after it. Cells tagged
    "solution" or "folded" are folded.
    """
    import jupytext
    import nbformat

    cells = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent").cells
    if cells and "{colab}" in cells[0].source:
        address = repository(source.parent.parent.parent)
        page = (
            f"{address.replace('https://github.com', 'https://colab.research.google.com/github')}/blob/main/notebooks"
        )
        link = f"[Open in Colab]({page}/{source.stem}.ipynb)"
        cells[0].source = cells[0].source.replace("{colab}", link)
        setup = nbformat.v4.new_code_cell(SETUP.format(repository=address), metadata={"tags": ["setup"]})
        cells[1:1] = [] if source.stem == ONE_PAGE else [setup]
    seen: Counter[str] = Counter()
    for cell in cells:
        # An id comes from the cell's content, so that a new cell leaves the ids, and so the diff, of the others alone.
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] += 1
        cell.id = hashlib.sha256(f"{seen[text]}\n{text}".encode()).hexdigest()[:8]
        kept = {key: value for key, value in cell.metadata.items() if key in ("tags", "alt")}
        tags = set(kept.get("tags", []))
        folded = FOLDED if tags & FOLDED_TAGS else {}
        cell.metadata = nbformat.from_dict(kept | folded)
    return nbformat.from_dict({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5})


def read_beside(source: Path) -> dict[str, Any]:
    """What stands beside a lesson's source in `NN_name.json`; nothing, if there is no such file."""
    path = source.with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def runnable(source: Path, fast: bool = False) -> Any:
    """Notebook of a lesson as it is run: with cells tagged "hidden", which `without_hidden` removes again.

    In a fast run, one after the cell tagged "parameters" sets these names to their `fast` values. One at the end
    evaluates the `claims`: each has a `text`, the `value` (code over the lesson's names), `at_least` or `at_most`, the
    number `n` of test faces and, where due, the 95% `interval` (code), `seeds` and `unit`.
    """
    import nbformat

    notebook, beside = read_lesson(source), read_beside(source)
    hidden = {"metadata": {"tags": ["hidden"]}}
    if fast and "fast" in beside:
        tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
        code = "\n".join(f"{name} = {value!r}" for name, value in beside["fast"].items())
        after = [place for place, each in enumerate(tags, 1) if "parameters" in each]
        notebook.cells.insert(after[0], nbformat.v4.new_code_cell(code, **hidden))
    if "claims" in beside:
        code = "\n".join(map(_claim_code, beside["claims"]))
        notebook.cells.append(nbformat.v4.new_code_cell(code, **hidden))
    return notebook


def _claim_code(claim: Mapping[str, Any]) -> str:
    """The call of the lesson's `here.claim` for a claim that stands beside the lesson."""
    side = "at_most" if "at_most" in claim else "at_least"
    options = f"n={claim['n']}, seeds={claim.get('seeds', 1)}, unit={claim.get('unit', 'points')!r}"
    options += f", interval={claim['interval']}" if "interval" in claim else ""
    options += f", at_most={side == 'at_most'}, by_interval=True"
    return f"_ = here.claim({claim['text']!r}, {claim['value']}, {claim[side]}, {options})"


def without_hidden(notebook: Any) -> Any:
    """The notebook without the cells that `runnable` added."""
    notebook.cells = [cell for cell in notebook.cells if "hidden" not in cell.metadata.get("tags", [])]
    return notebook


def notebook_text(source: Path) -> str:
    """Text of the notebook file that belongs to a lesson's source."""
    import nbformat

    return nbformat.writes(read_lesson(source)) + "\n"


def sync(root: Path, only: Sequence[str] = ()) -> list[Path]:
    """Write each lesson's notebook from its source, and return the paths of those that changed."""
    changed = []
    for source in find_sources(root, only):
        path, text = notebook_of(source), notebook_text(source)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_bytes(text.encode())
            changed.append(path)
    return changed


def check(root: Path, only: Sequence[str] = ()) -> list[str]:
    """One sentence for each notebook that is missing, carries outputs, differs from its source or has none."""
    sources, problems = find_sources(root, only), []
    for source in sources:
        path, expected = notebook_of(source), notebook_text(source)
        text = path.read_text(encoding="utf-8") if path.exists() else None
        if text is None:
            problems.append(f"{path.name} is missing; run: make notebooks")
        elif text != expected and _code(text) == _code(expected):
            problems.append(f"{path.name} carries outputs or metadata of a run; run: make notebooks")
        elif text != expected:
            problems.append(f"{path.name} differs from src/{source.name}; edit that source, then run: make notebooks")
    known = [notebook_of(source) for source in sources]
    for path in [] if only else sorted((root / "notebooks").glob(f"{NUMBERED}.ipynb")):
        if path not in known:
            problems.append(f"{path.name} has no source src/{path.stem}.py; write one, or delete the notebook")
    return problems


def _code(text: str) -> Any:
    """What a notebook file says apart from outputs and metadata, or None if the file is no notebook."""
    try:
        return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    except (ValueError, KeyError, TypeError):
        return None


def build(
    root: Path, out: Path, only: Sequence[str] = (), timeout: float = 1200, with_pages: bool = True, jobs: int = 1
) -> int:
    """Run the lessons, `jobs` at a time, and write them to `out`, with progress and the claims on stdout.

    The one page comes first, then the lessons in number order. One that asks for a model of an earlier lesson that has
    not ended yet takes the model that ships. Returns 1 if a cell or a claim failed, else 0.
    """
    import nbformat

    begun = time.monotonic()
    # The one page is long. If it came last, nothing would be left to run beside it.
    sources = sorted(find_sources(root, only), key=lambda source: source.stem != ONE_PAGE)
    if out.resolve().is_relative_to((root / "notebooks").resolve()):
        raise CourseError(f"--out {out} lies in notebooks/, whose files it would overwrite; name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise CourseError(f"cannot write to {out} ({error.strerror}); name another folder with --out") from error
    claims = (out / "claims").resolve()
    claims.mkdir(exist_ok=True)
    jobs = min(jobs, len(sources))
    parts = [claims / f"{number_of(source)}.part" for source in sources]
    tasks = [(source, part, timeout, jobs) for source, part in zip(sources, parts, strict=True)]
    with _runner(jobs) as run:
        runs = run(tasks)
        for number, (source, part) in enumerate(zip(sources, parts, strict=True), 1):
            print(f"[{number}/{len(sources)}] {source.stem} ... ", end="", flush=True)
            text, failure, note = next(runs)
            print(note, flush=True)
            part.with_suffix(".csv").unlink(missing_ok=True)
            if part.exists():
                part.replace(part.with_suffix(".csv"))
            notebook = without_hidden(nbformat.reads(text, as_version=4))
            notebook.metadata.course = note
            (out / f"{source.stem}.ipynb").write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
            if with_pages:
                _write_pages(root, out, source, notebook)
            if failure:
                code = "\n".join(failure.source.splitlines()[:15])
                print(f"{source.stem}, cell {failure.cell} failed:\n\n{code}\n\n{failure.message}", file=sys.stderr)
                return 1
    print(f"{len(sources)} lesson(s) in {_duration(time.monotonic() - begun)}")
    failed = lesson.show_claims(claims, [number_of(source) for source in sources])
    if with_pages:
        print(f"open {out / 'index.html'}")
    if failed:
        print(f"{failed} claim(s) failed: a lesson says what this run does not show", file=sys.stderr)
    return 1 if failed else 0


@contextlib.contextmanager
def _runner(jobs: int) -> Iterator[Callable[[list[Any]], Iterator[Any]]]:
    """A function that runs tasks in order, `jobs` at a time; what still runs at the end of the context is stopped."""
    if jobs == 1:
        yield lambda tasks: map(_run, tasks)
        return
    ignored = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the lessons, not those who wait for one
    with multiprocessing.Pool(jobs, signal.signal, ignored) as pool:
        workers = set(multiprocessing.active_children())
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

        def results(tasks: list[Any]) -> Iterator[Any]:
            runs = pool.imap(_run, tasks)
            for _ in tasks:
                while True:
                    try:
                        yield runs.next(timeout=1)
                        break
                    except multiprocessing.TimeoutError:
                        if not workers <= set(multiprocessing.active_children()):  # a pool would wait for ever
                            raise CourseError("a process that ran a lesson has ended") from None

        try:
            yield results
        finally:
            signal.signal(signal.SIGTERM, before)


def _run(task: tuple[Path, Path, float, int]) -> tuple[str, lesson.Failure | None, str]:
    """Run a lesson; its notebook as text, the failure, if any, and how it went in words.

    `task` is its source, the file of its claims, the seconds allowed to a cell, and how many lessons run at a time:
    alone it tells a terminal its progress, else it gets its share of the processor's cores.
    """
    import nbformat

    source, claims, timeout, jobs = task
    notebook, begun = runnable(source, bool(os.environ.get("FERLIB_FAST"))), time.monotonic()
    total, told = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells), 0

    def tell(cell: int) -> None:
        nonlocal told
        text = f"cell {cell}/{total}"
        print("\b" * told + text, end="", flush=True)
        told = len(text)

    claims.unlink(missing_ok=True)  # those of an earlier run
    env = {"FERLIB_CLAIMS": str(claims)}
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        env["OMP_NUM_THREADS"] = str(max(1, cores() // jobs))
    live = jobs == 1 and sys.stdout.isatty()
    try:
        failure = lesson.execute(notebook, source.parent.parent, timeout, tell if live else None, env)
    except KeyboardInterrupt:
        if jobs == 1:
            raise
        sys.exit(130)  # the parent was interrupted, too; if not, it reports that this process has ended
    finally:
        if jobs > 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # nbclient has taken it
    print("\b" * told + " " * told + "\b" * told, end="")
    took = _duration(time.monotonic() - begun)
    return nbformat.writes(notebook), failure, f"stopped at cell {failure.cell} after {took}" if failure else took


def _write_pages(root: Path, out: Path, source: Path, notebook: Any) -> None:
    """Write a lesson's page, the index, and the pages of text that lie beside the notebooks."""
    every = {path.stem: read_lesson(path) for path in find_sources(root)}
    names = list(every)
    place, links = names.index(source.stem), [("index.html", "All lessons")]
    if (root / "notebooks/glossary.md").exists():
        links.append(("glossary.html", "Glossary"))
    for way, other in (("Back", place - 1), ("Next", place + 1)):
        if 0 <= other < len(names):
            name = names[other]
            title = lesson.describe(every[name])[0]
            links.append((f"{name}.html", f"{way}: {'' if name == ONE_PAGE else name.partition('_')[0] + ' '}{title}"))
    page = lesson.lesson_page(notebook, root / "notebooks", links)
    (out / f"{source.stem}.html").write_text(page, encoding="utf-8")
    texts = {}
    for path in sorted((root / "notebooks").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        (out / f"{path.stem}.html").write_text(lesson.text_page(text), encoding="utf-8")
        texts[f"{path.stem}.html"] = text.split("\n", 1)[0].lstrip("# ")
    (out / "index.html").write_text(lesson.index_page(every, out, texts), encoding="utf-8")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Command line; returns the exit code (0 well, 1 a failed cell or drift, 2 a mistake in the call)."""
    parser = argparse.ArgumentParser(prog="tools/course.py", description="Run the lessons and write them as web pages.")
    parser.add_argument("--only", nargs="+", default=(), metavar="NN", help="numbers of the lessons, e.g. --only 01 02")
    parser.add_argument("--out", type=Path, default=root / "build/course", help="folder for the pages (build/course)")
    parser.add_argument("--timeout", type=float, default=1200, metavar="S", help="seconds allowed to a cell (1200)")
    two = min(2, cores())
    parser.add_argument("--jobs", type=int, default=two, metavar="N", help=f"lessons that run at a time ({two})")
    parser.add_argument("--sync", action="store_true", help="write the notebooks from their sources, and run nothing")
    parser.add_argument("--check", action="store_true", help="name notebooks unlike their sources, and run nothing")
    parser.add_argument("--no-html", action="store_true", help="run the lessons, write no pages")
    args = parser.parse_args(argv)
    try:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise CourseError(f"{missing[0]} is not installed; run: pip install -r requirements.txt")
        if args.timeout <= 0:
            raise CourseError(f"--timeout is {args.timeout:g}; it takes a number of seconds above 0")
        if args.jobs < 1:
            raise CourseError(f"--jobs is {args.jobs}; it takes a number of lessons from 1")
        if args.sync:
            for path in sync(root, args.only):
                print(f"wrote {path.relative_to(root).as_posix()}")
        if args.check:
            problems = check(root, args.only)
            print("\n".join(problems) or "every notebook matches its source")
            return 1 if problems else 0
        return 0 if args.sync else build(root, args.out, args.only, args.timeout, not args.no_html, args.jobs)
    except CourseError as error:
        print(f"course: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
