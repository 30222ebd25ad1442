"""Words from outside in tables of LaTeX, in figures, in CSV files and in the app's charts: each is what it was."""

from __future__ import annotations

import ast
import html
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from architecture import FILES
from matplotlib.figure import Figure
from trainers import small_config, write_cloud

from app.charts import overlays
from app.charts.axes import subplots
from app.text import first_lines, quoted, visible_words
from mvm.figures import latex, render
from mvm.figures.drawing import wrapped
from mvm.figures.export import csv_of, encoded
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.studies.compare import curves, matrix
from mvm.words import cell, mathtext, tex, visible

HOSTILE = (
    "![x](http://127.0.0.1:9/x.png)",
    "<a href='javascript:alert(1)'>x</a><img src=//e.org/x>",
    "$x^2$ costs $5",
    r"\input{/etc/passwd} \\[2em] 100 % & #1_a^b~c {d}",
    "[a row's bracket",
    "* a row's star",
    "=HYPERLINK(A1)",
    "a\n\n# b\r\n- c\x00\x1b[31m",
    "\u202egnp.exe",
    "漢字 ≤ 🎉 \ud800",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_visible_is_one_line_that_every_encoding_of_unicode_carries(text: str) -> None:
    line = visible(text)
    assert len(line.splitlines()) == 1
    assert line.encode().decode() == line
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", line)
    kept = [c for c in text if c.isprintable() and not c.isspace()]
    assert [c for c in line if c in kept] == kept, "and nothing else is lost"


def test_what_is_visible_has_an_end() -> None:
    assert len(visible("x" * 10**6)) == len(visible("x " * 10**6)) == 600
    assert quoted("y" * 5000) == f"'{'y' * 60}…' (5,000 characters)"


@pytest.mark.parametrize("text", [*HOSTILE, r"a\$b", "$", r"\\", "$$", r"\alpha$\alpha$"])
def test_a_figure_draws_text_and_no_formula(text: str) -> None:
    def pixels(**how: object) -> np.ndarray:
        figure = Figure(figsize=(6, 0.4), dpi=80)
        figure.text(0, 0.3, **how)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="rgba")
        return np.frombuffer(buffer.getvalue(), dtype=np.uint8)

    with warnings.catch_warnings(action="ignore"):  # its font lacks some letters
        drawn, wanted = pixels(s=mathtext(text)), pixels(s=visible(text), parse_math=False)
    np.testing.assert_array_equal(drawn, wanted)


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_sets_text_and_runs_no_command(text: str) -> None:
    escaped = tex(text)
    for command, sign in (("textbackslash", "\\"), ("textasciicircum", "^"), ("textasciitilde", "~")):
        escaped = escaped.replace(rf"\{command}{{}}", f"\x00{ord(sign):03d}")
    assert not re.search(r"(?<!\\)[&%$#_{}^~]", escaped.removeprefix("{}")), "a sign that LaTeX reads"
    assert not escaped.startswith(("[", "*"))
    plainly = re.sub(r"\\([&%$#_{}])", r"\1", escaped.removeprefix("{}"))
    assert re.sub(r"\x00(\d{3})", lambda found: chr(int(found[1])), plainly) == visible(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "=cmd|'/c calc'!A0"])
