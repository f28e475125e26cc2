"""A study as words on a command line, and back.

In: a config. Out: the command that launches the same study; in the other direction, what its options say.

An adaptation is its name and what differs from its defaults: `finetune:recipe=quick:learning_rate=1e-4`. Several stand
with commas between them. What does not fit (prompts, lists) is written as JSON or YAML: `[{"kind": "zero_shot", …}]`.
A baseline is a backbone and its adaptation: `random-resnet50:scratch`, with `:seeds=3` for more than one.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from fmlab.adapt.configs import Adaptation, Trained, adaptation_from
from fmlab.errors import BadInput
from fmlab.studies.configs import Baseline, StudyConfig

NONE = "none"
_SIMPLE = re.compile(r"[\w.+\-]+")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, NONE: None}


def command_line(config: StudyConfig) -> str:
    """The command that launches the study."""
    words = ["fmlab", "study", "run"]
    if config.preset:
        words += ["--preset", config.preset]
    words += ["--name", config.name, "--dataset", config.dataset, "--backbones", ",".join(config.backbones)]
    words += ["--adaptations", spelt_adaptations(config.adaptations)]
    if not config.preset:
        words += ["--scheme", config.scheme, "--sizes", ",".join(map(str, config.sizes))]
    words += ["--seeds", str(config.seeds), "--copies", str(config.copies)]
    words += ["--folds", str(config.folds)] if config.folds else []
    words += ["--baselines", spelt_baselines(config.baselines), "--style", config.style]
    if config.mask_sector is not None:
        words.append("--mask-sector" if config.mask_sector else "--no-mask-sector")
    words += ["--precision", config.precision] if config.precision != "fp32" else []
    words += ["--allow-leaking", config.allow_leaking] if config.allow_leaking else []
    return shlex.join(words)


def spelt_adaptations(adaptations: Iterable[Adaptation]) -> str:
    """Adaptations as `--adaptations` takes them."""
    plain = [changed_settings(adaptation) for adaptation in adaptations]
    if all(_is_simple(each) for each in plain):
        return ",".join(":".join(_parts(each)) for each in plain)
    return json.dumps(plain, ensure_ascii=False)


def spelt_baselines(baselines: Iterable[Baseline]) -> str:
    """Baselines as `--baselines` takes them."""
    plain = [each.model_dump() | {"adaptation": changed_settings(each.adaptation)} for each in baselines]
    if not all(_is_simple(each["adaptation"]) for each in plain):
        return json.dumps(plain, ensure_ascii=False)
    spelt = [
        ":".join([each["backbone"], *_parts(each["adaptation"])] + [f"seeds={each['seeds']}"] * (each["seeds"] > 1))
        for each in plain
    ]
    return ",".join(spelt) or NONE


def changed_settings(adaptation: Adaptation) -> dict[str, Any]:
    """An adaptation's kind and the settings that differ from its defaults, as plain data."""
    plain, usual = adaptation.model_dump(mode="json"), type(adaptation)().model_dump(mode="json")
    return {"kind": plain["kind"]} | {name: value for name, value in plain.items() if value != usual.get(name)}


def with_recipe(adaptations: Iterable[Any], recipe: str) -> list[dict[str, Any]]:
    """Adaptations, as configs or plain data, where those that train follow another recipe; none does: `BadInput`."""
    configs = [adaptation_from(each) for each in adaptations]
    if not any(isinstance(each, Trained) for each in configs):
        raise BadInput(f"The recipe {recipe} is for adaptations that train, and the study has none, as finetune.")
    return [changed_settings(each) | ({"recipe": recipe} if isinstance(each, Trained) else {}) for each in configs]


def _is_simple(plain: Mapping[str, Any]) -> bool:
    return all(isinstance(value, bool | int | float) or _SIMPLE.fullmatch(str(value)) for value in plain.values())


def _parts(plain: Mapping[str, Any]) -> list[str]:
    rest = [f"{name}={json.dumps(v) if isinstance(v, bool) else v}" for name, v in plain.items() if name != "kind"]
    return [plain["kind"], *rest]


def read_adaptations(text: str) -> list[dict[str, Any]]:
    """What `--adaptations` says, as plain data for a `StudyConfig`."""
    if text.lstrip().startswith(("[", "{")):
        return [each if isinstance(each, dict) else {"kind": each} for each in _structured("--adaptations", text)]
    return [_read_one(part.split(":"), part) for part in listed(text)]


def read_baselines(text: str) -> list[dict[str, Any]]:
    """What `--baselines` says, as plain data for a `StudyConfig`; `none` for none."""
    if text.strip() == NONE:
        return []
    if text.lstrip().startswith(("[", "{")):
        return _structured("--baselines", text)
    return [_read_baseline(part) for part in listed(text)]


def read_sizes(text: str) -> list[int | str]:
    """Sizes as a person writes them, `1, 2 4` or `256,all`."""
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    if not parts or not all(part.isdecimal() or part == "all" for part in parts):
        raise BadInput(f"Sizes are whole numbers separated by commas, and all, as 1, 2, 4, all; got {text!r}.")
    return [part if part == "all" else int(part) for part in parts]


def listed(text: str) -> list[str]:
    """The parts of a text between its commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _read_baseline(text: str) -> dict[str, Any]:
    backbone, *parts = text.split(":")
    if not parts:
        raise BadInput(f"A baseline is a backbone and its adaptation, as random-resnet50:scratch; got {text!r}.")
    settings = _read_one(parts, text)
    seeds = settings.pop("seeds", 1)
    return {"backbone": backbone, "adaptation": settings, "seeds": seeds}


def _read_one(parts: list[str], text: str) -> dict[str, Any]:
    kind, *settings = parts
    pairs = [setting.partition("=") for setting in settings]
    if not all(name and equals for name, equals, _ in pairs):
        raise BadInput(
            f"An adaptation's settings stand as name=value after a colon, as finetune:batch=16; got {text!r}."
        )
    return {"kind": kind} | {name: read_value(value) for name, _, value in pairs}


def read_value(text: str) -> Any:
    """A setting's value as a person writes it: a number, true, false or null, else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _structured(option: str, text: str) -> list[Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"{option} is neither names nor YAML: {' '.join(str(error).split())}.") from error
    return content if isinstance(content, list) else [content]
