"""The C of a network of integers."""

from __future__ import annotations

from math import prod

import numpy as np

from lcomp.c.memory import plan
from lcomp.c.network import Addition, Array, Average, Bounds, CNetwork, Filter, MaxPool, Operation, Pad, Table, Widen
from lcomp.c.source import Source
from lcomp.c.text import (
    ArrayText,
    Fields,
    array_text,
    bound_fields,
    has_bounds,
    narrowest,
    numbers,
    structure,
    sum_text,
)
from lcomp.c.weights import Stored, store

STREAM = "weights_stream"


class IntegerSource(Source):
    """See `Source`.

    Args:
        form: how weights are stored, one of `lcomp.c.FORMS`.
    """

    template, element, output_element = "integer.c", "uint8_t", "int32_t"

    def __init__(self, network: CNetwork, form: str):
        stored, self.words = store(network.filters, form)
        self.stored: dict[str, Stored] = {one.name: kept for one, kept in zip(network.filters, stored, strict=True)}
        rows = {
            number: prod(one.weights.shape[1:]) if self.stored[one.name].form != "bytes" else 0
            for number, one in enumerate(network.operations)
            if isinstance(one, Filter)
        }
        super().__init__(network, plan(network, rows))

    def uses_of(self) -> dict[str, bool]:
        forms = {one.form for one in self.stored.values()}
        outputs = [one for one in self.network.filters if one.target == self.last]
        averages = [one for one in self.network.operations if isinstance(one, Average) and one.target == self.last]
        return super().uses_of() | {
            "offset": any(one.zeros[0] for one in self.network.filters if any(one.window.padding)),
            "filter_output": bool(outputs), "output_bounds": any(has_bounds(one.bounds) for one in outputs),
            "average_output": bool(averages), "stored": forms != {"coded"}, "coded": "coded" in forms,
            "sparse": "sparse" in forms, "bytes": "bytes" in forms, "stream": bool(forms & {"bits", "sparse"}),
            "unfolded": forms != {"bytes"},
        }  # fmt: skip

    @property
    def is_wide(self) -> bool:
        """Whether bounds are of 32 bits."""
        return bool(self.uses["output_bounds"] or self.uses["average_output"])

    def arrays(self) -> list[ArrayText]:
        made = []
        bias_type = self.bias_type
        for one in self.network.filters:
            kept = self.stored[one.name]
            if kept.content:
                form = {
                    "bits": f"{kept.bits} bits each",
                    "sparse": f"gaps of {kept.gap_bits} bits, {kept.bits} bits each",
                }
                comment = f"{one.name}: weights {'x'.join(map(str, one.weights.shape))}, {form.get(kept.form, 'bytes')}"
                values = [str(value) for value in kept.content]
                made.append(array_text(f"{one.name}_weights", "uint8_t", values, comment))
            assert one.scaling is not None
            made.append(array_text(f"{one.name}_bias", bias_type, numbers(bias_of_bytes(one)), f"{one.name}: biases"))
            multipliers, shifts = numbers(one.scaling.multiplier), numbers(one.scaling.shift)
            made.append(array_text(f"{one.name}_multipliers", "int32_t", multipliers, f"{one.name}: multipliers"))
            made.append(array_text(f"{one.name}_shifts", "uint8_t", shifts, f"{one.name}: shifts"))
        for table in self.network.operations:
            if isinstance(table, Table):
                comment = f"{table.name}: what each byte becomes"
                made.append(array_text(f"{table.name}_bytes", "uint8_t", numbers(table.table), comment))
        if self.uses["coded"]:
            words = [f"0x{int(word):08x}u" for word in self.words]
            made.append(array_text(STREAM, "uint32_t", words or ["0u"], "all weights, coded; read from the end"))
        return made

    @property
    def bias_type(self) -> str:
        return narrowest([bias_of_bytes(one) for one in self.network.filters]) if self.network.filters else "int8_t"

    def numbers(self, array: Array) -> list[str]:
        return numbers(array)

    def settings(self) -> dict[str, object]:
        coded = [one for one in self.stored.values() if one.form == "coded"]
        most = max([2 * one.weights.size + 2 for one in self.network.filters], default=0)
        levels = max([one.levels for one in coded], default=1)
        return super().settings() | {
            "bias_type": self.bias_type, "bound_type": "int32_t" if self.is_wide else "uint8_t",
            "words": len(self.words), "levels": levels, "search": 1 << (levels - 1).bit_length() >> 1,
            "count_type": "uint16_t" if most < 1 << 16 else "uint32_t",
        }  # fmt: skip

    def constant(self, one: Operation) -> str:
        """The structure of constants that an operation is called with."""
        signed = self.uses["difference"]
        if isinstance(one, Filter):
            text = structure("filter", one.name, self.filter_fields(one))
            return f"{sum_text(f'{one.name}_sum', one.addition, signed)}\n\n{text}" if one.addition else text
        if isinstance(one, Addition):
            return sum_text(one.name, one, signed)
        if isinstance(one, MaxPool):
            return structure("window", one.name, self.window_fields(one, one.window))
        if isinstance(one, Average):
            by = one.scaling
            fields: Fields = {f"window.{k}": v for k, v in self.window_fields(one, one.window).items()}
            fields |= {
                "multiplier": int(by.multiplier[0]) if by else 0,
                "shift": int(by.shift[0]) if by else 1,
                "zero": one.zeros[0],
                "out_zero": one.zeros[1],
            }
            return structure("average", one.name, fields | bound_fields(one.bounds))
        return ""

    def filter_fields(self, one: Filter) -> Fields:
        kept, uses = self.stored[one.name], self.uses
        fields: Fields = {"weights": f"{one.name}_weights"} if uses["stored"] else {}
        fields |= {key: f"{one.name}_{key}" for key in ("bias", "multipliers", "shifts")}
        fields |= self.geometry(one)
        if uses["unfolded"]:
            fields |= {"first": kept.lowest, "step": kept.step}
            fields |= {"levels": kept.levels % 256} if uses["coded"] else {"bits": kept.bits}
        if uses["sparse"]:
            fields["gap_bits"] = kept.gap_bits
        fields |= {"zero": one.zeros[0], "out_zero": one.zeros[1]}
        bounds = one.bounds if one.target != self.last or uses["output_bounds"] else Bounds(0, 0)
        return fields | bound_fields(bounds)

    def call(self, number: int, one: Operation) -> str:
        source, target = [self.place(value) for value in one.sources], self.place(one.target)
        is_output = one.target == self.last
        if isinstance(one, Filter):
            arguments = [f"&{one.name}", source[0]]
            if self.uses["joined"]:
                arguments += [f"&{one.name}_sum", source[1]] if one.addition else ["0", "0"]
            arguments.append("0" if is_output else target)
            if self.uses["filter_output"]:
                arguments.append("output" if is_output else "0")
            if self.uses["unfolded"]:
                scratch = self.plan.scratch.get(number)
                arguments.append("0" if scratch is None else f"(int8_t *)arena + {scratch}")
            return f"filter({', '.join(arguments)});"
        if isinstance(one, Average):
            outputs = (", output" if is_output else ", 0") if self.uses["average_output"] else ""
            return f"average(&{one.name}, {source[0]}, {'0' if is_output else target}{outputs});"
        if isinstance(one, MaxPool):
            return f"max_pool(&{one.name}, {source[0]}, {target});"
        if isinstance(one, Addition):
            return self.loop(one, f"({target})[i] = add(&{one.name}, ({source[0]})[i], ({source[1]})[i]);")
        if isinstance(one, Table):
            return self.loop(one, f"({target})[i] = {one.name}_bytes[({source[0]})[i]];")
        if isinstance(one, Widen):
            return self.loop(one, f"output[i] = ({source[0]})[i] - {one.zero};")
        assert isinstance(one, Pad)
        return self.pad_call(one, str(one.zero))


def bias_of_bytes(one: Filter) -> Array:
    """The bias of sums of bytes: less what their zero adds to each."""
    totals: Array = one.bias - one.zeros[0] * one.weights.astype(np.int64).sum((1, 2, 3))
    return totals
