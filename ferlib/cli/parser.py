"""The command line's parser, exit codes and error messages."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from ferlib.cli import apps, data, evaluate, train
from ferlib.cli.output import note
from ferlib.utils import matching


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb of the command line.

    Args:
        argv: the words after `ferlib`; None takes them from `sys.argv`.

    Returns:
        The exit code: 0, 1 if a check failed or a file was unreadable, 2 for a user's mistake, 130 for Ctrl-C.
    """
    parser = Parser(prog="ferlib", description="Facial expression recognition, taught and measured honestly.")
    parser.set_defaults(classes=None, face_size=48)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in (data, train, evaluate, apps):
        module.add_verbs(verbs)
    _prepare_streams()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        verbs.choices[args.verb].error(f"unrecognized arguments: {' '.join(unknown)}")
    for name in {"paths", "model", "teacher"} & {name for name, value in vars(args).items() if isinstance(value, list)}:
        setattr(args, name, [path for given in getattr(args, name) for path in matching(given)])
    # Of the processes of `accelerate launch`, which can train, only the first prints.
    launched = args.verb == "train" and os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    first = not launched or os.environ.get("RANK", "0") == "0"
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stdout if first else None):
            warnings.filterwarnings("default" if first else "ignore", module="ferlib")
            warnings.showwarning = lambda message, *_, **__: note(message)
            return args.run(args) or 0
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"ferlib {args.verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ferlib {args.verb}: interrupted", file=sys.stderr)
        return 130


def _prepare_streams() -> None:
    """Escape what the terminal or file cannot show, and let a closed stream take all, so that no run is lost by it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open to the end)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
