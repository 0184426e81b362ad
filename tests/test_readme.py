"""Every Python block of the README runs as it stands, and says what it claims; recipes are tested on their own."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
TEXT = re.sub(r"\n## Recipes\n.*?\n## ", "\n## ", README.read_text(encoding="utf-8"), flags=re.DOTALL)
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(block):
    exec(compile(block, str(README), "exec"), {})


def test_pathwise_and_score_function_variance(capsys):
    (block,) = (b for b in BLOCKS if "score_function" in b)
    exec(compile(block, str(README), "exec"), {})
    printed = dict(re.findall(r"(\w+) +mean [\d.]+ +variance ([\d.]+)", capsys.readouterr().out))
    # Variance of one estimate: Var(2x) / 100 = 0.04 and Var(x^2 (x - 1)) / 100 = 0.30, where x = 1 + eps:
    # E[(1 + eps)^4 eps^2] = 1 + 6 * 3 + 15 - 4 = 30 after subtracting the squared mean 4. A sample variance of 500
    # estimates is within 30 % of them (its relative standard deviation is 6.3 %, more for the heavy-tailed second one).
    assert float(printed["pathwise"]) == pytest.approx(0.04, rel=0.3)
    assert float(printed["score_function"]) == pytest.approx(0.30, rel=0.3)
