"""Run in a process of its own: an export, loaded and fed as TF Serving loads and feeds it.

TF Serving restores a graph into a session and feeds tensors by name, without Python's checks: what
kills a server would kill this process. Prints one JSON line a request.
"""

import contextlib
import io
import json
import random
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import config_pb2

IMAGE = (32, 32, 3)
BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + 2 * (16_000).to_bytes(4, "big") + b"\x08\x02\0\0\0" * 9


def picture(kind, size=(32, 32), seed=0):
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
    return {"png": tf.io.encode_png, "jpeg": tf.io.encode_jpeg}[kind](pixels).numpy()


def kinds():
    """(name, file) of what people's programs write beside the plain PNG and JPEG."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 33, 3), dtype=np.uint8))
    for kind, mode, settings in (
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("PNG", "I;16", {}),
        ("PNG", "LA", {}),
        ("PNG", "RGBA", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
    ):
        file = io.BytesIO()
        (image.convert("L") if mode == "I;16" else image).convert(mode).save(file, kind, **settings)
        yield f"{kind} {mode}", file.getvalue()


def many_scans(count, side=4096):
    """A progressive JPEG whose shortest scan comes `count` times again: a bomb of time."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "JPEG", progressive=True)
    *scans, last = file.getvalue().removesuffix(b"\xff\xd9").split(b"\xff\xda")
    scan = min(scans[2:], key=len)
    return b"\xff\xda".join([*scans, last, *[scan] * count]) + b"\xff\xd9"


def png_of_texts(kind, count, size=7_900_000):
    """A PNG of 8 x 8 pixels and `count` chunks of 8 KB that unpack to 8 MB each."""
    plain = picture("png", (8, 8))
    text = b"k\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + zlib.compress(size * b"a", 9)
    chunk = len(text).to_bytes(4) + kind + text + zlib.crc32(kind + text).to_bytes(4)
    return plain[:33] + count * chunk + plain[33:]


def damaged(count):
    """Files with a few bytes changed, gone, added or moved; a PNG's checksums mostly hold."""
    draw = random.Random(0)
    whole = [file for _, file in kinds()] + [picture("png"), picture("jpeg"), many_scans(3, 64)]
    for _ in range(count):
        file = bytearray(draw.choice(whole))
        for _ in range(draw.choice((1, 2, 4, 16))):
            at = draw.randrange(min(len(file), draw.choice((80, 10_000))))  # headers more often
            some = draw.randbytes(draw.randrange(1, 9))
            elsewhere = file[draw.randrange(len(file)) :][: draw.randrange(200)]
            change = draw.choice(((1, some[:1]), (len(some), b""), (0, some), (0, elsewhere)))
            file[at : at + change[0]] = change[1]
        yield checksummed(file) if draw.random() < 0.8 and file.startswith(b"\x89PNG") else file


def checksummed(png):
    """A PNG whose chunks have the checksums that they should have."""
    at = 8
    while (end := at + 8 + int.from_bytes(png[at : at + 4])) + 4 <= len(png):
        png[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4)
        at = end + 4
    return png


