"""A .pt2 file is data: nothing that it holds runs, and no byte of it can change unnoticed."""

import io
import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invad.colours import ColourScale
from invad.errors import ModelFileError
from invad.inference.folding import fold
from invad.inference.graph import ImageGraph
from invad.inference.manifest import EMPTY, Manifest, seal
from invad.inference.pt2_file import EXTRA, Pt2Scorer, pt2_bytes
from invad.inference.scorer import plain_scorer
from invad.model import build_model

IMAGES = np.arange(2 * 5 * 6 * 3, dtype=np.uint8).reshape(2, 5, 6, 3)
MODEL = "models/model.json"
MANIFEST = Manifest(size=(8, 8), precision="fp32", scale=ColourScale(0.0, 1.0), model="0" * 64)
Change = Callable[[bytes], bytes]


class Small(nn.Module):
    """As little as a .pt2 of ours can be, with each kind of value: weight, constant, device, size, list, word."""

    size = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
        self.register_buffer("offset", torch.tensor([0.25], dtype=torch.float64), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images.float() * self.weight + self.offset + torch.arange(3, device=images.device)
        red, rest = x.split([1, 2], dim=3)
        maps = nn.functional.gelu(red[..., 0] - rest.mean(-1), approximate="tanh") / (images.shape[1] * images.shape[2])
        return maps.float(), maps.amax((1, 2)).float()


@pytest.fixture(scope="module")
def good() -> bytes:
    return pt2_bytes(Small().eval(), MANIFEST)  # type: ignore[arg-type]


def rewritten(
    data: bytes,
    changes: dict[str, Change] | None = None,
    *,
    before: dict[str, bytes] | None = None,
    after: dict[str, bytes] | None = None,
    packed: bool = False,
) -> bytes:
    """An archive with changed entries, and some before and after the others, its checksum computed anew."""
    buffer = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as new,
    ):
        warnings.simplefilter("ignore")  # of names that come twice
        for name, added in (before or {}).items():
            new.writestr(name, added)
        for name in old.namelist():
            change = (changes or {}).get(name.removeprefix("archive/"), bytes)
            new.writestr(name, change(old.read(name)))
        for name, added in (after or {}).items():
            new.writestr(name, added)
        new.comment = EMPTY.encode()
    return seal(buffer.getvalue())


def in_program(change: Callable[[dict[str, Any]], object]) -> Change:
    """A change of what the program's JSON says."""

    def changed(data: bytes) -> bytes:
        program = json.loads(data)
        change(program)
        return json.dumps(program).encode()

    return changed


def entry(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(f"archive/{name}")


def opened(data: bytes) -> Pt2Scorer:
    return Pt2Scorer(data, "model.pt2", device="cpu")


def test_it_computes_what_pytorch_makes_of_the_file(good: bytes) -> None:
    """On the last bit; so the file is one for other programs, too, comment and all."""
    with torch.no_grad():
        theirs = torch.export.load(io.BytesIO(good)).module()(torch.from_numpy(IMAGES))
        wanted = Small()(torch.from_numpy(IMAGES))
    scorer = opened(good)
    assert scorer.size == (8, 8) and scorer.manifest == MANIFEST
    for ours, one, other in zip(scorer(IMAGES), theirs, wanted, strict=True):
        np.testing.assert_array_equal(ours, one.numpy())
        np.testing.assert_array_equal(ours, other.numpy())


def test_the_analytic_encoder_needs_no_other_operators() -> None:
    model = build_model("analytic", blocks=(1, 1, 1), image_size=(32, 32))
    graph = ImageGraph(fold(model, (32, 32)), (32, 32))
    data = pt2_bytes(graph, replace(MANIFEST, size=(32, 32)))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    (maps, scores), (wanted, wanted_scores) = Pt2Scorer(data, "x.pt2")(images), plain_scorer(model, (32, 32))(images)
    assert np.abs(maps - wanted).max() < 1e-4 * np.ptp(wanted) and np.allclose(scores, wanted_scores, atol=1e-4)


def test_it_computes_on_the_device_asked_for(good: bytes) -> None:
    from invad.inference.pt2_file import open_archive

    _, module = open_archive(good, "model.pt2", torch.device("meta"))  # no value of it can be on the CPU
    assert [value.device.type for value in module(torch.from_numpy(IMAGES).to("meta"))] == ["meta", "meta"]


def test_every_byte_is_covered(good: bytes) -> None:
    for place in (*range(0, len(good), 11), *range(len(good) - 100, len(good))):
        changed = bytearray(good)
        changed[place] ^= 1
        with pytest.raises(ModelFileError, match=r"damaged|checksum"):
            opened(bytes(changed))


@pytest.mark.parametrize("name", ["scale", "size", "decision", "classes", "settings"])
def test_what_rides_inside_is_covered(name: str, good: bytes) -> None:
    def changed(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), name: {"low": 0.0, "high": 0.5, "classes": {}}}).encode()

    evil = rewritten(good, {EXTRA: changed})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        unsealed = evil[:-64] + archive.comment[-64:]
    with pytest.raises(ModelFileError, match="its checksum does not match"):
        opened(unsealed)


