"""CSV and TSV files, compared with Python's csv module, and files with common mistakes."""

import csv
import gzip
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_nlp.corpora.load import load_corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

HEADER = b"text,label,who\n"
ROWS = b"good,pos,ann\nbad,neg,bob\n"


def source(path, **flags):
    return CorpusSource(path, **{"text_column": "text", "label_column": "label", **flags})


def load(path, **flags):
    return load_corpus(source(path, **flags))


def texts(path, **flags):
    return load(path, **flags).corpus.texts


TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(str.strip)


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXT, st.sampled_from(["x", "y"])), min_size=2, max_size=8))
def test_reads_back_what_the_csv_module_writes(tmp_path_factory, written):
    rows = [("first", "x"), ("second", "y"), *written]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), *rows])
    path = tmp_path_factory.getbasetemp() / "roundtrip.csv"
    path.write_bytes(buffer.getvalue().encode())
    corpus = load(str(path)).corpus
    assert corpus.texts == tuple(text.strip() for text, _ in rows)
    assert [corpus.label_names[label] for label in corpus.labels] == [label for _, label in rows]


def test_columns_by_name_and_by_number_agree(write):
    path = write(HEADER + ROWS)
    by_name = load(path, client_column="who").corpus
    by_number = load(path, text_column="0", label_column="1", client_column="2").corpus
    assert by_name.fingerprint == by_number.fingerprint
    assert by_name.texts == ("good", "bad")
    assert by_name.authors == ("ann", "bob")
    assert by_name.label_names == ("neg", "pos")
    assert by_name.labels.tolist() == [1, 0]


def test_several_text_columns_are_joined(write):
    path = write(b"title,body,label\nFine,works,pos\n,broke,neg\n")
    assert texts(path, text_column="title,body") == ("Fine works", "broke")


def test_compressed_files_read_like_plain_ones(write, tmp_path):
    plain = load(write(HEADER + ROWS)).corpus
    zipped = tmp_path / "reviews.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("inner/reviews.csv", HEADER + ROWS)
        archive.writestr("__MACOSX/inner/._reviews.csv", b"junk")
    paths = [write(gzip.compress(HEADER + ROWS), "r.csv.gz"), str(zipped)]
    paths += [f"{zipped}/inner/reviews.csv", f"{zipped}/inner/*.csv"]
    for path in paths:
        assert load(path).corpus.fingerprint == plain.fingerprint


def test_one_file_per_domain(write):
    write(b"1\tfine\n0\tbroke\n", "books.task.train")
    path = write(b"1\tlouder\n0\tquiet\n", "toys.task.train").replace("toys", "*")
    flags = {"format": "tsv", "header": False, "text_column": "1", "label_column": "0"}
    corpus = load(path, client_column="@stem", **flags).corpus
    assert corpus.authors == ("books", "books", "toys", "toys")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbf" + HEADER + ROWS, ("good", "bad")),
        (HEADER.replace(b"\n", b"\r\n") + b'"a\r\r\nb",pos,x\r\nc,neg,y\r\n', ("a\r\r\nb", "c")),
        (HEADER + b"a\xc2\x85b,pos,x\nc\xe2\x80\xa8d,neg,y\n", ("a\x85b", "c\u2028d")),
        (HEADER + b"a\x1ab,pos,x\nc\x0cd,neg,y", ("a\x1ab", "c\x0cd")),
        (HEADER + b"a\x00b,pos,x\nc,neg,y\n", ("a b", "c")),
        (HEADER + b"a,pos,x\n\n\nc,neg,y\n\n", ("a", "c")),
        (HEADER + b'"he said ""no""",pos,x\nsay "no",neg,y\n', ('he said "no"', 'say "no"')),
        (HEADER + b"z" * 300_000 + b",pos,x\nc,neg,y\n", ("z" * 300_000, "c")),
    ],
    ids=["bom", "crcrlf", "nel", "ctrl-z", "nul", "blank", "quotes", "huge"],
)
def test_quirks(write, content, expected):
    assert texts(write(content)) == expected


def test_quotes_are_characters_without_quoting(write):
    content = b'text\tlabel\n"open\tpos\nclose"\tneg\r\n'
    path = write(content, "reviews.tsv")
    assert texts(path, quoting="none") == ('"open', 'close"')
    # The same bytes are also one valid quoted row, so the report mentions the line break.
    path = write(content + b"fine\tpos\n", "reviews.tsv")
    assert texts(path)[0] == "open\tpos\nclose"
    assert any("`quoting`=none" in line for line in load(path).report.lines())
    with pytest.raises(UserError, match="line 2: malformed quotes.*quoting=none"):
        load(write(b'text\tlabel\n"so" he said\tpos\n', "reviews.tsv"))


