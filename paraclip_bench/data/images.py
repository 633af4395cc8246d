"""A reference to an image, and the only place where images are opened."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from paraclip_bench.data import digest_cache
from paraclip_bench.data.digest_cache import file_sha256
from paraclip_bench.data.row_files import is_torn
from paraclip_bench.errors import DataError


@dataclasses.dataclass(frozen=True)
class FilePart:
    """`size` bytes of a file from `offset` on; calling it reads them. Picklable."""

    path: Path
    offset: int
    size: int

    def __call__(self) -> bytes:
        """The bytes; `DataError` where the file has become too short for them."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise DataError(f"{self.path} changed while it was used; run the command again")
        return data

    def sha256(self) -> str:
        """sha256 (hex) of the bytes, read again only if the file's size or time changed."""
        key = f"sha256:{digest_cache.stamp([self.path])}:{self.offset}:{self.size}"
        return digest_cache.remembered(key, lambda: hashlib.sha256(self()).hexdigest())


Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels, as PIL crops."""

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}

_lenient = [False]
_thread = threading.local()
_DECODING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class ImageRef:
    """An image by path or by its encoded bytes, perhaps cropped to a box.

    `id` is what a data set calls it (a file name); `box` is (left, top, right, bottom) or None.
    `read` gives the encoded bytes each time they are needed, so that a large data set's are never
    in memory together; it must be picklable, for worker processes call it.
    """

    id: str
    path: Path | None = None
    data: bytes | None = dataclasses.field(default=None, repr=False)
    box: Box | None = None
    read: Callable[[], bytes] | None = dataclasses.field(default=None, repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """sha256 (hex) of the encoded bytes, so that copies of one image are one."""
        try:
            if self.data is None and isinstance(self.read, FilePart):
                return self.read.sha256()
            if (data := self._bytes()) is not None:
                return hashlib.sha256(data).hexdigest()
            return file_sha256(self._file())
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def content(self) -> str:
        """What is encoded: the bytes' digest and the box."""
        return self.sha256 if self.box is None else f"{self.sha256}:{','.join(map(str, self.box))}"

    def encoded(self) -> bytes:
        """The encoded bytes, whether they are at hand, are read when needed, or lie in a file."""
        return self._checked_bytes()

    def cropped(self, box: Box) -> ImageRef:
        """The same image with a box; what is known of its bytes stays known."""
        ref = dataclasses.replace(self, box=box)
        ref.__dict__["sha256"] = self.sha256
        return ref

    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, read from the header alone."""
        data = self._bytes()
        with self._image(self._file() if data is None else data) as image:
            return image.size

    def open(self) -> Image.Image:
        """The decoded RGB image, cropped; a box that leaves the image is filled with black."""
        rgb = self._decode_leniently() if _lenient[0] else self._decode()
        return rgb if self.box is None else rgb.crop(self.box)

    def _decode(self) -> Image.Image:
        try:
            with self._image(self._checked_bytes()) as image:
                return image.convert("RGB")
        # Pillow has no one error for a damaged file: a truncated PNG is a SyntaxError.
        except (OSError, SyntaxError, ValueError) as error:
            raise self._unreadable(error) from error

    def _decode_leniently(self) -> Image.Image:
        # Pillow's switch is for the whole process, so one image is decoded at a time.
        with _DECODING:
            try:
                return self._decode()
            except DataError:
                ImageFile.LOAD_TRUNCATED_IMAGES = True
                try:
                    rgb = self._decode()
                finally:
                    ImageFile.LOAD_TRUNCATED_IMAGES = False
        _thread.cut_off = True
        return rgb

    def _checked_bytes(self) -> bytes:
        """The encoded bytes; those of a vector must be the ones that its key was made of."""
        try:
            data = self._bytes()
            if data is None:
                data = self._file().read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error
        known = self.__dict__.get("sha256")
        if known is not None and hashlib.sha256(data).hexdigest() != known:
            raise DataError(f"{self._where} changed while it was used; run the command again")
        return data

    def _image(self, source: bytes | Path) -> Image.Image:
        try:
            return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise self._unreadable(error) from error

    def _bytes(self) -> bytes | None:
        return self.read() if self.data is None and self.read is not None else self.data

    def _file(self) -> Path:
        if self.path is None:
            raise DataError(f"image {self.id!r} has neither a path nor bytes; give one of them")
        return self.path

    @property
    def _where(self) -> str:
        if self.path is not None:
            return str(self.path)
        inside = f"{self.read.path}, " if isinstance(self.read, FilePart) else ""
        return f"{inside}image {self.id!r}"

    def _unreadable(self, error: Exception) -> DataError:
        if isinstance(error, FileNotFoundError):
            return DataError(f"{self._where} does not exist; put the image there or drop its rows")
        reason = (
            "is not an image"
            if isinstance(error, UnidentifiedImageError)
            else f"is damaged ({error})"
        )
        return DataError(f"{self._where} {reason}; replace the file")


def be_lenient(lenient: bool) -> None:
    """Whether this process decodes files that are cut off as far as they go (grey behind that)."""
    _lenient[0] = lenient


def forget_cut_off() -> None:
    """Begin to watch, in this thread, for a cut-off file."""
    _thread.cut_off = False


def was_cut_off() -> bool:
    """Whether this thread decoded a cut-off file since `forget_cut_off`."""
    return bool(getattr(_thread, "cut_off", False))


def is_file(path: Path) -> bool:
    """Whether a file is there; a name too long to be one (a caption, say) is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def image_in(folder: Path, name: str, where: str) -> ImageRef:
    """The image of that file name in a folder.

    Raises `DataError` where it is missing, naming `where` it was asked for.
    """
    path = folder / name
    if not is_file(path):
        raise DataError(f"{where}: the image {path} is missing; put it there")
    return ImageRef(id=name, path=path)


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, by the bytes of their names; `DataError` for a name not in UTF-8."""
    files = [f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in IMAGE_SUFFIXES]
    files.sort(key=lambda file: os.fsencode(file.name))
    for file in files:
        if is_torn(file.name):
            raise DataError(f"{folder}: the file name {file.name!r} is not UTF-8; rename it")
    return files


def checked_box(ref: ImageRef, where: str) -> bool:
    """Whether the box lies wholly inside its image.

    Raises `DataError` for an empty box or one wholly outside, naming `where` it was read.
    """
    if ref.box is None:
        return True
    width, height = ref.size()
    left, top, right, bottom = ref.box
    if right <= left or bottom <= top:
        raise DataError(f"{where}: the box {ref.box} is empty; fix bbox_w and bbox_h")
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise DataError(
            f"{where}: the box {ref.box} lies outside of {ref.id} ({width}x{height}); fix the box"
        )
    return left >= 0 and top >= 0 and right <= width and bottom <= height
