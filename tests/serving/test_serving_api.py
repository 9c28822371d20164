"""What the service answers, compared with the predictor that it serves."""

import base64
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from served import bomb, png

from invad import __version__
from invad.colours import ColourScale
from invad.errors import SettingsError
from invad.inference import Prediction, Predictor
from invad.inference.predictor import load
from invad.inference.selfcheck import BOUND
from invad.report.figures import overlay
from invad.serving import Limits, create_app
from invad.serving.prediction import shown


def sent(images: Sequence[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (path.name, path.read_bytes())) for path in images]


def same(result: dict[str, Any], expected: Prediction) -> None:
    assert result["score"] == pytest.approx(expected.score, abs=BOUND)
    assert result["share_below"] == pytest.approx(expected.share_below, abs=0.05)
    assert result["decision"] == ("defective" if expected.anomalous else "good")
    found = [(r["x"], r["y"], r["x"] + r["width"], r["y"] + r["height"]) for r in result["regions"]]
    assert found == [region.box for region in expected.regions]
    assert [r["area"] for r in result["regions"]] == [region.area for region in expected.regions]
    assert [(r["peak_x"], r["peak_y"]) for r in result["regions"]] == [region.at for region in expected.regions]
    assert [r["peak"] for r in result["regions"]] == pytest.approx([r.peak for r in expected.regions], abs=BOUND)


