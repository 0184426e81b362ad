"""Nothing that is public is undocumented, and the examples of docstrings run as they stand."""

import doctest
import inspect
import subprocess
import sys

import api_pages
import pytest
import torch

import rsample
import rsample.distributions as dist
import rsample.kernels

OWN = {
    name: value
    for package in (rsample.kernels, dist)
    for name in package.__all__
    if getattr(value := getattr(package, name), "__module__", "").startswith(("rsample.", "torch.func."))
}
CLASSES = [name for name, value in OWN.items() if inspect.isclass(value)]
# How a type checker and torch know them; the draws of each class are those of the class that has documented them.
METHODS = ("sample", "rsample", "sample_with_log_prob", "rsample_with_log_prob")


def test_what_is_public_is_found():
    assert {"Normal", "Categorical", "TruncatedNormal", "accelerate", "key", "use_backend"} <= OWN.keys()


@pytest.mark.parametrize("name", OWN)
def test_what_is_public_has_a_docstring(name):
    assert inspect.cleandoc(vars(OWN[name]).get("__doc__") or OWN[name].__doc__ or "")


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_says_what_it_is_and_takes_and_shows_it(name):
    text = vars(OWN[name]).get("__doc__", "")  # not that of torch's class
    assert "Example::" in text
    assert f"{name}(" in text.partition("Example::")[2]
    assert "Args:" in text
    assert any(sign in text for sign in (":math:", ":class:", "`"))


@pytest.mark.parametrize("name", CLASSES)
def test_each_member_of_a_class_is_documented(name):
    own = [member for member in vars(OWN[name]) if not member.startswith("_")]
    assert [member for member in own if not inspect.getdoc(inspect.getattr_static(OWN[name], member))] == []
    assert all(inspect.getdoc(getattr(OWN[name], method)) for method in METHODS)


@pytest.mark.parametrize("name", OWN)
def test_examples_run_and_print_what_they_say(name):
    torch.manual_seed(0)
    names = {"torch": torch, "rsample": rsample, **vars(dist), **vars(rsample.kernels)}
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    for example in finder.find(OWN[name], name, globs=names):
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_docstrings_become_markdown():
    text = "Of :math:`\\mu` by :meth:`~a.B.c`.\n\nExample::\n\n    >>> x\n    >>> y\n    1\n\nArgs:\n    x: it."
    shown = "Of \\\\(\\mu\\\\) by `c`.\n\n**Example**\n\n```python\n>>> x\n>>> y\n1\n```\n\nArgs:\n    x: it."
    assert api_pages.markdown(text) == shown


def test_pages_have_every_name_that_is_public(tmp_path):
    pytest.importorskip("pdoc", reason="make docs installs pdoc")
    subprocess.run([sys.executable, api_pages.__file__, tmp_path], check=True)
    text = "".join(page.read_text() for page in tmp_path.rglob("*.html"))
    assert [name for name in OWN if f'id="{name}"' not in text] == []
    assert 'id="Transform"' not in text  # torch's
