"""Fills README.md's table from what the exports of study.sh found, and from latency.json.

python experiments/2026-11-21-exports/collect.py [RUNS]
"""

import json
import re
import sys
from pathlib import Path

from detector.deploy.report import interval

HERE = Path(__file__).parent
NAMES = ("cnn6", "mobilenetv2", "lite0")
FORMS = {
    "onnx": ("ONNX", "best.onnx"),
    "onnx-int8": ("ONNX int8", "best-int8.onnx"),
    "litert": ("LiteRT", "best.tflite"),
    "litert-int8": ("LiteRT int8", "best-int8.tflite"),
}


def report(exports: Path, file: str) -> dict | None:
    """What the check of a file found, kept or not; None where it was not exported yet."""
    for name in (f"{file}.json", f"{file}.rejected.json"):
        if (exports / name).is_file():
            return json.loads((exports / name).read_text())
    return None


def times_of(exports: Path, name: str) -> dict[str, float]:
    """Milliseconds by form: latency.json's; without it, the checks' own, torch's from the first."""
    measured = HERE / "latency.json"
    if measured.is_file():
        return json.loads(measured.read_text())["ms"][name]
    found = {form: report(exports, file) for form, (_, file) in FORMS.items()}
    times = {form: one["latency_ms"]["after"] for form, one in found.items() if one}
    return times | {"torch": found["onnx"]["latency_ms"]["before"]}


def table(runs: Path) -> str:
    lines = [
        "| network | form | size, MB | one image, ms | test AUROC | AUROC lost |"
        " largest difference of p_fake | flips, validation | flips, test | kept |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in NAMES:
        (exports,) = runs.glob(f"{name}/train/*/*/exports")
        times, first = times_of(exports, name), report(exports, "best.onnx")
        lines.append(
            f"| {name} | torch | {first['bytes']['before'] / 1e6:.2f} |"
            f" {times['torch']:.1f} | {interval(first['auroc']['before'])} | | | | | |"
        )
        for form, (words, file) in FORMS.items():
            if (one := report(exports, file)) is None:
                lines.append(f"| {name} | {words} | not exported yet | | | | | | | |")
                continue
            check, ranked = one["check"], one["auroc"]
            lines.append(
                f"| {name} | {words} | {one['bytes']['after'] / 1e6:.2f} |"
                f" {times[form]:.1f} |"
                f" {interval(ranked['after'])} | {interval(ranked['drop'], '+.3f')} |"
                f" {check['p_fake']:.1g} | {check['flips']} of {check['n']} |"
                f" {ranked['flips']} of {ranked['n']} | {'no' if one['off'] else 'yes'} |"
            )
    return "\n".join(lines)


def main(runs: str = "runs/exports") -> None:
    readme = HERE / "README.md"
    marks = r"(<!-- table: printed by collect.py -->\n).*?(<!-- end -->)"
    made = table(Path(runs))
    text, count = re.subn(marks, rf"\g<1>{made}\n\g<2>", readme.read_text(), flags=re.S)
    if count != 1:
        sys.exit("README.md has no place for the table")
    readme.write_text(text)
    print(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
