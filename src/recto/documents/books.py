"""EPUB and DOCX → text with headings. Both are ZIP files; nothing of them is ever written to a folder."""

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

from recto.documents import DocumentError
from recto.documents.html import decode, to_text

_MAX_UNPACKED_BYTES = 200_000_000
_MAX_TEXT_BYTES = 20_000_000  # of markup: far more than a million characters need
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"  # what Word 97 wrote, and what Word wraps a file with a password in

_ENTITY = re.compile(rb"<!ENTITY|<\0!\0E\0N\0T\0I\0T\0Y")  # in UTF-8, in UTF-16
# mammoth knows Word's headings; these are what else looks like one.
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"


def epub(document: BinaryIO) -> str:
    """Return the chapters of an EPUB in reading order. Raises ``DocumentError``, also for one with DRM."""
    with _unpacked(document, "EPUB") as package:
        book = _attribute(_xml(package, _CONTAINER), "rootfile", "full-path")[0]
        contents = _xml(package, book)
        files = dict(zip(_attribute(contents, "item", "id"), _attribute(contents, "item", "href"), strict=True))
        chapters = [_within(book, files[name]) for name in _attribute(contents, "itemref", "idref")]
        if _ENCRYPTION in package.namelist():  # fonts may be, in any EPUB
            encrypted = _attribute(_xml(package, _ENCRYPTION), "CipherReference", "URI")
            if not {unquote(name) for name in encrypted}.isdisjoint(chapters):
                raise DocumentError("The EPUB is protected by DRM: its text cannot be read.")
        texts = []
        unread = _MAX_TEXT_BYTES
        for chapter in dict.fromkeys(chapters):
            unread -= package.getinfo(chapter).file_size
            if unread < 0:
                raise DocumentError("The EPUB has more text than can be read; split it first.")
            texts.append(to_text(decode(package.read(chapter))))
        return "\n\n".join(texts)


def docx(document: BinaryIO) -> str:
    """Return the text of a DOCX. Raises ``DocumentError``, also for one that is encrypted."""
    import mammoth  # here, since an EPUB needs no library

    if document.read(len(_OLD_OFFICE)) == _OLD_OFFICE:
        raise DocumentError("The file is encrypted or an old .doc: save it as .docx without a password first.")
    document.seek(0)
    with _unpacked(document, "DOCX") as package:
        parts = [part for part in package.infolist() if part.filename.endswith((".xml", ".rels"))]
        if sum(part.file_size for part in parts) > _MAX_TEXT_BYTES:
            raise DocumentError("The DOCX has more text than can be read; split it first.")
        for part in parts:
            _refuse_entities(package.read(part))
    converted = mammoth.convert_to_html(
        document, style_map=_STYLES, include_embedded_style_map=False, convert_image=lambda _image: []
    )
    return to_text(converted.value)


@contextmanager
def _unpacked(document: BinaryIO, kind: str) -> Iterator[ZipFile]:
    try:
        package = ZipFile(document)
    except BadZipFile:
        raise DocumentError(f"The file is no {kind}.") from None
    with package:
        # What is read of a file in a ZIP is never more than this says.
        if sum(file.file_size for file in package.infolist()) > _MAX_UNPACKED_BYTES:
            raise DocumentError(f"The {kind} unpacks to more than {_MAX_UNPACKED_BYTES // 1_000_000} MB.")
        yield package


def _xml(package: ZipFile, name: str) -> ElementTree.Element:
    data = package.read(name)
    _refuse_entities(data)
    return ElementTree.fromstring(data)  # noqa: S314  without entities there is nothing to expand


def _refuse_entities(data: bytes) -> None:
    """Entities are how a small XML becomes a large one. No program that writes these files declares any."""
    if _ENTITY.search(data):
        raise DocumentError("The file declares XML entities, which no such document needs.")


def _attribute(element: ElementTree.Element, tag: str, name: str) -> list[str]:
    return [found.attrib[name] for found in element.iter() if found.tag.rpartition("}")[2] == tag]


def _within(book: str, href: str) -> str:
    """The name in the package that a reference of its book means."""
    name = posixpath.normpath(posixpath.join(posixpath.dirname(book), unquote(href.partition("#")[0])))
    if name.startswith(("../", "/")):
        raise DocumentError("The EPUB refers to files outside of itself.")
    return name
