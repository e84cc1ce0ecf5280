"""A reader of packed networks in plain Python, written from docs/format.md alone: no lcomp, no constriction, no arrays.

layers = read(content)      # [("conv", {...}), ("relu", {}), ...]
"""

import struct
import zlib

NUMBER = [16, 16, 12, 10, 8, 8, 8, 8, 8, 4, 4, 2, 2] + [1] * 51
STEP = [16, 40, 24, 48, 24, 16, 32, 8, 8, 12, 12, 12, 4, 4, 4, 8, 4, 4, 4, 4, 4, 4] + [1] * 10
KINDS = [
    "end", "conv", "linear", "relu", "max_pool", "flatten", "quantize", "dynamic_quantize",
    "average_pool", "mean", "join", "recall", "constant", "batch_norm",
    "clip", "hardswish", "hardsigmoid", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "zeros",
    "look_up", "places", "layer_norm", "attention", "first", "mean_of_tokens", "renumbered",
]  # fmt: skip
OPERATORS = ["add", "mul", "sub", "div", "concat"]


class Decoder:
    def __init__(self, body):
        assert not body.endswith(b"\0")
        body += bytes(-len(body) % 4)
        self.words = list(struct.unpack(f"<{len(body) // 4}I", body))
        self.state = 0
        while self.words and self.state < 2**32:
            self.state = self.state << 32 | self.words.pop()

    def take(self, start, frequency):
        """Removes a symbol that has `frequency` of the 2^24 quantiles, from `start` on."""
        self.state = (self.state >> 24) * frequency + self.state % 2**24 - start
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, weights):
        free, total, before, start = 2**24 - len(weights), sum(weights), 0, 0
        for symbol, weight in enumerate(weights):
            before += weight
            end = before * free // total + symbol + 1
            if self.state % 2**24 < end:
                self.take(start, end - start)
                return symbol
            start = end

    def bits(self, width, count):
        values = [0] * count
        for low in range(0, width, 16):
            part = min(16, width - low)
            for i in range(count):
                value = self.state % 2**24 >> 24 - part
                self.take(value << 24 - part, 1 << 24 - part)
                values[i] |= value << low
        return values

    def flag(self):
        return self.symbol([1, 1])

    def number(self):
        width = self.symbol(NUMBER)
        return width if width < 2 else 1 << width - 1 | self.bits(width - 1, 1)[0]

    def signed(self):
        n = self.number()
        return -(n + 1) // 2 if n % 2 else n // 2

    def adaptive(self, counts, count):
        """`count` symbols under `counts`, [weights, how many were coded], which it brings up to date."""
        if len(counts[0]) == 1:
            return [0] * count
        found = []
        while len(found) < count:
            block = [self.symbol(counts[0]) for _ in range(min(max(1, counts[1] // 16), count - len(found)))]
            for symbol in block:
                counts[0][symbol] += 2
            counts[1] += len(block)
            found += block
        return found

    def sequence(self, levels, count):
        return self.adaptive([[1] * levels, 0], count)

    def integers(self, count):
        lowest, levels = self.signed(), self.number() + 1
        if levels > 2 and self.flag():
            occurs = [1, *self.sequence(2, levels - 2), 1]
            present = [level for level in range(levels) if occurs[level]]
            return [lowest + present[symbol] for symbol in self.sequence(len(present), count)]
        return [lowest + symbol for symbol in self.sequence(levels, count)]

    def floats(self, count):
        form = self.symbol([1, 1, 1, 1])
        if form == 0:
            patterns = self.bits(32, 1) * count
        elif form == 1:
            patterns = self.bits(32, count)
        elif form == 2:
            unit = self.signed()
            return [n * 2.0**unit for n in self.integers(count)]
        else:
            cut, tail = self.number(), self.number()
            upper = self.integers(count)
            shown = [i for i in range(count) if upper[i]]
            patterns = [n << cut + tail for n in upper]
            for i, sign in zip(shown, self.bits(1, len(shown)) if self.flag() else [0] * len(shown), strict=True):
                patterns[i] |= sign << 31
            for i, low in zip(shown, self.bits(tail, len(shown)), strict=True):
                patterns[i] |= low << cut
        return list(struct.unpack(f"<{count}f", struct.pack(f"<{count}I", *patterns)))

    def kernels(self, planes, rows, columns, with_corners=False):
        most = self.number()
        steepest = self.number() + 1 if with_corners else 1
        found = [[[0] * columns for _ in range(rows)] for _ in range(planes)]
        states = [[[1] * (2 * most + 1), 0] for _ in range(steepest + 1)]
        for y in range(rows):
            for x in range(columns):
                lean = [(p[y][x - 1] if x else 0) + (p[y - 1][x] if y else 0) for p in found]
                if with_corners:
                    lean = [2 * n - (p[y - 1][x - 1] if x and y else 0) for n, p in zip(lean, found, strict=True)]
                for steepness in range(steepest + 1):
                    chosen = [i for i in range(planes) if min(abs(lean[i]), steepest) == steepness]
                    for i, symbol in zip(chosen, self.adaptive(states[steepness], len(chosen)), strict=True):
                        found[i][y][x] = (symbol - most) * (-1 if lean[i] < 0 else 1)
        return [value for plane in found for row in plane for value in row]

    def pair(self, least):
        differ = self.symbol([7, 1])
        first = self.number() + least
        return first, self.number() + least if differ else first

    def parameters(self, outputs, inputs, kernel=()):
        form, planes, area = self.symbol([1, 1, 1, 1]), outputs * inputs, kernel[0] * kernel[1] if kernel else 1
        made = {}
        if form == 0:
            made["weight"] = self.floats(planes * area)
        elif form == 1:
            as_planes = area > 1 and self.flag()
            made["integers"] = self.kernels(planes, *kernel) if as_planes else self.integers(planes * area)
            made["scales"] = self.floats(outputs)
        elif form == 2:
            made["codebook"] = self.floats(self.number() + 1)
            made["integers"] = self.integers(planes * area)
        else:
            assert self.version == 2
            made["integers"] = self.kernels(planes, *(kernel or (1, 1)), with_corners=True)
            made["scales"] = self.floats(outputs)
        if self.flag():
            made["bias"] = self.floats(outputs)
        return made

    def window(self):
        if not self.flag():
            return {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil": 0}
        return {"kernel": self.pair(1), "stride": self.pair(1), "padding": self.pair(0), "ceil": self.flag()}


def read(content):
    """The steps of a packed network, its input's shape first: ("pixels", shape), (kind, settings) ..."""
    assert (
        content[:2] == b"LC" and content[2] in (1, 2) and zlib.crc32(content[7:]).to_bytes(4, "little") == content[3:7]
    )
    io = Decoder(content[7:])
    io.version = content[2]
    shapes = [tuple(io.number() + 1 for _ in range(3))]
    steps = [("pixels", shapes[0])]
    while kind := io.symbol(STEP):
        name, shape = KINDS[kind], shapes[-1]
        settings, shape = one(io, name, shape, shapes)
        steps.append((name, settings))
        shapes.append(shape)
    assert io.state == 0 and not io.words
    return steps


def one(io, name, shape, shapes):
    """The settings of a step, and the shape of its output."""
    if name == "conv":
        outputs, kernel = io.number() + 1, io.pair(1)
        stride, padding, dilation, groups = (1, 1), (0, 0), (1, 1), 1
        if io.flag():
            stride, padding, dilation, groups = io.pair(1), io.pair(0), io.pair(1), io.number() + 1
        made = io.parameters(outputs, shape[0] // groups, kernel)
        made |= {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        spread = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        sides = zip(shape[1:], padding, spread, stride, strict=True)
        return made, (outputs, *((n + 2 * p - k) // s + 1 for n, p, k, s in sides))
    if name == "linear":
        outputs = io.number() + 1
        return io.parameters(outputs, shape[-1]), (*shape[:-1], outputs)
    if name == "renumbered":
        own = io.integers(io.number() + 1)
        made, shape = one(io, "look_up", shape, shapes)
        return {"own": own} | made, shape
    if name in ("look_up", "places"):
        rows, columns = io.number() + 1, io.number() + 1
        return {"rows": rows} | io.parameters(rows, columns), (shapes[0][2], columns)
    if name == "layer_norm":
        return {"eps": io.floats(1), "weight": io.floats(shape[-1]), "bias": io.floats(shape[-1])}, shape
    if name == "attention":
        heads, scale, last = io.number() + 1, io.floats(1), len(shapes) - 1
        reads = tuple(last - io.number() for _ in range(3))
        return {"heads": heads, "scale": scale, "reads": reads}, shapes[reads[0]]
    if name in ("first", "mean_of_tokens"):
        return {}, shape[1:]
    if name in ("max_pool", "average_pool"):
        made = io.window()
        if name == "average_pool":
            made["padding_counts"] = not io.flag()
        sides = []
        for n, k, s, p in zip(shape[1:], made["kernel"], made["stride"], made["padding"], strict=True):
            side = (n + 2 * p - k + (s - 1) * made["ceil"]) // s + 1
            sides.append(side - (made["ceil"] and (side - 1) * s >= n + p))
        return made, (shape[0], *sides)
    if name == "flatten":
        return {}, (shape[0] * shape[1] * shape[2],)
    if name == "mean":
        return {}, (shape[0], 1, 1)
    if name == "quantize":
        bits = 8 - io.number()
        return {"bits": bits, "zero_point": io.number(), "scale": io.floats(1)}, shape
    if name == "join":
        operator, last = OPERATORS[io.symbol([1] * 5)], len(shapes) - 1
        other = last - io.number()
        swapped = operator not in ("add", "mul") and io.flag()
        both = (other, last) if swapped else (last, other)
        a, b = (shapes[i] for i in both)
        out = (a[0] + b[0], *a[1:]) if operator == "concat" else tuple(map(max, a, b))
        return {"operator": operator, "reads": both}, out
    if name == "recall":
        value = len(shapes) - 1 - io.number()
        return {"reads": value}, shapes[value]
    if name == "constant":
        return {"operator": OPERATORS[io.symbol([1] * 5)], "values": io.floats(shape[0] if io.flag() else 1)}, shape
    if name == "batch_norm":
        return {"eps": io.floats(1), "statistics": [io.floats(shape[0]) for _ in range(4)]}, shape
    if name == "zeros":
        around = [(io.number(), io.number()) for _ in range(3)]
        return {"around": around}, tuple(n + sum(pair) for n, pair in zip(shape, around, strict=True))
    if name == "gelu":
        return {"tanh": io.flag()}, shape
    return {"settings": io.floats({"clip": 2, "leaky_relu": 1, "elu": 1}[name])} if name in (
        "clip", "leaky_relu", "elu"
    ) else {}, shape  # fmt: skip
