"""How soon does `python -m detector.predict` answer, and how fast does it go through a folder?

    python benchmarks/predict.py [start] [folder] [NETWORK...]

Start: one picture with a trained network in a file, beside `python -c "import torch"`, in turn.

Folder: rendered faces of 300 px as JPEG through `Predictor.predict`, beside what each half can do
with all cores when it has nothing else to do: reading, decoding and resizing in as many threads as
there are cores, and the network on pictures that lie ready. On a CPU both need the same cores, so
that together they can do no more than 1 / (1 / decoding + 1 / network): the limit. In turn, so
that a machine whose speed drifts slows all alike.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from omegaconf import OmegaConf

from detector import cli
from detector.data.preprocess import Preprocess
from detector.data.synthetic.portrait import portrait
from detector.models.build import build_network
from detector.predictor import Predictor, make_card
from detector.run.heap import keep_freed_memory

SIZE, INPUT, FACES, LINKS = 300, 224, 64, 6
ROUNDS = 5
NETWORKS = ["cnn6", "mobilenetv2", "lite0"]


def pictures(folder: Path) -> Path:
    """A folder of FACES * LINKS files, each face under several names."""
    folder.mkdir()
    none = (False,) * 4
    for seed in range(FACES):
        made = portrait((seed,), size=SIZE, difficulty="mid", parts=none, fake=False).jpeg
        first = folder / f"{seed:03d}-00.jpg"
        first.write_bytes(made)
        for link in range(1, LINKS):
            (folder / f"{seed:03d}-{link:02d}.jpg").hardlink_to(first)
    return folder


def checkpoint(path: Path, model: str) -> Path:
    """A network of conf/model with random weights, which are as fast as any."""
    composed = cli.compose("train", [f"model={model}", "data=folder", "data.root=x"])
    cfg = OmegaConf.to_container(composed.model)
    half = (0.5,) * 3
    preprocess = Preprocess(INPUT, "crop", "bilinear", half, half, 50_000_000)
    network = build_network(**cfg["net"], size=preprocess.size, classes=2)
    card = make_card(cfg["net"], preprocess, ("fake", "real"), "none")
    torch.save({"state_dict": network.state_dict(), "detector": card}, path)
    return path


def seconds(*command: str) -> float:
    """Of a process, from its start to its end."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def start(folder: Path, place: Path, networks: list[str]) -> None:
    """Prints the table of cold starts."""
    given = ["inputs=" + str(next(folder.iterdir())), "predict.device=cpu"]
    print("| what | seconds, median | above `import torch`, median [lowest to highest] |")
    print("| --- | --- | --- |")
    commands = {"python -c 'import torch'": ["-c", "import torch"]}
    for model in networks:
        path = checkpoint(place / f"{model}.ckpt", model)
        commands[f"detector.predict, one picture, {model}"] = [
            "-m", "detector.predict", *given, f"ckpt={path}"
        ]  # fmt: skip
    taken = {name: [] for name in commands}
    for turn in range(ROUNDS + 1):
        for name, command in commands.items():
            took = seconds(*command)
            if turn:  # the first round fills the cache of files
                taken[name].append(took)
    bare, *_ = taken.values()
    for name, times in taken.items():
        above = [a - b for a, b in zip(times, bare, strict=True)]
        shown = f"{statistics.median(above):.2f} [{min(above):.2f} to {max(above):.2f}]"
        print(f"| {name} | {statistics.median(times):.2f} | {shown} |")


def throughput(folder: Path, place: Path, networks: list[str]) -> None:
    """Prints the table of rates."""
    paths, cores = sorted(folder.iterdir()), len(os.sched_getaffinity(0))
    print(f"\n{len(paths)} files, {cores} cores, {torch.get_num_threads()} threads of torch\n")
    print("| network | decoding alone, images/s | network alone | the limit | predict |"
          " predict / limit, median [lowest to highest] | / the lower of the two |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model in networks:
        predictor = Predictor.load(checkpoint(place / f"{model}.ckpt", model))
        preprocess = predictor.preprocess

        def decode(preprocess: Preprocess = preprocess) -> list:
            with ThreadPoolExecutor(cores) as pool:
                return list(pool.map(lambda path: preprocess(path.read_bytes()), paths))

        ready = decode()
        ways = {
            "decode": decode,
            "network": lambda predictor=predictor, ready=ready: predictor.scores(ready),
            "predict": lambda predictor=predictor: list(predictor.predict(folder)),
        }
        rates = {name: [] for name in ways}
        for turn in range(ROUNDS + 1):
            for name, way in ways.items():
                begun = time.perf_counter()
                way()
                if turn:
                    rates[name].append(len(paths) / (time.perf_counter() - begun))
        limits = [1 / (1 / d + 1 / n) for d, n in zip(*list(rates.values())[:2], strict=True)]
        lower = [min(each) for each in zip(*list(rates.values())[:2], strict=True)]
        of = [p / limit for p, limit in zip(rates["predict"], limits, strict=True)]
        of_lower = [p / low for p, low in zip(rates["predict"], lower, strict=True)]
        middle = {name: statistics.median(each) for name, each in rates.items()}
        print(
            f"| {model} | {middle['decode']:.0f} | {middle['network']:.0f} |"
            f" {statistics.median(limits):.0f} | {middle['predict']:.0f} |"
            f" {statistics.median(of):.2f} [{min(of):.2f} to {max(of):.2f}] |"
            f" {statistics.median(of_lower):.2f} |",
            flush=True,
        )


def main() -> None:
    asked = [name for name in sys.argv[1:] if name not in NETWORKS] or ["start", "folder"]
    networks = [name for name in sys.argv[1:] if name in NETWORKS] or NETWORKS
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = pictures(place / "faces")
        if "start" in asked:
            start(folder, place, networks)
        if "folder" in asked:
            keep_freed_memory("cpu")
            throughput(folder, place, networks)


if __name__ == "__main__":
    main()
