"""The C of a network: its constants, and what calls what; integers and floats add what they have of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

from lcomp.c.memory import Plan
from lcomp.c.network import Addition, Array, Average, CNetwork, Filter, MaxPool, Operation, Pad, Window
from lcomp.c.text import ArrayText, Fields, pair


class Source(ABC):
    """A network on its way to C.

    Attributes:
        template: of model.c.
        element, output_element: the types of inputs and outputs.
        plan: where values lie.
        uses: which parts of the template the network needs.
    """

    template: str
    element: str
    output_element: str

    def __init__(self, network: CNetwork, plan: Plan):
        self.network, self.plan = network, plan
        self.uses = self.uses_of()

    @abstractmethod
    def arrays(self) -> list[ArrayText]:
        """The constants of weights.c."""

    @abstractmethod
    def constant(self, one: Operation) -> str:
        """The structure of constants that an operation is called with; an empty text where none."""

    @abstractmethod
    def call(self, number: int, one: Operation) -> str:
        """What carries an operation out."""

    @abstractmethod
    def numbers(self, array: Array) -> list[str]:
        """Each number of an array, inputs and outputs too."""

    def settings(self) -> dict[str, object]:
        """What the templates are filled with, by name."""
        constants = [text for one in self.network.operations if (text := self.constant(one))]
        return {
            "integer": self.network.is_integer, "element": self.element, "output_element": self.output_element,
            "uses": self.uses, "arena": self.plan.size, "size": self.size_type,
            "arrays": self.arrays(), "constants": constants,
            "calls": [self.call(number, one) for number, one in enumerate(self.network.operations)],
        }  # fmt: skip

    @property
    def last(self) -> int:
        return len(self.network.values) - 1

    def uses_of(self) -> dict[str, bool]:
        """Which parts of the template the network needs."""
        operations, filters = self.network.operations, self.network.filters
        sums = [one for one in operations if isinstance(one, Addition)]
        sums += [one.addition for one in filters if one.addition]
        averages = [one for one in operations if isinstance(one, Average)]
        pools = [one for one in operations if isinstance(one, MaxPool)]
        return {
            "filter": bool(filters), "sum": bool(sums), "difference": any(one.sign < 0 for one in sums),
            "joined": any(one.addition for one in filters), "pooled": any(one.pool for one in filters),
            "padded": any(any(one.window.padding) for one in filters),
            "scattered": any(one.groups > 1 or one.window.dilation != (1, 1) for one in filters),
            "average": bool(averages), "max_pool": bool(pools), "window": bool(averages or pools),
        }  # fmt: skip

    @property
    def size_type(self) -> str:
        """The type of sizes, strides and the like."""
        most = max(
            max(*self.network.source_shape(one), *self.network.values[one.target].shape, *one.weights.shape)
            if isinstance(one, Filter)
            else max(self.network.values[one.sources[0]].shape)
            for one in self.network.operations
        )
        geometry = [getattr(one, name, None) for one in self.network.operations for name in ("window", "pool")]
        most = max([most, *(max(*w.kernel, *w.stride, *w.padding, *w.dilation) for w in geometry if w)])
        return "uint8_t" if most < 256 else "uint16_t" if most < 1 << 16 else "int32_t"

    def window_fields(self, one: Operation, window: Window) -> Fields:
        rows, columns, channels = self.network.values[one.sources[0]].shape
        out_rows, out_columns, _ = self.network.values[one.target].shape
        return {
            "rows": rows, "columns": columns, "channels": channels,
            "out_rows": out_rows, "out_columns": out_columns,
            **pair("kernel", window.kernel), **pair("stride", window.stride), **pair("padding", window.padding),
        }  # fmt: skip

    def geometry(self, one: Filter) -> Fields:
        rows, columns, channels = self.network.source_shape(one)
        out_rows, out_columns, _ = self.network.values[one.target].shape
        outputs, *kernel, depth = one.weights.shape
        fields: Fields = {
            "rows": rows, "columns": columns, "channels": channels,
            "out_rows": out_rows, "out_columns": out_columns, "outputs": outputs,
            **pair("kernel", (kernel[0], kernel[1])), "depth": depth, **pair("stride", one.window.stride),
        }  # fmt: skip
        if self.uses["padded"]:
            fields |= pair("padding", one.window.padding)
        if self.uses["scattered"]:
            together = one.groups == 1 and one.window.dilation[1] == 1
            run = kernel[1] if together else 1
            fields |= {**pair("dilation", one.window.dilation), "group": outputs // one.groups, "run": run}
        if self.uses["pooled"]:
            pool = one.pool or Window()
            fields |= {**pair("pool", pool.kernel), **pair("pool_stride", pool.stride)}
        return fields

    def place(self, value: int) -> str:
        """Where a value lies."""
        if value in (0, self.last):
            return "output" if value else "input"
        offset = self.plan.offsets[value] // self.unit
        return f"arena + {offset}" if offset else "arena"

    @property
    def unit(self) -> int:
        """Bytes of a number in the arena."""
        return 1 if self.network.is_integer else 4

    def loop(self, one: Operation, body: str) -> str:
        """`body` for each number i of what the operation makes."""
        count = prod(self.network.values[one.target].shape)
        return f"for (int32_t i = 0; i < {count}; i++)\n        {body}"

    def pad_call(self, one: Pad, zero: str) -> str:
        source, target = self.place(one.sources[0]), self.place(one.target)
        rows, columns, channels = self.network.values[one.sources[0]].shape
        _, out_columns, out_channels = self.network.values[one.target].shape
        up, left, front = one.before
        first = (up * out_columns + left) * out_channels + front
        at = f"{first} + (y * {out_columns} + x) * {out_channels} + c"
        return (
            f"{self.loop(one, f'({target})[i] = {zero};')}\n"
            f"    for (int32_t y = 0, i = 0; y < {rows}; y++)\n        for (int32_t x = 0; x < {columns}; x++)\n"
            f"            for (int32_t c = 0; c < {channels}; c++)\n"
            f"                ({target})[{at}] = ({source})[i++];"
        )
