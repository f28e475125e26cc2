"""Rows that the field would reach for today.

In: nothing. Out: `ROWS`, in the order in which lists show them.

Source: each row's own; what was not seen at its source is in the row's `unverified`. Those of timm's repositories have
the input sizes, crops, interpolation, mean and std of timm's `pretrained_cfg` for exactly these weights.
"""

from fmlab.backbones.cards import BackboneCard, Remote, TextTower
from fmlab.backbones.input_specs import CLIP_MEAN, CLIP_STD, HALF, IMAGENET_MEAN, IMAGENET_STD, crop, pad, squash
from fmlab.backbones.rows_limited_data import OPEN_CLIP_TEXT

# timm's repositories hold the same tensors in both.
TIMM_FILES = ("model.safetensors", "pytorch_model.bin")

UNOPENED = "no weights file was opened"


def timm_repository(weights: str) -> Remote:
    """The repository of timm on the Hugging Face hub for an architecture's weights, `<architecture>.<tag>`."""
    return Remote(repository=f"timm/{weights}", page=f"https://huggingface.co/timm/{weights}")


RAD_DINO = BackboneCard(
    key="rad-dino",
    title="RAD-DINO (ViT-B/14)",
    source="Microsoft's RAD-DINO, in transformers' format on the Hugging Face hub",
    architecture="vit_base_patch14_dinov2",
    positions="plain",
    layout="hf-dinov2",
    remote=Remote(repository="microsoft/rad-dino", page="https://huggingface.co/microsoft/rad-dino"),
    files=("model.safetensors",),
    unused=("embeddings.mask_token",),
    licence_code="MIT",
    licence_weights="MIT",
    licence_note="Its authors share it for research and not for clinical use; earlier it had a licence for research alone.",
    citation=(
        "F. Pérez-García et al. Exploring scalable medical image encoders beyond text supervision. Nature Machine "
        "Intelligence, 2025; arXiv:2401.10815."
    ),
    spec=crop(518, 518, (0.5307, 0.5307, 0.5307), (0.2583, 0.2583, 0.2583)),
    features=("cls", "mean"),
    widths=(768, 768),
    taps=(2, 5, 8, 11),
    parameters=86_579_712,
    domain="medical",
    pretraining="chest X-rays of five public collections, DINOv2 continued from Meta's",
    pretraining_images=882_775,
    note="Made for chest X-rays. Without the token that stands for masked patches in pretraining, 768 numbers.",
    unverified=(
        "resizing, mean and std: a processor file that says so has the length of the hub's, which was not read",
        "the number of pretraining images",
        UNOPENED,
    ),
)

BIOMEDCLIP = BackboneCard(
    key="biomedclip",
    title="BiomedCLIP (ViT-B/16)",
    source="Microsoft's BiomedCLIP, in open_clip's format on the Hugging Face hub",
    architecture="vit_base_patch16_224",
    projection=512,
    layout="open-clip",
    remote=Remote(
        repository="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        page="https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    ),
    files=("open_clip_pytorch_model.bin", "open_clip_model.safetensors"),
    unused=("text.", "logit_scale"),
    licence_code="MIT",
    licence_weights="MIT",
    licence_note="Its authors mean it for research alone and call every use in a product out of scope.",
    citation=(
        "S. Zhang et al. A multimodal biomedical foundation model trained from fifteen million image–text pairs. "
        "NEJM AI, 2025; arXiv:2303.00915."
    ),
    spec=crop(224, 224, CLIP_MEAN, CLIP_STD),
    features=("projected", "cls", "mean"),
    widths=(512, 768, 768),
    taps=(2, 5, 8, 11),
    parameters=86_191_872,
    type="image+text",
    text=TextTower(
        architecture="bert", width=768, layers=12, heads=12, context=256, vocabulary=30_522, files=("vocab.txt",)
    ),
    domain="medical",
    pretraining="PMC-15M, figures and captions of articles in PubMed Central",
    pretraining_images=15_000_000,
    note="Prompts are read by PubMedBERT, whose vocabulary (vocab.txt) has to lie beside the weights.",
    unverified=(
        "the width of the projection, and that the text tower takes the first token through one hidden layer: read in "
        "copies of its configuration",
        "interpolation and crop, open_clip's defaults",
        "whether its repository holds vocab.txt; that of PubMedBERT does",
        "no weights file was opened",
    ),
)

