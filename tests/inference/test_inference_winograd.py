"""A convolution by tiles of 4 x 4 results is the ordinary one, and runs are scored with it."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from invad.inference import winograd
from invad.inference.folding import fold, save_multiplications
from invad.inference.scorer import folded_scorer, plain_scorer
from invad.inference.winograd import WinogradConv
from invad.model import build_model
from invad.scoring import anomaly_map


def convolution(c_in: int, c_out: int, *, biased: bool = True, dtype: torch.dtype = torch.float64) -> nn.Conv2d:
    torch.manual_seed(c_in + c_out)
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=biased, dtype=dtype)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    biased=st.booleans(),
    last=st.booleans(),
    held=st.sampled_from([1, 1 << 17, 1 << 22]),
)
def test_any_size(batch: int, height: int, width: int, biased: bool, last: bool, held: int) -> None:
    """And any number of rows of tiles at once, in either memory format."""
    plain, x = convolution(32, 64, biased=biased), images(batch, 32, height, width)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        ours = WinogradConv(plain)
        patch.setattr(winograd, "NUMBERS_AT_ONCE", held)
        torch.testing.assert_close(ours(x), plain(x), rtol=0, atol=1e-13)


def test_rows_of_tiles_in_parts() -> None:
    """A batch whose tiles are more than are held at a time."""
    plain, x = convolution(64, 64), images(3, 64, 64, 100)
    numbers = 36 * 3 * 16 * 25 * (64 + 64)
    assert numbers > 2 * winograd.NUMBERS_AT_ONCE
    with torch.inference_mode():
        torch.testing.assert_close(WinogradConv(plain)(x), plain(x), rtol=0, atol=1e-13)


def written_out(points: list[float], plain: nn.Conv2d, x: Tensor) -> Tensor:
    """F(4 x 4, 3 x 3) at other points, as the definition reads, in the layer's precision and without its bias."""
    weight = plain.weight.detach()
    others = [[q for q in points if q != p] for p in points]
    scales = [np.prod([p - q for q in rest]) for p, rest in zip(points, others, strict=True)]
    g = [[p**i / scale for i in range(3)] for p, scale in zip(points, scales, strict=True)] + [[0.0, 0.0, 1.0]]
    b = [[*np.poly(rest)[::-1], 0.0] for rest in others] + [list(np.poly(points)[::-1])]
    a = [[*(p**i for p in points), float(i == 3)] for i in range(4)]
    into, onto, out = (torch.tensor(np.array(matrix)).to(weight.dtype) for matrix in (g, b, a))
    patches = F.pad(x.to(weight.dtype), (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4)  # (B, C, h / 4, w / 4, 6, 6)
    tiles = torch.einsum("ij,bchwjk,lk->ilbhwc", onto, patches, onto)
    kernel = torch.einsum("ij,ocjk,lk->ilco", into, weight, into)
    products = tiles.reshape(36, -1, weight.shape[1]) @ kernel.reshape(36, weight.shape[1], -1)
    products = products.view(*tiles.shape[:-1], -1)
    result = torch.einsum("ij,jlbhwo,kl->bohiwk", out, products, out)
    return result.reshape(len(x), -1, *x.shape[2:])


@pytest.mark.parametrize("channels", [64, 256])
def test_rounding_in_float32_is_less_than_at_the_usual_points(channels: int) -> None:
    """How much less, and than what, depends on the order in which a processor's library adds products up."""
    plain, x = convolution(channels, channels, dtype=torch.float32), images(2, channels, 16, 16)
    assert plain.bias is not None
    bias = plain.bias.detach().view(1, -1, 1, 1)
    with torch.inference_mode():
        found = WinogradConv(plain)(x.float())
        usual = written_out([0.0, 1.0, -1.0, 2.0, -2.0], plain, x) + bias
        root = 2.0**0.5
        ours = written_out([0.0, 1.0 / root, -1.0 / root, root, -root], plain, x) + bias
        exact = plain.double()(x)
    errors = [(value.double() - exact).norm() / exact.norm() for value in (found, ours, usual)]
    assert errors[0] < 1.1 * errors[1] and errors[0] < 0.6 * errors[2]


def test_threads_at_the_same_time() -> None:
    """Each has room of its own."""
    layers = [WinogradConv(convolution(32, 32)) for _ in range(2)]
    inputs = [images(1, 32, 20 + i, 20) for i in range(6)]
    found: dict[int, Tensor] = {}

    def compute(index: int) -> None:
        for _ in range(10):
            found[index] = layers[index % 2](inputs[index])

    threads = [threading.Thread(target=compute, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, x in enumerate(inputs):
        assert torch.equal(found[i], layers[i % 2](x))


@pytest.mark.parametrize("threads", [1, 2])
def test_computes_with_the_threads_of_torch(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    seen: list[int] = []
    monkeypatch.setattr(winograd.numba, "set_num_threads", seen.append)
    monkeypatch.setattr(winograd.torch, "get_num_threads", lambda: threads)
    WinogradConv(convolution(32, 32))(images(1, 32, 4, 4))
    assert set(seen) == {min(threads, winograd.numba.config.NUMBA_NUM_THREADS)}


def in_a_new_process(*lines: str) -> list[str]:
    """What a program prints in which a convolution was computed after the lines."""
    code = "; ".join(
        (
            *lines,
            "import numba, torch",
            "from invad.inference.winograd import WinogradConv",
            "torch.set_num_threads(1)",
            "WinogradConv(torch.nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False))(torch.zeros(1, 64, 4, 4))",
            "print(torch.get_num_threads(), numba.threading_layer())",
        )
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_torch_keeps_its_threads() -> None:
    """With others it rounds otherwise, and a run that is resumed would not end in the same bits."""
    assert in_a_new_process()[0] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch and Numba need not have one OpenMP")
def test_threads_are_those_of_torch_beside_openvino() -> None:
    """OpenVINO brings TBB, which Numba would take; its threads and PyTorch's then keep each other from the cores."""
    pytest.importorskip("openvino")
    assert in_a_new_process("import openvino")[1] == "omp"


@pytest.mark.parametrize("size", [(64, 96), (48, 80)])  # the second has levels of odd sizes
def test_folded_model(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = build_model("resnet18", weights="random", image_size=size, blocks=(1, 2, 1)).double().eval()
    pixels = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    folded = fold(model, size)
    save_multiplications(folded)
    assert sum(isinstance(module, WinogradConv) for module in folded.modules()) > 15
    with torch.inference_mode():
        maps, _ = folded(pixels)
        expected = anomaly_map(*model(pixels), size)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-9)


def test_runs_are_scored_with_it() -> None:
    """To the rounding of float32; exported graphs, which `fold` makes, keep plain convolutions."""
    size = (64, 64)
    model = build_model("resnet18", weights="random", image_size=size, style_channels=8, blocks=(1, 1, 1)).eval()
    scorer = folded_scorer(model, size)
    assert any(isinstance(module, WinogradConv) for module in scorer._module.modules())
    assert not any(isinstance(module, WinogradConv) for module in fold(model, size).modules())
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    (maps, _), (expected, _) = scorer(pixels), plain_scorer(model, size)(pixels)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect"}, {"kernel_size": 1}],
)
def test_other_convolutions_stay(options: dict[str, int | str]) -> None:
    assert WinogradConv.fits(nn.Conv2d(64, 96, 3, padding=1))
    assert not WinogradConv.fits(nn.Conv2d(64, 96, **({"kernel_size": 3, "padding": 1} | options)))  # type: ignore[arg-type]


def test_few_or_odd_channels_and_other_numbers_stay() -> None:
    assert not WinogradConv.fits(nn.Conv2d(32, 64, 3, padding=1))
    assert not WinogradConv.fits(nn.Conv2d(64, 32, 3, padding=1))
    assert not WinogradConv.fits(nn.Conv2d(80, 80, 3, padding=1))
    assert not WinogradConv.fits(nn.Conv2d(64, 64, 3, padding=1, dtype=torch.bfloat16))
