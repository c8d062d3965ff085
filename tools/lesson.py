"""One lesson of the course: run its notebook, and write it as a web page; and the page that lists the lessons.

A page needs no other file and no network: style and figures lie inside it.
"""

from __future__ import annotations

import base64
import html
import itertools
import logging
import math
import mimetypes
import os
import queue
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

# Only pages with a formula ask for this script; without a network they show the formula's TeX.
MATHJAX = """<script type="text/x-mathjax-config">MathJax.Hub.Config({tex2jax: {inlineMath: [["$", "$"]]}})</script>
<script async src="%s"></script>
"""
CLAIMS = """What each lesson says of the drawn faces, as this run measured it, with an interval where there is one. The
thresholds were set beforehand: most at about half of what trials over ten seeds had shown, those of shares, of equality
and of luck where the lesson's text needs them. Fast runs and other faces are reported, and not judged."""
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Failure:
    """Where and why a lesson stopped: number of the code cell (as in `In [3]`), its source, the end of the error."""

    cell: int
    source: str
    message: str


def execute(
    notebook: Any,
    folder: Path,
    timeout: float,
    tell: Callable[[int], None] | None = None,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Failure | None:
    """Run a notebook's cells in `folder`, outputs going into `notebook`; None if all is well, else where it stopped.

    `timeout` is in seconds per cell; `tell` is called with the number of each code cell that starts; `env` is added to
    the environment; `python` is that of the kernel.
    """  # fmt: skip
    import nbformat
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.asynchronous import AsyncKernelClient
    from jupyter_client.channels import AsyncZMQSocketChannel
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets import Type

    class PollingChannel(AsyncZMQSocketChannel):
        """Asks for a message each second.

        In a lesson with sliders, a wake-up of the socket can be lost. nbclient then waited for the cell's whole
        timeout before it found the message.
        """

        async def get_msg(self, timeout: float | None = None) -> Any:
            end = math.inf if timeout is None else time.monotonic() + timeout
            while True:
                try:
                    return await super().get_msg(max(0, min(1, end - time.monotonic())))
                except queue.Empty:
                    if time.monotonic() >= end:
                        raise

    class Client(AsyncKernelClient):
        shell_channel_class = iopub_channel_class = Type(PollingChannel)

    class ThisPython(AsyncKernelManager):
        """Starts that Python, whatever the user's Jupyter has registered as `python3`."""

        client_factory = Client

        @property
        def kernel_spec(self) -> KernelSpec:
            kernel = get_kernel_dict()
            return KernelSpec(**{**kernel, "argv": [python, *kernel["argv"][1:]]})

    started: list[Any] = []

    def start(cell: Any, **_: Any) -> None:
        started.append(cell)
        if tell:
            tell(len(started))

    client = NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}}, kernel_manager_class=ThisPython,
        on_cell_execute=start, shutdown_kernel="immediate",
        extra_arguments=["--log-level=ERROR"],
    )  # fmt: skip
    client.log = logging.getLogger("course.nbclient")
    client.log.disabled = True  # it would repeat on stderr what is said here in one sentence
    try:
        # A backend that the caller has set, as tests and servers do, would leave the pages without figures.
        inline = "module://matplotlib_inline.backend_inline"
        client.execute(env={**os.environ, "TQDM_DISABLE": "1", "MPLBACKEND": inline, **(env or {})})
        return None
    except CellExecutionError:
        output = next(output for output in started[-1].outputs if output.output_type == "error")
        message = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
    except (CellTimeoutError, DeadKernelError) as error:
        ran_out = f"the cell ran longer than {timeout:g} s; allow more with --timeout"
        died = "Python ended in this cell: it was interrupted, or the machine ran out of memory"
        message = ran_out if isinstance(error, CellTimeoutError) else died
        output = nbformat.v4.new_output("error", ename="Stopped", evalue=message, traceback=[message])
        started[-1].outputs.append(output)
    except AssertionError:
        if client.km is not None:
            raise
        raise KeyboardInterrupt from None  # on Ctrl-C nbclient ends the kernel, then misses it
    finally:
        # A page cannot move a slider or a progress bar: TQDM_DISABLE stops bars made of text, this drops widgets.
        notebook.metadata.pop("widgets", None)
        for cell in started:
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    return Failure(len(started), started[-1].source, "\n".join(message.strip().splitlines()[-8:]))


