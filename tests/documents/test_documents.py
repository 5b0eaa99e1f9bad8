"""Documents are read into text with headings; those that lie end in a sentence."""

import os
import re
import subprocess
import sys
import zlib
from io import BytesIO
from textwrap import dedent
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recto import documents
from recto.documents import DocumentError, Limits, books, html, pdf
from recto.text.sections import split

from . import made

BODY = "Plants turn light into sugar within their leaves, and they do so all day long."
PAGES = (
    made.page(
        (9, "Botany 1"),
        (20, "The Calvin"),
        (20, "cycle"),
        (10, BODY),
        (10, "It needs car-"),
        (10, "bon dioxide."),
        (10, ""),
        (10, "Then comes night."),
        (9, "page 1"),
    ),
    made.page((9, "Botany 2"), (14, "Its enzymes"), (10, BODY), (10, "RuBisCO is the first of them."), (9, "page 2")),
    made.page((9, "Botany 3"), (10, BODY), (10, "1. One."), (10, "2. Two."), (9, "page 3")),
)
CHAPTER = f"<html><head><title>no</title></head><body><h1>Leaves</h1><p>{BODY}</p></body></html>"
LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + number)} "{f"&{chr(97 + number)};" * 10}">' for number in range(9)
)
READABLE = {
    "a.pdf": made.pdf(*PAGES),
    "a.epub": made.epub({"a.xhtml": CHAPTER}),
    "a.docx": made.docx(made.paragraph("Leaves", "berschrift1") + made.paragraph(BODY)),
    "a.html": CHAPTER.encode(),
}


LOOP = READABLE["a.pdf"].replace(b"/Kids [5 0 R", b"/Kids [2 0 R")  # a page tree that holds itself
PIECES_OF_HTML = re.findall(r"\S+", '< > <! <![ <!-- --> ]]> / = & # " x if h1 p <pre> </pre> <li> <td> <nav>')
ENCRYPTION = "META-INF/encryption.xml"


@pytest.fixture
def read(tmp_path):
    """Read a document as a file of that name."""

    def read_(name, data, **limits):
        path = tmp_path / name
        path.write_bytes(data)
        return documents.read(path, Limits(**limits))

    return read_


def refusal(call, *arguments, **named):
    with pytest.raises(DocumentError) as refused:
        call(*arguments, **named)
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", READABLE)
def test_a_document_is_read(read, name):
    text = read(name, READABLE[name])
    assert BODY in text
    assert text.startswith("# ")


def test_no_library_is_loaded_where_documents_are_only_asked_for():
    code = "import recto.documents, sys; sys.exit(bool({'pypdf', 'mammoth', 'html', 'zipfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_pdf_has_its_headings_paragraphs_and_no_running_lines():
    assert pdf.read(BytesIO(made.pdf(*PAGES))).strip() == dedent(f"""\
        # The Calvin cycle

        {BODY} It needs carbon dioxide.

        Then comes night.

        ## Its enzymes

        {BODY} RuBisCO is the first of them. {BODY}
        1. One.
        2. Two.""")


def test_a_table_of_contents_is_no_text():
    lines = made.page((20, "Contents"), (10, "1 Leaves . . . . . . 12"), (10, "2 Roots ........ 30"), (10, BODY))
    assert pdf.read(BytesIO(made.pdf(lines))).split() == ["#", "Contents", *BODY.split()]


def test_html_has_its_headings_paragraphs_lists_and_tables():
    text = html.to_text(
        """<title>no</title><style>no</style><nav><ul><li>no</nav><h2>Light<br>and <i>air</i></h2>
        <p>One &amp; two<br>three<p>Four<script>no</script>
        <ul><li>five<li>six</ul><table><tr><th>a<th>b<tr><td>1<td>2</table>
        <pre>\n# code\n  more</pre>A <ruby>漢<rt>no</rt></ruby>end"""
    )
    assert text.strip() == dedent("""\
        ## Light and air

        One & two
        three

        Four

        - five
        - six

        a | b
        1 | 2

        ```
        # code
          more
        ```

        A 漢end""")


@given(st.lists(st.sampled_from(PIECES_OF_HTML)))
def test_any_html_is_read(parts):
    to_html = "".join(parts)
    text = html.to_text(to_html)
    assert set(text) <= set(to_html + "#-`| \n")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("żółw".encode(), "żółw"),
        ("\ufeffżółw".encode(), "żółw"),
        ("żółw".encode("utf-16"), "żółw"),
        ('<meta charset="iso-8859-2">żółw'.encode("iso-8859-2"), "żółw"),
        ("naïve".encode("windows-1252"), "naïve"),
        ('<meta charset="zlib">naïve'.encode("windows-1252"), "naïve"),
    ],
)
def test_html_is_decoded_as_browsers_do(data, text):
    assert html.read(BytesIO(data)).strip() == text


def test_an_epub_is_read_in_its_own_order_and_each_chapter_once():
    chapters = {"z.xhtml": "<h1>First</h1>", "a%20b.xhtml": "<h1>Second</h1>", "../root.xhtml": "<h1>Third</h1>"}
    data = made.epub(chapters)
    with ZipFile(package := BytesIO(data), "a") as files:
        files.writestr("OEBPS/a b.xhtml", "<h1>Second</h1>")
        files.writestr("root.xhtml", "<h1>Third</h1>")
    assert books.epub(package).split() == ["#", "First", "#", "Second", "#", "Third"]


