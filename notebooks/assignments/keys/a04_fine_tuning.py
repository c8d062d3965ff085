"""For the teacher: hidden cases of a04, drawn anew for each secret, and wrong answers that must lose points.

The answers run in the notebook, with its imports.
"""


# ---- build_network
def cases_build_network(rng):
    """Arguments of each hidden case, by its name."""
    classes = rng.permutation([2, 3, 4, 5, 6, 8, 9, 10]).tolist()
    return {
        "a ResNet": ("test_resnet", classes[0]),
        "an EfficientNet": ("test_efficientnet", classes[1]),
        "a MobileNet": ("mobilenetv3_small_050", classes[2]),
    }


def build_network__three_channels(name, classes, colour):
    """A gray face does not fit: in_chans is 3 by default."""
    model = timm.create_model(name, num_classes=classes)
    head = model.pretrained_cfg["classifier"] + "."
    body = {key: tensor for key, tensor in colour.items() if not key.startswith(head)}
    model.load_state_dict(body, strict=False)
    return model


def build_network__a_thousand_classes(name, classes, colour):
    """The old head stays."""
    model = timm.create_model(name, in_chans=1)
    first = model.pretrained_cfg["first_conv"] + ".weight"
    model.load_state_dict({**colour, first: colour[first].sum(1, keepdim=True)})
    return model


def build_network__mean(name, classes, colour):
    """The first layer answers a third as strongly as in colour."""
    model = timm.create_model(name, num_classes=classes, in_chans=1)
    first = model.pretrained_cfg["first_conv"] + ".weight"
    head = model.pretrained_cfg["classifier"] + "."
    body = {key: tensor for key, tensor in colour.items() if not key.startswith(head)}
    body[first] = body[first].mean(1, keepdim=True)
    model.load_state_dict(body, strict=False)
    return model


def build_network__random_first_layer(name, classes, colour):
    """Whatever does not fit is left out, and that is the first layer, too."""
    model = timm.create_model(name, num_classes=classes, in_chans=1)
    own = model.state_dict()
    fits = {key: tensor for key, tensor in colour.items() if tensor.shape == own[key].shape}
    model.load_state_dict(fits, strict=False)
    return model


def build_network__no_statistics(name, classes, colour):
    """Copies the parameters alone: BatchNorm's statistics are buffers."""
    model = timm.create_model(name, num_classes=classes, in_chans=1)
    first = model.pretrained_cfg["first_conv"] + ".weight"
    head = model.pretrained_cfg["classifier"] + "."
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if not key.startswith(head):
                value = colour[key].sum(1, keepdim=True) if key == first else colour[key]
                parameter.copy_(value)
    return model


def build_network__names_of_a_resnet(name, classes, colour):
    """Only a ResNet calls its head fc and its first layer conv1."""
    model = timm.create_model(name, num_classes=classes, in_chans=1)
    body = {key: tensor for key, tensor in colour.items() if not key.startswith("fc.")}
    first = next(key for key in body if key.startswith("conv1."))
    body[first] = body[first].sum(1, keepdim=True)
    model.load_state_dict(body, strict=False)
    return model


def build_network__changes_colour(name, classes, colour):
    """Sums in the given dictionary itself, so that it does not fit a second time."""
    model = timm.create_model(name, num_classes=classes, in_chans=1)
    first = model.pretrained_cfg["first_conv"] + ".weight"
    head = model.pretrained_cfg["classifier"] + "."
    colour[first] = colour[first].sum(1, keepdim=True)
    body = {key: tensor for key, tensor in colour.items() if not key.startswith(head)}
    model.load_state_dict(body, strict=False)
    return model


def build_network__old_head(name, classes, colour):
    """The first rows of ImageNet's head are other classes."""
    model = timm.create_model(name, num_classes=classes, in_chans=1)
    first = model.pretrained_cfg["first_conv"] + ".weight"
    head = model.pretrained_cfg["classifier"] + "."
    body = {
        key: tensor[:classes] if key.startswith(head) else tensor for key, tensor in colour.items()
    }
    body[first] = body[first].sum(1, keepdim=True)
    model.load_state_dict(body)
    return model


