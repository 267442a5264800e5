"""The page in headless Chromium, from upload to verdict, with the network closed.

Without Chromium these are skipped; `.ci/run` installs it where it can.
"""

import asyncio
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tests.page.conftest import face, packed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
WIDTHS = (375, 1280)
PATIENCE = 180_000  # ms; a busy machine is slow, and a failure rare


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        # A container's root has no sandbox to offer.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Opens a server's page; what it asks for elsewhere is refused, and fails the test."""
    contexts, outside, errors = [], [], []

    def opened(server, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()

        def only_here(route):
            if route.request.url.startswith(f"{server.address}/"):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        page.route("**/*", only_here)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_default_timeout(PATIENCE)
        page.goto(server.address)
        page.wait_for_selector("#upload input[type=file]", state="attached")
        page.wait_for_selector("#status[role=status]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert outside == [] and errors == []


def drop(page, *files):
    page.set_input_files(
        "#upload input[type=file]",
        [{"name": name, "mimeType": "image/jpeg", "buffer": data} for name, data in files],
    )


def answered(page, count=1):
    page.wait_for_function(
        "n => document.querySelectorAll('#answers .judgement').length === n", arg=count
    )
    return page.locator("#answers")


def fits(page):
    """Nothing is wider than the window, and no text is cut."""
    return page.evaluate(
        """() => {
            const cut = [...document.querySelectorAll('#answers *, .standing *, .d-page *')].filter(
                e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline'
                     && !e.closest('svg') && !e.closest('.bar'));
            return document.documentElement.scrollWidth <= window.innerWidth && !cut.length;
        }"""
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_from_upload_to_verdict(served, visit, width):
    page = visit(served, width)
    drop(page, ("photo.jpg", packed(face(1))))
    answers = answered(page)
    text = answers.inner_text()
    assert "photo.jpg" in text and "pictures scored like this in the test set" in text
    for says in ("p_fake", "Share of the map", "JPEG quality 60", "EXIF", "make scorecard"):
        assert says in text
    assert answers.locator(".bar").get_attribute("aria-label").startswith("Score p_fake")
    assert "Where the network saw evidence" in answers.locator(".heat img").get_attribute("alt")
    whole = page.inner_text("body")
    for says in ("cannot know", "Eyes and pupils", "Teeth", "Hair", "Earrings", "text"):
        assert says in whole
    assert fits(page)
    # A screen reader is told the name and the verdict, and not all of it.
    headline = answers.locator(".headline").inner_text()
    assert page.locator("#status").text_content() == f"photo.jpg: {headline}"
    assert page.locator("#answers[aria-live]").count() == 0
    # Nothing of it is kept, and the next one can be dropped.
    assert len(served.serving.api.uploads) == 0 and served.serving.api.uploads.budget.held == 0
    drop(page, ("next.jpg", packed(face(2))))
    page.wait_for_function("document.querySelector('#answers h2')?.innerText === 'next.jpg'")


def test_several_files_have_an_answer_each_bad_ones_too(served, visit):
    page = visit(served, 375)
    noise = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
    drop(
        page,
        ("one.jpg", packed(face(1))),
        ("letter.jpg", b"dear sir or madam"),
        ("<img src=x onerror=alert(1)>.jpg", b""),
        ("nobody.jpg", packed(Image.fromarray(noise))),
    )
    answers = answered(page, 4)
    names = answers.locator("h2").all_inner_texts()
    assert names[:2] == ["one.jpg", "letter.jpg"] and names[3] == "nobody.jpg"
    text = answers.inner_text()
    assert "not a picture" in text and "the file is empty" in text and "No face was found" in text
    assert str(served.runs) not in page.content()
    assert fits(page)


def test_a_later_drop_takes_over_from_one_that_is_being_answered(served, visit, monkeypatch):
    page, api, goes_on = visit(served), served.serving.api, threading.Event()
    own = api.judged

    async def judged(data, name, *rest, **more):
        while name.startswith("first") and not goes_on.is_set():
            await asyncio.sleep(0.02)
        return await own(data, name, *rest, **more)

    monkeypatch.setattr(api, "judged", judged)
    drop(page, *[(f"first-{at}.jpg", packed(face(at))) for at in range(3)])
    page.wait_for_selector("#answers .waiting")
    drop(page, ("next.jpg", packed(face(1))))
    names = "[...document.querySelectorAll('#answers h2')].map(e => e.innerText).join()"
    page.wait_for_function(f"{names} === 'next.jpg'")
    goes_on.set()
    end = time.monotonic() + 60
    while (api.desk.busy or api.uploads.budget.held) and time.monotonic() < end:
        page.wait_for_timeout(100)
    page.wait_for_timeout(300)
    assert page.evaluate(names) == "next.jpg" and not page.locator("#answers .waiting").count()
    assert api.desk.busy == len(api.uploads) == api.uploads.budget.held == 0


def test_a_file_that_is_too_large_is_said_to_be(served, visit):
    page = visit(served)
    # One file; and all of the upload, of which nobody has read the names.
    for size, name in ((3_000_000, "large.jpg"), (20_000_000, "This upload")):
        drop(page, ("large.jpg", bytes(size)))
        page.wait_for_function(
            "name => document.querySelector('#answers h2')?.innerText === name", arg=name
        )
        assert "limit of 2 MB" in page.locator("#answers").inner_text()
    drop(page, ("photo.jpg", packed(face(1))))
    page.wait_for_selector("#answers .bar")


def test_another_network_is_chosen_by_keyboard(served, visit):
    page = visit(served)
    first, second = list(served.serving.networks.all.values())[:2]
    focused = "sel => document.activeElement === document.querySelector(sel)"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#network') !== null"):
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")  # at once, as a quick person would
    assert page.evaluate(focused, "#upload button")
    chosen = page.locator("#network label:has(input:checked)")
    assert chosen.all_inner_texts() == [second.label]
    # The browser's own dialogue would block all that follows: the click on the hidden input that
    # would open it is counted instead.
    page.evaluate(
        """() => {
            window.opened = 0;
            document.querySelector('#upload input[type=file]').addEventListener('click', event => {
                window.opened += 1;
                event.preventDefault();
            }, true);
        }"""
    )
    page.keyboard.press("Enter")
    page.wait_for_function("window.opened === 1")
    drop(page, ("photo.jpg", packed(face(1))))
    text = answered(page).inner_text()
    assert f"Network: {second.label}" in text and f"Network: {first.label}" not in text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_demonstration(demonstration, visit, width, scheme):
    page = visit(demonstration, width, scheme)
    assert "Demonstration" in page.inner_text("body")
    page.get_by_role("button", name="Example 1").press("Enter")
    answers = answered(page)
    text = answers.inner_text()
    assert "The truth about it is fake: the mouth" in text and "p_fake" in text
    assert fits(page)
    for selector in (".headline", ".verdict p:last-child", ".note", "td", ".legend"):
        assert contrast(answers.locator(selector).first) >= 4.5, selector
    drop(page, ("photo.jpg", packed(face(1))))
    page.wait_for_function("document.querySelector('#answers h2')?.innerText === 'photo.jpg'")
    page.wait_for_selector("#answers .verdict")
    text = page.locator("#answers").inner_text()
    assert "No verdict" in text and "make train" in text and "p_fake" not in text


def contrast(element):
    """Of an element's text on what is behind it, as WCAG 2.2 counts it."""
    front, back = element.evaluate(
        """e => {
            const front = getComputedStyle(e).color;
            let back = 'rgba(0, 0, 0, 0)';
            for (; e && /rgba\\(.*, 0\\)|transparent/.test(back); e = e.parentElement)
                back = getComputedStyle(e).backgroundColor;
            return [front, back];
        }"""
    )
    light, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    values = [float(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