def test_a_docx_has_its_headings_whatever_their_language():
    body = made.paragraph("Botanik", "Titel") + made.paragraph("Blätter", "berschrift1") + made.paragraph(BODY)
    assert books.docx(BytesIO(made.docx(body))).strip() == f"# Botanik\n\n# Blätter\n\n{BODY}"


def test_headings_become_sections():
    chapters = {f"{name}.html": f"<h1>{name}</h1>" + f"<p>{BODY}</p>" * 20 for name in ("Leaves", "Roots")}
    text = books.epub(BytesIO(made.epub(chapters)))
    assert [section.title for section in split(text)] == ["Leaves", "Roots"]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a", "A.MARKDOWN"])
def test_what_is_text_is_left_as_it_is(read, name):
    assert read(name, "# Heading\r\n\r\n  żółw\n".encode()) == "# Heading\r\n\r\n  żółw\n"
    assert refusal(read, name, b"\xff\xfe") == "The file is not UTF-8 text."


@pytest.mark.parametrize("name", READABLE)
def test_a_file_that_is_not_what_its_name_says_is_refused(read, name):
    assert refusal(read, name, b"Not what its name says.\x00").startswith("The file is no ")


@pytest.mark.parametrize("name", ["a.pdf", "a.epub", "a.docx"])
def test_half_a_file_is_refused(read, name):
    data = READABLE[name]
    assert refusal(read, name, data[: len(data) // 2]).startswith("The ")


@pytest.mark.parametrize(
    ("reader", "data", "said"),
    [
        (pdf.read, b"", "no PDF"),
        (pdf.read, made.encrypted(READABLE["a.pdf"], "secret"), "encrypted"),
        (pdf.read, made.pdf(b"", b""), "pictures of pages"),
        (books.docx, b"", "no DOCX"),
        (books.docx, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 99, "encrypted or an old .doc"),
        (books.docx, made.docx(made.paragraph("&j;"), f"{LAUGHS}]>"), "declares XML entities"),
        (books.epub, b"", "no EPUB"),
        (books.epub, made.epub({"../../../etc/passwd": ""}), "outside of itself"),
        (books.epub, made.epub({"/etc/passwd": ""}), "outside of itself"),
        (books.epub, made.epub({"a.html": CHAPTER}, **{ENCRYPTION: made.encryption("OEBPS/a.html")}), "DRM"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(reader, data, said):
    assert said in refusal(reader, BytesIO(data))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.pdf", LOOP, "The file is no PDF, or it is damaged."),
        ("a.html", b"<script>all of it</script>", "The HTML has no text."),
        ("a.html", b"<p>" + b"word " * 250_000, "The HTML has more than 1,000,000 characters of text; split it first."),
    ],
)
def test_what_no_reader_can_say_is_said_too(read, name, data, said):
    assert refusal(read, name, data) == said


def test_a_pdf_that_only_forbids_printing_is_read():
    assert BODY in pdf.read(BytesIO(made.encrypted(READABLE["a.pdf"], "")))


def test_fonts_that_are_encrypted_are_no_drm():
    data = made.epub({"a.html": CHAPTER}, **{ENCRYPTION: made.encryption("OEBPS/a.otf")})
    assert BODY in books.epub(BytesIO(data))


def test_a_pdf_that_unpacks_to_much_more_than_it_is_is_refused(read):
    bomb = zlib.compress(zlib.compress(bytes(80_000_000), 1), 9)
    data = made.pdf(bomb, filters="/Filter [/FlateDecode /FlateDecode]")
    assert len(data) < 10_000
    assert refusal(read, "a.pdf", data) == "The PDF unpacks to more than can be read."


@pytest.mark.parametrize(("name", "reader"), [("EPUB", books.epub), ("DOCX", books.docx)])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(name, reader):
    size = (201_000_000).to_bytes(4, "little")
    data = bytearray(made.zipped({"word/document.xml": "x"}))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = size
    assert refusal(reader, BytesIO(data)) == f"The {name} unpacks to more than 200 MB."


def test_a_zip_that_lies_about_its_size_is_damaged(read):
    data = bytearray(made.docx(made.paragraph(BODY * 1000)))
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"word/document.xml"))
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    assert refusal(read, "a.docx", data) == "The file is no DOCX, or it is damaged."


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"wall_s": 0.001}, "took more than 0.001 s"),
        ({"cpu_s": 1}, "took too much time or memory"),
        ({"memory_bytes": 50_000_000}, "memory"),
    ],
)
def test_a_document_takes_no_more_than_it_may(read, limits, said):
    assert said in refusal(read, "a.pdf", made.pdf(b"BT /F1 9 Tf " + b"(a) Tj " * 400_000 + b"ET"), **limits)


def test_a_library_that_is_missing_is_named(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    assert refusal(read, "a.pdf", READABLE["a.pdf"]) == "Reading a PDF needs an extra: pip install 'recto[documents]'"
    assert BODY in read("a.epub", READABLE["a.epub"])


def test_a_file_that_is_too_large_is_not_opened(tmp_path):
    path = tmp_path / "a.pdf"
    with path.open("wb") as file:
        file.truncate(200_000_001)
    assert refusal(documents.read, path) == "The file is larger than 200 MB."


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pdf")
    assert refusal(documents.read, tmp_path / "a.pdf") == "This is not a file."
