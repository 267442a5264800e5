"""What a property gives away, in a sentence."""

from collections.abc import Mapping, Sequence

from detector.evaluation.audit.properties import PROPERTIES
from detector.evaluation.scores import FAKE, REAL

TELLS = 0.55  # a property is worth a sentence where its interval lies above this
ALIKE = 0.58  # AUROC by value alone; below it, a difference is one of spread


def sentence(key: str, measured: Mapping, class_names: Sequence[str]) -> str:
    """The difference between the classes, plainly.

    Args:
        key: Of `PROPERTIES`.
        measured: As `measure_properties` gives it.
        class_names: Of label 0 and 1.
    """
    fake, real = (measured["by_class"][label] for label in (FAKE, REAL))
    if not fake or not real:
        return f"{PROPERTIES[key].title}: not known of both classes"
    if measured["kind"] == "number":
        return _of_number(key, measured, class_names)
    title = PROPERTIES[key].title
    values = dict.fromkeys([*real, *fake])
    if len(values) == 1:
        return f"{title}: {next(iter(values))}, all images"
    most = max(values, key=lambda value: abs(fake.get(value, 0) - real.get(value, 0)))
    shares = [share(of.get(most, 0)) for of in (real, fake)]
    return (
        f"{title} {most}: {shares[0]} {class_names[REAL]}, {shares[1]} {class_names[FAKE]} images"
    )


def _of_number(key: str, measured: Mapping, class_names: Sequence[str]) -> str:
    known, digits = PROPERTIES[key], PROPERTIES[key].digits
    fake, real = (measured["by_class"][label] for label in (FAKE, REAL))
    higher, low = measured["fake_higher"], measured["auroc"]["low"]
    if low is None or low <= 0.5:
        return f"{known.title}: no clear difference"

    def middle(of: Mapping) -> str:
        return f"{of['low_quartile']:.{digits}f} to {of['high_quartile']:.{digits}f}"

    if max(higher, 1 - higher) < ALIKE:
        spread = [of["high_quartile"] - of["low_quartile"] for of in (fake, real)]
        steady, other = (FAKE, REAL) if spread[0] < spread[1] else (REAL, FAKE)
        halves = [middle(measured["by_class"][label]) for label in (steady, other)]
        return (
            f"{known.title} varies less in {class_names[steady]} images"
            f" (middle half {halves[0]}; {class_names[other]} {halves[1]})"
        )
    return (
        f"{class_names[FAKE]} images are {known.more if higher > 0.5 else known.less} (median"
        f" {fake['median']:.{digits}f}; {class_names[REAL]} {real['median']:.{digits}f})"
    )


def certain(key: str, measured: Mapping, class_names: Sequence[str]) -> list[str]:
    """What `exclusive` found, a sentence for each class."""
    return [
        f"{PROPERTIES[key].title} {only['example']}{_more(only['values'] - 1)}:"
        f" {share(only['share'])} {class_names[label]} images,"
        f" (nearly) no {class_names[1 - label]} image"
        for label, only in measured["only"].items()
    ]


def _more(n: int) -> str:
    return f" and {n} more" if n else ""


def share(share: float) -> str:
    """A share of a class, to stand before its name."""
    if share in (0.0, 1.0):
        return "no" if share == 0 else "all"
    text = f"{100 * share:.0f}" if 0.01 <= share <= 0.99 else f"{100 * share:.1f}"
    return f"{text} % of"