def test_a_file_of_before_the_whole_of_it_was_covered_is_to_be_exported_again(good: bytes) -> None:
    buffer = io.BytesIO(good)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b""
    with pytest.raises(ModelFileError, match=r"no checksum over the whole file.*Export it again from its run"):
        opened(buffer.getvalue())


class Touch:
    """Pickled, it runs what it was given."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (eval, (self.code,))


def with_size(program: dict[str, Any], code: str) -> None:
    tensors = program["graph_module"]["graph"]["tensor_values"].values()
    first = next(size for tensor in tensors for size in tensor["sizes"] if "as_expr" in size)
    first["as_expr"]["expr_str"] = code


def with_context(program: dict[str, Any], kind: str, context: object) -> None:
    call = next(call for call in program["graph_module"]["module_call_graph"] if call["signature"])
    protocol, spec = json.loads(call["signature"]["in_spec"])
    spec["children_spec"][0] |= {"type": kind, "context": context}
    call["signature"]["in_spec"] = json.dumps([protocol, spec])


@pytest.mark.parametrize("way", ["size", "guard", "enum", "factory", "sample"])
def test_what_pytorch_would_run_does_not_run(
    way: str, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is first shown to run where PyTorch loads the same bytes."""
    proof = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(proof)!r}).touch()"
    (tmp_path / "evil_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    enum = json.dumps({"__enum__": True, "fqn": "evil_module:Kind", "name": "a"})
    factory = {"default_factory_module": "evil_module", "default_factory_name": "a", "dict_context": []}
    name, change = {
        "size": (MODEL, in_program(lambda program: with_size(program, code))),
        "guard": (MODEL, in_program(lambda program: program.update(guards_code=[f"{code} or True"]))),
        "enum": (MODEL, in_program(lambda program: with_context(program, "builtins.tuple", enum))),
        "factory": (MODEL, in_program(lambda program: with_context(program, "collections.defaultdict", factory))),
        "sample": ("data/sample_inputs/model.pt", lambda _: pickle.dumps(Touch(code), protocol=2)),
    }[way]
    evil = rewritten(good, {name: change})
    with suppress(Exception):  # whatever it ends in, it ran
        torch.export.load(io.BytesIO(evil)).module()(torch.from_numpy(IMAGES))
    assert proof.exists()
    proof.unlink()
    sys.modules.pop("evil_module", None)
    for ours, wanted in zip(opened(evil)(IMAGES), opened(good)(IMAGES), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    assert not proof.exists() and "evil_module" not in sys.modules


def with_target(target: str) -> Change:
    return in_program(lambda program: program["graph_module"]["graph"]["nodes"][-1].update(target=target))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "_operator.call",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "torch.hub.load",
        "torch.load",
        "torch.sym_sqrt.__globals__",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.set_.source_Storage",
        "torch.ops.aten.as_strided.default",
        "torch.ops.aten.empty.memory_format",
        "torch.ops.aten.add.__class__.__init__",
        "torch.ops.higher_order.cond",
        "#extension:name",
    ],
)
def test_what_is_not_arithmetic_is_not_called(target: str, good: bytes) -> None:
    with pytest.raises(ModelFileError, match="not among the operators that invad runs; not opened"):
        opened(rewritten(good, {MODEL: with_target(target)}))


def test_what_is_no_operator_of_a_name_is_not_called(good: bytes) -> None:
    for target in ("torch.ops.aten.add.__class__", "torch.ops.aten.add._op", "torch.ops.aten.add.of_tomorrow"):
        with pytest.raises(ModelFileError, match=r"which torch .* does not have"):
            opened(rewritten(good, {MODEL: with_target(target)}))


def test_names_in_the_file_never_become_source(good: bytes, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    code = f"x=__import__('pathlib').Path({str(proof)!r}).touch()"
    evil = rewritten(good, {MODEL: lambda data: data.replace(b'"images"', json.dumps(code).encode())})
    assert entry(evil, MODEL) != entry(good, MODEL)
    assert len(opened(evil)(IMAGES)[1]) == 2 and not proof.exists()


def test_arguments_have_names_of_the_operator(good: bytes) -> None:
    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][-1]["inputs"][0] |= {"name": "x=print()", "kind": 2}

    with pytest.raises(ModelFileError, match=r"has no argument 'x=print\(\)'"):
        opened(rewritten(good, {MODEL: in_program(change)}))


