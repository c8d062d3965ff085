# %% [markdown]
# # One page: fine-tune a timm network on facial expressions
#
# {colab}
#
# The whole project in one notebook: class folders, Albumentations, a `DataLoader`, EfficientNet from timm with
# ImageNet's weights, training, curves, a confusion matrix, a saved model, one picture. The code is yours to copy:
# it does not import `ferlib` (only the drawn faces come from it).
#
# **Install:** `pip install timm albumentations scikit-learn opencv-python matplotlib tqdm` (and `kagglehub`, which
# Colab has).
#
# **Data:** on Google Colab the photographs of FER2013, elsewhere drawn faces; section 1 gets them.
#
# **Time:** about 2 minutes for the drawn faces on two CPU cores. FER2013 has ten times as many training faces: choose
# *Runtime > Change runtime type > GPU* on Colab before you run, and set `SIZE` to 96 and `EPOCHS` to 10. We estimate
# ten minutes on Colab's GPU; on two CPU cores it takes hours. Without these changes, one run on FER2013 got 62.6%
# of half the test photographs (`PublicTest`) right.

# %%
import sys
from pathlib import Path
from subprocess import check_call

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
DATA, SIZE, EPOCHS, BATCH, LR = Path("../data/drawn_faces"), 64, 3, 64, 1e-3

# %% [markdown]
# ## 1. Data: a folder for each class
#
# `DATA` holds the folder `train`, and for validation `valid` or `test`. In each is a folder for each class. Put
# your own folder into the cell above, or let the next cell get one:
#
# - On Colab it downloads FER2013 from Kaggle. In that download, the folder `test` holds FER2013's two test splits
#   (PublicTest and PrivateTest): the page then validates on test faces.
# - On your computer, without a folder of your own, first install the course (`make lab`): it draws faces.

# %%
if not DATA.exists() and "google.colab" in sys.modules:
    import kagglehub

    DATA = Path(kagglehub.dataset_download("msambare/fer2013"))
elif not DATA.exists():
    check_call([sys.executable, "-m", "ferlib", "data", "export", "sample", DATA])
classes = sorted(path.name for path in (DATA / "train").iterdir())
val_folder = next(DATA / name for name in ("valid", "test") if (DATA / name).exists())

# %% [markdown]
# A `Dataset` knows how many samples there are, and gives each one: a tensor and a label. OpenCV reads a gray face
# as three equal channels, and ImageNet's weights expect three. (Lesson 05 gives the network one channel and adds up
# the filters of the three colours. At first its answers are the same.)


# %%
class Faces(Dataset):
    def __init__(self, folder, transform):
        self.files, self.transform = sorted(folder.glob("*/*.*")), transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        image = self.transform(image=cv2.imread(str(self.files[i])))["image"]
        return image, classes.index(self.files[i].parent.name)


# %% [markdown]
# ## 2. Augmentation: random for training, fixed for validation
#
# Mean and standard deviation are 0.5, as when this network was trained. `ToGray` is for your own pictures in
# colour.

# %%
fixed = [A.ToGray(p=1), A.Resize(SIZE, SIZE), A.Normalize(0.5, 0.5), ToTensorV2()]
augment = [A.HorizontalFlip(), A.Rotate((-10, 10)), A.RandomBrightnessContrast()]
train_set = Faces(DATA / "train", A.Compose(augment + fixed))
val_set = Faces(val_folder, A.Compose(fixed))
batches = DataLoader(train_set, BATCH, shuffle=True, drop_last=True)
val_batches = DataLoader(val_set, BATCH)

# %% [markdown]
# ## 3. A network from timm, with ImageNet's weights
#
# `pretrained=True` downloads the weights. The course's requirements bring a package that holds them, too. Where it
# is installed, we take them from there, and the page also runs offline.

# %%
torch.manual_seed(0)
files = list(Path(timm.__file__).parents[1].glob("efficientnet_lite0*/models/*.pth"))
model = timm.create_model("tf_efficientnet_lite0", pretrained=not files)

