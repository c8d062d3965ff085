# %% [markdown]
# # One page: fine-tune a timm network on facial expressions
#
# {colab}
#
# The whole project in one notebook: class folders, Albumentations, a `DataLoader`, EfficientNet from timm with
# ImageNet's weights, training, curves, a confusion matrix, a saved model, one picture. The code is yours to copy: it does
# not import `ferlib`.
#
# **Time:** 3 minutes on a laptop with two CPU cores. **Data:** drawn faces, made below. For FER2013, change `DATA`. On
# Google Colab choose *Runtime > Change runtime type > GPU* first, then set, in the cell below the next,
# `DATA = Path(__import__("kagglehub").dataset_download("msambare/fer2013"))`.

# %%
import os
import sys
from pathlib import Path

import albumentations as A
import cv2
import matplotlib.pyplot as plt
import timm
import torch
from albumentations.pytorch import ToTensorV2
from sklearn.metrics import ConfusionMatrixDisplay, classification_report
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

# %% tags=["parameters"]
DATA, SIZE, EPOCHS, BATCH, LR = Path("../data/drawn_faces"), 64, 4, 64, 1e-3

# %% [markdown]
# ## 1. Data: a folder for each class
#
# `DATA` holds the folder `train` and one more for validation, each with a folder for each class.

# %%
if not DATA.exists():  # 4,800 drawn faces, from this course's package
    os.system(f'"{sys.executable}" -m ferlib data export sample "{DATA}"')
(other,) = {path.name for path in DATA.iterdir()} - {"train"}
classes = sorted(path.name for path in (DATA / "train").iterdir())
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)


# %% [markdown]
# A `Dataset` knows how many samples there are, and gives each one: a tensor and a label.


# %%
class Faces(Dataset):
    def __init__(self, folder, transform):
        self.files, self.transform = sorted(folder.glob("*/*.*")), transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        file = self.files[i]
        image = cv2.imread(str(file))  # three channels; those of a gray face are equal
        return self.transform(image=image)["image"], classes.index(file.parent.name)


# %% [markdown]
# ## 2. Augmentation: random for training, fixed for validation
#
# Mean and standard deviation are 0.5, as when this network was trained.

# %%
fixed = [A.Resize(SIZE, SIZE), A.Normalize(0.5, 0.5), ToTensorV2()]
turn = A.Affine(rotate=(-10, 10), scale=(0.9, 1.1), border_mode=cv2.BORDER_REPLICATE)
random = [A.HorizontalFlip(), turn, A.RandomBrightnessContrast(0.2, 0.2)]
train_set = Faces(DATA / "train", A.Compose(random + fixed))
val_set = Faces(DATA / other, A.Compose(fixed))
batches = DataLoader(train_set, BATCH, shuffle=True, drop_last=True)
val_batches = DataLoader(val_set, BATCH)

# %% [markdown]
# ## 3. A network from timm, with ImageNet's weights
#
# `pretrained=True` downloads them. A package in `requirements.txt` brings the same weights, so that this page also runs
# without a network: they stand in timm's order, under other names. The last layer is new: ImageNet has 1,000 classes.

# %%
files = list(Path(timm.__file__).parents[1].glob("efficientnet_lite0*/models/*.pth"))
model = timm.create_model("tf_efficientnet_lite0", pretrained=not files)
if files:
    weights = torch.load(files[0], weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
model.reset_classifier(len(classes))
model = model.to(device)

# %%
criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, EPOCHS * len(batches))

# %% [markdown]
# ## 4. Train and validate


# %%
@torch.no_grad()
def validate():
    model.eval()
    pairs = [(model(images.to(device)).cpu(), labels) for images, labels in val_batches]
    logits, labels = map(torch.cat, zip(*pairs, strict=True))
    return criterion(logits, labels).item(), logits.argmax(1), labels


# %%
history = []
for epoch in range(1, EPOCHS + 1):
    losses = []
    model.train()
    for images, labels in tqdm(batches, f"epoch {epoch}", leave=False):
        loss = criterion(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    val_loss, predicted, true = validate()
    accuracy = (predicted == true).float().mean().item()
    history.append((sum(losses) / len(losses), val_loss, accuracy))
    print(f"epoch {epoch}: validation loss {val_loss:.2f}, accuracy {accuracy:.1%}")

# %% [markdown]
# ## 5. Curves, confusion matrix, report

# %% alt="Loss of training and validation faces, and the validation accuracy, over the epochs"
names = ["training loss", "validation loss", "validation accuracy"]
plt.plot(range(1, EPOCHS + 1), history, "o-", label=names)
plt.gca().set(title="Curves", xlabel="epoch", ylabel="loss (nats), share right")
_ = plt.legend()

# %% alt="Confusion matrix of the validation faces: a row for each true class, a column for each predicted one"
ConfusionMatrixDisplay.from_predictions(true, predicted, display_labels=classes)
plt.gca().set_title("Validation faces: a row for each true class")
plt.xticks(rotation=45)
print(classification_report(true, predicted, target_names=classes, zero_division=0))

# %% [markdown]
# ## 6. Keep it, load it, name one picture

# %%
torch.save(model.state_dict(), "one_page.pt")
loaded = timm.create_model("tf_efficientnet_lite0", num_classes=len(classes)).eval()
loaded.load_state_dict(torch.load("one_page.pt", weights_only=True))
picture = cv2.imread(str(val_set.files[0]))  # or your own: a face that fills it
shares = loaded(val_set.transform(image=picture)["image"][None]).softmax(1)[0].tolist()
print({name: f"{share:.0%}" for name, share in zip(classes, shares, strict=True)})

# %% [markdown]
# ## What this page gets wrong
#
# It is what most projects do, and it works. Six things it does not tell you; each has a lesson:
#
# | the page | what it hides | where |
# |---|---|---|
# | reports its validation faces | epochs and settings are chosen on them: keep a test set sealed | lesson 02 |
# | takes the folders as they are | copies of training faces in the other folder; FER2013 has hundreds | lessons 01, 02 |
# | gives one number of one run | another seed gives another number; 2,000 faces leave some points open | lesson 08 |
# | gives the accuracy | rare classes hardly count in it | lessons 06, 07 |
# | takes `softmax` for "how sure" | the shares are not calibrated | lesson 08 |
# | takes a picture for a face | a face has to be found, and framed as in training | lesson 10 |
#
# `ferlib` adds just these. It also checks that labels, classes and preprocessing fit each other.
