"""Thirty-two mistakes that a colleague could make in ferlib, one at a time: does a test fail for each?

    python tools/mutations.py                    # all, a few minutes; in a copy, nothing here is changed

A mutation names a room of ferlib, a piece of text that stands there once, what a mistake would put in its place, and
the tests that should notice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("ferlib", "tests", "tools", "notebooks", "benchmarks", "data", "pyproject.toml", "README.md", "CITATION.cff")


@dataclass(frozen=True)
class Mutation:
    """One mistake: `name` in words, the room of ferlib, what is replaced by what, and the test files to ask."""

    name: str
    room: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation("labels in the folders' order", "emotions", '"happy", "sad", "surprise", "neutral")',
             '"happy", "neutral", "sad", "surprise")', "test_data"),
    Mutation("an alias for the wrong emotion", "emotions", '"anger": "angry"', '"anger": "disgust"', "test_layouts"),
    Mutation("the sealed test is handed out", "data", 'dataset = _load(source, size, classes, ("open",))',
             'dataset = _load(source, size, classes, ("open", "sealed"))', "test_data test_protocol"),
    Mutation("images and labels of other rows", "data", "return images, self.dataset.labels_at(indices)",
             "return images, self.dataset.labels_at(sorted(indices))", "test_training"),
    Mutation("the last, smaller batch is dropped in evaluation", "data", "drop_last=shuffle", "drop_last=True",
             "test_data test_training"),
    Mutation("a split through twins and persons", "protocol", "folds.split(dataset.images, dataset.labels, "
             "_groups(dataset))", "folds.split(dataset.images, dataset.labels, np.arange(len(dataset)))",
             "test_protocol"),
    Mutation("clean means clean of Training alone", "protocol", "self.has_twin(split, SPLITS[: SPLITS.index(split)])",
             "self.has_twin(split, SPLITS[:1])", "test_protocol"),
    Mutation("the sealed test opens without a reason", "protocol", 'if not reason.strip() or not', "if not",
             "test_protocol"),
    Mutation("workers repeat each other's augmentation", "transforms", "seed = int(torch.randint(2**31, ()))",
             "seed = 0", "test_transforms test_recipes"),
    Mutation("faces upside down", "evaluation", "return batch.flip(3)", "return batch.flip(2)", "test_evaluation"),
    Mutation("contrast about black", "transforms", "+ 127.5 * (1 - gain)", "", "test_transforms"),
    Mutation("normalised by the sd twice", "transforms", ".mul_(scale)", ".mul_(scale * scale)", "test_transforms"),
    Mutation("prediction in training mode", "evaluation", "with evaluating(model), torch.inference_mode()",
             "with torch.inference_mode()",
             "test_evaluation"),
    Mutation("views are averaged as logits", "evaluation",
             "logits.log_softmax(2).logsumexp(0) - np.log(len(views))", "logits.mean(0)", "test_evaluation"),
    Mutation("the confusion matrix is transposed", "evaluation", "k * self.labels + self.predicted",
             "k * self.predicted + self.labels", "test_evaluation"),
    Mutation("calibration error without the bins' weights", "evaluation",
             "np.nansum(n * abs(means[1] - means[0])) / n.sum()", "np.nanmean(abs(means[1] - means[0]))",
             "test_evaluation"),
    Mutation("the temperature multiplies", "evaluation", "logits * np.exp(-log_t)", "logits * np.exp(log_t)",
             "test_evaluation"),
    Mutation("a batch's mean for the epoch's loss", "training", "F.cross_entropy(logits, labels).item(), ",
             "float(np.mean([F.cross_entropy(*part).item() for part in parts])), ", "test_training"),
    Mutation("patience counts one epoch less", "training", "return len(accuracies) - 1 - ",
             "return len(accuracies) - ", "test_training"),
    Mutation("a resumed run begins its schedule anew", "training",
             'run.kept_weights = state["history"], state["step"], state["kept_weights"]',
             'run.kept_weights = state["history"], 0, state["kept_weights"]', "test_training"),
    Mutation("the last epoch in place of the best", "training",
             'better = all(val_accuracy > past["val_accuracy"] for past in self.history) or config.keep == "last"',
             "better = True", "test_training"),
    Mutation("weight decay on biases", "training", "decays = parameter.ndim > 1", "decays = True", "test_optim"),
    Mutation("freezing by a piece of the name", "models", 'name == part or name.startswith(f"{part}.")', "part in name",
             "test_models test_optim"),
    Mutation("the three colours' weights summed, not averaged", "models", "layer.weight /= 3", "layer.weight /= 1",
             "test_models"),
    Mutation("a saved network is not compared with the trained one", "models",
             "if alike(fixed_answers(network, _shape(model.input_spec)), answers, 1e-4):", "if True:",
             "test_contract"),
    Mutation("a network's answers are not compared when it is loaded", "models",
             "if answers.size and not alike(fixed_answers(model.network, _shape(spec)), answers, 2e-3):",
             "if False:", "test_contract"),
    Mutation("the CSV's numbers in AffectNet's order", "data", 'labels.replace(ORDERS["fer2013"])',
             'labels.replace(ORDERS["affectnet"])', "test_data"),
    Mutation("classes are matched by place", "emotions", "np.array([mine.index(name) for name in theirs])",
             "None", "test_contract"),
    Mutation("an own transform's mean and sd are believed", "models",
             "require(same, f\"{role}'s transform", "require(True, f\"{role}'s transform", "test_contract"),
    Mutation("an archive's entry may climb out of its folder", "data", ' or ".." in name.split("/")', "",
             "test_data"),
    Mutation("pixels below 0 wrap around", "data", "values.min() < 0", "False", "test_data"),
    Mutation("a map's negative parts count", "explain", ".sum(1, keepdim=True).relu()",
             ".sum(1, keepdim=True).abs()", "test_explain"),
)  # fmt: skip


def places(mutation: Mutation, tree: Path = ROOT) -> list[Path]:
    """The files of a mutation's room where its text stands, one for each time that it does."""
    room = tree / "ferlib" / mutation.room
    files = sorted(room.glob("*.py")) if room.is_dir() else [room.with_suffix(".py")]
    return [file for file in files for _ in range(file.read_text(encoding="utf-8").count(mutation.old))]


