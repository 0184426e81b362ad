"""What the compiler makes of the kernels: every target, and the instructions a sample on the machine code of sm_90."""

import pytest
import torch

from rsample.kernels import elementwise, launch
from rsample.kernels.language import HAS_TRITON, triton
from rsample.kernels.launch import Config
from rsample.kernels.layout import DENSE, REPEATED, ROWS, SCALAR, STRIDED
from rsample.kernels.maps.bernoulli import BERNOULLI_LOGITS_MAP, BERNOULLI_PROBS_MAP
from rsample.kernels.maps.normal import NORMAL_MAP
from rsample.kernels.maps.uniform import UNIFORM_MAP

if not HAS_TRITON or triton.knobs.runtime.interpret:
    pytest.skip(
        "the interpreter compiles nothing" if HAS_TRITON else "Triton is not installed", allow_module_level=True
    )

from sass import TARGETS, Sass, compile_for

from rsample.kernels.elementwise import elementwise_backward_kernel, elementwise_forward_kernel
from rsample.kernels.keys import pack_key_kernel
from rsample.kernels.reduction import reduced_backward_kernel

TRITON_NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}
F32, F64, BF16, F16 = TRITON_NAMES
KEY = {
    "seed_ptr": None,
    "offset_ptr": None,
    "in_memory": "i32",
    "k0": "u32",
    "k1": "u32",
    "offset": "u64",
    "KEY": "value",
}


def pointers(names, dtypes):
    return {
        name: dtype and "*" + dtype
        for name, dtype in zip(names, (*dtypes, *(None,) * len(names))[: len(names)], strict=True)
    }


def forward_code(map, dtype, kinds, target="sm_90", config=launch.CONFIGS[0]):
    """The forward kernel, compiled as a launch compiles it."""
    name = TRITON_NAMES[dtype]
    rank = 2 * any(kind not in (SCALAR, DENSE) for kind in kinds)
    arguments = {
        **pointers(("out_ptr", "log_prob_ptr"), [name] * map.outputs),
        **pointers(("a_ptr", "b_ptr", "c_ptr", "d_ptr"), [name] * len(kinds)),
        "sizes": ("i32",) * rank,
        "strides": ("i32",) * (rank * len(kinds)),
        "n": "i64",
        "first_program": "i64",
        "run": "i32",
        **KEY,
        **map.device_constants(),
        **elementwise.bounds(map, dtype),
        "KINDS": kinds,
        "WIDE": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": 32 * config.warps,
        "UNROLL": config.unroll,
    }
    return compile_for(elementwise_forward_kernel, arguments, target, config.warps)


def backward_code(map, dtype, outputs, target="sm_90", config=launch.CONFIGS[0], kinds=None):
    """The backward kernel in the sample's order, by default for dense gradients and parameters."""
    kinds = kinds or (DENSE,) * (len(map.cotangents) + (0 if map.linear else len(map.parameters)))
    name = TRITON_NAMES[dtype]
    partial = "fp64" if dtype == F64 else "fp32"
    stored = [{"elements": name, "sum": partial, "none": None}[output] for output in outputs]
    arguments = {
        **pointers(("a_out_ptr", "b_out_ptr", "c_out_ptr", "d_out_ptr"), stored),
        **pointers(("grad_ptr", "p_ptr", "q_ptr", "r_ptr", "s_ptr", "t_ptr"), [name] * len(kinds)),
        "sizes": (),
        "strides": (),
        "n": "i64",
        "first_program": "i64",
        "run": "i32",
        **KEY,
        **map.device_grad_constants(),
        "OUTPUTS": outputs,
        "KINDS": kinds,
        "WIDE": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": 32 * config.warps,
        "UNROLL": config.unroll,
    }
    return compile_for(elementwise_backward_kernel, arguments, target, config.warps)


