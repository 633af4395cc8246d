"""How a decoded image becomes 8-bit RGB, and what its header says of that."""

from __future__ import annotations

import io
import re
import struct

from PIL import ExifTags, Image

from paraclip_bench.errors import DataError

# More bits a pixel than a byte has. What is of these modes was white or black before version 0.2.
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
# How an EXIF orientation is undone; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def header_of(image: Image.Image, data: bytes) -> str:
    """What the header of an image opened from `data` says, in words; nothing is decoded.

    "deep": more than 8 bits a channel. "exif=N": the orientation that decoding leaves. "alpha":
    an alpha channel or a transparent colour.
    """
    words = ["image"] + ["deep"] * (image.mode in _DEEP)
    if (orientation := _orientation(image, data)) > 1:
        words.append(f"exif={orientation}")
    return " ".join(words + ["alpha"] * _has_alpha(image))


def _orientation(image: Image.Image, data: bytes) -> int:
    if image.format == "TIFF":  # Pillow turns it itself
        return 1
    try:
        found = _told_orientation(image)
        # Of the formats that are read, a PNG alone may have it where its header is not.
        if found is None and image.format == "PNG" and (front := _metadata_first(data)):
            with Image.open(io.BytesIO(front), formats=["PNG"]) as header:
                found = _told_orientation(header)
    # Damaged EXIF may raise anything, and the image is none the worse for it.
    except Exception:
        return 1
    return found if isinstance(found, int) and found in TURNS else 1


def _told_orientation(image: Image.Image) -> object:
    # Not PNG's own `getexif`, which decodes the image to look behind it.
    return Image.Image.getexif(image).get(ExifTags.Base.Orientation)


_PNG = b"\x89PNG\r\n\x1a\n"
# A chunk's length and kind stand before its content, and a checksum behind it.
_CHUNK = struct.Struct(">I4s")
_METADATA = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")


def _metadata_first(data: bytes) -> bytes | None:
    """The header of a PNG with the metadata that stands behind its pixels, which are left out.

    None where there is no such metadata. Chunks are passed over by their length.
    """
    head, behind, is_behind, place = [], [], False, len(_PNG)
    while place + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, place)
        chunk = data[place : place + 12 + length] if kind != b"IDAT" else b""
        is_behind |= kind == b"IDAT"
        if kind == b"IHDR":
            head.append(chunk)
        elif is_behind and kind in _METADATA:
            behind.append(chunk)
        place += 12 + length
    if not behind:
        return None
    return b"".join([_PNG, *head, *behind, _CHUNK.pack(0, b"IDAT")])


def stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first bytes of a file state them; None where none are found.

    For images that Pillow does not open: it takes one without pixels for no image at all.
    """
    if data.startswith(_PNG) and len(data) >= 24:
        return struct.unpack_from(">II", data, 16)
    if data.startswith(b"BM") and len(data) >= 26:
        return struct.unpack_from("<ii", data, 18)
    if data.startswith(b"GIF8") and len(data) >= 10:
        return struct.unpack_from("<HH", data, 6)
    if (found := re.match(rb"P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s", data)) is not None:
        return int(found[1]), int(found[2])
    # The frame's header of a JPEG: its length, the bits of a sample, height and width.
    frame = re.search(rb"\xff[\xc0-\xc2]\x00.[\x08\x0c](....)", data, re.DOTALL)
    if data.startswith(b"\xff\xd8") and frame is not None:
        height, width = struct.unpack(">HH", frame[1])
        return width, height
    return None


def _has_alpha(image: Image.Image) -> bool:
    palette = image.palette.mode if image.mode == "P" and image.palette else ""
    return image.mode in _ALPHA or "transparency" in image.info or palette.endswith("A")


def shallow(image: Image.Image, where: str) -> Image.Image:
    """An image of 8 bits a channel: 16 bits are scaled by 1/257, and floats of 0 to 1 by 255.

    A TIFF of 9 to 15 bits is scaled by its own largest value, and one whose white is zero inverted.
    Pillow's own conversion cuts both off at 255, so that a 16-bit photo would be white. Raises
    `DataError` for values outside of that, naming `where`.
    """
    if image.mode not in _DEEP:
        return image
    import numpy as np

    values = np.asarray(image)
    if image.mode == "F":
        inside, scaled = "0 to 1", values * 255.0
        # NaN is not inside either.
        is_inside = bool(((values >= 0) & (values <= 1)).all())
    else:
        most, is_inverted = _white(image)
        inside, scaled = f"0 to {most:,}", values.astype(np.float64) * (255 / most)
        is_inside = bool(((values >= 0) & (values <= most)).all())
        scaled = 255 - scaled if is_inverted else scaled
    if not is_inside:
        raise DataError(
            f"{where} has values outside of {inside}, so nobody knows which is white; "
            "save it with 8 or 16 bits a channel"
        )
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262


def _white(image: Image.Image) -> tuple[int, bool]:
    """The value of white in a deep grey image, and whether it is that of black instead.

    A TIFF says so by its tags; Pillow heeds the second for 8 bits alone.
    """
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, 16)
    bits = bits[0] if isinstance(bits, tuple) and bits else bits
    most = 2**bits - 1 if image.mode != "I" and bits in range(9, 16) else 65_535
    return most, tags.get(_PHOTOMETRIC) == 0
