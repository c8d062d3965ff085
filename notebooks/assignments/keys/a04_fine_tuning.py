"""For the teacher: hidden cases of a04, drawn anew for each secret, and wrong answers that must lose points."""

import math

import torch
from torch import nn


# ---- gray_conv
def cases_gray_conv(rng):
    """Arguments of each hidden case, by its name."""

    def case(filters, size, biased, **settings):
        weight = rng.uniform(-1, 1, (filters, 3, size, size)).round(2).tolist()
        bias = rng.uniform(-1, 1, filters).round(2).tolist() if biased else None
        means, sds = rng.uniform(0.35, 0.6, 3).round(3), rng.uniform(0.15, 0.4, 3).round(3)
        mean, sd = rng.uniform(0.35, 0.6), rng.uniform(0.15, 0.4)
        picture = rng.uniform(0, 1, (5, 5)).round(2).tolist()
        norms = means.tolist(), sds.tolist(), round(float(mean), 3), round(float(sd), 3)
        return weight, bias, *norms, picture, list(settings.items())

    return {
        "with a bias": case(2, 2, True),
        "without a bias": case(3, 1, False),
        "stride and padding": case(2, 3, True, stride=2, padding=1),
        "dilation": case(2, 2, False, dilation=2),
    }


def gray_conv__sum(conv, means, sds, mean, sd):
    """Right only if the same number stands in all three channels."""
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_(conv.weight.sum(1, keepdim=True))
        gray.bias.copy_(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)
    return gray


def gray_conv__mean(conv, means, sds, mean, sd):
    """Answers a third as strongly as the colour layer."""
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_(conv.weight.mean(1, keepdim=True))
        gray.bias.copy_(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)
    return gray


def gray_conv__red_only(conv, means, sds, mean, sd):
    """Throws green and blue away."""
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_(conv.weight[:, :1] * sd / sds[0])
        gray.bias.copy_(conv.weight[:, 0].sum((1, 2)) * (mean - means[0]) / sds[0])
        if conv.bias is not None:
            gray.bias += conv.bias
    return gray


def gray_conv__luma(conv, means, sds, mean, sd):
    """These shares turn a colour picture gray; the picture is gray already."""
    shares = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_((conv.weight * shares).sum(1, keepdim=True))
        gray.bias.copy_(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)
    return gray


def gray_conv__no_shift(conv, means, sds, mean, sd):
    """Minds the spreads and forgets that the means differ."""
    sds = torch.tensor(sds).view(1, 3, 1, 1)
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_((conv.weight * sd / sds).sum(1, keepdim=True))
        gray.bias.copy_(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)
    return gray


def gray_conv__shift_alone(conv, means, sds, mean, sd):
    """The layer's own bias is lost."""
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_((conv.weight * sd / sds).sum(1, keepdim=True))
        gray.bias.copy_((conv.weight * (mean - means) / sds).sum((1, 2, 3)))
    return gray


def gray_conv__shift_the_wrong_way(conv, means, sds, mean, sd):
    """Means taken off the wrong way round."""
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_((conv.weight * sd / sds).sum(1, keepdim=True))
        gray.bias.copy_((conv.weight * (means - mean) / sds).sum((1, 2, 3)))
        if conv.bias is not None:
            gray.bias += conv.bias
    return gray


def gray_conv__upside_down(conv, means, sds, mean, sd):
    """Divides by the gray sd and multiplies by the colour's."""
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_((conv.weight * sds / sd).sum(1, keepdim=True))
        gray.bias.copy_((conv.weight * (mean - means) / sd).sum((1, 2, 3)))
        if conv.bias is not None:
            gray.bias += conv.bias
    return gray


def gray_conv__for_raw_pixels(conv, means, sds, mean, sd):
    """As if the new layer saw p itself, and not (p - mean) / sd."""
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        gray.weight.copy_((conv.weight / sds).sum(1, keepdim=True))
        gray.bias.copy_((conv.weight * -means / sds).sum((1, 2, 3)))
        if conv.bias is not None:
            gray.bias += conv.bias
    return gray


def gray_conv__other_stride(conv, means, sds, mean, sd):
    """Stride, padding and dilation are lost."""
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    gray = nn.Conv2d(1, conv.out_channels, conv.kernel_size)
    with torch.no_grad():
        gray.weight.copy_((conv.weight * sd / sds).sum(1, keepdim=True))
        gray.bias.copy_((conv.weight * (mean - means) / sds).sum((1, 2, 3)))
        if conv.bias is not None:
            gray.bias += conv.bias
    return gray


