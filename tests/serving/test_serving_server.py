"""A real server: slow, cut-off and rude clients, reloads under load, stops and kills."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from served import Server, png, server

import invad
from invad.cli.main import run
from invad.errors import SettingsError
from invad.serving.server import bind

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
END = b"\r\n--b--\r\n"


def body(data: bytes) -> bytes:
    return PART + data + END


def connect(running: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=60)


def answer(connection: socket.socket) -> bytes:
    """Everything that comes until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="module")
def impatient(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small limits."""
    limits = ("--idle-seconds", "1", "--body-seconds", "3", "--body-bytes", "100000", "--receiving-bytes", "250000")
    with server(trained, tmp_path_factory.mktemp("impatient") / "marks", *limits, "--connections", "12") as running:
        yield running
        with running.client() as client:
            assert client.get("/ready").status_code == 200
            assert "invad_queue_images 0.0" in client.get("/metrics").text
        assert running.stop() == 0
        assert "Traceback" not in "".join(running.lines)


def test_an_answer_keeps_the_connection(impatient: Server) -> None:
    data = body(png())
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data
    with connect(impatient) as connection:
        for _ in range(3):
            connection.sendall(request)
            found = b""
            while not found.endswith(b"}]}"):
                found += connection.recv(65536)
            assert found.startswith(b"HTTP/1.1 200")


def test_a_body_that_stops_is_answered(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"Content-Length: 5000\r\n\r\n" + PART)
        found = answer(connection)
    assert found.startswith(b"HTTP/1.1 408") and b"connection: close" in found and b"too slowly" in found


def test_a_body_that_trickles_is_answered(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"Content-Length: 5000\r\n\r\n" + PART)
        connection.settimeout(0.2)
        found = b""
        while not found:
            try:
                found = connection.recv(65536)
            except TimeoutError:
                connection.sendall(b"x")
    assert found.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: local"])
def test_a_head_that_never_ends_is_closed(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(sent)
        assert answer(connection) == b""


def test_a_head_that_trickles_is_closed(impatient: Server) -> None:
    with connect(impatient) as connection, pytest.raises(OSError):
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        while True:
            connection.sendall(b"X-A: b\r\n")
            time.sleep(0.2)


def test_a_body_declared_too_large_is_refused_before_it_comes(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000000\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 413")


def test_a_client_that_sends_on_gets_to_see_why_not(impatient: Server) -> None:
    with impatient.client() as client:
        refused = client.post("/predict", files={"files": b"x" * 300_000})
    assert refused.status_code == 413 and "100000 bytes" in refused.json()["detail"]


def test_a_body_of_unknown_length_is_bounded(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(PART), PART))
        chunk = b"%x\r\n%s\r\n" % (10_000, b"x" * 10_000)
        for _ in range(11):
            connection.sendall(chunk)
        assert answer(connection).startswith(b"HTTP/1.1 413")
    data = body(png())
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_all_bodies_together_are_bounded(impatient: Server) -> None:
    waiting = [connect(impatient) for _ in range(3)]
    try:
        for connection in waiting:
            connection.sendall(HEAD + b"Content-Length: 95000\r\n\r\n" + PART + b"x" * 90_000)
        found = [answer(connection)[:12] for connection in waiting]
    finally:
        for connection in waiting:
            connection.close()
    assert sorted(found) == [b"HTTP/1.1 408", b"HTTP/1.1 408", b"HTTP/1.1 503"]


def test_a_client_that_goes_away_is_forgotten(impatient: Server) -> None:
    data = body(png())
    for cut in (10, len(data) // 2, len(data)):
        with connect(impatient) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data[:cut])
    with impatient.client() as client:
        assert client.post("/predict", files={"files": png()}).status_code == 200


def test_silent_clients_do_not_block_others(impatient: Server) -> None:
    silent = [connect(impatient) for _ in range(8)]
    try:
        for connection in silent:
            connection.sendall(HEAD + b"Content-Length: 5000\r\n\r\n" + PART)
        with impatient.client() as client:
            assert client.post("/predict", files={"files": png()}).status_code == 200
    finally:
        for connection in silent:
            connection.close()


def test_too_many_connections_are_told_so(impatient: Server) -> None:
    held = [connect(impatient) for _ in range(12)]
    try:
        with connect(impatient) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            found = answer(connection)
        assert found.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in found
    finally:
        for connection in held:
            connection.close()


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\r\n" * 50_000])
def test_what_is_not_http_is_closed(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(sent)
        assert answer(connection)[:12] in (b"", b"HTTP/1.1 400")


def test_a_client_that_does_not_read_is_cut(trained: Path, tmp_path: Path) -> None:
    with server(trained, tmp_path / "marks", "--idle-seconds", "1", "--connections", "4") as running:
        data = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d.png"\r\n\r\n%s\r\n' % (i, png(seed=i))
            for i in range(32)
        ) + b"--b--\r\n"  # fmt: skip
        head = HEAD.replace(b"/predict", b"/predict?map=overlay") + b"Content-Length: %d\r\n\r\n" % len(data)
        deaf = []
        for _ in range(3):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", running.port))
            connection.sendall(head + data)
            deaf.append(connection)
        with running.client() as client:
            assert client.post("/predict", files={"files": png()}).status_code == 200
        assert running.stop() == 0  # which waits for connections
        for connection in deaf:
            connection.close()


@pytest.mark.slow
def test_a_full_queue_answers_at_once(trained: Path, tmp_path: Path) -> None:
    options = ("--queue", "4", "--batch", "4", "--compute-batch", "64", "--compute-wait", "6")
    with server(trained, tmp_path / "marks", *options) as running, running.client() as client:
        with ThreadPoolExecutor(4) as pool:
            first = [pool.submit(client.post, "/predict", files={"files": png(seed=i)}) for i in range(4)]
            while "invad_queue_images 4.0" not in client.get("/metrics").text:
                time.sleep(0.02)
            refused = client.post("/predict", files={"files": png()})
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
            assert not any(one.done() for one in first)
            assert client.get("/health").status_code == 200
            assert [one.result().status_code for one in first] == [200] * 4
        assert "invad_batch_images_sum 4.0" in client.get("/metrics").text
        assert 'invad_batch_images_bucket{le="2.0"} 0.0' in client.get("/metrics").text
        assert client.post("/predict", files={"files": png()}).status_code == 200


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_stop_finishes_what_was_taken_in(trained: Path, tmp_path: Path) -> None:
    options = ("--compute-batch", "6", "--compute-wait", "60")  # the sixth image has the first five computed
    with server(trained, tmp_path / "marks", *options) as running, running.client() as client:
        with ThreadPoolExecutor(5) as pool:
            taken = [pool.submit(client.post, "/predict", files={"files": png(seed=i)}) for i in range(5)]
            while "invad_queue_images 5.0" not in client.get("/metrics").text:
                time.sleep(0.02)
            with connect(running) as uploading:
                data = body(png())
                uploading.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data[:1000])
                time.sleep(0.2)
                running.process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
                uploading.sendall(data[1000:])
                assert uploading.recv(65536).startswith(b"HTTP/1.1 200")
            assert [one.result().status_code for one in taken] == [200] * 5
        assert running.process.wait() == 0
        with pytest.raises(httpx.TransportError):
            client.get("/health")


@pytest.fixture
def two_models(trained: Path, data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs that differ."""
    settings = invad.TrainSettings(
        data=(f"folder:{data}",), encoder="analytic", image_size=(64,), blocks=(1, 1, 1), epochs=1, seed=7
    )
    return trained, invad.train(settings, tmp_path / "other", quiet=True).path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no links without rights")
def test_models_are_swapped_under_load(two_models: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(two_models[0])
    known = [invad.load(model, device="cpu") for model in two_models]
    image = png()
    (tmp_path / "image.png").write_bytes(image)
    scores = {one.checksum: one(tmp_path / "image.png").score for one in known}
    with server(link, tmp_path / "marks") as running, running.client() as client:
        done = threading.Event()
        found: list[tuple[str, float]] = []

        def ask() -> None:
            with running.client() as own:
                while not done.is_set():
                    answered = own.post("/predict", files={"files": image})
                    assert answered.status_code == 200
                    found.append((answered.json()["model"], answered.json()["results"][0]["score"]))

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            for turn in range(6):
                model = known[(turn + 1) % 2]
                link.unlink()
                link.symlink_to(two_models[(turn + 1) % 2])
                if turn % 2:
                    assert client.post("/reload").json()["checksum"] == model.checksum
                else:
                    running.process.send_signal(signal.SIGHUP)
                    while client.get("/info").json()["checksum"] != model.checksum:
                        time.sleep(0.05)
                assert client.get("/info").json()["name"] == two_models[(turn + 1) % 2].name
            done.set()
            for one in asking:
                one.result()
        assert {checksum for checksum, _ in found} == set(scores)
        for checksum, score in found:
            assert score == pytest.approx(scores[checksum], abs=1e-4)
        assert running.stop() == 0


def test_a_model_that_is_not_fit_is_not_taken(trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    with server(model, tmp_path / "marks") as running, running.client() as client:
        before = client.get("/info").json()
        for file in (model / "checkpoints").iterdir():
            file.write_bytes(file.read_bytes()[:-100])
        refused = client.post("/reload")
        assert refused.status_code == 409 and "the old model is kept" in refused.json()["detail"]
        shutil.rmtree(model)
        assert client.post("/reload").status_code == 409
        assert client.get("/info").json() == before
        assert client.post("/predict", files={"files": png()}).status_code == 200
        text = client.get("/metrics").text
        assert 'invad_reloads_total{result="kept"} 2.0' in text
        shutil.copytree(trained, model)
        assert client.post("/reload").json()["changed"] is False
    assert sum("reload: the model is kept" in line for line in running.lines) == 2


@pytest.mark.slow
def test_a_kill_loses_no_mark(trained: Path, tmp_path: Path) -> None:
    answered: set[str] = set()
    for turn in range(2):
        with server(trained, tmp_path / "marks") as running, running.client() as client:
            kept = {mark["id"] for mark in client.get("/marks").json()["marks"]}
            assert answered <= kept
            for id in kept:
                assert client.get(f"/marks/{id}/image").status_code == 200

            def mark(seed: int, url: str = running.url) -> None:
                try:
                    with httpx.Client(base_url=url, timeout=60, trust_env=False) as own:
                        sent = own.post("/predict", files={"files": png(seed=seed)})
                        id = sent.json()["results"][0]["id"]
                        if own.put(f"/marks/{id}", json={"mark": "good"}).status_code == 200:
                            answered.add(id)
                except httpx.TransportError:
                    return  # killed

            before = len(answered)
            with ThreadPoolExecutor(4) as pool:
                asked = [pool.submit(mark, 1000 * turn + seed) for seed in range(60)]
                while len(answered) < before + 10 and not all(one.done() for one in asked):
                    time.sleep(0.01)
                running.process.kill()
            assert len(answered) >= before + 10
    with server(trained, tmp_path / "marks") as running, running.client() as client:
        assert answered <= {mark["id"] for mark in client.get("/marks").json()["marks"]}
    left = [path.name for path in (tmp_path / "marks").iterdir() if path.suffix != ".sqlite"]
    assert set(left) <= {"images", "marks.sqlite-wal", "marks.sqlite-shm"}


def test_a_port_that_is_taken(trained: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "invad", "serve", str(trained), "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(
            [*command, "--marks", str(tmp_path / "m")], capture_output=True, text=True, env={**os.environ}
        )
    assert ended.returncode == 2 and "choose another --host or --port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_such_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", str(tmp_path / "none")]) == 2
    assert "there is no model" in capsys.readouterr().err


def test_a_missing_extra_is_named(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["serve", str(trained)]) == 2
    assert "pip install 'invad[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize("port", [99999, 65536, -1])
def test_a_number_that_is_no_port(tmp_path: Path, capsys: pytest.CaptureFixture[str], port: int) -> None:
    assert run(["serve", str(tmp_path / "never opened"), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"expected a port from 0 to 65535, got {port}" in said and "opening" not in said
    with pytest.raises(SettingsError, match="expected a port"):
        bind("127.0.0.1", port)


def in_a_terminal(trained: Path, marks: Path, *, hang_ups: signal.Handlers) -> tuple[int, int]:
    """A server in a terminal of its own: its process and the terminal."""
    import pty

    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, hang_ups)
        command = [sys.executable, "-m", "invad", "serve", str(trained), "--port", "0", "--marks", str(marks)]
        os.execv(sys.executable, command)
    return process, terminal


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_terminal_that_is_closed_ends_no_server_of_nohup(trained: Path, tmp_path: Path) -> None:
    process, terminal = in_a_terminal(trained, tmp_path / "m", hang_ups=signal.SIG_IGN)
    said = b""
    while (found := re.search(rb"serving run on (http://[\d.:]+)", said)) is None or not said.endswith(b"\n"):
        said += os.read(terminal, 4096)
    os.close(terminal)
    try:
        for _ in range(10):
            assert httpx.get(found[1].decode() + "/health", trust_env=False).status_code == 200
            time.sleep(0.1)
    finally:
        os.kill(process, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_terminal_that_is_closed_ends_the_server(trained: Path, tmp_path: Path) -> None:
    process, terminal = in_a_terminal(trained, tmp_path / "m", hang_ups=signal.SIG_DFL)
    said = b""
    while b"serving run on" not in said:
        said += os.read(terminal, 4096)
    os.kill(process, signal.SIGHUP)  # with an open terminal it is a wish for a reload
    while b"reload: serving" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def test_the_access_log(trained: Path, tmp_path: Path) -> None:
    with server(trained, tmp_path / "marks", "--access-log") as running:
        with running.client() as client:
            client.get("/health")
        assert running.stop() == 0
    assert any('"GET /health HTTP/1.1" 200' in line for line in running.lines)
    assert "requests taken in, 1 answered" in running.lines[-1]
