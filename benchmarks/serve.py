"""How many pictures a second the page's server answers, how long each waits, what it holds.

    python benchmarks/serve.py [RUNS]     # a folder of runs; without one, random weights

One client, then sixteen at once, each sending one picture after the other. The server runs in a
process of its own, so that its memory is its own.
"""

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

CLIENTS, SECONDS = 16, 20
HERE = Path(__file__).resolve().parents[1]


def measure(address: str, picture: bytes, query: str, clients: int) -> tuple[list[float], list]:
    """Seconds of each answer, and what was not answered with 200."""
    took, failed, end = [], [], time.monotonic() + SECONDS

    def client() -> None:
        while time.monotonic() < end:
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
            started = time.monotonic()
            try:
                connection.request("POST", f"/api/predict{query}", picture)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200 or b'"p_fake"' not in body:  # no score: nothing was judged
                    failed.append((answer.status, body[:200]))
            except OSError as error:
                failed.append((0, str(error)))
            finally:
                connection.close()
            took.append(time.monotonic() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, failed


def peak_mb(process: int) -> float:
    """Largest resident memory so far, 10^6 bytes (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    """Prints a table for benchmarks/README.md."""
    from detector.data.synthetic.portrait import portrait

    face = portrait((5, 1, 0), size=600, difficulty="mid", parts=(False,) * 4, fake=False)
    with tempfile.TemporaryDirectory() as folder:
        runs = sys.argv[1] if len(sys.argv) > 1 else made_up(Path(folder))
        port = free_port()
        server = subprocess.Popen(
            [sys.executable, "-m", "detector.serve", f"paths.runs={runs}", f"serve.port={port}"],
            env=os.environ | {"PYTHONPATH": str(HERE / "src")},
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address, server)
            check(address, face.jpeg)
            print(f"600 px JPEG of {len(face.jpeg) / 1e3:.0f} kB; {CLIENTS} clients")
            print("| asked | clients | answers/s | p50, s | p95, s | failed | peak memory, MB |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            for name, query in (("verdict", "?explain=false"), ("with heatmap and changes", "")):
                for clients in (1, CLIENTS):
                    started = time.monotonic()
                    took, failed = measure(address, face.jpeg, query, clients)
                    rate = len(took) / (time.monotonic() - started)
                    p50 = statistics.median(took)
                    p95 = sorted(took)[int(0.95 * (len(took) - 1))]
                    print(
                        f"| {name} | {clients} | {rate:.1f} | {p50:.3f} | {p95:.3f}"
                        f" | {len(failed)} of {len(took)} | {peak_mb(server.pid):.0f} |"
                    )
                    for failure in failed[:3]:
                        print("failed:", *failure, file=sys.stderr)
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
            server.wait(30)


def made_up(folder: Path) -> Path:
    """A run of cnn6 at 224 px with random weights: it takes the time that a trained one takes."""
    import csv

    import torch

    from detector import cli
    from detector.data.preprocess import Preprocess
    from detector.models.build import build_network
    from detector.predictor import make_card

    cfg = cli.compose("train", ["model=cnn6"])
    from omegaconf import OmegaConf

    network = OmegaConf.to_container(cfg.model.net, resolve=True)
    preprocess = Preprocess.from_dict(OmegaConf.to_container(cfg.model.preprocess, resolve=True))
    run = folder / "train" / "random-cnn6" / "2026-01-01_00-00-00"
    (run / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    weights = build_network(**network, size=preprocess.size, classes=2).state_dict()
    card = make_card(network, preprocess, ("fake", "real"), "random")
    torch.save({"state_dict": weights, "detector": card}, run / "checkpoints" / "best.ckpt")
    data = {"name": "random", "source": "folder"}
    (run / "config.yaml").write_text(json.dumps({"data": data, "model": {"name": "cnn6"}}))
    (run / "metrics.json").write_text(json.dumps({"class_names": ["fake", "real"]}))
    for name, header in (
        ("predictions.csv", ("path", "label", "split", "p_fake")),
        ("split.csv", ("path", "label", "group", "split")),
    ):
        with open(run / name, "w", newline="") as file:
            csv.writer(file).writerow(header)
    return folder


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen) -> None:
    """Until the server answers.

    Raises:
        SystemExit: It has ended.
        TimeoutError: It does not within five minutes.
    """
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if server.poll() is not None:
            sys.exit(f"the server ended with status {server.returncode}: see above")
        try:
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            connection.request("GET", "/health")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError("the server does not answer")


def check(address: str, picture: bytes) -> None:
    """That the network is asked at all: one of rendered faces says nothing of what is sent.

    Raises:
        SystemExit: It is not.
    """
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    connection.request("POST", "/api/predict?explain=false", picture)
    body = connection.getresponse().read()
    if b'"p_fake"' not in body:
        sys.exit(f"no score in the answer, so there is nothing to time: {body[:400].decode()}")


if __name__ == "__main__":
    main()
