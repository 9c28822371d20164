"""Who is let in, and what browsers are told."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from served import png

from invad.cli.main import run
from invad.cli.serving import known_hosts
from invad.errors import SettingsError
from invad.inference import Predictor
from invad.serving import create_app
from invad.serving.receiving import SMALL_BODY
from invad.serving.security import read_token

TOKEN = "a-token-of-enough-letters"


@pytest.fixture
def locked(predictor: Predictor, tmp_path: Path) -> TestClient:
    return TestClient(create_app(predictor, token=TOKEN, marks=tmp_path / "marks", load=lambda: (predictor, "model")))


def test_everything_but_the_page_needs_the_token(locked: TestClient) -> None:
    id = "0" * 64
    closed = [
        ("GET", "/info"), ("POST", "/predict"), ("GET", "/metrics"), ("GET", "/marks"), ("PUT", f"/marks/{id}"),
        ("DELETE", f"/marks/{id}"), ("GET", f"/marks/{id}/image"), ("GET", "/marks/export"), ("POST", "/reload"),
        ("GET", "/anything"),
    ]  # fmt: skip
    for method, path in closed:
        refused = locked.request(method, path)
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer", path
        for wrong in ("Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN):
            assert locked.request(method, path, headers={"Authorization": wrong}).status_code == 401
    for path in ("/health", "/ready", "/docs", "/openapi.json", "/docs.css"):
        assert locked.get(path).status_code == 200
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert locked.get("/info", headers=right).json()["auth"] is True
    assert locked.post("/predict", files={"files": png()}, headers=right).status_code == 200
    assert locked.post("/reload", headers=right).status_code == 200


def test_headers_of_every_answer(client: TestClient) -> None:
    for path in ("/health", "/docs", "/nowhere", "/info", "/page/nothing.js"):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://testserver.evil.example"}, {"Origin": "http://[x"}],
)  # fmt: skip
def test_other_sites_pages_cannot_change_anything(client: TestClient, headers: dict[str, str]) -> None:
    id = client.post("/predict", files={"files": png()}).json()["results"][0]["id"]
    for method, path, body in (
        ("PUT", f"/marks/{id}", {"json": {"mark": "good"}}),
        ("DELETE", f"/marks/{id}", {}),
        ("POST", "/reload", {}),
        ("POST", "/predict", {"files": {"files": png()}}),
    ):
        assert client.request(method, path, headers=headers, **body).status_code == 403  # type: ignore[arg-type]
    assert client.get("/marks").json() == {"marks": []}


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://testserver"}, {"Origin": "https://testserver", "Sec-Fetch-Site": "same-origin"}]
)
def test_its_own_page_and_programs_can(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/predict", files={"files": png()}, headers=headers).status_code == 200


def test_other_names_are_refused(predictor: Predictor) -> None:
    client = TestClient(create_app(predictor, hosts=known_hosts("127.0.0.1", ("Inspection.example",))))
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "inspection.example:443"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", ""):
        assert client.get("/health", headers={"Host": host}).status_code == 421
    assert known_hosts("0.0.0.0", ()) is None


def test_names_may_be_given_as_addresses_are_written(predictor: Predictor) -> None:
    given = ("Inspection.example:8443", "[::2]", "[::3]:8443", "::4")
    client = TestClient(create_app(predictor, hosts=known_hosts("127.0.0.1", given)))
    for host in ("inspection.example:8443", "inspection.example", "[::1]:80", "[::2]:80", "[::3]", "[::4]:8443"):
        assert client.get("/health", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example:8443", "[::5]", ""):
        assert client.get("/health", headers={"Host": host}).status_code == 421, host


def test_below_a_path_of_another_application(predictor: Predictor) -> None:
    outer = FastAPI()
    outer.mount("/parts", create_app(predictor, token=TOKEN))
    client = TestClient(outer)
    for path in ("/", "/health", "/docs", "/page/app.js"):
        assert client.get(f"/parts{path}").status_code == 200, path
    for path in ("/info", "/parts/health", "/page"):
        assert client.get(f"/parts{path}").status_code == 401, path
    large = png(256, 256)
    assert len(large) > SMALL_BODY
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/parts/predict", files={"files": large}, headers=right).status_code == 200
    counted = client.get("/parts/metrics", headers=right).text
    for method, path in (("GET", "/page"), ("GET", "/health"), ("POST", "/predict")):
        assert f'invad_requests_total{{method="{method}",path="{path}",status="200"}} 1.0' in counted


def test_other_machines_are_let_in_only_where_that_is_meant(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVAD_TOKEN", raising=False)
    assert run(["serve", str(trained), "--host", "0.0.0.0"]) == 2
    said = capsys.readouterr().err
    assert "--token-file" in said and "--insecure" in said


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    monkeypatch.setenv("INVAD_TOKEN", "another-token-of-enough-letters")
    assert read_token(file) == TOKEN
    assert read_token(None) == "another-token-of-enough-letters"
    monkeypatch.delenv("INVAD_TOKEN")
    assert read_token(None) is None
    for wrong in ("short", "a token with spaces in it", "ein-schlüssel-mit-umlaut", ""):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(SettingsError, match="secrets"):
            read_token(file)
    with pytest.raises(SettingsError, match="cannot read"):
        read_token(tmp_path / "none")


def test_without_a_token_only_this_machine_reloads(predictor: Predictor) -> None:
    app = create_app(predictor, load=lambda: (predictor, "model"))
    assert TestClient(app, client=("10.0.0.7", 1)).post("/reload").status_code == 403
    assert TestClient(app, client=("127.0.0.1", 1)).post("/reload").status_code == 200
    assert TestClient(create_app(predictor), client=("127.0.0.1", 1)).post("/reload").status_code == 404
