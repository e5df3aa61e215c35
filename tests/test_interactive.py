"""The interactive page computes what game_value computes: its formulas in Node, and all of it in a real browser."""

import json
import re
import shutil
import subprocess
import time
from math import inf
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

from tradeoff.perturbations import L1, Linf, Lp
from tradeoff.theory import BernoulliFeature, exclusive, game_value
from tradeoff.theory.game import classifier

PAGE = Path(__file__).parent.parent / "docs" / "interactive" / "index.html"
ADVERSARIES = ("average", "union", "affine")
NAMES = ("alpha", "p0", "d", "linf", "l1")

node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node: install Node.js")


def in_node(expression: str, value):
    """What the JavaScript `expression` makes of `given`, with `game` at hand; infinities are strings on the way."""
    revive = '(k, v) => (v === "inf" ? Infinity : v === "-inf" ? -Infinity : v)'
    replace = '(k, v) => (v === Infinity ? "inf" : v === -Infinity ? "-inf" : v)'
    script = (
        f"const game = require({json.dumps(str(PAGE.with_name('game.js')))});"
        f"const given = JSON.parse(require('fs').readFileSync(0, 'utf8'), {revive});"
        f"console.log(JSON.stringify({expression}, {replace}))"
    )
    text = json.dumps(value).replace("-Infinity", '"-inf"').replace("Infinity", '"inf"')
    run = subprocess.run(["node", "-e", script], input=text, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(run.stdout)


def numbers(values) -> np.ndarray:
    return np.array([float(v) for v in values])


def settings(count: int, seed: int):
    """Random D_B and pairs of balls over the sliders' ranges and beyond, with corners among them."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        D = BernoulliFeature(10 ** rng.uniform(-1, 1), int(10 ** rng.uniform(0, 6)), 1 - 0.5 * 10 ** rng.uniform(-4, 0))
        p = (inf, 1.0) if k % 2 else rng.choice([inf, 1.0, 2.0, 1.5, 3.0], 2).tolist()
        unit = [D.eta if q == inf else 1.0 for q in p]
        eps = [u * 10 ** rng.uniform(-1.5, 1.5) for u in unit]
        if k % 5 == 0:  # corners: nothing, Theorem 1's radii, where x_0 is reached or turned around, beyond everything
            eps = [float(rng.choice([0, u, 2 * u, 1, 2, 1e30])) for u in unit]
        yield D, [Lp(q, e) for q, e in zip(p, eps, strict=True)], ADVERSARIES[k % 3]


def as_json(D, sets, adversary):
    dist = {"alpha": D.alpha, "d": D.d, "p0": D.p0}
    return [dist, [{"p": S.p, "eps": S.eps} for S in sets], adversary]


CORNERS = [
    (BernoulliFeature(alpha, d, p0), [Linf(a), L1(b)], adversary)
    for alpha, d, p0 in ((2.0, 100, 0.9), (0.1, 1, 0.5), (10.0, 10**6, 0.9999), (10.0, 1, 0.5))
    for a, b in ((0, 0), (0.4, 2), (1, 1), (0, 2), (2 * alpha / d**0.5, 2), (1e6, 1e6))
    for adversary in ADVERSARIES
]


@node
def test_values_in_node_are_those_of_game_value():
    games = [*settings(210, seed=0), *CORNERS]
    want = [game_value(*game).value for game in games]
    got = numbers(in_node("given.map((g) => game.gameValue(...g).value)", [as_json(*game) for game in games]))
    # The page runs the same search on the same numbers, so that nothing but rounding of exp and log differs.
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-9)
    assert 0.2 < np.mean(np.array(want) < 0.5) < 0.8, "settings that decide nothing"


@node
def test_normal_distribution_function_in_node():
    x = np.concatenate([np.linspace(-37, 37, 1481), [-3, 3, 0, -inf, inf, -1e300, 1e300]])
    np.testing.assert_allclose(numbers(in_node("given.map(game.ndtr)", x.tolist())), ndtr(x), rtol=1e-12, atol=0)


@node
def test_the_geometric_criterion_in_node():
    games = [*settings(60, seed=1), *CORNERS]
    got = in_node("given.map((g) => game.exclusive(...g))", [as_json(*game) for game in games])
    assert got == [exclusive(*game) for game in games]


@node
def test_regions_in_node_are_the_classifier_and_leave_room_for_it():
    xs = np.linspace(-3, 3, 41).tolist()
    games = [*settings(30, seed=2), (BernoulliFeature(4.0, 1, 0.5), [L1(6.0), L1(0.0)], "average")]
    drawn = in_node(
        "given.games.map((g) => given.xs.map(game.regions(g[0].d, g[1], g[2], game.gameValue(...g))))",
        {"games": [as_json(*game) for game in games], "xs": xs},
    )
    for (D, sets, adversary), points in zip(games, drawn, strict=True):
        t = classifier(D, sets, game_value(D, sets, adversary))
        high, low = (numbers(point[key] for point in points) for key in ("high", "low"))
        np.testing.assert_allclose(high, [t(x) for x in xs], rtol=1e-6, atol=1e-6)
        assert np.all(low <= high + 1e-6)


def test_the_page_needs_nothing_else():
    """It works from a file without a network: no address is fetched, and its one script lies beside it."""
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,", "game.js"]
    assert not re.search(r"https?:|@import|url\((?!#)|fetch\(|XMLHttpRequest|\bimport\b", text)


# ---- in Chromium


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    """Opens the page in headless Chromium, at a size and a link, and ends every browser afterwards."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="there is no selenium: pip install '.[browser]'")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("there is no Chromium with its driver: apt-get install chromium chromium-driver")
    opened = []

    def page(link: str = "", width: int = 1200, height: int = 900, phone: bool = False):
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={width},{height}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2.0}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        opened.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)))
        opened[-1].get(f"{PAGE.as_uri()}{link}")
        return opened[-1]

    yield page
    for browser in opened:
        browser.quit()


