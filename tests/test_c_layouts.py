"""What a folder of C is besides one that `make` builds: CMake's, Arduino's, a page in a browser."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lcomp.c import ARDUINO, WASM
from lcomp.c.__main__ import main
from lcomp.c.command import examples_of
from lcomp.c.compiling import host
from lcomp.c.layouts import page
from lcomp.c.model import CModel, make_model

ROOT = Path(__file__).parents[1]
RECORD, PAGE = ROOT / "records" / "1kb-seed4.lcomp", ROOT / "docs" / "draw.html"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
ARDUINO_H = """#include <stdint.h>
extern "C" unsigned long micros(void);
extern "C" void delay(unsigned long);
struct Port { void begin(long); void print(int); void print(const char *); void println(unsigned long); };
extern Port Serial;
"""
ON_A_HOST = """#include <stdio.h>
#include "Arduino.h"
Port Serial;
void Port::begin(long) {}
void Port::print(int number) { printf("%d", number); }
void Port::print(const char *text) { printf("%s", text); }
void Port::println(unsigned long number) { printf("%lu\\n", number); }
unsigned long micros(void) { static unsigned long now; return now += 7; }
void delay(unsigned long) {}
void setup(void);
void loop(void);
int main(void) { setup(); loop(); }
"""
CLANG = shutil.which("clang") and shutil.which("wasm-ld")
BOARDS = {
    "arm-none-eabi-gcc": ["-mcpu=cortex-m0plus", "-mthumb"],
    "avr-gcc": ["-mmcu=atmega2560"],
}


@pytest.fixture(scope="module")
def model() -> CModel:
    return make_model(RECORD, np.random.default_rng(0).random((12, 1, 28, 28), dtype=np.float32), "packed")


def ran(*command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def library(model, tmp_path):
    model.write(tmp_path / "library", ARDUINO)
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cpp").write_text(ON_A_HOST)
    return tmp_path / "library"


def compiled(library, compiler, flags):
    """The objects of the library and of its sketch, as Arduino compiles them."""
    sketch = library / "examples" / "self_test"
    objects = []
    for source in (library / "src" / "model.c", library / "src" / "weights.c", sketch / "examples.c"):
        objects.append(library.parent / f"{source.stem}.o")
        include = ["-I", library / "src", "-Os", "-std=gnu11", *WARNINGS]
        ran(compiler, *flags, *include, "-c", source, "-o", objects[-1], folder=library)
    objects.append(library.parent / "sketch.o")
    include = ["-I", library / "src", "-I", library.parent, "-include", "Arduino.h", "-Os", "-std=gnu++11", *WARNINGS]
    plus = compiler.replace("gcc", "g++")
    ran(plus, *flags, *include, "-x", "c++", "-c", sketch / "self_test.ino", "-o", objects[-1], folder=library)
    return objects


def test_a_library_of_arduinos_has_its_parts_and_its_sketch_tests_the_model(library):
    assert sorted(str(path.relative_to(library)) for path in library.rglob("*") if path.is_file()) == [
        *(f"examples/self_test/{name}" for name in ("examples.c", "examples.h", "self_test.ino")),
        "library.properties",
        *(f"src/{name}" for name in ("model.c", "model.h", "weights.c", "weights.h")),
    ]
    properties = dict(line.split("=", 1) for line in (library / "library.properties").read_text().splitlines())
    asked = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert asked <= {*properties} and all(properties.values())
    assert re.fullmatch(r"[A-Za-z0-9][\w. -]*", properties["name"]) and properties["includes"] == "model.h"
    objects = compiled(library, "gcc", [])
    ran(
        "g++",
        "-I",
        library.parent,
        library.parent / "main.cpp",
        *objects,
        "-o",
        library.parent / "sketch",
        folder=library,
    )
    assert ran(library.parent / "sketch", folder=library) == "10 of 10 examples equal, microseconds an answer: 7\n"


@pytest.mark.parametrize("compiler", ["arm-none-eabi-gcc", "avr-gcc"])
def test_the_library_and_its_sketch_compile_for_boards(library, compiler):
    if not shutil.which(compiler.replace("gcc", "g++")):
        pytest.skip(f"{compiler} is not installed: apt install gcc-arm-none-eabi gcc-avr avr-libc")
    assert all(one.stat().st_size > 0 for one in compiled(library, compiler, BOARDS[compiler]))


def test_cmake_builds_the_self_test_and_it_holds(model, tmp_path):
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed: apt install cmake")
    model.write(tmp_path)
    ran("cmake", "-S", ".", "-B", "build", f"-DCMAKE_C_COMPILER={host()}", folder=tmp_path)
    ran("cmake", "--build", "build", folder=tmp_path)
    assert "100% tests passed" in ran("ctest", "--test-dir", "build", folder=tmp_path)
    assert "12 of 12 examples equal" in ran("build/self_test", folder=tmp_path)


def test_the_committed_page_is_what_the_command_writes():
    text = PAGE.read_text()
    module = base64.b64decode(re.search(r'const MODULE = "([^"]+)"', text)[1])
    expected = page(make_model(RECORD, examples_of(RECORD, "mnist5k", None), "packed").writing, module)
    scale = re.compile(r"SCALE = \S+")  # which the ranges of examples have a part in, here of others
    assert scale.sub("", text) == scale.sub("", expected)
    assert len(re.findall(r"https?:|//\w+\.", text)) == 0
    assert int(re.search(r"([\d,]+)\s+the network", text)[1].replace(",", "")) < 2_000


@pytest.mark.slow  # in a browser
@pytest.mark.parametrize("path", [PAGE, None], ids=["committed", "made"])
def test_a_page_answers_what_is_drawn(path, model, browser, tmp_path):
    if path is None:
        if not CLANG:
            pytest.skip("clang and wasm-ld are not installed: apt install clang lld")
        model.write(tmp_path, WASM)
        path = tmp_path / "index.html"
        assert (tmp_path / "model.wasm").read_bytes()[:4] == b"\0asm"
    opened, asked, wrong = browser.new_page(), [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.goto(path.as_uri())
    if path != PAGE:
        answered = opened.evaluate("(rows) => rows.map((row) => outputs(row))", model.tested.reshape(12, -1).tolist())
        assert answered == model.expected.tolist()
    assert opened.inner_text("#answer").strip() == ""
    box = opened.locator("#drawing").bounding_box()
    for number, strokes in DIGITS.items():
        for stroke in strokes:
            for at, (x, y) in enumerate(stroke):
                opened.mouse.move(box["x"] + x, box["y"] + y, steps=4)
                if at == 0:
                    opened.mouse.down()
            opened.mouse.up()
        if path == PAGE:  # of ranges of real digits
            assert opened.inner_text("#answer") == number
        assert opened.inner_text("#took").startswith("The last answer took ")
        shares = [float(text) for text in re.findall(r"([\d.]+) %", opened.inner_text("#classes"))]
        assert len(shares) == 10 and abs(sum(shares) - 100) < 1
        opened.click("#clear")
        assert opened.inner_text("#answer").strip() == ""
    assert asked == [path.as_uri()] and wrong == []
    opened.close()


DIGITS = {  # strokes of points, on a canvas of 280 x 280
    "1": [[(150, 50), (140, 230)]],
    "7": [[(70, 60), (200, 60), (120, 230)]],
    "4": [[(90, 50), (75, 140), (200, 140)], [(180, 60), (165, 235)]],
    "0": [[(140, 50), (85, 90), (80, 180), (130, 230), (185, 190), (195, 100), (140, 50)]],
}


def test_a_page_is_refused_where_a_network_takes_colours(tmp_path, capsys):
    np.save(tmp_path / "examples.npy", np.random.default_rng(0).random((4, 3, 32, 32), dtype=np.float32))
    colours = ROOT / "records" / "cifar10" / "25kb-seed0.lcomp"
    asked = ["--examples", str(tmp_path / "examples.npy"), "--layout", "wasm", "--out", str(tmp_path / "c")]
    assert main([str(colours), *asked]) == 1
    assert "draws in one colour" in capsys.readouterr().err and not (tmp_path / "c").exists()
