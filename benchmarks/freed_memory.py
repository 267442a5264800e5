"""What does it save to keep freed memory in the process?

    python benchmarks/freed_memory.py

Training steps and forward passes as they are run here, on a CPU, in processes of their own: with
glibc as it is, and as `detector.run.heap` sets it. In turn, so that a machine whose speed drifts
slows both alike.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

from detector.models.build import build_network
from detector.run.hardware import choose_hardware
from detector.run.heap import keep_freed_memory

BATCH, STEPS, ROUNDS = 32, 12, 3
CASES = {"cnn6": (224, 0.1), "cnn2": (300, 0.25)}  # side, dropout after convolutions


def one(name: str, keep: bool) -> dict:
    """Images a second, training and scoring, after warming up, and the peak in MB."""
    if keep:
        keep_freed_memory("cpu")
    size, dropout = CASES[name]
    network = build_network(name, size=size, classes=2, conv_dropout=dropout, dropout=0.5)
    network = network.to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (BATCH,))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    bf16 = choose_hardware("cpu", "auto").precision == "bf16-mixed"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(network(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def forward() -> None:
        with torch.inference_mode():
            network(images)

    rates = {}
    for kind, run in (("training", step), ("scoring, float32", forward)):
        taken = []
        for _ in range(STEPS):
            begun = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begun)
        rates[kind] = BATCH / statistics.median(taken[STEPS // 3 :])
        if kind == "training":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            network.eval()
    return rates | {"MB": peak}


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(one(sys.argv[1], sys.argv[2] == "keep")))
        return
    print("| network | pass | images/s before | kept | times as fast | peak MB before | kept |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in CASES:
        found = {"as it is": [], "keep": []}
        for _ in range(ROUNDS):
            for how, rows in found.items():
                ran = subprocess.run(
                    [sys.executable, __file__, name, how], check=True, capture_output=True
                )
                rows.append(json.loads(ran.stdout))
        middle = {
            how: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            for how, rows in found.items()
        }
        was, now = middle.values()
        for kind in ("training", "scoring, float32"):
            cells = f"{was[kind]:.1f} | {now[kind]:.1f} | {now[kind] / was[kind]:.2f}"
            size = f"{was['MB']:.0f} | {now['MB']:.0f}" if kind == "training" else " | "
            print(f"| {name} | {kind} | {cells} | {size} |")
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
