"""Options that several verbs share."""

import argparse
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ferlib.utils import matching, user_path


def option(*names: str, **settings: Any) -> argparse.ArgumentParser:
    """Make a parent parser that holds one option."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, **settings)
    return parser


def path_given(text: str) -> Path:
    """Read a path on the command line; a mistake is one of its parser."""
    try:
        return user_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def source_given(text: str) -> str:
    """Read a name, or the path of something to read, which may be a pattern that one path matches."""
    paths = matching(path_given(text))
    if len(paths) > 1:
        raise argparse.ArgumentTypeError(f"{text} matches {len(paths)} files; give one of them, such as {paths[0]}")
    path = str(paths[0])
    return os.path.abspath(path) if path != text and path in ("sample", "fer2013") else path  # ./fer2013 is no name


def class_names(text: str) -> Any:
    """Read the text of `--classes`.

    Args:
        text: a published order, pairs `1=surprise,2=fear`, or a list `happy,sad,contempt`.

    Returns:
        The `classes` of `data.load`: the text, a dictionary or a list.

    Raises:
        ArgumentTypeError: a pair lacks a side, or a number stands twice.

    >>> class_names("1=surprise, 2=fear")
    {'1': 'surprise', '2': 'fear'}
    >>> class_names("happy,sad,contempt")
    ['happy', 'sad', 'contempt']
    """
    from ferlib.emotions import ORDERS

    if text == "folders" or text in ORDERS:
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if "=" not in text:
        return parts
    classes = {number.strip(): name.strip() for number, _, name in (part.partition("=") for part in parts)}
    if len(classes) < len(parts) or not all(classes) or not all(classes.values()):
        raise argparse.ArgumentTypeError(f"{text!r}; write number=name, each number once, as in 1=surprise,2=fear")
    return classes


SOURCE = "sample, fer2013, or the path of a CSV, folder or archive"
NAMES = "what the labels mean: rafdb, affectnet, affectnet7, fer2013, folders, 1=surprise,2=fear or happy,sad,contempt"
A_MODEL = "a run's folder, a file or a shipped name"
FINDERS = "yunet, haar, whole (no search) or a YuNet file (default: yunet)"
DATA = option("--data", type=source_given, default="sample", metavar="SOURCE", help=f"{SOURCE} (default: sample)")
# SUPPRESS: with a default, `data --classes NAMES export` would lose the names. The main parser sets None.
CLASSES = option("--classes", type=class_names, default=argparse.SUPPRESS, metavar="NAMES", help=NAMES)
PIXELS = option("--face-size", type=int, default=argparse.SUPPRESS, metavar="PX",
                help="side at which pictures of folders are read (default: 48)")  # fmt: skip
MODEL = option("--model", type=source_given, default="fer2013", help=f"{A_MODEL} (default: fer2013)")
DETECTOR = option("--detector", type=source_given, default="yunet", metavar="NAME", help=FINDERS)
SPLIT = option("--split", default="PublicTest", help="the faces to predict (default: PublicTest)")
TTA = option("--tta", action="store_true", help="average 18 views of each face, flipped and shifted")
JSON = option("--json", type=path_given, metavar="FILE", help="write the results here; evaluate adds a .png beside it")
FORCE = option("--force", action="store_true", help="replace output files that are there already")
FACES = (DATA, CLASSES, PIXELS)
MEASURED = (*FACES, SPLIT, TTA, JSON, FORCE)


def data_file(source: str | Path) -> Path:
    """Return the file or folder that `--data` stands for, also for the name fer2013, or the name itself."""
    from ferlib.data import sources

    try:
        return Path(source) if str(source) == "sample" else sources.find(source)
    except FileNotFoundError:  # told where it is read
        return Path(source)


def add_verb(verbs: Any, name: str, run: Callable, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add a verb to the command line.

    Args:
        verbs: what `add_subparsers` returned.
        name: the verb.
        run: a function of the parsed arguments. Its docstring is the help; it returns an exit code, or None for 0.
        parents: options that other verbs have too.
    """
    text, look = inspect.getdoc(run) or "", argparse.RawDescriptionHelpFormatter
    summary = text.partition("\n")[0].replace("%", "%%")
    parser = verbs.add_parser(name, help=summary, description=text, formatter_class=look, parents=parents)
    parser.set_defaults(run=run)
    return parser
