"""Pictures that are not what they seem: what is refused, and what is left of those that are taken."""

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from recto.errors import InvalidRequest
from recto.images import pictures
from recto.images.pictures import NotAPicture, read_render, read_upload

SECRET = b"52.2297 N, 21.0122 E"


def written(picture, kind, **options):
    data = BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def opened(data):
    picture = Image.open(BytesIO(data))
    picture.load()
    return picture


def photo(size=(60, 40), mode="RGB"):
    picture = Image.new("RGB", size, "white")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    return picture.convert(mode)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width, height):
    """A PNG whose head promises so many pixels, in a few bytes."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_what_is_taken_becomes_a_jpeg_of_the_same_size(kind, mode):
    upload = read_upload(written(photo(mode=mode if (kind, mode) != ("JPEG", "P") else "L"), kind))
    kept = opened(upload.data)
    assert (kept.format, kept.mode, kept.size) == ("JPEG", "RGB", (60, 40))
    assert (upload.extension, upload.media_type, upload.width, upload.height) == ("jpg", "image/jpeg", 60, 40)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><script>alert(1)</script></html>",
        b"\x89PNG\r\n\x1a\n" + b"no picture",
        b"GIF89a" + bytes(100),
        written(photo(), "GIF"),
        written(photo(), "BMP"),
        written(photo(), "TIFF"),
        written(photo(), "PDF"),
        written(photo((400, 400)), "JPEG")[:600],
        written(photo((400, 400)), "PNG")[:200],
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
    ids=["empty", "html", "png-head", "gif-head", "gif", "bmp", "tiff", "pdf", "cut-jpeg", "cut-png", "svg"],
)
def test_what_is_no_picture_of_the_three_kinds_is_refused_whatever_it_claims(data):
    for read in (read_upload, read_render):
        with pytest.raises(NotAPicture) as refused:
            read(data)
        assert "JPEG, PNG or WebP" in refused.value.message


@pytest.mark.parametrize("size", [(100_000, 100_000), (6325, 6325), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_it_is_decoded(size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(InvalidRequest):
        read_upload(png_of(*size))


def test_forty_megapixels_are_taken_and_one_more_row_is_not(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 60 * 40)
    assert read_upload(written(photo((60, 40)), "PNG")).width == 60
    with pytest.raises(InvalidRequest, match="megapixels"):
        read_upload(written(photo((60, 41)), "PNG"))


def test_a_file_of_more_than_fifteen_mebibytes_is_refused():
    data = written(photo(), "PNG")
    assert read_upload(data + bytes(15 * 2**20 - len(data))).width == 60
    with pytest.raises(InvalidRequest, match="15 MiB"):
        read_upload(data + bytes(15 * 2**20 - len(data) + 1))


def test_places_comments_and_bytes_behind_the_picture_are_gone():
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    tainted = {
        "JPEG": written(photo(), "JPEG", exif=exif, comment=SECRET) + b"PK\x03\x04" + SECRET,
        "WEBP": written(photo(), "WEBP", exif=exif, xmp=SECRET) + SECRET,
        "PNG": written(photo(), "PNG", exif=exif) + SECRET,
    }
    for kind, data in tainted.items():
        assert SECRET in data
        upload, render = read_upload(data), read_render(data)
        for kept in (upload.data, render.data, render.thumbnail):
            assert SECRET not in kept, kind
            assert not opened(kept).getexif()
            assert b"PK\x03\x04" not in kept


def test_text_in_a_png_and_its_transparent_parts():
    info = PngInfo()
    info.add_text("Comment", SECRET.decode(), zip=False)
    upload = read_upload(written(photo(mode="RGBA"), "PNG", pnginfo=info))
    assert (upload.extension, SECRET in upload.data) == ("jpg", False)  # its alpha channel hides nothing
    clear = photo(mode="RGBA")
    clear.putpixel((0, 0), (255, 0, 0, 0))
    upload = read_upload(written(clear, "PNG", pnginfo=info))
    assert (upload.extension, upload.media_type, SECRET in upload.data) == ("png", "image/png", False)
    assert opened(upload.data).getpixel((0, 0))[3] == 0
    assert min(opened(read_render(written(clear, "PNG")).data).getpixel((0, 0))) > 100  # white, as far as JPEG keeps it


def test_a_camera_that_was_held_sideways_is_believed():
    exif = Image.Exif()
    exif[0x0112] = 6
    upload = read_upload(written(photo((60, 40)), "JPEG", exif=exif))
    assert (upload.width, upload.height) == opened(upload.data).size == (40, 60)


def test_cmyk_becomes_what_browsers_show():
    red, green, blue = opened(read_upload(written(photo(mode="CMYK"), "JPEG")).data).getpixel((10, 20))
    assert red > 200
    assert max(green, blue) < 80


@pytest.mark.parametrize("profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"no profile"])
def test_a_colour_profile_is_applied_or_ignored_and_never_kept(profile):
    kept = opened(read_upload(written(photo(), "JPEG", icc_profile=profile)).data)
    assert "icc_profile" not in kept.info
    assert kept.getpixel((10, 20))[0] > 200


def test_of_an_animation_the_first_frame_is_kept():
    frames = [photo(), Image.new("RGB", (60, 40), "blue")]
    data = written(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100)
    kept = opened(read_upload(data).data)
    assert getattr(kept, "n_frames", 1) == 1
    assert kept.getpixel((10, 20))[0] > 200


@pytest.mark.parametrize(
    ("size", "thumbnail"), [((1024, 768), (512, 384)), ((300, 900), (171, 512)), ((64, 32), (64, 32))]
)
def test_a_render_has_a_thumbnail_of_512_pixels_at_most(size, thumbnail):
    render = read_render(written(photo(size), "PNG"))
    assert (render.width, render.height) == opened(render.data).size == size
    assert opened(render.thumbnail).size == thumbnail
    assert {opened(data).format for data in (render.data, render.thumbnail)} == {"JPEG"}
