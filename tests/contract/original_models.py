"""Small independent models in plain torch, from the papers, in the tensor names of their authors' files.

In: random tensors by those names (`vit`, `beit`, `davit` draw them). Out: what the model computes of images, written
with nothing of timm or FMLab, so that a tensor put in a wrong place shows.

Sources: A. Dosovitskiy et al. 2021 (ViT); M. Oquab et al. 2024 and T. Darcet et al. 2024 (DINOv2, registers); H. Bao
et al. 2022 (BEiT); M. Ding et al. 2022 (DaViT).
"""

import torch
from torch.nn import functional as F


def draw(shapes, seed=0):
    """Random tensors: norms, scales and biases too, so that none can be dropped or swapped unseen."""
    generator = torch.Generator().manual_seed(seed)

    def one(name, shape):
        values = torch.randn(shape, generator=generator)
        if (name.endswith(("weight", "gamma")) and len(shape) == 1) or "gamma_" in name:
            return 1 + 0.3 * values
        return values * (
            0.5 if len(shape) < 2 else 1 / max(1, shape[-1] * (1 if len(shape) == 2 else shape[-2])) ** 0.5
        )

    return {name: one(name, shape) for name, shape in shapes.items()}


def linear(names, shape):
    return {f"{names}.weight": shape, f"{names}.bias": shape[:1]}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def layer_norm(tensors, name, values, eps=1e-6):
    return F.layer_norm(values, values.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def attend(query, key, value, bias=0.0):
    """(B, heads, N, d) each; plain softmax attention."""
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return torch.softmax(scores + bias, dim=-1) @ value


def self_attention(values, weight, bias, heads, relative=0.0):
    """(B, N, D); query, key and value stand one below the other in `weight` (3D, D)."""
    batch, count, width = values.shape
    split = F.linear(values, weight, bias).split(width, dim=-1)
    query, key, value = (each.reshape(batch, count, heads, -1).transpose(1, 2) for each in split)
    return attend(query, key, value, relative).transpose(1, 2).reshape(batch, count, width)


def mlp(tensors, name, values):
    hidden = F.gelu(F.linear(values, tensors[f"{name}.fc1.weight"], tensors[f"{name}.fc1.bias"]))
    return F.linear(hidden, tensors[f"{name}.fc2.weight"], tensors[f"{name}.fc2.bias"])


def patches(tensors, images):
    """(B, N, D): every patch by itself, row by row."""
    weight, bias = tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"]
    side = weight.shape[-1]
    cut = images.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)
    return F.linear(cut.flatten(3).flatten(1, 2), weight.flatten(1), bias)


# ---------------------------------------------------------------------------------------------------------------------
# ViT, as DINOv2, iBOT and MAE write it
# ---------------------------------------------------------------------------------------------------------------------


def vit(width=128, depth=4, patch=8, grid=4, channels=3, registers=0, scales=False, seed=0):
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 1 + grid**2, width)}
    shapes |= {"patch_embed.proj.weight": (width, channels, patch, patch), "patch_embed.proj.bias": (width,)}
    if registers:
        shapes["register_tokens"] = (1, registers, width)
    for block in range(depth):
        name = f"blocks.{block}"
        shapes |= norm(f"{name}.norm1", width) | linear(f"{name}.attn.qkv", (3 * width, width))
        shapes |= linear(f"{name}.attn.proj", (width, width)) | norm(f"{name}.norm2", width)
        shapes |= linear(f"{name}.mlp.fc1", (4 * width, width)) | linear(f"{name}.mlp.fc2", (width, 4 * width))
        if scales:
            shapes |= {f"{name}.ls1.gamma": (width,), f"{name}.ls2.gamma": (width,)}
    return draw(shapes | norm("norm", width), seed)


def vit_tokens(tensors, images, heads=2):
    """(B, 1 + registers + patches, D) after the final norm."""
    class_token = tensors["cls_token"].expand(len(images), -1, -1)
    values = torch.cat([class_token, patches(tensors, images)], dim=1) + tensors["pos_embed"]
    if "register_tokens" in tensors:
        registers = tensors["register_tokens"].expand(len(images), -1, -1)
        values = torch.cat([values[:, :1], registers, values[:, 1:]], dim=1)
    for block in sorted({int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}):
        name = f"blocks.{block}"
        inside = layer_norm(tensors, f"{name}.norm1", values)
        inside = self_attention(inside, tensors[f"{name}.attn.qkv.weight"], tensors[f"{name}.attn.qkv.bias"], heads)
        inside = F.linear(inside, tensors[f"{name}.attn.proj.weight"], tensors[f"{name}.attn.proj.bias"])
        values = values + tensors.get(f"{name}.ls1.gamma", 1.0) * inside
        inside = mlp(tensors, f"{name}.mlp", layer_norm(tensors, f"{name}.norm2", values))
        values = values + tensors.get(f"{name}.ls2.gamma", 1.0) * inside
    return layer_norm(tensors, "norm", values)


