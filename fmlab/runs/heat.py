"""Where a run looked: asking for it, and the heat that was found, on disk.

In: a finished run of a frozen backbone, an image it was scored on, a class.
Out: a `RunRequest` of kind `explain`; the heat of a finished one, (S, S) float32. No torch here.
"""

from pathlib import Path

import numpy as np

from fmlab.errors import BadInput
from fmlab.files import digest_config, written_aside
from fmlab.predictions import read_predictions
from fmlab.runs.records import Run, RunRequest
from fmlab.settings import Home


def explanation_request(home: Home, run: Run, image_id: str, target: str | None = None) -> RunRequest:
    """The explanation of a run's answer to an image: what speaks for a class, by default for the answer itself.

    Raises:
        BadInput: a run that is not done or that trained its backbone, an image that it was not scored on, a class that
            the dataset does not have.
    """
    if run.kind != "adapt":
        raise BadInput(
            "Where a trained network looked cannot be shown: its weights were not kept. Choose a probe of the same backbone."
        )
    if run.state != "done" or run.result is None:
        raise BadInput(f"Run {run.key[:12]} is {run.state}; choose one that is done.")
    predictions = read_predictions(home.predictions / run.result["predictions"], run.key)
    places = np.flatnonzero(predictions.image_ids == image_id)
    if not len(places):
        raise BadInput(f"Image {image_id} was not scored by this run, so it has no answer. Choose a scored test image.")
    scores = predictions.scores[0, places[0]]
    answer = predictions.classes[int(scores.argmax())]
    target = target or answer
    if target not in predictions.classes:
        raise BadInput(f"{target!r} is no class of this run; its classes are {', '.join(predictions.classes)}.")
    address = {"run": run.key, "image_id": image_id, "target": target}
    names = {"dataset": run.config["dataset"], "backbone": run.config["backbone"]}
    return RunRequest(
        kind="explain",
        config=names | address | {"answer": answer, "scores": scores.tolist(), "answered": run.config},
        address=address,
        group=digest_config("group explain", address),
        title=f"Where {names['backbone']} looked · {names['dataset']}",
    )


def write_heat(path: Path, heat: np.ndarray) -> None:
    """Write a heat (S, S) float32 at once."""
    with written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, heat.astype(np.float32), allow_pickle=False)


def read_heat(home: Home, explanation: Run) -> np.ndarray:
    """The heat of a finished run of kind `explain`, (S, S) float32: by how much covering lowers the score."""
    path = home.path / str((explanation.result or {}).get("heat", ""))
    try:
        heat = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"The heat {path.name} is missing or damaged ({error}). Ask for it again.") from error
    if heat.ndim != 2 or heat.dtype != np.float32:
        raise BadInput(
            f"The heat {path.name} holds {heat.dtype} {heat.shape}, expected float32 (S, S). Ask for it again."
        )
    return heat
