"""`ferlib VERB` as a user meets it: what it prints and writes, and one clear line with exit code 2 for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from on_disk import write_csv, write_folders
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ferlib import cli, evaluation, models, recipes, sample
from ferlib.data import load
from ferlib.emotions import EMOTIONS
from ferlib.transforms import EvalTransform

pytestmark = pytest.mark.filterwarnings("ignore:.*of FER2013's")


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """175 faces with all three splits; the first 10 of each test are twins of Training faces."""
    images, table = sample.draw(175, seed=4, balance="equal")
    labels = table["label"].to_numpy(copy=True)
    for start in (105, 140):
        images[start : start + 10], labels[start : start + 10] = images[:10], labels[:10]
    splits = ["Training"] * 105 + ["PublicTest"] * 35 + ["PrivateTest"] * 35
    return write_csv(tmp_path_factory.mktemp("cli") / "faces.csv", images, labels, splits)


@pytest.fixture(scope="module")
def trained(csv: Path) -> Path:
    out = csv.parent / "run"
    assert (
        cli.main(
            ["train", "--data", str(csv), "--out", str(out), "--recipe=plain_cnn", "--epochs=2", "--batch-size=16"]
        )
        == 0
    )
    return out


def ferlib(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    try:
        code = cli.main([str(arg) for arg in args])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refuses(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What a mistake prints: exit code 2, nothing on stdout but notes, a single line of error, no traceback."""
    code, out, err = ferlib(capsys, *args)
    lines = [line for line in err.splitlines() if not line.startswith("ferlib: note:")]
    assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
    assert ": error: " in lines[0]
    return lines[0]


@pytest.mark.parametrize("verb", ["doctor", "data", "audit", "train", "recipes", "evaluate", "compare"])
def test_each_verb_helps_with_an_example(capsys, verb: str):
    code, out, _ = ferlib(capsys, verb, "--help")
    assert code == 0 and f"example:\n  ferlib {verb}" in out


def test_help_lists_the_verbs(capsys):
    code, out, _ = ferlib(capsys, "--help")
    assert code == 0 and all(verb in out for verb in ("doctor", "data", "audit", "train", "evaluate", "compare", "95%"))


def test_data_counts_faces_and_notes_what_is_missing(capsys, csv: Path):
    code, out, err = ferlib(capsys, "data", "--data", csv)
    assert code == 0
    assert "faces.csv: 140 faces, 48x48 px" in out
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["Training", "PublicTest", "PrivateTest:"]
    assert out.endswith("PrivateTest: 35 more, sealed\n")
    assert "ferlib: note: faces.csv: Training: 105 of FER2013's 28,709 images" in err


def test_audit_prints_the_figures(capsys, csv: Path):
    code, out, _ = ferlib(capsys, "audit", "--data", csv)
    figures = {line[:-9].strip(): int(line[-9:].replace(",", "")) for line in out.splitlines()[1:]}
    assert code == 0
    assert figures["PublicTest images with a twin in Training"] == 10
    assert figures["clean PrivateTest images"] == 25
    assert figures["Training images with a twin in a test split"] == 10


def test_doctor_reports_and_exits_by_what_it_finds(capsys, monkeypatch):
    from ferlib import doctor

    code, out, _ = ferlib(capsys, "doctor")
    assert code == 0 and "torch" in out
    monkeypatch.setattr(doctor, "check", lambda: [doctor.Check("cv2", False, "cv2.face is missing", "pip install x")])
    code, out, _ = ferlib(capsys, "doctor")
    assert code == 1 and "pip install x" in out


def test_train_writes_a_model_its_history_and_its_state(trained: Path):
    assert {path.name for path in trained.iterdir()} == {"model.safetensors", "history.csv", "state.pt"}
    assert pd.read_csv(trained / "history.csv")["epoch"].tolist() == [1, 2]
    about = models.load_model(trained).about
    assert about["training"]["epochs"] == 2 and about["built_with"]["name"] == "plain_cnn"


def test_train_goes_on_where_it_was_and_refuses_to_overwrite(capsys, trained: Path, csv: Path):
    args = ("train", "--data", csv, "--out", trained, "--recipe=plain_cnn", "--batch-size=16")
    assert "already holds a model; add --resume" in refuses(capsys, *args, "--epochs", 2)
    before = (trained / "model.safetensors").read_bytes()
    assert "other settings (epochs 2 -> 3)" in ferlib(capsys, *args, "--epochs", 3, "--resume")[2]
    assert ferlib(capsys, *args, "--epochs", 2, "--resume")[0] == 0
    assert (trained / "model.safetensors").read_bytes() == before


