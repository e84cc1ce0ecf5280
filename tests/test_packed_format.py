"""docs/format.md is true: its example is what lcomp writes, and a plain reader made from it reads every kind."""

import re
from pathlib import Path

import plain_reader
import pytest
import torch
from packed_networks import every_kind, of_sentences, smooth
from torch import nn

from lcomp.packed.coder import NUMBER, FrequencyTable, Writer
from lcomp.packed.file import STEP, file_content, read_network, write_network
from lcomp.packed.layer_codec import make_linear
from lcomp.packed.network import Network
from lcomp.techniques.quantization.integer_layers import IntegerWeight

DOCUMENT = (Path(__file__).parents[1] / "docs/format.md").read_text()


def example():
    integers = torch.tensor([[1, -1, 0, 1], [0, 1, 1, -1]], dtype=torch.int8)
    layer = make_linear(IntegerWeight(integers, torch.tensor([0.5, 0.5])), torch.tensor([0.25, -0.75]))
    return Network((1, 2, 2), 2, [nn.Flatten(), layer], [(0,), (1,)])


def hexadecimal():
    [found] = re.findall(r"^    ((?:[0-9a-f]{2} )+[0-9a-f]{2})$", DOCUMENT, re.MULTILINE)
    return bytes.fromhex(found)


def test_the_worked_example_is_what_is_written_and_what_is_read():
    assert file_content(write_network(example())) == hexadecimal() and len(hexadecimal()) == 21
    weights = {"integers": [1, -1, 0, 1, 0, 1, 1, -1], "scales": [0.5, 0.5], "bias": [0.25, -0.75]}
    assert plain_reader.read(hexadecimal()) == [("pixels", (1, 2, 2)), ("flatten", {}), ("linear", weights)]
    assert read_network(hexadecimal())(torch.ones(1, 1, 2, 2)).tolist() == [[0.75, -0.25]]


def test_the_worked_example_goes_through_the_states_that_are_told(monkeypatch):
    example = DOCUMENT.partition("## Worked example")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .* \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([0-9a-f]+)[ ,]", example, re.MULTILINE)
    told = [(*(int(n.replace(",", "")) for n in row[:3]), row[3]) for row in rows]
    seen, take = [], plain_reader.Decoder.take

    def watched(self, start, frequency):
        low = self.state % 2**24
        after = (self.state >> 24) * frequency + low - start
        seen.append((low, start, frequency, f"{after:x}"))
        take(self, start, frequency)

    monkeypatch.setattr(plain_reader.Decoder, "take", watched)
    plain_reader.read(hexadecimal())
    assert len(told) == 15 and seen[:15] == told


def test_the_tables_are_those_of_the_document():
    assert plain_reader.NUMBER == [16, 16, 12, 10, 8, 8, 8, 8, 8, 4, 4, 2, 2] + [1] * 51
    for text, weights, table in (
        ("16 16 12 10 8 8 8 8 8 4 4 2 2 and 51 times 1", plain_reader.NUMBER, NUMBER),
        ("16 40 24 48 24 16 32 8 8 12 12 12 4 4 4 8 4 4 4 4 4 4 and 10 times 1", plain_reader.STEP, STEP),
    ):
        first, count = re.fullmatch(r"([\d ]+) and (\d+) times 1", text).groups()
        assert f"    {text}\n" in DOCUMENT
        assert weights == [int(n) for n in first.split()] + [1] * int(count)
        assert (FrequencyTable(weights).frequencies == table.frequencies).all()


def read_plainly(network):
    """Its steps as the plain reader has them; each number of each form of weight is what lcomp has."""
    steps = plain_reader.read(file_content(write_network(network)))[1:]
    assert len(steps) == len(network.steps)
    found = {"weight": 0, "integers": 0, "scales": 0, "codebook": 0, "bias": 0}
    for (_, settings), step in zip(steps, network.steps, strict=True):
        state = dict(getattr(step, "table", step).state_dict())
        theirs = {"weight": "weight", "integers": "coded.integers", "scales": "coded.scale", "bias": "bias"}
        for name, own in (theirs | {"codebook": "coded.codebook"}).items():
            if name in settings:
                assert settings[name] == state[own].flatten().tolist(), (name, step)
                found[name] += 1
    assert min(found.values()) > 0
    return steps


def test_a_plain_reader_finds_every_number_of_every_kind_of_step():
    network = every_kind()
    steps, of_tokens = read_plainly(network), read_plainly(of_sentences())
    assert {name for name, _ in [*steps, *of_tokens]} == set(plain_reader.KINDS) - {"end"}
    settings = dict(steps)
    assert settings["clip"]["settings"] == [-1.5, float("inf")] and settings["quantize"]["bits"] == 4
    assert settings["conv"] | {"stride": (1, 1), "groups": 1} == settings["conv"]
    joins = [made["reads"] for name, made in steps if name == "join"]
    assert joins == [sources for sources in network.sources if len(sources) == 2]


def test_a_plain_reader_finds_what_reads_sentences():
    network = of_sentences()
    steps = read_plainly(network)
    settings = dict(steps)
    assert settings["attention"] == {"heads": 4, "scale": [0.5], "reads": network.sources[9][:3]}
    assert settings["look_up"]["rows"] == 11 and settings["places"]["rows"] == 9
    assert settings["renumbered"]["own"] == [1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0] and settings["renumbered"]["rows"] == 6
    assert settings["layer_norm"]["eps"] == [pytest.approx(1e-12)]
    assert settings["layer_norm"]["bias"] == network.steps[3].bias.tolist()
    again = read_network(file_content(write_network(network)))
    ids, mask = torch.tensor([[3, 10, 1, 0], [2, 2, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert torch.equal(again(ids, mask), network(ids, mask)) and again.sources == network.sources


def test_a_plain_reader_finds_the_weights_that_lean():
    network = smooth()
    file = file_content(write_network(network, 2))
    assert len(file) < 0.9 * len(file_content(write_network(network)))
    assert [made["integers"] for name, made in plain_reader.read(file) if name == "conv"] == [
        step.coded.integers.flatten().tolist() for step in network.steps[:2]
    ]


def test_the_coder_is_that_of_the_document_for_tables_of_any_weights():
    """constriction makes its tables of floats; a reader in another language has only whole numbers."""
    draw = torch.Generator().manual_seed(0)
    tables = [(torch.rand(levels, generator=draw) ** 8 * 10**6).long() for levels in (2, 3, 17, 300, 5000)]
    tables.append(torch.tensor([1] * 9 + [5]))  # 7/14 of 2^24 - 10, which floats round to less than half
    for weights in tables:
        values = torch.randint(0, len(weights), (200,), generator=draw).numpy()
        io = Writer()
        io.symbols(FrequencyTable(weights.numpy()), values)
        decoder = plain_reader.Decoder(io.content())
        assert [decoder.symbol(weights.tolist()) for _ in values] == values.tolist() and decoder.state == 0