# %% [markdown]
# *Only for that package:* its file has the same tensors in the same order, under other names. We give each tensor
# timm's name. Without the package, this cell does nothing.

# %%
for file in files:
    tensors = torch.load(file, weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), tensors, strict=True)))

# %% [markdown]
# ImageNet has 1,000 classes: the last layer is replaced by a new one for ours.
#
# - The loss is cross-entropy. Label smoothing of 0.1 asks for about 90% on the label, because some labels are
#   wrong.
# - AdamW takes the steps. Weight decay pulls the weights a little towards zero.
# - `OneCycleLR` lets the learning rate rise to `LR`, then fall to almost zero.

# %%
device = "cuda" if torch.cuda.is_available() else "cpu"
model.reset_classifier(len(classes))
criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
model.to(device, memory_format=torch.channels_last)  # an order of pixels that is faster
optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, EPOCHS * len(batches))

# %% [markdown]
# ## 4. Train and validate
#
# `validate` collects the scores of all validation faces. It returns the loss, the predicted classes and the true
# ones.


# %%
@torch.no_grad()
def validate():
    model.eval()
    pairs = [(model(images.to(device)).cpu(), labels) for images, labels in val_batches]
    scores, labels = map(torch.cat, zip(*pairs, strict=True))
    return criterion(scores, labels).item(), scores.argmax(1), labels


# %%
history, epochs = [], range(1, EPOCHS + 1)
for epoch in epochs:
    train_loss = 0
    model.train()
    for images, labels in tqdm(batches, leave=False):  # a progress bar
        loss = criterion(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()  # the rate changes after each batch
        train_loss += loss.item() / len(batches)
    val_loss, predicted, true = validate()
    accuracy = (predicted == true).float().mean().item()
    history.append((train_loss, val_loss, accuracy))
    print(f"epoch {epoch}: validation loss {val_loss:.2f}, accuracy {accuracy:.1%}")

# %% [markdown]
# ## 5. Curves, confusion matrix, report

# %% alt="Loss of training and validation faces, and the validation accuracy, over the epochs"
plt.plot(epochs, history, "o-")
plt.gca().set(title="Curves", xticks=epochs, xlabel="epoch", ylabel="loss, accuracy")
_ = plt.legend(["training loss", "validation loss", "accuracy (0 to 1)"])

# %% [markdown]
# The training loss is mostly higher: its faces are augmented, and it is a mean over the epoch, while the network still
# learns. Label smoothing is in both losses, so even a perfect network would have about 0.45.

# %% alt="Confusion matrix of the validation faces: a row for each true class, a column for each predicted one"
ConfusionMatrixDisplay.from_predictions(true, predicted, display_labels=classes)
plt.title("Validation faces: a row for each true class")
plt.xticks(rotation=45)
print(classification_report(true, predicted, target_names=classes, zero_division=0))

# %% [markdown]
# *Recall*: how many faces of a class are found. *Precision*: how many of the answers are right. *Support*: the number
# of faces. Disgust has few faces: even a recall near 0 hardly changes the accuracy.

# %% [markdown]
# ## 6. Save it, load it, name one picture
#
# The first file is in the folder `angry`: is the answer right?

# %%
torch.save(model.state_dict(), "one_page.pt")
loaded = timm.create_model("tf_efficientnet_lite0", num_classes=len(classes)).eval()
loaded.load_state_dict(torch.load("one_page.pt", "cpu", weights_only=True))
# or your own file: the face must fill the picture
picture = cv2.imread(str(val_set.files[0]))
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
# | gives one number of one run | another seed or other faces give another number: give an interval | lesson 08 |
# | gives the accuracy | rare classes hardly count in it | lessons 06, 07 |
# | reads `softmax` as "how sure" | these probabilities are not calibrated | lesson 08 |
# | assumes that the picture is a face | a face has to be found, and framed as in training | lesson 10 |
#
# `ferlib` has a remedy for all six. It also saves classes and preprocessing, which this file lacks.
