"""What a model card says of the pictures that a network takes: how cut, and which it refuses."""

from detector.evaluation.refused import in_words
from detector.evaluation.report import shown
from detector.run.card_facts import Facts, code

PARTS = {"val": "Validation", "test": "Test"}


def crop_lines(facts: Facts) -> list[str]:
    """What is cut out of each picture; nothing where whole pictures are seen."""
    data, counted = facts.config["data"], facts.metrics.get("training", {}).get("crop")
    if not data.get("crop"):
        return []
    line = f"- crop: the largest face, with {data['crop_margin']:g} of its longer side around it"
    line += ", turned so that the eyes are level" if data.get("crop_align") else ""
    if counted:
        line += (
            f"; in {int(counted['without_a_face'])} of {int(counted['images'])} training images"
            " none was found, and they are whole"
        )
    return [line]


def gate_lines(facts: Facts) -> list[str]:
    """Whether there is a gate, and how many of its own test pictures it refuses."""
    gate = facts.metrics.get("gate")
    if not gate:
        return ["No gate: a picture of anything at all gets a score, and a verdict."]
    lines = [
        "A gate on the features before its last layer, fitted on validation"
        f" ({int(gate['n'])} images), lets a prediction be unsure of pictures unlike those.",
    ]
    for part in PARTS:
        found = facts.metrics.get(part, {}).get("refused")
        for line in in_words(found, found and shown(found["share"]), gate["alpha"]):
            lines += ["", f"- {part}: {line}"]
    command = code(facts.command("evaluate", "data=..."))
    return [*lines, "", f"How many it refuses of another set: {command}."]
