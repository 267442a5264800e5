"""JSON of long lists, written a part at a time."""

import json
from collections.abc import Iterator, Mapping

AT_ONCE = 10_000  # entries of a list that are made text together


def pieces(content: Mapping) -> Iterator[str]:
    """A JSON object in parts: made at once, it would take kilobytes for each file of a set.

    Args:
        content: By name what JSON knows; lists that stand in it, or in an object in it, are long.

    Yields:
        Text; all of it together is the object.
    """
    yield "{"
    for at, (key, value) in enumerate(content.items()):
        yield f"{', ' if at else ''}{json.dumps(key)}: "
        if isinstance(value, dict):
            yield from pieces(value)
        elif isinstance(value, list):
            for start in range(0, max(1, len(value)), AT_ONCE):
                part = json.dumps(value[start : start + AT_ONCE])[1:-1]
                yield f"{', ' if start else '['}{part}"
            yield "]"
        else:
            yield json.dumps(value)
    yield "}"
