"""results.json for a person."""

import statistics

TITLES = {
    "cnn6": "cnn6, 224 px, batch 32",
    "cnn2": "cnn2, 300 px, batch 32",
    "loading": "Where pictures are augmented: cnn6, 224 px, batch 32",
    "growth": "Does it grow with the number of images?",
    "start": "Until something happens",
    "gpu": "On a GPU, 224 px",
}


def tables(results: dict) -> str:
    """Markdown: a section for each stage, with what it was measured on."""
    parts = [
        "# Speed and memory",
        "Printed by `make bench`; each round's figures are in results.json.",
    ]
    for name, title in TITLES.items():
        if name in results:
            one = results[name]
            parts += [f"## {title}", _machine(one), SECTIONS[name](one)]
    return "\n\n".join(parts) + "\n"


def _machine(one: dict) -> str:
    of = one["machine"]
    what = [of["processor"], f"{of['cores']} cores", f"{of['memory_gib']} GiB"]
    what += [of["gpu"]] if of["gpu"] else []
    what += [", ".join(of["instructions"]), of["system"]]
    what += [f"{name} {number}" for name, number in of["versions"].items()]
    return f"{one['measured']}: {'; '.join(what)}"


def _rows(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _training(one: dict) -> str:
    rates = [
        [way, f"{statistics.median(of['rates']):.1f}", _rate(of["validation_images_per_s"]),
         _megabytes(of["peak_mb"])]
        for ways in one["turns"].values() for way, of in ways.items()
    ]  # fmt: skip
    ratios = [
        [name, f"{of['median']:.2f}", f"{of['low']:.2f} to {of['high']:.2f}"]
        for name, of in one["ratios"].items()
    ]
    head = ["way", "training, images/s", "validation, images/s", "peak memory, MB"]
    return _rows(head, rates) + "\n\n" + _rows(["ratio", "median", "95 % interval"], ratios)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _growth(one: dict) -> str:
    kinds = ("index", "index, near copies")
    rows = [
        [row["files"], *(_index(row, kind) for kind in kinds), _megabytes(row["peak_anonymous_mb"])]
        for row in one["rows"]
    ]
    head = [
        "files", "index, s (anonymous memory, MB)", "with the search for near copies",
        "anonymous memory of an epoch of cnn3 at 64 px, MB",
    ]  # fmt: skip
    first, last = one["rows"][0], one["rows"][-1]
    more = (last["files"] - first["files"]) / 1000
    slopes = ["from the first to the last, for 1000 files"]
    slopes += [f"{(last[k] - first[k]) / more:.2f} s" for k in kinds]
    slopes.append(
        f"{((last['peak_anonymous_mb'] or 0) - (first['peak_anonymous_mb'] or 0)) / more:+.1f}"
    )
    return _rows(head, [*rows, slopes])


def _index(row: dict, kind: str) -> str:
    return f"{row[kind]:.1f} ({_megabytes(row[f'{kind}, MB'])})"


def _megabytes(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _start(one: dict) -> str:
    demos = ", ".join(f"{each:.0f}" for each in one["demo_s"])
    rows = [
        ["`--help`", f"{one['help_s']:.2f} s"],
        ["importing the libraries of a training", f"{one['imports_s']:.2f} s"],
        ["until the end of the first training step", f"{one['first_step_s']:.2f} s"],
        ["as a multiple of the imports", f"{one['first_step / imports']:.2f}"],
        ["`make demo` after installation, its faces made anew, three times", f"{demos} s"],
    ]
    return _rows(["what", "how long"], rows)


def _gpu(one: dict) -> str:
    rows = []
    for row in one["rows"]:
        ours, bare = row["detector"]["images_per_s"], row["bare"]["images_per_s"]
        rows.append([row["network"], row["batch"], f"{ours:.0f}", f"{bare:.0f}", row["bare"]["way"],
                     f"{ours / bare:.2f}"])  # fmt: skip
    return _rows(["network", "batch", "images/s", "bare step", "its way", "ratio"], rows)


SECTIONS = {
    "cnn6": _training,
    "cnn2": _training,
    "loading": _training,
    "growth": _growth,
    "start": _start,
    "gpu": _gpu,
}
