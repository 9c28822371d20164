"""A step in parts is the step of the whole batch where nothing ties the images of a batch together."""

import copy
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from invad.errors import RunError
from invad.model import build_model
from invad.model.invad import Loss
from invad.processes import Processes
from invad.training.optimisation import make_optimiser
from invad.training.parallel import make_trainee
from invad.training.step import Step, fit_into_memory, train_step


@pytest.fixture(scope="module")
def trainee() -> nn.Module:
    torch.manual_seed(0)
    model = build_model("resnet18", weights="random", image_size=(32, 32), style_channels=8, blocks=(1, 1, 1))
    return make_trainee(model, Processes(device=torch.device("cpu")))


@pytest.fixture(scope="module")
def features() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(7, 64 * 2**i, 8 // 2**i, 8 // 2**i) for i in range(3)]


def stepped(
    trainee: nn.Module, features: list[Tensor], parts: int, *, training: bool, loss: Loss = "squared"
) -> tuple[Step, list[Tensor]]:
    """A step of a copy, and its gradients."""
    trainee = copy.deepcopy(trainee).train(training)
    optimiser = make_optimiser(trainee.parameters(), 1e-3)
    done = train_step(trainee, optimiser, features, loss_weight=5.0, clip=1e9, precision="fp32", loss=loss, parts=parts)
    return done, [p.grad for p in trainee.parameters() if p.grad is not None]


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("loss", get_args(Loss))
def test_parts_give_loss_and_gradients_of_the_whole(
    trainee: nn.Module, features: list[Tensor], parts: int, loss: Loss
) -> None:
    whole, gradients = stepped(trainee, features, 1, training=False, loss=loss)  # batch norm by its running statistics
    done, found = stepped(trainee, features, parts, training=False, loss=loss)
    torch.testing.assert_close(done, whole, rtol=1e-5, atol=0)
    largest = max(gradient.abs().max().item() for gradient in gradients)
    torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-6 * largest)


def test_parts_have_batch_statistics_of_their_own(trainee: nn.Module, features: list[Tensor]) -> None:
    """The loss in two parts is the mean of the parts' losses, weighted by their images."""
    done, _ = stepped(trainee, features, 2, training=True)
    alone = [
        (stepped(trainee, [level[part] for level in features], 1, training=True)[0][0], share)
        for part, share in ((slice(0, 4), 4 / 7), (slice(4, 7), 3 / 7))
    ]
    torch.testing.assert_close(done[0], sum(loss * share for loss, share in alone), rtol=1e-6, atol=0)


def test_memory_that_runs_out(trainee: nn.Module) -> None:
    said: list[str] = []
    tried: list[int] = []
    before = [buffer.clone() for buffer in trainee.buffers()]
    optimiser = make_optimiser(trainee.parameters(), 1e-3)

    def step(parts: int) -> Step:
        assert all(torch.equal(a, b) for a, b in zip(before, trainee.buffers(), strict=True))
        tried.append(parts)
        for buffer in trainee.buffers():
            buffer.add_(1)  # as a forward pass in training does
        if parts < 5:
            raise torch.OutOfMemoryError("out of memory")
        return torch.tensor(1.0), torch.tensor(2.0)

    done, parts = fit_into_memory(step, trainee, optimiser, 1, 6, said.append)
    assert (done, parts, tried) == ((torch.tensor(1.0), torch.tensor(2.0)), 6, [1, 2, 4, 6])
    assert [text.split(";")[0].split("in ")[1][:7] for text in said] == ["2 parts", "4 parts", "6 parts"]
    for buffer, value in zip(trainee.buffers(), before, strict=True):
        buffer.copy_(value)


def test_memory_that_does_not_hold_one_image(trainee: nn.Module) -> None:
    def step(parts: int) -> Step:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(RunError, match="memory does not hold the training of a single image"):
        fit_into_memory(step, trainee, make_optimiser(trainee.parameters(), 1e-3), 1, 4, lambda text: None)


def test_memory_that_runs_out_while_the_optimiser_allocates(
    trainee: nn.Module, features: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Adam has begun would be taken for whole by the next try."""
    trainee = copy.deepcopy(trainee).train()
    optimiser, original, made = make_optimiser(trainee.parameters(), 1e-3), torch.zeros_like, 0

    def zeros_like(*args: Any, **options: Any) -> Tensor:
        nonlocal made
        made += 1
        if made == 4:
            raise torch.OutOfMemoryError("out of memory")
        return original(*args, **options)

    def step(parts: int) -> Step:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "zeros_like", zeros_like)
            return train_step(trainee, optimiser, features, loss_weight=5.0, clip=5.0, precision="fp32", parts=parts)

    _, parts = fit_into_memory(step, trainee, optimiser, 1, 7, lambda text: None)
    assert parts == 2 and made > 4
    assert all({"step", "exp_avg", "exp_avg_sq"} <= set(state) for state in optimiser.state.values())
    assert {state["step"].item() for state in optimiser.state.values()} == {1.0}
