"""Rows of the limited-data study, in the order of its Table 1.

In: nothing. Out: `ROWS`, in the order in which lists show them.

Source: each row's own; what was not seen at its source is in the row's `unverified`.
"""

from fmlab.backbones.cards import BackboneCard, Finetuning, Printed, Remote, TextTower
from fmlab.backbones.input_specs import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, crop, squash
from fmlab.backbones.rows_small import RANDOM_NOTE

TABLE_4 = "the limited-data study, Table 4"

# open_clip's names of what reads, beside the image encoder.
OPEN_CLIP_TEXT = (
    "positional_embedding",
    "text_projection",
    "token_embedding.",
    "transformer.resblocks.",
    "ln_final.",
    "logit_scale",
    "attn_mask",
)

VIT_MAE_BASE = BackboneCard(
    key="vit-mae-base",
    title="ViTMAE (ViT-B/16)",
    source="Meta's masked autoencoder, in transformers' format on the Hugging Face hub",
    architecture="vit_base_patch16_224",
    norm_eps=1e-12,
    layout="hf-vit-mae",
    remote=Remote(repository="facebook/vit-mae-base", page="https://huggingface.co/facebook/vit-mae-base"),
    files=("model.safetensors", "pytorch_model.bin"),
    unused=("decoder.",),
    licence_code="CC-BY-NC-4.0",
    licence_weights="Apache-2.0",
    licence_note="The authors' own code, and timm's copy of these weights, are CC-BY-NC 4.0.",
    citation="K. He et al. Masked autoencoders are scalable vision learners. CVPR 2022; arXiv:2111.06377.",
    spec=crop(224, 256, IMAGENET_MEAN, IMAGENET_STD),
    features=("cls", "mean"),
    widths=(768, 768),
    taps=(2, 5, 8, 11),
    parameters=85_798_656,
    domain="natural",
    pretraining="ImageNet-1k without labels, masked autoencoder",
    pretraining_images=1_281_167,
    finetuning=Finetuning(learning_rate=2e-4, source=TABLE_4),
    printed=Printed(order=1, name="ViTMAE", parameters=85.8, width=768, images="1.2M"),
    note=(
        "The encoder alone sees the whole image, no patch masked and none moved. The study does not say whether it took "
        "the class token or the mean of the patches; the authors probe the first and finetune the second, there under "
        "a new norm in place of the last one."
    ),
    unverified=(
        "resizing, crop and interpolation, those of the authors' evaluation: the hub's processor file was not read",
        "no weights file was opened",
    ),
)

DINOV2_BASE_1_LAYER = BackboneCard(
    key="dinov2-base-imagenet1k-1-layer",
    title="DINOv2 (ViT-B/14)",
    source="Meta's DINOv2 with a linear classifier, in transformers' format on the Hugging Face hub",
    architecture="vit_base_patch14_dinov2",
    positions="plain",
    layout="hf-dinov2",
    remote=Remote(
        repository="facebook/dinov2-base-imagenet1k-1-layer",
        page="https://huggingface.co/facebook/dinov2-base-imagenet1k-1-layer",
    ),
    files=("pytorch_model.bin", "model.safetensors"),
    unused=("classifier.", "dinov2.embeddings.mask_token"),
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    citation="M. Oquab et al. DINOv2: learning robust visual features without supervision. TMLR 2024; arXiv:2304.07193.",
    spec=crop(224, 256, IMAGENET_MEAN, IMAGENET_STD),
    features=("cls", "mean"),
    widths=(768, 768),
    taps=(2, 5, 8, 11),
    parameters=86_579_712,
    domain="natural",
    pretraining="LVD-142M, self-supervised",
    pretraining_images=142_000_000,
    finetuning=Finetuning(learning_rate=5e-6, source=TABLE_4),
    printed=Printed(order=2, name="DINOv2", parameters=86.6, width=768, images="140M"),
    note=(
        "The table of positions is for 518 pixels and is resized as transformers does. Without the token that stands "
        "for masked patches in pretraining, 768 numbers. The classifier in the file takes the class token beside the "
        "mean of the patches and is not used."
    ),
    unverified=(
        "resizing and crop: a processor file that says so has the length of the hub's, which was not read",
        "model.safetensors was seen in a request for conversion alone",
        "no weights file was opened",
    ),
)

