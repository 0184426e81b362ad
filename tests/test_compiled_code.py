"""What the compiler makes of the kernels: every target, and the instructions per sample in sm_90 code."""

from functools import partial

import pytest
import torch

from rsample.kernels.engines.triton import launch
from rsample.kernels.engines.triton.launch import Config
from rsample.kernels.laws.bernoulli import BERNOULLI_LOGITS_LAW
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.laws.rejection.noise import LoopNoise
from rsample.kernels.laws.uniform import UNIFORM_LAW
from rsample.kernels.runtime.language import HAS_TRITON, triton
from rsample.kernels.stream.layout import DENSE, REPEATED, ROWS, SCALAR, STRIDED

if not HAS_TRITON or triton.knobs.runtime.interpret:
    pytest.skip(
        "the interpreter compiles nothing" if HAS_TRITON else "Triton is not installed", allow_module_level=True
    )

from machine_code import budgets
from machine_code.elementwise import KEY, TRITON_NAMES, backward_code, cost, forward_code, partial_sums, pointers
from machine_code.sass import TARGETS, Sass, compile_for
from side_by_side import side_by_side

from rsample.kernels.draws.keys import pack_key_kernel
from rsample.kernels.engines.triton.reduction import reduced_backward_kernel
from rsample.kernels.laws import known_laws

F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
LAWS = {name: law for name, law in known_laws().items() if not isinstance(law.noise, LoopNoise)}
# A launch's configuration loops over ten tiles, which takes seconds to compile. How often says nothing about whether
# it compiles and where its numbers lie.
SHORT = Config(unroll=2)
ONCE = Config(unroll=1)


def reduced_code(law, dtype, group, inner_kept, target="sm_90"):
    """The backward kernel that sums over one dimension of two."""
    name = TRITON_NAMES[dtype]
    arguments = {
        **pointers(("a_out_ptr", "b_out_ptr", "c_out_ptr", "d_out_ptr"), [partial_sums(dtype)] * 2),
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
        **law.device_grad_constants(),
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


def assert_streams(sass, dtype, *, loads=None, stores, shared=False, noises=1, stack=0, config=launch.CONFIGS[0]):
    """A hot loop that is one basic block, whose every access is 128 bits wide, and that uses registers only.

    The loads of an operand that the law does not need are not there, so that their number is not always known. `stack`
    is how many bytes the paths beside the hot loop may spill.
    """
    assert sass.count("BRA", hot=True) == 1
    assert sass.count("(CALL|BSSY|BSYNC)") == 0
    assert sass.access_bits == 128
    assert sass.count("STG", hot=True) == stores * config.unroll
    if loads is not None:
        assert sass.count("LDG", hot=True) == loads * config.unroll
    assert sass.count("(LDL|STL)", hot=True) == 0
    if not stack:
        assert sass.count("(LDL|STL)") == 0
    assert sass.resources["STACK"] <= stack
    assert sass.resources["LOCAL"] == 0
    assert sass.count("(LDS|STS|BAR|SHFL)", hot=True) == 0
    if not shared:
        assert sass.count("(LDS|STS|LDSM|STSM|BAR)") == 0
    if noises:
        # Philox: 16 wide multiplications of the last eight rounds, one of the second and at most one of the first. A
        # pass may spend a few on addresses.
        blocks = noises * config.unroll * launch.group_size(dtype) // 4
        assert 17 * blocks <= sass.count(r"IMAD\.WIDE", hot=True) <= 19 * blocks + 8


def report(record_property, what, instructions, budget, sass):
    line = f"{what}: {instructions:.2f} instructions per sample (at most {budget}), {sass.resources['REG']} registers"
    record_property("cost", line)
    print(line)


def disassembled(jobs):
    """Jobs that compile, made to read the machine code too."""
    return [lambda job=job: Sass(job()) for job in jobs]


def named_law(name):
    """The law of a budget, which may be that of a sample with its log-density."""
    for suffix in ("_with_log_prob", "_with_score"):
        if name.endswith(suffix):
            return LAWS[name.removesuffix(suffix)].joint_draw()
    return LAWS[name]


def dense_of_the_same_budget(name, dtype, kind, budget):
    """Whether a budget is also that of dense parameters: these are read in the loop, which is the same but for that."""
    return kind == SCALAR and budgets.FORWARD.get((name, dtype, DENSE)) == budget


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in budgets.FORWARD))
def test_forward_cost(name, record_property):
    law = named_law(name)
    cases = [
        (getattr(torch, dtype), (kind,) * len(law.parameters), budget)
        for (of, dtype, kind), budget in budgets.FORWARD.items()
        if of == name and not dense_of_the_same_budget(of, dtype, kind, budget)
    ]
    jobs = [partial(forward_code, law, dtype, kinds) for dtype, kinds, _ in cases]
    for sass, (dtype, kinds, budget) in zip(side_by_side(disassembled(jobs)), cases, strict=True):
        instructions = cost(sass, dtype)
        report(record_property, f"{law.name} forward, {kinds[0]} {TRITON_NAMES[dtype]}", instructions, budget, sass)
        assert instructions <= budget
        assert_streams(sass, dtype, loads=kinds.count(DENSE), stores=law.outputs)


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
    sass = Sass(backward_code(NORMAL_LAW, dtype, outputs))
    instructions = cost(sass, dtype)
    what = f"normal backward, {' and '.join(outputs)} {TRITON_NAMES[dtype]}"
    report(record_property, what, instructions, budget, sass)
    assert instructions <= budget
    assert_streams(sass, dtype, loads=1, stores=outputs.count("elements"), shared="sum" in outputs)


