"""Weights files: tensors in, or one sentence why not. No code that a file carries is ever run.

In: a `.safetensors` file, or what `torch.save` wrote (`.pth`, `.pt`, `.bin`); the format is told by the content, not by
the name. Out: tensors by name; and, against a model's own tensors, exactly those that it needs.

A checkpoint of self-distillation (DINOv2, iBOT) holds a teacher and a student: the teacher is taken, being what its
authors evaluate, and the student is left together with the optimizer and the counters.
"""

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from fmlab.errors import BadWeights

# Training scripts wrap the tensors in one of these, or in several; of two that stand side by side the first is taken.
WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "student")

# What may stand in a checkpoint beside tensors and plain data: the arguments of the script, which no code comes with.
PLAIN_CLASSES = [argparse.Namespace]

# A count that PyTorch keeps beside the statistics of a batch normalisation and never uses when evaluating.
IGNORED = ".num_batches_tracked"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a weights file by name, on the CPU; anything else than a plain file of tensors raises `BadWeights`."""
    if not path.is_file():
        raise BadWeights(f"There is no weights file {path}.")
    with path.open("rb") as file:
        head = file.read(9)
    try:
        content = load_file(path) if head[8:9] == b"{" else load_plain(path)
    except Exception as error:  # whatever a damaged or hostile file makes the two readers raise
        raise BadWeights(f"{path.name} cannot be used as weights: {reason(path, head, error)}.") from error
    return unwrapped(content, path.name)


def load_plain(path: Path) -> object:
    """What `torch.save` wrote, read without running anything in it."""
    # Of a path, torch would tell the format by the name; of an open file it cannot.
    with torch.serialization.safe_globals(PLAIN_CLASSES), path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def reason(path: Path, head: bytes, error: Exception) -> str:
    """Why a file could not be read, in a clause."""
    if head[:2] != b"PK" and head[:1] != b"\x80" and head[8:9] != b"{":
        return "it is neither a safetensors file nor one that torch.save wrote"
    if "TorchScript" in str(error):
        return "it holds a program (TorchScript); save its state dict alone, best as safetensors"
    if "Weights only load failed" in str(error):
        beside = (
            "Python objects or code beside its tensors"
            if zipfile.is_zipfile(path)
            else "more than tensors, or is cut off"
        )
        return f"it holds {beside}; save its state dict alone, best as safetensors"
    return "it is cut off or damaged; copy it again from its source"


def unwrapped(content: object, name: str) -> dict[str, Tensor]:
    """The dictionary of tensors in what a file held, out of a training script's wrapper where it has one."""
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise BadWeights(f"{name} holds no tensors by name but a {type(content).__name__}; save a state dict.")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise BadWeights(f"{name} holds entries that are not tensors: {some(others)}; save a state dict alone.")
    return bare({str(key): value for key, value in content.items()}, name)


def bare(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors without what training puts before their names: `module.`, `teacher.`, `backbone.`, in this order.

    Where some names begin with `teacher.`, those that begin with `student.` are left out.
    """
    named = {key.removeprefix("module."): value for key, value in tensors.items()}
    if any(key.startswith("teacher.") for key in named):
        named = {key: value for key, value in named.items() if not key.startswith("student.")}
    stripped = {key.removeprefix("teacher.").removeprefix("backbone."): value for key, value in named.items()}
    if len(stripped) != len(named):
        raise BadWeights(f"{name} holds tensors of the same name inside and outside of a backbone; save one of them.")
    return stripped


def matched(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], unused: tuple[str, ...], what: str
) -> dict[str, Tensor]:
    """The tensors that a model wants, all of them and of its shapes; others only if their names begin as in `unused`.

    `wanted` is the model's own state dict. One sentence lists some of what is missing, unexpected or misshaped.
    """
    given = {name: value for name, value in tensors.items() if not name.startswith(unused)} if unused else dict(tensors)
    needed = {name for name in wanted if not name.endswith(IGNORED)}
    problems = {
        "missing": sorted(needed - set(given)),
        "unexpected": sorted(name for name in set(given) - set(wanted) if not name.endswith(IGNORED)),
        "of another shape": [
            f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in sorted(needed & set(given))
            if given[name].shape != wanted[name].shape
        ],
        "not finite": sorted(
            name
            for name in needed & set(given)
            if given[name].is_floating_point() and not bool(torch.isfinite(given[name]).all())
        ),
    }
    found = [f"{len(names)} {kind} ({some(names)})" for kind, names in problems.items() if names]
    if found:
        raise BadWeights(f"These weights are not those of {what}: tensors are {'; '.join(found)}.")
    return {name: given[name] for name in wanted if name in given}


def some(names: list[str], most: int = 8) -> str:
    """The first few of some names, and that there are more."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
