"""Numbers, durations and names as a person reads them.

In: plain values with their unit in the argument's name. Out: short strings; Markdown that cannot be hijacked.
"""

import re
from datetime import UTC, datetime

NO_VALUE = "–"
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^&@=/\"'])")
# Back-quoted text of harmless characters stays code; everything else loses its meaning in Markdown.
_CODE = re.compile(r"(`[\w ./=,:\-]+`)")


def escaped(text: str) -> str:
    """Text that came from a file, a label or a person, safe inside Markdown: no links, pictures, formulas or markup."""
    parts = _CODE.split(" ".join(str(text).split()))
    return "".join(part if index % 2 else _PUNCTUATION.sub(r"\\\1", part) for index, part in enumerate(parts))


def count(number: int | None, unit: str = "", units: str = "") -> str:
    """`12,500 images`; the plural is the unit with an s unless given."""
    if number is None:
        return NO_VALUE
    noun = unit if number == 1 else (units or (unit + "s" if unit else ""))
    return f"{number:,} {noun}".strip()


def duration(seconds: float | None) -> str:
    """`4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return NO_VALUE
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(number_bytes: int | None) -> str:
    """`12 MB`, in powers of 1,000 as disks are sold."""
    if number_bytes is None:
        return NO_VALUE
    value, unit = float(number_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction 0–1 as `71.4 %`."""
    return NO_VALUE if fraction is None or fraction != fraction else f"{100 * fraction:.{digits}f} %"


def million(number: int | None) -> str:
    """A count of parameters as `4.7 M`."""
    return NO_VALUE if number is None else f"{number / 1e6:.1f} M"


def ago(moment: str | None, now: datetime | None = None) -> str:
    """An ISO 8601 time in UTC as `just now`, `5 min ago`, or its date."""
    if not moment:
        return NO_VALUE
    then = datetime.fromisoformat(moment)
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds < 45:
        return "just now"
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} min ago"
    if seconds < 86400:
        return f"{round(seconds / 3600)} h ago"
    return then.strftime("%-d %B %Y")