def test_undecodable_line_costs_one_row(write):
    path = write(HEADER + b"caf\xe9,pos,x\nb\xc3\xa9,neg,y\nc,pos,z\n")
    with pytest.raises(UserError, match=r"line 2: undecodable bytes.*encoding=utf-8"):
        load(path)
    loaded = load(path, bad_rows="skip")
    assert loaded.corpus.texts == ("bé", "c")
    assert loaded.report.skipped == {"undecodable bytes": 1}
    loaded = load(path, encoding="utf-8,cp1252")
    assert loaded.corpus.texts == ("café", "bé", "c")
    assert any("1 lines decoded as cp1252" in line for line in loaded.report.lines())


def test_bad_bytes_in_an_unread_column_cost_nothing(write):
    path = write(HEADER + b"a,pos,caf\xe9\nb,neg,y\n")
    assert texts(path) == ("a", "b")
    with pytest.raises(UserError, match="undecodable bytes"):
        load(path, client_column="who")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "gb18030", "shift_jis", "utf-8-sig"])
def test_encodings(write, encoding):
    content = "text,label\n日本,pos\n中,neg\n".encode(encoding)
    assert texts(write(content), encoding=encoding) == ("日本", "中")


def test_utf16_read_as_utf8_names_the_flag(write):
    content = "text,label\na,pos\n"
    for wide in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        with pytest.raises(UserError, match=f": looks like {wide.upper()}: say encoding={wide}$"):
            load(write(content.encode(wide)))


def test_each_reason_is_counted_and_placed(write):
    path = write(
        HEADER
        + b"good,pos,ann\n"  # 2
        + b" ,pos,ann\n"  # 3: empty text
        + b"fine,,ann\n"  # 4: missing label
        + b"short,pos\n"  # 5: wrong column count
        + b'"a"b,pos,ann\n'  # 6: malformed quotes
        + b'"two\nlines",neg,\n'  # 7 and 8: missing client
        + b"last,neg,bob\n"
    )
    loaded = load(path, bad_rows="skip", client_column="who")
    report = loaded.report
    assert report.skipped == {
        "empty text": 1,
        "missing label": 1,
        "wrong column count": 1,
        "malformed quotes": 1,
        "missing client": 1,
    }
    places = {reason: place.split(", ")[1] for reason, place in report.first_skipped.items()}
    assert list(places.values()) == ["line 3", "line 4", "line 5", "line 6", "line 7"]
    assert report.rows_read == report.rows_kept + sum(report.skipped.values()) == 7
    assert loaded.corpus.texts == ("good", "last")
    with pytest.raises(UserError, match=r"reviews.csv, line 3: empty text.*bad_rows=skip"):
        load(path)


def test_rows_without_an_author_never_form_one_client(write):
    path = write(HEADER + b"a,pos,\nb,neg, \nc,pos,ann\n")
    with pytest.raises(UserError, match=r"line 2: missing client.*missing_client=own"):
        load(path, client_column="who")
    authors = load(path, client_column="who", missing_client="own").corpus.authors
    assert len(set(authors)) == 3
    assert authors[2] == "ann"


def test_a_different_client_in_every_row_is_reported(write):
    rows = b"".join(b"t,%s,user %d\n" % (b"pos" if n % 2 else b"neg", n) for n in range(20))
    notes = load(write(HEADER + rows), client_column="who").report.notes
    assert notes == ("`client_column`=who is different in every row",)


def test_prefix_is_stripped_once(write):
    loaded = load(write(HEADER + b"=@air late,pos,x\n==two,neg,y\nz=,pos,z\n"), strip_prefix="=")
    assert loaded.corpus.texts == ("@air late", "=two", "z=")
    assert any("2 texts had the prefix" in line for line in loaded.report.lines())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"text_column": "txt"}, "text_column=txt: no such column.*text, label, who"),
        ({"label_column": "3"}, "label_column=3: no such column"),
        ({"client_column": "@user"}, "client_column=@user: the pseudo-columns are @file"),
        ({"header": False, "text_column": "text"}, "text_column=text.*0 to 2"),
        ({"label_file": "labels.txt"}, "label_file=labels.txt: only format=lines"),
        ({"split": "train"}, "split=train"),
        ({"delimiter": ";"}, "no such column"),
    ],
)
def test_wrong_flags_are_named(write, flags, message):
    with pytest.raises(UserError, match=message) as raised:
        load(write(HEADER + ROWS), **flags)
    assert "\n" not in str(raised.value)


