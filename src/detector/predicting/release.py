"""Released weights: numbers in a .safetensors file, and beside it a JSON with all else.

The JSON holds the card (network, preprocessing, labels, calibration, gate), the licence, what was
measured on the test part with its intervals, what an audit found in the set, and the SHA-256 of
the weights. Neither file can hold code, whoever made it. They may come from a stranger, so reading
them believes nothing that it has not checked.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from detector import __version__
from detector.errors import UserError
from detector.predicting.card import Card, check_card
from detector.predicting.checkpoint import read_checkpoint
from detector.predicting.find import RELEASE
from detector.replacing import replacing

KIND, FORMAT = "detector weights", 1
LONGEST = 64 << 20  # bytes of the JSON; a gate takes some 100 kB
_TYPES = {"detector": dict, "weights": dict, "licence": str}


def write_release(checkpoint_path: Path, folder: Path, licence: str) -> list[Path]:
    """Writes weights that can be handed on.

    Args:
        checkpoint_path: A best.ckpt; what its run measured is told too, where the run is there.
        folder: Made where it is not there.
        licence: Under which the weights are given away, such as `Apache-2.0`.

    Returns:
        The .safetensors and the .json, named after the run.

    Raises:
        UserError: No licence is given, the checkpoint is none or diverged, or the folder cannot be
            written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if not licence or not licence.strip():
        raise UserError("released weights need a licence: name one, such as Apache-2.0")
    path = Path(checkpoint_path).expanduser().resolve()
    checkpoint = read_checkpoint(path)
    Card.read(checkpoint["detector"], str(path))
    _check_finite(checkpoint["state_dict"], path)
    name, run = _name(path)
    tensors = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in checkpoint["state_dict"].items()
    }
    files = [Path(folder).expanduser() / f"{name}{suffix}" for suffix in (RELEASE, ".json")]
    try:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        # Left from the inside: the weights take their place before what says their digest.
        with replacing(files[1]) as beside, replacing(files[0]) as weights:
            save_file(tensors, weights, {"format": "pt", "kind": KIND})
            about = {
                "kind": KIND,
                "format": FORMAT,
                "detector": checkpoint["detector"],
                "weights": {
                    "file": files[0].name,
                    "sha256": _sha256(weights),
                    "parameters": sum(value.numel() for value in tensors.values()),
                },
                "licence": licence.strip(),
                "written_by": f"detector {__version__}",
                **_known(run),
            }
            beside.write_text(json.dumps(about, indent=2, allow_nan=False) + "\n", "utf-8")
    except (OSError, SafetensorError) as error:  # the latter of a full disk, say
        why = getattr(error, "strerror", None) or _line(error)
        raise UserError(f"{folder} cannot be written ({why}): choose another folder") from error
    return files


def read_release(path: Path) -> dict:
    """Reads released weights.

    Args:
        path: The .safetensors; the JSON of the same name lies beside it.

    Returns:
        As `read_checkpoint`: `state_dict`, and the card under `detector`.

    Raises:
        UserError: A file is missing, damaged, foreign, or of other weights.
    """
    about = read_about(path)
    try:
        found = _sha256(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    if found != about["weights"].get("sha256"):
        raise UserError(
            f"{path} holds other weights than {path.with_suffix('.json').name} tells of, or was"
            " damaged or cut short: get both files again"
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{path} is no safetensors file ({_line(error)}): get it again") from error
    _check_finite(tensors, path)
    return {"state_dict": tensors, "detector": about["detector"]}


def read_about(path: Path) -> dict:
    """The JSON beside released weights, checked as far as its own format goes.

    Args:
        path: The .safetensors.

    Returns:
        `detector`, the card; `weights`, with `file` and `sha256`; `licence`; and, where it is
        known, `measured` and `audit`.

    Raises:
        UserError: It is missing, damaged, foreign, or of another version.
    """
    file = path.with_suffix(".json")
    if not path.is_file():
        raise UserError(f"no released weights {path}: check the path")
    if not file.is_file():
        raise UserError(f"{path.name} needs {file.name} beside it: get that file too")

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        if file.stat().st_size > LONGEST:
            raise ValueError("it is too long")
        about = json.loads(file.read_text("utf-8"), parse_constant=no_constant)
        if not isinstance(about, dict) or about.get("kind") != KIND:
            raise ValueError(f'it is not of the kind "{KIND}"')
        if about.get("format") != FORMAT:
            raise UserError(
                f"{file} has format {about.get('format')!r:.40}, this version of detector reads"
                f" {FORMAT}: install the version that wrote it"
            )
        for key, kind in _TYPES.items():
            if not isinstance(about.get(key), kind):
                raise ValueError(f"{key} is missing or of another type")
        check_card(about["detector"], str(file))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file} does not describe weights of detector ({_line(error)}): get it again, or"
            " write it with python -m detector.export format=safetensors"
        ) from error
    if about["weights"].get("file") != path.name:
        told = str(about["weights"].get("file"))
        raise UserError(f"{file} describes {told!r:.80}, not {path.name}: keep the files' names")
    return about


def _name(path: Path) -> tuple[str, Path | None]:
    """As in folder names: `<data>-<model>`; and the run folder, where the checkpoint is in one."""
    run = path.parent.parent
    if not (run / "config.yaml").is_file():
        return path.stem, None
    return run.parent.name or run.name or path.stem, run  # a run may lie anywhere, also in /


def _known(run: Path | None) -> dict:
    """What the run measured, and what an audit found in its set; nothing of it names a path."""
    if run is None:
        return {"measured": None, "audit": None}
    from detector.run.card_facts import gather

    above = [run, *run.parents]
    facts = gather(run, above[min(3, len(above) - 1)])  # of runs/train/NAME/WHEN, runs
    return {"measured": _measured(facts.metrics), "audit": _audited(facts.audit)}


def _check_finite(tensors: Mapping, path: Path) -> None:
    import torch

    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"{path}: {key} is not finite; such a network answers nothing")


def _measured(metrics: Mapping) -> dict | None:
    from detector.evaluation.report import NAMES

    part = next((name for name in ("test", "val") if name in metrics), None)
    if part is None:
        return None
    found = metrics[part]
    counts = {key: found.get(key) for key in ("n", "n_fake", "n_real", "n_groups")}
    measures = {
        name: {key: found[name].get(key) for key in ("value", "low", "high")}
        for name in NAMES
        if isinstance(found.get(name), Mapping)
    }
    says = "95 % intervals, by group" + ("; chosen on this part" if part == "val" else "")
    return {"part": part, **counts, "intervals": says, "measures": measures}


def _audited(audit: Mapping | None) -> dict | None:
    """Of each property that tells the classes apart without a face, what the audit says."""
    if audit is None:
        return None
    from detector.evaluation.audit.words import TELLS

    tells = {
        name: {"title": each["title"], "says": each["says"], "auroc": each["auroc"]}
        for name, each in audit["properties"].items()
        if isinstance(each["auroc"], Mapping) and (each["auroc"].get("low") or 0) > TELLS
    }
    counts = ("count", "across_classes", "across_parts", "groups")  # the list names photographs
    pairs = {key: audit["pairs"].get(key) for key in counts}
    return {"data": audit["data"], "n": audit["n"], "tells": tells, "pairs": pairs}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
