"""Which file is meant where somebody names a trained network."""

from pathlib import Path

from detector.errors import UserError

RELEASE, ONNX = ".safetensors", ".onnx"
IN_RUN = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "best.ckpt", "last.ckpt")


def find_weights(what: Path | str) -> Path:
    """The file behind a path that a person gives.

    Args:
        what: A checkpoint, released weights or their JSON, an .onnx file; or a folder: of a run,
            of its checkpoints, or with one released or exported network.

    Raises:
        UserError: A folder holds none, or several; a file is left to whoever opens it.
    """
    path = Path(what).expanduser()
    if not path.is_dir():
        beside = path.with_suffix(RELEASE)
        return beside if path.suffix == ".json" and beside.is_file() else path
    for name in IN_RUN:
        if (path / name).is_file():
            return path / name
    for suffix in (RELEASE, ONNX):
        found = sorted(path.glob(f"*{suffix}"))
        if len(found) > 1:
            names = ", ".join(file.name for file in found[:5])
            raise UserError(f"{path} holds {len(found)} networks: name one of {names}")
        if found:
            return found[0]
    raise UserError(
        f"no trained network in {path}: give a run folder (with checkpoints/best.ckpt), a"
        " checkpoint, released weights (.safetensors) or an .onnx file"
    )


def newest(runs: Path) -> Path:
    """best.ckpt of the newest run that has one.

    Raises:
        UserError: There is none; names the command that makes one.
    """
    found = sorted(runs.glob("train/*/*/checkpoints/best.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise UserError(
            f"no trained network below {runs}: make one with python -m detector.train, or name"
            " one with ckpt="
        )
    return found[-1]
