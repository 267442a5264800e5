"""What the figures were measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch


def machine() -> dict:
    """Processor, cores, memory, instructions that matter, GPU, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    having = [name for name, there in torch.cpu.get_capabilities().items() if there is True]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "instructions": [
            name for name in having if name.startswith(("avx512_bf16", "amx", "avx2"))
        ],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("torch", "lightning", "timm")},
    }
