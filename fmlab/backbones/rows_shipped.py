"""Rows whose weights FMLab itself ships, in `assets/`: a backbone pretrained by `fmlab pretrain` on simulated frames.

In: nothing. Out: `ROWS`. It lets the demo compare one's own domain with ImageNet, with no network and no GPU; of real
images it knows nothing.
"""

from fmlab.backbones.cards import BackboneCard
from fmlab.data.preprocessing import InputSpec

MEAN, STD = 0.09491361245463915, 0.1498190767324281  # grey value of the frames it learnt from, 0–1
COMMAND = (
    "fmlab pretrain simclr --dataset unlabelled:train --key phantom-vit --labelled choose --network vit-tiny "
    "--size 64 --steps 2500 --precision bf16 --licence Apache-2.0"
)

PHANTOM_VIT = BackboneCard(
    key="phantom-vit",
    title="ViT-Tiny/16 (simulated)",
    source="FMLab itself, which ships the file",
    architecture="vit_tiny_patch16_224",
    options={"img_size": 64, "patch_size": 16, "in_chans": 1},
    layout="timm",
    shipped=True,
    files=("phantom-vit.safetensors",),
    sizes={"phantom-vit.safetensors": 10_796_944},
    digests={"phantom-vit.safetensors": "1cb1410c2d8d2104f1228f743b85180a93c5e9bdccaad41b6eab62eccdfe1941"},
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    spec=InputSpec(64, "squash", 64, "bicubic", (MEAN,) * 3, (STD,) * 3),
    features=("cls", "mean"),
    widths=(192, 192),
    taps=(2, 5, 8, 11),
    parameters=5_391_552,
    domain="medical",
    pretraining="simulated echocardiograms of other patients, self-supervised (SimCLR)",
    pretraining_images=10_288,
    caution="pretrained on the same simulator: no evidence about real data",
    note=f"27 minutes on two cores: `{COMMAND}`, where `unlabelled` is the phantom of seed 100 with 96 sequences of each class.",
)

ROWS: tuple[BackboneCard, ...] = (PHANTOM_VIT,)