def gray_conv__bias_only_where_one_was(conv, means, sds, mean, sd):
    """What is left over is dropped if the colour layer has no bias."""
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    settings = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    gray = nn.Conv2d(1, conv.out_channels, *settings, bias=conv.bias is not None)
    with torch.no_grad():
        gray.weight.copy_((conv.weight * sd / sds).sum(1, keepdim=True))
        if conv.bias is not None:
            gray.bias.copy_(conv.bias + (conv.weight * (mean - means) / sds).sum((1, 2, 3)))
    return gray


def gray_conv__changes_the_colour_layer(conv, means, sds, mean, sd):
    """Scales the weights of the colour layer itself."""
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    gray = nn.Conv2d(
        1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    )
    with torch.no_grad():
        conv.weight /= sds
        gray.weight.copy_((conv.weight * sd).sum(1, keepdim=True))
        gray.bias.copy_((conv.weight * (mean - means)).sum((1, 2, 3)))
        if conv.bias is not None:
            gray.bias += conv.bias
    return gray


# ---- freeze
def cases_freeze(rng):
    """Arguments of each hidden case, by its name."""
    head, stage, stem = (
        str(rng.choice(names))
        for names in (
            ("head", "fc", "classifier"),
            ("layer", "stage", "block"),
            ("stem", "conv", "patches"),
        )
    )
    body = [f"{stage}1.0", f"{stage}1.1", f"{stage}2.0", f"{stage}2.1"]

    def batch():
        return rng.integers(-9, 10, 5).astype(float).tolist()

    def case(names, *calls):
        return names, list(calls), batch()

    return {
        "the head alone": case([stem, *body, head], [head]),
        "names that look alike": case(
            [f"{stage}1", f"{stage}10", f"my_{stage}1", f"{stem}.{head}", f"{head}_old", head],
            [f"{stage}1", head],
        ),
        "a part in the depth": case(
            [stem, f"{stage}1.0", f"{stage}1.1", f"{stage}1.11", f"{stage}11.1", head],
            [f"{stage}1.1"],
        ),
        "thawed one after the other": case(
            [stem, *body, head], [head], [f"{stage}2", head], [stem, head], []
        ),
        "a stage with all that is in it": case([stem, *body, head], [f"{stage}1", head]),
    }


def freeze__substring(model, trainable):
    """A name within another name is no module within a module."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(part in name for part in trainable)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not any(part in name for part in trainable):
            module.eval()


def freeze__without_the_dot(model, trainable):
    """layer10 passes for a part of layer1."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(tuple(trainable))
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not name.startswith(tuple(trainable)):
            module.eval()


def freeze__batchnorm_moves(model, trainable):
    """Flags alone do not stop BatchNorm's statistics."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)


def freeze__modes_of_batchnorm_alone(model, trainable):
    """Everything else stays in evaluation mode, dropout too, where the model came in it."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(any(f"{name}.".startswith(f"{part}.") for part in trainable))


def freeze__all_batchnorm_still(model, trainable):
    """BatchNorm in the parts that learn has to move on."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def freeze__evaluation_mode_for_all(model, trainable):
    """The parts that learn are not in training mode."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    model.eval()


def freeze__the_named(model, trainable):
    """Freezes what should learn."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not any(name.startswith(f"{part}.") for part in trainable)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and any(name.startswith(f"{p}.") for p in trainable):
            module.eval()


def freeze__never_thaws(model, trainable):
    """What a first call froze stays frozen."""
    model.train()
    for name, parameter in model.named_parameters():
        if not any(name.startswith(f"{part}.") for part in trainable):
            parameter.requires_grad = False
    for name, module in model.named_modules():
        inside = any(f"{name}.".startswith(f"{part}.") for part in trainable)
        if isinstance(module, nn.BatchNorm2d) and not inside:
            module.eval()


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


def freeze__no_momentum(model, trainable):
    """Without momentum the statistics stand still, but the batch's own are used."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    for name, module in model.named_modules():
        inside = any(f"{name}.".startswith(f"{part}.") for part in trainable)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1 if inside else 0.0


def freeze__only_weights(model, trainable):
    """Biases go on learning."""
    model.train()
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def freeze__first_name_only(model, trainable):
    """Knows stages, and nothing within them."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.split(".")[0] in trainable
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def freeze__mode_as_it_was(model, trainable):
    """A model that comes in evaluation mode stays in it."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{part}.") for part in trainable)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


