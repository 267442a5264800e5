"""Sets by their names on a command line: the configs of `conf/data`, several at once."""

import shlex
from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from detector import cli
from detector.data.crop import FaceCrop
from detector.errors import UserError
from detector.rules import flat


def compose_sets(
    sets: Sequence[str],
    shared: DictConfig,
    *,
    usual: Mapping[str, object],
    setting: str,
    **above: object,
) -> dict[str, DictConfig]:
    """Configs of sets, by the name of each.

    Args:
        sets: Names of configs in `conf/data`, each with overrides of the set where needed,
            separated by spaces and quoted as in a shell.
        shared: The `data` settings of the command. Where they differ from `usual`, they go for
            each set that does not say otherwise itself.
        usual: The command's own `data` settings by default, flat; others are not passed on.
        setting: Name of the list on the command line, for messages.
        **above: `data_root` and what else stands above `data`; goes for each set.

    Raises:
        UserError: None is given, one is unknown, or two have one name.
    """
    if not sets:
        raise UserError(f"{setting}=[]: give names of sets; there is {', '.join(known_sets())}")
    groups = {key.split(".")[0] for key in usual}  # normalize is null, or has settings below it
    common = {
        key: value
        for key, value in flat(shared).items()
        if key.split(".")[0] in groups and usual.get(key) != value
    }
    found: dict[str, DictConfig] = {}
    for entry in sets:
        composed = _compose(entry, common, setting)
        for key, value in above.items():
            composed[key] = value
        name = OmegaConf.select(composed, "data.name")
        if name in found:
            raise UserError(
                f"{setting}: two are called {name}: give one another name, as"
                f' "{entry} data.name=..."'
            )
        found[name] = composed.data
    return found


def known_sets() -> list[str]:
    """Names of the configs in `conf/data`."""
    return sorted(file.stem for file in (cli.conf_dir() / "data").glob("*.yaml"))


def members(cfg: DictConfig) -> dict[str, DictConfig]:
    """Configs of the sets that `data=joint` puts together, by name.

    Args:
        cfg: The `data` group of the config: `sets`, `root` (the folder of the sets' folders),
            and what goes for all of them.

    Raises:
        UserError: As `compose_sets`; or fewer than two sets, one that is itself joint, or one
            with a normalizer or a crop of its own.
    """
    usual = flat(cli.compose("evaluate", []).data)
    found = compose_sets(
        list(cfg.sets), cfg, usual=usual, setting="data.sets", data_root=str(cfg.root)
    )
    if len(found) < 2:
        raise UserError(
            f"data.sets={list(cfg.sets)}: give two or more; one alone is data={cfg.sets[0]}"
        )
    for name, one in found.items():
        if one.source == "joint":
            raise UserError(f"data.sets: {name} is several sets itself: name them instead")
        if one.get("normalize") != cfg.get("normalize"):
            raise UserError(
                f"data.sets: {name} has a normalizer of its own, but one network has one:"
                " give data.normalize= for all"
            )
        if FaceCrop.of_config(one) != FaceCrop.of_config(cfg):
            raise UserError(
                f"data.sets: {name} has a crop of its own, but one network has one: give data.crop="
                " for all"
            )
    return found


def _compose(entry: str, common: Mapping[str, object], setting: str) -> DictConfig:
    try:
        name, *overrides = shlex.split(entry) or [""]
    except ValueError as error:
        raise UserError(
            f"{setting}: cannot read {entry!r} ({error}): close what is quoted"
        ) from None
    if name not in known_sets():
        raise UserError(f"{setting}: there is no set {name!r}; there is {', '.join(known_sets())}")
    for override in overrides:
        if not override.lstrip("+").startswith(("data.", f"{name}.")) or "=" not in override:
            raise UserError(
                f"{setting}: {override!r} after {name} is no setting of the set: write"
                " data.root=/a/b"
            )
    try:
        composed = cli.compose("evaluate", [f"data={name}", *overrides])
    except UserError as error:
        raise UserError(f"{setting}: {entry}: {error}") from error
    own = {override.lstrip("+").partition("=")[0] for override in overrides}
    for key, value in common.items():
        if f"data.{key}" not in own:
            OmegaConf.update(composed, f"data.{key}", value, force_add=True)
    return composed
