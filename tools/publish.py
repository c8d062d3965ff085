"""Set the repository's address everywhere from its one place, and name what still has to be filled in.

    python tools/publish.py https://github.com/you/name      # writes it into pyproject.toml, and from there on
    python tools/publish.py                                  # checks, and changes nothing

The address stands in pyproject.toml, `Repository`. README.md and CITATION.cff repeat it, and the lessons' links to
Colab are made from it. A placeholder that is left makes the exit code 1.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import course

ROOT = course.ROOT
ADDRESS = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+)")
UNSET = "https://github.com/OWNER/ferlib"
REPEATED = ("README.md", "CITATION.cff")  # files with the address, beside pyproject.toml and the lessons
PLACEHOLDERS = ("github.com/OWNER", "github/OWNER", "OWNER.github.io", "YOUR-NAME", "<this repository>")
SEEN = (".md", ".toml", ".cff", ".yml", ".yaml", ".ipynb", ".py", ".txt", ".json")
APART = ("tests/", "tools/publish.py")  # they speak of placeholders


def set_address(root: Path, address: str) -> list[Path]:
    """Write a repository's address into every file that has it; returns the files that changed.

    Raises:
        ValueError: it is not of the form https://github.com/you/name.
    """
    address = address.rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(address) or "/OWNER/" in address:
        raise ValueError(f"{address!r} is no address of a repository; give one such as https://github.com/you/name")
    old = course.repository(root)
    changed = []
    for name in ("pyproject.toml", *REPEATED):
        path = root / name
        text = path.read_text(encoding="utf-8")
        made = text
        for before in {old, UNSET}:
            made = re.sub(rf"{re.escape(before)}(?![\w-])", address, made)
            made = re.sub(rf"{re.escape(in_colab(before))}(?![\w-])", in_colab(address), made)
        if made != text:
            path.write_text(made, encoding="utf-8")
            changed.append(path)
    return changed + course.sync(root)


def in_colab(address: str) -> str:
    """Return the address under which Google Colab opens a repository's notebooks."""
    return address.replace("https://github.com", "https://colab.research.google.com/github")


def problems(root: Path) -> list[str]:
    """Return what is not ready to be published, one sentence each."""
    import ferlib

    address = course.repository(root)
    found = []
    for name in tracked(root):
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            left = [word for word in PLACEHOLDERS if word in line]
            if left:
                found.append(f"{name}, line {number}: {left[0]} is a placeholder")
    for name in REPEATED:
        if address not in (root / name).read_text(encoding="utf-8"):
            found.append(f"{name} does not have the repository's address, {address}")
    cited = re.search(r"^version: (.+)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    if not cited or cited[1] != ferlib.__version__:
        found.append(f"CITATION.cff has version {cited and cited[1]}, ferlib/__init__.py {ferlib.__version__}")
    if f"\n## {ferlib.__version__} " not in (root / "CHANGELOG.md").read_text(encoding="utf-8"):
        found.append(f"CHANGELOG.md has no part on {ferlib.__version__}")
    return found + course.check(root)


def tracked(root: Path) -> list[str]:
    """Return the names of the text files that would be published: those in git, or all where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*"))]
    return [name for name in names if name.endswith(SEEN) and not name.startswith(APART) and (root / name).is_file()]


def next_steps(address: str) -> str:
    """Return what a person does next, in words."""
    owner, name = ADDRESS.fullmatch(address).groups()
    return f"""\
No placeholder is left; the repository is {address}. Next:
 1. Look at the change, and commit it:    git diff --stat && git commit -am "The repository's address"
 2. Name the authors in CITATION.cff.
 3. Make an empty repository at that address, and push:
                                          git remote add origin {address}.git && git push -u origin main
 4. On GitHub, Settings > Pages, choose the source "GitHub Actions". Pages: https://{owner.lower()}.github.io/{name}/
 5. Go through the checklist in RELEASING.md, on Colab first:
                                          {in_colab(address)}/blob/main/notebooks/00_start_here.ipynb
 6. Give CHANGELOG.md its date, and tag:  git tag v0.0.0 && git push origin v0.0.0"""


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Command line; returns the exit code (0 ready, 1 something is left to do, 2 a mistake in the call)."""
    parser = argparse.ArgumentParser(prog="tools/publish.py", description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", help="https://github.com/you/name; left out, nothing is changed")
    args = parser.parse_args(argv)
    try:
        for path in set_address(root, args.address) if args.address else []:
            print(f"wrote {path.relative_to(root).as_posix()}")
        left = problems(root)
    except (ValueError, course.CourseError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    if left:
        print("\n".join(left))
        print(
            f"{len(left)} left to do. The address is set by: make publish-check REPOSITORY=https://github.com/you/name"
        )
        return 1
    import ferlib

    print(next_steps(course.repository(root)).replace("v0.0.0", f"v{ferlib.__version__}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
