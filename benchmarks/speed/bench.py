"""How fast is it, beside what a user would otherwise do, and beside the limit? `make bench`

    python benchmarks/speed/bench.py [STAGE ...]

Stages: cnn6, cnn2, loading, growth, start, gpu; all where none is named. Each way of training runs
in a process of its own, some steps in turn, round after round (`turns.py`), so that a machine whose
speed drifts slows all alike: the figures to read are the ratios. Nothing else should run beside it.
Writes benchmarks/results.json, where stages that are not run stay as they were, and results.md.
"""

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from growth import growth
from machine import machine
from sets import faces
from start import start
from table import tables
from turns import in_turn, ratio
from watched import watched

from detector.run.hardware import choose_hardware

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results.json"
KERAS = HERE.parents[1] / ".venv-keras/bin/python"
ROUNDS, IMAGES = 6, 1000
PAIRS = {"cnn6": 18, "cnn2": 6}  # rounds beside the bare step, to which cnn6 comes close
GPU_EPOCHS = 30
SIDES = {"cnn6": 224, "cnn2": 300}
BATCHES = (32, 64, 128, 256)


def training(name: str, folder: Path) -> dict:
    """A small network's training in each way, in turn."""
    pictures = str(faces(folder, IMAGES, 300))
    ours = [
        sys.executable, str(HERE / "training.py"), f"model={name}", "data=folder",
        f"data.root={pictures}", "data.near_copies=false", "augment=light",
        f"paths.cache={folder}/cache", "trainer.accelerator=cpu",
    ]  # fmt: skip
    long = ["trainer.max_epochs=100000", "early_stopping.patience=null"]
    bare = [sys.executable, str(HERE / "bare_step.py"), name, str(SIDES[name])]
    first = ["trainer.limit_train_batches=2", "trainer.max_epochs=1", f"paths.runs={folder}/first"]
    watched([*ours, *first])  # index, pixels
    speeds = watched(bare).told["ways"]
    best = max(speeds, key=speeds.get)
    best32 = max((way for way in speeds if way.startswith("float32")), key=speeds.get)
    plain = [sys.executable, str(HERE / "plain_pytorch.py"), name, pictures]
    here = {"detector": [*ours, *long, f"paths.runs={folder}/runs"]}
    limits = {"bare step": [*bare, "32", "cpu", best]}
    pairs = {"bare": here | limits}
    if choose_hardware("cpu", "auto").precision != "32-true":
        single = ["trainer.precision=32-true", f"paths.runs={folder}/runs32"]
        here32 = {"detector, float32": [*ours, *long, *single]}
        pairs["bare, float32"] = here32 | {"bare step, float32": [*bare, "32", "cpu", best32]}
        here |= here32
    found = {"plain": in_turn({"plain PyTorch": plain} | here, ROUNDS)}
    found |= {kind: in_turn(ways, PAIRS[name]) for kind, ways in pairs.items()}
    if name == "cnn2" and has_keras():
        keras = {"Keras on TensorFlow": [str(KERAS), str(HERE / "keras_cnn2.py"), pictures]}
        found["Keras"] = in_turn(keras | here, ROUNDS)
    elif name == "cnn2":
        print("Keras on TensorFlow: left out, as `make keras` has not made its environment")
    return {"bare_step": speeds, "turns": found, "ratios": ratios(found)}


