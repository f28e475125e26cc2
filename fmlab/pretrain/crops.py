"""The crops: a batch of images cut, turned, recoloured and blurred into the views that are trained on. Worker only.

In: uint8 (B, K, K) or (B, K, K, 3), the images' codes (B,) uint64, a seed, an epoch; a policy, sizes, mean and std.
Out: `Views`: global crops (views, B, C, S, S) and local crops (L, B, C, s, s), float32, normalised.

An image's views depend on (seed, epoch, code) alone, to the last bit: see `fmlab.pretrain.draws`. The steps: cut (with
flip and tilt), brightness, contrast, saturation and hue as torchvision's ColorJitter in this order, gamma, grey, a
9-tap Gaussian with mirrored borders as DINOv2's, solarisation from 128 up, noise.

A crop is sampled bilinearly, from the image or from it halved as often as it takes to shrink by less than 2.5 (the
geometric mean of both axes). Of such rules this is the nearest to Pillow's antialiased bicubic on ultrasound frames: it
meets it to 2–3 % of a crop's standard deviation for any shrinkage from 0.6 to 4. torch's own bicubic is no nearer and
takes 3.5 times as long. Halved images lie beside the whole one, so that a group of crops is one call on one grid.

Grey images stay in one channel until they are normalised. On a processor a few images at a time pass through every
step, so that they stay in its cache.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

from fmlab.errors import BadInput
from fmlab.pretrain.draws import NOISE_PLACES, Draws, Group, draw, global_group, local_group
from fmlab.pretrain.policies import Policy

LEAST_SIZE = 8  # pixels of a crop; the blur mirrors four
LARGEST_SHRINKAGE = 2.5  # source pixels for a pixel of the crop, each way
TAPS = 4  # of the blur on each side of the middle
SOLARISED_FROM = 128 / 255
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow and torchvision
NOISE_SEED = 0
VALUES_AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 25}  # of crops; on a processor so many stay in its cache


@dataclass(frozen=True)
class Views:
    """What a step trains on: float32, normalised. Crop v of image b stands at [v, b]."""

    globals: Tensor  # (views, B, C, S, S)
    locals: Tensor | None  # (L, B, C, s, s); None where none were asked for


class Crops:
    """Makes the views of batches under a policy."""

    def __init__(
        self,
        policy: Policy,
        size: int,
        local_size: int | None,
        locals_: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        views: int = 2,
        device: torch.device | str = "cpu",
    ) -> None:
        """Nothing is drawn yet.

        Args:
            policy: what is drawn.
            size: pixels of a global crop's side.
            local_size: and of a local one's; None where there are none.
            locals_: local crops of an image.
            channels: of the views, 1 or 3. For 1, images in colour are turned to grey first; for 3, grey is repeated.
            mean: of each channel of a 0–1 image.
            std: likewise, above 0.
            views: global crops of an image.
            device: where the work is done and the views lie.
        """
        sizes = [size, local_size or 0] if locals_ else [size]
        if min(sizes) < LEAST_SIZE or views < 1 or locals_ < 0:
            raise BadInput(
                f"{views} global crops of {size} and {locals_} local ones of {local_size} pixels cannot be made; "
                f"take at least one global crop, and {LEAST_SIZE} pixels."
            )
        if channels not in (1, 3) or len(mean) != channels or len(std) != channels or min(std) <= 0:
            raise BadInput(
                f"Crops of {channels} channels with mean {tuple(mean)} and standard deviation {tuple(std)} cannot be "
                "made; there are 1 or 3 channels, each with a mean and a standard deviation above 0."
            )
        self._policy = policy
        self._channels = channels
        self._device = torch.device(device)
        # (x − mean) / std as x · factor + offset
        self._factor, self._offset = (
            torch.tensor(values, dtype=torch.float32, device=self._device)[:, None, None]
            for values in ([1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)])
        )
        self._groups = [global_group(policy, size, views)]
        if locals_:
            self._groups.append(local_group(policy, sizes[1], locals_))
        self._noise = {group.size: noise_windows(group.size, self._device) for group in self._groups if policy.noise}

    def __call__(self, images: Tensor, codes: np.ndarray, seed: int, epoch: int) -> Views:
        """The views of a batch.

        Args:
            images: uint8 (B, K, K), or (B, K, K, 3) in RGB.
            codes: (B,) uint64, what draws know an image by.
            seed: of the training.
            epoch: in which the images are seen.
        """
        if images.dtype != torch.uint8 or images.shape[1:] not in (2 * images.shape[1:2], (*2 * images.shape[1:2], 3)):
            raise BadInput(
                f"Images are {images.dtype} {tuple(images.shape)}; expected uint8 (B, K, K) or (B, K, K, 3)."
            )
        if codes.dtype != np.uint64 or codes.shape != (len(images),):
            raise BadInput(f"Codes are {codes.dtype} {codes.shape}; expected uint64 ({len(images)},).")
        draws = [draw(self._policy, group, codes, seed, epoch) for group in self._groups]
        views = [self._empty(group, len(images)) for group in self._groups]
        largest = max(len(group.streams) * group.size**2 for group in self._groups)
        step = max(1, VALUES_AT_ONCE[self._device.type] // largest)
        for first in range(0, len(images), step):
            part = slice(first, first + step)
            pixels = planes(images[part].to(self._device, non_blocking=True), self._channels)
            for group, drawn, whole in zip(self._groups, draws, views, strict=True):
                crops = self._normalised(self._varied(pixels, group, drawn.of(part)))
                whole[:, part] = crops.view(len(pixels), -1, *crops.shape[1:]).transpose(0, 1)
        return Views(views[0], views[1] if len(views) > 1 else None)

    def _empty(self, group: Group, images: int) -> Tensor:
        shape = (len(group.streams), images, self._channels, group.size, group.size)
        return torch.empty(shape, dtype=torch.float32, device=self._device)

    def _varied(self, pixels: Tensor, group: Group, drawn: Draws) -> Tensor:
        """The crops of a group from planes (B, C, K, K) at 0–1: (B · V, C, S, S), an image's one after the other."""
        policy = self._policy
        crops = cut(pixels, group, drawn, tilted=policy.tilt > 0)
        if policy.brightness:
            crops.mul_(self._column(drawn.brightness)).clamp_(max=1)
        if policy.contrast:
            # Rows first: a sum over all pixels of one crop alone would be split between threads, and rounded otherwise.
            mean = luma(crops.mean(-1, keepdim=True).mean(-2, keepdim=True))
            blended(crops, mean, self._column(drawn.contrast))
        if crops.shape[1] == 3:
            if policy.saturation:
                blended(crops, luma(crops), self._column(drawn.saturation))
            self._change(crops, drawn.hue != 0, lambda some, chosen: turned(some, self._column(drawn.hue[chosen])))
        if policy.gamma:
            crops.pow_(self._column(drawn.gamma))
        if crops.shape[1] == 3:
            self._change(crops, drawn.grey, lambda some, chosen: luma(some).expand_as(some))
        self._change(crops, drawn.blurred, lambda some, chosen: blurred(some, self._weights(drawn.sigma[chosen])))
        self._change(crops, drawn.solarised, lambda some, chosen: solarised(some))
        if policy.noise:
            window = [torch.from_numpy(place).to(self._device) for place in (drawn.noise_down, drawn.noise_across)]
            crops.addcmul_(self._noise[group.size][tuple(window)][:, None], self._column(drawn.noise)).clamp_(0, 1)
        return crops

    def _normalised(self, crops: Tensor) -> Tensor:
        """Crops (n, 1 or C, S, S) less the mean, over the standard deviation, (n, C, S, S); grey is repeated here."""
        same = crops.shape[1] == self._channels
        return (crops.mul_(self._factor) if same else crops * self._factor).add_(self._offset)

    def _change(self, crops: Tensor, drawn: np.ndarray, change: Callable[[Tensor, np.ndarray], Tensor]) -> None:
        """Change, in place, those crops that drew it; `change` gets them and their positions."""
        chosen = np.flatnonzero(drawn)
        if len(chosen):
            index = torch.from_numpy(chosen).to(self._device)
            crops.index_copy_(0, index, change(crops.index_select(0, index), chosen))

    def _column(self, numbers: np.ndarray) -> Tensor:
        """A number for each crop, (n, 1, 1, 1) float32."""
        return torch.from_numpy(numbers.astype(np.float32)).to(self._device)[:, None, None, None]

    def _weights(self, sigma: np.ndarray) -> list[Tensor]:
        """The blur's weights of the middle and of the pixels 1 … TAPS away, each (n, 1, 1, 1)."""
        away = np.arange(TAPS + 1)[:, None]
        weights = np.exp(-0.5 * (away / sigma) ** 2)
        return [self._column(row) for row in weights / (2 * weights.sum(axis=0) - weights[0])]


