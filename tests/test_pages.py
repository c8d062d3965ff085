"""The pages beside the lessons, and the README: their links lead somewhere, and the notes cover every lesson."""

import re
from pathlib import Path

import pytest

import course
import lesson

NOTEBOOKS = course.ROOT / "notebooks"
PAGES = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.md"))}
LESSONS = {course.number_of(source): source for source in course.find_lessons(course.ROOT)}
WITH_LINKS = [*PAGES.values(), *sorted(course.ROOT.glob("*.md")), course.ROOT / "data/README.md"]
WITH_LINKS += [course.ROOT / "ferlib/README.md", *sorted((NOTEBOOKS / "assignments").glob("*.md"))]
WITH_LINKS += sorted((course.ROOT / "ferlib/weights").glob("fer*.md"))


def slug(title: str) -> str:
    """The address of a heading, as GitHub and JupyterLab make it."""
    return re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")


@pytest.mark.parametrize("page", WITH_LINKS, ids=lambda page: str(page.relative_to(course.ROOT)))
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    named = set(re.findall(r"\[(\d\d[a-z]?)\](?![(:])", text))
    assert all(f"\n[{name}]: " in text for name in named), "a reference without its address"
    for target in targets:
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        source = path.parent / "src" / f"{path.stem}.py"
        assert path.exists() or (path.suffix == ".ipynb" and source.exists()), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, titles), target


def test_the_readme_is_short_and_leads_to_each_lesson():
    text = (course.ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    for name in [source.stem for source in LESSONS.values()] + [course.ONE_PAGE]:
        assert f"(notebooks/{name}.ipynb)" in text


@pytest.mark.parametrize("name", ["fer2013", "fer2013-small"])
def test_the_readme_has_the_figures_of_the_cards(name: str):
    card = (course.ROOT / f"ferlib/weights/{name}.md").read_text(encoding="utf-8")
    readme = (course.ROOT / "README.md").read_text(encoding="utf-8")
    public = re.findall(r"^\| 18 \(`--tta`\) \| (?:all|clean) .*?\| ([\d.]+ \[[\d., ]+\])", card, re.MULTILINE)
    private = re.findall(r"^\| (?:all|clean) .*\| 18 \(`--tta`\) \| ([\d.]+ \[[\d., ]+\])", card, re.MULTILINE)
    (row,) = (line for line in readme.splitlines() if line.startswith(f"| `{name}`: ships"))
    clean, every = public
    assert row.replace("*", "").split(" | ")[1:] == [every, clean, *private[:-1], private[-1] + " |"]


def test_the_three_pages_are_there():
    assert {"glossary", "common_errors", "teachers_notes"} <= set(PAGES)


def test_words_are_in_order_and_lead_to_a_lesson_that_uses_them():
    text = PAGES["glossary"].read_text(encoding="utf-8")
    entries = re.findall(r"^- \*\*(.+?)\*\* \(\[(\d\d[a-z]?)\]\): ((?:.+\n)(?:  .+\n)*)", text, re.MULTILINE)
    assert len(entries) == text.count("\n- ") >= 60
    words = [word for word, _, _ in entries]
    assert words == sorted(words, key=str.lower)
    assert {number for _, number, _ in entries} == set(LESSONS)
    for word, number, meaning in entries:
        known = LESSONS[number].read_text(encoding="utf-8").lower().replace("\n# ", " ")
        names = [name.lower() for name in word.split(", ")]
        assert any(name in known for name in names), f"lesson {number} does not speak of {word!r}"
        assert len(re.findall(r"[.?!](?=\s)", meaning)) <= 4, f"one or two sentences, three at most: {word}"


def test_the_notes_cover_every_lesson():
    parts = re.split(r"^## ", PAGES["teachers_notes"].read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    numbers = [part.split()[0] for part in parts]
    assert numbers == list(LESSONS)
    for number, part in zip(numbers, parts, strict=True):
        source = LESSONS[number]
        title = source.read_text(encoding="utf-8").split("\n")[1].removeprefix("# # ")
        assert part.splitlines()[0] == f"{number} {title}"
        assert f"[Lesson]({source.stem}.ipynb)" in part
        beliefs = part.split("**Misconceptions.**")[1].split("**Five minutes.**")[0]
        assert len(re.findall(r'^- "', beliefs, re.MULTILINE)) == 2
        assert len(re.findall(r"^\d\. ", part.split("**To talk about.**")[1], re.MULTILINE)) == 3


@pytest.mark.parametrize("page", PAGES.values(), ids=list(PAGES))
def test_they_are_made_into_web_pages(page: Path):
    made = lesson.text_page(page.read_text(encoding="utf-8"))
    assert not re.search(r'href="[^"]*\.(ipynb|md)', made)
    assert '<a href="index.html">All lessons</a>' in made
    assert "<h1" in made and "|---|" not in made
    ids = set(re.findall(r'<h\d id="([^"]+)"', made))
    assert ids == {slug(title) for title in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)}
    assert set(re.findall(r'href="#([^"]+)"', made)) <= ids


def test_sentences_are_broken_and_tables_scroll():
    import nbformat

    printed = "a sentence that is longer than the page is wide\n  n  share\n  1   0.25\n\nClaim held: it <is>\n"
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", name="stdout", text=printed)])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title"), cell])
    page = lesson.lesson_page(notebook, NOTEBOOKS)
    assert '<pre class="told">a sentence that is longer than the page is wide</pre>' in page
    assert "<pre>  n  share\n  1   0.25</pre>" in page
    assert '<pre class="told">\nClaim held: it &lt;is&gt;</pre>' in page


def test_the_headings_stand_in_a_list_beside_the_lesson():
    import nbformat

    text = "# A title\n\n## Is it `light`?\n\nNo.\n\n## A & B\n\n### Not in the list\n"
    page = lesson.lesson_page(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), NOTEBOOKS)
    aside = page.split("<aside")[1].split("</aside>")[0]
    links = re.findall(r'<a href="#([^"]+)">(.+?)</a>', aside)
    assert [words for _, words in links] == ["Is it light?", "A &amp; B"]
    assert all(f'<h2 id="{place}">' in page for place, _ in links)
    short = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title\n\n## One part\n")])
    assert "<aside" not in lesson.lesson_page(short, NOTEBOOKS)
