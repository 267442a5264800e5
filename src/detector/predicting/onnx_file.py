"""What an ONNX file holds, read before anything of it is run.

A file may come from a stranger, and ONNX Runtime does what a file says: it opens other files that
it names as its weights, and looks for the code of operators of other makers. So the file's
protobuf messages are walked here first, by the wire format alone (protobuf.dev, "Encoding"; the
numbers of the fields are those of onnx.proto), as the package `onnx` is not needed to predict.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from detector.errors import UserError

KEY = "detector"  # of the card among the file's metadata
MAX_BYTES = 2**31 - 1  # of any protobuf message
ORT = b"ORTM"  # bytes 4 to 8 of a file that ONNX Runtime takes for its own format
STANDARD = ("", "ai.onnx")  # domains of operators that every runtime has

_MODEL = {"graph": 7, "opset_import": 8, "metadata": 14, "training": 20, "function": 25}
_GRAPH = {"node": 1, "initializer": 5, "sparse_initializer": 15}
_NODE = {"attribute": 5, "domain": 7}
_ATTRIBUTE = {"tensor": 5, "graph": 6, "tensors": 10, "graphs": 11, "sparse": 22, "sparses": 23}
_TENSOR = {"external_data": 13, "data_location": 14}


class _Damaged(ValueError):
    """The bytes are no such message."""


def read_onnx(path: Path | str) -> tuple[bytes, dict]:
    """An exported network and its card.

    Args:
        path: A file that `detector.export` wrote.

    Returns:
        The whole file, which refers to nothing outside it, and the card, of which only that it is
        a JSON object is known.

    Raises:
        UserError: There is no such file, or it is damaged, or made by something else, or holds
            what a file of this project never does.
    """
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than an ONNX file can be (2 GB): export again")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror}): make one with python -m detector.export"
        ) from error
    if data[4:8] == ORT:  # may be an ONNX file too, which is not what ONNX Runtime would read
        raise UserError(
            f"{path} is in ONNX Runtime's own format, which is refused: give an ONNX file, as"
            " python -m detector.export writes it"
        )
    try:
        card = _card(memoryview(data))
    except (_Damaged, RecursionError, ValueError) as error:
        if isinstance(error, UserError):
            raise UserError(f"{path}: {error}") from None
        raise UserError(
            f"{path} is not a whole ONNX file of detector ({error}): export it again with"
            " python -m detector.export"
        ) from error
    return data, card


def _card(model: memoryview) -> dict:
    card, graphs = None, 0
    for number, value in _fields(model):
        if number in (_MODEL["function"], _MODEL["training"]):
            raise UserError("it brings operators or a training of its own, which is refused")
        if number == _MODEL["opset_import"]:
            for inner, name in _fields(_message(value)):
                if inner == 1:
                    _check_domain(name)
        elif number == _MODEL["graph"]:
            graphs += 1
            _check_graph(_message(value))
        elif number == _MODEL["metadata"]:
            entry = dict(_fields(_message(value)))
            if bytes(_message(entry.get(1, b""))) == KEY.encode():
                card = bytes(_message(entry.get(2, b"")))
    if not graphs:
        raise _Damaged("it holds no network")
    if card is None:
        raise _Damaged(f"it has no {KEY!r} among its metadata")
    plain = json.loads(card.decode("utf-8"), parse_constant=_not_finite)
    if not isinstance(plain, dict):
        raise _Damaged("its card is no JSON object")
    return plain


def _check_graph(graph: memoryview) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH["initializer"]:
            _check_tensor(_message(value))
        elif number == _GRAPH["sparse_initializer"]:
            raise UserError("it holds sparse weights, which is refused")
        elif number == _GRAPH["node"]:
            _check_node(_message(value))


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node):
        if number == _NODE["domain"]:
            _check_domain(value)
        elif number == _NODE["attribute"]:
            for inner, held in _fields(_message(value)):
                if inner in (_ATTRIBUTE["tensor"], _ATTRIBUTE["tensors"]):
                    _check_tensor(_message(held))
                elif inner in _ATTRIBUTE.values():
                    raise UserError("it holds loops, branches or sparse tensors, which is refused")


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        outside = number == _TENSOR["data_location"] and value != 0
        if outside or number == _TENSOR["external_data"]:
            raise UserError(
                "it keeps weights in other files, which is refused: give a file that holds them"
                " itself, as python -m detector.export writes it"
            )


def _check_domain(value: int | memoryview) -> None:
    name = bytes(_message(value)).decode("utf-8", "replace")
    if name not in STANDARD:
        raise UserError(f"it needs operators of {name[:40]!r}, which is refused")


def _message(value: int | bytes | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _Damaged("a number stands where a message should")
    return memoryview(value)


def _not_finite(name: str) -> None:
    raise _Damaged(f"its card holds {name}")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an int for a varint, else the bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _Damaged("a field has no number")
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _Damaged("it is no protobuf message")
        if length > end - at:
            raise _Damaged("it is cut short")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise _Damaged("it is cut short")
        byte = message[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise _Damaged("a number has no end")
