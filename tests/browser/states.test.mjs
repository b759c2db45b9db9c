// Every state of the page, in both themes, both languages and both widths:
// it says what is so, axe finds nothing, nothing is too wide. The pictures
// are left in out/ to be looked at.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "./support/browsers.mjs";
import { checkAccessible, checkEverywhere, checkWidth, openPuppet, until, untilTrue } from "./support/look.mjs";
import { openStage, studio } from "./support/stage.mjs";

let browser;
before(async () => (browser = await chromium()));
after(() => browser?.close());

async function onStage(scene, visit, options = {}) {
  const stage = await openStage(scene);
  const page = await openPuppet(browser, stage, options);
  try {
    await visit(page, stage);
    assert.deepEqual(page.errors, []);
  } finally {
    await page.close();
    await stage.close();
  }
}

const text = (page, id) => page.$eval(`#${id}`, (e) => e.textContent);
const scene = (page, more) => page.evaluate((m) => Object.assign(window.scene, m), more);
const figure = (page, name) =>
  page.evaluate((n) => {
    const item = [...document.querySelectorAll(".figure")].find((f) => f.querySelector(".name").textContent === n);
    return {
      value: item.querySelector(".digits").textContent,
      note: item.querySelector(".note").textContent,
      quality: item.dataset.quality,
      warning: item.dataset.warning,
    };
  }, name);

test("live: badge, latency, figures and trends", () =>
  onStage({}, async (page) => {
    await until(page, { state: "live" });
    assert.equal(await text(page, "badge-word"), "LIVE");
    await untilTrue(page, "a latency", () => /^\d+ ms behind$/.test(document.getElementById("latency").textContent));
    assert.match((await figure(page, "Liquid temperature")).value, /^6\d\.\d$/);
    assert.equal((await figure(page, "Lot")).value, "L2411-0387");
    await checkEverywhere(page, "live");
  }));

test("connecting: no picture yet is not live, though the connection is open", () =>
  onStage({}, async (page) => {
    await untilTrue(page, "an open session", () => floorcast.stats().messages > 10);
    await until(page, { state: "connecting" });
    await checkEverywhere(page, "connecting");
  }, { scene: { picture: "none" } }));

test("still: pictures that arrive without change are not called live", () =>
  onStage({}, async (page) => {
    await until(page, { state: "live" });
    await until(page, { state: "still" }, 25_000);
    await checkEverywhere(page, "still");
    await scene(page, { picture: "moving" });
    await until(page, { state: "live" });
  }, { scene: { picture: "still" } }));

test("no signal: the slate says why, and the figures go on", () =>
  onStage({}, async (page) => {
    await until(page, { state: "live" });
    await scene(page, { state: "no_signal", code: "unplugged", picture: "none" });
    await until(page, { state: "no_signal" });
    assert.match(await text(page, "slate-note"), /^The camera is disconnected · since \d\d:\d\d:\d\d$/);
    const made = (await figure(page, "Filled")).value;
    await untilTrue(page, "figures going on", (old) => {
      const item = [...document.querySelectorAll(".figure")].find((f) => f.querySelector(".name").textContent === "Filled");
      return item.querySelector(".digits").textContent !== old;
    }, made);
    await checkEverywhere(page, "no-signal");
  }));

test("paused by the site", () =>
  onStage({}, async (page) => {
    await scene(page, { state: "paused", code: "privacy" });
    await until(page, { state: "paused" });
    await checkEverywhere(page, "paused");
  }));

test("in doubt: the picture stays to be seen, with what is doubtful about it", () =>
  onStage({}, async (page) => {
    await until(page, { state: "live" });
    await scene(page, { state: "suspect", code: "dark" });
    await until(page, { state: "suspect" });
    assert.match(await text(page, "slate-note"), /black: covered, or no light/);
    await checkEverywhere(page, "suspect");
  }));

test("paused by the viewer, and back to live by the same key", () =>
  onStage({}, async (page) => {
    await until(page, { state: "live" });
    await page.keyboard.press(" ");
    await until(page, { state: "held" });
    await checkEverywhere(page, "held");
    await page.keyboard.press(" ");
    await until(page, { state: "live" });
  }));

test("offline: the box is gone, the page says when it was last live, and comes back", () =>
  onStage({}, async (page, stage) => {
    await until(page, { state: "live" });
    stage.down = true;
    await page.evaluate(() => window.puppet.become("failed"));
    await until(page, { state: "offline" });
    assert.match(await text(page, "slate-note"), /last live \d\d:\d\d:\d\d/);
    page.errors.length = 0; // the browser logs the refused requests
    await checkEverywhere(page, "offline").catch((error) => {
      if (!/Failed to load resource/.test(error.message)) throw error;
    });
    stage.down = false;
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await until(page, { state: "live" });
    assert.ok((await page.evaluate(() => floorcast.stats().sessions)) >= 2);
    page.errors.length = 0;
  }));

test("full: the viewer limit has its own state, and lets in when there is room", () =>
  onStage({ whep: 503, retryAfter: "1" }, async (page, stage) => {
    await until(page, { state: "full" });
    page.errors.length = 0;
    await checkAccessible(page, "full");
    stage.retryAfter = "60";
    await untilTrue(page, "the next try", () => /\d/.test(document.getElementById("slate-note").textContent));
    await checkEverywhere(page, "full").catch((error) => {
      if (!/Failed to load resource/.test(error.message)) throw error;
    });
    stage.whep = 201;
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await until(page, { state: "live" });
    page.errors.length = 0;
  }));

test("figures stale: the picture is live, the figures are grey with their age", () =>
  onStage({}, async (page) => {
    await until(page, { state: "live", figuresStale: false });
    await scene(page, { quality: "stale" });
    await untilTrue(page, "stale figures", () => {
      const all = [...document.querySelectorAll(".figure[data-quality=stale]")];
      return all.length >= 5;
    });
    assert.match((await figure(page, "Speed")).note, /^stale · \d+(\.\d)? s ago$/);
    await until(page, { state: "live", figuresStale: true });
    await untilTrue(page, "the word for it", () => !document.getElementById("figures-stale").hidden);
    await checkEverywhere(page, "stale");
  }));

test("bad and warned: a dash with its reason on touch, a limit named beside its figure", () =>
  onStage({}, async (page) => {
    await scene(page, { warm: true });
    await untilTrue(page, "a warning", () => document.querySelector(".figure[data-warning=high]"));
    assert.equal((await figure(page, "Liquid temperature")).note, "above 68.0");
    await checkEverywhere(page, "warned");
    await page.evaluate(() => document.documentElement.lang.startsWith("en") || document.getElementById("language").click());
    await scene(page, { quality: "bad" });
    await untilTrue(page, "a bad figure", () => document.querySelector(".figure[data-quality=bad]"));
    assert.deepEqual(await figure(page, "Liquid temperature"), { value: "–", note: "", quality: "bad", warning: "" });
    await page.click(".figure[data-quality=bad] .why");
    await untilTrue(page, "the reason", () => document.querySelector(".explained .note")?.textContent === "timeout after 300 ms");
    await checkEverywhere(page, "bad");
  }));

test("line stopped: the line's own word, shown calmly", () => {
  const described = studio();
  described.tags.push({ ...described.tags[5], id: 9, name: "line.state", figure: null });
  return onStage({ studio: described }, async (page) => {
    await until(page, { state: "live" });
    assert.equal(await page.$eval("#line-state", (e) => e.hidden), true);
    await scene(page, { line: "stopped" });
    await untilTrue(page, "the line's word", () => document.getElementById("line-state").textContent === "Line stopped");
    await checkEverywhere(page, "stopped");
  });
});

test("a browser that does not tell frames' times is named as such", async () => {
  await onStage({}, async (page) => {
    await until(page, { state: "live", join: "arrival" });
    assert.equal(await text(page, "approximate"), "Figures approximate");
    await checkEverywhere(page, "approximate");
  }, { scene: { rtp: false } });
  await onStage({}, (page) => until(page, { state: "live", join: "ssrc" }), { scene: { rtp: false, ssrc: true } });
  await onStage({}, (page) => until(page, { state: "live", join: "ssrc" }), { scene: { rvfc: false, ssrc: true } });
});

test("help and the folded figures are as accessible as the rest", () =>
  onStage({}, async (page) => {
    await until(page, { state: "live" });
    await page.click("#more summary");
    await untilTrue(page, "all figures", () => document.querySelectorAll("#more-rows td.digits")[6]?.textContent.includes("bar"));
    await checkEverywhere(page, "more");
    await page.keyboard.press("?");
    await untilTrue(page, "help", () => document.getElementById("help").open);
    await checkEverywhere(page, "help");
  }));

test("narrow and wide: nothing scrolls sideways, and the text does not grow with the picture", () =>
  onStage({ studio: studio({ feeds: 3 }) }, async (page) => {
    await until(page, { state: "live" });
    await page.setViewport({ width: 360, height: 640 });
    await checkWidth(page, "360");
    await page.setViewport({ width: 1440, height: 900 });
    const size = () => page.$eval(".figure .digits", (e) => getComputedStyle(e).fontSize);
    const width = () => page.$eval("#stage", (e) => e.getBoundingClientRect().width);
    const [text, picture] = [await size(), await width()];
    await page.setViewport({ width: 2560, height: 1440 });
    await checkWidth(page, "2560");
    assert.equal(await size(), text);
    assert.ok((await width()) > picture * 1.6);
  }));