def test_header_taken_for_data_and_data_for_header(write):
    headless = b"".join(b"text %d,%d\n" % (n, n % 2) for n in range(30))
    with pytest.raises(UserError, match="header=false"):
        load(write(headless), text_column="0", label_column="1")
    corpus = load(write(headless), text_column="0", label_column="1", header=False).corpus
    assert len(corpus) == 30
    with pytest.raises(UserError, match="line 1: the label 'label'.*header=true"):
        load(write(b"text,label\n" + headless), text_column="0", label_column="1", header=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no usable rows: empty"),
        (HEADER, "no usable rows: empty"),
        (HEADER + b"a,pos,x\nb,pos,y\n", "one label 'pos'"),
        (HEADER + b'a,pos,x\n"b,neg,y\nc,neg,z\n', "line 3: a quote opens here and never closes"),
        (HEADER + b"a\rb,pos,x\n", "carriage return outside quotes"),
        (HEADER + b"".join(b"t,%d,x\n" % n for n in range(1500)), "more than 1000 labels"),
        (HEADER + b"".join(b"t,%d,x\n" % n for n in range(40)), "40 labels in 40 rows"),
    ],
    ids=["empty", "header only", "one label", "open quote", "bare cr", "ids", "few ids"],
)
def test_useless_files_are_refused(write, content, message):
    with pytest.raises(UserError, match=message):
        load(write(content))


def test_damaged_archives_are_refused(write, tmp_path):
    with pytest.raises(UserError, match="corpus=.*cannot be read"):
        load(write(gzip.compress(HEADER + ROWS * 100)[:-12], "r.csv.gz"))
    with pytest.raises(UserError, match="corpus=.*cannot be read"):
        load(write(b"no zip", "r.zip"))
    with pytest.raises(UserError, match="corpus=.*cannot be read"):
        load(write(HEADER, "plain.csv.gz"))
    two = tmp_path / "two.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", HEADER)
        archive.writestr("b.csv", HEADER)
    with pytest.raises(UserError, match=r"holds 2 files.*a.csv, b.csv"):
        load(str(two))
    with pytest.raises(UserError, match="no such file in the zip"):
        load(f"{two}/c.csv")


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(UserError, match="corpus=.*no such file"):
        load(str(tmp_path / "no.csv"))
    with pytest.raises(UserError, match="the names of corpora are synthetic"):
        load("sst3")
    with pytest.raises(UserError, match="test_corpus=.*is a folder"):
        load(str(tmp_path), flag_prefix="test_")
    with pytest.raises(UserError, match="format is needed"):
        (tmp_path / "data.dat").write_bytes(ROWS)
        load(str(tmp_path / "data.dat"))


def test_commas_in_a_file_name(write):
    assert texts(write(HEADER + ROWS, "a, b.csv")) == ("good", "bad")


def test_the_delimiter_that_a_file_names(write):
    """Excel's line with the delimiter counts as line 1, as in an editor."""
    for line in ("sep=;\n", "SEP=;\r\n", '"sep=;"\n'):
        path = write(line + 'text;label\n"a;b";x\nc;y\nd;x;z\n')
        with pytest.raises(UserError, match="line 5: wrong column count"):
            load(path)
        loaded = load(path, bad_rows="skip")
        assert loaded.corpus.texts == ("a;b", "c")
    assert texts(write("sep=;\ntext|label\na;b|x\nc|y\n"), delimiter="|") == ("a;b", "c")
    assert texts(write("sep=\t\ntext\tlabel\na,b\tx\nc\ty\n")) == ("a,b", "c")


