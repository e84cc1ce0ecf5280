"""Compilers: what a folder of C takes of flash and memory, and the same C as a library that Python calls."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcomp.errors import UserError

HOST = ("gcc", "cc", "clang")
SMALL = (  # the last one: loops stay loops, no calls of memset, which no library is there for
    *("-std=c11", "-Os", "-ffreestanding", "-ffunction-sections", "-fdata-sections"),
    "-fno-tree-loop-distribute-patterns",
)
FAST = ("-std=c11", "-O3", "-march=native", "-fPIC", "-shared", "-DMODEL_SPECIALIZE")
FLASH, STATIC = re.compile(r"^\.(text|rodata|data)"), re.compile(r"^\.(data|bss)")
LAYOUT = """SECTIONS {
    .text : { *(.text*) } .rodata : { *(.rodata*) *(.data.rel.ro*) } .data : { *(.data*) } .bss : { *(.bss*) *(COMMON) }
    /DISCARD/ : { *(.comment) *(.eh_frame*) *(.note*) *(.ARM*) }
}
"""
ASKING = """
#ifdef MODEL_OUTPUT_SCALE
typedef uint8_t given_number;
typedef int32_t answered_number;
const float output_scale = MODEL_OUTPUT_SCALE;
#else
typedef float given_number;
typedef float answered_number;
const float output_scale = 0.0f;
#endif
const int32_t input_count = MODEL_INPUTS, output_count = MODEL_OUTPUTS;

void run_many(const given_number *inputs, answered_number *outputs, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        model_run(inputs + i * MODEL_INPUTS, outputs + i * MODEL_OUTPUTS);
}
"""


@dataclass(frozen=True)
class Target:
    """A compiler and the processor that it is asked for."""

    compiler: str
    flags: tuple[str, ...] = ()


CORTEX_M0 = Target("arm-none-eabi-gcc", ("-mcpu=cortex-m0", "-mthumb"))


@dataclass(frozen=True)
class Footprint:
    """Bytes of a linked model.

    Attributes:
        flash: code, weights and other constants, the compiler's own functions that it calls with them.
        ram: the arena, other static data, and the deepest stack of its functions.
    """

    flash: int
    ram: int


def host() -> str:
    """A compiler for this machine.

    Raises:
        UserError: there is none.
    """
    for name in HOST:
        if shutil.which(name):
            return name
    raise UserError("runtime=c: needs a C compiler, and finds none of gcc, cc and clang; on Debian: apt install gcc")


def smallest_target() -> Target:
    """A Cortex-M0's compiler where there is one, else this machine's."""
    return CORTEX_M0 if shutil.which(CORTEX_M0.compiler) else Target(host())


def version(compiler: str) -> str:
    return run([compiler, "-dumpfullversion", "-dumpversion"], Path.cwd()).strip()


def run(command: list[str], folder: Path) -> str:
    """What a compiler says.

    Raises:
        UserError: it fails; its first message.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.splitlines() or [""]
        worst = [line for line in said if "error" in line and "ld returned" not in line] or said
        raise UserError(f"{command[0]} cannot compile the C: {worst[0][:200]}")
    return done.stdout


def footprint(text: str, target: Target) -> Footprint:
    """What a model, all of it in one file of C, takes: linked by itself with all that it calls."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.c").write_text(text)
        (folder / "layout.ld").write_text(LAYOUT)
        command = [target.compiler, *target.flags, *SMALL]
        run([*command, "-fcallgraph-info=su", "-c", "model.c"], folder)
        link = ["-nostdlib", "-static", "-Wl,--gc-sections,-e,model_run,-T,layout.ld"]
        run([*command, *link, "-o", "model.elf", "model.c", "-lgcc"], folder)
        size = target.compiler.removesuffix("gcc") + "size" if target.compiler.endswith("gcc") else "size"
        sections = [line.split() for line in run([size, "-A", "model.elf"], folder).splitlines()]
        sizes = {line[0]: int(line[1]) for line in sections if len(line) == 3 and line[1].isdigit()}
        flash = sum(count for section, count in sizes.items() if FLASH.match(section))
        static = sum(count for section, count in sizes.items() if STATIC.match(section))
        return Footprint(flash, static + deepest_stack((folder / "model.ci").read_text()))


def deepest_stack(call_graph: str) -> int:
    """The most that model_run and what it calls have on the stack, from gcc's call graph."""
    node = re.compile(r'node: \{ title: "([^"]+)" label: "[^"]*?(?:\\n(\d+) bytes \(static\))?"')
    edge = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
    own = {title: int(count or 0) for title, count in node.findall(call_graph)}
    calls: dict[str, set[str]] = {}
    for source, target in edge.findall(call_graph):
        calls.setdefault(source, set()).add(target)

    def depth(title: str) -> int:  # there is no recursion
        return own.get(title, 0) + max((depth(called) for called in calls.get(title, ())), default=0)

    return depth("model_run")


class Library:
    """A model of one file of C, compiled for this machine.

    Attributes:
        is_integer: whether it takes bytes and answers whole numbers.
    """

    def __init__(self, text: str):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "model.c").write_text(text + ASKING)
            run([host(), *FAST, "-o", "model.so", "model.c"], folder)
            made = ctypes.CDLL(str(folder / "model.so"))  # stays open when the file is gone
        self.scale = ctypes.c_float.in_dll(made, "output_scale").value
        self.is_integer = self.scale > 0
        self.outputs = ctypes.c_int32.in_dll(made, "output_count").value
        self.run_many = made.run_many
        self.run_many.restype = None
        self.run_many.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32]

    def answer(self, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
        """The outputs (N, outputs) of inputs (N, rows, columns, channels)."""
        given = np.ascontiguousarray(inputs, np.uint8 if self.is_integer else np.float32)
        made = np.empty((len(given), self.outputs), np.int32 if self.is_integer else np.float32)
        self.run_many(given.ctypes.data, made.ctypes.data, len(given))
        return made

    def logits(self, examples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of examples (N, channels, rows, columns) in [0, 1]."""
        values = examples.transpose(0, 2, 3, 1)
        if not self.is_integer:
            return self.answer(values).astype(np.float32)
        return (self.answer(as_bytes(values)).astype(np.float64) * self.scale).astype(np.float32)


def as_bytes(examples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Numbers from 0 to 1 as a sensor gives them."""
    return np.rint(examples * 255).clip(0, 255).astype(np.uint8)
