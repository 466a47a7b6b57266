"""The source stays within the sizes of docs/design.md."""

from __future__ import annotations

import statistics
from pathlib import Path

import budgets
from budgets import Function

FILES = {file: budgets.lines(file) for file in budgets.sources()}
FUNCTIONS = [function for file in FILES for function in budgets.functions(file)]


def test_the_whole_source_is_within_its_budget() -> None:
    assert 0 < sum(budgets.code_lines(file) for file in FILES) <= budgets.TOTAL_LINES


def test_no_file_is_too_long() -> None:
    assert {file.name: size for file, size in FILES.items() if size > budgets.FILE_MOST} == {}
    assert statistics.median(FILES.values()) <= budgets.FILE_MEDIAN


def test_no_function_is_too_long() -> None:
    assert [function for function in FUNCTIONS if function.body > budgets.BODY_MOST] == []
    bodies = sorted(function.body for function in FUNCTIONS)
    assert statistics.median(bodies) <= budgets.BODY_MEDIAN
    assert bodies[len(bodies) * 9 // 10] <= budgets.BODY_P90


def test_no_function_takes_too_many_arguments() -> None:
    assert [function for function in FUNCTIONS if function.arguments > budgets.ARGUMENTS_MOST] == []


def test_lines_of_code_are_counted_without_comments(tmp_path: Path) -> None:
    python, native = tmp_path / "a.py", tmp_path / "a.cpp"
    python.write_text(
        '"""Two\n\nlines."""\n\n# comment\na = """text\n\nof code"""  # comment\n\nb = (\n    1,\n)\n'
    )
    native.write_text("// comment\n/* two\n\n lines */ int a;\n\nint b; // comment\n")
    assert budgets.code_lines(python) == 6
    assert budgets.code_lines(native) == 2


def test_python_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "class A:\n"
        "    def f(self, a, *, b):\n"
        '        """Two\n\n        lines."""\n'
        "        c = a\n"
        "        return c + b\n"
        "def g(a, b, c, d, e, f, g, h, i): # mirrors torch\n"
        "    return 1\n"
        "def h(a, b, c, d, e, f, g, h, i):\n"
        "    return 1\n"
    )
    found = {function.place.split()[1]: function for function in budgets.functions(file)}
    assert (found["f"].body, found["f"].arguments) == (2, 2)
    assert (found["g"].body, found["g"].arguments) == (1, 0)
    assert found["h"].arguments == 9


def test_native_code_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "a.cpp"
    file.write_text(
        "namespace a {\n"
        "int f(int a, int b,\n"
        "      int c) {\n"
        "    if (a) {\n"
        "        return b;\n"
        "    }\n"
        "    return c;\n"
        "}\n"
        "void g() {\n"
        "}\n"
        "}\n"
    )
    assert list(budgets.functions(file)) == [Function("a.cpp:2", 4, 3), Function("a.cpp:9", 0, 0)]


def test_the_report_names_every_budget() -> None:
    text = budgets.report()
    for number in (budgets.TOTAL_LINES, budgets.FILE_MOST, budgets.BODY_MOST, budgets.ARGUMENTS_MOST):
        assert f"(at most {number}" in text
