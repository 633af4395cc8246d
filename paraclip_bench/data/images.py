"""A reference to an image, and the only place where images are opened."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from PIL import Image, ImageFile, UnidentifiedImageError

from paraclip_bench.data import digest_cache
from paraclip_bench.data.decoding import TURNS, header_of, shallow, stated_size
from paraclip_bench.errors import BenchError, DataError
from paraclip_bench.files import regular
from paraclip_bench.safe_text import is_torn


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

    def stamp(self) -> str:
        """A key that changes when the file's size or time does."""
        return f"{digest_cache.stamp([self.path])}:{self.offset}:{self.size}"


Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels, as PIL crops."""

_COMMON = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"))
IMAGE_SUFFIXES = _COMMON | {".tif", ".tiff", ".ppm", ".pgm", ".avif"}
"""Of the files in a folder of images, in any case; `is_image_name` says what else is left out."""
# What Pillow may open, whatever a file is called: no format runs another program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO")
# A crop takes no more memory than so many times its image.
_CROP = 64
# A narrower image would be resized to one that no memory holds.
_NARROW = 500
# The largest file that is read for one image.
_FILE_BYTES = 1 << 30
# So much of a file that cannot be opened is looked at to say why.
_HEAD_BYTES = 1 << 16

# It comes at half of the size that is an error, which is told.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# It warns, many lines an image, of files that are cut off and of EXIF that it cannot read.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_lenient = [False]
_exif = [False]
_thread = threading.local()
_DECODING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class ImageRef:
    """An image by path or by its encoded bytes, perhaps cropped to a box.

    `id` is what a data set calls it (a file name); `box` is (left, top, right, bottom) or None.
    `read` gives the encoded bytes each time they are needed, so that a large data set's are never
    in memory together; it must be picklable, for worker processes call it. `exif`: the image is
    turned as its EXIF orientation says, before it is cropped (`exif_applied` is the default).
    """

    id: str
    path: Path | None = None
    data: bytes | None = dataclasses.field(default=None, repr=False)
    box: Box | None = None
    read: Callable[[], bytes] | None = dataclasses.field(default=None, repr=False, compare=False)
    exif: bool = dataclasses.field(default_factory=lambda: _exif[0], repr=False)

    @cached_property
    def sha256(self) -> str:
        """sha256 (hex) of the encoded bytes, so that copies of one image are one.

        Of an image of more than 8 bits a channel, and of one that is turned, it is a digest of that
        and of its decoding, so that vectors and results of another decoding are not taken for it.
        """
        digest, _, header = self._known.partition(" ")
        decoding = ":deep" * ("deep" in header) + ":exif" * (self.exif and self.orientation > 1)
        return hashlib.sha256((digest + decoding).encode()).hexdigest() if decoding else digest

    @property
    def orientation(self) -> int:
        """The EXIF orientation that its decoded pixels still have: 2 to 8, or 1 without one."""
        return int(self._known.partition("exif=")[2][:1] or 1)

    @property
    def has_alpha(self) -> bool:
        """Whether it has an alpha channel or a transparent colour, by its header."""
        return self._known.endswith(" alpha")

    @cached_property
    def _known(self) -> str:
        """sha256 (hex) of the encoded bytes, and behind it what the header says, in words.

        Of files both are read again only if their size or time changed.
        """
        try:
            if self.data is None and isinstance(part := self.read, FilePart):
                self._check_bytes(part.size)
                return digest_cache.remembered(f"header:{part.stamp()}", lambda: self._look(part()))
            if (data := self._bytes()) is not None:
                return self._look(data)
            file = self._file()
            self._check_bytes(file.stat().st_size)
            key = f"header:{digest_cache.stamp([file])}"
            return digest_cache.remembered(key, lambda: self._look(file.read_bytes()))
        except OSError as error:
            raise self._unreadable(error) from error

    def _check_bytes(self, size: int) -> None:
        if size > _FILE_BYTES:
            raise DataError(
                f"{self._where} has {size:,} bytes, which is more than is read for an image; "
                "replace the file"
            )

    def _look(self, data: bytes) -> str:
        """`_known` of bytes; nothing is decoded. Of what is no image, opening it tells."""
        try:
            with self._image(data) as image:
                header = header_of(image, data)
        except DataError:
            header = "unreadable"
        return f"{hashlib.sha256(data).hexdigest()} {header}"

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
        ref.__dict__["_known"] = self._known
        return ref

    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as `open` gives it, read from the header alone."""
        data = self._bytes()
        with self._image(self._file() if data is None else data) as image:
            width, height = image.size
        lies = self.exif and self.orientation >= 5
        return (height, width) if lies else (width, height)

    def open(self) -> Image.Image:
        """The decoded RGB image, cropped; a box that leaves the image is filled with black.

        As CLIP's own code has it: alpha is dropped, and EXIF's orientation, unless asked for.
        """
        rgb = self._decode_leniently() if _lenient[0] else self._decode()
        return rgb if self.box is None else rgb.crop(self.box)

    def _decode(self) -> Image.Image:
        try:
            with self._image(self._checked_bytes()) as image:
                if max(image.size) > _NARROW * min(image.size):
                    width, height = image.size
                    raise DataError(
                        f"{self._where} has {width} x {height} pixels, which is too narrow to be "
                        "resized; crop it, or leave it out"
                    )
                rgb = shallow(image, self._where).convert("RGB")
        except (BenchError, MemoryError):
            raise
        # Pillow has no one error for a damaged file: a truncated PNG is a SyntaxError.
        except Exception as error:
            raise self._unreadable(error) from error
        turn = TURNS.get(self.orientation) if self.exif else None
        return rgb if turn is None else rgb.transpose(turn)

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
                self._check_bytes(self._file().stat().st_size)
                data = self._file().read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error
        known = self.__dict__.get("_known")
        if known is not None and hashlib.sha256(data).hexdigest() != known.partition(" ")[0]:
            raise DataError(f"{self._where} changed while it was used; run the command again")
        return data

    def _image(self, source: bytes | Path) -> Image.Image:
        try:
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            return Image.open(file, formats=_formats())
        except (BenchError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise self._unidentified(source) from error
        except Exception as error:
            raise self._unreadable(error) from error

    def _bytes(self) -> bytes | None:
        return self.read() if self.data is None and self.read is not None else self.data

    def _file(self) -> Path:
        if self.path is None:
            raise DataError(f"image {self.id!r} has neither a path nor bytes; give one of them")
        return regular(self.path)

    @property
    def _where(self) -> str:
        if self.path is not None:
            return str(self.path)
        inside = f"{self.read.path}, " if isinstance(self.read, FilePart) else ""
        return f"{inside}image {self.id!r}"

    def _unreadable(self, error: Exception) -> DataError:
        if isinstance(error, FileNotFoundError):
            return DataError(f"{self._where} does not exist; put the image there or drop its rows")
        if isinstance(error, Image.DecompressionBombError):
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            return DataError(
                f"{self._where} has more than {most:,} pixels, which is more than is decoded; "
                "make it smaller"
            )
        return DataError(f"{self._where} is damaged ({error}); replace the file")

    def _unidentified(self, source: bytes | Path) -> DataError:
        """Why nobody can open it: it is empty, has no pixels, or is of another format."""
        if isinstance(source, Path):
            with source.open("rb") as file:
                head = file.read(_HEAD_BYTES)
        else:
            head = source[:_HEAD_BYTES]
        if not head:
            return DataError(f"{self._where} is an empty file; replace the file")
        if (size := stated_size(head)) is not None and 0 in size:
            width, height = size
            return DataError(
                f"{self._where} has {width} x {height} pixels, so there is nothing to see in it; "
                "replace the file"
            )
        known = ", ".join(_formats())
        return DataError(
            f"{self._where} is not an image of a format that is read ({known}); convert it, or "
            "replace the file"
        )


@functools.cache
def _formats() -> list[str]:
    """Those of `_FORMATS` that this Pillow can read."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


@contextlib.contextmanager
def exif_applied(applied: bool) -> Iterator[None]:
    """Whether references that are made in here are turned as their EXIF orientation says."""
    before, _exif[0] = _exif[0], applied
    try:
        yield
    finally:
        _exif[0] = before


def be_lenient(lenient: bool) -> None:
    """Whether this process decodes files that are cut off as far as they go (grey behind that)."""
    _lenient[0] = lenient


def forget_cut_off() -> None:
    """Begin to watch, in this thread, for a cut-off file."""
    _thread.cut_off = False


def was_cut_off() -> bool:
    """Whether this thread decoded a cut-off file since `forget_cut_off`."""
    return bool(getattr(_thread, "cut_off", False))


def file_in(folder: Path, name: str, where: str) -> Path | None:
    """The file that a data file calls `name`, inside a folder; None where there is none.

    All readers find files through here. A name that a system writes in another Unicode form (NFC,
    NFD) is found, and so is what a link in the folder leads to: whoever made the folder put it
    there. Raises `DataError` for a name that leads outside of the folder (`..`, or absolute),
    naming `where` it was read.
    """
    if leads_outside(name):
        raise outside(folder, name, where)
    for form in dict.fromkeys((name, *(unicodedata.normalize(f, name) for f in ("NFC", "NFD")))):
        path = folder / form
        # A name too long to be one (a caption, say), or with a zero byte, is none.
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                return path
    return None


def outside(folder: Path, name: str, where: str) -> DataError:
    """The error for a name that leads outside of its folder."""
    return DataError(
        f"{where}: the file name {name!r} leads outside of {folder}; write the name of a file in "
        "that folder"
    )


def leads_outside(name: str) -> bool:
    """Whether a name is absolute or goes up, with either slash."""
    path = Path(name)
    parts = name.replace("\\", "/").split("/")
    return path.is_absolute() or bool(path.drive) or parts[0] == "" != name or ".." in parts


def image_in(folder: Path, name: str, where: str, places: Sequence[str] = ()) -> ImageRef:
    """The image of that file name in a folder, or at the first of two `places` in it.

    Its id is `name`. Raises `DataError` where it is missing or a place leads outside, naming
    `where` it was asked for.
    """
    names = places or (name,)
    there = [path for one in names if (path := file_in(folder, one, where))]
    if not there:
        wanted = " and ".join(str(folder / one) for one in names)
        verb = "is" if len(names) == 1 else "are both"
        raise DataError(f"{where}: the image {wanted} {verb} missing; put it there")
    return ImageRef(id=name, path=there[0])


_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}


def is_hidden(name: str) -> bool:
    """Whether a file is a system's own: hidden (`._x.jpg`, .DS_Store), or in __MACOSX."""
    parts = PurePosixPath(name).parts
    return (
        any(part.startswith(".") and part not in (".", "..") for part in parts)
        or "__MACOSX" in parts
        or bool(parts and parts[-1].lower() in _SYSTEM_FILES)
    )


def is_image_name(name: str) -> bool:
    """Whether a file of that name counts as an image of its folder: one rule for all readers."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, by the bytes of their names; `DataError` for a name not in UTF-8."""
    files = [f for f in folder.iterdir() if is_image_name(f.name) and f.is_file()]
    files.sort(key=lambda file: os.fsencode(file.name))
    for file in files:
        if is_torn(file.name):
            raise DataError(f"{folder}: the file name {file.name!r} is not UTF-8; rename it")
    return files


def left_out(folder: Path) -> list[str]:
    """The files in a folder of images that count as none, by name."""
    return sorted(f.name for f in folder.iterdir() if f.is_file() and not is_image_name(f.name))


def left_out_remark(name: str, files: Sequence[str], where: object) -> list[str]:
    """What a run of task `name` says of files that are left out; nothing where there are none."""
    if not files:
        return []
    several = f"{len(files)} files" if len(files) > 1 else "a file"
    verb = "are" if len(files) > 1 else "is"
    return [f"{name}: {several} of {where} {verb} not taken for images, such as {files[0]}"]


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
    if (right - left) * (bottom - top) > _CROP * width * height:
        raise DataError(
            f"{where}: the box {ref.box} is more than {_CROP} times as large as {ref.id} "
            f"({width}x{height}); fix the box"
        )
    return left >= 0 and top >= 0 and right <= width and bottom <= height
