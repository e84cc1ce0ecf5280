"""Draws the sheet of MNIST-C's fifteen corruptions, docs/images/mnist_c.png, and says what each costs.

    LCOMP_DATA=... python benchmarks/mnist_c_sheet.py              # --image 1 --output docs/images/mnist_c.png
    LCOMP_DATA=... python benchmarks/mnist_c_sheet.py --measure

A row for each corruption: the clean digit, then severities 1 to 5, the published one framed. --measure prints, for the
10,000 test images in batches of 1,000 on one thread, seconds at the published severity, the mean of the corrupted
pixels and their mean distance from the clean ones at severities 1 to 5.

Intel Xeon (AVX512), processor seconds beside other work: 2.0 to 2.5 for all fifteen; motion blur, glass blur, fog and
canny edges 0.3 to 0.5 each, the others below 0.15.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from lcomp.data import MNISTDataModule
from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED, corrupt

TILE, GAP, LABEL, HEAD = 56, 8, 122, 26  # pixels
INK, FRAME = (20, 20, 20), (235, 110, 0)


def sheet(image):
    """The picture of `image` (1, 1, 28, 28) under every corruption, in two columns of rows."""
    rows = -(-len(CORRUPTIONS) // 2)
    column = LABEL + 6 * (TILE + GAP) + 2 * GAP
    paper = Image.new("RGB", (2 * column, HEAD + rows * (TILE + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(14)
    for half in range(2):
        for place, title in enumerate(("clean", *"12345")):
            x = half * column + LABEL + place * (TILE + GAP) + TILE // 2
            draw.text((x, HEAD // 2 + 2), title, INK, font, anchor="mm")
    for number, name in enumerate(CORRUPTIONS):
        left, top = number // rows * column, HEAD + number % rows * (TILE + GAP)
        draw.text((left + LABEL - 10, top + TILE // 2), name.replace("_", " "), INK, font, anchor="rm")
        for severity in range(6):
            seen = corrupt(image, name, severity, number, severity) if severity else image
            tile = Image.fromarray((seen[0, 0] * 255).round().byte().numpy()).resize(
                (TILE, TILE), Image.Resampling.NEAREST
            )
            x = left + LABEL + severity * (TILE + GAP)
            if severity == PUBLISHED[name]:
                draw.rectangle((x - 3, top - 3, x + TILE + 2, top + TILE + 2), FRAME)
            paper.paste(tile, (x, top))
    return paper


def measured(images):
    """A table of what each corruption costs and does."""
    table = Table(title="10,000 images, one thread")
    for heading in ("", "seconds", "mean", *(f"distance {severity}" for severity in range(1, 6))):
        table.add_column(heading, justify="right" if heading else "left")
    total = 0.0
    for name, published in PUBLISHED.items():
        distances = []
        for severity in range(1, 6):
            start = time.process_time()
            seen = [corrupt(batch, name, severity, number) for number, batch in enumerate(images.split(1000))]
            if severity == published:
                seconds, mean = time.process_time() - start, torch.cat(seen).mean()
            distances.append(f"{(torch.cat(seen) - images).abs().mean():.3f}")
        total += seconds
        table.add_row(name, f"{seconds:.2f}", f"{mean:.3f}", *distances)
    table.add_row("all", f"{total:.2f}")
    return table


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", type=int, default=1, help="which test image")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "images" / "mnist_c.png")
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = MNISTDataModule(root=Path(os.environ["LCOMP_DATA"])).test.images.float() / 255
    if given.measure:
        Console(width=120).print(measured(images))
    else:
        given.output.parent.mkdir(exist_ok=True)
        sheet(images[given.image][None]).save(given.output, optimize=True)


if __name__ == "__main__":
    main()
