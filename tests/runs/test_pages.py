"""Pages as HTML and as Markdown."""

import base64
import html.parser

from tff_nlp.runs import pages

BLOCKS = [
    pages.Heading("A <b>run</b> & more", 1),
    pages.Text("First | second\nline"),
    pages.Lines(["test      1 < 2", "clients   3"]),
    pages.Table(["name", "score"], [["<script>", "12.5%"], ["b|c", "1,000"]]),
    pages.Table(["all"], [["x"]], folded="All settings"),
    pages.Picture(b"\x89PNG picture", "table_1.png", 'says "this"'),
]


class Reader(html.parser.HTMLParser):
    """Collects tags, texts and attributes."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attributes)))

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


def test_html_shows_texts_as_they_are_and_holds_its_pictures():
    page = pages.to_html("A title & more", BLOCKS)
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert {"A title & more", "A <b>run</b> & more", "<script>", "b|c"} <= set(reader.texts)
    [image] = [found for tag, found in reader.attributes if tag == "img"]
    kind, _, content = image["src"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == b"\x89PNG picture"
    assert image["alt"] == 'says "this"'
    assert "test      1 < 2\nclients   3" in reader.texts
    numbers = [found for tag, found in reader.attributes if tag == "td" and found]
    assert len(numbers) == 2
    # Nothing is loaded from elsewhere.
    assert "http" not in page and "<link" not in page


def test_markdown_keeps_the_shape_of_a_table():
    text = pages.to_markdown(BLOCKS)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[:4] == ["| name | score |", "| --- | --- |", "| \\<script> | 12.5% |"] + [
        "| b\\|c | 1,000 |"
    ]
    assert "\n    test      1 < 2\n    clients   3\n" in text
    assert "First \\| second line" in text
    assert '![says "this"](table_1.png)' in text
    assert text.startswith("# A \\<b>run\\</b> & more\n")


def test_a_setting_is_shown_as_a_person_writes_it():
    assert pages.setting(["/CPU:0", "/CPU:0"]) == "/CPU:0, /CPU:0"
    assert (pages.setting(None), pages.setting(False), pages.setting(0.5)) == ("", "False", "0.5")
    assert pages.setting("a\x1b[31m") == r"a\x1b[31m"