def test_limit_takes_a_share_of_each_class(capsys, csv: Path, tmp_path: Path):
    args = ("train", "--data", csv, "--recipe", "plain_cnn", "--epochs", 1, "--batch-size", 7)
    code, out, _ = ferlib(capsys, *args, "--limit", 28, "--out", tmp_path / "a")
    assert code == 0 and "28 faces at 48 px, 1 epochs" in out
    assert "3 faces were asked for; of 105, 7 to 98 can be taken in proportion" in refuses(
        capsys, *args, "--limit", 3, "--out", tmp_path / "b"
    )
    assert not (tmp_path / "b").exists()
    code, out, _ = ferlib(capsys, *args, "--limit", 105, "--out", tmp_path / "c", "--resume")
    assert code == 0 and "note: all 105 faces are taken" in out and "105 faces at 48 px" in out
    assert f"note: {tmp_path / 'c'} holds no run to go on with" in out


def test_a_share_of_training_can_validate_where_there_is_no_public_test(capsys, tmp_path: Path):
    images, table = sample.draw(140, seed=8, balance="equal")
    labels = table["label"].to_numpy()
    root = write_folders(tmp_path / "d", images, labels, [f"{{}}/{i}.png" for i in range(140)])
    args = ("train", "--data", root, "--recipe=plain_cnn", "--epochs=1", "--batch-size=16", "--out", tmp_path / "run")
    assert "ferlib train --val-share 0.1" in refuses(capsys, *args)
    code, out, _ = ferlib(capsys, *args, "--val-share", "0.25")
    assert code == 0 and "105 faces at 48 px, 1 epochs" in out and "kept epoch 1: validation accuracy" in out


def test_recipes_lists_them_and_tells_all_about_one(capsys):
    _, out, _ = ferlib(capsys, "recipes")
    assert [line.split()[0] for line in out.splitlines()[:-1]] == list(recipes.RECIPES)
    _, out, _ = ferlib(capsys, "recipes", "scratch_jitter")
    assert out.startswith("scratch_jitter: ") and "jittering the saturation does nothing" in out
    assert "no recipe is called 'magic'" in refuses(capsys, "recipes", "magic")


def test_another_model_size_and_start_stand_in_for_the_recipes_own(capsys, csv: Path, tmp_path: Path):
    short = ("--epochs", 1, "--batch-size", 16, "--limit", 28)
    given = ("--model", "test_resnet", "--size", 40)
    code, out, _ = ferlib(capsys, "train", "--data", csv, "--out", tmp_path / "a", *short, *given)
    assert code == 0 and "cpu: test_resnet, " in out and "from scratch; 28 faces at 40 px, 1 epochs" in out
    first = models.load_model(tmp_path / "a")
    assert (first.input_spec.size, first.built_with["weights"]) == (40, None)
    more = ("--weights", tmp_path / "a", "--lr", 0)
    code, out, _ = ferlib(capsys, "train", "--data", csv, "--out", tmp_path / "b", *short, *given, *more)
    assert code == 0 and f"from {tmp_path / 'a'} weights" in out
    second = models.load_model(tmp_path / "b")
    assert torch.equal(second.fc.weight, first.fc.weight), "with a rate of zero it ends where it began"


def test_a_teacher_makes_any_recipe_distil(capsys, csv: Path, trained: Path, tmp_path: Path):
    short = ("--data", csv, "--epochs", 1, "--batch-size", 16, "--limit", 28, "--recipe", "plain_cnn")
    assert ferlib(capsys, "train", *short, "--out", tmp_path, "--teacher", trained)[0] == 0
    about = models.load_model(tmp_path).about["training"]
    assert about["distill"] == 0.7 and about["teacher"] == models.model_hash(models.load_model(trained))
    message = refuses(capsys, "train", *short[:-1], "small", "--out", tmp_path / "other")
    assert "small learns from another model: name it, as in --teacher runs/long" in message


