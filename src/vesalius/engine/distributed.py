"""Several processes, started by torchrun: DDP copies or FSDP2 shards, over gloo or NCCL.

Everything here also answers sensibly in a single process, so the loop has no second version.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vesalius.errors import RecipeError

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def launched() -> bool:
    """Tell whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started; yield this process's device."""
    if not launched() or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    succeeded = False
    # The last reference to the communication must go with the interpreter unlocked: its threads,
    # which are waited for then, may need the interpreter to let go of a tensor. This handle does
    # so; a wrapped model's reference would not, and now and then the process hung at its end.
    handle = dist.group.WORLD._get_backend(device)  # pyright: ignore
    try:
        yield device
        succeeded = True
    finally:
        # After a failure others may still wait in a collective, and NCCL would wait for them;
        # torchrun ends them all.
        if succeeded or device.type != "cuda":
            dist.destroy_process_group()
        # Wrapped models sit in reference cycles and hold the group. A gloo thread that outlives
        # the interpreter aborts the process, after a training that has succeeded.
        gc.collect()
        del handle


def rank() -> int:
    """Return this process's number, 0 where there is one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Tell whether this process writes results; true also outside a process group."""
    return int(os.environ.get("RANK", "0")) == 0 if launched() else True


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


def agree(value: bool) -> bool:
    """Return True where all processes say True."""
    if world_size() == 1:
        return value
    flag = torch.tensor(int(value), device=_device())
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag.item())


def from_first(value: Any) -> Any:
    """Return the first process's value on every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=_device())
    return box[0]


def gather(value: Any) -> list[Any]:
    """Return every process's value, in order of rank, on every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def mean(value: Tensor) -> Tensor:
    """Return the mean over processes."""
    if world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / world_size()


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def parallel(model: nn.Module, sharding: str, device: torch.device) -> nn.Module:
    """Return the model ready for several processes: unchanged for one, DDP or FSDP2 for more.

    BatchNorm then takes its statistics over all processes, so that a step computes what one
    process would compute on the whole batch.

    Raises:
        RecipeError: fsdp without torchrun.
    """
    if world_size() == 1:
        if sharding == "fsdp":
            raise RecipeError("sharding=fsdp needs several processes: start with torchrun")
        return model
    synchronise_batch_norm(model)
    if sharding == "fsdp":
        return _fully_sharded(model, device)
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids)


def _fully_sharded(model: nn.Module, device: torch.device) -> nn.Module:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    # torch's caches keep a mesh and its group for ever. On gloo it gets a group of its own, so that
    # the default one, busy until the end, can go; see `process_group`.
    group = dist.new_group() if dist.get_backend() == "gloo" else dist.group.WORLD
    mesh = DeviceMesh.from_group(group, device.type)
    for child in model.children():
        if any(True for _ in child.parameters()) and not isinstance(child, nn.ModuleList):
            fully_shard(child, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model without its DDP wrapper."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def synchronising(model: nn.Module, active: bool) -> AbstractContextManager:
    """Return a context whose backward averages gradients over processes only if `active`.

    FSDP2 averages in every backward: gradients held back would lie unsharded in memory, which is
    what sharding is to avoid, and out of `.grad`, where a step looks for them.
    """
    if active or not isinstance(model, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


@contextmanager
def freeze_batch_norm(model: nn.Module, frozen: bool = True) -> Iterator[None]:
    """Keep BatchNorm's running statistics as they are; batch statistics are still used.

    A perturbed pass must not move them: evaluation would then normalise with the statistics of
    inputs that do not exist.
    """
    if not frozen:
        yield
        return
    norms = [
        module
        for module in model.modules()
        # _NormBase: InstanceNorm can keep statistics too.
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None
    ]
    kept = [(n, n.running_mean, n.running_var, n.num_batches_tracked) for n in norms]
    for norm in norms:
        norm.running_mean = norm.running_mean.clone()
        norm.running_var = norm.running_var.clone()
        norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, running_mean, running_var, tracked in kept:
            norm.running_mean, norm.running_var = running_mean, running_var
            norm.num_batches_tracked = tracked


class _Sum(torch.autograd.Function):
    """Sum over processes, in both directions."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def _synchronised_forward(self, x: Tensor) -> Tensor:
    """BatchNorm over all processes on any device (torch's SyncBatchNorm is for GPUs only)."""
    if not self.training or world_size() == 1:
        return type(self).forward(self, x)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    full = x.to(torch.promote_types(x.dtype, torch.float32))
    count = full.new_full((1,), full.numel() / full.shape[1])
    sums, total = _Sum.apply(torch.cat([full.sum(axes), count])).split([full.shape[1], 1])
    average = sums / total
    # In two passes: mean(x^2) - mean(x)^2 cancels where a mean is large beside its deviation.
    centred = full - average.view(shape)
    variance = _Sum.apply((centred * centred).sum(axes)) / total
    _move_statistics(self, average.detach(), variance.detach(), total.detach())
    scaled = centred * torch.rsqrt(variance.view(shape) + self.eps)
    if self.affine:
        scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
    return scaled.to(x.dtype)


@torch.no_grad()
def _move_statistics(norm, average: Tensor, variance: Tensor, total: Tensor) -> None:
    if not norm.track_running_stats:
        return
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(average.to(norm.running_mean.dtype), momentum)
    unbiased = variance * total / (total - 1)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)


def synchronise_batch_norm(model: nn.Module) -> None:
    """Make every BatchNorm of `model` use statistics over all processes, in place."""
    import types

    for module in model.modules():
        if isinstance(module, _NORMS):
            module.forward = types.MethodType(_synchronised_forward, module)
