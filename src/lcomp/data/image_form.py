"""One image of a user's, whatever its format, as bytes of the shape that networks see."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lcomp.errors import UserError, validate_choice

WHITE = 255
MOST_PIXELS = 89_478_485  # from there on Pillow suspects an attack; a JPEG is counted as it is decoded
OF_16_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")


class Undecodable(ValueError):
    """A file is no image that can be read; its text says why."""


@dataclass(frozen=True)
class ImageForm:
    """What files are made into: bytes (channels, height, width).

    An image is turned as its EXIF says, laid on white where it is transparent, and resized (bilinear, smoothed). Of 16
    bits the upper 8 count, of an animation the first picture.

    Args:
        size: height and width.
        fit: `crop` resizes the shorter side and keeps the middle, `pad` the longer and leaves black margins, `stretch`
            both sides.
        resize: pixels of the shorter side before the middle is cropped (256 for 224); None: no more than that takes.
        channels: 3, or 1 for grey.

    Raises:
        UserError: a setting that cannot be.
    """

    size: tuple[int, ...]
    fit: str = "crop"
    resize: int | None = None
    channels: int = 3

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"data.size={list(self.size)}: must be pixels of a side, or [height, width], 1 or more")
        validate_choice("data.fit", self.fit, ("crop", "pad", "stretch"))
        if self.channels not in (1, 3):
            raise UserError(f"data.channels={self.channels}: must be 3, colours, or 1, grey")
        if self.resize is not None and (self.fit != "crop" or self.resize < max(self.size)):
            raise UserError(
                f"data.resize={self.resize}: the shorter side before data.fit=crop, {max(self.size)} or more"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, *self.size

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The image in `path`, (C, H, W).

        What Pillow warns of, such as odd metadata, is the caller's to hear or not: threads share one filter.

        Raises:
            Undecodable: it cannot be read, or is too large to be meant.
        """
        try:
            with Image.open(path) as image:
                pixels = np.asarray(self.fitted(self.converted(upright(image, self.draft_size))))
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
            raise Undecodable(" ".join(str(error).split()) or type(error).__name__) from error
        return np.ascontiguousarray(pixels.reshape(*self.size, self.channels).transpose(2, 0, 1))

    @property
    def draft_size(self) -> int:
        """What a JPEG may be decoded smaller down to: of its shorter side."""
        return 2 * max(*self.size, self.resize or 0)

    def converted(self, image: Image.Image) -> Image.Image:
        """The image in the channels that are wanted."""
        if image.mode in OF_16_BITS:
            image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
        if image.mode == "F":
            raise Undecodable("its pixels are floating-point numbers, of no known range; save it with 8 or 16 bits")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (WHITE, WHITE, WHITE, WHITE)), image)
        return image.convert("RGB" if self.channels == 3 else "L")

    def fitted(self, image: Image.Image) -> Image.Image:
        """The image in the height and width that are wanted."""
        height, width = self.size
        if self.fit == "stretch":
            return resized(image, width, height)
        across, down = width / image.width, height / image.height
        scale = min(across, down) if self.fit == "pad" else max(across, down)
        if self.resize is not None:
            scale = max(scale, self.resize / min(image.size))
        image = resized(image, *(max(1, round(side * scale)) for side in image.size))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))  # what lies outside is black


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def upright(image: Image.Image, shorter_side: int) -> Image.Image:
    """The decoded image as it is to be looked at; a JPEG is decoded at a half, a quarter or an eighth where its shorter
    side stays above `shorter_side`."""
    scale = shorter_side / min(image.size)
    if scale < 1:
        image.draft(None, (round(image.width * scale), round(image.height * scale)))
    if image.width * image.height > MOST_PIXELS:
        raise Undecodable(f"{image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are read: make it smaller")
    image.load()
    return ImageOps.exif_transpose(image)