def test_votes_take_the_place_of_labels_and_leaked_faces_are_dropped(capsys, csv: Path, tmp_path: Path):
    labels = load(csv).subset("Training").labels
    columns = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
    place = [4, 5, 6, 1, 3, 2, 0]  # of each of EMOTIONS among the columns
    rows = np.zeros((175, 10), int)
    rows[:, 0] = 10
    rows[np.arange(105)] = 0
    rows[np.arange(105), [place[label] for label in labels]] = 10
    splits = ["Training"] * 105 + ["PublicTest"] * 35 + ["PrivateTest"] * 35
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "Image name", [f"fer{i:07}.png" for i in range(175)])
    table.insert(0, "Usage", splits)
    table.to_csv(tmp_path / "votes.csv", index=False)
    short = ("train", "--data", csv, "--epochs", 1, "--batch-size", 16)
    code, out, _ = ferlib(capsys, *short, "--out", tmp_path / "soft", "--votes", tmp_path / "votes.csv")
    assert code == 0 and "FER+ cross_entropy: 105 of 105 faces kept" in out
    assert "FER+ cross_entropy" in models.load_model(tmp_path / "soft").about["training"]["data"]
    code, out, _ = ferlib(capsys, *short, "--out", tmp_path / "clean", "--drop-leaked")
    assert code == 0 and "95 faces at 48 px" in out, "the first ten have a twin in either test"


def test_several_models_are_evaluated_as_their_mean(capsys, trained: Path, csv: Path, tmp_path: Path):
    target = tmp_path / "both.json"
    code, out, _ = ferlib(capsys, "evaluate", "--model", trained, trained, "--data", csv, "--json", target)
    assert code == 0 and f"{trained} + {trained} on PublicTest" in out
    ferlib(capsys, "evaluate", "--model", trained, "--data", csv, "--json", tmp_path / "one.json")
    both, one = (json.loads(path.read_text())["flip_averaged"]["all"] for path in (target, tmp_path / "one.json"))
    assert both["accuracy"] == one["accuracy"] and both["confusion"] == one["confusion"]


def test_evaluate_gives_all_and_clean_figures_with_intervals(capsys, trained: Path, csv: Path, tmp_path: Path):
    report = tmp_path / "out.json"
    code, out, _ = ferlib(capsys, "evaluate", "--model", trained, "--data", csv, "--json", report)
    assert code == 0 and f"wrote {report} and {tmp_path / 'out.png'}" in out
    figures = json.loads(report.read_text())
    faces, model = load(csv).subset("PublicTest"), models.load_model(trained)
    prepare = EvalTransform(models.input_spec(model))
    for name, views in (("single_view", (None,)), ("flip_averaged", (None, evaluation.flip))):
        want = evaluation.predict(model, faces.images, faces.labels, prepare, views=views)
        official, clean = figures[name]["all"], figures[name]["clean"]
        assert (official["n"], clean["n"]) == (35, 25)
        assert official["correct"] == want.correct.sum() and clean["correct"] == want.correct[10:].sum()
        assert official["accuracy"]["value"] == pytest.approx(want.correct.mean())
        assert official["accuracy"]["low"] <= official["accuracy"]["value"] <= official["accuracy"]["high"]
        assert np.array(official["confusion"]).sum() == 35 and official["classes"] == list(EMOTIONS)
    assert figures["model_sha256"] == models.model_hash(model)
    picture = cv2.imread(str(tmp_path / "out.png"))
    assert picture.shape[0] > 500 and picture.std() > 10
    assert f"{100 * figures['flip_averaged']['all']['accuracy']['value']:.2f} [" in out


def test_evaluate_tells_the_calibration_and_with_tta_a_third_average(capsys, trained: Path, csv: Path, tmp_path: Path):
    faces, model = load(csv).subset("PublicTest"), models.load_model(trained)
    prepare = EvalTransform(models.input_spec(model))
    want = {
        name: evaluation.predict(model, faces.images, faces.labels, prepare, views=views)
        for name, views in evaluation.VIEWS.items()
    }
    args = ("evaluate", "--model", trained, "--data", csv, "--json", tmp_path / "out.json")
    plain = ferlib(capsys, *args)[1]
    assert "shift" not in plain and "shift_flip_averaged" not in json.loads((tmp_path / "out.json").read_text())
    code, out, _ = ferlib(capsys, *args, "--tta")
    figures = json.loads((tmp_path / "out.json").read_text())
    assert code == 0 and "  shift flip averaged all      n=35  accuracy" in out
    for name, found in want.items():
        for part, some in (("all", found), ("clean", found.subset(np.arange(10, 35)))):
            assert figures[name][part] == json.loads(json.dumps(evaluation.as_json(some))), (name, part)
    for name, text in (("flip_averaged", plain), ("shift_flip_averaged", out)):
        numbers, shown = figures[name]["all"], name.replace("_", " ")
        assert numbers["temperature"] == evaluation.fit_temperature(want[name])
        assert (
            f"calibration, {shown}, all faces: ECE {numbers['ece']:.1%} as it is, {numbers['calibrated_ece']:.1%} "
            f"with a temperature fitted on other folds ({numbers['temperature']:.2f} on all)\n" in text
        )
        happy = 100 * evaluation.report(want[name]).loc["happy"]
        (row,) = [line.split() for line in text.splitlines() if line.startswith("happy")]
        assert row[1:4] == [f"{happy[column]:.1f}" for column in ("precision", "recall", "f1")]