def requests():
    """(name, signature, whether it is answered, what is fed)."""
    draw = np.random.default_rng(0)
    for size in (1, 7, 256):
        pixels = draw.integers(0, 256, (size, *IMAGE), dtype=np.uint8)
        yield f"{size} images", "serving_default", True, pixels
        yield f"{size} images", "logits", True, pixels
        yield f"{size} images", "serving_int32", True, pixels.astype(np.int32)
    for size in (1, 7):
        files = [picture("png", seed=i) for i in range(size)]
        yield f"{size} files", "serving_bytes", True, np.array(files, object)
    for kind, size in (("jpeg", (32, 32)), ("png", (1, 1)), ("jpeg", (301, 77)), ("png", (9, 640))):
        yield f"{kind} {size}", "serving_bytes", True, np.array([picture(kind, size)], object)
    most = tf.io.encode_png(np.zeros((4096, 4096, 1), np.uint8)).numpy()
    yield "PNG of 4096 x 4096", "serving_bytes", True, np.array([most], object)
    for name, file in (*kinds(), ("PNG of eight texts", png_of_texts(b"zTXt", 8))):
        yield name, "serving_bytes", True, np.array([file], object)
    for shape in ((32, 32, 3), (1, 28, 28, 3), (1, 32, 32, 1), (1, 32, 32, 4), (3,), ()):
        yield f"shape {shape}", "serving_default", False, np.zeros(shape, np.uint8)
        yield f"shape {shape}", "serving_int32", False, np.zeros(shape, np.int32)
    for signature, kind in (("serving_default", "uint8"), ("serving_int32", "int32")):
        yield "none", signature, False, np.zeros((0, *IMAGE), kind)
    yield "no file", "serving_bytes", False, np.array([], object)
    for signature, kind in (("serving_default", "uint8"), ("serving_int32", "int32")):
        yield "1025 images", signature, False, np.zeros((1_025, *IMAGE), kind)
    yield "1025 images", "logits", False, np.zeros((1_025, *IMAGE), np.uint8)
    yield "10000 files", "serving_bytes", False, np.array([picture("png", (1, 1))] * 10_000, object)
    for value in (-1, 256, 2**31 - 1):
        yield f"value {value}", "serving_int32", False, np.full((1, *IMAGE), value, np.int32)
    png, jpeg = picture("png"), picture("jpeg")
    bad = {
        "empty": b"",
        "short": b"\x89PNG\r\n\x1a\n",
        "text": b"no image at all, but long enough",
        "GIF": b"GIF89a" + 40 * b"\0",
        "BMP": b"BM" + 60 * b"\0",
        "WebP": b"RIFF\x24\0\0\0WEBPVP8 " + 40 * b"\0",
        "truncated PNG": png[: len(png) // 2],
        "truncated JPEG": jpeg[: len(jpeg) // 4],
        "JPEG header alone": jpeg[:30],
        "corrupt PNG": png[:60] + bytes(b ^ 0x5A for b in png[60:90]) + png[90:],
        "bomb": BOMB,
        "PNG of 0 x 0": BOMB[:16] + 8 * b"\0" + BOMB[24:],
        "PNG of 2^32 - 1": BOMB[:16] + 8 * b"\xff" + BOMB[24:],
        "PNG of 4097 x 4096": tf.io.encode_png(np.zeros((4097, 4096, 1), np.uint8)).numpy(),
        "JPEG of 4097 x 4096": tf.io.encode_jpeg(np.zeros((4097, 4096, 1), np.uint8)).numpy(),
        "PNG of many texts": png_of_texts(b"zTXt", 400),
        "PNG of international texts": png_of_texts(b"iTXt", 9),
        "JPEG of many scans": many_scans(1_000),
        "JPEG of 4 MiB of scans": many_scans(100_000)[: 4 * 2**20],
        "5 MiB": png + 5 * 2**20 * b"\0",
    }
    for name, file in bad.items():
        yield name, "serving_bytes", False, np.array([file], object)
        yield f"{name} among good ones", "serving_bytes", False, np.array([png, file], object)
    yield "files of rank 2", "serving_bytes", False, np.array([[png]], object)
    yield "files of rank 0", "serving_bytes", False, np.array(png, object)


def callables(session, loaded):
    for name, signature in loaded.signature_def.items():
        if name.startswith("__"):
            continue
        (feed,) = signature.inputs.values()
        options = config_pb2.CallableOptions(
            feed=[feed.name], fetch=[out.name for _, out in sorted(signature.outputs.items())]
        )
        yield name, sorted(signature.outputs), session._make_callable_from_options(options)


def warmup(path):
    """(signature, fed) of every request in the warm-up file, by the protocol's own messages."""
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        return
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        (tensor,) = request.inputs.values()
        yield request.model_spec.signature_name, tf.make_ndarray(tensor)


def main(path, files):
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    run = {name: (keys, call) for name, keys, call in callables(session, loaded)}

    def ask(name, signature, good, fed):
        keys, call = run[signature]
        started = time.perf_counter()
        try:
            shapes = {key: list(out.shape) for key, out in zip(keys, call(fed), strict=True)}
            answer = {"shapes": shapes}
        except tf.errors.OpError as error:
            answer = {"refused": error.message.splitlines()[0], "kind": type(error).__name__}
        answer |= {"name": name, "signature": signature, "good": good}
        answer |= {"ms": 1000 * (time.perf_counter() - started)}
        print(json.dumps(answer), flush=True)

    warm = Path(path) / "assets.extra" / "tf_serving_warmup_requests"
    with tf.Graph().as_default():
        replayed = list(warmup(warm))
    for signature, fed in replayed:
        ask(f"warm-up of {len(fed)}", signature, True, fed)
    everything = list(requests())
    for _ in range(2):  # the second time shows what a request takes once it is compiled
        for request in everything:
            ask(*request)
    before = psutil.Process().memory_info().rss
    bad = [request for request in everything if not request[2] and request[1] == "serving_bytes"]
    for _ in range(10):
        for _, signature, _, fed in bad:
            with contextlib.suppress(tf.errors.OpError):
                run[signature][1](fed)
    slowest = 0.0
    for file in damaged(files):
        started = time.perf_counter()
        with contextlib.suppress(tf.errors.OpError):
            run["serving_bytes"][1](np.array([bytes(file)], object))
        slowest = max(slowest, 1000 * (time.perf_counter() - started))
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    print(json.dumps({"slowest_ms": slowest, "grown_mib": grown}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
