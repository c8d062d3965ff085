"""One lesson of the course: run its notebook, and write it as a web page; and the page that lists the lessons.

A page needs no other file and no network: style and figures lie inside it.
"""

from __future__ import annotations

import html
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

# Only pages with a formula ask for this script; without a network they show the formula's TeX.
MATHJAX = """<script type="text/x-mathjax-config">MathJax.Hub.Config({tex2jax: {inlineMath: [["$", "$"]]}})</script>
<script async src="%s"></script>
"""
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
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    class ThisPython(AsyncKernelManager):
        """Starts that Python, whatever the user's Jupyter has registered as `python3`."""

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
        on_cell_execute=start, store_widget_state=False, shutdown_kernel="immediate",
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
        # A page cannot move a progress bar: TQDM_DISABLE stops those made of text, this drops those made of widgets.
        for cell in started:
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    return Failure(len(started), started[-1].source, "\n".join(message.strip().splitlines()[-8:]))


def show_claims(path: Path) -> int:
    """Print the table of claims that the lessons wrote; the number of those that failed."""
    import pandas as pd

    table = pd.read_csv(path, dtype={"lesson": str})
    table["interval"] = [f"{r.low:.3g} to {r.high:.3g}" if r.low == r.low else "" for r in table.itertuples()]
    table["held"] = table["held"].map({True: "yes", False: "NO"}).fillna("reported")
    table["measured"] = [f"{r.measured:.3g} {r.unit}" for r in table.itertuples()]
    table["seconds"] = table["seconds"].round().astype(int)
    columns = ["lesson", "claim", "measured", "interval", "threshold", "n", "seeds", "seconds", "held"]
    print("\n" + table[columns].to_string(index=False) + "\n")
    return int((table["held"] == "NO").sum())


def describe(notebook: Any) -> tuple[str, str]:
    """Title (the first heading) and description (the paragraph after it) of a lesson, each one line of plain text."""
    from nbconvert.filters import markdown2html

    text = markdown2html("\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    heading = re.search(r"<h1.*?>(.*?)</h1>", text, re.DOTALL)
    paragraphs = re.findall(r"<p>(.*?)</p>", text[heading.end() if heading else 0 :], re.DOTALL)
    return _plain(heading[1]) if heading else "", next(filter(None, map(_plain, paragraphs)), "")


def lesson_page(notebook: Any, folder: Path) -> str:
    """One lesson as a page that needs no other file: images and style are inside it, scripts are not needed."""
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.setdefault("alt", f"Figure drawn by cell {cell.execution_count}, above it")
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"path": str(folder)}})
    body = _fold(body)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', body)
    formulas = any(re.search(r"\$[^$]+\$", cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    head = MATHJAX % exporter.mathjax_url if formulas else ""
    style = HtmlFormatter().get_style_defs(".highlight")
    return _page(describe(notebook)[0], f'<p><a href="index.html">All lessons</a></p>\n{body}', head, style)


def index_page(lessons: Mapping[str, Any], out: Path) -> str:
    """List of the lessons (name: notebook) with what each is about and took, linked where `out` holds its page."""
    import nbformat

    items = []
    for name, notebook in lessons.items():
        title, about = map(html.escape, describe(notebook))
        title, page = f"{name[:2]}. {title}", out / f"{name}.html"
        note = "not built yet"
        if page.exists():
            title = f'<a href="{page.name}">{title}</a>'
            note = nbformat.read(page.with_suffix(".ipynb"), as_version=4).metadata.get("course", "")
            note = note if note.startswith("stopped") else f"ran in {note}"
        items.append(f"<li><strong>{title}</strong>\n<p>{about}</p>\n<p class='note'>{note}</p></li>")
    return _page("The course", "<h1>The course</h1>\n<ol class='lessons'>\n" + "\n".join(items) + "\n</ol>")


def _fold(body: str) -> str:
    """A lesson's HTML with its solutions folded and without the cell that prepares the kernel."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup(body, "html.parser")
    for cell in page.select(".celltag_prepare"):
        cell.decompose()
    for cell in page.select(".celltag_solution"):
        details = cell.wrap(page.new_tag("details"))
        summary = page.new_tag("summary")
        summary.string = "Solution"
        details.insert(0, summary)
    return str(page)


def _plain(piece: str) -> str:
    """HTML as one line of plain text; the link to itself that nbconvert puts after a heading goes too."""
    return " ".join(html.unescape(re.sub(r'<a class="anchor-link".*?</a>|<[^>]+>', "", piece)).split())


def _page(title: str, body: str, head: str = "", style: str = "") -> str:
    """A whole page from `page.html`."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), body=body, head=head, style=style)
