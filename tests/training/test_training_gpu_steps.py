"""Steps on a GPU: who has them recorded and compiled, and what becomes of a machine that cannot compile."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from invad import TrainSettings
from invad.errors import RunError, SettingsError
from invad.model import build_model
from invad.model.decoder import ResidualBlock
from invad.processes import Processes
from invad.training import gpu_steps
from invad.training.gpu_steps import (
    COMPILE_STEPS,
    RecordedSteps,
    choose_compile,
    compile_errors,
    make_forward,
    steps_recorder,
)
from invad.training.parallel import Trainee
from invad.training.step import forward_loss

CPU = Processes(device=torch.device("cpu"))
GPU = Processes(device=torch.device("cuda"))
TWO_GPUS = Processes(device=torch.device("cuda"), rank=0, count=2)


@pytest.mark.parametrize(
    ("processes", "asked", "steps", "expected"),
    [
        (CPU, None, COMPILE_STEPS, False),
        (CPU, False, COMPILE_STEPS, False),
        (GPU, None, COMPILE_STEPS - 1, False),
        (GPU, None, COMPILE_STEPS, True),
        (GPU, False, COMPILE_STEPS, False),
        (GPU, True, 1, True),
        (TWO_GPUS, None, COMPILE_STEPS, False),
    ],
)
def test_long_runs_on_one_gpu_are_compiled(
    processes: Processes, asked: bool | None, steps: int, expected: bool
) -> None:
    assert choose_compile(TrainSettings(compile=asked), steps, processes).compile is expected


@pytest.mark.parametrize("processes", [CPU, TWO_GPUS])
def test_compiling_elsewhere_is_refused(processes: Processes) -> None:
    with pytest.raises(SettingsError, match="compile is for one process on an NVIDIA GPU"):
        choose_compile(TrainSettings(compile=True), 10, processes)


def test_compiling_batches_in_parts_is_refused() -> None:
    with pytest.raises(SettingsError, match="accumulate 2; leave it out"):
        choose_compile(TrainSettings(compile=True, accumulate=2), 10, GPU)


def test_steps_on_one_gpu_are_recorded() -> None:
    assert isinstance(steps_recorder(TrainSettings(), GPU), RecordedSteps)
    assert steps_recorder(TrainSettings(accumulate=2), GPU) is None
    assert steps_recorder(TrainSettings(), CPU) is None and steps_recorder(TrainSettings(), TWO_GPUS) is None


def test_a_run_begun_on_a_gpu_goes_on_elsewhere() -> None:
    assert make_forward(TrainSettings(compile=True), CPU, pytest.fail) is forward_loss


def test_what_cannot_be_compiled_is_computed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def without_compiler(function: Any, **options: Any) -> Any:
        def fail(*arguments: Any) -> Tensor:
            raise TorchDynamoException("no C compiler\nat all")

        return fail

    monkeypatch.setattr(torch, "compile", without_compiler)
    said: list[str] = []
    forward = make_forward(TrainSettings(compile=True), GPU, said.append)
    model, features = small_model()
    values = [forward(Trainee(model), features, 2.0, "cosine", "fp32") for _ in range(2)]
    expected = forward_loss(Trainee(model), features, 2.0, "cosine", "fp32")
    assert torch.equal(values[0], expected) and torch.equal(values[1], expected)
    assert said == ["the steps could not be compiled (no C compiler); the run goes on without"]


def test_what_is_compiled_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the compiler's own front end, without making machine code."""
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: original(f, backend="aot_eager", fullgraph=True))
    model, features = small_model()
    values = []
    for forward in (make_forward(TrainSettings(compile=True), GPU, pytest.fail), forward_loss):
        model.zero_grad()
        value = forward(Trainee(model), features, 1.0, "hard-cosine", "fp32")
        value.backward()  # type: ignore[no-untyped-call]
        values.append([value.detach(), *(p.grad for p in model.trained_parameters() if p.grad is not None)])
    for found, expected in zip(*values, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_step_that_cannot_be_recorded_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def refused(*arguments: Any) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(gpu_steps, "recorded_as", refused)
    monkeypatch.setattr(gpu_steps, "beside_others", lambda device: nullcontext())
    steps, taken = RecordedSteps(), []

    def take(features: Any) -> Any:
        taken.append(features[0].item())
        return features[0], features[0]

    with pytest.warns(UserWarning, match=r"step's kernels cannot be recorded \(operation not permitted") as said:
        for number in range(6):
            assert not steps.ready([torch.tensor(float(number))])
            steps(take, [torch.tensor(float(number))])
    assert len(said) == 1
    assert taken == [0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0]  # the one that was to be recorded is not computed


def small_model() -> tuple[Any, list[Tensor]]:
    torch.manual_seed(0)
    model = build_model("analytic", image_size=(32, 32), blocks=(2, 1, 1), style_channels=8, latent_channels=4)
    return model.train(), model.encode(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))


def test_a_block_takes_what_its_makers_make() -> None:
    block, style = ResidualBlock(8, 8, 4), torch.rand(2, 4, 4, 4)
    made: Iterator[Tensor] = iter([maker(style, gain=gain) for maker, gain in block.makers()])
    assert block(torch.rand(2, 8, 4, 4), made).shape == (2, 8, 4, 4)
    assert next(made, None) is None


def test_compiling_that_fails_on_the_way_back_is_a_sentence() -> None:
    from torch._dynamo.exc import TorchDynamoException

    with (
        pytest.raises(RunError, match=r"could not be compiled \(out of registers\)\. Start a new run with --compile F"),
        compile_errors(),
    ):
        raise TorchDynamoException("out of registers\nmore")