def stale() -> list[str]:
    """Mutations whose text does not stand in its room exactly once, one sentence each."""
    found = []
    for mutation in MUTATIONS:
        if (count := len(places(mutation))) != 1:
            found.append(f"{mutation.name}: its text stands {count} times in ferlib/{mutation.room}")
        missing = [name for name in mutation.tests.split() if not (ROOT / "tests" / f"{name}.py").exists()]
        found += [f"{mutation.name}: there is no tests/{name}.py" for name in missing]
    return found


def noticed(mutation: Mutation, tree: Path, timeout: float = 600) -> bool:
    """Whether a test fails, or never ends, when the copy of this repository in `tree` holds the mistake."""
    (path,) = places(mutation, tree)
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return fails(mutation.tests.split(), tree, timeout)
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(right, encoding="utf-8")


def fails(tests: Sequence[str], tree: Path, timeout: float = 1200) -> bool:
    """Whether one of these test files fails in the copy of this repository in `tree`."""
    files = [f"tests/{name}.py" for name in tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n0", *files],
        cwd=tree, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 1 if a mistake goes unnoticed, else 0."""
    parser = argparse.ArgumentParser(prog="tools/mutations.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORD", help="those with this word in their name")
    args = parser.parse_args(argv)
    problems = stale()
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for path in map(ROOT.joinpath, COPIED):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tree / path.name)
        chosen = [mutation for mutation in MUTATIONS if args.only in mutation.name]
        if not chosen:
            parser.error(f"no mistake has {args.only!r} in its name")
        asked = sorted({name for mutation in chosen for name in mutation.tests.split()})
        if asked and fails(asked, tree):
            print(f"a test fails without any mistake: mend that first ({', '.join(asked)})", file=sys.stderr)
            return 1
        for number, mutation in enumerate(chosen, 1):
            begun = time.monotonic()
            well = noticed(mutation, tree)
            missed += [] if well else [mutation.name]
            took = f"{time.monotonic() - begun:.0f} s"
            print(f"[{number}/{len(chosen)}] {mutation.name}: {'noticed' if well else 'MISSED'}, {took}", flush=True)
    print(f"missed: {', '.join(missed)}" if missed else f"all {len(chosen)} mistakes are noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