def reduced_code(map, dtype, group, inner_kept, target="sm_90"):
    """The backward kernel that sums over one dimension of two."""
    name = TRITON_NAMES[dtype]
    partial = "fp64" if dtype == F64 else "fp32"
    arguments = {
        **pointers(("a_out_ptr", "b_out_ptr", "c_out_ptr", "d_out_ptr"), [partial] * 2),
        **pointers(("grad_ptr", "p_ptr", "q_ptr", "r_ptr", "s_ptr", "t_ptr"), [name]),
        "kept_sizes": ("i32",),
        "kept_strides": ("i32",) * 2,
        "reduced_sizes": ("i32",),
        "reduced_strides": ("i32",) * 2,
        "inner_strides": ("i32",),
        "kept": "i64",
        "reduced": "i64",
        "steps": "i32",
        **KEY,
        **map.device_grad_constants(),
        "OUTPUTS": (True, True),
        "OPERANDS": 1,
        "GROUP": group,
        "INNER_KEPT": inner_kept,
        "WIDE": False,
        "HARDWARE": not target.startswith("gfx"),
        "KEPT": 128 if inner_kept else 1,
        "REDUCED": 1 if inner_kept else 128,
    }
    return compile_for(reduced_backward_kernel, arguments, target, 4)


def cost(sass, dtype, config=launch.CONFIGS[0]):
    """Instructions a sample of the hot loop."""
    return len(sass.hot_loop) / (config.unroll * launch.group_size(dtype))


def assert_streams(sass, dtype, *, loads, stores, shared=False):
    """A hot loop that is one basic block, whose every access is 128 bits wide, and that uses registers only."""
    unroll = launch.CONFIGS[0].unroll
    assert sass.count("BRA", hot=True) == 1
    assert sass.count("(CALL|BSSY|BSYNC)") == 0
    assert sass.count("LDG", hot=True) == sass.count(r"LDG\.E\.128", hot=True) == loads * unroll
    assert sass.count("STG", hot=True) == sass.count(r"STG\.E\.128", hot=True) == stores * unroll
    assert sass.count("(LDL|STL)") == 0
    assert sass.resources["STACK"] == sass.resources["LOCAL"] == 0
    assert sass.count("(LDS|STS|BAR|SHFL)", hot=True) == 0
    if not shared:
        assert sass.count("(LDS|STS|LDSM|STSM|BAR)") == 0
    # Philox: 16 wide multiplications of the last eight rounds, one of the second and at most one of the first.
    blocks = unroll * launch.group_size(dtype) // 4
    assert 17 * blocks <= sass.count(r"IMAD\.WIDE", hot=True) <= 19 * blocks


def report(record_property, what, instructions, budget, sass):
    line = f"{what}: {instructions:.2f} instructions a sample (at most {budget}), {sass.resources['REG']} registers"
    record_property("cost", line)
    print(line)


# A loc and a scale, or a probs; budgets in instructions a sample.
FORWARD_BUDGETS = [
    (NORMAL_MAP, F32, DENSE, 20),
    (NORMAL_MAP, F32, SCALAR, 19),
    (NORMAL_MAP, BF16, DENSE, 21.5),
    (NORMAL_MAP, BF16, SCALAR, 19),
    (NORMAL_MAP, F16, DENSE, 21.5),
    (NORMAL_MAP, F16, SCALAR, 19),
    (UNIFORM_MAP, F32, SCALAR, 14),
    (UNIFORM_MAP, BF16, SCALAR, 15),
    (UNIFORM_MAP, F16, SCALAR, 15),
    (BERNOULLI_PROBS_MAP, F32, DENSE, 14),
    (BERNOULLI_LOGITS_MAP, F32, DENSE, 18),
]


@pytest.mark.parametrize(
    ("map", "dtype", "kind", "budget"), FORWARD_BUDGETS, ids=lambda v: getattr(v, "name", str(v).replace("torch.", ""))
)
def test_forward_cost(map, dtype, kind, budget, record_property):
    kinds = (kind,) * len(map.parameters)
    sass = Sass(forward_code(map, dtype, kinds))
    instructions = cost(sass, dtype)
    report(record_property, f"{map.name} forward, {kind} {TRITON_NAMES[dtype]}", instructions, budget, sass)
    assert instructions <= budget
    assert_streams(sass, dtype, loads=kinds.count(DENSE), stores=1)


