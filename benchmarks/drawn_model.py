"""Train the model `drawn` that ships for the lessons: on the drawn faces' Training split alone, minutes on a laptop.

    python benchmarks/drawn_model.py            # writes ferlib/weights/drawn.safetensors and its card

The lessons 07 to 10 look at a trained model; those who skip the training take this one. PublicTest is not trained on.
"""

import argparse
import dataclasses
from pathlib import Path

from ferlib import data, evaluation, models, protocol, recipes, training

EPOCHS, SEED = 30, 0
CARD = """# `drawn`

A FerNet with {parameters:,} parameters, trained from scratch on faces that `ferlib.sample` draws: 48x48 gray faces in,
seven emotions out. It serves the lessons that look at a trained model. **It knows drawings only**: for photographs take
`fer2013`.

    ferlib evaluate --model drawn --data sample --split PublicTest

## Data and protocol

The 2,800 `Training` faces of the drawn sample, seed 0, with the faults planted in them (8.7% of the labels are
wrong), and nothing else. {epochs} epochs, seed {seed}; the last epoch is kept. The settings are those of the recipe
`cpu`, the network's widths those of `small`. Nothing was chosen on `PublicTest`. It is one run of
`python benchmarks/drawn_model.py`.

## Accuracy

`PublicTest` of the drawn sample, one view, in percent, in brackets 95% bootstrap intervals ("clean" has no identical
twin in `Training`):

| faces | n | right | accuracy | balanced accuracy | macro-F1 |
|---|---|---|---|---|---|
{accuracy}

Weights (SHA-256): `{weights}`

## What it must not be used for

For nothing about people: it has never seen one.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=models.SHIPPED)
    args = parser.parse_args()
    base = recipes.get_recipe("cpu")
    config = dataclasses.replace(base.config, epochs=EPOCHS, seed=SEED)
    shape = {"name": "fernet", "widths": (32, 48, 96, 144), "drop_rate": 0.2}
    model, augment, _ = dataclasses.replace(base, model=shape, config=config).build()
    faces = data.load("sample")
    test = faces.subset("PublicTest")
    result = training.fit(model, faces.subset("Training"), test, config, train_transform=augment)
    about = {"name": "drawn", "source": "sample", "epochs": EPOCHS, "seed": SEED, "seeds_tried": [SEED]}
    written = models.save_model(result.model, args.out / "scratch", half=True, **about)
    written.replace(args.out / "drawn.safetensors")
    written.parent.rmdir()
    shipped = models.load_model(args.out / "drawn.safetensors")
    found = evaluation.predict(shipped, test)
    lines = []
    for name, part in (("all", found), ("clean", found.subset(protocol.audit("sample").clean("PublicTest")))):
        rows = evaluation.summarise(part)
        cells = [f"{100 * row.value:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]" for row in rows.itertuples()][:3]
        lines.append(f"| {name} | {len(part.labels):,} | {part.correct.sum():,} | {' | '.join(cells)} |")
    text = CARD.format(parameters=models.count_parameters(shipped)[0], epochs=EPOCHS, seed=SEED,
                       accuracy="\n".join(lines), weights=models.model_hash(shipped))  # fmt: skip
    (args.out / "drawn.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
