"""The real renderer, drawn by processes that were forked from one that used OpenCV."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import cv2, numpy as np
from detector.data.synthetic import make
from tests.data.synthetic.stand_in import SETTINGS

cv2.setNumThreads(4)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.float32), (0, 0), 5)  # starts its threads
if __name__ == "__main__":
    one = make.make_set(sys.argv[1] + "/one", synthetic=SETTINGS, workers=1)
    make.PROCESSES_FROM = 0
    two = make.make_set(sys.argv[1] + "/two", synthetic=SETTINGS, workers=2)
    for file in one.rglob("*.*"):
        assert file.read_bytes() == (two / file.relative_to(one)).read_bytes(), file
    print("alike")
"""


def test_processes_draw_the_same_faces_whatever_the_parent_did_before(tmp_path):
    """A fork that waits for the parent's threads would hang here."""
    above = Path(__file__).parents[3]
    paths = os.pathsep.join([str(above / "src"), str(above)])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "alike\n", done.stderr
