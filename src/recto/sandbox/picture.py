"""Pictures for a sandbox: a colour and the prompt's words."""

from hashlib import sha256
from io import BytesIO
from textwrap import wrap

from PIL import Image, ImageDraw


def picture(prompt: str, number: int = 0) -> bytes:
    """Draw a JPEG that shows the prompt's words on a colour of its own; the same for the same prompt and number."""
    digest = sha256(f"{number} {prompt}".encode("utf-8", "replace")).digest()
    image = Image.new("RGB", (640, 480), tuple(128 + byte // 2 for byte in digest[:3]))
    lines = wrap(" ".join(prompt.split())[:400], 44) or ["…"]
    ImageDraw.Draw(image).multiline_text((32, 32), "\n".join(lines), fill="black", font_size=24, spacing=8)
    written = BytesIO()
    image.save(written, "JPEG", quality=85)
    return written.getvalue()
