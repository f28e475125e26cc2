"""Rows of the fetal study: UltraDINO and what it is compared with.

In: nothing. Out: `ROWS`, in the order in which lists show them.

Sources: jakobamb/UltraDINO (training configurations `vits16_dinus_13m`, `vitb16_dinus_13m`; `classification/data`),
bytedance/ibot, openmedlab/USFM (`configs/model/Cls/vit.yaml`, `usdsgen/utils/modelutils.py`), facebookresearch/dinov2.
"""

from fmlab.backbones.cards import BackboneCard, Remote
from fmlab.backbones.input_specs import IMAGENET_MEAN, IMAGENET_STD, crop
from fmlab.data.preprocessing import InputSpec

# Grey value of the fetal ultrasound frames that UltraDINO was trained on, of 0 to 1.
FETAL_MEAN = 0.1842924807
FETAL_STD = 0.2187705424

ULTRADINO_CITATION = (
    "J. Ambsdorf, A. Munk, S. Llambias, A. N. Christensen, K. Mikolaj, R. Balestriero, M. G. Tolsgaard, A. Feragen, "
    "M. Nielsen. General methods make great domain-specific foundation models: a case-study on fetal ultrasound. "
    "MICCAI 2025."
)

# Beside the encoder in checkpoints of DINOv2's training code.
DINOV2_UNUSED = ("mask_token", "dino_head.", "ibot_head.", "dino_loss.", "ibot_patch_loss.")


def ultradino(size: str, width: int, heads: int, parameters: int) -> BackboneCard:
    """The row of an UltraDINO teacher: one grey channel, four registers, patches of 16 pixels."""
    return BackboneCard(
        key=f"ultradino-vit-{size}",
        title=f"UltraDINO ViT-{size[0].upper()}/16",
        source="the training code of UltraDINO; whoever trained one has the file",
        architecture=f"vit_{size}_patch16_224",
        options={
            "embed_dim": width,
            "num_heads": heads,
            "in_chans": 1,
            "reg_tokens": 4,
            "no_embed_class": True,
            "init_values": 1e-5,
        },
        positions="offset",
        layout="dinov2",
        remote=Remote(repository=None, page="https://github.com/jakobamb/UltraDINO"),
        files=("teacher_checkpoint.pth",),
        unused=DINOV2_UNUSED,
        licence_code="Apache-2.0",
        licence_note="The licence of the code; its authors have published no weights.",
        citation=ULTRADINO_CITATION,
        spec=InputSpec(224, "squash", 224, "bilinear", (FETAL_MEAN,) * 3, (FETAL_STD,) * 3),
        features=("cls", "mean"),
        widths=(width, width),
        taps=(3, 5, 7, 11),
        parameters=parameters,
        domain="ultrasound",
        pretraining="FUS2M, self-supervised (DINOv2)",
        pretraining_images=2_000_000,
        note=(
            "No weights are public: this row takes the teacher of anybody who ran the authors' training, as "
            "eval/training_<iteration>/teacher_checkpoint.pth or as the periodic checkpoint under that name. The three "
            "channels of an image become their grey. A teacher without registers, with three channels or with other "
            "patches is added as a backbone of its own; its layout is recognised."
        ),
        unverified=(
            "no file of the authors was seen",
            "the configuration of the run on 2 million images",
            "the authors scale images without antialiasing (OpenCV, linear), FMLab with it",
        ),
    )


