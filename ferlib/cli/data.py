"""The verbs `doctor`, `data`, `data fetch`, `data export` and `audit`."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from ferlib.cli.options import CLASSES, FACES, PIXELS, SOURCE, add_verb, data_file, path_given, source_given


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file."""
    add_verb(verbs, "doctor", run_doctor)
    more = add_verb(verbs, "data", run_data, *FACES).add_subparsers(metavar="fetch | export")
    add = add_verb(more, "fetch", run_fetch).add_argument
    add("name", choices=("fer2013",), help="fer2013")
    add("--to", type=path_given, default=Path("data"), metavar="FOLDER", help="where to write (default: data)")
    add("--source", choices=("auto", "kaggle", "mirror"), default="auto", help="default: auto, Kaggle, then the mirror")
    add = add_verb(more, "export", run_export, CLASSES, PIXELS).add_argument
    add("data", type=source_given, metavar="SOURCE", help=SOURCE)
    add("to", type=path_given, metavar="OUT", help="a new folder")
    add_verb(verbs, "audit", run_audit, *FACES)


def run_doctor(args: argparse.Namespace) -> int:
    """Check this computer, and name the command that repairs it.

    Example:
        ferlib doctor
    """
    from ferlib import doctor

    checks = doctor.check()
    print(doctor.report(checks))
    return 0 if all(check.ok for check in checks) else 1


def run_data(args: argparse.Namespace) -> None:
    """Count the faces of a dataset; fetch and export datasets.

    Example:
        ferlib data --data data/fer2013.csv
    """
    from ferlib import data

    dataset = data.load(args.data, size=args.face_size, classes=args.classes)
    print(f"{dataset.name}: {len(dataset):,} faces, {dataset.images.shape[1]}x{dataset.images.shape[2]} px")
    print(dataset.counts().to_string())
    total = int(data.all_counts(args.data, classes=args.classes).to_numpy().sum())
    if total > len(dataset):
        print(f"PrivateTest: {total - len(dataset):,} more, sealed")


def run_fetch(args: argparse.Namespace) -> None:
    """Download FER2013.

    Example:
        ferlib data fetch fer2013
    """
    from ferlib.data import download

    print(download.NOTICE, flush=True)
    args.data = download.fetch(args.name, args.to, source=args.source)
    print(f"it lies in {args.data} and is whole")
    run_data(args)
    print(f"next: ferlib audit --data {args.data}")


def run_export(args: argparse.Namespace) -> None:
    """Write a dataset as class folders of PNG.

    Example:
        ferlib data export sample faces/
    """
    from ferlib import data
    from ferlib.data.export import export_faces
    from ferlib.emotions import EMOTIONS

    args.to = args.to.resolve()  # so that "." and links to folders are folders
    if data_file(args.data).resolve() in args.to.parents:
        raise ValueError(f"{args.to} lies in {args.data}, whose faces would then be there twice; give another folder")
    dataset = data.load(args.data, size=args.face_size, classes=args.classes)
    path = export_faces(dataset, args.to)
    counts = ", ".join(f"{split} {total:,}" for split, total in dataset.counts().sum(axis=1).items())
    print(f"wrote {len(dataset):,} faces ({counts}) to {path}; a sealed PrivateTest stays out")
    classes = "" if dataset.classes == EMOTIONS else f" --classes {shlex.quote(','.join(dataset.classes))}"
    print(f"next: ferlib data --data {shlex.quote(str(path))}{classes}")


def run_audit(args: argparse.Namespace) -> None:
    """Count twins, leaks, conflicting labels and blank images.

    Example:
        ferlib audit --data sample
    """
    from ferlib import protocol

    print(protocol.audit(args.data, size=args.face_size, classes=args.classes))
