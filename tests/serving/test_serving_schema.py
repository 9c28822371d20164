"""The API against its own OpenAPI description, by schemathesis: no answer that is not described."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served import server

TAKING_CLASSES = ("/predict", "/marks/{id}")
TOKEN = "a-token-of-enough-letters"


@pytest.fixture(scope="module")
def api(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("schema")
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    with server(trained, folder / "marks", "--token-file", str(folder / "token")) as running:
        yield schemathesis.openapi.from_url(f"{running.url}/openapi.json")
        assert running.stop() == 0
        assert "Traceback" not in "".join(running.lines)


@pytest.mark.slow
@pytest.mark.parametrize("mode", GenerationMode)
def test_answers_are_as_described(api: Any, mode: GenerationMode) -> None:
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) == 11
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (list(operation.iter_parameters()) or operation.body):
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def check(case: Any) -> None:
            # That bytes are an image, and a name one of the model's classes, is beyond a schema.
            excluded = [positive_data_acceptance] if case.path in TAKING_CLASSES else []
            case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=excluded)

        check()
