"""What is no packed network, or a damaged or hostile one, is refused in one line, soon and in little memory."""

import random
import resource
import zlib

import numpy as np
import pytest
from packed_networks import every_kind, of_sentences, smooth
from quickly import first_quickly
from torch import nn

import lcomp
from lcomp.errors import UserError
from lcomp.packed.coder import FOUR, Writer
from lcomp.packed.file import HEADER, STEP, file_content, read_network, write_network
from lcomp.packed.layer_codec import SQUARE
from lcomp.packed.network import MOST_STEPS, Constant, Join, Mean, Network
from lcomp.packed.operations import OPERATIONS, OPERATOR
from lcomp.packed.sentences import Attend, First, MaskedMean, Places
from lcomp.techniques.quantization.integer_layers import Input

CORRUPTIONS = 1000


@pytest.fixture(scope="module")
def whole():
    return file_content(write_network(every_kind()))


@pytest.fixture(scope="module")
def leaning():
    """A file of version 2, with what version 1 has not."""
    return file_content(write_network(smooth(), 2))


@pytest.fixture(scope="module")
def of_tokens():
    """One that reads sentences."""
    return file_content(write_network(of_sentences()))


def corrupted(file, seed):
    """`file` with one to eight bytes changed, some cut out, some put in, or cut off."""
    draw = random.Random(seed)
    found = bytearray(file)
    kind = seed % 4
    if kind == 0:
        for _ in range(draw.randint(1, 8)):
            found[draw.randrange(len(found))] ^= draw.randint(1, 255)
    elif kind == 1:
        start = draw.randrange(len(found))
        del found[start : start + draw.randint(1, 20)]
    elif kind == 2:
        found[(place := draw.randrange(len(found))) : place] = draw.randbytes(draw.randint(1, 20))
    else:
        del found[draw.randrange(len(found)) :]
    return bytes(found)


def signed(body, version=1):
    """A file of this body with the checksum that belongs to it."""
    return b"LC" + bytes([version]) + zlib.crc32(body).to_bytes(4, "little") + body


@pytest.mark.parametrize("name", ["whole", "leaning", "of_tokens"])
def test_every_corruption_is_refused(name, request):
    file = request.getfixturevalue(name)
    for seed in range(CORRUPTIONS):
        with pytest.raises(UserError) as refused:
            read_network(corrupted(file, seed))
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


@pytest.mark.parametrize("name", first_quickly(["whole", "leaning", "of_tokens"]))
def test_corruptions_under_a_new_checksum_are_refused_or_are_networks(name, request):
    """What decodes to the very end is a network, of other weights: nobody can tell."""
    file, refused = request.getfixturevalue(name), 0
    for seed in range(CORRUPTIONS):
        try:
            network = read_network(signed(corrupted(file[HEADER:], seed), file[2]))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 300
        else:
            assert isinstance(network, Network)
    assert refused > 0.9 * CORRUPTIONS