# ---------------------------------------------------------------------------------------------------------------------
# BEiT, as USFM writes it
# ---------------------------------------------------------------------------------------------------------------------


def beit(width=128, depth=2, patch=8, grid=4, heads=4, seed=0):
    """One table of relative positions for all blocks: a row for each offset of two patches, then three for the class."""
    shapes = {"cls_token": (1, 1, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    shapes["rel_pos_bias.relative_position_bias_table"] = ((2 * grid - 1) ** 2 + 3, heads)
    for block in range(depth):
        name = f"blocks.{block}"
        shapes |= norm(f"{name}.norm1", width) | {f"{name}.attn.qkv.weight": (3 * width, width)}
        shapes |= {f"{name}.attn.q_bias": (width,), f"{name}.attn.v_bias": (width,)}
        shapes |= linear(f"{name}.attn.proj", (width, width)) | norm(f"{name}.norm2", width)
        shapes |= linear(f"{name}.mlp.fc1", (4 * width, width)) | linear(f"{name}.mlp.fc2", (width, 4 * width))
        shapes |= {f"{name}.gamma_1": (width,), f"{name}.gamma_2": (width,)}
    tensors = draw(shapes | norm("fc_norm", width), seed)
    tensors["rel_pos_bias.relative_position_bias_table"] *= 3
    return tensors


def beit_index(grid):
    """(1 + grid², 1 + grid²) rows of the table: from the querying token's place to the other's, pair by pair."""
    places = [(y, x) for y in range(grid) for x in range(grid)]
    rows, side = (2 * grid - 1) ** 2, 2 * grid - 1
    index = torch.zeros(1 + grid**2, 1 + grid**2, dtype=torch.long)
    index[0, :], index[:, 0], index[0, 0] = rows, rows + 1, rows + 2
    for i, (y, x) in enumerate(places):
        for j, (down, right) in enumerate(places):
            index[1 + i, 1 + j] = (y - down + grid - 1) * side + (x - right + grid - 1)
    return index


def beit_pooled(tensors, images, heads=4, grid=4):
    """(B, D): the mean of the patch tokens, normed after that."""
    values = torch.cat([tensors["cls_token"].expand(len(images), -1, -1), patches(tensors, images)], dim=1)
    for block in sorted({int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}):
        name = f"blocks.{block}"
        own = f"{name}.attn.relative_position_bias_table"
        table = tensors[own] if own in tensors else tensors["rel_pos_bias.relative_position_bias_table"]
        relative = table[beit_index(grid)].permute(2, 0, 1)
        query, value = tensors[f"{name}.attn.q_bias"], tensors[f"{name}.attn.v_bias"]
        bias = torch.cat([query, torch.zeros_like(query), value])
        inside = layer_norm(tensors, f"{name}.norm1", values)
        inside = self_attention(inside, tensors[f"{name}.attn.qkv.weight"], bias, heads, relative)
        inside = F.linear(inside, tensors[f"{name}.attn.proj.weight"], tensors[f"{name}.attn.proj.bias"])
        values = values + tensors[f"{name}.gamma_1"] * inside
        inside = mlp(tensors, f"{name}.mlp", layer_norm(tensors, f"{name}.norm2", values))
        values = values + tensors[f"{name}.gamma_2"] * inside
    return layer_norm(tensors, "fc_norm", values[:, 1:].mean(dim=1))


# ---------------------------------------------------------------------------------------------------------------------
# DaViT, as MedImageInsight writes it
# ---------------------------------------------------------------------------------------------------------------------

DEPTHS = (1, 1, 9, 1)
WIDTHS = (16, 32, 64, 128)
HEADS = (2, 4, 8, 16)
WINDOW = 12


def davit(projection=24, seed=0):
    """The image tower, `image_encoder.` before each name, and its projection."""
    shapes = {}
    for stage, width in enumerate(WIDTHS):
        before = WIDTHS[stage - 1] if stage else 3
        side = 3 if stage else 7
        shapes |= {f"convs.{stage}.proj.weight": (width, before, side, side), f"convs.{stage}.proj.bias": (width,)}
        shapes |= norm(f"convs.{stage}.norm", before if stage else width)
        for depth in range(DEPTHS[stage]):
            for kind, attention in (("spatial_block", "window_attn"), ("channel_block", "channel_attn")):
                name = f"blocks.{stage}.{depth}.{kind}"
                for conv in ("conv1", "conv2"):
                    shapes |= {f"{name}.{conv}.fn.dw.weight": (width, 1, 3, 3), f"{name}.{conv}.fn.dw.bias": (width,)}
                shapes |= norm(f"{name}.{attention}.norm", width) | norm(f"{name}.ffn.norm", width)
                shapes |= linear(f"{name}.{attention}.fn.qkv", (3 * width, width))
                shapes |= linear(f"{name}.{attention}.fn.proj", (width, width))
                shapes |= linear(f"{name}.ffn.fn.net.fc1", (4 * width, width))
                shapes |= linear(f"{name}.ffn.fn.net.fc2", (width, 4 * width))
    shapes |= norm("norms", WIDTHS[-1])
    tensors = {f"image_encoder.{name}": value for name, value in draw(shapes, seed).items()}
    return tensors | draw({"image_projection": (WIDTHS[-1], projection)}, seed + 1)


def davit_pooled(tensors, images):
    """(B, widest) before the projection; multiplied by `image_projection` from the right, the embedding."""
    own = {name.removeprefix("image_encoder."): value for name, value in tensors.items()}
    values = images
    for stage in range(len(WIDTHS)):
        if stage:
            values = channels_last(values, lambda each, stage=stage: layer_norm(own, f"convs.{stage}.norm", each, 1e-5))
        weight, bias = own[f"convs.{stage}.proj.weight"], own[f"convs.{stage}.proj.bias"]
        values = F.conv2d(values, weight, bias, stride=2 if stage else 4, padding=1 if stage else 3)
        if not stage:
            values = channels_last(values, lambda each: layer_norm(own, "convs.0.norm", each, 1e-5))
        for depth in range(DEPTHS[stage]):
            values = davit_block(own, f"blocks.{stage}.{depth}.spatial_block", values, in_windows, HEADS[stage])
            values = davit_block(own, f"blocks.{stage}.{depth}.channel_block", values, between_channels, HEADS[stage])
    return layer_norm(own, "norms", values.mean(dim=(2, 3)), 1e-5)


def channels_last(values, apply):
    """Apply to (B, H, W, C), from and to (B, C, H, W)."""
    return apply(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def davit_block(own, name, values, attention, heads):
    """Position by convolution, attention, position again, two layers: each added to what it got."""
    part = "window_attn" if attention is in_windows else "channel_attn"

    def position(which, given):
        weight, bias = own[f"{name}.{which}.fn.dw.weight"], own[f"{name}.{which}.fn.dw.bias"]
        return given + F.conv2d(given, weight, bias, padding=1, groups=given.shape[1])

    def attended(given):
        inside = layer_norm(own, f"{name}.{part}.norm", given, 1e-5)
        inside = attention(inside, own[f"{name}.{part}.fn.qkv.weight"], own[f"{name}.{part}.fn.qkv.bias"], heads)
        return given + F.linear(inside, own[f"{name}.{part}.fn.proj.weight"], own[f"{name}.{part}.fn.proj.bias"])

    values = channels_last(position("conv1", values), attended)
    return channels_last(
        position("conv2", values),
        lambda given: given + mlp(own, f"{name}.ffn.fn.net", layer_norm(own, f"{name}.ffn.norm", given, 1e-5)),
    )


def in_windows(values, weight, bias, heads):
    """(B, H, W, C); attention within each window, after padding with zeros at the right and the bottom."""
    _, height, width, _ = values.shape
    padded = F.pad(values, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    out = torch.empty_like(padded)
    for top in range(0, padded.shape[1], WINDOW):
        for left in range(0, padded.shape[2], WINDOW):
            window = padded[:, top : top + WINDOW, left : left + WINDOW]
            inside = self_attention(window.flatten(1, 2), weight, bias, heads)
            out[:, top : top + WINDOW, left : left + WINDOW] = inside.reshape(window.shape)
    return out[:, :height, :width]


def between_channels(values, weight, bias, groups):
    """(B, H, W, C); within each group of channels, each channel attends to the others over all places."""
    batch, height, width, channels = values.shape
    split = F.linear(values.flatten(1, 2), weight, bias).split(channels, dim=-1)
    query, key, value = (each.transpose(1, 2).reshape(batch, groups, channels // groups, -1) for each in split)
    weights = torch.softmax(query @ key.transpose(-2, -1) / (height * width) ** 0.5, dim=-1)
    return (weights @ value).reshape(batch, channels, -1).transpose(1, 2).reshape(values.shape)
