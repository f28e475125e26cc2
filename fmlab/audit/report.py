"""What an audit says: one check after the other, each with its level, a sentence and a few examples.

In: nothing, or plain data as a run keeps it. Out: `Audit` and `Check`, frozen; plain data again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from fmlab.errors import BadInput

# A leak blocks a study unless it is accepted by name; a warning says that a number will mislead; a note is good to know.
Level = Literal["leak", "warning", "note", "fine", "skipped"]
LEVELS: tuple[Level, ...] = get_args(Level)
ROWS_KEPT = 100  # examples of a check; `count` has all of them

Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Check:
    """One question put to a dataset, and the answer."""

    key: str
    level: Level
    title: str
    sentence: str
    rows: tuple[Row, ...] = ()  # examples, at most `ROWS_KEPT`
    count: int = 0  # how many there are


@dataclass(frozen=True)
class Audit:
    """All checks of a dataset, in the order in which they were made."""

    checks: tuple[Check, ...]

    def of_level(self, *levels: Level) -> tuple[Check, ...]:
        """The checks of these levels, the gravest first."""
        chosen = [check for check in self.checks if check.level in levels]
        return tuple(sorted(chosen, key=lambda check: LEVELS.index(check.level)))

    @property
    def leaks(self) -> tuple[Check, ...]:
        """The checks that found the same patient, clip or picture on both sides of the split."""
        return self.of_level("leak")

    def check(self, key: str) -> Check:
        """The check of that key."""
        return next(check for check in self.checks if check.key == key)

    def plain(self) -> dict[str, Any]:
        """Plain data from which `audit_from` makes an equal audit."""
        return {"checks": [asdict(check) | {"rows": list(check.rows)} for check in self.checks]}


def audit_from(content: Mapping[str, Any]) -> Audit:
    """An audit from plain data, as `Audit.plain` gives it; anything else raises `BadInput`."""
    try:
        checks = tuple(Check(**(check | {"rows": tuple(check["rows"])})) for check in content["checks"])
    except (KeyError, TypeError) as error:
        raise BadInput(f"This is not an audit ({error}). Ask for the audit of the dataset again.") from error
    unknown = sorted({check.level for check in checks} - set(LEVELS))
    if unknown:
        raise BadInput(f"An audit of levels {', '.join(unknown)} is not known here. Ask for the audit again.")
    return Audit(checks)


def made(
    key: str, level: Level, title: str, sentence: str, rows: Iterable[Row] = (), count: int | None = None
) -> Check:
    """A check with its examples cut to `ROWS_KEPT`; they are counted before, unless `count` is given."""
    every = tuple(rows)
    return Check(key, level, title, sentence, every[:ROWS_KEPT], len(every) if count is None else count)


def listed(names: Iterable[str], shown: int = 3) -> str:
    """`a, b, c and 4 more`."""
    every = list(names)
    more = f" and {len(every) - shown:,} more" if len(every) > shown else ""
    return ", ".join(every[:shown]) + more


def counted(number: int, unit: str, units: str | None = None) -> str:
    """`1 image`, `1,058 images`."""
    return f"{number:,} {unit if number == 1 else units or unit + 's'}"