@pytest.fixture(scope="module")
def other(csv: Path, trained: Path) -> Path:
    """A second model, whose last layer names every face happy or sad."""
    model = models.load_model(trained)
    with torch.no_grad():
        model.head[-1].bias[3:5] += 50
    models.save_model(model, csv.parent / "other")
    return csv.parent / "other"


def test_compare_gives_paired_differences_on_all_and_clean_faces(
    capsys, trained: Path, other: Path, csv: Path, tmp_path: Path
):
    code, out, _ = ferlib(
        capsys, "compare", trained, other / "model.safetensors", "--data", csv, "--json", tmp_path / "c.json"
    )
    figures, faces = json.loads((tmp_path / "c.json").read_text()), load(csv).subset("PublicTest")
    assert (
        code == 0 and f"A: {trained}, B: {other / 'model.safetensors'}; PublicTest of faces.csv, flip averaged" in out
    )
    assert f"wrote {tmp_path / 'c.json'}" in out and (figures["split"], figures["views"]) == (
        "PublicTest",
        "flip_averaged",
    )
    loaded = [models.load_model(path) for path in (trained, other)]
    assert [figures[name]["model_sha256"] for name in "ab"] == [models.model_hash(model) for model in loaded]
    pair = [
        evaluation.predict(
            model, faces.images, faces.labels, EvalTransform(models.input_spec(model)), views=(None, evaluation.flip)
        )
        for model in loaded
    ]
    for part, which in (("all", np.arange(35)), ("clean", np.arange(10, 35))):
        a, b = (predictions.subset(which) for predictions in pair)
        found, numbers = evaluation.compare(a, b), figures[part]
        assert numbers["n"] == len(which) and numbers["mcnemar_p"] == found.p_value
        assert numbers["b_minus_a"] == found.difference.to_dict("index")
        assert numbers["a"] == evaluation.summarise(a).to_dict("index")
        assert numbers["b"] == evaluation.summarise(b).to_dict("index")
        right = {
            "neither": (~a.correct & ~b.correct).sum(), "only_b": (~a.correct & b.correct).sum(),
            "only_a": (a.correct & ~b.correct).sum(), "both": (a.correct & b.correct).sum(),
        }  # fmt: skip
        assert numbers["right"] == right
        gain = numbers["b_minus_a"]["accuracy"]
        assert f"n={len(which)}  accuracy A {100 * a.correct.mean():.2f} [" in out
        assert f"B {100 * b.correct.mean():.2f} [" in out
        assert f"accuracy {100 * gain['value']:+.2f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]" in out
        assert f"only A {right['only_a']}, only B {right['only_b']}, neither {right['neither']}; McNemar" in out
        assert f"McNemar's exact p {found.p_value:.2g}\n" in out
    assert figures["all"]["right"]["only_a"] + figures["all"]["right"]["only_b"] > 0, "the two models differ"