def test_a_spreadsheet_computes_no_name(text: str) -> None:
    read = pd.read_csv(io.BytesIO(csv_of(pd.DataFrame({"series": [text, "both"], "value": [-1.5, 2]}))))
    assert list(read["series"]) == [f"'{text.strip()}", "both"]
    assert list(read["value"]) == [-1.5, 2], "a negative number is a number"
    assert cell("both, batch 16") == "both, batch 16"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs on files with names that LaTeX, matplotlib, HTML and spreadsheets read."""
    folder = tmp_path_factory.mktemp("hostile")
    made = []
    for number, name in enumerate(("<b>$x^2$ & {y}_%#~<b>.csv", "=SUM(A1) [$5] & <a href='x'>.csv")):
        run = Run.create(small_config(write_cloud(folder / name), steps=40), path=folder / f"run{number}")
        for _ in train(run):
            pass
        made.append(run)
    return made


@pytest.mark.parametrize("name", ["curves", "ablation", "distances", "scores", "spectrum"])
def test_figures_and_tables_of_such_runs_are_sound(runs: list[Run], name: str) -> None:
    figure = render(name, runs, venue="neurips")
    svg = ElementTree.fromstring(encoded(figure, "svg", venue="neurips"))
    texts = " ".join("".join(node.itertext()) for node in svg.iter("{http://www.w3.org/2000/svg}text"))
    assert "$5" in texts
    assert "x^2" in texts, "no formula is made of a name"
    table = latex(name, runs)
    body = table.split(r"\toprule")[1].split(r"\bottomrule")[0]
    assert r"\$x\textasciicircum{}2\$ \& \{y\}" in body
    assert all(row.count(" & ") >= 1 for row in body.splitlines() if row.strip().startswith("both"))


def test_charts_of_such_runs_read_no_html(runs: list[Run]) -> None:
    figure = overlays.overlay({"<i>d_c</i>": curves(runs, "d_c")}, axis="training step", log=True)
    figure["data"] += overlays.ablation(matrix(runs))["data"]
    words = ("name", "x", "y")
    texts = [text for trace in figure["data"] for word in words for text in np.atleast_1d(trace.get(word, ()))]
    texts += [note["text"] for note in figure["layout"]["annotations"]]
    texts = [text for text in texts if isinstance(text, str)]
    assert not [text for text in texts if "<" in text]
    assert any("<a href='x'>" in html.unescape(text) for text in texts), "and all is said"
    cells = " ".join(text for row in figure["data"][-1]["text"] for text in row)
    assert set(re.findall(r"<[^>]*>", cells)) <= {"<br>", "<b>", "</b>"}
    assert subplots(["<b>x</b>"])["annotations"][0]["text"] == "&lt;b&gt;x&lt;/b&gt;"


def test_thousands_of_lines_are_summed_up_in_one() -> None:
    assert first_lines(["a", "b"]) == ["a", "b"]
    assert first_lines([str(n) for n in range(2000)]) == ["0", "1", "2", "3", "and 1,996 more"]


def test_words_of_nested_rows_are_visible() -> None:
    rows = [{"name": "a\ud800", "variants": ["b\x00"], "steps": 3}]
    assert visible_words(rows) == [{"name": "a\ufffd", "variants": ["b\ufffd"], "steps": 3}]


def test_a_title_of_any_words_is_wrapped_and_escaped() -> None:
    assert wrapped("both, $5 and $6 and many more words", 1.0, 8).count("\n") >= 1
    assert wrapped("a$b", 2, 8) == r"a\$b"


# -- every place of the page -------------------------------------------------------------------------------------------

MARKDOWN = {"markdown", "caption", "error", "warning", "info", "success", "toast", "status", "expander"}
MARKDOWN |= {"popover", "tabs", "button", "download_button", "form_submit_button", "checkbox", "toggle"}
MARKDOWN |= {"number_input", "slider", "select_slider", "selectbox", "multiselect", "text_input", "text_area", "radio"}
MARKDOWN |= {"segmented_control", "pills", "file_uploader", "title", "header", "subheader", "badge"}
ESCAPED = {
    "plain",
    "duration",
    "_rate",
    "_thumbnail",
    "badge",
    "len",
    "table_of",
}  # functions whose result is text without Markdown
REGISTERED = {
    "title",
    "title_of",
    "label_of",
    "help",
    "description",
    "measure",
    "source",
    "noun",
    "knob",
    "model_fields",
}
NUMBERS = {"done", "indices", "seeds", "size", "steps", "total"}


class Texts:
    """Follows a text of one function back to the words that it is made of."""

    def __init__(self, function: ast.AST) -> None:
        self.values: dict[str, list[ast.expr]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.NamedExpr | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self._assign(target, node.value)
            elif isinstance(node, ast.For | ast.comprehension):
                self._assign(node.target, node.iter)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        for name in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            if isinstance(name, ast.Name):
                self.values.setdefault(name.id, []).append(value)

    def unsafe(self, node: ast.AST, seen: frozenset[str] = frozenset()) -> list[str]:
        """The words that may be from outside, and are not escaped."""
        parts: list[ast.AST] | None = None
        match node:
            case ast.FormattedValue(format_spec=ast.JoinedStr()) | ast.Constant():  # of a number
                parts = []
            case ast.FormattedValue() | ast.Subscript() | ast.Starred():
                parts = [node.value]
            case ast.JoinedStr() | ast.BoolOp():
                parts = node.values
            case ast.BinOp():
                parts = [node.left, node.right]
            case ast.IfExp():
                parts = [node.body, node.orelse]
            case ast.List() | ast.Tuple():
                parts = node.elts
            case ast.Dict():
                parts = node.values
            case ast.ListComp() | ast.GeneratorExp():
                parts = [node.elt]
            case ast.Attribute(attr=attribute) if attribute in REGISTERED | NUMBERS:
                parts = []
            case ast.Name(id=name) if name.isupper() or name in REGISTERED or name in seen:
                parts = []
            case ast.Name(id=name) if name in self.values:
                parts, seen = self.values[name], seen | {name}
            case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id="plain"), _]):
                parts = []
            case ast.Call(func=ast.Name(id=name)) if name in ESCAPED | REGISTERED:
                parts = []
            case ast.Call(func=ast.Attribute(attr="join"), args=[words]):
                parts = [words]
            case ast.Call(func=ast.Name(id="zip"), args=arguments):
                parts = arguments
            case ast.Call(func=ast.Attribute(attr="capitalize" | "replace" | "items" | "values", value=value)):
                parts = [value]
        if parts is None:
            return [ast.unparse(node)]
        return [word for part in parts for word in self.unsafe(part, seen)]


def functions(tree: ast.AST) -> Iterator[tuple[ast.AST, list[ast.Call]]]:
    """Each function of a module with the calls in it, and the module with all others."""
    inner = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    own = {id(call) for each in inner for call in ast.walk(each) if isinstance(call, ast.Call)}
    for each in inner:
        yield each, [node for node in ast.walk(each) if isinstance(node, ast.Call)]
    yield tree, [node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in own]


def unescaped(source: str) -> list[str]:
    """Places of a module of the app where Streamlit draws words from outside as Markdown."""
    found = []
    for function, calls in functions(ast.parse(source)):
        known = Texts(function)
        for call in calls:
            texts = [word.value for word in call.keywords if word.arg in ("help", "label", "text")]
            match call:
                case ast.Call(func=ast.Name(id="linked"), args=[_, label, *_]):
                    texts.append(label)
                case ast.Call(func=ast.Name(id="linked_names"), args=[label, *_]):
                    texts.append(label)
                case ast.Call(func=ast.Attribute(attr=name), args=[label, *_]) if name in MARKDOWN:
                    texts.append(label)
            found += [f"line {call.lineno}: {word}" for text in texts for word in known.unsafe(text)]
    return found


@pytest.mark.parametrize("module", sorted(name for name in FILES if name.startswith("app")))
def test_every_text_of_the_page_is_the_programs_own_or_escaped(module: str) -> None:
    """Labels and helps of widgets are Markdown, too."""
    assert not unescaped(FILES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("st.error(str(error))", "str(error)"),
        ("st.caption(run.note)", "run.note"),
        ("st.markdown(f'**{run.name}** of {plain(run.note)}')", "run.name"),
        ("text = f'{1:,} {reason}'; st.info('x ' + text)", "reason"),
        ("st.button('x', help=f'now {value}')", "value"),
        ("linked(st.toggle, header, key='k')", "header"),
        ("lines = [plain(a), b]; left.warning('; '.join(lines))", "b"),
        ("for line in describe(path): st.warning(line)", "describe(path)"),
    ],
)
def test_the_reader_of_the_page_sees_what_is_not_escaped(line: str, word: str) -> None:
    assert unescaped(f"def f(header, value, reason, b):\n    {line}") == [f"line 2: {word}"]
    assert unescaped("def f(name):\n    note = plain(name)\n    st.error(f'{note}: {1:,}')") == []
