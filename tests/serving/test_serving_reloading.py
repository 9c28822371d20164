"""Which models are taken, and which are not."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from served import png

import invad
from invad.colours import ColourScale
from invad.errors import ModelFileError, RunError
from invad.inference import Predictor
from invad.serving import create_app
from invad.serving.limits import Limits
from invad.serving.reloading import Reloader, check_predictor
from invad.serving.service import Service
from invad.serving.telemetry import Telemetry

Maps = NDArray[np.float32]


class Changed:
    """A scorer whose maps and scores are changed."""

    def __init__(self, predictor: Predictor, change: Callable[[Maps, Maps], tuple[Maps, Maps]]) -> None:
        self.size = predictor.size
        self._scorer, self._change = predictor.scorer, change

    def __call__(self, images: NDArray[np.uint8]) -> tuple[Maps, Maps]:
        return self._change(*self._scorer(images))


def test_a_model_that_is_fit(predictor: Predictor) -> None:
    check_predictor(predictor)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda maps, scores: (maps * np.nan, scores), "no numbers"),
        (lambda maps, scores: (maps, scores / 0), "no numbers"),
        (lambda maps, scores: (maps[:, ::2], scores), "gives maps"),
        (lambda maps, scores: (maps, scores + 0.01), "maximum"),
        (lambda maps, scores: (maps * len(maps), scores * len(maps)), "among others"),
        (lambda maps, scores: (maps[::-1], scores[::-1]), "among others"),
        (lambda maps, scores: (maps * (np.nan if len(maps) > 1 else 1), scores), "among others"),
        (lambda maps, scores: (maps, scores * len(maps)), "among others"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_model_that_is_not(
    predictor: Predictor, change: Callable[[Maps, Maps], tuple[Maps, Maps]], said: str
) -> None:
    with pytest.raises(ModelFileError, match=said):
        check_predictor(Predictor(Changed(predictor, change), scale=predictor.scale))


def test_the_old_model_is_kept(predictor: Predictor) -> None:
    broken = Predictor(Changed(predictor, lambda maps, scores: (maps * np.nan, scores)), scale=ColourScale(0.1, 0.2))
    loads: list[Callable[[], tuple[Predictor, str]]] = [
        lambda: (broken, "x"),
        _raise(RunError("gone")),
        _raise(OSError("odd")),
    ]

    def load() -> tuple[Predictor, str]:
        return loads.pop(0)()

    async def reload() -> None:
        service = Service(predictor, name="parts", limits=Limits(), telemetry=Telemetry())
        reloader = Reloader(service, load)
        for said in ("no numbers", "gone", "OSError: odd"):
            with pytest.raises((ModelFileError, RunError), match=said):
                await reloader.reload()
            assert service.predictor is predictor and service.info.name == "parts"
        assert (await reloader.reload()).changed and service.predictor is twin and service.info.name == "twins"
        assert 'invad_model_info{checksum="another",name="twins"} 1.0' in service.telemetry.text().decode()
        service.close()

    twin = Predictor(predictor.scorer, scale=predictor.scale, checksum="another")
    loads.append(lambda: (twin, "twins"))
    asyncio.run(reload())


def test_the_state_changes_with_all_that_is_said(trained: Path, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))

    def opened() -> tuple[Predictor, str]:
        return invad.load(copy, device="cpu"), "run"

    def asked() -> tuple[dict[str, Any], str]:
        return client.get("/info").json(), client.post("/predict", files={"files": png()}).json()["state"]

    with TestClient(create_app(opened()[0], name="run", load=opened), client=("127.0.0.1", 1)) as client:
        before, state = asked()
        assert state == before["state"]
        client.post("/reload")
        assert asked() == (before, state)
        good = [str(data / name / "test" / "good") for name in before["classes"]]
        invad.calibrate(copy, normal=good, false_alarms=0.1, regions=0.3, overwrite=True, quiet=True)
        assert client.post("/reload").json()["changed"] is False
        after, state = asked()
        assert (after["checksum"], after["threshold"]) == (before["checksum"], before["threshold"])
        assert after["pixel_threshold"] != before["pixel_threshold"]
        assert state == after["state"] != before["state"]


def _raise(error: Exception) -> Callable[[], tuple[Predictor, str]]:
    def load() -> tuple[Predictor, str]:
        raise error

    return load
