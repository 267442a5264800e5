"""The files of a form, multipart/form-data, in time that grows with its size alone.

One of a stranger may have millions of parts, headers without an end, or a boundary of one letter:
the parts, their headers and the boundary are bounded, and each byte is looked at a few times.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from detector.page.receive import Refused

NAME = 80  # letters
HEAD = 8000  # bytes of a part's header
BOUNDARY = 70  # letters (RFC 2046, 5.1.1)
FIELDS = 8  # parts that are no files, which Gradio's script or a program may add
OPTION = re.compile(r""";\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))""", re.S)


@dataclass(frozen=True)
class Sent:
    """A file of a request; its name is without folders."""

    name: str
    data: bytes


def files_of(
    body: bytes | bytearray, content_type: str, disposition: str = "", *, most: int
) -> list[Sent]:
    """The files of a request: parts of multipart/form-data with a name, or the body itself.

    Args:
        body: Of the request.
        content_type: Its header.
        disposition: Its header, which may name a bare body.
        most: Files.

    Raises:
        Refused: The multipart is damaged (400), or has more files (413).
    """
    if _word(content_type) != "multipart/form-data":
        return [Sent(clean_name(file_name(disposition) or ""), bytes(body))]
    boundary = options(content_type).get("boundary", "").encode("latin-1", "replace")
    mark = b"--" + boundary
    if not 1 <= len(boundary) <= BOUNDARY or not body.startswith(mark):
        raise Refused(400, "the multipart body does not begin with its boundary")
    found, parts, at = [], 0, len(mark)
    mark = b"\r\n" + mark
    while not body.startswith(b"--", at):
        end = body.find(mark, at)
        if end < 0:
            raise Refused(400, "the multipart body has no end: it was cut short")
        gap = body.find(b"\r\n\r\n", at, min(end, at + HEAD))
        if gap < 0:
            raise Refused(400, f"a part of the multipart body has no header within {HEAD} bytes")
        name = _part_name(body[at:gap].decode("utf-8", "replace"))
        parts += 1
        if name is not None:
            found.append(Sent(clean_name(name), bytes(body[gap + 4 : end])))
        if len(found) > most:
            raise Refused(413, f"more than {most} files: send {most} at most")
        if parts > most + FIELDS:
            raise Refused(400, f"more than {most + FIELDS} parts in the multipart body")
        at = end + len(mark)
    return found


def options(value: str) -> dict[str, str]:
    """The options of a header, `; key=value` or `; key="value"`, keys in small letters."""
    found = {}
    for key, quoted, bare in OPTION.findall(value):
        found[key.lower()] = re.sub(r'\\(["\\])', r"\1", quoted) or bare
    return found


def file_name(disposition: str) -> str | None:
    """The file's name that a Content-Disposition gives, also as RFC 5987 has it; None without."""
    known = options(disposition)
    charset, *coded = known.get("filename*", "").split("'", 2)  # and a language, between quotes
    if len(coded) == 2:
        return unquote(coded[1], "latin-1" if charset.lower() == "iso-8859-1" else "utf-8")
    return known.get("filename")


def clean_name(name: str) -> str:
    """A file's name as it is shown: no folders, printable, short."""
    last = re.split(r"[/\\]", name)[-1]
    kept = " ".join("".join(c if c.isprintable() else " " for c in last).split())
    if not kept.strip("."):
        return "picture"
    return kept if len(kept) <= NAME else f"{kept[: NAME - 1]}…"


def _part_name(head: str) -> str | None:
    """Of the file that a part is; None for another field. The first disposition counts."""
    for line in head.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            return file_name(value)
    return None


def _word(value: str) -> str:
    return value.partition(";")[0].strip().lower()
