"""Read paths as people write them, write files whole, import packages of an extra."""

import glob
import importlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def user_path(text: str | Path) -> Path:
    """Return a path that a user gave, with `~` as the home folder.

    Raises:
        ValueError: it is empty or a web address, or `~` stands for no known home.

    >>> user_path("faces/a.png").name
    'a.png'
    """
    given = os.fspath(text)
    path = os.path.expanduser(given)
    require(given.strip(), "a path is empty; give a file or folder, or . for this folder (is a variable unset?)")
    require(not re.match(r"\w{2,}://", given), f"{given} is a web address; download it, and give the path of the file")
    has_home = not path.startswith("~") or os.path.lexists(path)
    require(has_home, f"{given} names a home folder that is not known; give a path without ~")
    return Path(path)


def matching(text: str | Path) -> list[Path]:
    """Return the paths that a pattern such as `faces/*.jpg` matches, sorted; without a match, the path itself.

    Shells do so, except on Windows. A file whose own name holds a sign of a pattern is that file.
    """
    path = user_path(text)
    return [path] if os.path.lexists(path) else [Path(name) for name in sorted(glob.glob(str(path)))] or [path]


def cache_folder() -> Path:
    """Return the folder for decoded data: `FERLIB_CACHE`, else `~/.cache/ferlib`."""
    return user_path(os.environ.get("FERLIB_CACHE") or "~/.cache/ferlib")


def readable(text: str) -> str:
    r"""Return a text that can be written in any encoding of Unicode: bytes that are no characters are escaped.

    File names that are not in UTF-8 hold such bytes.

    >>> print(readable("caf\udce9.jpg"))
    caf\xe9.jpg
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_output(path: Path, suffix: str, *, inputs: Iterable[str | Path] = (), force: bool = False) -> None:
    """Check before any work that an output file can be written and replaces nothing of the user's.

    Args:
        path: the file.
        suffix: how its name must end.
        inputs: paths that are read, and names such as "sample"; none of them is ever replaced.
        force: whether another file may be replaced.

    Raises:
        ValueError: the file cannot be written, is an input, or is there already.
    """
    is_file = path.suffix == suffix and not path.is_dir()
    require(is_file, f"the output is {path}; give a file whose name ends in {suffix}")
    prepare_folder(path.parent)
    real = path.resolve()
    for source in map(Path, inputs):
        inside = suffix == ".png" and source.is_dir() and source.resolve() in real.parents  # a picture among others
        is_input = path.exists() and source.exists() and (inside or path.samefile(source))
        require(not is_input, f"the output {path} is one of the files that are read; give another name")
    require(force or not os.path.lexists(path), f"{path} is there already; give another name, or add --force")


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Write a file whole or not at all.

    `write` fills a temporary file beside `path`, which then replaces `path` in one step. A reader finds the old file or
    the new one, never a part of it.

    Args:
        path: the file to write.
        write: function that writes the content to the path that it is given.

    Returns:
        The path.

    Raises:
        Whatever `write` raises; the temporary file is then removed.

    >>> folder = tempfile.mkdtemp()
    >>> write_whole(Path(folder) / "note.txt", lambda temporary: temporary.write_text("done")).read_text()
    'done'
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name[:60]}.{os.getpid()}.part")  # a long name has no room for more
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def prepare_folder(folder: str | Path, remedy: str = "give another folder") -> Path:
    """Make a folder and prove that files can be written into it.

    Call it before the work starts, so that a run does not fail when it saves its result.

    Args:
        folder: the folder; it is made if it does not exist, with its parents.
        remedy: end of the error message, the reader's next step.

    Returns:
        The folder as a path.

    Raises:
        ValueError: the folder cannot be made or written.

    >>> prepare_folder(Path(tempfile.mkdtemp()) / "runs" / "first").name
    'first'
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"cannot write into {folder} ({error.strerror}); {remedy}") from error
    return folder


def import_extra(name: str, requirement: str) -> Any:
    """Import a package that only an extra of ferlib brings.

    Args:
        name: the module's name.
        requirement: what pip has to install.

    Returns:
        The module.

    Raises:
        ValueError: the package is missing; the message has pip's command.

    >>> import_extra("not_there", "not-there>=1")
    Traceback (most recent call last):
    ValueError: No module named 'not_there'; install it: pip install not-there>=1
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{error}; install it: pip install {requirement}") from error
    except ImportError as error:
        raise ValueError(f"{name} is installed, but cannot be imported: {error}") from error


def require(condition: object, message: str) -> None:
    """Raise `ValueError` unless a condition holds.

    Args:
        condition: what must hold.
        message: what was given, what is allowed, and the next step.

    Raises:
        ValueError: the condition does not hold.
    """
    if not condition:
        raise ValueError(message)