# ---- param_groups
def cases_param_groups(rng):
    """Arguments of each hidden case, by its name."""
    head = str(rng.choice(("fc", "head", "classifier")))
    stage = str(rng.choice(("layer", "stage", "block")))
    plain = [("stem", "linear"), ("bn", "norm"), (f"{stage}1.0", "linear"), (f"{stage}1.1", "norm")]
    plain += [(f"{stage}2.0", "linear"), (head, "linear")]
    alike = [(f"{head}_norm", "norm"), (f"{stage}1.{head}", "linear"), (f"old_{head}", "linear")]
    alike += [(f"{head}2", "linear"), (head, "linear")]
    depth = [("body.0", "linear"), ("body.1", "norm"), (f"{stage}.{head}.0", "linear")]
    depth += [(f"{stage}.{head}.1", "norm"), (f"{stage}.{head}_old", "linear"), (head, "linear")]
    ends = [f"{name}.{end}" for name, _ in plain for end in ("weight", "bias")]
    frozen = [ends[k] for k in sorted(rng.permutation(len(ends))[:4])]

    def rates():
        low, high = rng.uniform(0.01, 0.09), rng.uniform(0.2, 0.9)
        return round(float(low), 3), round(float(high), 3), round(float(rng.uniform(0.1, 0.5)), 3)

    return {
        "a body and a head": (plain, [], head, *rates()),
        "names that look alike": (alike, [], head, *rates()),
        "a head in the depth": (depth, [], f"{stage}.{head}", *rates()),
        "some parameters are frozen": (plain, frozen, head, *rates()),
        "the first layers are frozen": (plain, ends[:4], head, *rates()),
    }


def param_groups__twice(model, head, body_lr, head_lr, weight_decay):
    """The head is in the body's groups as well."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "lr": body_lr, "weight_decay": decay})
            if name.startswith(f"{head}."):
                groups.append({"params": [parameter], "lr": head_lr, "weight_decay": decay})
    return groups


def param_groups__frozen_kept(model, head, body_lr, head_lr, weight_decay):
    """Frozen parameters are in the optimiser all the same."""
    groups = []
    for name, parameter in model.named_parameters():
        lr = head_lr if name.startswith(f"{head}.") else body_lr
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


def param_groups__head_lost(model, head, body_lr, head_lr, weight_decay):
    """The head is in no group, and never learns."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith(f"{head}."):
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "lr": body_lr, "weight_decay": decay})
    return groups


def param_groups__biases_decay(model, head, body_lr, head_lr, weight_decay):
    """All parameters decay, biases and norms as well."""
    learns = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inside = [p for name, p in learns if name.startswith(f"{head}.")]
    outside = [p for name, p in learns if not name.startswith(f"{head}.")]
    return [
        {"params": outside, "lr": body_lr, "weight_decay": weight_decay},
        {"params": inside, "lr": head_lr, "weight_decay": weight_decay},
    ]


def param_groups__norms_decay(model, head, body_lr, head_lr, weight_decay):
    """Spares what is called bias, and not the weights of BatchNorm."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = head_lr if name.startswith(f"{head}.") else body_lr
            decay = 0.0 if name.endswith("bias") else weight_decay
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


def param_groups__norms_by_name(model, head, body_lr, head_lr, weight_decay):
    """In a Sequential a BatchNorm is called 1, not bn."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = head_lr if name.startswith(f"{head}.") else body_lr
            spared = name.endswith("bias") or "bn" in name or "norm" in name
            decay = 0.0 if spared else weight_decay
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


def param_groups__head_all_decays(model, head, body_lr, head_lr, weight_decay):
    """Spares the body's biases and forgets the head's."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inside = name.startswith(f"{head}.")
            decay = weight_decay if inside or parameter.ndim > 1 else 0.0
            lr = head_lr if inside else body_lr
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


def param_groups__substring(model, head, body_lr, head_lr, weight_decay):
    """layer1.fc and old_fc pass for the head."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = head_lr if head in name else body_lr
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


def param_groups__without_the_dot(model, head, body_lr, head_lr, weight_decay):
    """fc_norm passes for a part of fc."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = head_lr if name.startswith(head) else body_lr
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


def param_groups__rates_swapped(model, head, body_lr, head_lr, weight_decay):
    """Long steps for what is known, short ones for what is new."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = body_lr if name.startswith(f"{head}.") else head_lr
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


def param_groups__first_name_only(model, head, body_lr, head_lr, weight_decay):
    """A head within another module is not found."""
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = head_lr if name.split(".")[0] == head else body_lr
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return groups


