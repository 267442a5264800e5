"""Fakes of real faces with exact masks: `python -m detector.blend data=ciplab blend.out=FOLDER`."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from detector import cli

log = logging.getLogger(__name__)


def blend(cfg: DictConfig) -> Path:
    """Write self-blended images of a set, as `data=blended` reads them.

    Args:
        cfg: As `conf/blend.yaml` composes it; see `detector.cli.compose`.

    Returns:
        The folder.

    Raises:
        UserError: The config or the data is unusable, or the folder cannot be made.
    """
    import numpy as np  # heavy, as are all of these: --help should be quick
    from omegaconf import OmegaConf

    from detector.data.blended.masks import KINDS
    from detector.data.blended.write import write_blends
    from detector.data.listing import PAIR
    from detector.data.load import load_set
    from detector.data.preprocess import Preprocess
    from detector.data.split import PARTS
    from detector.errors import UserError
    from detector.rules import check, mapping, one_of, text, whole
    from detector.run.progress import bar, choose_progress

    rules = {
        "blend": mapping, "data": mapping, "paths": mapping, "seed": whole(0, 2**32 - 1),
        "progress": text, "paths.cache": text, "blend.out": text, "blend.images": whole(1),
        "blend.masks": one_of(*KINDS), "blend.part": one_of(*PARTS, "all"),
        "blend.preprocess": mapping,
    }  # fmt: skip
    check(cfg, rules)
    asked, (kind, _) = cfg.blend, choose_progress(cfg.progress)
    plain = OmegaConf.to_container(asked.preprocess, resolve=True)
    of_data = OmegaConf.to_container(cfg.data, resolve=True)
    preprocess = Preprocess.of_config(plain, of_data)
    cache = Path(cfg.paths.cache).expanduser()
    bars = (bar(kind, f"preparing {cfg.data.name}"), bar(kind, "blending"))
    faces = load_set(cfg.data, cache, bars[0], one_class=True)
    index = faces.index
    if tuple(index.class_names) != PAIR:
        raise UserError(f"{index.name} does not tell which of its images are real")
    of_part = np.full(len(index), True) if asked.part == "all" else faces.parts == asked.part
    rows = np.flatnonzero(of_part & (index.labels == 1))
    folder = Path(asked.out).expanduser().resolve()
    without = write_blends(
        folder, index, rows, preprocess,
        images=asked.images, masks=asked.masks, seed=cfg.seed, progress=bars[1],
    )  # fmt: skip
    log.info(
        "blends in %s (%d images passed over, where no face was found); read them with"
        " data=blended data.root=%s", folder, without, folder,
    )  # fmt: skip
    return folder


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("blend", lambda cfg: print(blend(cfg)))


if __name__ == "__main__":
    main()
