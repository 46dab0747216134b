"""Optimizers in float64, written down from their papers: what tests compare Keras' with.

Each makes a function from (step from 1, gradient, learning rate, momentum), called one step after
the other, to what is taken off the weights.
"""

import numpy as np


def sgd(nesterov=False):
    buffer = 0.0

    def step(t, g, lr, momentum):
        nonlocal buffer
        buffer = momentum * buffer + g
        return lr * (g + momentum * buffer if nesterov else buffer)

    return step


def adagrad():
    squares = 0.1

    def step(t, g, lr, momentum):
        nonlocal squares
        squares = squares + g**2
        return lr * g / np.sqrt(squares + 1e-7)

    return step


def rmsprop():
    squares, buffer = 0.0, 0.0

    def step(t, g, lr, momentum):
        nonlocal squares, buffer
        squares = 0.9 * squares + 0.1 * g**2
        buffer = momentum * buffer + lr * g / np.sqrt(squares + 1e-7)
        return buffer

    return step


def adam():
    mean, squares = 0.0, 0.0

    def step(t, g, lr, momentum):
        nonlocal mean, squares
        mean = momentum * mean + (1 - momentum) * g
        squares = 0.999 * squares + 0.001 * g**2
        root = np.sqrt(squares / (1 - 0.999**t))
        return lr * mean / (1 - momentum**t) / (root + 1e-7 / np.sqrt(1 - 0.999**t))

    return step


def nadam():
    mean, squares, product = 0.0, 0.0, 1.0

    def step(t, g, lr, momentum):
        nonlocal mean, squares, product
        now = momentum * (1 - 0.5 * 0.96**t)
        following = momentum * (1 - 0.5 * 0.96 ** (t + 1))
        product *= now
        mean = momentum * mean + (1 - momentum) * g
        squares = 0.999 * squares + 0.001 * g**2
        ahead = following * mean / (1 - product * following) + (1 - now) * g / (1 - product)
        return lr * ahead / (np.sqrt(squares / (1 - 0.999**t)) + 1e-7)

    return step