def claims_table(folder: Path, numbers: Collection[str] = ()) -> Any:
    """The claims that the lessons wrote, as a DataFrame of text: all in `folder`, or those of the lessons `numbers`.

    `held` is "yes", "NO", or "reported" where a run was fast or on other faces than the drawn ones.
    """
    import pandas as pd

    paths = [path for path in sorted(folder.glob("*.csv")) if not numbers or path.stem in numbers]
    if not paths:
        return pd.DataFrame(columns=["lesson", "held"])
    texts = dict.fromkeys(("lesson", "unit", "held"), str)
    table = pd.concat([pd.read_csv(path, dtype=texts) for path in paths], ignore_index=True)
    table = table.fillna({"unit": "", "held": ""})
    made = table[["lesson"]].assign(
        held=table["held"].map({"True": "yes", "False": "NO"}).fillna("reported"),
        claim=table["claim"],
        measured=[f"{row.measured:.3g} {row.unit}".strip() for row in table.itertuples()],
        interval=[f"{row.low:.3g} to {row.high:.3g}" if row.low == row.low else "" for row in table.itertuples()],
        threshold=table["threshold"],
        n=table["n"].map("{:,}".format),
        seeds=table["seeds"].astype(str),
        seconds=table["seconds"].round().astype(int).astype(str),
    )
    return made.rename(columns={"interval": "95% interval"})