CLIP_BASE = BackboneCard(
    key="clip-vit-base-patch16",
    title="CLIP (ViT-B/16)",
    source="OpenAI's CLIP, in transformers' format on the Hugging Face hub",
    architecture="vit_base_patch16_clip_quickgelu_224",
    projection=512,
    layout="hf-clip",
    remote=Remote(
        repository="openai/clip-vit-base-patch16", page="https://huggingface.co/openai/clip-vit-base-patch16"
    ),
    files=("pytorch_model.bin", "model.safetensors"),
    # Older files hold the numbers of the positions, 0 to 196, as well.
    unused=("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids"),
    licence_code="MIT",
    licence_weights="MIT",
    licence_note="MIT is the licence of the repository in which the authors published code and weights.",
    citation=(
        "A. Radford et al. Learning transferable visual models from natural language supervision. ICML 2021; "
        "arXiv:2103.00020."
    ),
    spec=crop(224, 224, CLIP_MEAN, CLIP_STD),
    features=("projected", "cls", "mean"),
    widths=(512, 768, 768),
    taps=(2, 5, 8, 11),
    parameters=86_192_640,
    type="image+text",
    text=TextTower(
        architecture="clip",
        width=512,
        layers=12,
        heads=8,
        context=77,
        vocabulary=49_408,
        activation="quick_gelu",
    ),
    domain="natural",
    pretraining="WebImageText, images with text",
    pretraining_images=400_000_000,
    finetuning=Finetuning(learning_rate=1e-5, source=TABLE_4),
    printed=Printed(
        order=3,
        name="CLIP",
        parameters=87.5,
        width=512,
        images="400M",
        remark=(
            "87.5M are exactly the parameters of ViT-B/32 (87,456,000); ViT-B/16, which the study's Table 4 names, has "
            "86.2M with its projection."
        ),
    ),
    unverified=(
        "the licence tag of the hub's page",
        "resizing and crop: a processor file that says so has the length of the hub's, which was not read",
        "whether the hub hands out model.safetensors",
        "no weights file was opened",
    ),
)

ECHO_CLIP = BackboneCard(
    key="echo-clip",
    title="EchoCLIP (ConvNeXt-B)",
    source="Cedars-Sinai's EchoCLIP, in open_clip's format on the Hugging Face hub",
    architecture="convnext_base",
    projection=512,
    layout="open-clip",
    remote=Remote(repository="mkaichristensen/echo-clip", page="https://huggingface.co/mkaichristensen/echo-clip"),
    files=("open_clip_pytorch_model.bin", "open_clip_model.safetensors"),
    unused=OPEN_CLIP_TEXT,
    licence_code="Cedars-Sinai academic software licence",
    licence_weights="MIT (its tag on the hub)",
    licence_note=(
        "The weights are tagged MIT, but the code they come with (echonet/echo_CLIP) is for academic and nonprofit "
        "research alone and must not be passed on. Whoever uses them otherwise should ask Cedars-Sinai."
    ),
    citation=(
        "M. Christensen, M. Vukadinovic, N. Yuan, D. Ouyang. Vision–language foundation model for echocardiogram "
        "interpretation. Nature Medicine 30, 2024."
    ),
    spec=crop(224, 224, CLIP_MEAN, CLIP_STD),
    features=("projected", "pooled"),
    widths=(512, 1024),
    taps=(0, 1, 2, 3),
    parameters=88_090_752,
    type="image+text",
    text=TextTower(architecture="clip", width=512, layers=12, heads=8, context=77, vocabulary=49_408),
    domain="ultrasound",
    pretraining="echocardiography clips with the text of their reports, Cedars-Sinai",
    pretraining_images=1_032_975,
    finetuning=Finetuning(learning_rate=5e-5, source=TABLE_4),
    printed=Printed(order=4, name="EchoCLIP", parameters=88.1, width=512, images="1M"),
    note=(
        "The authors crop frames to the target aspect ratio with a zoom of 10 %, and read clips with blue and red "
        "exchanged, which shows in colour Doppler alone. Of a clip they average the features of its frames, each "
        "scaled to length 1. The number of pretraining images is that of the clips."
    ),
    unverified=(
        "the architecture, told by the size of the file and the number of its parameters",
        "resizing and cropping, open_clip's defaults",
        "no weights file was opened",
    ),
)