def test_compare_leaves_the_sealed_test_closed(capsys, trained: Path, csv: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ("compare", trained, trained, "--data", csv)
    assert "PrivateTest is for one model" in refuses(capsys, *args, "--split", "PrivateTest")
    assert "ferlib evaluate --split PrivateTest --open-sealed-test" in refuses(capsys, *args, "--split", "PrivateTest")
    assert list(tmp_path.iterdir()) == []
    code, out, _ = ferlib(capsys, *args, "--split", "Training")
    assert code == 0 and "clean" not in out and "B minus A: accuracy +0.00 [+0.0, +0.0]" in out


def test_the_sealed_test_opens_only_when_asked_with_a_reason(
    capsys, trained: Path, csv: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    args = ("evaluate", "--model", trained, "--data", csv)
    assert "PrivateTest stays sealed" in refuses(capsys, *args, "--split", "PrivateTest")
    assert "takes a reason" in refuses(capsys, *args, "--split", "PrivateTest", "--open-sealed-test", " ")
    assert "--open-sealed-test goes with --split PrivateTest" in refuses(capsys, *args, "--open-sealed-test", "why")
    assert list(tmp_path.iterdir()) == []
    code, out, _ = ferlib(capsys, *args, "--split", "PrivateTest", "--open-sealed-test", "the final figure")
    assert code == 0 and "all      n=35" in out and "clean    n=25" in out
    (line,) = (tmp_path / "sealed_test_ledger.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "the final figure"
    assert json.loads(line)["model"] == models.model_hash(models.load_model(trained))


def test_a_ledger_that_cannot_be_written_keeps_the_test_closed(
    capsys, trained: Path, csv: Path, tmp_path: Path, monkeypatch
):
    (tmp_path / "sealed_test_ledger.jsonl").mkdir()
    monkeypatch.chdir(tmp_path)
    args = ("evaluate", "--model", trained, "--data", csv, "--split", "PrivateTest", "--open-sealed-test", "x")
    assert "the sealed test stays closed" in refuses(capsys, *args, "--json", tmp_path / "o.json")
    assert not (tmp_path / "o.json").exists()


def other_classes(trained: Path, path: Path) -> Path:
    with safe_open(trained / "model.safetensors", "pt") as file:
        about = json.loads(file.metadata()["ferlib"])
    about["classes"] = ["cat", "dog"]
    save_file(load_file(trained / "model.safetensors"), path, {"ferlib": json.dumps(about)})
    return path


def test_mistakes_are_one_line_each(capsys, trained: Path, csv: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    image = sample.draw(1)[0]
    odd = write_folders(tmp_path / "odd", image, [0], ["train/smug/1.png"])
    only_train = write_folders(tmp_path / "train-only", image, [0], ["train/{}/1.png"])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((trained / "model.safetensors").read_bytes()[:1000])
    train, evaluate, out = ("train", "--data"), ("evaluate", "--data", csv, "--model"), ("--out", tmp_path / "x")
    table = [
        ((), "the following arguments are required: VERB"),
        (("tame",), "invalid choice: 'tame'"),
        (("train",), "the following arguments are required: --out"),
        ((*train, tmp_path / "nowhere", *out), "nowhere does not exist"),
        ((*train, tmp_path / "empty", *out), "holds no image in class folders"),
        ((*train, odd, *out), "'smug' is no known emotion"),
        ((*train, only_train, *out), "no split 'PublicTest' open; it has Training"),
        ((*train, csv, *out, "--recipe", "magic"), "no recipe is called 'magic'; allowed are fast, cpu, long"),
        ((*train, csv, *out, "--epochs", "0"), "epochs is 0; it must be at least 1"),
        ((*train, csv, *out, "--epochs", "many"), "invalid int value: 'many'"),
        ((*train, csv, *out, "--precision", "int4"), "invalid choice: 'int4'"),
        ((*evaluate, tmp_path / "none"), "is neither a run's folder, nor a model's file"),
        ((*evaluate, cut), "is no whole safetensors file"),
        ((*evaluate, csv), "is no whole safetensors file"),
        ((*evaluate, other_classes(trained, tmp_path / "pets.safetensors")), "is for the classes cat, dog"),
        ((*evaluate, trained, "--split", "Test"), "no split 'Test' open; it has Training, PublicTest"),
        ((*evaluate, trained, "--json", tmp_path / "no" / "o.json"), "the folder of"),
        ((*evaluate, trained, "--json", tmp_path / "o.txt"), "its name must end in .json"),
        (("compare", trained), "the following arguments are required: B"),
        (("compare", trained, tmp_path / "none", "--data", csv), "is neither a run's folder, nor a model's file"),
        (("compare", trained, trained, "--data", csv, "--split", "Test"), "no split 'Test' open"),
        (("compare", trained, trained, "--data", csv, "--json", tmp_path / "no" / "o.json"), "the folder of"),
    ]
    for args, message in table:
        assert message in refuses(capsys, *args), args
    code, _, err = ferlib(capsys, *train, csv, *out, "--batch-size", "1000")
    assert code == 2 and err.endswith(
        "error: 105 training faces are fewer than one batch of 1000: lower batch_size (`--batch-size`)\n"
    )
    code, _, err = ferlib(capsys, *train, csv, "--out", csv / "below-a-file", "--batch-size", "16")
    assert code == 2 and "Not a directory" in err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_a_bad_row_is_named_from_the_command_line_too(tmp_path: Path, csv: Path):
    bad = tmp_path / "bad.csv"
    bad.write_text(csv.read_text().replace(" ", " boo ", 1))
    done = subprocess.run(
        [sys.executable, "-m", "ferlib.cli", "data", "--data", bad], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ferlib data: error: bad.csv, line 2: pixel 'boo' is no whole number of 0 to 255\n"
