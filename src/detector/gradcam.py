"""Where does a network look? `python -m detector.gradcam image=easy_107_1011.jpg`."""

from omegaconf import DictConfig

from detector import cli
from detector.errors import UserError


def gradcam(cfg: DictConfig) -> dict:
    """Explain one picture or a folder of them, or measure the maps of a whole set.

    Args:
        cfg: As `conf/gradcam.yaml` composes it; see `detector.cli.compose`.

    Returns:
        Of `mode=picture`: `folder`; `pictures`, what the JSON of each holds, a panel beside it;
        `failed`, path and error of each that could not be read. Of `mode=scorecard`: what
        scorecard.json holds, and `folder`.

    Raises:
        UserError: The config, the checkpoint, the picture or the set is unusable.
    """
    # Heavy imports: --help should be quick.
    if cfg.mode == "picture":
        from detector.explain.session import Explanation

        return Explanation(cfg).run()
    if cfg.mode == "scorecard":
        from detector.explain.scored_set import ScoredSet

        return ScoredSet(cfg).run()
    raise UserError(f"mode={cfg.mode}: choose picture or scorecard")


def _main(cfg: DictConfig) -> None:
    if gradcam(cfg).get("failed"):
        raise SystemExit(1)


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("gradcam", _main)


if __name__ == "__main__":
    main()
