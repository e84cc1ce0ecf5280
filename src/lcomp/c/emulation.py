"""Small processors in an emulator: the self-test there, the instructions and the stack that it takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lcomp.c.compiling import SMALL, Target, run
from lcomp.errors import UserError

SOURCES = Path(__file__).parent / "boards"
MINUTES = 10
MEGABYTE = 1 << 20
LAYOUT = """ENTRY({entry})
MEMORY {{ FLASH (rx) : ORIGIN = {flash[0]}, LENGTH = {flash[1]}  RAM (rwx) : ORIGIN = {ram[0]}, LENGTH = {ram[1]} }}
stack_top = ORIGIN(RAM) + LENGTH(RAM);
SECTIONS {{
    .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.srodata*) . = ALIGN(4); }} > FLASH
    .data : {{ data_begin = .; *(.data*) *(.sdata*) . = ALIGN(4); data_end = .; }} > RAM AT > FLASH
    data_load = LOADADDR(.data);
    .bss (NOLOAD) : {{ bss_begin = .; *(.bss*) *(.sbss*) *(COMMON) . = ALIGN(4); bss_end = .; }} > RAM
    /DISCARD/ : {{ *(.ARM.*) *(.comment) *(.eh_frame*) *(.note*) *(.riscv.attributes) }}
}}
"""


@dataclass(frozen=True)
class Board:
    """A board that QEMU emulates.

    Args:
        machine: QEMU's name of it.
        target: the compiler, and the processor that it is asked for.
        source: of what is its own, in `SOURCES`.
        flash, ram: where they lie, and how long they are.
        clock: hertz of its processor's timer.
    """

    machine: str
    emulator: str
    target: Target
    source: str
    flash: tuple[int, int]
    ram: tuple[int, int]
    clock: int = 1
    entry: str = "reset"

    @property
    def missing(self) -> str:
        """What this machine lacks to emulate it; an empty text where nothing."""
        return ", ".join(name for name in (self.target.compiler, self.emulator) if not shutil.which(name))


def cortex(processor: str, machine: str, flash: tuple[int, int], ram: tuple[int, int], clock: int) -> Board:
    target = Target("arm-none-eabi-gcc", (f"-mcpu={processor}", "-mthumb"))
    return Board(machine, "qemu-system-arm", target, "cortex_m.c", flash, ram, clock)


BOARDS: Mapping[str, Board] = {
    "cortex-m0": cortex("cortex-m0", "microbit", (0, MEGABYTE // 4), (0x20000000, MEGABYTE // 64), 16_000_000),
    "cortex-m3": cortex("cortex-m3", "mps2-an385", (0, 4 * MEGABYTE), (0x20000000, 4 * MEGABYTE), 25_000_000),
    "cortex-m33": cortex(
        "cortex-m33", "mps2-an505", (0x10000000, 4 * MEGABYTE), (0x38000000, 4 * MEGABYTE), 20_000_000
    ),
    "riscv32": Board(
        "virt",
        "qemu-system-riscv32",
        Target("riscv64-unknown-elf-gcc", ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany")),
        "riscv.c",
        (0x80000000, 4 * MEGABYTE),
        (0x80400000, 4 * MEGABYTE),
        entry="start",
    ),
}


@dataclass(frozen=True)
class Emulated:
    """What a board's self-test says.

    Attributes:
        equal: examples whose outputs are all those of the reference.
        instructions, stack: of the first example; bytes.
    """

    equal: int
    instructions: int
    stack: int


def emulate(files: Mapping[str, str], board: Board) -> Emulated:
    """Runs the self-test on a board, compiled for size.

    Raises:
        UserError: the compiler or the emulator is missing or fails.
    """
    if board.missing:
        raise UserError(f"{board.machine}: needs {board.missing}, which this machine has not")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        for source in SOURCES.iterdir():
            (folder / source.name).write_bytes(source.read_bytes())
        (folder / "layout.ld").write_text(LAYOUT.format(entry=board.entry, flash=board.flash, ram=board.ram))
        command = [
            board.target.compiler,
            *board.target.flags,
            *SMALL,
            f"-DCLOCK={board.clock}u",
            "-nostdlib",
        ]
        sources = ["start.c", "self_test.c", board.source, "examples.c", "model.c", "weights.c", "-lgcc"]
        run([*command, "-Wl,-T,layout.ld", "-o", "self_test.elf", *sources], folder)
        said = output_of(board, folder / "self_test.elf")
    found = {key: int(number) for key, number in re.findall(r"^(equal|instructions|stack) (\d+)$", said, re.M)}
    if len(found) != 3:
        raise UserError(f"{board.machine}: its self-test does not end; it says {said[:200]!r}")
    return Emulated(**found)


def output_of(board: Board, program: Path) -> str:
    command = [board.emulator, "-machine", board.machine, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    command += ["-bios", "none"] if board.machine == "virt" else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"{board.machine}: its self-test takes more than {MINUTES} minutes") from None
    return done.stdout + done.stderr
