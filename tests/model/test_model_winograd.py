"""A convolution by Winograd's tiles is the ordinary one, and so are its gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from invad.inference.folding import fold
from invad.model import build_model, winograd
from invad.model.winograd import convolve, pays
from invad.processes import Processes
from invad.training.optimisation import make_optimiser
from invad.training.parallel import make_trainee
from invad.training.step import train_step


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small convolutions are taken, too."""
    monkeypatch.setattr(winograd, "FEWEST_CHANNELS", 1)
    monkeypatch.setattr(winograd, "LEAST_WORK", 0)


def layer(*shape: int, c_out: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """x (B, C_in, h, w), weight and bias in float64."""
    generator = torch.Generator().manual_seed(sum(shape))
    sizes = (shape, (c_out, shape[1], 3, 3), (c_out,))
    x, weight, bias = (torch.randn(size, dtype=torch.float64, generator=generator) for size in sizes)
    return x, weight, bias


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("at_once", [1, 1 << 23])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_result_and_gradients(
    monkeypatch: pytest.MonkeyPatch, at_once: int, memory_format: torch.memory_format
) -> None:
    monkeypatch.setattr(winograd, "TILES_AT_ONCE", at_once)
    x, weight, bias = layer(3, 4, 6, 8)
    assert pays(x, weight, x.dtype)
    inputs = [value.requires_grad_() for value in (x.to(memory_format=memory_format), weight, bias)]
    torch.testing.assert_close(convolve(*inputs), F.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(convolve, inputs)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_errors_of_a_published_layer(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, bound: float) -> None:
    """Result and gradients of a layer of InvAD's middle level, beside those in float64."""
    monkeypatch.setattr(winograd, "_may_have_amx", lambda: False)
    values = layer(4, 512, 32, 32, c_out=512)
    assert pays(values[0], values[1], torch.float32)
    gradient = torch.randn(values[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def found(inputs: list[Tensor], precision: torch.dtype) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            result = convolve(*inputs)
        assert result.dtype == precision
        return [result.detach(), *torch.autograd.grad(result, inputs, gradient.to(precision))]

    inputs = [value.clone().requires_grad_() for value in values]
    result = F.conv2d(inputs[0], inputs[1], inputs[2], padding=1)
    exact = [result.detach(), *torch.autograd.grad(result, inputs, gradient)]
    ours = found([value.float().requires_grad_() for value in values], dtype)
    assert max((f.double() - e).norm() / e.norm() for f, e in zip(ours, exact, strict=True)) < bound


def test_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(batch: int, channels: int, size: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> bool:
        x, weight = torch.empty(batch, channels, size, size, device=device), torch.empty(channels, channels, 3, 3)
        return pays(x, weight, dtype)

    levels = [(1024, 16), (512, 32), (256, 64)]  # of InvAD
    assert all(asked(4, channels, size) for channels, size in levels)
    assert not any(asked(4, channels, size, "meta") for channels, size in levels), "not on another device"
    assert not any(asked(1, channels, size) for channels, size in levels), "not for one image"
    assert not any(asked(32, channels, size) for channels, size in [(256, 16), (128, 32), (64, 64)]), "of InvAD-lite"
    assert not asked(4, 1024, 17), "not for an odd size"
    assert asked(1, 256, 128), "a large image does for a batch"
    for amx in (False, True):
        monkeypatch.setattr(winograd, "_may_have_amx", lambda amx=amx: amx)
        assert asked(4, 1024, 16) and asked(4, 1024, 16, dtype=torch.bfloat16) != amx


@pytest.mark.usefixtures("everywhere")
def test_training_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and weights of three steps are those of ordinary convolutions."""
    features = [torch.randn(4, 64 * 2**i, 16 // 2**i, 16 // 2**i, dtype=torch.float64) for i in range(3)]

    def trained() -> tuple[list[float], list[Tensor]]:
        torch.manual_seed(0)
        model = build_model("resnet18", weights="random", image_size=(64, 64), style_channels=8, blocks=(1, 1, 1))
        trainee = make_trainee(model.double(), Processes(device=torch.device("cpu")))
        optimiser = make_optimiser(trainee.parameters(), 1e-3)
        losses = [
            train_step(trainee, optimiser, features, loss_weight=5.0, clip=5.0, precision="fp32")[0].item()
            for _ in range(3)
        ]
        return losses, [p.detach() for p in trainee.parameters()]

    called: list[torch.Size] = []
    convolved = winograd._convolved
    monkeypatch.setattr(winograd, "_convolved", lambda x, *rest: called.append(x.shape) or convolved(x, *rest))
    ours = trained()
    assert len(called) == 3 * 4, "the modulated convolutions of each step"
    monkeypatch.setattr(winograd, "FEWEST_CHANNELS", 1 << 20)
    theirs = trained()
    assert len(called) == 3 * 4
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-7)


@pytest.mark.usefixtures("everywhere")
def test_precision_under_autocast_is_that_of_a_convolution() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x, weight, bias = (value.to(dtype) for value in layer(2, 4, 6, 8))
        with torch.autocast("cpu", torch.bfloat16):
            assert convolve(x, weight, bias).dtype == F.conv2d(x, weight, bias, padding=1).dtype


@pytest.mark.usefixtures("everywhere")
def test_exported_graphs_keep_plain_convolutions() -> None:
    """Of the model as it is trained, and in the form that export is given, at any batch."""
    size = (64, 64)
    model = build_model("resnet18", weights="random", image_size=size, style_channels=8, blocks=(1, 1, 1)).eval()
    images = torch.zeros(2, 3, *size, dtype=torch.uint8)
    for module in (model, fold(model, size)):
        torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("batch", max=64)},))  # or it raises
