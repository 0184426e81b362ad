"""Every Python block of the pages runs as it stands, and says what it claims; recipes are tested on their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rsample.kernels.runtime.language import HAS_TRITON

ROOT = Path(__file__).parents[1]
PAGES = [page.relative_to(ROOT).as_posix() for page in (*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md"))]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page):
    text = re.sub(r"\n## Recipes\n.*?\n## ", "\n## ", text_of(page), flags=re.DOTALL)
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


BLOCKS = {f"{page} {i}": block for page in PAGES for i, block in enumerate(blocks_of(page))}


def run(name):
    exec(compile(BLOCKS[name], name, "exec"), {})


def run_as_a_file(name, folder):
    """A kernel is compiled from a file, here by Triton's interpreter, which has to be chosen before it is defined."""
    file = folder / "block.py"
    file.write_text(BLOCKS[name])
    env = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-W", "ignore", file], env=env, check=True)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_runs(name, tmp_path):
    if "@triton.jit" not in BLOCKS[name]:
        run(name)
    elif HAS_TRITON:
        run_as_a_file(name, tmp_path)
    else:
        pytest.skip("Triton is not installed")


def test_all_pages_are_found():
    pages = {"README.md", "CONTRIBUTING.md", "bench/README.md", "distributions/README.md", "kernels/README.md"}
    assert pages <= set(PAGES)
    assert pages & {name.partition(" ")[0] for name in BLOCKS} >= {"README.md", "distributions/README.md"}


def test_the_first_page_is_short():
    """Who comes for the first time reads it whole."""
    assert len(text_of("README.md").splitlines()) <= 160


def test_the_first_page_names_the_commands_that_test_and_measure():
    commands = re.findall(r"(?m)^make (\w+) ", text_of("README.md"))
    assert commands == ["test", "bench"]
    assert all(re.search(rf"(?m)^{command}:", text_of("Makefile")) for command in commands)


def heading_links(text):
    """The names by which a page's headings can be linked to."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text_of(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not heading or heading in heading_links(file.read_text(encoding="utf-8")), target


def test_a_report_reads_as_the_page_says(capsys):
    (name,) = (name for name, block in BLOCKS.items() if "acceleration.report()" in block and "distributions/" in name)
    run(name)
    expected = [line.removeprefix("# ") for line in BLOCKS[name].splitlines() if line.startswith("# ")]
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == expected[:3]
    assert printed[-1] == expected[-1]  # between them the subclasses that other tests have made


def test_pathwise_and_score_function_variance(capsys):
    (name,) = (name for name, block in BLOCKS.items() if "score_function" in block)
    run(name)
    printed = dict(re.findall(r"(\w+) +mean [\d.]+ +variance ([\d.]+)", capsys.readouterr().out))
    # Variance of one estimate: Var(2x) / 100 = 0.04 and Var(x^2 (x - 1)) / 100 = 0.30, where x = 1 + eps:
    # E[(1 + eps)^4 eps^2] = 1 + 6 * 3 + 15 - 4 = 30 after subtracting the squared mean 4. A sample variance of 500
    # estimates is within 30 % of them (its relative standard deviation is 6.3 %, more for the heavy-tailed second one).
    assert float(printed["pathwise"]) == pytest.approx(0.04, rel=0.3)
    assert float(printed["score_function"]) == pytest.approx(0.30, rel=0.3)
