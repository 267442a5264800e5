"""The parity report as a table."""

from collections.abc import Mapping

NAMES = {"onnx": "ONNX", "litert": "LiteRT"}


def markdown(report: Mapping) -> str:
    """A table of the network beside the exported file.

    Args:
        report: As `detector.deploy.session` writes it.
    """
    check, ranked, size = report["check"], report["auroc"], report["bytes"]
    name = NAMES[report["format"]] + (" int8" if report["int8"] else "")
    lines = [
        f"| {report['network']} | torch | {name} |",
        "| --- | --- | --- |",
        f"| size, MB | {size['before'] / 1e6:.2f} (weights) | {size['after'] / 1e6:.2f} |",
        "| latency of one image, ms | {before:.1f} | {after:.1f} |".format(**report["latency_ms"]),
    ]
    if ranked:
        lines.append(
            f"| AUROC, {ranked['on']}, {ranked['n']} images | {interval(ranked['before'])} |"
            f" {interval(ranked['after'])} |"
        )
        lines.append(f"| AUROC lost | | {interval(ranked['drop'], '+.4f')} |")
    lines += [
        f"| largest difference of p_fake, {check['on']}, {check['n']} images | |"
        f" {check['p_fake']:.2g} |",
        f"| largest difference of a logit | | {check['logits']:.2g} |",
    ]
    if check["features"] is not None:
        lines.append(f"| of a feature, over the largest | | {check['features']:.2g} |")
    lines += [
        f"| verdicts that flip | | {check['flips']} of {check['n']} |",
        f"| verdicts that become unsure or sure | | {check['unsure']} of {check['n']} |",
    ]
    return "\n".join(lines)


def interval(measure: Mapping, form: str = ".3f") -> str:
    """A value with its interval."""
    value, low, high = (format(measure[key], form) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