def planes(images: Tensor, channels: int) -> Tensor:
    """uint8 (B, K, K) or (B, K, K, 3) as float32 (B, 1 or 3, K, K) at 0–1; for one channel colours become grey levels.

    Grey levels are Pillow's, rounded to whole ones.
    """
    if images.ndim == 4 and channels == 1:
        red, green, blue = images.to(torch.int32).unbind(-1)
        images = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    separate = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return separate.to(torch.float32).div_(255)


def cut(pixels: Tensor, group: Group, drawn: Draws, tilted: bool) -> Tensor:
    """Crops of planes (B, C, K, K), resampled, flipped and tilted: (B · V, C, S, S), an image's one after the other.

    Beyond the border stands its nearest pixel where nothing is tilted (there no more than half a pixel is asked for),
    else black.
    """
    images, channels, side, _ = pixels.shape
    size = group.size
    depth = int(halvings(np.array(side * group.scale[1] ** 0.5 / size)))
    level = np.minimum(halvings(side * np.sqrt(drawn.width * drawn.height) / size), depth)
    atlas = with_halves(pixels, depth)
    grid, outside = places(drawn, side, level, size, tilted, atlas)
    crops = grid_sample(atlas, grid.view(images, -1, size, 2), "bilinear", "border", align_corners=False)
    crops = crops.view(images, channels, -1, size, size).transpose(1, 2).reshape(-1, channels, size, size)
    return crops if outside is None else crops.masked_fill_(outside[:, None], 0)