def describe(notebook: Any) -> tuple[str, str]:
    """Title (the first heading) and description (the paragraph after it) of a lesson, each one line of plain text."""
    from nbconvert.filters import markdown2html

    text = markdown2html("\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    heading = re.search(r"<h1.*?>(.*?)</h1>", text, re.DOTALL)
    paragraphs = re.findall(r"<p>(.*?)</p>", text[heading.end() if heading else 0 :], re.DOTALL)
    return _plain(heading[1]) if heading else "", next(filter(None, map(_plain, paragraphs)), "")


def lesson_page(notebook: Any, folder: Path, links: Sequence[tuple[str, str]] = ()) -> str:
    """One lesson as a page that needs no other file: images and style are inside it, scripts are not needed.

    `links` are (address, text) of the pages that stand above and below it, such as the next lesson's.
    """
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.setdefault("alt", f"Figure drawn by cell {cell.execution_count}, above it")
    exporter = HTMLExporter(template_name="basic")  # its embed_images would close an answer's <details> at once
    body, _ = exporter.from_notebook_node(notebook)
    body = _local(_fold(body, folder))
    formulas = any(re.search(r"\$[^$]+\$", cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    head = MATHJAX % exporter.mathjax_url if formulas else ""
    style = HtmlFormatter().get_style_defs(".highlight")
    ways = "".join(f'<a href="{html.escape(address)}">{html.escape(text)}</a>\n' for address, text in links)
    top, end = (f"<nav aria-label='Lessons, {where}'>\n{ways}</nav>\n" for where in ("above", "below"))
    body = _contents(body) + body
    return _page(describe(notebook)[0], top + body + end if links else body, head, style)


def text_page(text: str) -> str:
    """A page of text in Markdown, such as the glossary, with the way back to the lessons."""
    from nbconvert.filters import markdown2html

    body = _local(markdown2html(text))

    def plain(found: re.Match) -> str:  # headings get the addresses that GitHub and JupyterLab give them
        return found[1] + re.sub(r"[^\w-]", "", html.unescape(found[2])).lower() + '"'

    body = re.sub(r'(id="|href="#)([^"]+)"', plain, body)
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    return _page(title[1] if title else "", f'<nav><a href="index.html">All lessons</a></nav>\n{body}')


def index_page(lessons: Mapping[str, Any], out: Path, texts: Mapping[str, str] | None = None) -> str:
    """The lessons (name: notebook) with what each is about and took, linked where `out` holds its page, and the claims.

    `texts` (address: title) are further pages.
    """
    import nbformat

    claims = claims_table(out / "claims", [name.partition("_")[0] for name in lessons])
    items = []
    for name, notebook in lessons.items():
        title, about = map(html.escape, describe(notebook))
        page, note = out / f"{name}.html", "not built yet"
        if page.exists():
            title = f'<a href="{html.escape(page.name)}">{title}</a>'
            note = nbformat.read(page.with_suffix(".ipynb"), as_version=4).metadata.get("course", "")
            note = html.escape(note if note.startswith("stopped") else f"ran in {note}")
            note += _count(claims, name.partition("_")[0])
        number = name.partition("_")[0] if name[:2].isdigit() else "1p"
        number = f"<span class='number'>{html.escape(number)}</span>"
        items.append(f"<li>{number}<div><h2>{title}</h2>\n<p>{about}</p>\n<p class='note'>{note}</p></div></li>")
    body = "<h1>The course</h1>\n<ol class='lessons'>\n" + "\n".join(items) + "\n</ol>\n"
    if texts:
        others = (
            f'<li><a href="{html.escape(address)}">{html.escape(title)}</a></li>' for address, title in texts.items()
        )
        body += "<h2>Beside the lessons</h2>\n<ul>\n" + "\n".join(others) + "\n</ul>\n"
    if len(claims):
        body += f"<h2>What the lessons claim</h2>\n<p>{CLAIMS}</p>\n<div class='wide'>\n"
        body += claims.drop(columns="seconds").to_html(index=False, border=0, classes="claims") + "\n</div>\n"
    return _page("The course", body)


def show_claims(folder: Path, numbers: Collection[str] = ()) -> int:
    """Print the claims of the lessons `numbers`, or all; the number of those that failed."""
    table = claims_table(folder, numbers)
    print(f"\n{table.to_string(index=False)}\n" if len(table) else "no lesson claimed anything")
    if (table["held"] == "reported").any():
        print("reported: a fast run, or one on other faces than the drawn ones, judges no claim")
    return int((table["held"] == "NO").sum())


def _count(claims: Any, number: str) -> str:
    """How many claims of a lesson held, in words."""
    held = list(claims.loc[claims["lesson"] == number, "held"])
    if not held:
        return ""
    claims = f"{len(held)} claim" + "s" * (len(held) > 1)
    if "reported" in held:
        return f"; {claims} reported, not judged"
    failed = held.count("NO")
    return f"; <strong>{failed} of {claims} FAILED</strong>" if failed else f"; {claims} held"


def _local(body: str) -> str:
    """Links to notebooks and to pages of text lead to the pages that are made of them."""
    return re.sub(r'href="(\w+)\.(?:ipynb|md)(#[^"]*)?"', r'href="\1.html\2"', body)


def _fold(body: str, folder: Path) -> str:
    """A lesson's HTML: solutions folded, its head and guesses marked, without its set-up cell.

    Pictures that lie in `folder` are put inside the page.
    """
    from bs4 import BeautifulSoup

    page = BeautifulSoup(body, "html.parser")
    for cell in page.select(".celltag_setup"):
        cell.decompose()
    for paragraph in page.select(".text_cell")[0].select("p") if page.select(".text_cell") else []:
        if str(paragraph).startswith("<p><strong>"):
            paragraph["class"] = "head"
    for cell in page.select(".code_cell"):
        code = cell.select_one(".input_area")
        if code is not None and code.get_text().lstrip().startswith("my_guess"):
            cell["class"] = [*cell["class"], "guess"]
    for cell in page.select(".celltag_solution"):
        details = cell.wrap(page.new_tag("details"))
        summary = page.new_tag("summary")
        summary.string = "Solution"
        details.insert(0, summary)
    for image in page.select("img[src]"):
        if re.match(r"\w+:", str(image["src"])) or "\0" in str(image["src"]):
            continue
        path = Path(os.path.realpath(folder / str(image["src"])))
        if path.is_relative_to(os.path.realpath(folder)) and os.path.isfile(path):
            kind = mimetypes.guess_type(path.name)[0]
            image["src"] = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    for text in page.select(".output_area pre"):
        if not text.find(True):  # what has colours is left as it is
            text.replace_with(*_lines(page, text.get_text()))
    for table in page.select("table"):
        table.wrap(page.new_tag("div", attrs={"class": "wide"}))
    return str(page)


def _contents(body: str) -> str:
    """The list of a lesson's headings that stands beside it; nothing for a lesson of fewer than two."""
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body, re.DOTALL)
    items = "".join(f'<li><a href="#{place}">{html.escape(_plain(text))}</a></li>\n' for place, text in headings)
    return f"<aside aria-label='Contents'>\n<ol>\n{items}</ol>\n</aside>\n" if len(headings) > 1 else ""


def _lines(page: Any, text: str) -> Iterator[Any]:
    """What a cell printed as `pre` elements: sentences, which may be broken, apart from tables, which scroll."""
    aligned = re.compile(r"\S {2,}\S")
    for table, lines in itertools.groupby(text.rstrip("\n").split("\n"), lambda line: bool(aligned.search(line))):
        piece = page.new_tag("pre", attrs={} if table else {"class": "told"})
        piece.string = "\n".join(lines)
        yield piece


def _plain(piece: str) -> str:
    """HTML as one line of plain text; the link to itself that nbconvert puts after a heading goes too."""
    return " ".join(html.unescape(re.sub(r'<a class="anchor-link".*?</a>|<[^>]+>', "", piece)).split())


def _page(title: str, body: str, head: str = "", style: str = "") -> str:
    """A whole page from `page.html`."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), body=body, head=head, style=style)
