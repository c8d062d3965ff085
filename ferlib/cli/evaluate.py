"""The verbs `evaluate` and `compare`."""

import argparse
import json
from pathlib import Path
from typing import Any

from ferlib.cli.options import A_MODEL, MEASURED, add_verb, data_file, path_given
from ferlib.cli.output import note, note_drawn, note_same, save_plot
from ferlib.utils import check_output, readable, require, write_whole


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file."""
    add = add_verb(verbs, "evaluate", run_evaluate, *MEASURED).add_argument
    add("--model", type=path_given, nargs="+", required=True, help=f"{A_MODEL}; of several, the mean")
    add("--open-sealed-test", metavar="REASON", help="with --split PrivateTest: why it is opened now")
    add = add_verb(verbs, "compare", run_compare, *MEASURED).add_argument
    for name in "ab":
        add(name, type=path_given, metavar=name.upper(), help=A_MODEL)


def run_evaluate(args: argparse.Namespace) -> None:
    """Measure a model with 95% intervals, on all faces and on those without a twin.

    Example:
        ferlib evaluate --model runs/cpu --data data/fer2013.csv --split PublicTest --json out.json
    """
    from ferlib import evaluation, models, plots

    _check_outputs(args, args.model, ".json", ".png")
    model, name = models.load_ensemble(args.model), " + ".join(map(str, args.model))
    digest = models.model_hash(model)
    faces, parts = _open_faces(args, model.classes, digest), _parts_of(args)
    if faces.name != "sample":
        note_drawn(model)
    results: dict[str, Any] = {"model": name, "model_sha256": digest, "data": faces.name, "split": args.split}
    predictions = {view: _predict(model, faces, view) for view in [*evaluation.VIEWS][: 3 if args.tta else 2]}
    print(f"{name} on {args.split} of {faces.name}; 95% bootstrap intervals, in percent")
    for view, answers in predictions.items():
        label = view.replace("_", " ")
        results[view] = {part: evaluation.as_json(answers.subset(mask)) for part, mask in parts.items()}
        for part, numbers in results[view].items():
            print(f"  {label:<19} {part:<5}  n={numbers['n']:,}  {_percents(numbers)}")
    ece, calibrated, temperature = (results[view]["all"][name] for name in ("ece", "calibrated_ece", "temperature"))
    print(f"calibration, {label}, all faces: ECE {ece:.1%}; {calibrated:.1%} with a temperature fitted on other folds")
    print(f"temperature fitted on all faces: {temperature:.2f}\nper class, {label}, all faces, in percent:")
    note_same([answers.classes[index] for index in answers.predicted])
    print((evaluation.report(answers) * [100, 100, 100, 1]).to_string(float_format="{:.1f}".format))
    if args.json is not None:
        axes = plots.plot_confusion(answers)
        axes.set_title(f"{args.split} of {readable(faces.name)}, {label}")
        print(f"wrote {save_plot(args.json.with_suffix('.png'), axes.figure)}")
        _save_results(args.json, results)


def run_compare(args: argparse.Namespace) -> None:
    """Compare two models on the same faces: difference, paired 95% interval, McNemar's test.

    Example:
        ferlib compare runs/plain_cnn runs/cpu --data data/fer2013.csv --json compared.json
    """
    from ferlib import evaluation, models

    _check_outputs(args, [args.a, args.b], ".json")
    pair = [models.load_model(path) for path in (args.a, args.b)]
    faces = _load_split(args)
    view = "shift_flip_averaged" if args.tta else "flip_averaged"
    results: dict[str, Any] = {"data": faces.name, "split": args.split, "views": view}
    for name, model in zip("ab", pair, strict=True):
        results[name] = {"model": str(getattr(args, name)), "model_sha256": models.model_hash(model)}
    predictions = [_predict(model, faces, view) for model in pair]
    print(f"A: {args.a}, B: {args.b}; {args.split} of {faces.name}, {view.replace('_', ' ')}; ", end="")
    print("95% bootstrap intervals, in percent")
    for part, mask in _parts_of(args).items():
        a, b = (each.subset(mask) for each in predictions)
        comparison = evaluation.compare(a, b)
        tables = {"a": evaluation.summarise(a), "b": evaluation.summarise(b), "b_minus_a": comparison.difference}
        p_text = f"{comparison.p_value:.2g}" if comparison.p_value else "< 1e-300"
        rows = {name: table.to_dict("index") for name, table in tables.items()}
        (neither, only_b), (only_a, both) = comparison.right.to_numpy().tolist()
        right = {"both": both, "only_a": only_a, "only_b": only_b, "neither": neither}
        results[part] = {"n": len(a.labels), **rows, "right": right, "mcnemar_p": comparison.p_value}
        print(f"  {part}, n={len(a.labels):,}\n    A: {_percents(rows['a'])}\n    B: {_percents(rows['b'])}")
        print(f"    B minus A: {_percents(rows['b_minus_a'], '+')}; McNemar's exact p {p_text}")
        print(f"    right: both {both:,}, only A {only_a:,}, only B {only_b:,}, neither {neither:,}")
    if args.json is not None:
        _save_results(args.json, results)


def _check_outputs(args: argparse.Namespace, inputs: list[Any], *suffixes: str) -> None:
    """Check before any work the files of `--json`, which are called alike but for their endings."""
    for suffix in suffixes if args.json is not None else ():
        path = args.json if suffix == ".json" else args.json.with_suffix(suffix)
        check_output(path, suffix, inputs=[data_file(args.data), *inputs], force=args.force)


def _open_faces(args: argparse.Namespace, classes: tuple[str, ...], digest: str) -> Any:
    """Load the faces of `--split`; the sealed test opens only for a reason, and for a model of its classes."""
    from ferlib import data, protocol
    from ferlib.data.sources import split_named
    from ferlib.emotions import match_classes

    if args.open_sealed_test is None:
        return _load_split(args)
    args.split = split_named(args.split, "--split")
    require(args.split == "PrivateTest", f"--open-sealed-test goes with --split PrivateTest; --split is {args.split}")
    known = data.load(args.data, size=args.face_size, classes=args.classes)
    match_classes(classes, known.classes, known.name)  # before the ledger gets its line
    options = {"size": args.face_size, "classes": args.classes}
    faces = protocol.open_sealed(args.data, args.open_sealed_test, digest, **options)
    print(f"PrivateTest opened; {Path(protocol.LEDGER).resolve()} says when, why and for which model")
    return faces


def _load_split(args: argparse.Namespace) -> Any:
    """Load the faces of an open split."""
    from ferlib import data
    from ferlib.data.sources import split_named

    args.split = split_named(args.split, "--split")
    if args.split == "PrivateTest":
        command = "ferlib evaluate --split PrivateTest --open-sealed-test REASON"
        raise ValueError(f"PrivateTest stays sealed; when all choices are made, run: {command}")
    return data.load(args.data, size=args.face_size, classes=args.classes).subset(args.split)


def _parts_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return masks of all faces and, except in Training, of those without a twin in an earlier split."""
    from ferlib import protocol

    clean = protocol.audit(args.data, size=args.face_size, classes=args.classes).clean(args.split)
    return {"all": slice(None)} | ({"clean": clean} if args.split != "Training" and clean.any() else {})


def _predict(model: Any, faces: Any, view: str) -> Any:
    """Predict with the views of that name, on the GPU if there is one."""
    import torch

    from ferlib import evaluation

    views = evaluation.VIEWS[view]
    note(f"predicting {len(faces):,} faces, {len(views)} view{'s' * (len(views) > 1)} each")
    return evaluation.predict(model.cuda() if torch.cuda.is_available() else model, faces, views=views)


def _percents(rows: dict[Any, Any], sign: str = "") -> str:
    """Format accuracy, balanced accuracy and macro-F1 with their intervals, in percent."""
    texts = []
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        value, low, high = (100 * rows[name][edge] for edge in ("value", "low", "high"))
        texts.append(f"{name} {value:{sign}.2f} [{low:{sign}.1f}, {high:{sign}.1f}]")
    return ", ".join(texts)


def _save_results(path: Path, results: dict[str, Any]) -> None:
    """Write the results as JSON."""
    print(f"wrote {write_whole(path, lambda scratch: scratch.write_text(json.dumps(results, indent=1)))}")
