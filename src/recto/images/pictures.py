"""Pictures from outside, uploaded or made by a model: decoded, and written anew, so that nothing else is kept of them.

What a file's name or headers say of it counts for nothing. Metadata (places, cameras, names), further frames and bytes
behind the picture end here.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageCms, ImageOps

from recto.errors import InvalidRequest

MAX_UPLOAD_BYTES = 15 * 1024 * 1024
MAX_PIXELS = 40_000_000
THUMBNAIL_PX = 512

_FORMATS = ("JPEG", "PNG", "WEBP")
_QUALITY = 90
_THUMBNAIL_QUALITY = 82
_SRGB = ImageCms.createProfile("sRGB")

# Pillow's own bound warns first and refuses at twice of it; `_decode` has a stricter one, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class NotAPicture(InvalidRequest):
    """The file is not a JPEG, PNG or WebP picture that can be read."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A caller's picture as it is kept and shown to a model: upright, in sRGB, one frame, without metadata."""

    data: bytes
    extension: Literal["jpg", "png"]
    width: int
    height: int

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        return "image/jpeg" if self.extension == "jpg" else "image/png"


@dataclass(frozen=True, slots=True)
class Render:
    """A model's picture as it is kept, in JPEG, and a smaller one, ``THUMBNAIL_PX`` at its longer side."""

    data: bytes
    thumbnail: bytes
    width: int
    height: int


def read_upload(data: bytes) -> Upload:
    """Decode what a caller sent and write it anew: as PNG if parts of it are transparent, else as JPEG.

    It takes up to a second of one core. Raises ``InvalidRequest`` if it has more than ``MAX_UPLOAD_BYTES`` or
    ``MAX_PIXELS``, and ``NotAPicture``.
    """
    if len(data) > MAX_UPLOAD_BYTES:
        raise InvalidRequest(f"A picture must not be larger than {MAX_UPLOAD_BYTES // 2**20} MiB.")
    picture = _decode(data)
    opaque = picture.mode == "RGB"
    written = _jpeg(picture, _QUALITY) if opaque else _png(picture)
    return Upload(written, "jpg" if opaque else "png", *picture.size)


def read_render(data: bytes) -> Render:
    """Decode what a model made and write it anew. Raises as ``read_upload`` does, but has no bound on bytes."""
    picture = _decode(data)
    if picture.mode == "RGBA":  # transparent parts become white, as a page shows them
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    thumbnail = picture.copy()
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return Render(_jpeg(picture, _QUALITY), _jpeg(thumbnail, _THUMBNAIL_QUALITY), *picture.size)


def _decode(data: bytes) -> Image.Image:
    """Return the first frame, upright, in sRGB, as RGB or, if any part of it is transparent, as RGBA."""
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise InvalidRequest(f"A picture must not have more than {MAX_PIXELS // 10**6} megapixels.")
            opened.load()
            profile = opened.info.get("icc_profile")
            upright = ImageOps.exif_transpose(opened)
            return _bare(_in_srgb(upright, profile))
    except InvalidRequest:
        raise
    # Pillow's decoders raise whatever a broken file brings about: OSError, ValueError, SyntaxError, struct.error, …
    except Exception as error:
        raise NotAPicture from error


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    has_alpha = picture.has_transparency_data
    if profile and not has_alpha and picture.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a profile that does not fit its picture is ignored, as browsers do
            pass
        else:
            if converted is not None:
                return converted
    return picture.convert("RGBA" if has_alpha else "RGB")


def _bare(picture: Image.Image) -> Image.Image:
    """Return the pixels alone; an alpha channel that hides nothing is dropped."""
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")
    picture.info = {}
    return picture


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    written = BytesIO()
    picture.save(written, "JPEG", quality=quality, optimize=True)
    return written.getvalue()


def _png(picture: Image.Image) -> bytes:
    written = BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()