def test_results_are_those_of_the_predictor(client: TestClient, predictor: Predictor, images: list[Path]) -> None:
    chosen = images[:: len(images) // 16][:16]
    answer = client.post("/predict", files=sent(chosen)).json()
    assert answer["model"] == predictor.checksum
    assert [result["name"] for result in answer["results"]] == [path.name for path in chosen]
    for path, result in zip(chosen, answer["results"], strict=True):
        assert result["id"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (result["width"], result["height"], result["error"], result["map"]) == (96, 96, None, None)
        same(result, predictor(path))
    assert {result["decision"] for result in answer["results"]} == {"good", "defective"}


def test_a_class_decides_by_its_own_threshold(client: TestClient, predictor: Predictor, images: list[Path]) -> None:
    info = client.get("/info").json()
    name = next(iter(info["thresholds"]))
    path = next(path for path in images if name in path.parts)
    result = client.post(f"/predict?class_name={name}", files=sent([path])).json()["results"][0]
    assert result["threshold"] == info["thresholds"][name] != info["threshold"]
    assert predictor.calibration is not None
    assert result["share_below"] == pytest.approx(predictor.calibration.share_below(predictor(path).score, name))
    refused = client.post("/predict?class_name=unicorn", files=sent([path]))
    assert refused.status_code == 422 and "unicorn" in refused.json()["detail"] and name in refused.json()["detail"]


def test_maps(client: TestClient, predictor: Predictor, images: list[Path]) -> None:
    path = max(images[::5], key=lambda image: predictor(image).score)
    expected = predictor(path).map
    assert predictor.scale is not None
    low, high = predictor.scale.of(None)
    result = client.post("/predict?map=png", files=sent([path])).json()["results"][0]
    picture = Image.open(io.BytesIO(base64.b64decode(result["map"])))
    assert picture.mode == "L" and picture.size == predictor.size[::-1]
    levels = np.clip((expected - low) / (high - low), 0, 1) * 255
    assert np.abs(np.asarray(picture, dtype=np.float64) - levels).max() < 0.5 + 255 * BOUND / (high - low)
    assert np.asarray(picture).max() > np.asarray(picture).min()
    result = client.post("/predict?map=overlay", files=sent([path])).json()["results"][0]
    laid = np.asarray(Image.open(io.BytesIO(base64.b64decode(result["map"]))))
    sized = np.asarray(Image.open(path).convert("RGB").resize(predictor.size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(laid.astype(int) - overlay(sized, expected, low, high).astype(int)).max() <= 3
    name = path.parts[-4]
    result = client.post(f"/predict?map=overlay&class_name={name}", files=sent([path])).json()["results"][0]
    laid = np.asarray(Image.open(io.BytesIO(base64.b64decode(result["map"]))))
    own = overlay(sized, expected, *predictor.scale.of(name))
    assert np.abs(laid.astype(int) - own.astype(int)).max() <= 3, "a known class has colours of its own"


def test_info(client: TestClient, predictor: Predictor, images: list[Path]) -> None:
    info = client.get("/info").json()
    calibration = predictor.calibration
    assert calibration is not None
    assert (info["name"], info["version"], info["checksum"]) == ("parts", __version__, predictor.checksum)
    assert info["classes"] == info["class_names"] == sorted({path.parts[-4] for path in images})
    assert (info["threshold"], info["pixel_threshold"]) == (calibration.overall.image, calibration.overall.pixel)
    assert info["thresholds"] == {name: threshold.image for name, threshold in calibration.classes.items()}
    assert tuple(info["image_size"]) == predictor.size and predictor.scale is not None
    assert tuple(info["scale"]) == predictor.scale.of(None)
    assert {name: tuple(ends) for name, ends in info["scales"].items()} == {
        name: predictor.scale.of(name) for name in info["classes"]
    }
    found = info["calibration"]
    scores = calibration.reference()
    assert found["count"] == len(scores) == sum(found["class_counts"].values())
    assert found["class_counts"].keys() == found["class_scores"].keys() == calibration.classes.keys()
    assert (found["scores"][0], found["scores"][100]) == (scores[0], scores[-1])
    assert found["scores"] == pytest.approx(np.percentile(scores, range(101)))
    assert found["false_alarm_rate"] == calibration.overall.false_alarms and found["wanted"] == 0.1
    assert info["limits"] == {"body_bytes": 64 * 2**20, "pixels": 50_000_000, "batch": 32, "queue": 128}
    assert (info["auth"], info["marks"]) == (False, True)


def test_without_a_calibration_nothing_is_decided(trained: Path) -> None:
    opened = load(trained, device="cpu")
    bare = Predictor(opened.scorer, scale=opened.scale, checksum=opened.checksum)
    with TestClient(create_app(bare)) as client:
        info = client.get("/info").json()
        assert info["threshold"] is info["pixel_threshold"] is info["calibration"] is None
        assert not info["marks"] and info["class_names"] == []
        result = client.post("/predict", files={"files": png()}).json()["results"][0]
        assert result["score"] > 0 and result["regions"] == []
        assert result["decision"] is result["share_below"] is result["threshold"] is None
        refused = client.put(f"/marks/{result['id']}", json={"mark": "good"})
        assert refused.status_code == 404 and "--marks" in refused.json()["detail"]


def test_a_threshold_given_decides(trained: Path) -> None:
    with TestClient(create_app(load(trained, threshold=0.001, device="cpu"))) as client:
        result = client.post("/predict", files={"files": png()}).json()["results"][0]
        assert (result["threshold"], result["decision"]) == (0.001, "defective")
        assert client.get("/info").json()["threshold"] == 0.001


def test_the_scores_that_an_image_is_counted_among(predictor: Predictor, images: list[Path]) -> None:
    assert predictor.calibration is not None
    first, *others = predictor.calibration.classes
    alone = replace(predictor.calibration, classes={first: predictor.calibration.classes[first]})
    given = Predictor(predictor.scorer, threshold=0.001, calibration=alone, scale=predictor.scale)
    with TestClient(create_app(given)) as client:
        info = client.get("/info").json()
        assert info["thresholds"] == {}
        assert list(info["calibration"]["class_scores"]) == list(info["calibration"]["class_counts"]) == [first]
        for name in (first, others[0]):
            path = next(path for path in images if name in path.parts)
            result = client.post(f"/predict?class_name={name}", files=sent([path])).json()["results"][0]
            about = info["calibration"]
            of = about["class_scores"].get(name, about["scores"])
            count = about["class_counts"].get(name, about["count"])
            apart = 1 / count + 0.01  # quantiles lie between two of so many scores, a hundredth apart
            assert np.mean(np.array(of) < result["score"]) == pytest.approx(result["share_below"], abs=apart)


def test_one_that_cannot_be_read_among_others(client: TestClient, images: list[Path]) -> None:
    good = images[0].read_bytes()
    sent_as = {"a.png": good, "b.txt": b"no image", "c.png": good[: len(good) // 2], "bomb.png": bomb()}
    files = [("files", (name, data)) for name, data in sent_as.items()]
    answer = client.post("/predict", files=files)
    assert answer.status_code == 200
    first, text, cut, huge = answer.json()["results"]
    assert first["error"] is None and first["score"] > 0
    assert "b.txt is not an image" in text["error"] and text["id"] == hashlib.sha256(b"no image").hexdigest()
    assert "c.png" in cut["error"] and "144,000,000" in huge["error"]
    assert all(result["score"] is None and result["regions"] == [] for result in (text, cut, huge))
    alone = client.post("/predict", files=[files[1]])
    assert alone.status_code == 422 and alone.json()["results"][0] == text


def test_an_image_bomb_is_not_decoded(client: TestClient) -> None:
    data = bomb()
    assert len(data) < 100_000
    result = client.post("/predict", files={"files": data}).json()["results"][0]
    assert "144,000,000" in result["error"]


def test_exif_is_carried_out(client: TestClient, predictor: Predictor) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(png(96, 48))).save(file, "JPEG", exif=exif, quality=95)
    result = client.post("/predict", files={"files": file.getvalue()}).json()["results"][0]
    assert (result["width"], result["height"]) == (48, 96)


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\a.png", "a\x07\n.png", "x" * 3000, "日本.png"])
def test_names_are_only_shown(client: TestClient, name: str, tmp_path: Path) -> None:
    answer = client.post("/predict", files={"files": (name, png())})
    result = answer.json()["results"][0]
    assert answer.status_code == 200 and result["error"] is None
    assert len(result["name"]) <= 255 and result["name"].isprintable()
    client.put(f"/marks/{result['id']}", json={"mark": "good"})
    assert [path.name for path in (tmp_path / "marks" / "images").iterdir()] == [f"{result['id']}.png"]


@pytest.mark.parametrize(
    ("name", "shown_as"),
    [
        ("Screenshot at 9.41\u202fam.png", None),
        ("photo\u00a01.png", None),
        ("写真\u30001.png", None),
        ("\U0001f468\u200d\U0001f527.png", None),
        ("می\u200cخواهم.png", None),
        ("a\u202egnp.exe", "a\ufffdgnp.exe"),
        ("a\u2066b\u2069\u200e\u200f.png", "a\ufffdb\ufffd\ufffd\ufffd.png"),
        ("a\x1b\x7f\u2028b.png", "a\ufffd\ufffd\ufffdb.png"),
        ("a\udce9.png", "a\ufffd.png"),
    ],
)
def test_only_control_characters_are_replaced(name: str, shown_as: str | None) -> None:
    assert shown(name) == (shown_as or name)


def test_a_predictor_of_one_class_is_described_as_it_decides(
    trained: Path, predictor: Predictor, images: list[Path]
) -> None:
    assert predictor.calibration is not None and predictor.scale is not None
    part = max(predictor.calibration.classes, key=lambda one: predictor.calibration.threshold(one).image)
    path = next(path for path in images if part in path.parts)
    of_part = load(trained, class_name=part, device="cpu")
    calibration, own = predictor.calibration, predictor.calibration.threshold(part)
    assert own.image != calibration.overall.image and predictor.scale.of(part) != predictor.scale.of(None)
    with TestClient(create_app(of_part)) as client:
        info = client.get("/info").json()
        result, said = (
            client.post(f"/predict?map=png{asked}", files=sent([path])).json()["results"][0]
            for asked in ("", f"&class_name={part}")
        )
    assert (info["threshold"], info["pixel_threshold"]) == (own.image, own.pixel)
    assert info["scale"] == list(predictor.scale.of(part))
    assert info["calibration"]["count"] == own.normal != calibration.overall.normal
    assert info["calibration"]["scores"] == info["calibration"]["class_scores"][part]
    assert result["threshold"] == own.image and result["map"] == said["map"]
    same(result, of_part(path))


def test_names_of_bytes_that_are_not_utf_8(predictor: Predictor, images: list[Path], tmp_path: Path) -> None:
    assert predictor.calibration is not None and predictor.scale is not None
    broken, spelt, part = "w\udce4sher", r"w\xe4sher", next(iter(predictor.calibration.classes))
    calibration = replace(
        predictor.calibration,
        classes={broken: predictor.calibration.classes[part]},
        scores={**predictor.calibration.scores, broken: predictor.calibration.scores[part]},
        images="photos/w\udce4sher",
    )
    scale = replace(predictor.scale, classes={broken: predictor.scale.of(part)})
    odd = Predictor(predictor.scorer, calibration=calibration, scale=scale, checksum="f" * 64, classes=(broken,))
    with TestClient(create_app(odd, name="r\udce4n", marks=tmp_path / "marks")) as client:
        info = client.get("/info").json()
        assert (info["name"], info["classes"], info["calibration"]["images"]) == (
            r"r\xe4n",
            [spelt],
            rf"photos/{spelt}",
        )
        assert spelt in info["class_names"]
        for key in ("thresholds", "pixel_thresholds", "scales"):
            assert list(info[key]) == [spelt]
        asked = {"class_name": spelt, "map": "png"}
        result = client.post("/predict", params=asked, files=sent(images[:1])).json()["results"][0]
        assert result["threshold"] == info["thresholds"][spelt] != info["threshold"]
        mark = client.put(f"/marks/{result['id']}", json={"mark": "good"})
        assert mark.status_code == 200 and mark.json()["class_name"] == spelt
        refused = client.post("/predict?class_name=none", files=sent(images[:1]))
        assert refused.status_code == 422 and spelt in refused.json()["detail"].replace("\\\\", "\\")
        assert "invad_model_info" in client.get("/metrics").text


def test_limits(predictor: Predictor) -> None:
    limits = Limits(body_bytes=200_000, pixels=10_000, batch=2, queue=2)
    with TestClient(create_app(predictor, limits=limits)) as client:
        assert client.post("/predict", files=[("files", png())] * 3).status_code == 413
        too_large = client.post("/predict", files={"files": png(400, 400)})
        assert too_large.status_code == 413 and "200000" in too_large.json()["detail"]
        result = client.post("/predict", files={"files": png(101, 100)})
        assert result.status_code == 422 and "10,100 pixels" in result.json()["results"][0]["error"]
        assert client.post("/predict", files={"files": png(100, 100)}).status_code == 200


@pytest.mark.parametrize(
    "values",
    [
        {"queue": 0},
        {"body_seconds": -1.0},
        {"batch": 9, "queue": 8},
        {"body_bytes": 2**40},
        {"body_seconds": math.inf},
        {"compute_wait": math.inf},
        {"idle_seconds": math.nan},
        {"compute_wait": 1e300},
        {"recent_bytes": 2**20},
    ],
)
def test_limits_that_cannot_be_meant(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="|".join(values)):
        Limits(**values)


def test_requests_that_are_not_as_described(client: TestClient) -> None:
    for answer in (
        client.post("/predict"),
        client.post("/predict?map=jpeg", files={"files": png()}),
        client.post("/predict", data={"files": "text"}),
        client.put("/marks/abc", json={"mark": "good"}),
        client.put("/marks/" + "0" * 64, json={"mark": "ugly"}),
    ):
        assert answer.status_code == 422 and isinstance(answer.json()["detail"], str), answer.text
    assert client.get("/predict").status_code == 405
    assert client.get("/nowhere").status_code == 404


def test_a_predictor_without_a_scale_is_refused(predictor: Predictor) -> None:
    with pytest.raises(SettingsError, match="scale"):
        create_app(Predictor(predictor.scorer))


def test_a_model_that_fails_is_an_answer_too(predictor: Predictor) -> None:
    def broken(images: object) -> None:
        raise MemoryError("no room")

    broken.size = predictor.size  # type: ignore[attr-defined]
    with TestClient(create_app(Predictor(broken, scale=ColourScale(0.1, 0.2)))) as client:  # type: ignore[arg-type]
        for _ in range(3):
            answer = client.post("/predict", files={"files": png()})
            assert answer.status_code == 500 and "log" in answer.json()["detail"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert "invad_queue_images 0.0" in client.get("/metrics").text


def test_bodies_without_images_are_small(client: TestClient) -> None:
    refused = client.put("/marks/" + "0" * 64, json={"mark": "good", "name": "x" * 100_000})
    assert refused.status_code == 413


def test_metrics(client: TestClient, predictor: Predictor) -> None:
    client.post("/predict", files={"files": png()})
    client.post("/predict", files={"files": b"no image"})
    client.get("/" + "x" * 50)
    client.get("/page/page.css")
    text = client.get("/metrics").text
    for line in (
        'invad_requests_total{method="POST",path="/predict",status="200"} 1.0',
        'invad_requests_total{method="POST",path="/predict",status="422"} 1.0',
        'invad_requests_total{method="GET",path="other",status="404"} 1.0',
        'invad_requests_total{method="GET",path="/page",status="200"} 1.0',
        "invad_queue_images 0.0",
        "invad_batch_images_count 1.0",
        'invad_decisions_total{decision="unreadable"} 1.0',
        f'invad_model_info{{checksum="{predictor.checksum}",name="parts"}} 1.0',
        'invad_request_seconds_count{path="/predict"} 2.0',
    ):
        assert line in text.splitlines(), text


def test_the_description_is_a_page_of_this_server_alone(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text and "//" not in page.text.replace("http://testserver", "")
    for word in ("/predict", "share_below", "Retry-After", "/marks/export", 'href="#Result"', 'id="Result"'):
        assert word in page.text
    assert client.get("/docs.css").headers["content-type"].startswith("text/css")
    described = client.get("/openapi.json").json()["components"]["schemas"]
    ours = {name: schema for name, schema in described.items() if "Validation" not in name}
    undescribed = [
        f"{name}.{field}"
        for name, schema in ours.items()
        for field, one in schema.get("properties", {}).items()
        if not one.get("description") and "$ref" not in one
    ]
    assert undescribed == []