# ---- one_cycle
def cases_one_cycle(rng):
    """Arguments of each hidden case, by its name."""

    def rates():
        peak = round(float(rng.uniform(0.5, 2)), 2)
        return (
            peak,
            round(peak * rng.uniform(0.1, 0.3), 3),
            round(peak * rng.uniform(0.01, 0.06), 3),
        )

    epochs, batches = (int(n) for n in rng.integers(3, 6, 2))
    return {
        "a few epochs": (epochs, batches, batches + 1, *rates()),
        "one epoch": (1, int(rng.integers(8, 14)), 3, *rates()),
        "one step of warm-up": (2, int(rng.integers(5, 8)), 1, *rates()),
        "no warm-up": (2, int(rng.integers(4, 8)), 0, *rates()),
        "a long warm-up": (4, 4, int(rng.integers(9, 13)), *rates()),
    }


def one_cycle__per_epoch(epochs, batches, warmup, peak, first, last):
    """One rate for all steps of an epoch."""
    end, rates = epochs * batches - 1, []
    for epoch in range(epochs):
        step = epoch * batches
        if step < warmup:
            rate = first + (peak - first) * (1 - math.cos(math.pi * step / warmup)) / 2
        else:
            along = (step - warmup) / (end - warmup)
            rate = peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2
        rates += [rate] * batches
    return rates


def one_cycle__a_rate_an_epoch(epochs, batches, warmup, peak, first, last):
    """As many rates as epochs, not as steps."""
    rise, rates = warmup / batches, []
    for epoch in range(epochs):
        if epoch < rise:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * epoch / rise)) / 2)
        else:
            along = (epoch - rise) / max(epochs - 1 - rise, 1e-9)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates


def one_cycle__last_step_off(epochs, batches, warmup, peak, first, last):
    """The last rate would come one step after the end."""
    total, rates = epochs * batches, []
    for step in range(total):
        if step < warmup:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * step / warmup)) / 2)
        else:
            along = (step - warmup) / (total - warmup)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates


def one_cycle__peak_too_early(epochs, batches, warmup, peak, first, last):
    """The peak stands one step before its place."""
    end, top, rates = epochs * batches - 1, max(warmup - 1, 0), []
    for step in range(end + 1):
        if step < top:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * step / top)) / 2)
        else:
            along = (step - top) / (end - top)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates


def one_cycle__steps_from_one(epochs, batches, warmup, peak, first, last):
    """The first step is counted as number 1, so that no step has the first rate."""
    end, rates = epochs * batches, []
    for step in range(1, end + 1):
        if step < warmup:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * step / warmup)) / 2)
        else:
            along = (step - warmup) / (end - warmup)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates


def one_cycle__straight_up(epochs, batches, warmup, peak, first, last):
    """A straight line in place of a cosine on the way up."""
    end, rates = epochs * batches - 1, []
    for step in range(end + 1):
        if step < warmup:
            rates.append(first + (peak - first) * step / warmup)
        else:
            along = (step - warmup) / (end - warmup)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates


def one_cycle__straight_down(epochs, batches, warmup, peak, first, last):
    """A straight line in place of a cosine on the way down."""
    end, rates = epochs * batches - 1, []
    for step in range(end + 1):
        if step < warmup:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * step / warmup)) / 2)
        else:
            rates.append(peak + (last - peak) * (step - warmup) / (end - warmup))
    return rates


def one_cycle__down_to_zero(epochs, batches, warmup, peak, first, last):
    """Ends at 0, whatever the last rate should be."""
    end, rates = epochs * batches - 1, []
    for step in range(end + 1):
        if step < warmup:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * step / warmup)) / 2)
        else:
            rates.append(peak * (1 + math.cos(math.pi * (step - warmup) / (end - warmup))) / 2)
    return rates


def one_cycle__up_from_zero(epochs, batches, warmup, peak, first, last):
    """Begins at 0, so that the first step does nothing."""
    end, rates = epochs * batches - 1, []
    for step in range(end + 1):
        if step < warmup:
            rates.append(peak * (1 - math.cos(math.pi * step / warmup)) / 2)
        else:
            along = (step - warmup) / (end - warmup)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates


def one_cycle__anew_in_each_epoch(epochs, batches, warmup, peak, first, last):
    """Many cycles, one for each epoch."""
    end, warmup, rates = batches - 1, min(warmup, batches - 2), []
    for step in range(end + 1):
        if step < warmup:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * step / warmup)) / 2)
        else:
            along = (step - warmup) / (end - warmup)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates * epochs


