"""A network as C11 for microcontrollers: see docs/c.md."""

PLAIN, PACKED, SPARSE = FORMS = ("plain", "packed", "sparse")  # how flash holds weights, see `lcomp.c.weights`
AUTO, INTEGER, FLOAT = ARITHMETICS = ("auto", "integer", "float")
