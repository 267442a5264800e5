"""`cnn2` as its author had it: Keras on TensorFlow, all pictures in memory as float32.

    .venv-keras/bin/python benchmarks/speed/keras_cnn2.py FOLDER

`make keras` makes that environment. FOLDER has the pictures of each class in a folder of its own.
They are not augmented, which
flatters it: the author's ImageDataGenerator turns each of them in Python. Prints one line of JSON.
"""

import json
import os
import resource
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from keras import layers

SIZE, BATCH, WARM_UP, EPOCHS = 300, 32, 10, 2


class Clock(keras.callbacks.Callback):
    """Seconds and images of training, the first steps not counted."""

    steps = images = 0
    seconds = begun = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == WARM_UP:
            self.begun = time.perf_counter()
        elif self.steps > WARM_UP:
            self.images += BATCH
        self.last = time.perf_counter()

    def on_test_begin(self, logs=None):
        self.seconds += self.last - self.begun


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
    clock = Clock()
    network.fit(
        pictures[:n], labels[:n], batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[clock],
        validation_data=(pictures[n:], labels[n:]),
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"images_per_s": clock.images / clock.seconds, "images": clock.images}
    print(json.dumps(found | {"peak_mb": peak, "keras": keras.version()}))


if __name__ == "__main__":
    main(sys.argv[1])
