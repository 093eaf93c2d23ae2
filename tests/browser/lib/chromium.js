// Debian's Chromium, driven by Playwright.
import { existsSync } from "node:fs";

import { chromium } from "playwright-core";

const PLACES = [process.env.TIDEGATE_TEST_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser"];

// It runs as root in containers, without a GPU, and asks nobody but the server under test.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts a browser with an empty profile. */
export function startChromium() {
  const executablePath = PLACES.find((path) => path && existsSync(path));
  if (!executablePath) {
    throw new Error("there is no Chromium: install it, or set TIDEGATE_TEST_CHROMIUM to its path");
  }
  return chromium.launch({ executablePath, headless: true, args: FLAGS });
}

/** A page in a profile of its own, with what it complained of in `page.complaints`. */
export async function openPage(browser) {
  const page = await browser.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") {
      page.complaints.push(`${message.text()} ${message.location().url}`);
    }
  });
  return page;
}
