"""Files, folders and standard input become the pixels that the export itself would make of them."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import noise, photo, saved
from PIL import Image

from kerasresnet.data.pixels import ImageError, can_go_as_bytes, to_pixels
from kerasresnet.errors import UsageError
from kerasresnet.predict.images import find_images
from kerasresnet.predict.target import open_target


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("PNG", "RGB", 0),
        ("PNG", "P", 60),  # 256 colours
        ("JPEG", "RGB", 8),
        ("JPEG", "CMYK", 40),
        ("GIF", "P", 60),
        ("BMP", "RGB", 0),
        ("WEBP", "RGB", 30),
        ("TIFF", "RGB", 0),
        ("PPM", "RGB", 0),
    ],
)
def test_every_kind_of_image_gives_its_pixels(kind, mode, tolerance):
    wanted = np.asarray(photo().resize((32, 32), Image.Resampling.BILINEAR), int)
    pixels = to_pixels(saved(photo(mode=mode), kind), (32, 32, 3))
    assert pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3)
    assert np.abs(pixels - wanted).max() <= tolerance


def test_grey_transparent_and_16_bit_images_give_their_pixels():
    grey = np.asarray(photo(32, 32, "L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    for image in (photo(32, 32, "L"), photo(32, 32, "LA"), wide):
        pixels = to_pixels(saved(image, "PNG"), (32, 32, 3))
        np.testing.assert_array_equal(pixels, np.repeat(grey[:, :, None], 3, axis=2))
    one = to_pixels(saved(photo(32, 32), "PNG"), (32, 32, 1))
    np.testing.assert_array_equal(one[:, :, 0], grey)


def test_a_small_file_of_very_many_pixels_is_refused_by_its_header():
    bomb = saved(Image.new("L", (13_000, 13_000)), "PNG")
    assert len(bomb) < 1 << 20
    for read in (can_go_as_bytes, lambda contents: to_pixels(contents, (32, 32, 3))):
        with pytest.raises(ImageError, match=r"is of 13000 x 13000 pixels, more than 67,108,864"):
            read(bomb)


def test_a_photo_taken_sideways_is_turned_first():
    upright = photo(60, 40)
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it as it was
    turned = saved(sideways, "JPEG", exif=exif, quality=95)
    plain = saved(upright, "JPEG", quality=95)
    assert can_go_as_bytes(plain) and not can_go_as_bytes(turned)
    difference = np.int32(to_pixels(turned, (32, 32, 3))) - to_pixels(plain, (32, 32, 3))
    assert np.abs(difference).max() < 12


@pytest.mark.parametrize("size", [(200, 150), (20, 31), (32, 32), (1, 500)])
def test_an_image_of_any_size_is_scaled_as_the_export_scales_it(size, model_directory):
    target = open_target(str(model_directory))
    contents = saved(noise(*size), "PNG")
    as_file = target.predict([contents]).probabilities
    as_pixels = target.predict(to_pixels(contents, target.image_shape)[None]).probabilities
    np.testing.assert_allclose(as_pixels, as_file, atol=1e-3)  # bicubic: 6e-3 and more


def test_folders_are_searched_through_in_order(tmp_path):
    for name in ("b/2.PNG", "b/10.jpeg", "a.gif", "notes.txt", ".hidden.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [source.name for source in find_images([str(tmp_path), str(tmp_path / "notes.txt")])]
    names = ["a.gif", "b/10.jpeg", "b/2.PNG", "notes.txt"]
    assert found == [str(tmp_path / name) for name in names]


def test_standard_input_is_one_image_or_a_list(monkeypatch, photos):
    image = (photos / "0.png").read_bytes()

    def stdin(contents):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(contents)))

    stdin(image)
    (source,) = find_images(["-"])
    assert (source.name, source.read()) == ("standard input", image)
    for end in ("\n", "\0"):
        stdin(end.join(["x.png", "-", "two words.png", ""]).encode())
        names = [source.name for source in find_images(["first.png"], "-")]
        assert names == ["first.png", "x.png", "-", "two words.png"]
    stdin(b"\n")
    for arguments in ((["-"], "-"), (["-", "-"], None), ([], None), ([], "-"), ([], "no-list")):
        with pytest.raises(UsageError):
            find_images(*arguments)


def test_a_name_that_no_terminal_can_print_is_shown_readably(tmp_path):
    (source,) = find_images([str(tmp_path / "a\x1b[31m\udcff.png")])
    assert source.name == str(tmp_path / "a�[31m�.png")
