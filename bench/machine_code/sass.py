"""Compiles kernels for a GPU that need not be there, and counts the machine instructions of their hot loop."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
# e.g. "        /*0a40*/              @P0 IMAD.WIDE.U32 R4, R4, -0x2daee0ad, RZ ;"
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);", re.MULTILINE)


def compile_for(
    kernel: Any,
    arguments: dict[str, Any],
    target: str,
    num_warps: int,
    divisible: Sequence[str] = (),
    *,
    contracted: bool = False,
) -> Any:
    """Compiles a kernel without specialising any argument, but for some.

    Args:
        kernel: a JIT function.
        arguments: for every parameter its Triton type ("*fp32", "i64", a tuple) or, for a constexpr, its value;
            None where a launch passes None.
        divisible: names of those that a launch finds divisible by 16.
        contracted: whether products and sums may be.
    """
    signature: dict[str, Any] = {}
    constexprs: dict[tuple[int, ...], Any] = {}
    for i, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name] = "constexpr"
            constexprs[(i,)] = value
        else:
            signature[parameter.name] = value
    attributes = {(i,): [["tt.divisibility", 16]] for i, p in enumerate(kernel.params) if p.name in divisible}
    source = ASTSource(kernel, signature, constexprs, attributes)
    options = {"num_warps": num_warps, "enable_fp_fusion": contracted}
    return triton.compile(source, target=TARGETS[target], options=options)


@dataclass(frozen=True)
class Instruction:
    address: int
    opcode: str
    operands: str

    @property
    def target(self) -> int | None:
        """Where a branch goes."""
        found = re.findall(r"0x([0-9a-f]+)", self.operands)
        return int(found[-1], 16) if self.opcode.startswith("BRA") and found else None


class Sass:
    """The machine code of one compiled kernel."""

    def __init__(self, compiled: Any) -> None:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
            cubin.write(compiled.asm["cubin"])
            cubin.flush()
            text = _run("cuobjdump", "-sass", "-res-usage", cubin.name)
        self.instructions = [
            Instruction(int(address, 16), opcode, operands)
            for address, opcode, operands in _INSTRUCTION.findall(text)
            if opcode != "NOP"
        ]
        self.resources = {name: int(n) for name, n in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", text)}

    @cached_property
    def loops(self) -> list[list[Instruction]]:
        """The bodies of the loops, from the target of a backward branch to the branch, in order of address."""
        return [
            [i for i in self.instructions if branch.target <= i.address <= branch.address]
            for branch in self.instructions
            if branch.target is not None and branch.target < branch.address
        ]

    @cached_property
    def hot_loop(self) -> list[Instruction]:
        """The loop over full tiles: the one with Philox's wide multiplications and 16-byte stores (or most of them)."""
        return max(self.loops, key=lambda body: (_count(body, r"(ST|LD)G\b.*\.128"), _count(body, r"IMAD\.WIDE")))

    @property
    def access_bits(self) -> int:
        """Width of the narrowest access to global memory in the hot loop, or in a kernel without one."""
        body = self.hot_loop if self.loops else self.instructions
        accesses = [i.opcode for i in body if re.match(r"(LD|ST)G\b", i.opcode)]
        return min(next((bits for bits in (128, 64, 16, 8) if re.search(rf"\.[US]?{bits}\b", o)), 32) for o in accesses)

    def count(self, pattern: str, *, hot: bool = False) -> int:
        """How many instructions have an opcode that starts with `pattern` (a regular expression)."""
        return _count(self.hot_loop if hot else self.instructions, pattern)


def _count(body: list[Instruction], pattern: str) -> int:
    return sum(re.match(pattern, i.opcode) is not None for i in body)


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout
