"""A network becomes its artifact."""

from lcomp.export.onnx_export import export

__all__ = ["export"]