def places(
    drawn: Draws, side: int, level: np.ndarray, size: int, tilted: bool, atlas: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Where in the atlas the pixels of each crop lie, (n, S, S, 2) as `grid_sample` counts, −1 to 1; x, then y.

    Where crops are tilted also which of them lie outside the image, (n, S, S) bool.
    """
    shrunk, held = side / 2.0**level, side // 2**level
    left, top = (level > 0) * side, side - side // 2 ** np.maximum(level - 1, 0)  # of that level in the atlas
    half_width = np.where(drawn.mirrored, -0.5, 0.5) * drawn.width * shrunk
    half_height = np.where(drawn.upside_down, -0.5, 0.5) * drawn.height * shrunk
    middle_x = left + (drawn.left + drawn.width / 2) * shrunk
    middle_y = top + (drawn.top + drawn.height / 2) * shrunk
    cosine, sine = np.cos(drawn.tilt), np.sin(drawn.tilt)
    across = 2 / atlas.shape[3] * np.stack([middle_x, cosine * half_width, -sine * half_height, left, left + held])
    down = 2 / atlas.shape[2] * np.stack([middle_y, cosine * half_height, sine * half_width, top, top + held])
    for numbers in (across, down):
        numbers[[0, 3, 4]] -= 1
    rows = torch.from_numpy(np.concatenate([across, down]).astype(np.float32)).to(atlas.device)[..., None, None]
    x, x_across, x_down, left, right, y, y_down, y_across, top, bottom = rows  # each (n, 1, 1)
    steps = (2 * torch.arange(size, device=atlas.device, dtype=torch.float32) + 1) / size - 1
    u, v = steps[None, None, :], steps[None, :, None]
    x, y = x + x_across * u, y + y_down * v
    outside = None
    if tilted:
        x, y = x + x_down * v, y + y_across * u
        outside = (x < left).logical_or_(x > right).logical_or_(y < top).logical_or_(y > bottom)
    half_x, half_y = 1 / atlas.shape[3], 1 / atlas.shape[2]  # a pixel
    x, y = x.clamp_(left + half_x, right - half_x), y.clamp_(top + half_y, bottom - half_y)
    # As complex numbers, so that both halves of each place are written at once.
    nothing = torch.zeros((), device=atlas.device)
    places = torch.complex(x, y) if tilted else torch.complex(x, nothing) + torch.complex(nothing, y)
    return torch.view_as_real(places), outside


def halvings(shrinkage: np.ndarray) -> np.ndarray:
    """How often an image is halved before a crop is sampled that shrinks so many source pixels to one, int64."""
    return np.maximum(np.floor(np.log2(shrinkage / LARGEST_SHRINKAGE)).astype(np.int64) + 1, 0)


def with_halves(pixels: Tensor, depth: int) -> Tensor:
    """Planes (B, C, K, K) and, to their right, one below the other, their halves, quarters …: (B, C, K, K + K // 2)."""
    if depth == 0:
        return pixels
    side = pixels.shape[-1]
    atlas = pixels.new_zeros((*pixels.shape[:2], side, side + side // 2))
    atlas[..., :side] = pixels
    for level in range(1, depth + 1):
        pixels = avg_pool2d(pixels, 2)
        top = side - side // 2 ** (level - 1)
        atlas[..., top : top + pixels.shape[2], side : side + pixels.shape[3]] = pixels
    return atlas


def luma(crops: Tensor) -> Tensor:
    """Grey levels (n, 1, S, S) of crops (n, 1 or 3, S, S); of grey ones themselves."""
    if crops.shape[1] == 1:
        return crops
    red, green, blue = (crops[:, channel : channel + 1] * weight for channel, weight in enumerate(LUMA))
    return red.add_(green).add_(blue)


def blended(crops: Tensor, other: Tensor, factor: Tensor) -> None:
    """`factor` of the crops and 1 − `factor` of the other, cut to 0–1, in place."""
    crops.mul_(factor).add_(other * (1 - factor)).clamp_(0, 1)


def turned(crops: Tensor, turns: Tensor) -> Tensor:
    """Crops (n, 3, S, S) with their hue turned on the colour circle by (n, 1, 1, 1) turns; value and chroma stay."""
    value, chroma = crops.amax(1, keepdim=True), crops.amax(1, keepdim=True) - crops.amin(1, keepdim=True)
    red, green, blue = (crops / chroma.clamp_min(1e-12)).split(1, dim=1)
    sixth = torch.where(
        crops[:, 0:1] == value,
        green - blue,
        torch.where(crops[:, 1:2] == value, 2 + blue - red, 4 + red - green),
    )
    places = torch.tensor([5.0, 3.0, 1.0], device=crops.device)[:, None, None] + sixth + 6 * turns
    places = places.remainder(6)
    return value - chroma * torch.minimum(places, 4 - places).clamp_(0, 1)


def blurred(crops: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Crops (n, C, S, S) under a Gaussian of 2 · TAPS + 1 pixels each way, mirrored at the borders."""
    size = crops.shape[-1]
    wide = pad(crops, (TAPS,) * 4, mode="reflect")
    for axis in (2, 3):
        middle = wide.narrow(axis, TAPS, size) * weights[0]
        for away in range(1, TAPS + 1):
            for place in (TAPS - away, TAPS + away):
                middle.addcmul_(wide.narrow(axis, place, size), weights[away])
        wide = middle
    return wide


def solarised(crops: Tensor) -> Tensor:
    """Levels from 128 of 255 up inverted."""
    return torch.where(crops >= SOLARISED_FROM, 1 - crops, crops)


def noise_windows(size: int, device: torch.device) -> Tensor:
    """Windows of one field of standard normal noise, (NOISE_PLACES, NOISE_PLACES, S, S), without a copy."""
    side = size + NOISE_PLACES - 1
    field = np.random.default_rng(NOISE_SEED).standard_normal((side, side), dtype=np.float32)
    return torch.from_numpy(field).to(device).unfold(0, size, 1).unfold(1, size, 1)
