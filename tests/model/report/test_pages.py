"""Both pages in a real browser, at desktop and phone width, from disk: what only a browser can tell."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from emo_model.evaluate import GROUND_TRUTH, Evaluation
from emo_model.study import Key, collect, write_study
from tests.browser import Browser, Page

pytestmark = pytest.mark.long
WIDTHS = (1440, 390)
LOADED = "[...document.querySelectorAll('video')].every((video) => video.readyState >= 1 && video.videoWidth > 0)"


@pytest.fixture(scope="module")
def browser() -> "Browser":
    with Browser() as running:
        yield running


def outside(page: Page) -> list[str]:
    """Requests that leave the disk; data: are the browser's own buttons on videos."""
    return [url[:80] for url in page.requests if not url.startswith(("file:", "data:", "blob:"))]


def fits(page: Page) -> bool:
    """Nothing is wider than the window but what scrolls inside a box of its own."""
    return page.ask("document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_fits_loads_and_asks_no_network(browser: Browser, page: Path, width: int, dark: bool) -> None:
    shown = browser.open(page, width, dark=dark)
    shown.wait(LOADED)
    assert fits(shown) and not shown.errors and not outside(shown)
    assert shown.ask("[...document.querySelectorAll('video')].length") == 8
    assert shown.ask("[...document.querySelectorAll('video')].every((v) => v.controls && v.duration > 0.3)")
    assert shown.ask("[...document.images].every((image) => image.complete && image.naturalWidth && image.alt)")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert shown.ask(ground) == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")
    # a wide table scrolls in its box
    assert shown.ask("[...document.querySelectorAll('.scroll')].every((box) => box.clientWidth <= innerWidth)")
    levels = shown.ask("[...document.querySelectorAll('h1,h2,h3')].map((heading) => +heading.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))


def test_clips_are_sorted_by_a_press_on_a_column(browser: Browser, page: Path) -> None:
    shown = browser.open(page, 1440)
    column = "[...document.querySelectorAll('#clips tbody tr')].map((row) => row.cells[3].textContent.trim())"
    button = "document.querySelectorAll('#clips thead button')[3]"
    unsorted = shown.ask(column)
    shown.ask(f"{button}.click()")
    values = [float(text) for text in shown.ask(column)]
    assert values == sorted(values) and values != [float(text) for text in unsorted]
    shown.ask(f"{button}.click()")
    assert [float(text) for text in shown.ask(column)] == values[::-1]
    assert shown.ask("document.querySelectorAll('#clips thead th')[3].getAttribute('aria-sort')") == "descending"


def test_two_videos_play_together(browser: Browser, page: Path) -> None:
    shown = browser.open(page, 1440)
    shown.wait(LOADED)
    shown.ask("""window.played = []; document.querySelectorAll('.watch figure')[0].querySelectorAll('video').forEach(
        (video) => video.addEventListener('playing', () => played.push(video.muted)))""")
    shown.ask("document.querySelector('.both').click()")
    shown.wait("played.length === 2")
    assert sorted(shown.ask("played")) == [False, True]  # one voice is heard
    shown.wait("document.querySelector('.both').textContent === 'Play together'")  # both have ended
    assert shown.ask("[...document.querySelectorAll('video')].every((video) => !video.muted)")


def test_without_scripts_all_is_there_but_sorting(browser: Browser, page: Path) -> None:
    shown = browser.open(page, 390, scripts=False)
    assert shown.ask("document.querySelectorAll('table').length") == 4 and not shown.ask(
        "document.querySelectorAll('button').length"
    )
    assert shown.ask("document.querySelectorAll('video[controls]').length") == 8 and fits(shown)


# ---- the study ----


@pytest.fixture(scope="module")
def study(evaluation: Evaluation, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "study"
    write_study(evaluation, folder, root=data)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
def test_a_rater_rates_everything_and_the_file_counts(
    browser: Browser, study: Path, width: int, tmp_path: Path
) -> None:
    """Ground truth, known to the test alone, gets 5 and everything else 2."""
    key = Key.read(study / "key.json")
    shown = browser.open(study / "page" / "index.html", width)
    shown.ask("localStorage.clear()")
    shown.call("Page.reload")
    shown.wait("document.readyState === 'complete' && !document.getElementById('start').hidden")
    assert fits(shown)
    shown.ask("document.getElementById('begin').click()")
    seen = []
    for number in range(len(key.clips)):
        shown.wait(LOADED)
        assert fits(shown) and shown.ask("document.querySelectorAll('#videos video[controls]').length") == 3
        shown.ask("document.getElementById('next').click()")
        assert "3 videos not rated" in shown.ask("document.getElementById('missing').textContent")
        names = shown.ask("[...document.querySelectorAll('.card')].map((card) => card.id.slice(5))")
        seen += names
        for name in names:
            score = 5 if key.videos[name][1] == GROUND_TRUTH else 2
            for scale in ("lip_sync", "vividness"):
                shown.ask(f'document.querySelector(\'[name="{name}-{scale}"][value="{score}"]\').click()')
        if number == 0:  # a page that is loaded again goes on where it was, in the same order
            shown.call("Page.reload")
            shown.wait("document.readyState === 'complete' && document.querySelectorAll('.card').length === 3")
            assert shown.ask("[...document.querySelectorAll('.card')].map((card) => card.id.slice(5))") == names
            assert shown.ask("document.querySelectorAll('input:checked').length") == 6
        shown.ask("document.getElementById('next').click()")
    assert shown.ask("!document.getElementById('done').hidden") and sorted(seen) == sorted(key.videos)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    shown.ask("document.getElementById('save').click()")
    text = shown.ask("document.getElementById('text').value")
    shown.wait("true")
    for _ in range(200):
        if saved := list(tmp_path.glob("ratings-*.json")):
            break
        shown.ask("new Promise((done) => setTimeout(done, 50))")
    assert [json.loads(file.read_text()) for file in saved] == [json.loads(text)]
    values = collect(tmp_path, key)
    truth = values.methods.index(GROUND_TRUTH)
    assert (values.values[:, :, truth] == 5).all() and values.values.sum() == 2 * 2 * (5 + 2 + 2)
    assert not shown.errors and not outside(shown)


def test_raters_see_other_orders(browser: Browser, study: Path) -> None:
    """Of 10 raters not all get the order of the first: by chance they would in one of 10^16."""
    shown = browser.open(study / "page" / "index.html", 1440)
    orders = {shown.ask("JSON.stringify(drawn())") for _ in range(10)}
    assert len(orders) > 3
    places = [shown.ask("drawn().map(({ videos }) => videos)") for _ in range(40)]
    first = [videos[0] for order in places for videos in order]
    assert set(first) == set(Key.read(study / "key.json").videos)  # every method is first at times
