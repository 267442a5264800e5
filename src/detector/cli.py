"""Hydra as its users know it, with errors in one line.

`conf/` lies beside `src/` in a checkout and inside the package in a wheel. Hydra
gets it as an absolute path, the only form that works in both and from a console
script.
"""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detector.errors import ReaderGone, UserError
from detector.garbage import seldom


def conf_dir() -> Path:
    """Folder of the configs: the package's own, or the checkout's."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError(f"no conf/ beside {package}: reinstall detector")


def compose(config: str, overrides: list[str]) -> DictConfig:
    """Compose a config as the command line would, for tests and notebooks.

    Args:
        config: Name of a primary config, such as `train`.
        overrides: As on the command line.

    Raises:
        UserError: An override names nothing; the message names what there is.
    """
    try:
        with _composing():
            return hydra.compose(config, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(config, error, overrides)) from error


@contextmanager
def _composing() -> Iterator[None]:
    """Hydra ready to compose, also within a job, where it refuses to be initialized again."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def run(config: str, job: Callable[[DictConfig], object]) -> None:
    """Run an entry point under Hydra.

    Args:
        config: Name of its primary config.
        job: Gets the composed config. A UserError it raises is printed in one line.
    """

    def guarded(cfg: DictConfig) -> object:
        try:
            return job(cfg)
        except UserError as error:
            _leave(str(error))
        except ReaderGone:
            # What is left for the reader is dropped, or Python would complain when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)  # as a shell says of what SIGPIPE ended
        except OmegaConfBaseException as error:
            _leave(explain(config, error, HydraConfig.get().overrides.task))

    debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own way
    try:
        wrapped = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config)
        with seldom():
            wrapped(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        if debugging:
            raise
        _leave(explain(config, error, [a for a in sys.argv[1:] if not a.startswith("-")]))
    except UserError as error:
        _leave(str(error))
    except KeyboardInterrupt:
        _leave("interrupted", status=130)


def _leave(message: str, status: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def explain(config: str, error: Exception, overrides: list[str]) -> str:
    """One line for an error of Hydra or OmegaConf, with the valid options where it can.

    Args:
        config: Name of the primary config.
        error: What was raised.
        overrides: As on the command line.
    """
    root = error  # Hydra wraps what OmegaConf says, at times in an empty message
    while not str(root) and root.__cause__ is not None:
        root = root.__cause__
    text = str(root)
    for override in overrides if isinstance(root, HydraException) else ():
        try:
            OverridesParser.create().parse_override(override)
        except HydraException as cause:
            return f"cannot read the override {override}: {str(cause).splitlines()[0]}"
    unknown = re.search(r"Could not (?:override|append) '([^']+)'", text)
    if unknown:
        return _unknown_key(config, unknown.group(1), overrides)
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing.group(1)} has no default: give {missing.group(1)}=..."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    available = [at for at, line in enumerate(lines) if line.startswith("Available options in")]
    if available:
        options = [li for li in lines[available[0] + 1 :] if not re.match("Config|.*provider=", li)]
        where = f"In '{config}': "
        if "hydra/launcher/submitit" in lines[0]:
            return (
                "hydra/launcher=submitit_slurm comes with hydra-submitit-launcher: install it, or"
                " the extra `slurm` of detector"
            )
        return f"{lines[0].removeprefix(where)}; there is {', '.join(options)}"
    return " ".join(lines[:2])


def _unknown_key(config: str, key: str, overrides: list[str]) -> str:
    written = [(override, override.partition("=")[0].lstrip("+~")) for override in overrides]
    kept = [override for override, name in written if not f"{name}.".startswith(f"{key}.")]
    parent, _, name = key.rpartition(".")
    try:
        with _composing():
            cfg = hydra.compose(config, kept)
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if not isinstance(node, DictConfig):
            raise ValueError
    except Exception:  # another override is wrong too; without it the options are unknown
        top = key.split(".")[0]
        for file in sorted(conf_dir().glob(f"*/{top}.yaml")):  # a group's own, when it is chosen
            return f"{key}: {top} comes with {file.parent.name}={top}, which is not chosen here"
        return f"{key}: there is no such option; --help lists what there is"
    plain = OmegaConf.to_container(cfg, resolve=False)
    for depth in range(1, len(key.split("."))):
        *above, last = key.split(".")[:depth]
        place = plain
        for step in above:
            place = place.get(step) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            break
        if str(place.get(last)).startswith("${"):  # a group that only repeats another one
            other = ".".join([str(place[last])[2:-1], *key.split(".")[depth:]])
            return f"{key} repeats another setting: give {other}="
    names = sorted(str(k) for k in node)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {f'{parent}.' if parent else ''}{near[0]}? " if near else ""
    return f"{key}: no such option; {hint}{parent or 'the top level'} has {', '.join(names)}"