FETALCLIP = BackboneCard(
    key="fetalclip",
    title="FetalCLIP (ViT-L/14)",
    source="MBZUAI's FetalCLIP, in open_clip's format",
    architecture="vit_large_patch14_clip_224",
    projection=768,
    layout="open-clip",
    remote=Remote(repository="numansaeed/fetalclip-model", page="https://huggingface.co/numansaeed/fetalclip-model"),
    files=("FetalCLIP_weights.pt",),
    unused=OPEN_CLIP_TEXT,
    licence_code="CC-BY-NC-4.0",
    licence_weights="CC-BY-NC-4.0",
    citation=(
        "F. Maani et al. FetalCLIP: a visual-language foundation model for fetal ultrasound image analysis. "
        "arXiv:2502.14807, 2025."
    ),
    spec=pad(224, CLIP_MEAN, CLIP_STD),
    features=("projected", "cls", "mean"),
    widths=(768, 1024, 1024),
    taps=(5, 11, 17, 23),
    parameters=303_966_208,
    type="image+text",
    text=TextTower(architecture="clip", width=768, layers=12, heads=12, context=117, vocabulary=49_408),
    domain="ultrasound",
    pretraining="fetal ultrasound images with text",
    pretraining_images=210_035,
    note="Its authors pad an image to a square with black before they resize it, so that nothing is cut off.",
    unverified=(
        "whether the hub hands the file out without a request",
        "the interpolation, open_clip's default",
        "no weights file was opened",
    ),
)

SIGLIP2_BASE = BackboneCard(
    key="siglip2-base",
    title="SigLIP 2 (ViT-B/16)",
    source="Google's SigLIP 2, image encoder alone, in timm's repository on the Hugging Face hub",
    architecture="vit_base_patch16_siglip_224",
    layout="timm",
    remote=timm_repository("vit_base_patch16_siglip_224.v2_webli"),
    files=TIMM_FILES,
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    citation="M. Tschannen et al. SigLIP 2: multilingual vision–language encoders. arXiv:2502.14786, 2025.",
    spec=squash(224, HALF, HALF),
    features=("pooled", "mean"),
    widths=(768, 768),
    taps=(2, 5, 8, 11),
    parameters=92_884_224,
    domain="natural",
    pretraining="WebLI, images with text",
    pretraining_images=10_000_000_000,
    note=(
        "Its own pooling by attention lies in the space shared with text; there is no class token. Images are squashed, "
        "as its authors do and open_clip for the same weights; timm would crop 224 from 248."
    ),
    unverified=("the number of pretraining images", UNOPENED),
)

DINOV3_BASE = BackboneCard(
    key="dinov3-vit-base",
    title="DINOv3 (ViT-B/16)",
    source="Meta's DINOv3, in timm's repository on the Hugging Face hub",
    architecture="vit_base_patch16_dinov3",
    layout="timm",
    remote=timm_repository("vit_base_patch16_dinov3.lvd1689m"),
    files=TIMM_FILES,
    licence_code="DINOv3 License",
    licence_weights="DINOv3 License",
    licence_note="Meta's own licence, with conditions on use and on passing on; read it before accepting.",
    gated=True,
    citation="O. Siméoni et al. DINOv3. arXiv:2508.10104, 2025.",
    spec=crop(256, 256, IMAGENET_MEAN, IMAGENET_STD),
    features=("cls", "mean"),
    widths=(768, 768),
    taps=(2, 5, 8, 11),
    parameters=85_641_216,
    domain="natural",
    pretraining="LVD-1689M, self-supervised",
    pretraining_images=1_689_000_000,
    note=(
        "Meta hands its own files (facebook/dinov3-vitb16-pretrain-lvd1689m) out on request: log in to the hub, open "
        "that page, accept the licence and send the form, wait for the answer, then log in here with `hf auth login`. "
        "timm's repository mirrors the weights by timm's names, which are the ones that this row reads. Positions are "
        "rotary, computed for any size."
    ),
    unverified=(
        "whether timm's repository hands them out without a request; its page was seen without a notice",
        "that the file lacks the biases of query, key and value, as timm's architecture of this name does",
        "resizing: timm's; Meta's example squashes to the size",
        UNOPENED,
    ),
)

