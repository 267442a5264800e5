"""data.normalize from the command line to a prediction on a raw file, and on resuming."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.decode import decode
from detector.data.normalizer import Normalizer
from detector.errors import UserError
from detector.predictor import Predictor
from detector.run.session import Session
from detector.train import train

SET = "data.normalize={size:40,quality:60}"


def test_a_prediction_on_a_raw_file_is_normalized_as_in_training(tiny, tiny_set):
    run = Path(train(tiny(SET, "trainer.max_epochs=1"))["folder"])
    predictor = Predictor.load(run / "checkpoints" / "best.ckpt")
    assert predictor.preprocess.normalizer == Normalizer(40, 60)
    data = next((tiny_set / "real").iterdir()).read_bytes()
    pixels = Normalizer(40, 60)(decode(data, max_pixels=10**6))
    seen = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    assert predictor(data) == float(predictor.scores([seen])[0])
    last = f"ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    for other in ("data.normalize={size:40,quality:61}", "data.normalize=null"):
        with pytest.raises(UserError, match="another preprocessing"):
            Session(tiny(other, "trainer.max_epochs=2", last))
    Session(tiny(SET, "trainer.max_epochs=2", last))
