#!/usr/bin/env python3
"""Opens a report in headless Chromium, where there is one: its script must have run and found nothing to complain
about, no request may leave the page, and a screenshot must show something. Exit status 77: no Chromium here.

usage: report_browser_test.py KVPARETO_TUNE [--shots FOLDER]
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from sample_results import sample

SKIPPED = 77
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


def run_browser(browser, folder, *arguments):
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               f"--user-data-dir={folder}/profile", "--enable-logging=stderr", "--v=0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--shots", help="folder that screenshots are kept in")
    args = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no Chromium: skipped")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        results, page = pathlib.Path(folder, "results.json"), pathlib.Path(folder, "report.html")
        results.write_text(json.dumps(sample()), encoding="utf-8")
        subprocess.run([args.binary, "report", str(results), f"--out={page}"], check=True)
        loaded = run_browser(browser, folder, "--dump-dom", page.as_uri())
        failures = re.findall(r"CONSOLE.*", loaded.stderr)
        if '<div id="tip"' not in loaded.stdout:
            failures.append("the script has not run")
        if re.search(r'<g class="point[^>]*><title>', loaded.stdout):
            failures.append("points still have the browser's own tooltips")
        for scheme in ("light", "dark"):
            shot = pathlib.Path(args.shots or folder, f"report-{scheme}.png")
            flags = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
            run_browser(browser, folder, "--window-size=1280,6400", f"--screenshot={shot}", *flags, page.as_uri())
            if shot.stat().st_size < 20_000:
                failures.append(f"the {scheme} screenshot is empty")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
