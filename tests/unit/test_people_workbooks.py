"""Excel workbooks as lists of people: the layouts, what cells may hold, and hostile files."""

import contextlib
import datetime
import io
import json
import re
import zipfile

import openpyxl
import pytest
import xlwt

from speakerlab.errors import DataError, MissingExtraError, SpeakerLabError
from speakerlab.voiceprint.sources import table, workbook
from speakerlab.voiceprint.sources.listing import Fault, text_of
from speakerlab.voiceprint.sources.table import PRESETS, Layout

HEAD = ("file", "a", 5, "c", 0, "speaker")  # titles that are numbers are no columns' numbers


def row_of(name, file):
    """A row of the meeting layout: column 0 the recording, column 5 the speaker."""
    return (file, None, None, None, None, name)


def xlsx(path, sheets):
    """A workbook of rows by sheet."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def xls(path, sheets):
    book = xlwt.Workbook()
    for title, rows in sheets.items():
        sheet = book.add_sheet(title)
        for number, row in enumerate(rows):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write(number, column, value)
    book.save(str(path))
    return path


MEETING = {
    "Day 1": [HEAD, row_of("徐泰志", "rec_1"), row_of("Ann", "rec_2"), row_of("徐泰志", "rec_3")],
    "Day 2": [HEAD, row_of("Ann", "rec_1"), row_of("Bob", 7)],
    "Summary": [("total", 5)],
    "Legend": [("colour", "meaning")],
}
# By hand from the layout above: ROOT/SHEET/wav/NAME.wav of all sheets but the last two, by speaker.
EXPECTED = {
    "徐泰志": ["./meeting/Day 1/wav/rec_1.wav", "./meeting/Day 1/wav/rec_3.wav"],
    "Ann": ["./meeting/Day 1/wav/rec_2.wav", "./meeting/Day 2/wav/rec_1.wav"],
    "Bob": ["./meeting/Day 2/wav/7.wav"],
}


@pytest.mark.parametrize("write", [xlsx, xls])
def test_the_meeting_layout(tmp_path, write):
    path = write(tmp_path / f"list.{write.__name__}", MEETING)
    found = table.read_workbook(path, PRESETS["meeting"], "./meeting")
    assert found.paths() == EXPECTED
    assert (found.refused, found.notes) == ([], [])
    assert found.items[2].where == f"{path}, sheet 'Day 1', row 4"


def test_an_xls_that_is_an_xlsx_is_read_by_its_content(tmp_path):
    path = xlsx(tmp_path / "list.xlsx", MEETING).rename(tmp_path / "list.xls")
    assert table.read_workbook(path, PRESETS["meeting"], "./meeting").paths() == EXPECTED


def read(path, layout=None, root="r"):
    return table.read_workbook(path, layout or Layout(), root)


def one_sheet(path, *rows, head=("name", "path")):
    return xlsx(path / "list.xlsx", {"S": [head, *rows]})


@pytest.mark.parametrize(
    "layout", [Layout("Who", "Wav"), Layout("C", "A"), Layout("2", "0"), Layout(" who ", "WAV")]
)
def test_columns_by_title_letter_and_number(tmp_path, layout):
    path = one_sheet(tmp_path, ("a.wav", None, "Ann"), head=("Wav", "?", "Who"))
    assert read(path, layout).paths() == {"Ann": ["r/a.wav"]}


def test_letters_of_two(tmp_path):
    row = [None] * 28
    row[25], row[27] = "Ann", "a.wav"  # Z and AB: 26 letters, then AA, AB
    path = one_sheet(tmp_path, row, head=("x",))
    assert read(path, Layout("Z", "AB")).paths() == {"Ann": ["r/a.wav"]}


def test_header_rows_and_sheets(tmp_path):
    rows = [("Ann", "a.wav")]
    path = xlsx(tmp_path / "l.xlsx", {"one": rows, "two": [("Bob", "b.wav")], "three": []})
    bare = Layout("0", "1", header_rows=0)
    assert list(read(path, bare).paths()) == ["Ann", "Bob"]
    assert list(read(path, Layout("0", "1", 0, sheets=("two",))).paths()) == ["Bob"]
    assert list(read(path, Layout("0", "1", 0, skip_last=2)).paths()) == ["Ann"]
    with pytest.raises(DataError, match=r"has no sheet 'four'; it has 'one', 'two', 'three'"):
        read(path, Layout("0", "1", 0, sheets=("four",)))
    with pytest.raises(DataError, match="has 3 sheets, and 3 at the end are skipped"):
        read(path, Layout("0", "1", 0, skip_last=3))
    with pytest.raises(DataError, match="lists no recordings"):
        read(path, Layout("0", "1", 0, sheets=("three",)))
    with pytest.raises(DataError, match=r"has no column 'speaker!'; it has 'ann', 'a\.wav'"):
        read(path, Layout("speaker!", "1"))


def test_two_columns_of_one_title(tmp_path):
    path = one_sheet(tmp_path, ("Ann", "x", "a.wav"), head=("name", "Name", "path"))
    with pytest.raises(DataError, match="two columns 'name'"):
        read(path)
    assert read(path, Layout("0", "path")).paths() == {"Ann": ["r/a.wav"]}


def test_numbers_are_names_without_a_point(tmp_path):
    path = one_sheet(tmp_path, (12, "a.wav"), (12.0, "b.wav"), ("12", "c.wav"), (1.5, 3))
    found = read(path)
    assert found.paths() == {"12": ["r/a.wav", "r/b.wav", "r/c.wav"], "1.5": ["r/3"]}
    assert found.notes == []
    path = xls(tmp_path / "l.xls", {"S": [("name", "path"), (12, "a.wav"), (12.0, "b.wav")]})
    assert read(path).paths() == {"12": ["r/a.wav", "r/b.wav"]}


@pytest.mark.parametrize("write", [xlsx, xls])
def test_ids_of_17_digits_are_names_only_as_text(tmp_path, write):
    rows = [(12345678901234567, "a.wav"), (12345678901234568, "b.wav"), ("12345678901234567", "c.wav")]
    path = write(
        tmp_path / f"l.{write.__name__}", {"S": [("name", "path"), *rows, (999999999999999, "d.wav")]}
    )
    found = read(path)
    assert found.paths() == {"12345678901234567": ["r/c.wav"], "999999999999999": ["r/d.wav"]}
    assert [one.recording for one in found.refused] == ["a.wav", "b.wav"]
    assert "row 2: the name is the number 123456789012345" in found.refused[0].why
    assert "Excel keeps 15 digits, so that several ids become one" in found.refused[0].why


def test_other_kinds_of_cells(tmp_path):
    rows = [
        (True, "a.wav"),
        (datetime.date(2026, 1, 31), "b.wav"),
        ("#N/A", "c.wav"),
        (None, "d.wav"),
        ("Ann", None),
        (None, None),
        ("  ", "e.wav"),
        ("Bob", "f.wav"),
    ]
    found = read(one_sheet(tmp_path, *rows))
    assert found.paths() == {"Bob": ["r/f.wav"]}
    reasons = [one.why.partition(", sheet 'S', ")[2] for one in found.refused]
    assert [one.partition(";")[0] for one in reasons] == [
        "row 2: the name is a bool (True) and no text",
        "row 3: the name is a date or time (2026-01-31 00:00:00) and no text",
        "row 4: the name is the error #N/A",
        "row 5: the name is empty",
        "row 6: the recording is empty",
        "row 8: the name is empty",
    ]


def test_cells_of_xls(tmp_path):
    style = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    book = xlwt.Workbook()
    sheet = book.add_sheet("S")
    for number, value in enumerate(["name", True, None, "Ann"]):
        if value is not None:
            sheet.write(number, 0, value)
        sheet.write(number, 1, "path" if number == 0 else f"{number}.wav")
    sheet.write(4, 0, datetime.date(2026, 1, 31), style)
    sheet.write(4, 1, "4.wav")
    book.save(str(tmp_path / "l.xls"))
    found = read(tmp_path / "l.xls")
    assert found.paths() == {"Ann": ["r/3.wav"]}
    told = r"(row \d): the name is (a bool|empty|a date)"
    assert [re.search(told, one.why)[0] for one in found.refused] == [
        "row 2: the name is a bool", "row 3: the name is empty", "row 5: the name is a date",
    ]  # fmt: skip


def test_a_number_that_is_none(tmp_path):
    path = rewritten(one_sheet(tmp_path, (12, "a.wav")), {"sheet1.xml": (b"<v>12</v>", b"<v>1E999</v>")})
    (refused,) = read(path).refused
    assert "row 2: the name is no number (NaN or infinite)" in refused.why
    path = rewritten(one_sheet(tmp_path, (12, "a.wav")), {"sheet1.xml": (b"<v>12</v>", b"<v>NaN</v>")})
    with pytest.raises(DataError, match="cannot be read as a workbook: .*NaN"):
        read(path)
    assert text_of(float("nan")) == Fault("is no number (NaN or infinite)")


def test_formulas_without_a_stored_result_are_told(tmp_path):
    path = one_sheet(tmp_path, ("=A1", "a.wav"), ("Ann", '=B1&"x"'), ("=A1", "=B1"))
    found = read(path)
    assert found.paths() == {}
    assert [re.search(r"row \d: the \w+ is a formula", one.why)[0] for one in found.refused] == [
        "row 2: the name is a formula", "row 3: the recording is a formula", "row 4: the name is a formula",
    ]  # fmt: skip
    stored = rewritten(path, {"sheet1.xml": (b"<f>A1</f><v />", b"<f>A1</f><v>7</v>")})
    assert read(stored).paths() == {"7": ["r/a.wav"]}


def test_merged_cells_name_their_first_row_only(tmp_path):
    path = tmp_path / "l.xlsx"
    book = openpyxl.Workbook()
    for row in [("name", "path"), ("Ann", "a.wav"), (None, "b.wav"), ("Bob", "c.wav")]:
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    book.save(path)
    found = read(path)
    assert found.paths() == {"Ann": ["r/a.wav"], "Bob": ["r/c.wav"]}
    assert "row 3: the name is empty" in found.refused[0].why
    down = read(path, Layout(fill_down=True))
    assert down.paths() == {"Ann": ["r/a.wav", "r/b.wav"], "Bob": ["r/c.wav"]}


def test_spellings_of_one_name_are_one_person_and_told(tmp_path):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    found = read(one_sheet(tmp_path, (composed, "a.wav"), (decomposed, "b.wav"), (f" {composed} ", "c.wav")))
    assert found.paths() == {composed: ["r/a.wav", "r/b.wav", "r/c.wav"]}
    assert found.notes == [f"{composed!r} and {decomposed!r} are one person, {composed!r}"]


def test_templates(tmp_path):
    layout = Layout(template="{sheet}/{name}/{file}.flac")
    assert read(one_sheet(tmp_path, ("{file}", "{name}")), layout).paths() == {
        "{file}": ["r/S/{file}/{name}.flac"]  # what a cell holds is put in as it is
    }
    for template, why in {"{file.__class__}": "has {file.__class__}", "{sheet}.wav": "needs {file}"}.items():
        with pytest.raises(SpeakerLabError, match=re.escape(why)):
            Layout(template=template)
    with pytest.raises(SpeakerLabError, match="0 or more"):
        Layout(header_rows=-1)


def test_paths_stay_below_the_root(tmp_path):
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "out.wav").write_bytes(b"")
    (root / "link.wav").symlink_to(tmp_path / "out.wav")
    (root / "in" / "loop").symlink_to(root / "in" / "loop")
    rows = [
        ("Ann", "../out.wav"),
        ("Bob", "/etc/passwd"),
        ("Carl", "link.wav"),
        ("Dora", "in/../fine.wav"),
        ("Emil", str(root / "in" / "also.wav")),
        ("../../etc", "name.wav"),  # a name is data
        ("Fred", "a\0b.wav"),
    ]
    path = tmp_path / "l.csv"
    path.write_text("name,path\n" + "".join(f"{name},{file}\n" for name, file in rows))
    found = table.read_csv(path, Layout(), str(root), delimiter=",")
    assert sorted(found.paths()) == ["../../etc", "Dora", "Emil"]
    assert [one.name for one in found.refused] == ["Ann", "Bob", "Carl", "Fred"]
    assert "'a\\x00b.wav' cannot be printed; rename it" in found.refused[3].why
    assert f"{root}/../out.wav leads out of {root}; allow it with --allow-outside" in found.refused[0].why
    allowed = table.read_csv(path, Layout(), str(root), delimiter=",", allow_outside=True)
    assert sorted(allowed.paths()) == ["../../etc", "Ann", "Bob", "Carl", "Dora", "Emil"]


def rewritten(path, changes, add=()):
    """The workbook with bytes of its parts exchanged, and with further parts."""
    target = path.with_name(f"rewritten-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            content = old.read(part)
            for name, (before, after) in changes.items():
                if part.filename.endswith(name):
                    assert before in content
                    content = content.replace(before, after)
            new.writestr(part.filename, content)
        for name, content in add:
            new.writestr(name, content)
    return target


def test_texts_as_excel_itself_keeps_them(tmp_path):
    """In a part of their own, by number, in several fonts; a number that leads nowhere is damage."""
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    strings = (
        '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        '<si><t xml:space="preserve"> 徐泰志 </t></si><si><r><t>An</t></r><r><t>n</t></r></si></sst>'
    ).encode()
    override = b'<Override PartName="/xl/sharedStrings.xml" ContentType="%s"/></Types>' % kind
    types = {"[Content_Types].xml": (b"</Types>", override)}
    plain = one_sheet(tmp_path, ("x", "a.wav"), ("y", "b.wav"))
    cell = b'<c r="A%d" t="inlineStr"><is><t>%s</t></is></c>'
    shared = b'<c r="A%d" t="s"><v>%d</v></c>'
    one = rewritten(
        plain,
        {**types, "sheet1.xml": (cell % (2, b"x"), shared % (2, 0))},
        [("xl/sharedStrings.xml", strings)],
    )
    two = rewritten(one, {"sheet1.xml": (cell % (3, b"y"), shared % (3, 1))})
    assert read(two).paths() == {"徐泰志": ["r/a.wav"], "Ann": ["r/b.wav"]}
    with pytest.raises(DataError, match="cannot be read as a workbook"):
        read(rewritten(one, {"sheet1.xml": (cell % (3, b"y"), shared % (3, 2))}))


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("part", ["sheet1.xml", "workbook.xml", "styles.xml", "[Content_Types].xml"])
def test_entities_are_refused_wherever_they_stand(tmp_path, part):
    start = {"sheet1.xml": b"<worksheet", "workbook.xml": b"<workbook", "styles.xml": b"<styleSheet"}
    before = start.get(part, b"<Types")
    path = rewritten(one_sheet(tmp_path, ("Ann", "a.wav")), {part: (before, LAUGHS + before)})
    with pytest.raises(DataError, match="declares entities, as no office program does"):
        read(path)


def test_external_entities_and_other_encodings_are_refused(tmp_path):
    plain = one_sheet(tmp_path, ("Ann", "a.wav"))
    outside = b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><worksheet'
    with pytest.raises(DataError, match="declares entities"):
        read(rewritten(plain, {"sheet1.xml": (b"<worksheet", outside)}))
    for content in (
        "<?xml version='1.0'?><!DOCTYPE x><x/>".encode("utf-16"),
        b"<?xml version='1.0' encoding='cp037'?><x/>",
    ):
        with pytest.raises(DataError, match=r"is not in UTF-8"):
            read(rewritten(plain, {}, [("xl/worksheets/other.xml", content)]))


def test_a_mark_between_two_blocks_is_found(tmp_path):
    content = b"<x>" + b" " * (workbook._BLOCK - 6) + b"<!DOCTYPE x>"
    with pytest.raises(DataError, match="declares entities"):
        read(rewritten(one_sheet(tmp_path, ("Ann", "a.wav")), {}, [("xl/x.xml", content)]))


def test_external_links_are_not_followed(tmp_path):
    link = (
        b'<externalLink xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><externalBook '
        b'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" r:id="rId1"/>'
        b"</externalLink>"
    )
    path = rewritten(
        one_sheet(tmp_path, ("Ann", "a.wav")), {}, [("xl/externalLinks/externalLink1.xml", link)]
    )
    assert read(path).paths() == {"Ann": ["r/a.wav"]}


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    plain = one_sheet(tmp_path, ("Ann", "a.wav"))
    bomb = rewritten(plain, {}, [("xl/media/x.bin", b"\0" * (workbook.MAX_UNPACKED + 1))])
    assert bomb.stat().st_size < 400_000  # a thousand times smaller than what it unpacks to
    with pytest.raises(DataError, match="unpacks to more than 256 MB"):
        read(bomb)
    cells = b"<row><c/><c/></row>" * 400_000  # 3 marks each, of few packed bytes
    many = rewritten(plain, {"sheet1.xml": (b"</sheetData>", cells * 2 + b"</sheetData>")})
    assert many.stat().st_size < 200_000
    with pytest.raises(DataError, match="has more than 2,000,000 cells and texts"):
        read(many)
    monkeypatch.setattr(workbook, "MAX_PARTS", 5)
    with pytest.raises(DataError, match="or 5 parts"):
        read(plain)
    monkeypatch.undo()
    monkeypatch.setattr(workbook, "MAX_SHEETS", 1)
    for write in (xlsx, xls):
        with pytest.raises(DataError, match="has more than 1 sheets"):
            read(write(tmp_path / "many", {"a": [], "b": []}))


def test_a_stated_size_is_not_believed(tmp_path):
    plain = one_sheet(tmp_path, ("Ann", "a.wav"), ("Bob", "b.wav"))
    with zipfile.ZipFile(plain) as package:
        xml = package.read("xl/worksheets/sheet1.xml")
    (stated,) = re.findall(rb'<dimension ref="[^"]*" ?/>', xml)
    for other in (b'<dimension ref="A1:A1"/>', b'<dimension ref="A1:XFD1048576"/>', b""):
        path = rewritten(plain, {"sheet1.xml": (stated, other)})
        assert read(path).paths() == {"Ann": ["r/a.wav"], "Bob": ["r/b.wav"]}


@pytest.mark.timeout(60)
def test_far_rows_and_columns_cost_little(tmp_path, monkeypatch):
    plain = one_sheet(tmp_path, ("Ann", "a.wav"))
    far = b'<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row></sheetData>'
    assert read(rewritten(plain, {"sheet1.xml": (b"</sheetData>", far)})).paths() == {"Ann": ["r/a.wav"]}
    huge = far.replace(b"1048576", b"99999999999")
    assert read(rewritten(plain, {"sheet1.xml": (b"</sheetData>", huge)})).paths() == {"Ann": ["r/a.wav"]}
    monkeypatch.setattr(table, "MAX_ROWS", 1000)
    with pytest.raises(DataError, match="has more than 1,000 rows"):
        read(rewritten(plain, {"sheet1.xml": (b"</sheetData>", far)}))


@pytest.mark.parametrize("write", [xlsx, xls])
def test_damaged_workbooks_are_one_line(tmp_path, write):
    whole = write(tmp_path / "whole", MEETING).read_bytes()
    path = tmp_path / "damaged"
    for cut in (0, 3, 8, 100, 600, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError) as stop:
            table.read_workbook(path, PRESETS["meeting"], "m")
        assert "\n" not in str(stop.value)
    for number in range(40):  # one byte at a time, spread over the file
        place = number * len(whole) // 40
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = None
        with contextlib.suppress(DataError):  # or it is read: not every byte matters
            found = table.read_workbook(path, PRESETS["meeting"], "m")
        assert found is None or found.items or found.refused


def test_a_part_whose_name_is_not_in_its_encoding(tmp_path):
    path = rewritten(one_sheet(tmp_path, ("Ann", "a.wav")), {}, [("xl/徐.bin", b"x")])
    path.write_bytes(path.read_bytes().replace("徐".encode(), b"\xe5\xff\x90"))
    with pytest.raises(DataError, match="cannot be read as a workbook"):
        read(path)


def test_what_is_no_workbook(tmp_path):
    other = tmp_path / "l.xlsx"
    other.write_text("name,path\nAnn,a.wav\n")
    with pytest.raises(DataError, match=r"is no Excel workbook; save it as \.xlsx, or as CSV in UTF-8"):
        read(other)
    with zipfile.ZipFile(other, "w") as package:
        package.writestr("a.txt", "x")
    with pytest.raises(DataError, match="cannot be read as a workbook"):
        read(other)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read(tmp_path / "none.xlsx")


def test_xls_is_limited_in_size(tmp_path, monkeypatch):
    path = xls(tmp_path / "l.xls", MEETING)
    monkeypatch.setattr(workbook, "MAX_XLS", path.stat().st_size - 1)
    with pytest.raises(DataError, match="is larger than"):
        read(path)


@pytest.mark.parametrize(("write", "package"), [(xlsx, "openpyxl"), (xls, "xlrd")])
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, write, package):
    path = write(tmp_path / "l", MEETING)
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; run: .*serve"):
        read(path)


def test_nothing_is_printed_by_the_readers(tmp_path, capfd):
    path = xls(tmp_path / "l.xls", MEETING)
    content = path.read_bytes()
    (tmp_path / "cut.xls").write_bytes(content[: len(content) - 700])
    table.read_workbook(path, PRESETS["meeting"], "m")
    with contextlib.suppress(DataError):
        table.read_workbook(tmp_path / "cut.xls", PRESETS["meeting"], "m")
    assert capfd.readouterr() == ("", "")


def test_the_json_of_a_workbook_is_that_of_the_old_script(tmp_path):
    from speakerlab.voiceprint.sources import names_json

    listing = table.read_workbook(xlsx(tmp_path / "l.xlsx", MEETING), PRESETS["meeting"], "./meeting")
    names_json.write(tmp_path / "people.json", listing)
    with io.StringIO() as expected:
        json.dump(EXPECTED, expected, ensure_ascii=False, indent=4)
        assert (tmp_path / "people.json").read_bytes() == expected.getvalue().encode()
