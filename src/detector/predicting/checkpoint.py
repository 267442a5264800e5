"""Checkpoints of trainings, read as data."""

import pickle
from pathlib import Path

from detector.errors import UserError
from detector.predicting.card import check_card


def read_checkpoint(path: Path | str) -> dict:
    """Load a checkpoint of this project without running anything in it.

    Args:
        path: A file that `detector.train` wrote.

    Returns:
        The checkpoint, with `state_dict` and the card under `detector`.

    Raises:
        UserError: There is no such file, or it is not one of ours.
    """
    import torch  # takes seconds, which `import detector.predictor` should not

    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no checkpoint {path}: train one with python -m detector.train")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        check_card(checkpoint["detector"], str(path))
        if not isinstance(checkpoint["state_dict"], dict):
            raise KeyError("state_dict")
    except UserError:
        raise
    except (
        RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError,
        ValueError, OSError, IndexError,
    ) as error:  # fmt: skip
        kind = type(error).__name__
        raise UserError(
            f"{path} is not a whole checkpoint of detector ({kind}): give a best.ckpt or"
            " last.ckpt that python -m detector.train wrote"
        ) from error
    return checkpoint
