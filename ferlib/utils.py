"""Write files whole, prove that a folder can be written, import packages of an extra."""

import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
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
    except ImportError as error:
        raise ValueError(f"{error}; install it: pip install {requirement}") from error


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
