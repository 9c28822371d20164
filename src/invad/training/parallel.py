"""Training in several processes that follows training in one: batch statistics and gradients are of the whole batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invad.model import InvAD
from invad.processes import Processes


class Trainee(nn.Module):
    """Neck and decoder as one module, which is what training changes: features -> predictions."""

    def __init__(self, model: InvAD) -> None:
        super().__init__()
        self.neck = model.neck
        self.decoder = model.decoder

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """As `InvAD.predict`."""
        return self.decoder(self.neck(features))  # type: ignore[no-any-return]


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training are those of all processes' images.

    PyTorch's SyncBatchNorm does the same on CUDA alone; this one takes any backend of torch.distributed.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, h, w)."""
        if not self.training:
            return super().forward(x)
        values = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        axes = (0, 2, 3)
        count = _sum_of_all(values.new_tensor(values.numel() / values.shape[1]))
        mean = _sum_of_all(values.sum(axes)) / count  # (C,)
        centred = values - mean.view(1, -1, 1, 1)
        variance = _sum_of_all((centred * centred).sum(axes)) / count  # (C,)
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), centred, scale.view(1, -1, 1, 1)).to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; momentum is PyTorch's default."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)


def _sum_of_all(x: Tensor) -> Tensor:
    """The sum over the processes, through which gradients flow."""
    from torch.distributed.nn.functional import all_reduce

    total: Tensor = all_reduce(x)  # type: ignore[no-untyped-call]
    return total


def make_trainee(model: InvAD, processes: Processes) -> nn.Module:
    """Return what a training step calls with features: neck and decoder, joined to those of the other processes."""
    if not processes.several:
        return Trainee(model)
    for module in list(model.neck.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _global(child))
    from torch.nn.parallel import DistributedDataParallel

    device = [processes.device] if processes.device.type == "cuda" else None
    return DistributedDataParallel(Trainee(model), device_ids=device, broadcast_buffers=False)


def _global(norm: nn.BatchNorm2d) -> GlobalBatchNorm:
    """A global batch norm with the parameters and statistics of another."""
    made = GlobalBatchNorm(norm.num_features, eps=norm.eps).to(norm.weight)
    made.load_state_dict(norm.state_dict())
    return made.train(norm.training)
