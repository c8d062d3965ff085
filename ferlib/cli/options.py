"""What several verbs share: their options, notes, and the writing of results."""

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ferlib.utils import prepare_folder, write_whole


def option(*names: str, **settings: Any) -> argparse.ArgumentParser:
    """Make a parent parser that holds one option."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, **settings)
    return parser


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
DATA = option("--data", default="sample", metavar="SOURCE", help=f"{SOURCE} (default: sample)")
# SUPPRESS: with a default, `data --classes NAMES export` would lose the names. The main parser sets None.
CLASSES = option("--classes", type=class_names, default=argparse.SUPPRESS, metavar="NAMES", help=NAMES)
MODEL = option("--model", default="fer2013", help="a run's folder, a file or a shipped name (default: fer2013)")
DETECTOR = option("--detector", default="haar", metavar="NAME", help="haar, whole (no search) or YuNet's .onnx")
SPLIT = option("--split", default="PublicTest", help="the faces to predict (default: PublicTest)")
TTA = option("--tta", action="store_true", help="average 18 views of each face, flipped and shifted")
JSON = option("--json", type=Path, metavar="FILE", help="write the results here; evaluate adds a .png beside it")


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


def note(text: object) -> None:
    """Print a note to the standard error."""
    print(f"ferlib: note: {text}", file=sys.stderr, flush=True)


def check_output(path: Path | None, suffix: str) -> None:
    """Check before any work that an output file, if asked for, has the right suffix and can be written."""
    if path is not None and (path.suffix != suffix or path.is_dir()):
        raise ValueError(f"the output is {path}; give a file whose name ends in {suffix}")
    if path is not None:
        prepare_folder(path.parent)


def save_figure(path: Path, figure: Any) -> Path:
    """Write a figure as PNG."""
    return write_whole(path, lambda scratch: figure.savefig(scratch, dpi=150, format="png"))
