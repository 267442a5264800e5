"""What the model card says of the audit of the set."""

from detector.evaluation.audit.words import TELLS
from detector.evaluation.report import shown
from detector.run.card_facts import Facts, code, is_known, safe

WORST = 5  # properties of the audit that are named


def audit_lines(facts: Facts) -> list[str]:
    """Markdown: what tells the classes of the set apart without a face, as its audit has it."""
    command = code(facts.command("audit"))
    if facts.audit is None:
        looks = f"{command} looks for what gives the classes away without a face."
        return [f"Not audited: {facts.no_audit}{looks}"]
    audit = facts.audit
    pairs = audit["pairs"]
    known = [p for p in audit["properties"].values() if is_known(p["auroc"])]
    tells = [p for p in known if p["auroc"]["low"] > TELLS]
    tells.sort(key=lambda p: -p["auroc"]["value"])
    lines = [f"From an audit of {audit['n']} images ({code(str(facts.audit_path))})."]
    if facts.other_split:
        lines += ["", f"**{facts.other_split}**"]
    lines += ["", "AUROC of one property alone, no network:", ""]
    lines += [f"- {shown(p['auroc'])} {safe(p['title'])}: {safe(p['says'])}" for p in tells[:WORST]]
    lines += ["- none is surely above .55"] if not tells else []
    lines += [f"- and {len(tells) - WORST} more above .55"] if len(tells) > WORST else []
    sure = [line for p in audit["properties"].values() for line in p.get("certain", ())]
    if sure:
        lines += ["", "What gives some images away for sure:", "", *(f"- {safe(s)}" for s in sure)]
    lines += [
        "",
        f"Pairs that belong together: {int(pairs['count'])}, of which"
        f" {int(pairs['across_classes'])} across the classes and {int(pairs['across_parts'])}"
        f" across the split{' of the audit' if facts.other_split else ''}.",
    ]
    return lines
