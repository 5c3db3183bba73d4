"""Writes server/fixtures/ingest: small files of the kinds that `twofold ingest` reads, whole, protected and empty.

    pip install pyarrow
    python scripts/file_fixtures.py

The .txt beside a file is what is read of it, its title first; these and page.html are written by hand.
"""

import datetime
import hashlib
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent / "server/fixtures/ingest"
PASSWORD_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def rc4(key, data):
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def pdf(pages, title, password=None):
    """A PDF of pages of lines (PDF 32000-1, and 7.6 of it for a password)."""
    identifier = bytes(range(16))
    key = None
    if password is not None:
        padded = (password.encode() + PASSWORD_PADDING)[:32]
        owner = rc4(hashlib.md5(padded).digest()[:5], padded)
        rights = -4
        seed = padded + owner + rights.to_bytes(4, "little", signed=True) + identifier
        key = hashlib.md5(seed).digest()[:5]

    def sealed(number, data):
        if key is None:
            return data
        return rc4(hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()[:10], data)

    first_page = 5
    kids = " ".join(f"{first_page + 2 * n} 0 R" for n in range(len(pages)))
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} /MediaBox [0 0 595 842] >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        4: b"<< /Title <" + sealed(4, b"\xfe\xff" + title.encode("utf-16-be")).hex().encode() + b"> >>",
    }
    for n, lines in enumerate(pages):
        number = first_page + 2 * n
        text = b"".join(
            b"(" + line.encode("cp1252").replace(b"(", b"\\(").replace(b")", b"\\)") + b") Tj 0 -" + skip + b" Td "
            for line, skip in lines
        )
        drawn = b"BT /F1 12 Tf 72 760 Td " + text + b"ET" if lines else b"0 0 100 100 re f"
        content = sealed(number + 1, zlib.compress(drawn))
        objects[number] = (
            f"<< /Type /Page /Parent 2 0 R /Contents {number + 1} 0 R /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects[number + 1] = (
            f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode() + content + b"\nendstream"
        )
    trailer = f"/Root 1 0 R /Info 4 0 R /ID [<{identifier.hex()}> <{identifier.hex()}>]"
    if key is not None:
        number = len(objects) + 1
        user = rc4(key, PASSWORD_PADDING)
        objects[number] = (
            f"<< /Filter /Standard /V 1 /R 2 /Length 40 /O <{owner.hex()}> /U <{user.hex()}> /P {rights} >>".encode()
        )
        trailer += f" /Encrypt {number} 0 R"
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in sorted(objects.items()):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    out += f"trailer\n<< /Size {len(objects) + 1} {trailer} >>\nstartxref\n{table}\n%%EOF\n".encode()
    return bytes(out)


def docx(parts):
    """A ZIP archive that is the same every time."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(ROOT / "report.docx", "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, content)


WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def paragraph(text, properties=""):
    runs = "".join(f'<w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve">{run}</w:t></w:r>' for run in text.split("|"))
    return f"<w:p><w:pPr>{properties}</w:pPr>{runs}</w:p>"


def row(*cells):
    return "<w:tr>" + "".join(f"<w:tc><w:tcPr/>{paragraph(cell)}</w:tc>" for cell in cells) + "</w:tr>"


def style(name):
    return f'<w:pStyle w:val="{name}"/>'


def main():
    lines = [("Tides of the North Sea", b"36"), ("The tide comes in twice a day, and the harbour at", b"14")]
    lines += [("Büsum falls dry (nearly) at ebb.", b"36"), ("A second paragraph.", b"14")]
    (ROOT / "report.pdf").write_bytes(pdf([lines, [("The next page.", b"14")]], "Tides – a report"))
    (ROOT / "locked.pdf").write_bytes(pdf([lines], "Locked", password="secret"))
    (ROOT / "empty.pdf").write_bytes(pdf([[]], "A picture"))

    # Word stores documents that have a password in another kind of archive, which begins like this.
    (ROOT / "locked.docx").write_bytes(bytes.fromhex("D0CF11E0A1B11AE1") + bytes(504))
    styles = [("berschrift1", "heading 1"), ("berschrift2", "heading 2"), ("Titel", "Title"), ("Standard", "Normal")]
    docx(
        {
            "word/styles.xml": f"<w:styles {WORD}>"
            + "".join(f'<w:style w:styleId="{id}"><w:name w:val="{name}"/></w:style>' for id, name in styles)
            + '<w:style w:styleId="Own"><w:name w:val="Own"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>'
            + "</w:styles>",
            "docProps/core.xml": '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
            ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>N. N.</dc:creator>'
            "<dc:title>Tides &amp; harbours</dc:title></cp:coreProperties>",
            "word/document.xml": f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><w:document {WORD}><w:body>'
            + paragraph("Tides", style("Titel"))
            + paragraph("The| North |Sea", style("berschrift1"))
            + paragraph("The tide comes in twice| a day.")
            + paragraph("Harbours", style("berschrift2"))
            + paragraph("Büsum", '<w:numPr><w:numId w:val="1"/></w:numPr>')
            + paragraph("")
            + paragraph("Depths", style("Own"))
            + f"<w:tbl>{row('Harbour', 'Depth')}{row('Büsum', '2 m')}</w:tbl>"
            + paragraph("After the table.")
            + "<w:sectPr/></w:body></w:document>",
        }
    )

    polish = "<html><head><meta charset=iso-8859-2><title>Łódź</title></head><body><p>Zażółć gęślą jaźń.</p></body></html>"
    (ROOT / "latin2.html").write_bytes(polish.encode("iso-8859-2"))
    japanese = '<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS"><h1>潮汐</h1><p>潮は一日に二度満ちる。</p>'
    (ROOT / "shift_jis.html").write_bytes(japanese.encode("shift_jis"))

    columns = {
        "id": [7, 8, 9],
        "body": ["größer", "kleiner", "gleich"],
        "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
        "score": [0.5, 1.5, None],
        "bytes": pa.array([b"as text", b"\xff\xfe", None], pa.binary()),
        "at": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)] * 3, pa.timestamp("ms", "UTC")),
    }
    for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
        pq.write_table(pa.table(columns), ROOT / f"{codec}.parquet", compression=codec, store_schema=False)


if __name__ == "__main__":
    main()
