"""An experiment that can go on where it stopped: softmax regression on handwritten digits.

It saves its weights after every epoch. Run alone, that changes nothing; in a sweep, schedulers that
pause trials (HyperBand, PBT, PB2) and trials whose worker died go on from there. Needs the extra
``digits``. Run alone::

    python -m experiments.softmax with lr=0.5
"""

import tempfile
from pathlib import Path

import numpy as np
from sacred import Experiment
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sacred_ray_ingredient import Checkpoints

# Not a config entry: trials can be compared only if all of them see the same split.
SPLIT_SEED = 0

softmax_ex = Experiment("softmax")
checkpoints = Checkpoints(softmax_ex)


# Config scopes have no docstring: Sacred would make it an entry, "__doc__", of every run's config.
@softmax_ex.config
def config():  # noqa: D103
    lr = 0.1  # learning rate
    momentum = 0.9  # share of the last step that is kept
    weight_decay = 1e-4  # L2 penalty
    batch_size = 64  # images per step
    epochs = 20  # passes over the training images


def load_splits():
    """Return the training and the validation part, 75 and 25 %, as pairs of images and labels."""
    images, labels = load_digits(return_X_y=True)
    images = np.hstack([images / 16, np.ones((len(images), 1))])  # with a constant for the bias
    train_images, val_images, train_labels, val_labels = train_test_split(
        images, labels, test_size=0.25, stratify=labels, random_state=SPLIT_SEED
    )
    return (train_images, train_labels), (val_images, val_labels)


def probabilities(images, weights):
    """Return the probability of each digit for each image."""
    scores = images @ weights
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def accuracy(images, labels, weights):
    """Return the share of the images that are read right."""
    return float((probabilities(images, weights).argmax(axis=1) == labels).mean())


@softmax_ex.main
def train(lr, momentum, weight_decay, batch_size, epochs, _rnd, _run):
    """Train epoch by epoch and return the accuracy on the validation images."""
    (images, labels), (val_images, val_labels) = load_splits()
    weights, velocity = np.zeros((images.shape[1], 10)), 0.0
    first_epoch = 1
    folder = checkpoints.restore()
    if folder is not None:
        state = np.load(folder / "state.npz")
        weights, velocity = state["weights"], state["velocity"]
        first_epoch = int(state["epoch"]) + 1
    for epoch in range(first_epoch, epochs + 1):
        order = _rnd.permutation(len(images))
        for start in range(0, len(images), int(batch_size)):
            batch = order[start : start + int(batch_size)]
            error = probabilities(images[batch], weights)
            error[np.arange(len(batch)), labels[batch]] -= 1
            gradient = images[batch].T @ error / len(batch) + weight_decay * weights
            velocity = momentum * velocity - lr * gradient
            weights = weights + velocity
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "state.npz", weights=weights, velocity=velocity, epoch=epoch)
            checkpoints.save(folder)
        _run.log_scalar("val_accuracy", accuracy(val_images, val_labels, weights), epoch)
    return accuracy(val_images, val_labels, weights)


if __name__ == "__main__":
    softmax_ex.run_commandline()
