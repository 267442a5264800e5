"""`cnn2` as its author had it: Keras on TensorFlow, all pictures in memory as float32.

    .venv-keras/bin/python benchmarks/speed/keras_cnn2.py FOLDER

`make keras` makes that environment. FOLDER has the pictures of each class in a folder of its own.
They are not augmented, which
flatters it: the author's ImageDataGenerator turns each of them in Python. It goes on until it is
ended; `turns.py` watches its steps.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import steps
from keras import layers

SIZE, BATCH, EPOCHS = 300, 32, 100_000


class Notes(keras.callbacks.Callback):
    """Tells when steps ended."""

    def on_epoch_begin(self, epoch, logs=None):
        steps.note(0, steps.BREAK)

    def on_train_batch_end(self, batch, logs=None):
        steps.note(BATCH)

    def on_test_begin(self, logs=None):
        steps.note(0, steps.BREAK)

    def on_test_batch_end(self, batch, logs=None):
        steps.note(BATCH, steps.VALIDATION)


def main(folder: str) -> None:
    keras.utils.set_random_seed(0)
    whole = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=None, shuffle=True, seed=0, verbose=False
    )
    pictures, labels = map(
        list, zip(*((x.numpy() / 255.0, y.numpy()) for x, y in whole), strict=True)
    )
    import numpy as np

    pictures, labels = np.stack(pictures).astype("float32"), np.array(labels)
    n = int(0.7 * len(labels)) // BATCH * BATCH
    network = keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3)),
            layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.5),
            layers.Dense(2, activation="softmax"),
        ]
    )  # fmt: skip
    assert network.count_params() == 46_099_778
    network.compile(
        keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    network.fit(
        pictures[:n], labels[:n], batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[Notes()],
        validation_data=(pictures[n:], labels[n:]),
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
