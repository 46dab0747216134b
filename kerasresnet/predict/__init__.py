"""Classify images with an export, a run, or a running server.

from kerasresnet.predict.classify import classify
from kerasresnet.predict.images import find_images
from kerasresnet.predict.target import open_target

results = classify(open_target("http://localhost:8501/v1/models/quick"), find_images(["photos/"]))
"""
