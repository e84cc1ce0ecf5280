"""The C of a network of floats."""

from __future__ import annotations

from lcomp.c.functions import float_text
from lcomp.c.memory import plan
from lcomp.c.network import Addition, Array, Average, Bounds, CNetwork, Filter, Function, MaxPool, Operation, Pad
from lcomp.c.source import Source
from lcomp.c.text import ArrayText, Fields, array_text, structure


class FloatSource(Source):
    """See `Source`."""

    template, element, output_element = "float.c", "float", "float"

    def __init__(self, network: CNetwork):
        super().__init__(network, plan(network, {}))

    def arrays(self) -> list[ArrayText]:
        return [
            array_text(f"{one.name}_{what}", "float", self.numbers(values), f"{one.name}: {what} {values.shape}")
            for one in self.network.filters
            for what, values in (("weights", one.weights), ("bias", one.bias))
        ]

    def numbers(self, array: Array) -> list[str]:
        return [float_text(value) for value in array.reshape(-1).tolist()]

    def constant(self, one: Operation) -> str:
        if isinstance(one, Filter):
            fields: Fields = {key: f"{one.name}_{key}" for key in ("weights", "bias")}
            fields |= self.geometry(one) | bounds(one.bounds)
            if one.addition:
                fields |= {"sign": f"{one.addition.sign}.0f", **bounds(one.addition.bounds, "sum_")}
            return structure("filter", one.name, fields)
        if isinstance(one, MaxPool | Average):
            fields = self.window_fields(one, one.window)
            return structure("window", one.name, fields | (bounds(one.bounds) if isinstance(one, Average) else {}))
        return ""

    def call(self, number: int, one: Operation) -> str:
        source, target = [self.place(value) for value in one.sources], self.place(one.target)
        if isinstance(one, Filter):
            other = ([source[1]] if one.addition else ["0"]) if self.uses["joined"] else []
            return f"filter({', '.join([f'&{one.name}', source[0], *other, target])});"
        if isinstance(one, MaxPool | Average):
            kind = "max_pool" if isinstance(one, MaxPool) else "average"
            return f"{kind}(&{one.name}, {source[0]}, {target});"
        if isinstance(one, Addition):
            sign = "-" if one.sign < 0 else "+"
            low, high = bounds(one.bounds).values()
            total = f"({source[0]})[i] {sign} ({source[1]})[i]"
            return self.loop(one, f"({target})[i] = bounded({total}, {low}, {high});")
        if isinstance(one, Function):
            body = f"{{\n        const float x = ({source[0]})[i];\n        ({target})[i] = {one.expression};\n    }}"
            return self.loop(one, body).replace(")\n        {", ") {", 1)
        assert isinstance(one, Pad)
        return self.pad_call(one, "0.0f")


def bounds(of: Bounds, prefix: str = "") -> Fields:
    return {f"{prefix}lowest": float_text(of.lowest), f"{prefix}highest": float_text(of.highest)}