# ---- pipelines
def cases_pipelines(rng):
    """Arguments of each hidden case, by its name."""
    cases = {}
    for name in ("validation: values", "training: values", "validation: random changes",
                 "training: flips", "training: rotation"):  # fmt: skip
        mean, std = rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.3)
        shape = rng.choice([30, 40, 50, 60], 2, replace=False).tolist()
        grays = rng.integers(1, 255, 3).tolist()
        size = int(rng.integers(10, 20)) * 2
        cases[name] = name, size, round(float(mean), 3), round(float(std), 3), shape, grays
    return cases


def pipelines__one_for_both(size, mean, std):
    """Validation is random, too: its accuracy changes from call to call."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    train = A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed])
    return train, train


def pipelines__thirty_degrees(size, mean, std):
    """Ten degrees are asked for."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-30, 30)), *fixed]), A.Compose(fixed)


def pipelines__one_way(size, mean, std):
    """Either way is asked for."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate((0, 10)), *fixed]), A.Compose(fixed)


def pipelines__cropped(size, mean, std):
    """Cuts the border of the face off, in place of resizing it."""
    fixed = [
        A.PadIfNeeded(size, size),
        A.CenterCrop(size, size),
        A.Normalize((mean,), (std,)),
        ToTensorV2(),
    ]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


def pipelines__no_normalize(size, mean, std):
    """Pixels from 0 to 255 stay uint8."""
    fixed = [A.Resize(size, size), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


def pipelines__validation_alone_normalized(size, mean, std):
    """The network learns on one scale and is judged on another."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    train = [A.HorizontalFlip(), A.Rotate((-10, 10)), A.Resize(size, size), ToTensorV2()]
    return A.Compose(train), A.Compose(fixed)