IBOT_VIT_BASE = BackboneCard(
    key="ibot-vit-base",
    title="iBOT ViT-B/16",
    source="the authors' file for ImageNet-1k, teacher",
    architecture="vit_base_patch16_224",
    layout="ibot",
    remote=Remote(repository=None, page="https://github.com/bytedance/ibot"),
    files=("checkpoint_teacher.pth", "checkpoint.pth", "checkpoint_student.pth"),
    unused=("masked_embed", "head."),
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    citation=(
        "J. Zhou, C. Wei, H. Wang, W. Shen, C. Xie, A. Yuille, T. Kong. "
        "iBOT: image BERT pre-training with online tokenizer. ICLR 2022."
    ),
    spec=crop(224, 256, IMAGENET_MEAN, IMAGENET_STD),
    features=("cls", "mean"),
    widths=(768, 768),
    taps=(3, 5, 7, 11),
    parameters=85_798_656,
    domain="natural",
    pretraining="ImageNet-1k, self-supervised",
    pretraining_images=1_281_167,
    note=(
        "Of a full checkpoint the teacher is taken. The authors' model of ImageNet-22k comes as checkpoint_student.pth "
        "and loads too; its pretraining set is then that one. The fetal study squashes images to 224."
    ),
    unverified=("whether the authors' links still work", "resize 256 before the crop"),
)

USFM = BackboneCard(
    key="usfm",
    title="USFM ViT-B/16",
    source="the authors' file on Google Drive, linked from their repository",
    architecture="beit_base_patch16_224",
    layout="beit",
    remote=Remote(repository=None, page="https://github.com/openmedlab/USFM"),
    files=("USFM_latest.pth",),
    unused=("mask_token", "lm_head.", "head."),
    licence_note="The repository states no licence: all rights are the authors' until they say otherwise.",
    citation=(
        "J. Jiao, J. Zhou, X. Li, et al. USFM: a universal ultrasound foundation model generalized to tasks and organs "
        "towards label efficient image analysis. Medical Image Analysis 96, 2024."
    ),
    spec=InputSpec(224, "squash", 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD),
    features=("pooled",),
    widths=(768,),
    taps=(3, 5, 7, 11),
    parameters=85_761_984,
    domain="ultrasound",
    pretraining="3M-US, self-supervised (masked images)",
    pretraining_images=2_187_915,
    note=(
        "Positions are relative: one table for all blocks in the file, one for each here, as the authors' loader does. "
        "The feature is the mean of the patch tokens after a final norm."
    ),
    unverified=(
        "the names of the tensors beyond those that the authors' loader touches",
        "whether the file has the final norm (fc_norm)",
        "squash and interpolation, which are those of the fetal study",
        "the licence",
    ),
)


def dinov2(size: str, width: int, parameters: int) -> BackboneCard:
    """The row of a public DINOv2 encoder with patches of 14 pixels."""
    name = f"vit_{size}_patch14_dinov2"
    return BackboneCard(
        key=f"dinov2-vit-{size}",
        title=f"DINOv2 ViT-{size[0].upper()}/14",
        source="timm's copy of the authors' file, or that file itself",
        architecture=name,
        layout="dinov2",
        remote=Remote(repository=f"timm/{name}.lvd142m", page=f"https://huggingface.co/timm/{name}.lvd142m"),
        positions="offset",
        files=("model.safetensors", f"dinov2_vit{size[0]}14_pretrain.pth"),
        unused=DINOV2_UNUSED,
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        citation=(
            "M. Oquab, T. Darcet, T. Moutakanni, et al. DINOv2: learning robust visual features without supervision. "
            "TMLR 2024."
        ),
        spec=crop(224, 256, IMAGENET_MEAN, IMAGENET_STD),
        features=("cls", "mean"),
        widths=(width, width),
        taps=(3, 5, 7, 11),
        parameters=parameters,
        domain="natural",
        pretraining="LVD-142M, self-supervised (distilled from ViT-g)",
        pretraining_images=142_000_000,
        note=(
            "Trained for 518 pixels, evaluated by its authors at 224: their table of 37×37 positions is resampled once, "
            "when loading. The count leaves out the mask token, which only pretraining uses."
        ),
        unverified=("no weights file was opened",),
    )


ROWS: tuple[BackboneCard, ...] = (
    ultradino("small", 384, 6, 21_479_424),
    ultradino("base", 768, 12, 85_426_176),
    IBOT_VIT_BASE,
    USFM,
    dinov2("small", 384, 22_056_192),
    dinov2("base", 768, 86_579_712),
)
