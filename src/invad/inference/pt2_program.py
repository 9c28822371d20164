"""The graph of an exported program (.pt2) from its JSON and its numbers, without PyTorch's own loader.

`torch.export.load` was made for files that one trusts: it evaluates sizes and guards as Python, imports modules that
tree specifications name, writes names into source code, and unpickles. Here the file is data alone. Each of its nodes
becomes a call of an operator of the list below with numbers and earlier values; nothing else in it is looked at.
"""

import json
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from invad.errors import ModelFileError

Read = Callable[[str], bytes]
"""An entry of the archive by its name below the root."""
MODEL = "models/model.json"
SCHEMA = 8
"""The major version of PyTorch's JSON, which only changes with what cannot be read as before."""

OPERATORS = re.compile(
    "add|sub|rsub|mul|div|floor_divide|remainder|neg|reciprocal|pow|square|sqrt|rsqrt|exp|expm1|log|log1p|log2|erf|sin|cos|tan|abs|sign"
    "|ceil|floor|round|clamp|clamp_min|clamp_max|maximum|minimum|addcmul|cumsum"
    "|eq|ne|lt|le|gt|ge|logical_and|logical_or|logical_not|bitwise_and|bitwise_or|bitwise_not|where|masked_fill"
    "|sum|mean|max|min|amax|amin|argmax|argmin|topk|std|std_mean|var|var_mean|linalg_vector_norm"
    "|linear|matmul|bmm|addmm|baddbmm|einsum|scaled_dot_product_attention|softmax|log_softmax|dropout|feature_dropout"
    "|conv1d|conv2d|conv3d|conv_transpose2d|convolution|im2col|col2im"
    "|avg_pool1d|avg_pool2d|max_pool2d|adaptive_avg_pool2d|adaptive_max_pool2d"
    "|batch_norm|group_norm|layer_norm|instance_norm|rms_norm"
    "|relu|relu6|leaky_relu|prelu|elu|celu|selu|gelu|glu|silu|mish|sigmoid|tanh|softplus|hardtanh|hardswish|hardsigmoid"
    "|pad|constant_pad_nd|reflection_pad2d|replication_pad2d|upsample_nearest2d|upsample_bilinear2d|upsample_bicubic2d"
    "|_upsample_bilinear2d_aa|_upsample_bicubic2d_aa|pixel_shuffle|pixel_unshuffle"
    "|cat|stack|split|split_with_sizes|chunk|unbind|slice|select|narrow|index|index_select|gather|embedding|unfold"
    "|view|view_as|reshape|reshape_as|flatten|unflatten|squeeze|unsqueeze|permute|transpose|t|numpy_T|movedim|expand"
    "|expand_as|repeat|repeat_interleave|tile|flip|roll|meshgrid|tril|triu|sym_size"
    "|arange|linspace|eye|full|full_like|ones|ones_like|new_ones|zeros|zeros_like|new_zeros"
    "|to|type_as|contiguous|clone|copy|alias|detach|lift_fresh_copy"
)
"""What a node may call of `torch.ops.aten`, in place or not: arithmetic on tensors, nothing that knows of files or of
memory that is not a tensor's. InvAD itself and the encoders of timm are made of these."""
ON_SIZES: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
    },
    **{f"math.{name}": getattr(math, name) for name in ("floor", "ceil", "trunc")},
    **{
        f"torch.{name}": getattr(torch, name)
        for name in ("sym_int", "sym_float", "sym_max", "sym_min", "sym_sum", "sym_not")
    },
}
"""What a node may call on sizes, which are plain numbers by then."""
ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
WORDS = re.compile(r"[\w.,> -]*")
"""Strings for operators: a mode, an equation of einsum."""
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
LAYOUTS = {7: torch.strided}


def read_program(read: Read, origin: str, device: torch.device) -> fx.GraphModule:
    """Return what an archive computes, on a device: uint8 images (B, h, w, 3) -> maps (B, H, W) and scores (B,).

    Args:
        read: gives the bytes of an entry by its name.
        origin: the file's name, for messages.
        device: to compute on, wherever the program was exported.

    Raises:
        ModelFileError: the program calls what is not on the list, has pickled values, or is of another format.
        KeyError, TypeError, ValueError: it is damaged in one of many other ways.
    """
    program = json.loads(read(MODEL))
    if program["schema_version"]["major"] != SCHEMA:
        raise ModelFileError(
            f"{origin} has PyTorch's format {program['schema_version']['major']}; this version of invad reads "
            f"{SCHEMA}. Export it again from its run, with the torch that is to read it"
        )
    tensors = _read_tensors(read, origin, device)
    module = program["graph_module"]
    graph = fx.Graph()
    values, used = _inputs(graph, module["signature"]["input_specs"], tensors)
    for node in module["graph"]["nodes"]:
        _add(graph, node, values, origin, device)
    if any(list(spec) != ["user_output"] for spec in module["signature"]["output_specs"]):
        raise ModelFileError(f"{origin} changes its own weights, which no model exported by invad does; not opened")
    graph.output(tuple(values[output["as_tensor"]["name"]] for output in module["graph"]["outputs"]))
    return fx.GraphModule(used, graph)


