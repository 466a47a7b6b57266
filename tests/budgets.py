"""What the house allows in size, and what it measures. `python tests/budgets.py` prints the table.

The total counts lines of code: no blank lines, comments or docstrings, of which nobody should be sparing. The length
of a file counts all its lines.

The arguments of a signature that mirrors another library's are not ours to count: such a `def` line ends in
`# mirrors torch`, `# mirrors Keras` or `# mirrors scikit-learn`.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOTAL_LINES = 20_200
FILE_MEDIAN, FILE_MOST = 130, 350
BODY_MEDIAN, BODY_P90, BODY_MOST = 8, 28, 45
ARGUMENTS_MOST = 8
MIRRORS = re.compile(r"# mirrors (torch|Keras|scikit-learn)\b")
CONTROL = re.compile(
    r"^\s*(\}\s*)?(if|else|for|while|do|switch|case|namespace|class|struct|union|enum|extern|try|catch)\b"
)


@dataclass(frozen=True)
class Function:
    """A function: where it begins, how many lines its body has without its docstring, and its arguments."""

    place: str
    body: int
    arguments: int


def sources(root: Path = ROOT) -> list[Path]:
    """Every source file of the package and of the engine."""
    found = [*root.glob("src/unrolled/**/*.py"), *root.glob("native/**/*.cpp"), *root.glob("native/**/*.h")]
    return sorted(found)


def lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def code_lines(file: Path) -> int:
    """Lines that hold code."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return len(_python_code(text))
    bare = re.sub(
        r"//[^\n]*", "", re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
    )
    return len([row for row in bare.splitlines() if row.strip()])


def _python_code(text: str) -> set[int]:
    docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    silent = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    held = (range(t.start[0], t.end[0] + 1) for t in tokens if t.type not in silent)
    return {line for lines in held for line in lines} - docstrings


def functions(file: Path) -> Iterator[Function]:
    text = file.read_text(encoding="utf-8")
    yield from _python_functions(file, text) if file.suffix == ".py" else _native_functions(file, text)


def _python_functions(file: Path, text: str) -> Iterator[Function]:
    rows = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        size = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
        head = "\n".join(rows[node.lineno - 1 : node.body[0].lineno])
        counted = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments = len([argument for argument in counted if argument.arg not in ("self", "cls")])
        yield Function(
            f"{file.name}:{node.lineno} {node.name}", size, 0 if MIRRORS.search(head) else arguments
        )


def _native_functions(file: Path, text: str) -> Iterator[Function]:
    """Blocks of formatted C++ that are no control flow: from their opening line to the `}` of the same indent."""
    rows = text.splitlines()
    for number, row in enumerate(rows):
        opens = row.rstrip().endswith("{") and ")" in row and not CONTROL.match(row) and "= [" not in row
        if not opens:
            continue
        first = number
        while first and not _starts(rows[first]):
            first -= 1
        indent = len(rows[first]) - len(rows[first].lstrip())
        ends = (i for i in range(number + 1, len(rows)) if rows[i].startswith(" " * indent + "}"))
        signature = " ".join(rows[first : number + 1]).split("(", 1)[1].rsplit(")", 1)[0]
        arguments = signature.count(",") + 1 if signature.strip() else 0
        yield Function(f"{file.name}:{first + 1}", next(ends, len(rows)) - number - 1, arguments)


def _starts(row: str) -> bool:
    """Whether a line begins a signature, rather than going on with one that was broken over lines."""
    return row.count("(") > 0 and row.count("(") >= row.count(")")


def report(root: Path = ROOT) -> str:
    files = {file: lines(file) for file in sources(root)}
    code = sum(code_lines(file) for file in files)
    found = [function for file in files for function in functions(file)]
    bodies = sorted(function.body for function in found)
    return "\n".join([
        f"lines of code     {code:6d}  (at most {TOTAL_LINES}; with comments and blank lines {sum(files.values())})",
        f"file, median      {statistics.median(files.values()):6.0f}  (at most {FILE_MEDIAN})",
        f"file, longest     {max(files.values()):6d}  (at most {FILE_MOST})",
        f"function, median  {statistics.median(bodies):6.0f}  (at most {BODY_MEDIAN})",
        f"function, p90     {bodies[len(bodies) * 9 // 10]:6d}  (at most {BODY_P90})",
        f"function, longest {bodies[-1]:6d}  (at most {BODY_MOST})",
        f"arguments, most   {max(function.arguments for function in found):6d}  (at most {ARGUMENTS_MOST})",
    ])  # fmt: skip


if __name__ == "__main__":
    print(report())
