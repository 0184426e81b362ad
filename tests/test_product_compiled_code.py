"""What the compiler makes of the kernels of matrix products: registers only on sm_90, and every target."""

from typing import Any

import pytest
import torch

from rsample.kernels.runtime.language import HAS_TRITON, triton

if not HAS_TRITON or triton.knobs.runtime.interpret:
    pytest.skip(
        "the interpreter compiles nothing" if HAS_TRITON else "Triton is not installed", allow_module_level=True
    )

from machine_code.elementwise import KEY, TRITON_NAMES, partial_sums
from machine_code.sass import TARGETS, Sass
from triton.compiler import ASTSource

from rsample.kernels.engines.matrix_product import LOW_RANK_MULTIVARIATE_NORMAL, MULTIVARIATE_NORMAL_WITH_NORM
from rsample.kernels.engines.triton import product

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
MVN, LOW_RANK = MULTIVARIATE_NORMAL_WITH_NORM, LOW_RANK_MULTIVARIATE_NORMAL
STEPS = ("row_step", "loc_row_step", "scale_row_step", "loc_step", "scale_step", "row_factor_step")


def compile_product(kernel, arguments, tile, target):
    """Compiles a kernel as a launch does, without specialising any argument."""
    signature: dict[str, Any] = {}
    constexprs: dict[tuple[int, ...], Any] = {}
    for i, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        constant = parameter.is_constexpr or value is None
        signature[parameter.name] = "constexpr" if constant else value
        if constant:
            constexprs[(i,)] = value
    options = {"num_warps": tile.warps, "enable_fp_fusion": True}
    return triton.compile(ASTSource(kernel, signature, constexprs, {}), target=TARGETS[target], options=options)


def common(kind, dtype, tile, target, k):
    return {
        "own_sizes": ("i32",),
        "shared_sizes": ("i32",),
        "rows": "i64",
        "n": "i32",
        "k": "i32",
        **KEY,
        "TRIANGULAR": kind.triangular,
        "STREAM": kind.stream,
        "GROUP": product.group_of(k, dtype),
        "WIDE": False,
        "HARDWARE": not target.startswith("gfx"),
        "BLOCK_ROWS": tile.rows,
        "BLOCK_N": tile.n,
        "BLOCK_K": tile.k,
    }


def forward_code(kind, dtype, rows, n, k, target="sm_90", order="row"):
    pointer, tile = f"*{TRITON_NAMES[dtype]}", product.forward_tile(kind, rows, n, k, dtype)
    arguments = {
        "out_ptr": pointer,
        "norm_ptr": pointer if kind.norm else None,
        "loc_ptr": pointer,
        "factor_ptr": pointer,
        "scale_ptr": pointer if len(kind.parameters) == 3 else None,
        "own_strides": ("i32",) * 4,
        "shared_strides": ("i32",) * 4,
        "shared": "i32",
        **dict.fromkeys(STEPS, "i64"),
        "column_factor_step": "i64",
        "ORDER": order,
        "OWN_GROUP": product.group_of(n, dtype),
        **common(kind, dtype, tile, target, k),
    }
    return compile_product(product.product_forward_kernel, arguments, tile, target), tile


def backward_code(kind, dtype, rows, n, k, target="sm_90"):
    tile = product.backward_tile(rows, n, k, dtype)
    arguments = {
        "out_ptr": f"*{partial_sums(dtype)}",
        "grad_ptr": f"*{TRITON_NAMES[dtype]}",
        "own_strides": ("i32",) * 2,
        "shared_strides": ("i32",) * 2,
        **dict.fromkeys(("row_step", "grad_row_step", "grad_step"), "i64"),
        **dict.fromkeys(("tiles", "run"), "i32"),
        **common(kind, dtype, tile, target, k),
    }
    return compile_product(product.product_backward_kernel, arguments, tile, target), tile


def multiplications(body):
    return sum(i.opcode.startswith(("FFMA", "DMMA")) for i in body)


# The most instructions per multiplication of the product, in the loop over its tiles; 1 would leave no room for noise.
BUDGETS = [
    (forward_code, MVN, F32, 1000, 64, 64, 1.9),
    (forward_code, MVN, F32, 1000, 33, 33, 2.6),
    (forward_code, MVN, BF16, 1000, 512, 512, 1.9),
    (forward_code, MVN, F32, 1, 64, 64, None),
    (forward_code, LOW_RANK, F32, 1000, 64, 16, None),
    (backward_code, MVN, F32, 1000, 64, 64, 1.8),
    (forward_code, MVN, F64, 1000, 64, 64, None),
    (backward_code, MVN, F64, 1000, 64, 64, None),
]


@pytest.mark.parametrize(("make", "kind", "dtype", "rows", "n", "k", "budget"), BUDGETS)
def test_products_stay_in_registers(make, kind, dtype, rows, n, k, budget):
    compiled, tile = make(kind, dtype, rows, n, k)
    sass = Sass(compiled)
    # The slow path of the sine in float64, far from any angle of ours, has a table of 48 bytes.
    assert sass.resources["STACK"] <= (48 if dtype == F64 else 0)
    assert sass.resources["LOCAL"] == 0
    if dtype != F64:
        assert sass.count("(LDL|STL|CALL)") == 0
    if budget is not None:
        loop = max(sass.loops, key=multiplications)
        of_thread = tile.rows * tile.n * tile.k / (32 * tile.warps)
        assert multiplications(loop) >= of_thread
        assert len(loop) / of_thread <= budget


@pytest.mark.parametrize("target", sorted(TARGETS.keys() - {"sm_90"}))
def test_every_target_compiles(target):
    for compiled, _ in (
        forward_code(LOW_RANK, F32, 1000, 30, 7, target, "column"),
        backward_code(MVN, F64, 20, 30, 30, target),
    ):
        assert compiled.asm["hsaco" if target.startswith("gfx") else "cubin"]