def test_noise_under_a_right_checksum_is_refused_in_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(300):
        draw = random.Random(seed)
        with pytest.raises(UserError):
            read_network(signed(draw.randbytes(draw.randint(1, 400)) + b"\1"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes


def crafted(*parts, shape=(1, 28, 28), end=True):
    """A file of images of that shape and of what `parts` write; numbers beyond it are read as zeros."""
    io = Writer()
    for side in shape:
        io.number(side - 1)
    for part in parts:
        part(io)
    if end:
        io.symbol(STEP, 0)
    return file_content(io)


def step(kind, *numbers):
    """Writes the code of a kind of step, and numbers."""

    def part(io):
        io.symbol(STEP, 1 + next(code for code, one in enumerate(OPERATIONS) if issubclass(kind, one.kind)))
        for number in numbers:
            io.number(number)

    return part


def square(value):
    """Writes a pair of equal numbers."""
    return lambda io: (io.symbol(SQUARE, 0), io.number(value))


def number(value):
    return lambda io: io.number(value)


def bits(value):
    return lambda io: io.bits(32, np.array([value]))


def floats(value):
    """Writes the form of floats, or of a weight."""
    return lambda io: io.symbol(FOUR, value)


def add(io):
    io.symbol(OPERATOR, 0)


def yes(io):
    io.flag(True)


def no(io):
    io.flag(False)


FLATTEN, RELU, POOL = step(nn.Flatten), step(nn.ReLU), step(nn.MaxPool2d)
form = floats
WORDS = [step(nn.Embedding, 2, 1), form(0), floats(0), bits(1), no]  # three, each of two numbers
CRAFTED = {
    "a huge side": (crafted(shape=(1, 1, 1 << 40)), "a number is"),
    "a huge image": (crafted(shape=(1 << 10, 1 << 10, 1 << 10)), "a value of shape"),
    "huge outputs": (crafted(FLATTEN, step(nn.Linear, 1 << 40)), "a number is"),
    "a huge weight": (
        crafted(FLATTEN, step(nn.Linear, (1 << 16) - 1), form(0), floats(0), shape=(16, 64, 64)),
        "more numbers than",
    ),
    "huge levels": (crafted(FLATTEN, step(nn.Linear, 9), form(1), number(0), number(1 << 50)), "a number is"),
    "a huge lowest number": (crafted(FLATTEN, step(nn.Linear, 9), form(1), number(1 << 60)), "a number is"),
    "a huge codebook": (crafted(FLATTEN, step(nn.Linear, 9), form(2), number(256)), "a number is"),
    "a huge kernel": (crafted(step(nn.Conv2d, 3), square(1 << 30)), "a number is"),
    "a kernel that leaves less than nothing": (crafted(step(nn.Conv2d, 3), square(28), no), "a Conv2d of values"),
    "huge groups": (
        crafted(step(nn.Conv2d, 3), square(2), yes, square(0), square(0), square(0), number(1 << 15)),
        "in 32769 groups",
    ),
    "a padding beyond half a window": (crafted(POOL, yes, square(1), square(1), square(9), no), "a MaxPool2d of"),
    "a padding that fills the memory": (
        crafted(*[step(nn.Conv2d), number(1 << 15), square(0), yes, square(0), square(1 << 10), square(0)]),
        r"a value of shape \(32769, 2076, 2076\)",
    ),
    "as many steps as there is memory for": (crafted(*[RELU] * (MOST_STEPS + 1), FLATTEN), "more than 4,096 steps"),
    "a chain of values that are only called again": (
        crafted(*[step(nn.Identity, 0)] * (MOST_STEPS + 1)),
        "more than 4,096 steps",
    ),
    "a value before the first": (crafted(step(nn.Identity, 1), FLATTEN), "a number is 1, where 0"),
    "a float beyond the largest": (
        crafted(FLATTEN, step(nn.Linear, 1), form(0), floats(2), number(400)),
        "to the power of 200",
    ),
    "a multiple beyond the largest": (
        crafted(FLATTEN, step(nn.Linear, 1), form(0), floats(2), number(200), number(1 << 30), number(0)),
        "as large multiples",
    ),
    "a float of too many bits": (
        crafted(FLATTEN, step(nn.Linear, 1), form(0), floats(3), number(20), number(20), number(0), number(0)),
        "more bits than 32",
    ),
    "a negative magnitude": (
        crafted(FLATTEN, step(nn.Linear, 1), form(0), floats(3), number(0), number(0), number(1), number(0)),
        "more bits than 32",
    ),
    "an unknown kind of step": (crafted(lambda io: io.symbol(STEP, 31)), "a step of kind 31"),
    "an unknown form of a weight": (crafted(FLATTEN, step(nn.Linear, 1), form(3)), "a weight in a form"),
    "a linear layer of an image": (crafted(step(nn.Linear, 1)), "a linear layer of a value of shape"),
    "a convolution of a vector": (crafted(FLATTEN, step(nn.Conv2d, 1)), "a convolution of a value of shape"),
    "a mean of a vector": (crafted(FLATTEN, step(Mean)), "a Mean of values"),
    "values that do not fit": (crafted(FLATTEN, step(Join), add, number(1)), "a Join of values of shape"),
    "a concatenated constant": (crafted(FLATTEN, step(Constant), lambda io: io.symbol(OPERATOR, 4)), "concatenated"),
    "an image for logits": (crafted(RELU), "ends with values of shape"),
    "a zero point above the levels": (crafted(step(Input, 7, 2)), "a number is 2, where 1"),
    "an index behind the codebook": (
        crafted(FLATTEN, step(nn.Linear, 1), form(2), number(0), floats(0), bits(1), number(2), number(0)),
        "a weight is stored as 1",
    ),
    "a weight beyond a byte": (
        crafted(FLATTEN, step(nn.Linear, 1), form(1), number(2 * 128), number(0)),
        "a weight is stored as 128",
    ),
    "a table with a bias": (crafted(WORDS[0], form(0), floats(0), bits(1), yes), "an embedding with a bias"),
    "a huge table": (crafted(step(nn.Embedding, 1 << 20, 383), form(0), floats(0)), "more numbers than"),
    "a table of too many rows": (crafted(step(nn.Embedding, 1 << 21)), "a number is"),
    "too few places": (crafted(step(Places, 6, 0), form(0), floats(0), bits(1), no), "7 places of a sentence of 28"),
    "an attention of heads that do not fit": (
        crafted(*WORDS, step(Attend, 2), floats(0), bits(1), number(0), number(0), number(0)),
        "an attention of 3 heads of values of shape",
    ),
    "an attention that fills the memory": (
        crafted(
            *WORDS, step(Attend, 0), floats(0), bits(1), number(0), number(0), number(0), shape=(1, 1, (1 << 12) + 1)
        ),
        "an attention of 1 heads",
    ),
    "an attention of ids": (
        crafted(*WORDS, step(Attend, 0), floats(0), bits(1), number(1), number(0), number(0)),
        "an? .*ttend.* of values of shape",
    ),
    "a mean of no tokens": (crafted(*WORDS, step(First), step(MaskedMean)), "a MaskedMean of values of shape"),
    "a mask without ids": (crafted(step(First), step(MaskedMean), shape=(3, 3, 4)), "of a mask|MaskedMean"),
    "ids and an image": (crafted(FLATTEN, *WORDS, step(First)), "token ids and of something else"),
    "no end": (crafted(RELU, RELU, end=False), "ends with values of shape"),
    "numbers behind the end": (crafted(FLATTEN, lambda io: io.symbol(STEP, 0), number(77)), "something follows"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_for_its_own_reason(name):
    file, reason = CRAFTED[name]
    with pytest.raises(UserError, match=f"^a damaged packed network: .*{reason}"):
        read_network(file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: b"", "first two bytes"),
        (lambda file: b"PK" + file[2:], "first two bytes"),
        (lambda file: file[:6], "first two bytes"),
        (lambda file: file[:2] + b"\3" + file[3:], "version 3; this lcomp reads 1 and 2"),
        (lambda file: file + b"\1", "checksum"),
        (lambda file: file[:-1], "checksum"),
        (lambda file: signed(file[HEADER:] + b"\1"), "a damaged packed network"),
        (lambda file: signed(file[HEADER:] + b"\0"), "its last byte is zero"),
        (lambda file: signed(b"\1\2\3\4" + file[HEADER:]), "something follows its end"),
        (lambda file: signed(file[HEADER + 4 :]), "a damaged packed network"),
    ],
)
def test_the_message_names_the_file_and_says_what_is_wrong(whole, tmp_path, change, reason):
    path = tmp_path / "a.lcomp"
    path.write_bytes(change(whole))
    with pytest.raises(UserError, match=reason) as refused:
        lcomp.load(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.lcomp: No such file"):
        lcomp.load(tmp_path / "a.lcomp")