@pytest.mark.parametrize(
    ("dtype", "outputs", "budget"),
    [
        (F32, ("none", "elements"), 20),
        (BF16, ("none", "elements"), 20),
        (F32, ("sum", "sum"), 21),
        (BF16, ("sum", "sum"), 22),
    ],
)
def test_normal_backward_cost(dtype, outputs, budget, record_property):
    sass = Sass(backward_code(NORMAL_MAP, dtype, outputs))
    instructions = cost(sass, dtype)
    what = f"normal backward, {' and '.join(outputs)} {TRITON_NAMES[dtype]}"
    report(record_property, what, instructions, budget, sass)
    assert instructions <= budget
    assert_streams(sass, dtype, loads=1, stores=outputs.count("elements"), shared="sum" in outputs)


@pytest.mark.parametrize(("kind", "budget"), [(ROWS, 26), (REPEATED, 26), (STRIDED, 42)])
@pytest.mark.parametrize("dtype", [F32, BF16])
def test_cost_of_broadcast_parameters(kind, dtype, budget, record_property):
    config = launch.BROADCAST_CONFIGS[0]
    sass = Sass(forward_code(NORMAL_MAP, dtype, (kind, SCALAR), config=config))
    instructions = cost(sass, dtype, config)
    report(record_property, f"normal forward, {kind} {TRITON_NAMES[dtype]}", instructions, budget, sass)
    assert instructions <= budget
    assert sass.count("(LDS|STS|LDSM|STSM|BAR|LDL|STL)") == 0
    assert sass.count("STG", hot=True) == sass.count(r"STG\.E\.128", hot=True) == config.unroll
    if kind == ROWS:
        assert sass.count("LDG", hot=True) == sass.count(r"LDG\.E\.128", hot=True) == config.unroll


# Code for other targets differs in the target, not in how often the loop is unrolled.
SHORT = Config(unroll=2)

EVERYWHERE = [
    *(
        (forward_code, map, dtype, (DENSE,) * len(map.parameters))
        for map in (NORMAL_MAP, UNIFORM_MAP)
        for dtype in (F32, F16)
    ),
    (forward_code, NORMAL_MAP, F64, (DENSE, ROWS)),
    (forward_code, NORMAL_MAP, BF16, (STRIDED, REPEATED)),
    (forward_code, BERNOULLI_PROBS_MAP, BF16, (DENSE,)),
    (forward_code, BERNOULLI_LOGITS_MAP, F64, (SCALAR,)),
    (forward_code, BERNOULLI_LOGITS_MAP, F16, (DENSE,)),
    (backward_code, NORMAL_MAP, F32, ("elements", "sum")),
    (backward_code, UNIFORM_MAP, BF16, ("elements", "sum")),
    (backward_code, NORMAL_MAP, F64, ("sum", "elements")),
    (reduced_code, NORMAL_MAP, F32, 4, True),
    (reduced_code, UNIFORM_MAP, F16, 1, False),
    (reduced_code, NORMAL_MAP, F64, 2, False),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", EVERYWHERE, ids=lambda c: "-".join(str(getattr(x, "name", x)) for x in c[1:3]))
def test_every_target_compiles(case, target):
    make, *arguments = case
    options = {} if make is reduced_code else {"config": SHORT}
    binary = make(*arguments, target=target, **options).asm
    assert binary["hsaco" if target.startswith("gfx") else "cubin"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["value", "state"])
def test_every_target_compiles_the_packing_of_keys(kind, target):
    in_memory = {"seed_ptr": "*i64", "offset_ptr": "*i64"} if kind == "state" else {}
    arguments = {"out_ptr": "*u64", **KEY, **in_memory, "KEY": kind}
    binary = compile_for(pack_key_kernel, arguments, target, 1).asm
    assert binary["hsaco" if target.startswith("gfx") else "cubin"]
