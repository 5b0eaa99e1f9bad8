"""Documents of each kind, made here so that none has to be kept in the tree."""

import io
import zipfile

from pypdf import PdfReader, PdfWriter

CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


def pdf(*pages, filters=""):
    """A PDF of pages, each the bytes of its content stream."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", _FONT]
    kids = []
    for content in pages:
        objects.append(b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), filters.encode(), content))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    out, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, len(out))
    )


def page(*lines):
    """A page's content stream of lines from its top: (size in points, text); an empty text leaves a gap."""
    height, parts = 740, []
    for size, text in lines:
        height -= size * 1.4
        parts.append(f"BT /F1 {size} Tf 1 0 0 1 72 {height:.1f} Tm ({text}) Tj ET" if text else "")
    return "\n".join(parts).encode("cp1252")


def encrypted(document, user_password):
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(document)))
    writer.encrypt(user_password, "the owner's", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return out.getvalue()


def epub(chapters, **more):
    """An EPUB of chapters by their references, read in that order; ``more``: other files by their names."""
    items = "".join(f'<item id="c{number}" href="{href}"/>' for number, href in enumerate(chapters))
    order = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    book = f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{order}</spine></package>'
    files = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OEBPS/book.opf": book}
    return zipped(files | {f"OEBPS/{href}": content for href, content in chapters.items()} | more)


def encryption(name):
    return f"<encryption><CipherReference URI='{name}'/></encryption>"


def docx(body, prologue=""):
    """A DOCX of paragraphs in WordprocessingML; ``prologue`` stands before the document's root element."""
    word = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
            'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
            f'Type="{office}/officeDocument" Target="word/document.xml"/></Relationships>',
            "word/document.xml": f"{prologue}<w:document {word}><w:body>{body}</w:body></w:document>",
            "word/styles.xml": f'<w:styles {word}><w:style w:type="paragraph" w:styleId="berschrift1">'
            '<w:name w:val="heading 1"/></w:style><w:style w:type="paragraph" w:styleId="Titel">'
            '<w:name w:val="Title"/></w:style></w:styles>',
        }
    )


def paragraph(text, style=""):
    marks = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{marks}<w:r><w:t>{text}</w:t></w:r></w:p>"
