"""What a pretraining writes down as it goes: lines of JSON that an interruption leaves whole.

In: a plain line. Out: a file of lines, of which those that belong to steps to be done again are cut off at the start.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Lines:
    """A file of lines of JSON with steps that rise, of which those up to step `keep` stay."""

    def __init__(self, path: Path, keep: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lines = [line for line in read_lines(path) if line["step"] <= keep]
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        self._file = path.open("w", encoding="utf-8")
        self._file.write(text)
        self._file.flush()

    def add(self, line: Mapping[str, Any]) -> None:
        """Write a line."""
        self.lines.append(dict(line))
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, none where there is no file; a last line that is being written is left out."""
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole]