def _read_tensors(read: Read, origin: str, device: torch.device) -> dict[str, Tensor]:
    """All weights and constants by name; those that share their numbers in the file share them here."""
    found: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        config = json.loads(read(f"data/{kind}/model_{kind}_config.json"))["config"]
        stored: dict[str, Tensor] = {}
        for name, entry in config.items():
            if entry["use_pickle"] is not False:
                raise ModelFileError(f"{origin} holds pickled values; not opened")
            meta, path = entry["tensor_meta"], entry["path_name"]
            if path not in stored:
                stored[path] = _numbers(read(f"data/{kind}/{path}"), DTYPES[meta["dtype"]]).to(device)
            sizes, strides = ([size["as_int"] for size in meta[axis]] for axis in ("sizes", "strides"))
            found[name] = stored[path].as_strided(sizes, strides, meta["storage_offset"]["as_int"])
    return found


def _numbers(data: bytes, dtype: torch.dtype) -> Tensor:
    """Raw numbers as a vector of its own memory."""
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).clone()  # aligned as torch wants it


def _inputs(
    graph: fx.Graph, specs: list[dict[str, Any]], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The values that nodes start from by their names in the file, and the tensors among them by names of ours."""
    values: dict[str, Any] = {}
    used: dict[str, Tensor] = {}
    for spec in specs:
        ((kind, entry),) = spec.items()
        if kind == "user_input":
            values[entry["arg"]["as_tensor"]["name"]] = graph.placeholder("images")
            continue
        ours = f"tensor_{len(used)}"
        used[ours] = tensors[entry[f"{kind}_name"]]
        values[entry["arg"]["name"]] = graph.get_attr(ours)
    return values, used


def _add(graph: fx.Graph, node: dict[str, Any], values: dict[str, Any], origin: str, device: torch.device) -> None:
    """Add a node's call to the graph, and what it gives to the values."""
    outputs = [output for output in node["outputs"] if "as_none" not in output]
    if not outputs:
        return  # it asserts what held when the program was exported, and has no say in what it computes
    function = _function(node["target"], origin)
    args, kwargs = [], {}
    for given in node["inputs"]:
        value = _argument(given["arg"], values, origin, device)
        if function in ON_SIZES.values() or given["kind"] == 1:
            args.append(value)
        else:
            kwargs[_keyword(function, given["name"])] = value
    call = graph.call_function(function, tuple(args), kwargs)
    if len(node["outputs"]) > 1 or "as_tensors" in outputs[0]:
        several = (
            node["outputs"] if len(node["outputs"]) > 1 else [{"as_tensor": one} for one in outputs[0]["as_tensors"]]
        )
        for i, output in enumerate(several):
            if "as_none" not in output:
                values[_name(output)] = graph.call_function(operator.getitem, (call, i))
    else:
        values[_name(outputs[0])] = call


def _function(target: str, origin: str) -> Callable[..., Any]:
    """What a node calls, if it is on one of the lists."""
    found = ATEN.fullmatch(target)
    if target in ON_SIZES:
        return ON_SIZES[target]
    if found is None or not OPERATORS.fullmatch(found[1].removesuffix("_")):
        raise ModelFileError(
            f"{origin} calls {target[:60]!r}, which is not among the operators that invad runs; not opened"
        )
    packet = getattr(torch.ops.aten, found[1], None)
    if packet is None or found[2] not in packet.overloads():
        raise ModelFileError(f"{origin} calls {target[:60]!r}, which torch {torch.__version__} does not have")
    return getattr(packet, found[2])  # type: ignore[no-any-return]


def _keyword(function: Any, name: str) -> str:
    """The name of an argument that the operator has."""
    if name not in {argument.name for argument in function._schema.arguments}:
        raise ValueError(f"{function} has no argument {name[:60]!r}")
    return name


def _argument(given: dict[str, Any], values: dict[str, Any], origin: str, device: torch.device) -> Any:
    """What an operator is given: earlier values, numbers, or one of torch's constants."""
    ((kind, value),) = given.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor" | "as_sym_int" | "as_sym_float" | "as_sym_bool" | "as_optional_tensor":
            return _value(value, values)
        case "as_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools" | "as_optional_tensors":
            return [_value(one, values) for one in value]
        case "as_int" | "as_float" | "as_bool":
            return _number(value)
        case "as_ints" | "as_floats" | "as_bools":
            return [_number(one) for one in value]
        case "as_string" if WORDS.fullmatch(value):
            return value
        case "as_scalar_type":
            return DTYPES[value]
        case "as_memory_format":
            return MEMORY_FORMATS[value]
        case "as_layout":
            return LAYOUTS[value]
        case "as_device":
            return device
    raise ModelFileError(
        f"{origin} gives an operator {str(given)[:60]}, which no model exported by invad does; not opened"
    )


def _value(given: dict[str, Any], values: dict[str, Any]) -> Any:
    """An earlier value by its name, or what stands in its place."""
    if "as_none" in given:
        return None
    if "as_tensor" in given:
        return values[given["as_tensor"]["name"]]
    name = given.get("name", given.get("as_name"))
    return values[name] if name is not None else _number(next(iter(given.values())))


def _number(value: object) -> int | float | bool:
    """A number; JSON has no infinity, which PyTorch writes as a word."""
    if value in ("Infinity", "-Infinity", "NaN"):
        return float(str(value))
    if not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {str(value)[:60]!r}")
    return value


def _name(output: dict[str, Any]) -> str:
    """The name of what a node gives."""
    ((_, value),) = output.items()
    return str(value["name"] if "name" in value else value["as_name"])