VIT_BASE_IMAGENET = BackboneCard(
    key="vit-base-imagenet",
    title="ViT-B/16 (ImageNet)",
    source="Google's ViT-B/16 finetuned again by timm, in timm's repository on the Hugging Face hub",
    architecture="vit_base_patch16_224",
    layout="timm",
    remote=timm_repository("vit_base_patch16_224.augreg2_in21k_ft_in1k"),
    files=TIMM_FILES,
    unused=("head.",),
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    citation=(
        "A. Steiner et al. How to train your ViT? Data, augmentation, and regularization in vision transformers. TMLR "
        "2022; arXiv:2106.10270."
    ),
    spec=crop(224, 248, HALF, HALF),
    features=("cls", "mean"),
    widths=(768, 768),
    taps=(2, 5, 8, 11),
    parameters=85_798_656,
    domain="natural",
    pretraining="ImageNet-21k, then ImageNet-1k, supervised",
    pretraining_images=14_197_122,
    unverified=(UNOPENED,),
)

CONVNEXT_BASE = BackboneCard(
    key="convnext-base",
    title="ConvNeXt-B (ImageNet)",
    source="Meta's ConvNeXt-B, in timm's repository on the Hugging Face hub",
    architecture="convnext_base",
    layout="timm",
    remote=timm_repository("convnext_base.fb_in22k_ft_in1k"),
    files=TIMM_FILES,
    unused=("head.fc.",),
    licence_code="MIT",
    licence_weights="Apache-2.0",
    citation="Z. Liu et al. A ConvNet for the 2020s. CVPR 2022; arXiv:2201.03545.",
    spec=crop(224, 256, IMAGENET_MEAN, IMAGENET_STD),
    features=("pooled",),
    widths=(1024,),
    taps=(0, 1, 2, 3),
    parameters=87_566_464,
    domain="natural",
    pretraining="ImageNet-22k, then ImageNet-1k, supervised",
    pretraining_images=14_197_122,
    note="timm evaluates it at 288 pixels too; 224 is the size it was trained at.",
    unverified=(UNOPENED,),
)

EFFICIENTNETV2_SMALL = BackboneCard(
    key="efficientnetv2-small",
    title="EfficientNetV2-S (ImageNet)",
    source="Google's EfficientNetV2-S, in timm's repository on the Hugging Face hub",
    architecture="tf_efficientnetv2_s",
    layout="timm",
    remote=timm_repository("tf_efficientnetv2_s.in21k_ft_in1k"),
    files=TIMM_FILES,
    unused=("classifier.",),
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    citation="M. Tan, Q. V. Le. EfficientNetV2: smaller models and faster training. ICML 2021; arXiv:2104.00298.",
    spec=crop(300, 300, HALF, HALF),
    features=("pooled",),
    widths=(1280,),
    taps=(1, 2, 3, 4),
    parameters=20_177_488,
    domain="natural",
    pretraining="ImageNet-21k, then ImageNet-1k, supervised",
    pretraining_images=14_197_122,
    note="timm evaluates it at 384 pixels too; 300 is the size it was trained at.",
    unverified=(UNOPENED,),
)

RESNET50_IMAGENET = BackboneCard(
    key="resnet50-imagenet",
    title="ResNet50 (ImageNet)",
    source="ResNet50 trained by timm, in timm's repository on the Hugging Face hub",
    architecture="resnet50",
    layout="timm",
    remote=timm_repository("resnet50.a1_in1k"),
    files=TIMM_FILES,
    unused=("fc.",),
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    citation=(
        "R. Wightman, H. Touvron, H. Jégou. ResNet strikes back: an improved training procedure in timm. "
        "arXiv:2110.00476, 2021."
    ),
    spec=crop(224, 235, IMAGENET_MEAN, IMAGENET_STD),
    features=("pooled",),
    widths=(2048,),
    taps=(1, 2, 3, 4),
    parameters=23_508_032,
    domain="natural",
    pretraining="ImageNet-1k, supervised",
    pretraining_images=1_281_167,
    note="What finetuning from ImageNet adds to the study's ResNet50, which starts from random weights.",
    unverified=(UNOPENED,),
)

ROWS: tuple[BackboneCard, ...] = (
    RAD_DINO,
    BIOMEDCLIP,
    FETALCLIP,
    SIGLIP2_BASE,
    DINOV3_BASE,
    VIT_BASE_IMAGENET,
    CONVNEXT_BASE,
    EFFICIENTNETV2_SMALL,
    RESNET50_IMAGENET,
)