def one_cycle__no_way_up(epochs, batches, warmup, peak, first, last):
    """A cosine down from the first step on."""
    end = epochs * batches - 1
    return [
        peak + (last - peak) * (1 - math.cos(math.pi * step / end)) / 2 for step in range(end + 1)
    ]


def one_cycle__division_by_zero(epochs, batches, warmup, peak, first, last):
    """Fails where there is no warm-up."""
    end, rates = epochs * batches - 1, []
    for step in range(end + 1):
        if step <= warmup:
            rates.append(first + (peak - first) * (1 - math.cos(math.pi * step / warmup)) / 2)
        else:
            along = (step - warmup) / (end - warmup)
            rates.append(peak + (last - peak) * (1 - math.cos(math.pi * along)) / 2)
    return rates


# ---- clip_by_norm
def cases_clip_by_norm(rng):
    """Arguments of each hidden case, by its name."""

    def some(*shape):
        return (rng.choice([-1, 1], shape) * rng.uniform(0.5, 6, shape)).round(2)

    weight, bias, other = some(2, 3), some(3), some(2, 2)
    return {
        "much too long": ([weight.tolist(), bias.tolist(), other.tolist()], 1.5),
        "short enough": ([(weight / 50).round(3).tolist(), (bias / 50).round(3).tolist()], 2.0),
        "some have no gradient": ([None, some(3).tolist(), None, some(2, 2).tolist()], 2.5),
        "each short, together too long": ([(one / abs(one).max()).round(3).tolist() for one in (some(2), some(2), some(2), some(1, 2))], 1.5),
        "all zero": ([[0.0, 0.0], [[0.0], [0.0]]], float(rng.integers(1, 4))),
    }  # fmt: skip


def clip_by_norm__each_on_its_own(parameters, max_norm):
    """Clips each tensor by its own norm, which bends the step."""
    total = 0.0
    for parameter in parameters:
        if parameter.grad is not None:
            norm = parameter.grad.norm().item()
            total += norm**2
            if norm > max_norm:
                parameter.grad *= max_norm / norm
    return math.sqrt(total)


def clip_by_norm__scales_up(parameters, max_norm):
    """Short gradients are made longer."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    for gradient in gradients:
        gradient *= max_norm / max(norm, 1e-12)
    return norm


def clip_by_norm__each_number(parameters, max_norm):
    """Cuts each number off, which bends the step."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    for gradient in gradients:
        gradient.clamp_(-max_norm, max_norm)
    return norm


def clip_by_norm__sum_of_norms(parameters, max_norm):
    """Norms do not add up; their squares do."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(gradient.norm().item() for gradient in gradients)
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


def clip_by_norm__no_root(parameters, max_norm):
    """The sum of the squares is the norm squared."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(gradient.square().sum().item() for gradient in gradients)
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


def clip_by_norm__mean_of_squares(parameters, max_norm):
    """Divides by how many numbers there are, so that large networks are never clipped."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.cat([gradient.flatten() for gradient in gradients]).square()
    norm = squares.mean().sqrt().item()
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


def clip_by_norm__sum_of_sizes(parameters, max_norm):
    """Adds up absolute values."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(gradient.abs().sum().item() for gradient in gradients)
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


def clip_by_norm__the_largest_number(parameters, max_norm):
    """The largest number is not the length."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = max(gradient.abs().max().item() for gradient in gradients)
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


def clip_by_norm__norm_afterwards(parameters, max_norm):
    """Returns the norm that is left."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return min(norm, max_norm)


def clip_by_norm__walked_through_twice(parameters, max_norm):
    """A generator has nothing left for the second loop."""
    squares = sum(p.grad.square().sum().item() for p in parameters if p.grad is not None)
    norm = math.sqrt(squares)
    if norm > max_norm:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad *= max_norm / norm
    return norm


def clip_by_norm__copies(parameters, max_norm):
    """Scales copies, and leaves the gradients as they are."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient = gradient * max_norm / norm
    return norm


def clip_by_norm__all_have_gradients(parameters, max_norm):
    """Fails at a parameter without a gradient."""
    gradients = [parameter.grad for parameter in parameters]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm


def clip_by_norm__zero_by_zero(parameters, max_norm):
    """Divides by the norm also where it is 0."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    for gradient in gradients:
        gradient *= torch.clamp(norm, max=max_norm) / norm
    return norm
