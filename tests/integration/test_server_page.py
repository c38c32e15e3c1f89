"""The page of the server, in a browser, if there is one. AXE_CORE may name a file of axe-core, which then runs, too."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from serving import NameFinder, running
from tiny import build_model

from span_marker import read_annotations

playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = os.environ.get("AXE_CORE")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")]

TEXT = "\N{PARTY POPPER} Amelia left New York University for Paris.\nPeople say \N{ROCKET} Paris is fine."
ARABIC = "قالت إن القاهرة جميلة"


@pytest.fixture(scope="module")
def model():
    return build_model(entity_max_length=3)


@pytest.fixture(scope="module")
def server(model):
    with running({"news": NameFinder(model), "places": NameFinder(model, ("LOC",))}) as server:
        yield server


PATIENCE_MS = 20_000


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """The page. Whatever the browser complains of is an error, and so are requests to other servers."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    complaints, urls = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: urls.append(request.url))
    page.urls = urls
    page.goto(server.url)
    yield page
    assert [line for line in complaints if "Failed to load resource" not in line] == []
    assert {url for url in urls if not url.startswith((server.url, "data:", "blob:"))} == set()
    context.close()


def type_in(page, text):
    """Fill in a text, and wait for its entities."""
    page.fill("#text", text)
    wait_for_status(page)


def wait_for_status(page):
    page.wait_for_function("() => document.getElementById('status').textContent.includes(' in ')")
    wait_for_idle(page)


def wait_for_idle(page):
    """Until an answer is shown, and nothing moves."""
    page.wait_for_function("() => !document.querySelector('[aria-busy]') && !document.getAnimations().length")


def answer_of(page, act):
    """Do something, and wait until an answer to it is shown."""
    with page.expect_response("**/predict"):
        act()
    wait_for_idle(page)


def marks(page, panel=0):
    """What is marked, and how: the text without labels, the label, and the level."""
    return page.evaluate(
        """(panel) => [...document.querySelectorAll(".drawing")[panel].querySelectorAll("mark")].map((mark) => {
            const copy = mark.cloneNode(true);
            const label = [...mark.children].filter((child) => child.matches(".label")).at(-1);
            for (const each of copy.querySelectorAll(".label")) each.remove();
            const name = label.firstChild.textContent;
            return [copy.textContent, name, Number(mark.style.getPropertyValue("--level"))];
        })""",
        panel,
    )


def drawn_text(page):
    return page.evaluate(
        """() => [...document.querySelectorAll(".drawing")[0].children].map((chunk) => {
            const copy = chunk.cloneNode(true);
            for (const each of copy.querySelectorAll(".label")) each.remove();
            return copy.textContent;
        }).join("")"""
    )


def test_entities_appear_while_one_types(page):
    page.click("#text")
    page.keyboard.type("Amelia saw Paris", delay=10)
    wait_for_status(page)
    page.wait_for_function("() => document.querySelectorAll('.drawing mark').length === 2")
    assert marks(page) == [["Amelia", "PER", 0], ["Paris", "LOC", 0]]
    assert page.inner_text("#status").startswith("2 entities")
    assert sum(url.endswith("/predict") for url in page.urls) < len("Amelia saw Paris"), "not with every letter"
    type_in(page, TEXT)
    assert drawn_text(page) == TEXT
    assert [mark[0] for mark in marks(page)] == ["Amelia", "New York University", "Paris", "Paris"]
    page.fill("#text", " ")
    page.wait_for_function("() => document.getElementById('status').textContent === 'Type a text.'")
    assert marks(page) == []


def test_the_latest_answer_wins(page):
    held = []

    def hold_first(route):
        held.append(route)
        if len(held) == 1:
            page.fill("#text", "Amelia")
        else:
            route.continue_()

    page.route("**/predict", hold_first)
    page.fill("#text", "Paris")
    page.wait_for_function("() => document.querySelectorAll('.drawing mark').length === 1")
    late = {"label": "LOC", "char_start_index": 0, "char_end_index": 5, "score": 0.5}
    with suppress(playwright.Error):  # the page does not wait for it any longer
        held[0].fulfill(json={"model": "news", "entities": [late]})
    page.wait_for_timeout(300)
    assert marks(page) == [["Amelia", "PER", 0]]


def test_threshold_overlaps_scores_and_labels(page):
    type_in(page, TEXT)
    answer_of(page, lambda: page.select_option("#decoding", "nested"))
    assert marks(page)[1:3] == [["New York University", "ORG", 1], ["New York", "LOC", 0]]
    assert page.evaluate("() => document.querySelector('mark mark').textContent").startswith("New York")
    answer_of(page, lambda: page.check("#use-threshold"))
    answer_of(page, lambda: page.fill("#threshold", "0.75"))
    assert page.inner_text("#threshold-shown") == "0.75"
    assert [mark[0] for mark in marks(page)] == ["New York University", "Paris", "Paris"]
    assert not page.is_visible(".score")
    page.check("#scores")
    assert page.inner_text(".drawing .score >> nth=0").strip() == "0.90"
    page.uncheck("#label-list label:has-text('LOC') input")
    assert [label.is_visible() for label in page.query_selector_all(".drawing .label")] == [True, False, False]
    page.click("#none")
    assert page.query_selector(".drawing .label").is_visible() is False
    page.click("#all")
    assert page.query_selector(".drawing .label").is_visible() is True
    assert page.inner_text("#label-list label:has-text('LOC') .count") == "2"


