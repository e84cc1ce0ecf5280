"""The C of a network of integers: its constants, and what calls what."""

from __future__ import annotations

from math import prod

import numpy as np

from lcomp.c.memory import plan
from lcomp.c.network import (
    Addition,
    Array,
    Average,
    Bounds,
    CNetwork,
    Filter,
    MaxPool,
    Operation,
    Pad,
    Table,
    Widen,
    Window,
)
from lcomp.c.text import (
    ArrayText,
    array_text,
    bound_fields,
    has_bounds,
    narrowest,
    numbers,
    pair,
    structure,
    sum_text,
)
from lcomp.c.weights import Stored, store

STREAM = "weights_stream"


class Writer:
    """A network of integers on its way to C.

    Args:
        form: how weights are stored, one of `lcomp.c.FORMS`.
    """

    def __init__(self, network: CNetwork, form: str):
        self.network = network
        stored, self.words = store(network.filters, form)
        self.stored: dict[str, Stored] = {one.name: kept for one, kept in zip(network.filters, stored, strict=True)}
        rows = {
            number: prod(one.weights.shape[1:]) if self.stored[one.name].form != "bytes" else 0
            for number, one in enumerate(network.operations)
            if isinstance(one, Filter)
        }
        self.plan = plan(network, rows)
        self.uses = self.uses_of()
        self.constants = [text for one in network.operations if (text := self.constant(one))]

    @property
    def last(self) -> int:
        return len(self.network.values) - 1

    def uses_of(self) -> dict[str, bool]:
        """Which parts of the template the network needs."""
        operations, filters = self.network.operations, self.network.filters
        forms = {one.form for one in self.stored.values()}
        sums = [one for one in operations if isinstance(one, Addition)]
        sums += [one.addition for one in filters if one.addition]
        averages = [one for one in operations if isinstance(one, Average)]
        padded = [one for one in filters if any(one.window.padding)]
        outputs = [one for one in filters if one.target == self.last]
        return {
            "filter": bool(filters), "sum": bool(sums), "difference": any(one.sign < 0 for one in sums),
            "joined": any(one.addition for one in filters), "pooled": any(one.pool for one in filters),
            "padded": bool(padded), "offset": any(one.zeros[0] for one in padded),
            "scattered": any(one.groups > 1 or one.window.dilation != (1, 1) for one in filters),
            "filter_output": bool(outputs), "output_bounds": any(has_bounds(one.bounds) for one in outputs),
            "average": bool(averages), "average_output": any(one.target == self.last for one in averages),
            "max_pool": any(isinstance(one, MaxPool) for one in operations),
            "window": bool(averages) or any(isinstance(one, MaxPool) for one in operations),
            "stored": forms != {"coded"}, "coded": "coded" in forms, "sparse": "sparse" in forms,
            "bytes": "bytes" in forms, "stream": bool(forms & {"bits", "sparse"}), "unfolded": forms != {"bytes"},
        }  # fmt: skip

    @property
    def size_type(self) -> str:
        """That of sizes, strides and the like."""
        most = max(
            max(*self.network.source_shape(one), *self.network.values[one.target].shape, *one.weights.shape)
            if isinstance(one, Filter)
            else max(self.network.values[one.sources[0]].shape)
            for one in self.network.operations
        )
        geometry = [getattr(one, name, None) for one in self.network.operations for name in ("window", "pool")]
        most = max([most, *(max(*w.kernel, *w.stride, *w.padding, *w.dilation) for w in geometry if w)])
        return "uint8_t" if most < 256 else "uint16_t" if most < 1 << 16 else "int32_t"

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
            made.append(array_text(f"{one.name}_bias", bias_type, numbers(folded_bias(one)), f"{one.name}: biases"))
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
        return narrowest([folded_bias(one) for one in self.network.filters]) if self.network.filters else "int8_t"

    def settings(self) -> dict[str, object]:
        coded = [one for one in self.stored.values() if one.form == "coded"]
        most = max([2 * one.weights.size + 2 for one in self.network.filters], default=0)
        return {
            "integer": True, "uses": self.uses, "arena": self.plan.size, "size": self.size_type,
            "bias_type": self.bias_type, "bound_type": "int32_t" if self.is_wide else "uint8_t",
            "constants": self.constants, "calls": self.calls(), "words": len(self.words),
            "levels": max([one.levels for one in coded], default=1),
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
            fields: dict[str, object] = {f"window.{k}": v for k, v in self.window_fields(one, one.window).items()}
            fields |= {
                "multiplier": int(by.multiplier[0]) if by else 0,
                "shift": int(by.shift[0]) if by else 1,
                "zero": one.zeros[0],
                "out_zero": one.zeros[1],
            }
            return structure("average", one.name, fields | bound_fields(one.bounds))
        return ""

    def window_fields(self, one: Operation, window: Window) -> dict[str, object]:
        rows, columns, channels = self.network.values[one.sources[0]].shape
        out_rows, out_columns, _ = self.network.values[one.target].shape
        return {
            "rows": rows, "columns": columns, "channels": channels,
            "out_rows": out_rows, "out_columns": out_columns,
            **pair("kernel", window.kernel), **pair("stride", window.stride), **pair("padding", window.padding),
        }  # fmt: skip

    def filter_fields(self, one: Filter) -> dict[str, object]:
        kept, uses = self.stored[one.name], self.uses
        rows, columns, channels = self.network.source_shape(one)
        out_rows, out_columns, _ = self.network.values[one.target].shape
        outputs, *kernel, depth = one.weights.shape
        fields: dict[str, object] = {"weights": f"{one.name}_weights"} if uses["stored"] else {}
        fields |= {
            "bias": f"{one.name}_bias", "multipliers": f"{one.name}_multipliers", "shifts": f"{one.name}_shifts",
            "rows": rows, "columns": columns, "channels": channels,
            "out_rows": out_rows, "out_columns": out_columns, "outputs": outputs,
            **pair("kernel", (kernel[0], kernel[1])), "depth": depth, **pair("stride", one.window.stride),
        }  # fmt: skip
        if uses["padded"]:
            fields |= pair("padding", one.window.padding)
        if uses["scattered"]:
            together = one.groups == 1 and one.window.dilation[1] == 1
            run = kernel[1] if together else 1
            fields |= {**pair("dilation", one.window.dilation), "group": outputs // one.groups, "run": run}
        if uses["pooled"]:
            pool = one.pool or Window()
            fields |= {**pair("pool", pool.kernel), **pair("pool_stride", pool.stride)}
        if uses["unfolded"]:
            fields |= {"first": kept.lowest, "step": kept.step}
            fields |= {"levels": kept.levels % 256} if uses["coded"] else {"bits": kept.bits}
        if uses["sparse"]:
            fields["gap_bits"] = kept.gap_bits
        fields |= {"zero": one.zeros[0], "out_zero": one.zeros[1]}
        bounds = one.bounds if one.target != self.last or uses["output_bounds"] else Bounds(0, 0)
        return fields | bound_fields(bounds)

    def calls(self) -> list[str]:
        return [self.call(number, one) for number, one in enumerate(self.network.operations)]

    def place(self, value: int) -> str:
        """Where a value lies."""
        if value == 0:
            return "input"
        offset = self.plan.offsets[value]
        return f"arena + {offset}" if offset else "arena"

    def call(self, number: int, one: Operation) -> str:
        source = [self.place(value) for value in one.sources]
        is_output = one.target == self.last
        target = "" if is_output else self.place(one.target)
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
            outputs = [", output" if is_output else ", 0"] if self.uses["average_output"] else [""]
            return f"average(&{one.name}, {source[0]}, {target or '0'}{outputs[0]});"
        if isinstance(one, MaxPool):
            return f"max_pool(&{one.name}, {source[0]}, {target});"
        count = prod(self.network.values[one.target].shape)
        loop = f"for (int32_t i = 0; i < {count}; i++)\n        "
        if isinstance(one, Addition):
            return f"{loop}({target})[i] = add(&{one.name}, ({source[0]})[i], ({source[1]})[i]);"
        if isinstance(one, Table):
            return f"{loop}({target})[i] = {one.name}_bytes[({source[0]})[i]];"
        if isinstance(one, Widen):
            return f"{loop}output[i] = ({source[0]})[i] - {one.zero};"
        assert isinstance(one, Pad)
        return self.pad_call(one, source[0], target)

    def pad_call(self, one: Pad, source: str, target: str) -> str:
        rows, columns, channels = self.network.values[one.sources[0]].shape
        _, out_columns, out_channels = shape = self.network.values[one.target].shape
        up, left, front = one.before
        first = (up * out_columns + left) * out_channels + front
        at = f"{first} + (y * {out_columns} + x) * {out_channels} + c"
        return (
            f"for (int32_t i = 0; i < {prod(shape)}; i++)\n        ({target})[i] = {one.zero};\n"
            f"    for (int32_t y = 0, i = 0; y < {rows}; y++)\n        for (int32_t x = 0; x < {columns}; x++)\n"
            f"            for (int32_t c = 0; c < {channels}; c++)\n"
            f"                ({target})[{at}] = ({source})[i++];"
        )


def folded_bias(one: Filter) -> Array:
    """The bias of sums of bytes: less what their zero adds to each."""
    totals: Array = one.bias - one.zeros[0] * one.weights.astype(np.int64).sum((1, 2, 3))
    return totals