@pytest.mark.parametrize(
    "given",
    [
        {"as_string": "__import__('os')"},
        {"as_operator": "_operator.call"},
        {"as_custom_obj": {"name": "x", "class_fqn": "y"}},
        {"as_graph": {"name": "x", "graph": {}}},
    ],
)
def test_operators_are_given_numbers_and_words(given: dict[str, Any], good: bytes) -> None:
    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][-1]["inputs"][0]["arg"] = given

    with pytest.raises(ModelFileError, match="gives an operator"):
        opened(rewritten(good, {MODEL: in_program(change)}))


def test_weights_are_raw_numbers_inside_their_entry(good: bytes) -> None:
    config = "data/weights/model_weights_config.json"

    def with_meta(**values: object) -> Change:
        def changed(data: bytes) -> bytes:
            found = json.loads(data)
            (weight,) = found["config"].values()
            weight |= values if "use_pickle" in values else {"tensor_meta": {**weight["tensor_meta"], **values}}
            return json.dumps(found).encode()

        return changed

    with pytest.raises(ModelFileError, match="holds pickled values; not opened"):
        opened(rewritten(good, {config: with_meta(use_pickle=True)}))
    for beyond in ({"sizes": [{"as_int": 4000}]}, {"storage_offset": {"as_int": 1}}, {"strides": [{"as_int": -1}]}):
        with pytest.raises(ModelFileError, match="is damaged, or no exported program"):
            opened(rewritten(good, {config: with_meta(**beyond)}))


def test_a_program_that_changes_its_weights_is_refused(good: bytes) -> None:
    def change(program: dict[str, Any]) -> None:
        outputs = program["graph_module"]["signature"]["output_specs"]
        outputs[0] = {"buffer_mutation": {"arg": {"name": "x"}, "buffer_name": "offset"}}

    with pytest.raises(ModelFileError, match="changes its own weights"):
        opened(rewritten(good, {MODEL: in_program(change)}))


def test_a_program_of_another_format_is_refused(good: bytes) -> None:
    newer = in_program(lambda program: program["schema_version"].update(major=9))
    with pytest.raises(ModelFileError, match=r"PyTorch's format 9; .* reads 8\. Export it again"):
        opened(rewritten(good, {MODEL: newer}))


def test_an_archive_that_can_be_read_in_two_ways_is_refused(good: bytes) -> None:
    """PyTorch takes the first of two entries, Python the last."""
    evil = in_program(lambda program: program.update(guards_code=["evil"]))(entry(good, MODEL))
    for added in ({"before": {f"archive/{MODEL}": evil}}, {"after": {f"archive/{MODEL}": evil}}):
        with pytest.raises(ModelFileError, match=f"holds 'archive/{MODEL}' twice"):
            opened(rewritten(good, **added))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "archive/data/aotinductor/model/model.so",
        "archive/data/constants/custom_obj_0",
        "archive/data/constants/opaque_obj_0",
        "archive/data/constants/model.pt",
        "archive/data/weights/model.pt",
        "archive/models/other.json",
        "archive/Models/model.json",
        "archive/models\\model.json",
        "archive/./models/model.json",
        "archive//models/model.json",
        "archive/extra/other.json",
        "archive/",
        "other/models/model.json",
        "models/model.json",
        "version",
    ],
)
def test_entries_that_no_file_of_ours_has_are_refused(name: str, good: bytes) -> None:
    for added in ({"before": {name: b"{}"}}, {"after": {name: b"{}"}}):
        with pytest.raises(ModelFileError, match="which no model exported by invad has; not opened"):
            opened(rewritten(good, **added))  # type: ignore[arg-type]


def test_packed_entries_are_refused(good: bytes) -> None:
    with pytest.raises(ModelFileError, match="packed, which no model exported by invad has"):
        opened(rewritten(good, packed=True))


def test_a_model_with_operators_that_are_not_run_is_not_written() -> None:
    class Odd(Small):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            maps, scores = super().forward(images)
            return maps, torch.special.bessel_j0(scores)

    with pytest.raises(ModelFileError, match=r"cannot be a \.pt2: .*bessel_j0.*Export it --to onnx"):
        pt2_bytes(Odd(), MANIFEST)  # type: ignore[arg-type]