MEDIMAGEINSIGHT = BackboneCard(
    key="medimageinsight",
    title="MedImageInsight (DaViT-H)",
    source="Microsoft's MedImageInsight, as lion-ai uploaded it to the Hugging Face hub",
    architecture="davit_huge_fl",
    projection=1024,
    layout="medimageinsight",
    remote=Remote(repository="lion-ai/MedImageInsights", page="https://huggingface.co/lion-ai/MedImageInsights"),
    # The authors' own spelling; safetensors inside, whatever the ending says.
    files=("2024.09.27/vision_model/medimageinsigt-v1.0.0.pt",),
    sizes={"2024.09.27/vision_model/medimageinsigt-v1.0.0.pt": 2_464_060_700},
    digests={
        "2024.09.27/vision_model/medimageinsigt-v1.0.0.pt": (
            "5eeda63bf616a61664bc95b2c09d3b3d7125209e635678bd3f5f324e9bdb1414"
        )
    },
    unused=("lang_encoder.", "lang_projection", "text.", "text_projection", "logit_scale"),
    licence_code="MIT",
    licence_weights="MIT (its tag on the hub)",
    licence_note=(
        "The tag is that of a copy of Microsoft's model, whose card says that the original terms are less clear; "
        "Microsoft means it for research and not for clinical use."
    ),
    citation=(
        "N. C. F. Codella et al. MedImageInsight: an open-source embedding model for general domain medical imaging. "
        "arXiv:2410.06542, 2024."
    ),
    spec=squash(480, IMAGENET_MEAN, IMAGENET_STD),
    features=("projected", "pooled"),
    widths=(1024, 2048),
    taps=(0, 1, 2, 3),
    parameters=362_733_568,
    type="image+text",
    text=TextTower(architecture="clip", width=1024, layers=16, heads=16, context=77, vocabulary=49_408),
    domain="medical",
    pretraining="medical images of 14 kinds with text and labels",
    pretraining_images=3_800_000,
    finetuning=Finetuning(learning_rate=5e-6, source=TABLE_4),
    printed=Printed(
        order=5,
        name="MedImageInsight",
        parameters=360.0,
        width=768,
        images="3.8M",
        remark=(
            "The table counts the encoder (360,636,416), here the projection (2,097,152) is counted too. "
            "Nothing in the released model is 768 wide: it gives 1024, or 2048 before the projection."
        ),
    ),
    note=(
        "Images are squashed to 480×480. Other sizes work, but a channel's attention depends on the number of patches, "
        "so features shift with the size. Its text tower is not loaded: no prompts. Slow without a GPU."
    ),
    unverified=(
        "whether the file calls its projection image_projection or vision_projection; both are taken",
        "the size of input that the study used",
        "no weights file was opened",
    ),
)

RANDOM_RESNET50 = BackboneCard(
    key="random-resnet50",
    title="ResNet50, random weights, for training from scratch",
    source="timm's initialisation under a fixed seed",
    architecture="resnet50",
    layout="random",
    licence_code="Apache-2.0",
    citation="K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR 2016.",
    spec=crop(224, 235, IMAGENET_MEAN, IMAGENET_STD),
    features=("pooled",),
    widths=(2048,),
    taps=(1, 2, 3, 4),
    parameters=23_508_032,
    printed=Printed(
        order=6,
        name="ResNet50",
        parameters=25.6,
        width=2048,
        images="",
        remark="25.6M count the classifier for 1,000 classes (25,557,032); without it there are 23.5M.",
    ),
    floor=True,
    seed=0,
    note=(
        "The study's specialised model, to be finetuned from nothing; the study does not print with which recipe. "
        + RANDOM_NOTE.format(scale="0.04 on average with a spread of 0.003 between images")
    ),
)

ROWS: tuple[BackboneCard, ...] = (
    VIT_MAE_BASE,
    DINOV2_BASE_1_LAYER,
    CLIP_BASE,
    ECHO_CLIP,
    MEDIMAGEINSIGHT,
    RANDOM_RESNET50,
)
