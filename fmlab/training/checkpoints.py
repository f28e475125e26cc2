"""Checkpoints: what a training needs to go on after any interruption as if there had been none.

In: what is trained and its optimiser in the middle of a training. Out: `checkpoints/step-NNNNNNNN.safetensors` (what
training changes: weights, running statistics, a teacher; the optimiser's moments; float32) and `checkpoints/done.json`,
written last, which names it.

Random numbers are not kept: those of a step follow from the seed and the step. Frozen weights are not kept: the
backbone has them. Only the newest checkpoint stays.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fmlab.errors import BadInput
from fmlab.files import read_json, write_json, written_aside

FOLDER = "checkpoints"
PROOF = "done.json"


class Trained(Protocol):
    """What can be kept: a classifier, a method of pretraining."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""

    def kept(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that training changes, by name."""


@dataclass(frozen=True)
class Progress:
    """How far a training is, beside its tensors."""

    step: int = 0  # steps of the optimiser that are done
    epoch_loss: float = 0.0  # sum over the images seen in the current epoch
    micro_batch: int = 0  # images computed at a time; 0: not decided yet
    seconds: float = 0.0  # of training, interruptions left out
    metrics_bytes: int = 0  # of metrics.jsonl that belong to these steps


class DamagedCheckpoint(BadInput):
    """A checkpoint cannot be read; the training has to begin again."""


class Checkpoints:
    """The checkpoints of one training; `identity` is a digest of all that it depends on."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder / FOLDER
        self._identity = identity
        self.step: int | None = None  # of the newest one that is known to be good

    def write(self, trained: Trained, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Keep the present state; earlier checkpoints go once it is whole."""
        name = f"step-{progress.step:08d}.safetensors"
        # In channels-last memory tensors are not contiguous, which the format demands.
        tensors = {key: value.detach().contiguous() for key, value in _tensors(trained, optimizer)}
        with written_aside(self._folder / name) as aside:
            save_file(tensors, aside)
        size = (self._folder / name).stat().st_size
        facts = {"identity": self._identity, "file": name, "bytes": size, "progress": asdict(progress)}
        write_json(self._folder / PROOF, facts)
        self.step = progress.step
        for other in self._folder.glob("*.safetensors"):
            if other.name != name:
                other.unlink()

    def restore(self, trained: Trained, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Put the newest checkpoint into what is trained and a new optimiser; None where there is none.

        Raises `BadInput` for another training's checkpoint, `DamagedCheckpoint` for one that cannot be read; both are
        left as they are then.
        """
        proof = self._folder / PROOF
        if not proof.exists():
            return None
        tensors, progress = self._read(proof)
        self._fill(trained, optimizer, tensors)
        self.step = progress.step
        return progress

    def _read(self, proof: Path) -> tuple[dict[str, Tensor], Progress]:
        try:
            facts = read_json(proof)
            identity, path, size = facts["identity"], self._folder / facts["file"], facts["bytes"]
            progress = Progress(**facts["progress"])
        except (BadInput, KeyError, TypeError) as error:
            raise DamagedCheckpoint(f"The checkpoint's {PROOF} cannot be read ({error}).") from error
        if identity != self._identity:
            raise BadInput(
                f"The folder {self._folder.parent.name!r} holds a checkpoint of a training with other settings, seed or "
                "labels. Give every training a folder of its own."
            )
        try:
            if path.stat().st_size != size:
                raise DamagedCheckpoint(f"{path.name} has {path.stat().st_size} bytes instead of {size}.")
            return load_file(path), progress
        except (OSError, SafetensorError) as error:
            raise DamagedCheckpoint(f"{path.name} cannot be read ({error}).") from error

    @staticmethod
    @torch.no_grad()
    def _fill(trained: Trained, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
        for name, value in trained.kept():
            value.copy_(tensors[f"model/{name}"])
        for name, weights in trained.trainable().items():
            beginning = f"optimizer/{name}/"
            # None where a parameter never had a gradient. What is shaped as the weights lies in memory as they do; a
            # fused AdamW keeps its count of steps, a single number, beside them.
            state = {
                key.removeprefix(beginning): torch.empty_like(weights).copy_(value)
                if value.shape == weights.shape
                else value.to(weights.device)
                for key, value in tensors.items()
                if key.startswith(beginning)
            }
            if state:
                optimizer.state[weights] = state


def forget_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training whose result is safe."""
    proof = folder / FOLDER / PROOF
    proof.unlink(missing_ok=True)  # first: what is half removed must not look whole
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _tensors(trained: Trained, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for name, value in trained.kept():
        yield f"model/{name}", value
    for name, weights in trained.trainable().items():
        for key, value in optimizer.state.get(weights, {}).items():
            yield f"optimizer/{name}/{key}", value
