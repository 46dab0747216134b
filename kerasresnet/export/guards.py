"""Inside the graph: what a request may hold, checked before anything is computed or decoded.

TF Serving checks no shapes: one that a kernel cannot take may end the whole server. What these
functions refuse ends the request alone, with a sentence for the client.
"""

from __future__ import annotations

import tensorflow as tf

LEAST_BYTES = 24  # a PNG's signature and the header that tells its size
MOST_BYTES = 4 * 2**20
MOST_PIXELS = 2**24  # 4096 x 4096, 48 MiB decoded
MOST_IMAGES = 1_024  # of a request, unless an export says another number
MOST_SCANS = 20  # libjpeg writes 10 in colour, 18 in CMYK; each is another pass over all pixels
MOST_TEXTS = 8  # compressed ones: decoding unpacks each, to 8 MB and in 50 ms at the worst
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def checked_pixels(
    images: tf.Tensor, shape: tuple[int, int, int], most: int = MOST_IMAGES
) -> tf.Tensor:
    """`images` [N, H, W, C], refused where their shape is another or N is not one of 1…`most`.

    TensorFlow's fused convolutions refuse an empty batch with a sentence that means nothing, and
    end the process where memory does not hold what they make of a large one.
    """
    images = tf.ensure_shape(images, [None, *shape])
    count = tf.shape(images)[0]
    with _only_if(count > 0, "images: at least one"), _at_most(count, most, "images"):
        return tf.identity(images)


def checked_integers(
    images: tf.Tensor, shape: tuple[int, int, int], most: int = MOST_IMAGES
) -> tf.Tensor:
    """int32 [N, H, W, C] as uint8, refused where a value is not one of 0…255."""
    images = checked_pixels(images, shape, most)
    valid = tf.reduce_all((images >= 0) & (images <= 255))
    with _only_if(valid, "images: values are 0 to 255"):
        return tf.cast(images, tf.uint8)


def decoded(
    image_bytes: tf.Tensor, shape: tuple[int, int, int], most: int = MOST_IMAGES
) -> tf.Tensor:
    """1 to `most` files, string [N], as pixels uint8 [N, H, W, C] of the network's size.

    PNG or JPEG, 24 bytes to 4 MiB, of any height and width, at most 2^24 pixels by their header;
    a JPEG of at most 20 scans, a PNG of at most 8 compressed texts and profiles. Scaled to the
    network's size as a whole, bilinear with antialiasing; a file of the right size is taken as it
    is, as evaluation takes it.
    """
    image_bytes = tf.ensure_shape(image_bytes, [None])
    count = tf.size(image_bytes)
    some = _only_if(count > 0, "image_bytes: at least one file")
    with some, _at_most(count, most, "image_bytes"):
        length = tf.strings.length(image_bytes)
    fits = tf.reduce_all((length >= LEAST_BYTES) & (length <= MOST_BYTES))
    with _only_if(fits, f"image_bytes: a file has {LEAST_BYTES} bytes to {MOST_BYTES >> 20} MiB"):
        image_bytes = tf.identity(image_bytes)
    png = tf.equal(tf.strings.substr(image_bytes, 0, len(PNG)), PNG)
    jpeg = tf.equal(tf.strings.substr(image_bytes, 0, len(JPEG)), JPEG)
    with _only_if(tf.reduce_all(png | jpeg), "image_bytes: every file is a PNG or a JPEG"):
        image_bytes = tf.identity(image_bytes)
    return tf.map_fn(
        lambda pair: _pixels(*pair, shape),
        (image_bytes, png),
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
        parallel_iterations=1,  # as many bombs at once would take as much memory more
    )


def _pixels(file: tf.Tensor, png: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    size = tf.cond(png, lambda: _png_size(file), lambda: tf.image.extract_jpeg_shape(file)[:2])
    # One by one: the product of two headers' worth of numbers may not fit.
    inside = tf.reduce_all((size >= 1) & (size <= MOST_PIXELS))
    pixels = tf.cast(size[0], tf.int64) * tf.cast(size[1], tf.int64)
    with _only_if(
        inside & (pixels <= MOST_PIXELS), f"image_bytes: an image has 1 to {MOST_PIXELS} pixels"
    ):
        file = tf.identity(file)
    # 4 MiB hold 124,000 scans, 9 ms each at 2^24 pixels, or 500 texts: 20 s and 3 GB.
    scans = tf.cond(png, lambda: 0, lambda: _occurrences(file, b"\xff\xda", MOST_SCANS))
    with _only_if(scans <= MOST_SCANS, f"image_bytes: a JPEG has at most {MOST_SCANS} scans"):
        file = tf.identity(file)
    texts = tf.cond(png, lambda: _texts(file), lambda: 0)
    few = f"image_bytes: a PNG has at most {MOST_TEXTS} compressed texts and profiles"
    with _only_if(texts <= MOST_TEXTS, few):
        file = tf.identity(file)
    channels = shape[2]
    image = tf.cond(
        png,
        lambda: tf.io.decode_png(file, channels=channels),
        lambda: tf.io.decode_jpeg(file, channels=channels),
    )
    return _scaled(tf.ensure_shape(image, [None, None, channels]), shape)


def _scaled(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    def scale() -> tf.Tensor:
        found = tf.image.resize(image, shape[:2], antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(found), 0.0, 255.0), tf.uint8)

    fits = tf.reduce_all(tf.equal(tf.shape(image)[:2], shape[:2]))
    return tf.ensure_shape(tf.cond(fits, lambda: image, scale), shape)


def _png_size(file: tf.Tensor) -> tf.Tensor:
    """Height and width from a PNG's header: big-endian numbers at bytes 20 and 16."""
    width, height = (
        tf.reshape(tf.io.decode_raw(tf.strings.substr(file, at, 4), tf.uint8), [4])
        for at in (16, 20)
    )
    # Above 2^31 the first byte would be the sign: clipped, it is far too large all the same.
    weights = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
    numbers = [tf.reduce_sum(tf.cast(n, tf.int64) * weights) for n in (height, width)]
    return tf.cast(tf.minimum(tf.stack(numbers), 2**31 - 1), tf.int32)


def _texts(file: tf.Tensor) -> tf.Tensor:
    """How many chunks a PNG has that decoding unpacks though they hold no pixels."""
    return tf.add_n([_occurrences(file, kind, MOST_TEXTS) for kind in (b"zTXt", b"iTXt", b"iCCP")])


def _occurrences(file: tf.Tensor, mark: bytes, most: int) -> tf.Tensor:
    """How often `mark` occurs, counted to one more than `most`; by chance it hardly does.

    FF DA, which begins a scan, is never part of one.
    """
    return tf.size(tf.strings.split(file, mark, maxsplit=most + 1)) - 1


def _at_most(count: tf.Tensor, most: int, name: str):
    return _only_if(count <= most, f"{name}: at most {most}")


def _only_if(holds: tf.Tensor, sentence: str):
    return tf.control_dependencies([tf.debugging.Assert(holds, [sentence], summarize=1)])
