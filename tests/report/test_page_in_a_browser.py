"""A real browser opens the page from its file: every picture shows, nothing is asked of the network, nothing overflows.

Chromium is driven through chromedriver's own protocol, WebDriver, which is JSON over HTTP: the standard library is
enough. A page that only holds a script to check itself would have to allow scripts.
"""

import base64
import json
import re
import shutil
import subprocess
import urllib.request

import pytest

from ganjax.report import write_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-sync hide-scrollbars"
QUIET = "disable-background-networking disable-component-update disable-default-apps no-proxy-server"
STATE = """return {
  pictures: [...document.images].map(image => [image.alt, image.naturalWidth]),
  width: document.documentElement.scrollWidth,
  paper: getComputedStyle(document.body).backgroundColor,
}"""


class Browser:
    """One headless session."""

    def __init__(self, profile):
        command = [DRIVER, "--port=0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = next(filter(None, (re.search(r"successfully on port (\d+)", line) for line in self.process.stdout)))[1]
        self.session = f"http://127.0.0.1:{port}/session"
        arguments = [f"--{flag}" for flag in f"{FLAGS} {QUIET} user-data-dir={profile}".split()]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": BROWSER, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.session += "/" + self.call("", capabilities={"alwaysMatch": wanted})["sessionId"]

    def call(self, path, method="POST", **body):
        content = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(
            self.session + path, content, {"Content-Type": "application/json"}, method=method
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def tool(self, name, **parameters):
        return self.call("/goog/cdp/execute", cmd=name, params=parameters)

    def events(self):
        """What the browser's tools saw since they were last asked."""
        return [json.loads(one["message"])["message"] for one in self.call("/se/log", type="performance")]

    def show(self, page, width=1280, scheme="light"):
        """Open a file; its pictures, width and colour, and whatever is wrong with it."""
        self.tool(
            "Emulation.setDeviceMetricsOverride", width=width, height=812, deviceScaleFactor=1, mobile=width < 600
        )
        self.tool("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("/url", url="about:blank")
        self.events(), self.call("/se/log", type="browser")
        self.call("/url", url=page.as_uri())
        state = self.call("/execute/sync", script=STATE, args=[])
        requests = [
            event["params"]["request"]["url"]
            for event in self.events()
            if event["method"] == "Network.requestWillBeSent"
        ]
        problems = [f"console: {one['message']}" for one in self.call("/se/log", type="browser")]
        problems += [f"request: {url}" for url in requests if not url.startswith("data:") and url != page.as_uri()]
        problems += [f"no picture: {alt}" for alt, size in state["pictures"] if size == 0]
        problems += [f"{state['width']} pixels wide"] if state["width"] > width else []
        assert page.as_uri() in requests, "the browser's log of requests is not read"
        return state, problems

    def close(self):
        try:
            self.call("", method="DELETE")
        finally:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process.stdout.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None or DRIVER is None:
        pytest.skip("needs Chromium and chromedriver on PATH (Debian: apt-get install chromium chromium-driver)")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(run):
    """Every section full, with words that do not want to break."""
    long = "unbroken" * 30
    run.lines("alarms.jsonl", [{"step": 5, "alarm": long, "sentence": f"<script>{long}", "numbers": {long: 1.0}}])
    run.config(config={"steps": 10**9, "data": long, "loss": long, long: long})
    metric = {"value": 123456.789, "floor": 0.000123456, "held_out": -123456.789, "better": "lower", "note": long}
    run.score(60, "best", metrics={"fid": metric, long: metric}, receipt={"extractor": long, long: long})
    run.picture("samples/00000100.png", 8, 8, size=64)
    return write_page(run.workdir, defaults={"data": "digits"})


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_opens_from_its_file(browser, page, width, scheme, paper):
    state, problems = browser.show(page, width, scheme)
    assert problems == []
    assert state["paper"] == paper
    assert len(state["pictures"]) == 3 + 8 + 2  # charts, grids, panel and neighbours


@pytest.mark.parametrize(
    ("wrong", "sign"),
    [
        ('<img src="missing.png" alt="lost">', "no picture: lost"),
        ('<img src="data:image/png;base64,iVBORw0KGgo=" alt="torn">', "no picture: torn"),
        ('<script>console.error("broken")</script>', '"broken"'),
        ("<script>undefined.x</script>", "TypeError"),
        ('<img src="http://127.0.0.1:9/x.png" alt="">', "request: http://127.0.0.1:9/x.png"),
        ('<link rel="stylesheet" href="style.css">', "style.css"),
        ('<p style="width: 400px">wide</p>', "pixels wide"),
    ],
)
def test_the_browser_sees_what_is_wrong(browser, page, wrong, sign):
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    page.write_text(text.replace("<footer>", wrong + "<footer>"))
    _, problems = browser.show(page, 375)
    assert any(sign in problem for problem in problems), problems


def test_the_page_forbids_what_it_does_not_need(browser, page):
    page.write_text(page.read_text().replace("<footer>", "<script>document.title = 'ran'</script><footer>"))
    _, problems = browser.show(page)
    assert "Content Security Policy" in problems[0]
    assert browser.call("/title", method="GET") == "vanilla_gan: run-a"


def test_the_page_prints_whole(browser, page):
    browser.show(page)
    assert base64.b64decode(browser.call("/print")).startswith(b"%PDF")