def loading(folder: Path) -> dict:
    """cnn6 with pictures augmented by threads, by a process beside it, and not at all."""
    pictures = str(faces(folder, IMAGES, 300))
    ours = [
        sys.executable, str(HERE / "training.py"), "model=cnn6", "data=folder",
        f"data.root={pictures}", "data.near_copies=false", f"paths.cache={folder}/cache",
        "trainer.accelerator=cpu",
    ]  # fmt: skip
    first = ["trainer.limit_train_batches=2", "trainer.max_epochs=1", f"paths.runs={folder}/first"]
    watched([*ours, *first])
    settings = {
        "by threads between the steps": ["augment=light"],
        "by a process beside them": ["augment=light", "data.num_workers=1"],
        "not at all": ["augment=none"],
    }
    ways = {
        name: [*ours, *chosen, "trainer.max_epochs=100000", f"paths.runs={folder}/runs{at}"]
        for at, (name, chosen) in enumerate(settings.items())
    }
    bare = [sys.executable, str(HERE / "bare_step.py"), "cnn6", str(SIDES["cnn6"]), "32", "cpu"]
    ways["bare step"] = [*bare, "bfloat16, channels_last"]
    if choose_hardware("cpu", "auto").precision == "32-true":
        ways["bare step"][-1] = "float32, channels_last"
    found = in_turn(ways, ROUNDS)
    over = {
        f"{name} / bare step": ratio(found[name]["rates"], found["bare step"]["rates"])
        for name in settings
    }
    return {"turns": {"loading": found}, "ratios": over}


def has_keras() -> bool:
    """Whether `make keras` has been through."""
    if not KERAS.exists():
        return False
    tried = [str(KERAS), "-c", "import keras, tensorflow"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def ratios(found: dict[str, dict]) -> dict[str, dict]:
    """Of rates that were taken within a round."""
    return {
        f"{over} / {under}": ratio(ways[over]["rates"], ways[under]["rates"])
        for ways in found.values()
        for over, under in (
            ("detector", "plain PyTorch"), ("detector, float32", "plain PyTorch"),
            ("detector", "Keras on TensorFlow"), ("detector, float32", "Keras on TensorFlow"),
            ("detector", "bare step"), ("detector, float32", "bare step, float32"),
        )
        if over in ways and under in ways
    }  # fmt: skip


def gpu(folder: Path) -> dict | None:
    """Training beside the bare step over batch sizes, where there is a GPU."""
    if choose_hardware("auto", "auto").accelerator != "gpu":
        print("gpu: there is none here")
        return None
    pictures, found = faces(folder, 4 * IMAGES, 300), []
    for name in ("cnn6", "efficientnet_b0"):
        for batch in BATCHES:
            ours = [
                sys.executable, str(HERE / "training.py"), f"model={name}", "data=folder",
                f"data.root={pictures}", "data.near_copies=false", "augment=light",
                f"data.batch_size={batch}", f"trainer.max_epochs={GPU_EPOCHS}",
                # Whole batches alone: others are not compiled for, and here they would be many.
                f"trainer.limit_train_batches={int(0.7 * 4 * IMAGES) // batch}",
                "model.preprocess.size=224", "model.pretrained=false",
                f"paths.runs={folder}/runs", f"paths.cache={folder}/cache",
            ]  # fmt: skip
            bare = [sys.executable, str(HERE / "bare_step.py"), name, "224", str(batch), "cuda"]
            bare = watched(bare)
            found.append(
                {"network": name, "batch": batch, "bare": bare.told, "detector": watched(ours).told}
            )
            print(json.dumps(found[-1]), flush=True)
    return {"rows": found}


STAGES = {
    "cnn6": lambda folder: training("cnn6", folder),
    "cnn2": lambda folder: training("cnn2", folder),
    "loading": loading,
    "growth": growth,
    "start": start,
    "gpu": gpu,
}


def main(names: list[str]) -> None:
    if unknown := set(names) - set(STAGES):
        raise SystemExit(f"no stage {', '.join(unknown)}: there are {', '.join(STAGES)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or STAGES:
        with tempfile.TemporaryDirectory() as folder:
            found = STAGES[name](Path(folder))
        if found is not None:
            day = datetime.date.today().isoformat()
            results[name] = {"measured": day, "machine": machine(), **found}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            (HERE.parent / "results.md").write_text(tables(results))
    print(tables(results))


if __name__ == "__main__":
    main(sys.argv[1:])
