// The two real browsers, as Debian ships them.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

function need(path, name) {
  if (!existsSync(path)) throw new Error(`${name} is missing at ${path}: apt-get install ${name}`);
  return path;
}

/** Chromium with a fresh profile; closing it removes the profile. */
export function chromium(options = {}) {
  return puppeteer.launch({
    executablePath: need(CHROMIUM, "chromium"),
    headless: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--autoplay-policy=no-user-gesture-required", "--force-color-profile=srgb", "--hide-scrollbars",
      // Under a loaded test machine a page must not be slowed as a background tab.
      "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
      "--disable-backgrounding-occluded-windows",
      ...(options.args ?? []),
    ],
  });
}

/** Firefox through WebDriver BiDi, with H.264 for WebRTC by libavcodec. */
export async function firefox(options = {}) {
  const profile = mkdtempSync(join(tmpdir(), "floorcast-firefox-"));
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: need(FIREFOX, "firefox-esr"),
    headless: true,
    userDataDir: profile,
    extraPrefsFirefox: {
      "media.webrtc.hw.h264.enabled": true,
      "gfx.blacklist.webrtc.hw.acceleration.h264": 1,
      "media.navigator.mediadatadecoder_h264_enabled": true,
      "media.autoplay.default": 0,
      "media.gmp-manager.updateEnabled": false,
      ...(options.prefs ?? {}),
    },
  });
  browser.once("disconnected", () => rmSync(profile, { recursive: true, force: true }));
  return browser;
}

/** Fails the test on what the page throws, logs as an error, or its policy refuses. */
export function watchErrors(page) {
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  return errors;
}
