"""`tidegate dev` starts, says so in one line, serves, and ends when it is asked to."""

import os
import signal
import urllib.request

from conftest import PATIENCE, start_dev, stop


def get(url: str):
    return urllib.request.urlopen(url, timeout=PATIENCE)


def test_a_page_is_served_with_its_validators(dev):
    with get(dev.edge) as page:
        assert page.status == 200
        assert page.headers.get_content_type() == "text/html"
        assert page.headers["ETag"].startswith('"')
        assert b"<html" in page.read().lower()


def test_it_says_that_it_is_ready_and_counts(dev):
    for path in ("/livez", "/readyz"):
        with get(dev.admin + path) as answer:
            assert answer.status == 200
    with get(dev.admin + "/metrics") as metrics:
        assert b"# TYPE " in metrics.read()


def test_it_prints_one_line_and_ends_when_it_is_asked_to(tmp_path):
    own = start_dev(tmp_path / "log")
    try:
        os.kill(own.process.pid, signal.SIGTERM)
        rest, _ = own.process.communicate(timeout=PATIENCE)
        assert own.process.returncode == 0, (tmp_path / "log").read_text()
        assert rest == ""
    finally:
        stop(own.process)


def test_a_folder_is_published_as_it_is(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    page = "<!doctype html><html><head><title>t</title></head><body>häus</body></html>\n"
    (site / "index.html").write_text(page)
    own = start_dev(tmp_path / "log", str(site))
    try:
        with get(own.edge + "/") as answer:
            assert answer.read() == page.encode()
    finally:
        stop(own.process)