@pytest.mark.parametrize("quoting", ["csv", "none"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_that_end_in_carriage_returns(write, quoting, encoding):
    content = "text,label\rgood ดี,x\r\rbad,y\rlast,x"
    loaded = load(write(content.encode(encoding)), quoting=quoting, encoding=encoding)
    assert loaded.corpus.texts == ("good ดี", "bad", "last")
    assert any("1 blank lines" in line for line in loaded.report.lines())


def test_carriage_returns_and_quoted_line_feeds(write):
    """Spreadsheets for the old Macintosh write a cell of two lines in this way."""
    rows = [("one\ntwo", "x"), ("three", "y")]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r", quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    assert texts(write(buffer.getvalue())) == ("one\ntwo", "three")
    # In a file with line feeds, a carriage return does not end a line.
    with pytest.raises(UserError, match="line 2: malformed quotes .a carriage return"):
        load(write("text,label\na\rb,x\nc,y\n"))


def test_many_lines_that_end_in_carriage_returns(write):
    """The file is larger than one block, and line ends are at many different places of a block."""
    rows = [f"text number {row} {'x' * (row % 97)}" for row in range(5000)]
    content = "text,label\r" + "".join(f"{row},{number % 2}\r" for number, row in enumerate(rows))
    assert texts(write(content)) == tuple(row.strip() for row in rows)


@pytest.mark.parametrize("flags", [{"text_column": "", "label_column": ""}, {}])
def test_a_wrong_delimiter_is_reported(write, flags):
    with pytest.raises(UserError) as error:
        load(write("text;label\na;x\n"), **flags)
    assert "'delimiter=;'" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"'delimiter=\\t'"):
        load(write("text\tlabel\na\tx\n"), **flags)


def test_columns_that_differ_in_case_only(write):
    path = write("Text, LABEL\na,x\nb,y\n")
    with pytest.raises(UserError, match="text_column=text: .*'Text' differs in case only"):
        load(path)
    with pytest.raises(UserError, match=r"text_column is needed .*: text_column=Text\?"):
        load(path, text_column="", label_column="")


@pytest.mark.parametrize("value", ["NaN", "nan", "NA", "N/A", "#N/A", "<NA>", "NULL", r"\N", ""])
def test_values_that_mean_missing(write, value):
    path = write(f"text,label,who\n{value},x,ann\nb,{value},ann\nc,y,{value}\nd,x,bob\ne,y,bob\n")
    loaded = load(path, bad_rows="skip", client_column="who")
    assert loaded.corpus.texts == ("d", "e")
    assert loaded.report.skipped == {"empty text": 1, "missing label": 1, "missing client": 1}
    if value:
        with pytest.raises(UserError, match="line 2: empty text .'.*' counts as missing"):
            load(path)
        kept = load(path, missing_values="", client_column="who").corpus
        assert kept.texts == (value, "b", "c", "d", "e")
        assert value in kept.label_names


def test_a_file_that_was_cut_within_a_character(write):
    whole = "text,label\nดี,x\nแย่,y\nครับ".encode()
    for cut in (1, 2):
        path = write(whole[:-cut])
        with pytest.raises(UserError, match="line 4: wrong column count"):
            load(path)
        path = write(whole[:-cut], "lines.txt")
        for encoding in ("utf-8", "utf-8,latin-1"):
            flags = {"text_column": "", "label_column": "@stem", "encoding": encoding}
            with pytest.raises(UserError, match=r"line 4: undecodable bytes .*was the file cut\?"):
                load(path, **flags)
            write("other\n", "other.txt")
            both = path.replace("lines.txt", "*.txt")
            report = load(both, bad_rows="skip", **flags).report
            assert report.skipped == {"undecodable bytes": 1}


def test_an_odd_number_of_bytes_in_a_wide_encoding(write):
    content = "text,label\na,x\nb,y\n".encode("utf-16-le") + b"c"
    with pytest.raises(UserError, match="line 4: wrong column count"):
        load(write(content), encoding="utf-16-le")
    assert texts(write(content), encoding="utf-16-le", bad_rows="skip") == ("a", "b")


def test_texts_that_were_decoded_wrongly_before(write):
    good = "text,label\ncafé – “ok” Ünïcödé É»,x\nÇa va,y\n"
    assert not any("look like" in line for line in load(write(good)).report.lines())
    wrong = ["café".encode().decode("latin-1"), "don’t".encode().decode("cp1252"), "lost \ufffd"]
    rows = "".join(f"{text},{'xy'[row % 2]}\n" for row, text in enumerate(["fine", *wrong]))
    report = load(write(f"text,label\n{rows}")).report
    assert any(line.startswith("3 texts look like") and "line 3" in line for line in report.lines())


def test_a_label_with_control_characters_in_a_message(write):
    with pytest.raises(UserError) as error:
        load(write('text,label\n"a","x\x1b[31m\n!"\n"b","x\x1b[31m\n!"\n'))
    assert r"'x\x1b[31m\n!'" in str(error.value)