def shown(browser) -> tuple[dict, dict]:
    """The settings and the values that the page shows, once it has drawn what it was asked for."""
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    )
    setting = {name: float(browser.find_element("id", f"{name}-number").get_attribute("value")) for name in NAMES}
    values = {name: float(browser.find_element("id", name).text) for name in ADVERSARIES}
    return setting, values


def holds(browser) -> dict:
    """The settings shown, after asserting that the values shown are exact for them."""
    setting, values = shown(browser)
    D = BernoulliFeature(setting["alpha"], int(setting["d"]), setting["p0"])
    for name, value in values.items():
        assert abs(value - game_value(D, [Linf(setting["linf"]), L1(setting["l1"])], name).value) <= 1e-6, setting
    assert not browser.get_log("browser")
    return setting


@pytest.mark.slow
def test_sliders_move_the_values(open_page):
    """By the mouse, all over each slider, and by the keys: the values are game_value's at the settings shown."""
    from selenium.webdriver import ActionChains, Keys

    browser = open_page()
    before = holds(browser)
    assert before == {"alpha": 2, "p0": 0.9, "d": 100, "linf": 0.2, "l1": 2}
    rng = np.random.default_rng(0)
    for name in NAMES:
        slider = browser.find_element("id", name)
        for at in (-0.49, *rng.uniform(-0.45, 0.45, 3), 0.49):  # of its width, from the middle
            offset = int(at * slider.size["width"])
            ActionChains(browser).move_to_element_with_offset(slider, offset, 0).click().perform()
            after = holds(browser)
            assert [key for key in NAMES if after[key] != before[key]] == [name]
            before = after
        slider.send_keys(Keys.PAGE_DOWN, Keys.ARROW_DOWN)
        lower = holds(browser)[name]
        assert lower < before[name]
        slider.send_keys(Keys.ARROW_RIGHT)
        before = holds(browser)
        assert before[name] > lower
        assert slider.get_attribute("aria-valuetext") == browser.find_element("id", f"{name}-number").get_attribute(
            "value"
        )


@pytest.mark.slow
def test_typed_numbers_and_presets(open_page):
    browser = open_page()

    def type_into(name, text):
        field = browser.find_element("id", f"{name}-number")
        browser.execute_script("arguments[0].select()", field)
        field.send_keys(text)

    for name, text in (("l1", "3"), ("d", "200"), ("p0", "0.977"), ("linf", "0.2121")):
        type_into(name, text)
    assert holds(browser) == {"alpha": 2, "p0": 0.977, "d": 200, "linf": 0.2121, "l1": 3}
    type_into("alpha", "-1")  # is refused, and what was there stays
    assert "alpha=2&" in browser.current_url
    browser.find_element("id", "theorem").click()
    assert shown(browser)[1] == {"average": 0.5, "union": 0.5, "affine": 0.5}
    browser.find_element("id", "start").click()
    assert shown(browser)[1]["union"] == 0.22887
    panel = browser.find_element("css selector", "#panel-union svg").get_attribute("innerHTML")
    type_into("linf", "0.3")
    holds(browser)
    assert browser.find_element("css selector", "#panel-union svg").get_attribute("innerHTML") != panel


@pytest.mark.slow
def test_a_click_on_the_phase_diagram_sets_both_radii(open_page):
    from selenium.webdriver import ActionChains

    browser = open_page(height=2400)
    diagram = browser.find_element("css selector", "#phase svg")
    regions = diagram.get_attribute("innerHTML")
    ActionChains(browser).move_to_element_with_offset(diagram, -60, 40).click().perform()
    setting = holds(browser)
    assert setting["linf"] < 0.2 and setting["l1"] < 2
    browser.execute_script("change({d: 1000})")
    holds(browser)
    assert browser.find_element("css selector", "#phase svg").get_attribute("innerHTML") != regions


@pytest.mark.slow
def test_a_link_restores_the_state_and_a_wrong_one_is_ignored(open_page):
    first = open_page()
    first.find_element("id", "l1").send_keys(*["\ue014"] * 7)  # the right arrow
    first.find_element("id", "p0").send_keys("\ue00f")  # page down
    setting = holds(first)
    link = first.current_url.partition("#")[2]
    second = open_page(f"#{link}")
    assert holds(second) == setting and shown(second) == shown(first)
    second.execute_script("location.hash = 'alpha=NaN&d=1.5&p0=2&linf=-1&l1=&x=<script>'")
    time.sleep(0.2)
    assert holds(second) == {"alpha": 2, "p0": 0.9, "d": 100, "linf": 0.2, "l1": 2}


@pytest.mark.slow
def test_on_a_phone(open_page):
    browser = open_page(width=390, height=844, phone=True)
    holds(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    touched = browser.find_elements("css selector", "input, button")
    assert len(touched) == 13 and all(one.size["height"] >= 36 for one in touched)
    for one in browser.find_elements("css selector", "input"):  # each has a name for those who hear the page
        assert one.accessible_name
