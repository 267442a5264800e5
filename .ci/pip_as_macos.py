"""Run pip with the environment markers of macOS on arm64: `pip_as_macos.py 3.12 install ...`.

pip's own `--platform` and `--python-version` choose wheels only. Markers such as
`platform_system == "Linux"` are still judged on the machine that runs pip, which on Linux makes
torch ask for CUDA.
"""

import runpy
import sys

from pip._vendor.packaging import markers

version = sys.argv.pop(1)
macos = markers.default_environment() | {
    "os_name": "posix",
    "platform_machine": "arm64",
    "platform_system": "Darwin",
    "python_full_version": f"{version}.0",
    "python_version": version,
    "sys_platform": "darwin",
}
markers.default_environment = lambda: dict(macos)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