def pipelines__no_tensor(size, mean, std):
    """PyTorch needs a tensor with the channel first, not an array."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,))]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


def pipelines__divided_twice(size, mean, std):
    """Normalize divides by 255 itself: all faces come out almost black."""
    fixed = [A.Resize(size, size), A.ToFloat(255), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


def pipelines__imagenets_numbers(size, mean, std):
    """Normalize without arguments takes ImageNet's mean and sd, whatever the weights expect."""
    fixed = [A.Resize(size, size), A.Normalize(), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


def pipelines__upside_down(size, mean, std):
    """No face stands on its head: the flip is horizontal."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.VerticalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


def pipelines__ninety_degrees(size, mean, std):
    """Rotate without arguments goes up to 90 degrees."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate(), *fixed]), A.Compose(fixed)


def pipelines__always_flipped(size, mean, std):
    """With p=1, no face is seen as it is."""
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(p=1), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


def pipelines__longest_side(size, mean, std):
    """A face that is not square stays so, and does not fit into a batch."""
    fixed = [A.LongestMaxSize(size), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)


# ---- freeze
def cases_freeze(rng):
    """Arguments of each hidden case, by its name."""
    stage, block = (str(one) for one in rng.choice([2, 3, 4], 2, replace=False))
    return {
        "the head alone": ([["fc"]],),
        "a stage with all that is in it": ([[f"layer{stage}", "fc"]],),
        "names that look alike": ([["layer1.1", "conv1", f"layer{block}.0.bn1"]],),
        "one part after the other": ([["fc"], [f"layer{stage}.0.bn2", "fc"], [f"layer{block}"]],),
    }


def freeze__substring(model, trainable):
    """layer1.0.conv1 is not in conv1."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(part in name for part in trainable)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(any(part in name for part in trainable))


def freeze__without_the_dot(model, trainable):
    """layer1.10 passes for a part of layer1.1."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(tuple(trainable))
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(name.startswith(tuple(trainable)))


def freeze__batchnorm_moves(model, trainable):
    """Flags alone do not stop BatchNorm's statistics."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)


def freeze__all_batchnorm_still(model, trainable):
    """BatchNorm in the parts that learn has to move."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def freeze__evaluation_mode_for_all(model, trainable):
    """Dropout and the parts that learn need training mode."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    model.eval()


def freeze__the_named(model, trainable):
    """Freezes what should learn."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not any(name.startswith(f"{part}.") for part in trainable)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(not any(f"{name}.".startswith(f"{part}.") for part in trainable))


def freeze__never_freezes_again(model, trainable):
    """What a first call let learn goes on learning."""
    model.train()
    if all(parameter.requires_grad for parameter in model.parameters()):
        model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if any(name.startswith(f"{part}.") for part in trainable):
            parameter.requires_grad = True
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


# ---- moved
def cases_moved(rng):
    """Arguments of each hidden case, by its name."""
    kinds = ("everything", "the head alone", "frozen body", "statistics alone", "evaluation",
             "one number", "other order")  # fmt: skip
    names = ("stem", "conv"), ("norm", "bn1"), ("pool", "flat"), ("head", "fc")
    return {
        kind: (
            [str(rng.choice(some)) for some in names],
            kind,
            (int(rng.integers(3)), int(rng.integers(8))),
        )
        for kind in kinds
    }


def moved__no_copy(model, step):
    """Both are the same tensors, so nothing ever moves."""
    before = model.state_dict()
    step()
    after = model.state_dict()
    return sorted(name for name in before if not torch.equal(before[name], after[name]))


def moved__shallow_copy(model, step):
    """A new dictionary with the same tensors in it."""
    before = dict(model.state_dict())
    step()
    after = model.state_dict()
    return sorted(name for name in before if not torch.equal(before[name], after[name]))


def moved__parameters_alone(model, step):
    """BatchNorm's statistics are no parameters, and they move."""
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    step()
    after = dict(model.named_parameters())
    return sorted(name for name in before if not torch.equal(before[name], after[name]))


def moved__flags(model, step):
    """requires_grad says what may move, not what did."""
    step()
    return sorted(name for name, one in model.named_parameters() if one.requires_grad)


def moved__gradients(model, step):
    """A gradient is no step: the optimizer may not hold the parameter."""
    step()
    return sorted(name for name, one in model.named_parameters() if one.grad is not None)


def moved__sums(model, step):
    """Numbers can change while their sum stays."""
    before = {name: one.double().sum().item() for name, one in model.state_dict().items()}
    step()
    after = {name: one.double().sum().item() for name, one in model.state_dict().items()}
    return sorted(name for name in before if abs(before[name] - after[name]) > 1e-6)


def moved__each_number(model, step):
    """A tensor has moved as soon as one of its numbers has."""
    before = {name: one.clone() for name, one in model.state_dict().items()}
    step()
    after = model.state_dict()
    return sorted(name for name in before if (before[name] != after[name]).all())


# ---- train_one_epoch
def cases_train_one_epoch(rng):
    """Arguments of each hidden case, by its name."""

    def case(looked_at, sizes, classes=3, momentum=0.0):
        weight = rng.uniform(-1, 1, (classes, 2)).round(2).tolist()
        batches = [
            (rng.uniform(-2, 2, (n, 2)).round(2).tolist(), rng.integers(0, classes, n).tolist())
            for n in sizes
        ]
        return looked_at, weight, batches, momentum, round(float(rng.uniform(0.6, 0.9)), 2)

    return {
        "weights after two epochs": case("weights", (3, 3, 3)),
        "seven classes and momentum": case("weights", (4, 4), 7, 0.9),
        "a smaller last batch": case("losses", (5, 5, 1)),
        "one batch": case("weights", (4,)),
        "frozen BatchNorm": case("modes", (4, 2)),
    }


def train_one_epoch__schedule_per_epoch(model, batches, optimizer, schedule):
    """One-cycle would still be at its beginning when the run ends."""
    total, faces = 0.0, 0
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        faces += len(labels)
    schedule.step()
    return total / faces


def train_one_epoch__schedule_first(model, batches, optimizer, schedule):
    """The first learning rate is skipped."""
    total, faces = 0.0, 0
    for images, labels in batches:
        schedule.step()
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        faces += len(labels)
    return total / faces


def train_one_epoch__gradients_add_up(model, batches, optimizer, schedule):
    """zero_grad once an epoch: each step takes all earlier gradients along."""
    total, faces = 0.0, 0
    optimizer.zero_grad()
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(labels)
        faces += len(labels)
    return total / faces


def train_one_epoch__cleared_too_late(model, batches, optimizer, schedule):
    """zero_grad after backward leaves nothing to step along."""
    total, faces = 0.0, 0
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(labels)
        faces += len(labels)
    return total / faces


def train_one_epoch__training_mode(model, batches, optimizer, schedule):
    """model.train() puts the frozen BatchNorm back into training mode."""
    model.train()
    total, faces = 0.0, 0
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(labels)
        faces += len(labels)
    return total / faces


def train_one_epoch__mean_of_batches(model, batches, optimizer, schedule):
    """A face in a small last batch counts more than others."""
    losses = []
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


# ---- confusion_and_recall
def cases_confusion_and_recall(rng):
    """Arguments of each hidden case, by its name."""

    def case(n, classes, there, named):
        scores = rng.normal(0, 1, (n, classes))
        scores[:, named] += 5  # only these are ever the largest
        return scores.round(3).tolist(), rng.permutation(cycle(there, n)).tolist()

    def cycle(values, n):
        return [values[i % len(values)] for i in range(n)]

    every = list(range(7))
    return {
        "seven emotions": case(40, 7, every, every),
        "a class without faces": case(20, 5, [0, 1, 3], [0, 1, 2]),
        "a class that is never predicted": case(20, 4, [0, 1, 2, 3], [0, 1, 3]),
        "one class is there": case(9, 3, [int(rng.integers(3))], [0, 1, 2]),
        "as many faces as classes": case(6, 6, [0, 1, 2, 2, 4, 5], list(range(6))),
    }


def confusion_and_recall__columns_true(scores, labels):
    """Rows and columns are exchanged."""
    matrix = np.zeros((scores.shape[1],) * 2, int)
    np.add.at(matrix, (scores.argmax(1).numpy(), labels.numpy()), 1)
    sums = matrix.sum(0)
    return matrix, [float(matrix[k, k] / n) if n else None for k, n in enumerate(sums)]


def confusion_and_recall__precision(scores, labels):
    """Divides by the column: which of the faces called so are so."""
    matrix = np.zeros((scores.shape[1],) * 2, int)
    np.add.at(matrix, (labels.numpy(), scores.argmax(1).numpy()), 1)
    sums = matrix.sum(0)
    return matrix, [float(matrix[k, k] / n) if n else None for k, n in enumerate(sums)]


def confusion_and_recall__zero_without_faces(scores, labels):
    """Nothing was missed where nothing is."""
    matrix = np.zeros((scores.shape[1],) * 2, int)
    np.add.at(matrix, (labels.numpy(), scores.argmax(1).numpy()), 1)
    return matrix, [float(matrix[k, k] / max(n, 1)) for k, n in enumerate(matrix.sum(1))]


def confusion_and_recall__shrinks(scores, labels):
    """Only the classes that occur get a row: the matrix loses its disgust."""
    predicted = scores.argmax(1)
    there = sorted({*labels.tolist(), *predicted.tolist()})
    matrix = np.array(
        [[int(((labels == a) & (predicted == b)).sum()) for b in there] for a in there]
    )
    return matrix, [float(matrix[k, k] / n) if n else None for k, n in enumerate(matrix.sum(1))]


def confusion_and_recall__each_pair_once(scores, labels):
    """matrix[rows, columns] += 1 counts a pair that comes twice as one."""
    matrix = np.zeros((scores.shape[1],) * 2, int)
    matrix[labels.numpy(), scores.argmax(1).numpy()] += 1
    return matrix, [float(matrix[k, k] / n) if n else None for k, n in enumerate(matrix.sum(1))]


def confusion_and_recall__shares(scores, labels):
    """Each row is divided by its sum: no counts are left."""
    matrix = np.zeros((scores.shape[1],) * 2)
    np.add.at(matrix, (labels.numpy(), scores.argmax(1).numpy()), 1)
    sums = matrix.sum(1)
    matrix /= np.maximum(sums, 1)[:, None]
    return matrix, [float(matrix[k, k]) if n else None for k, n in enumerate(sums)]


def confusion_and_recall__of_all_faces(scores, labels):
    """Divides by the number of all faces."""
    matrix = np.zeros((scores.shape[1],) * 2, int)
    np.add.at(matrix, (labels.numpy(), scores.argmax(1).numpy()), 1)
    return matrix, [matrix[k, k] / len(labels) if n else None for k, n in enumerate(matrix.sum(1))]
