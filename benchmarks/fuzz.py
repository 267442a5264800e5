"""Does any damaged file crash the predictor, hang it, or get an answer that it should not?

    python benchmarks/fuzz.py 10000 [SEED]

Rendered faces as JPEG, PNG and WebP are damaged in the ways of `MUTATIONS`, one or two at a time,
and handed to `Predictor.predict` by path, in a process of its own that is watched: five seconds a
picture. A file counts as undecodable where Pillow itself, told to be strict, cannot load all of
it; such a file must get no answer. The other way round is no error, as `detector.data.decode` is
the stricter of the two. What was found last time is in benchmarks/README.md.

The exit code is 1 if anything crashed, hung or was answered though undecodable.
"""

import io
import json
import multiprocessing
import os
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

LIMIT = 5.0  # seconds a picture
FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
ANSWERED, REFUSED, CRASHED, HUNG = "answered", "refused", "crashed", "hung"
WRONG = "answered though undecodable"


@dataclass(frozen=True)
class Damaged:
    """A file that was damaged.

    Args:
        data: Its bytes.
        suffix: Of its name.
        how: The names of what was done to it.
        fmt: What it was before.
    """

    data: bytes
    suffix: str
    how: str
    fmt: str


def sources(n: int = 6, size: int = 128) -> dict[str, list[bytes]]:
    """Good files of rendered faces, by format: plain, with EXIF, grey, with alpha, progressive."""
    from detector.data.synthetic.portrait import paint

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    found: dict[str, list[bytes]] = {name: [] for name in FORMATS}
    for seed in range(n):
        face = paint((seed,), size=size, difficulty="mid", parts=(False,) * 4, fake=False)[0]
        image = Image.fromarray(face)
        alpha = Image.fromarray(np.dstack([face, face[..., :1]]))
        for fmt, made, options in (
            ("JPEG", image, {"quality": 85, "exif": exif}),
            ("JPEG", image, {"quality": 60, "progressive": True}),
            ("JPEG", image.convert("L"), {}), ("JPEG", image.convert("CMYK"), {}),
            ("PNG", image, {"exif": exif}), ("PNG", alpha, {}), ("PNG", image.quantize(64), {}),
            ("PNG", image.convert("L"), {}), ("WEBP", image, {"exif": exif}),
            ("WEBP", alpha, {"lossless": True}), ("WEBP", image, {"quality": 40}),
        ):  # fmt: skip
            stream = io.BytesIO()
            made.save(stream, fmt, **options)
            found[fmt].append(stream.getvalue())
    return found


