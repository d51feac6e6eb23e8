"""Uses the web service as a person does, in Chromium: `examples/fleet/run browser`.

The first argument is the address of the service. Workers do the jobs.
"""

import os
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ADDRESS = sys.argv[1]
DATA = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../data"))
PICTURES = ["hills.png", "hills.jpg", "hills.gif", "hills.webp", "hills.tiff"]
# A name that would run a script if the page did not escape it.
HOSTILE_NAME = "<img src=x onerror=document.title='owned'>.png"
WIDTHS = [400, 1280]
SECONDS = 60


def start():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ["--headless=new", "--disable-dev-shm-usage", "--disable-gpu"]:
        options.add_argument(argument)
    if os.geteuid() == 0:
        # Chromium refuses its sandbox to root. It shows nothing here but the service's own pages.
        options.add_argument("--no-sandbox")
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    return webdriver.Chrome(options=options, service=service)


def is_drawn(browser):
    """Whether each picture of the page has arrived and been decoded."""
    return browser.execute_script(
        "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )


def fits(browser):
    """Whether nothing is wider than the window."""
    return browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def check(condition, promise):
    print(("ok: " if condition else "FAILED: ") + promise)
    if not condition:
        sys.exit(1)


def save(browser, name):
    """Saves a screenshot, if there is a folder for them."""
    if len(sys.argv) > 2 and not browser.save_screenshot(os.path.join(sys.argv[2], name)):
        sys.exit(f"{name} can't be written into {sys.argv[2]}")


def names(browser, selector):
    return sorted(name.text for name in browser.find_elements(By.CSS_SELECTOR, selector))


def main():
    folder = tempfile.TemporaryDirectory()
    broken = os.path.join(folder.name, HOSTILE_NAME)
    with open(broken, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n and then nothing of the kind")

    browser = start()
    try:
        browser.get(ADDRESS)
        check(names(browser, "ul.pictures .name") == [], "at first there are no pictures")
        files = [os.path.join(DATA, name) for name in PICTURES] + [broken]
        browser.find_element(By.ID, "files").send_keys("\n".join(files))
        browser.find_element(By.CSS_SELECTOR, "form button").click()

        done = ["0 waiting", f"{len(PICTURES)} done", "1 dead letter"]
        # The page loads itself again while there is work.
        WebDriverWait(browser, SECONDS, ignored_exceptions=[Exception]).until(
            lambda browser: [count.text for count in browser.find_elements(By.CSS_SELECTOR, ".counts span")] == done
        )
        check(True, "the page comes to show that all pictures have their final state")
        check(
            names(browser, "ul.pictures .name") == sorted(PICTURES + [HOSTILE_NAME]),
            "it shows each file by its name",
        )
        check(browser.title == "Fleet", "a name is text, whatever is in it")
        check(
            len(browser.find_elements(By.CSS_SELECTOR, "ul.pictures img")) == len(PICTURES),
            "each picture has a thumbnail, and the file that is none has not",
        )
        WebDriverWait(browser, SECONDS).until(is_drawn)
        check(True, "the browser can draw the thumbnails")
        for width in WIDTHS:
            browser.set_window_size(width, 900)
            time.sleep(0.2)
            check(fits(browser), f"the list fits {width} pixels")
            save(browser, f"list-{width}.png")

        browser.find_element(By.XPATH, "//li[.//span[text()='dead letter']]/a").click()
        report = browser.find_element(By.CSS_SELECTOR, "pre").text
        check(report.startswith("This is no picture"), f"a dead letter has its report: {report}")
        for width in WIDTHS:
            browser.set_window_size(width, 900)
            time.sleep(0.2)
            check(fits(browser), f"the report fits {width} pixels")
            save(browser, f"report-{width}.png")
    finally:
        browser.quit()
        folder.cleanup()


main()
