"""What `make setup` compiles is what a training runs."""

import json
import os
import subprocess
import sys

import pytest

from detector.compiled import available

pytestmark = pytest.mark.skipif(not available(), reason="Numba is not installed")

SCRIPT = """
import json, sys
from numba.core import event
compiled = []

class Listener(event.Listener):
    def on_start(self, started):
        compiled.append(started.data["dispatcher"].py_func.__qualname__)

    def on_end(self, ended):
        pass

event.register("numba:compile", Listener())
if sys.argv[1:]:
    from detector.train import main
    sys.argv[0] = "train"
    main()
else:
    from detector.compile_ahead import compile_ahead
    compile_ahead()
print(json.dumps(sorted(set(compiled))))
"""


def loops(cache, *arguments):
    """Names of what was compiled in a process of its own, whose loops are kept in `cache`."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
    )  # fmt: skip
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def ahead(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loops")
    assert {"pool_moments", "pool", "change_each", "scale"} <= set(loops(folder))
    return folder


@pytest.mark.parametrize("name", ["cnn2", "cnn6"])
def test_a_training_compiles_nothing_any_more(name, ahead, tmp_path, tiny_set):
    training = [
        "data=folder", f"data.root={tiny_set}", f"model={name}", "model.preprocess.size=32",
        "data.batch_size=16", "trainer.max_epochs=1", "trainer.accelerator=cpu",
        "metrics.replicates=100", "heatmaps.every=0", "progress=none", "augment=light",
        f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    assert loops(ahead, *training) == []