def flip_bytes(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """One to thirty bytes become others, anywhere."""
    out = np.frombuffer(data, np.uint8).copy()
    at = rng.integers(0, len(out), int(rng.integers(1, 31)))
    out[at] = rng.integers(0, 256, len(at))
    return out.tobytes()


def flip_bit(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """A single bit."""
    out = bytearray(data)
    out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def cut(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """The end is missing, from one byte to all but a few."""
    few = int(rng.integers(1, 40)) if rng.random() < 0.3 else int(rng.integers(1, len(data)))
    return data[: len(data) - few]


def damage_header(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """Bytes among the first forty: the signature, the sizes."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        out[int(rng.integers(min(40, len(out))))] = int(rng.integers(256))
    return bytes(out)


def lie_of_length(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """A segment or chunk claims another length; of PNG the checksums are made to fit again."""
    out, wrong = bytearray(data), int(rng.choice([0, 1, 2, 255, 65535, 2**31 - 1, 2**32 - 1]))
    if data[:2] == b"\xff\xd8":
        places = [at for at in range(2, len(data) - 4) if data[at] == 0xFF and data[at + 1] > 0xBF]
        if places:
            at = int(rng.choice(places[:12]))
            out[at + 2 : at + 4] = struct.pack(">H", wrong % 65536)
        return bytes(out)
    places, at = [], 12 if data[:4] == b"RIFF" else 8
    order = "<" if at == 12 else ">"
    while at + 8 <= len(data):
        places.append(at)
        length = struct.unpack_from(f"{order}I", data, at + (4 if order == "<" else 0))[0]
        at += 8 + length + (length % 2 if order == "<" else 4)
    at = int(rng.choice(places)) if places else 0
    where = at + (4 if order == "<" else 0)
    out[where : where + 4] = struct.pack(f"{order}I", wrong)
    return bytes(out)


def lie_of_size(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """A PNG whose header, with a valid checksum, tells another size or kind; else as above."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        return damage_header(data, rng, _)
    head = bytearray(data[12:29])
    if rng.random() < 0.5:
        value = int(rng.choice([0, 1, 129, 20_000, 2**31 - 1, 2**32 - 1]))
        struct.pack_into(">I", head, int(rng.choice([4, 8])), value)
    else:
        head[int(rng.integers(12, 17))] = int(rng.integers(256))
    return data[:12] + bytes(head) + struct.pack(">I", zlib.crc32(head)) + data[33:]


def damage_exif(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """Bytes within the block of EXIF, or a made-up one with nonsense in it."""
    at = max(data.find(b"Exif\0\0"), data.find(b"eXIf"), data.find(b"EXIF"))
    if at < 0:
        nonsense = b"Exif\0\0" + rng.bytes(int(rng.integers(0, 200)))
        if data[:2] != b"\xff\xd8":
            return flip_bit(data, rng, _)
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(nonsense) + 2) + nonsense + data[2:]
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 20))):
        out[min(len(out) - 1, at + int(rng.integers(0, 80)))] = int(rng.integers(256))
    return bytes(out)


def splice(data: bytes, rng: np.random.Generator, other: Callable[[], bytes]) -> bytes:
    """The head of one file and the tail of another, often of another format."""
    more = other()
    return data[: int(rng.integers(1, len(data)))] + more[int(rng.integers(0, len(more))) :]


def repeat(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """A piece of the file stands in it twice, or is left out, or is all zero."""
    a, b = sorted(rng.integers(0, len(data), 2).tolist())
    middle = (data[a:b] * 2, b"", bytes(b - a))[int(rng.integers(3))]
    return data[:a] + middle + data[b:]


def append(data: bytes, rng: np.random.Generator, other: Callable[[], bytes]) -> bytes:
    """Something follows the end."""
    return data + (other() if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 5000))))


