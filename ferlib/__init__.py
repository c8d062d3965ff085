"""Facial expression recognition: the library under the course.

Load faces, augment them, train any network, measure it honestly, and use it on your own pictures:

```python
from ferlib import data, evaluation, models, plots, training, transforms

faces = data.load("sample")  # drawn faces; or "fer2013", or the path of any copy
train, val = faces.subset("Training"), faces.subset("PublicTest")
model = models.build_model("plain_cnn", classes=faces.classes)
# or models.FaceModel(YourNetwork(), transforms.InputSpec(48), faces.classes), any nn.Module with 7 outputs
training.fit(model, train, val, training.TrainConfig(epochs=3, lr=3e-3), out="runs/first")  # a new folder
predictions = evaluation.predict(model, val)
print(evaluation.report(predictions))
plots.plot_confusion(predictions)
```

Where to look:

- `ferlib.data`: load any copy of FER2013 or your own class folders; `FaceDataset` is a torch `Dataset`
- `ferlib.transforms`: Albumentations pipelines by name, and augmentation of whole batches
- `ferlib.models`: networks by name, ImageNet weights, `FaceModel`, save and load
- `ferlib.training`: `fit` and `TrainConfig`; checkpoint, resume, learning-rate finder
- `ferlib.evaluation`, `ferlib.plots`, `ferlib.explain`: numbers with intervals, pictures of them, maps
- `ferlib.apps.recognizer`: photos, folders, videos and the camera
- `ferlib.protocol`: audit of leaks, splits, the sealed test
- `ferlib.recipes`: published recipes and ours; `ferlib.sample`: faces drawn with their truth

**What is stable.** Versions follow [semantic versioning](https://semver.org). Stable are the names that a package lists
in `__all__`, the public functions of the other modules, the fields of `TrainConfig`, `FaceDataset`, `FaceModel` and
`Predictions`, the columns of tables that functions return, the verbs and options of the command line, and the files
that `save_model` writes. A name that goes is deprecated for one minor version first: it still works, and warns. Names
with a leading underscore, messages, and the layout of the cache may change in any version.
"""

__version__ = "0.2.0"