def test_right_to_left(page):
    type_in(page, ARABIC)
    assert marks(page) == [["القاهرة", "LOC", 0]]
    left, right = page.evaluate(
        """() => {
            const mark = document.querySelector("mark").getBoundingClientRect();
            const chunk = document.querySelector(".chunk").getBoundingClientRect();
            return [mark.left - chunk.left, chunk.right - mark.right];
        }"""
    )
    assert right < left, "it begins at the right"


def test_markup_in_texts_and_labels_is_text(page):
    text = "<script>document.title = 'broken'</script> <img src=x onerror=\"document.title='broken'\"> &amp; Paris"
    type_in(page, text)
    assert drawn_text(page) == text
    assert marks(page)[0] == ["<script>", "<img src=x onerror=document.title='broken'>", 0]
    assert page.title() == "SpanMarker"
    assert page.evaluate("() => document.querySelectorAll('main script, main img').length") == 0
    tags = page.evaluate(
        "() => [...new Set([...document.querySelectorAll('.drawing *')].map((e) => e.tagName))].sort()"
    )
    assert tags == ["BDI", "DIV", "MARK", "SPAN"]


def drop(page, name, content):
    data = page.evaluate_handle(
        """([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name));
            return data;
        }""",
        [name, list(content)],
    )
    page.dispatch_event("body", "drop", {"dataTransfer": data})


def test_files(page, tmp_path):
    answer_of(page, lambda: drop(page, "a.txt", b"Amelia in Paris"))
    assert page.input_value("#text") == "Amelia in Paris"
    assert len(marks(page)) == 2
    drop(page, "a.bin", b"\xff\xfe\x00Paris")
    page.wait_for_function("() => document.getElementById('status').textContent.includes('no text in UTF-8')")
    (tmp_path / "b.txt").write_text("New York")
    answer_of(page, lambda: page.set_input_files("#file", tmp_path / "b.txt"))
    assert marks(page) == [["New York", "LOC", 0]]


def test_a_link_holds_the_text_and_does_not_send_it(page, server):
    secret = "Zanzibar & Paris + 100% #1"
    type_in(page, secret)
    answer_of(page, lambda: page.check("#use-threshold"))
    page.click("#link")
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('Copied')")
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert link.startswith(f"{server.url}/#")
    page.goto("about:blank")
    page.urls.clear()
    page.goto(link)
    wait_for_status(page)
    assert page.input_value("#text") == secret
    assert page.is_checked("#use-threshold")
    assert marks(page) == [["Paris", "LOC", 0]]
    assert "Zanzibar" not in "".join(url for url in page.urls if "#" not in url)


def test_copies_are_what_predict_returns(page, server):
    type_in(page, TEXT)
    page.click("#json")
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('Copied')")
    row = json.loads(page.evaluate("() => navigator.clipboard.readText()"))
    assert row == {"text": TEXT, "entities": server.ask("/predict", {"inputs": TEXT}).json["entities"]}


def test_mentions_are_shown_and_copied_with_their_origin(page, server):
    pytest.importorskip("ahocorasick_rs")
    type_in(page, TEXT)
    answer_of(page, lambda: page.check("#propagate"))
    titles = [label.get_attribute("title") for label in page.query_selector_all(".drawing .label")]
    assert titles[-1] == "LOC, score 0.800, from another mention"
    page.click("#json")
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('Copied')")
    row = json.loads(page.evaluate("() => navigator.clipboard.readText()"))
    assert row["entities"] == server.ask("/predict", {"inputs": TEXT, "propagate": True}).json["entities"]
    assert "origin" in row["entities"][-1]


def test_two_models_side_by_side(page):
    type_in(page, TEXT)
    answer_of(page, lambda: page.select_option("#model-2", "places"))
    page.wait_for_function("() => document.querySelectorAll('.drawing')[1].querySelectorAll('mark').length === 3")
    assert [mark[0] for mark in marks(page, 1)] == ["New York", "Paris", "Paris"]
    assert page.inner_text(".panel >> nth=1 >> h2") == "places"
    answer_of(page, lambda: page.select_option("#model-2", ""))
    assert not page.is_visible(".panel >> nth=1")


