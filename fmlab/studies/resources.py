"""What this machine has free: memory, memory of its GPUs, disk.

In: a home, a device's name. Out: bytes, or None where it cannot be told. torch is not asked.
"""

import shutil
import subprocess
from functools import lru_cache

import psutil

from fmlab.settings import Home

ASK_SECONDS = 5.0


def free_memory() -> int:
    """Bytes of memory that a new process can have without swapping."""
    return int(psutil.virtual_memory().available)


def free_disk(home: Home) -> int:
    """Bytes free where the home is, or will be."""
    folder = home.path
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@lru_cache(maxsize=8)
def gpu_memory(device: str) -> int | None:
    """Bytes that a GPU has in all, as NVIDIA's own tool says; None for a processor, or without the tool."""
    tool = shutil.which("nvidia-smi")
    if not device.startswith("cuda") or tool is None:
        return None
    number = device.partition(":")[2] or "0"
    words = [tool, f"--id={number}", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=ASK_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # a driver that does not answer: nothing is known
        return None
    return int(answer.strip()) << 20 if answer.strip().isdecimal() else None
