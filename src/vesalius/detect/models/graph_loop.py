"""Greedy suppression in ONNX operators; imported only where onnxscript is installed."""

from onnxscript import BOOL, script
from onnxscript import opset18 as op
from onnxscript.values import Opset


@script(Opset("vesalius", 1), default_opset=op)
def greedy_suppression(suppresses: BOOL, allowed: BOOL) -> BOOL:
    """Return what `vesalius.detect.models.fixed.greedy` returns."""
    weights = op.Cast(suppresses, to=1)
    kept = op.Identity(allowed)
    going = op.Constant(value_int=1) == op.Constant(value_int=1)
    while going:
        row = op.Unsqueeze(op.Cast(kept, to=1), op.Constant(value_ints=[1]))
        removed = op.Squeeze(op.MatMul(row, weights), op.Constant(value_ints=[1])) > 0.0
        after = op.And(allowed, op.Not(removed))
        changed = op.Cast(op.Xor(after, kept), to=6)
        going = op.ReduceMax(changed, keepdims=0) > 0
        kept = op.Identity(after)
    return kept