@pytest.mark.parametrize(("kind", "budget"), [(ROWS, 26), (REPEATED, 26), (STRIDED, 42)])
@pytest.mark.parametrize("dtype", [F32, BF16])
def test_cost_of_broadcast_parameters(kind, dtype, budget, record_property):
    config = launch.BROADCAST_CONFIGS[0]
    sass = Sass(forward_code(NORMAL_LAW, dtype, (kind, SCALAR), config=config))
    instructions = cost(sass, dtype, config)
    report(record_property, f"normal forward, {kind} {TRITON_NAMES[dtype]}", instructions, budget, sass)
    assert instructions <= budget
    assert sass.count("(LDS|STS|LDSM|STSM|BAR|LDL|STL)") == 0
    assert sass.count("STG", hot=True) == sass.count(r"STG\.E\.128", hot=True) == config.unroll
    if kind == ROWS:
        assert sass.count("LDG", hot=True) == sass.count(r"LDG\.E\.128", hot=True) == config.unroll


def dense_forward(law, dtype, target="sm_90", config=SHORT):
    return partial(forward_code, law, dtype, (DENSE,) * len(law.parameters), target, config)


def dense_backward(law, dtype, target="sm_90", config=SHORT):
    return partial(backward_code, law, dtype, ("elements",) * len(law.parameters), target, config)


@pytest.mark.parametrize("name", LAWS)
def test_every_kernel_streams(name):
    law = LAWS[name]
    # A sample with its log-density is one kernel forward, whether or not the sample is a constant backward: a sample
    # alone is part of it, as its gradients are of those of both.
    joint = law.joint_draw() or law
    backwards = [joint] if law.density is None or joint.joint == "score" else [joint, law.with_score()]
    backwards = [draw for draw in backwards if draw.cotangents]
    jobs = [dense_forward(joint, F32), *(dense_backward(draw, F32) for draw in backwards)]
    forward, *others = side_by_side(disassembled(jobs))
    assert_streams(forward, F32, stores=joint.outputs, noises=law.noise.values, config=SHORT)
    for sass in others:
        # Some gradients do not depend on the noise. ptxas parks a value or two of the truncated normal's gradients in
        # the loop that carries, at 80 of 255 registers.
        stack = 16 if name == "truncated_normal" else 0
        assert_streams(sass, F32, stores=len(law.parameters), noises=0, stack=stack, config=SHORT)


# One more dtype per law, each of the three with every third.
OTHERS = (("sm_80", F16), ("sm_100", BF16), ("gfx942", F64))
OTHER = {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(LAWS)}


@pytest.mark.parametrize("name", LAWS)
def test_every_target_compiles_every_law(name):
    # The joint draw, where there is one, holds all of the law's device functions but the score.
    draw = LAWS[name].joint_draw() or LAWS[name]
    # float32 on sm_90 is above. NVIDIA's other two differ from it in the assembler alone, for which the draws of two
    # laws in three stand. Narrow dtypes compute in float32.
    target, dtype = OTHER[name]
    jobs = [dense_forward(draw, F32, "gfx942", ONCE), dense_forward(draw, dtype, target, ONCE)]
    if draw.cotangents:
        jobs += [dense_backward(draw, F32, "gfx942", ONCE)]
    assert all({"hsaco", "cubin"} & code.asm.keys() for code in side_by_side(jobs))


# What the laws share: layouts of the parameters, sums, and the reduction over one dimension of two.
EVERYWHERE = [
    (forward_code, NORMAL_LAW, F64, (DENSE, ROWS)),
    (forward_code, NORMAL_LAW, BF16, (STRIDED, REPEATED)),
    (forward_code, BERNOULLI_LOGITS_LAW, F64, (SCALAR,)),
    (backward_code, NORMAL_LAW, F32, ("elements", "sum")),
    (backward_code, UNIFORM_LAW, BF16, ("elements", "sum")),
    (backward_code, NORMAL_LAW, F64, ("sum", "elements")),
    (reduced_code, NORMAL_LAW, F32, 4, True),
    (reduced_code, UNIFORM_LAW, F16, 1, False),
    (reduced_code, NORMAL_LAW, F64, 2, False),
]


@pytest.mark.parametrize("case", EVERYWHERE, ids=lambda c: "-".join(str(getattr(x, "name", x)) for x in c[1:3]))
def test_every_target_compiles_every_layout(case):
    make, *arguments = case
    options = {} if make is reduced_code else {"config": ONCE}
    codes = side_by_side(partial(make, *arguments, target=target, **options) for target in TARGETS)
    for target, code in zip(TARGETS, codes, strict=True):
        assert code.asm["hsaco" if target.startswith("gfx") else "cubin"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["value", "state"])
def test_every_target_compiles_the_packing_of_keys(kind, target):
    in_memory = {"seed_ptr": "*i64", "offset_ptr": "*i64"} if kind == "state" else {}
    arguments = {"out_ptr": "*u64", **KEY, **in_memory, "KEY": kind}
    binary = compile_for(pack_key_kernel, arguments, target, 1).asm
    assert binary["hsaco" if target.startswith("gfx") else "cubin"]