def test_corrections_by_keyboard_and_mouse(page, tmp_path):
    type_in(page, TEXT)
    page.click("#correct")
    page.focus(".drawing")
    page.keyboard.press("ArrowRight")  # Amelia
    assert page.inner_text("#status") == "PER: Amelia, score 0.600"
    page.keyboard.press("ArrowRight")  # New York University
    page.keyboard.press("Delete")
    page.wait_for_function("() => document.querySelectorAll('.drawing mark').length === 3")
    page.click(".drawing .label:has-text('LOC') >> nth=0")
    page.fill("#new-label", "CITY")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.drawing .label')].some((l) => l.textContent === 'CITY')"
    )
    page.fill("#new-label", "GROUP")
    page.evaluate(  # a selection as a mouse makes it
        """() => {
            const nodes = [];
            const walker = document.createTreeWalker(document.querySelector(".drawing"), NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) nodes.push(walker.currentNode);
            const start = nodes.find((node) => node.data.includes("People say"));
            getSelection().setBaseAndExtent(start, start.data.indexOf("People"), start, start.data.indexOf(" say"));
        }"""
    )
    page.click("#add")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.drawing .label')].some((l) => l.textContent === 'GROUP')"
    )
    page.fill("#new-label", "ORG")
    page.focus("#text")
    page.evaluate("(end) => document.getElementById('text').setSelectionRange(end - 6, end)", len(TEXT) + 2)
    page.click("#add")  # a selection in the field: " fine."
    page.wait_for_function("() => document.querySelectorAll('.drawing mark').length === 5")
    page.click("#keep")
    with page.expect_download() as download:
        page.click("#download")
    path = tmp_path / "corrections.jsonl"
    download.value.save_as(path)
    (row,) = read_annotations(path)
    found = [(row["text"][e["start"] : e["end"]], e["label"]) for e in row["entities"]]
    assert found == [("Amelia", "PER"), ("Paris", "CITY"), ("People", "GROUP"), ("Paris", "LOC"), ("fine.", "ORG")]


def test_key(browser, model):
    with running({"m": NameFinder(model)}, api_key="s3cret") as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("#key")
        page.fill("#text", "Paris")
        page.fill("#key", "s3cret")
        page.keyboard.press("Enter")
        wait_for_status(page)
        assert marks(page) == [["Paris", "LOC", 0]]
        assert not page.is_visible("#key")
        page.close()


def test_refusal_of_an_earlier_request_does_not_ask_for_the_key_again(browser, model):
    with running({"m": NameFinder(model)}, api_key="s3cret") as server:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("#key")
        held = []

        def hold(route):
            (held.append if len(held) < 2 else type(route).continue_)(route)

        page.route("**/predict", hold)
        page.route("**/info", hold)
        with page.expect_request("**/predict"):
            page.fill("#text", "Paris")
        page.fill("#key", "s3cret")
        with page.expect_request("**/info"):
            page.keyboard.press("Enter")
        with page.expect_response("**/predict") as refused:
            held[0].continue_()
        assert refused.value.status == 401
        page.wait_for_function("() => document.getElementById('status').textContent.includes('key')")
        assert not page.is_visible("#key")
        held[1].continue_()
        wait_for_status(page)
        assert marks(page) == [["Paris", "LOC", 0]]
        page.close()


def test_errors_are_said(page):
    page.route("**/predict", lambda route: route.fulfill(status=413, json={"error": "the texts have too many words"}))
    page.fill("#text", "Paris")
    page.wait_for_function("() => document.getElementById('status').textContent === 'The texts have too many words.'")
    page.unroute("**/predict")
    type_in(page, "Paris again")
    assert len(marks(page)) == 1


def test_100_000_words(page):
    words = [f"word{number}" if number % 9 else "Paris" for number in range(100_000)]
    text = "".join(word + ("\n" if number % 97 == 96 else " ") for number, word in enumerate(words))
    page.evaluate("(text) => { document.getElementById('text').value = text; }", text)
    page.dispatch_event("#text", "input")
    wait_for_status(page)
    page.wait_for_function("() => document.querySelectorAll('.drawing mark').length === 11112")
    assert drawn_text(page) == text
    assert page.evaluate("() => document.querySelectorAll('.chunk').length") > 100
    longest = page.evaluate(
        "() => Math.max(...[...document.querySelectorAll('.chunk')].map((c) => c.textContent.length))"
    )
    assert longest < 10_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_fits_and_is_accessible(browser, server, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(server.url)
    page.select_option("#decoding", "nested")
    type_in(page, f"{TEXT}\n{ARABIC} <script>")
    page.select_option("#model-2", "places")
    page.check("#scores")
    page.click("#correct")
    page.focus(".drawing")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    if AXE:
        wait_for_idle(page)
        page.evaluate(Path(AXE).read_text(encoding="utf-8"))
        violations = page.evaluate("async () => (await axe.run()).violations")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []
    page.close()


def test_focus_goes_through_the_page_in_order(page):
    type_in(page, "Paris")
    page.focus("#text")
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
        if seen[-1] == "drawing":
            break
    assert seen[:6] == ["open", "link", "json", "correct", "use-threshold", "decoding"]
    assert seen[-1] == "drawing"