def random_bytes(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """Nothing but noise, half of the time behind a right signature."""
    noise = rng.bytes(int(rng.integers(1, 5000)))
    return data[:12] + noise if rng.random() < 0.5 else noise


def empty(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """No byte, or only zeros, or only the signature."""
    return (b"", bytes(int(rng.integers(1, 100))), data[: int(rng.integers(1, 13))])[
        int(rng.integers(3))
    ]


def wrong_suffix(data: bytes, rng: np.random.Generator, _: Callable) -> bytes:
    """As it is; `mutated` gives it another name."""
    return data


MUTATIONS = {
    made.__name__: made
    for made in (
        flip_bytes, flip_bit, cut, damage_header, lie_of_length, lie_of_size, damage_exif, splice,
        repeat, append, random_bytes, empty, wrong_suffix,
    )
}  # fmt: skip


def mutated(good: dict[str, list[bytes]], seed: int) -> Damaged:
    """The file of a number: the same each time."""
    rng = np.random.default_rng((8, seed))

    def one() -> bytes:
        files = good[list(FORMATS)[int(rng.integers(len(FORMATS)))]]
        return files[int(rng.integers(len(files)))]

    fmt = list(FORMATS)[seed % len(FORMATS)]
    data = good[fmt][int(rng.integers(len(good[fmt])))]
    names = [str(name) for name in rng.choice(list(MUTATIONS), 1 + (rng.random() < 0.25))]
    for name in names:
        if data:
            data = MUTATIONS[name](data, rng, one)
    suffix = FORMATS[fmt]
    if "wrong_suffix" in names:
        suffix = [".png", ".jpg", ".webp", ".gif", ".txt", ""][int(rng.integers(6))]
    return Damaged(data, suffix, "+".join(names), fmt)


def loads(data: bytes) -> bool:
    """Pillow's own judgement: whether it loads the whole (first) picture, being strict."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data)).load()
    except Exception:  # some fifteen types
        return False
    return True


def _serve(pipe: Connection) -> None:
    """A process that answers: paths come, what became of them goes."""
    import torch

    from detector.data.preprocess import Preprocess
    from detector.errors import UserError
    from detector.models.build import build_network
    from detector.predictor import Predictor, make_card

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = {"name": "cnn3", "dropout": 0.5}
    preprocess = Preprocess(64, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 50_000_000)
    network = build_network(**net, size=64, classes=2)
    card = make_card(net, preprocess, ("fake", "real"), "none")
    predictor = Predictor({"state_dict": network.state_dict(), "detector": card}, "fuzz")
    pipe.send("ready")
    while (path := pipe.recv()) is not None:
        try:
            pipe.send((ANSWERED, predictor.predict(path).verdict))
        except UserError as error:
            pipe.send((REFUSED, str(error)))
        except BaseException as error:
            pipe.send((CRASHED, f"{type(error).__name__}: {error}"))


class Watched:
    """A process that predicts, killed and begun again where it takes too long or dies."""

    def __init__(self) -> None:
        self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def predict(self, path: str, limit: float = LIMIT) -> tuple[str, str]:
        """What becomes of a file, in one word, and what was said.

        It hangs if it does so twice: the whole machine may have been stopped the first time.
        """
        found = self._predict(path, limit)
        return self._predict(path, limit) if found[0] == HUNG else found

    def _predict(self, path: str, limit: float) -> tuple[str, str]:
        if self._process is None:
            self._start()
        try:
            self._pipe.send(path)
            if self._pipe.poll(limit):
                return self._pipe.recv()
            found = HUNG, f"more than {limit:g} s"
        except (EOFError, OSError):
            self._process.join()
            found = CRASHED, f"the process died with {self._process.exitcode}"
        self.close()
        return found

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def fuzz(n: int, first: int, folder: Path) -> dict:
    """Damages and predicts n files.

    Args:
        n: How many.
        first: The number of the first one; each number is one file for ever.
        folder: Where they lie while they are read; those that fail are kept.

    Returns:
        `counts` by outcome, `by_format`, `by_mutation`, `strict`, how many were refused that Pillow
        loads, `slowest` in seconds, and `failures` with number, outcome and what was said.
    """
    good, watched = sources(), Watched()
    counts, by_format, by_mutation, failures = Counter(), Counter(), Counter(), []
    strict, slowest = 0, 0.0
    try:
        for seed in range(first, first + n):
            file = mutated(good, seed)
            path = folder / f"{seed}{file.suffix}"
            path.write_bytes(file.data)
            begun = time.perf_counter()
            outcome, said = watched.predict(str(path))
            if seed > first:  # the first one waits for the process
                slowest = max(slowest, time.perf_counter() - begun)
            fine = loads(file.data)
            if outcome == ANSWERED and not fine:
                outcome = WRONG
            strict += outcome == REFUSED and fine
            counts[outcome] += 1
            by_format[f"{file.fmt} {outcome}"] += 1
            by_mutation[f"{file.how.split('+')[0]} {outcome}"] += 1
            if outcome in (CRASHED, HUNG, WRONG):
                failures.append({"seed": seed, "outcome": outcome, "how": file.how, "said": said})
            else:
                os.unlink(path)
    finally:
        watched.close()
    return {
        "n": n, "first": first, "counts": dict(counts), "by_format": dict(by_format),
        "by_mutation": dict(by_mutation), "strict": strict, "slowest": slowest,
        "failures": failures,
    }  # fmt: skip


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(n, first, Path(folder))
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()
