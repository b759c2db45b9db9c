// What hands can do: keys, buttons, taps; and what a listener hears.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium, firefox } from "./support/browsers.mjs";
import { checkAccessible, openPuppet, until, untilTrue } from "./support/look.mjs";
import { openStage, studio } from "./support/stage.mjs";

let browser;
before(async () => (browser = await chromium()));
after(() => browser?.close());

async function onStage(visit, { scene, ...options } = {}) {
  const stage = await openStage(scene);
  const page = await openPuppet(options.browser ?? browser, stage, { query: "?lang=en", ...options });
  try {
    await until(page, { state: "live" });
    await visit(page, stage);
    assert.deepEqual(page.errors, []);
  } finally {
    await page.close();
    await stage.close();
  }
}

test("arrows change the camera and go round", () =>
  onStage(async (page, stage) => {
    for (const feed of ["cam1", "cam2", "cam0", "cam2"]) {
      await page.keyboard.press(feed === "cam2" && (await page.evaluate(() => floorcast.stats().feed)) === "cam0" ? "ArrowLeft" : "ArrowRight");
      await until(page, { feed, state: "live" });
    }
    assert.deepEqual(stage.offers.map((o) => o.feed), ["cam0", "cam1", "cam2", "cam0", "cam2"]);
    assert.equal(await page.evaluate(() => location.search), "?feed=cam2");
  }, { scene: { studio: studio({ feeds: 3 }) } }));

test("a shared link opens its own camera", () =>
  onStage(async (page, stage) => {
    await until(page, { feed: "cam1" });
    assert.equal(stage.offers[0].feed, "cam1");
  }, { query: "?lang=en&feed=cam1" }));

test("the mode is switched on the open channel, without a new session", () =>
  onStage(async (page, stage) => {
    assert.equal(stage.offers[0].mode, "exact");
    await page.keyboard.press("m");
    await until(page, { mode: "fast", sessions: 1 });
    assert.deepEqual(await page.evaluate(() => window.puppetChannel.sent), ['{"mode":"fast"}']);
    assert.equal(await page.$eval("#fast", (e) => e.getAttribute("aria-pressed")), "true");
    // Fast pictures do not wait for their figures: each shows its age.
    await untilTrue(page, "ages", () => /ago$/.test(document.querySelector(".figure .note").textContent));
    await page.reload();
    await until(page, { state: "live" });
    assert.equal(stage.offers.at(-1).mode, "fast");
  }));

test("f is full screen, and figures stay with the picture", () =>
  onStage(async (page) => {
    await page.keyboard.press("f");
    await untilTrue(page, "full screen", () => document.fullscreenElement?.id === "studio");
    assert.equal(await page.$eval(".figure", (e) => e.getBoundingClientRect().height > 0), true);
    await checkAccessible(page, "full screen");
    await page.keyboard.press("f");
    await untilTrue(page, "the page again", () => !document.fullscreenElement);
  }));

test("p asks for picture in picture", () =>
  onStage(async (page) => {
    await page.evaluate(() => {
      HTMLVideoElement.prototype.requestPictureInPicture = async () => (window.asked = true);
    });
    await page.keyboard.press("p");
    await untilTrue(page, "the request", () => window.asked);
  }));

test("? opens help, Escape closes it, and keys do nothing behind it", () =>
  onStage(async (page) => {
    await page.keyboard.press("?");
    await untilTrue(page, "help", () => document.getElementById("help").open);
    await page.keyboard.press("m");
    await page.keyboard.press("Escape");
    await untilTrue(page, "no help", () => !document.getElementById("help").open);
    await until(page, { mode: "exact" });
  }));

test("l changes the language, and the choice is kept", () =>
  onStage(async (page, stage) => {
    await page.keyboard.press("l");
    await untilTrue(page, "Chinese", () => document.getElementById("badge-word").textContent === "直播中");
    assert.equal(await page.$eval("html", (e) => e.lang), "zh-CN");
    await page.goto(stage.url);
    await untilTrue(page, "Chinese again", () => document.getElementById("badge-word").textContent === "直播中");
  }));

test("a listener hears states when they change and figures when asked, never a stream", () =>
  onStage(async (page) => {
    const live = await page.$$eval("[aria-live], [role=status], [role=alert], [role=log]", (all) =>
      all.map((e) => ({ id: e.id, figures: e.querySelectorAll(".digits").length })));
    assert.deepEqual(live, [{ id: "announce", figures: 0 }, { id: "said", figures: 0 }]);
    assert.equal(await page.$eval("#said", (e) => e.textContent), "");
    await untilTrue(page, "a latency", () => document.getElementById("latency").textContent);
    await page.keyboard.press("s");
    await untilTrue(page, "a summary", () => document.getElementById("said").textContent !== "");
    const said = await page.$eval("#said", (e) => e.textContent);
    assert.match(said, /^Filling line 3, Filler\. LIVE\. \d+ ms behind\. Speed: \d+ \/min\. Filled: [\d,]+\. .*Lot: L2411-0387/);
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.equal(await page.$eval("#said", (e) => e.textContent), said);
  }));

test("every control is reached by Tab, with its focus visible", () =>
  onStage(async (page) => {
    const seen = new Set();
    for (let i = 0; i < 24; i++) {
      await page.keyboard.press("Tab");
      const focus = await page.evaluate(() => {
        const e = document.activeElement;
        const style = getComputedStyle(e);
        const controls = getComputedStyle(document.getElementById("controls"));
        const shown = !e.closest("#controls") || controls.pointerEvents !== "none";
        return { id: e.id || e.className || e.tagName, outline: style.outlineStyle !== "none", shown };
      });
      if (focus.id === "BODY") break;
      assert.ok(focus.outline && focus.shown, `focus on ${focus.id} is not visible`);
      seen.add(focus.id);
    }
    for (const id of ["feed", "pause", "exact", "fast", "share", "pip", "fullscreen", "SUMMARY", "summary", "language", "help-open"]) {
      assert.ok([...seen].some((s) => s === id || s === "more-label" && id === "SUMMARY"), `${id} of ${[...seen]}`);
    }
  }));

test("share copies the link, or offers it where the clipboard is out of reach", () =>
  onStage(async (page, stage) => {
    await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    await page.click("#share");
    await untilTrue(page, "the link", () => document.querySelector("#toast input"));
    assert.equal(await page.$eval("#toast input", (e) => e.value), `${stage.url}?feed=cam0`);
    assert.equal(await page.evaluate(() => document.activeElement === document.querySelector("#toast input")), true);
    await checkAccessible(page, "share");
  }));

test("a figure's text is rewritten only when it changes", () =>
  onStage(async (page) => {
    const writes = await page.evaluate(() => new Promise((resolve) => {
      const seen = new Map();
      const observer = new MutationObserver((all) => {
        for (const m of all) {
          const text = m.target.textContent;
          seen.set(m.target, [...(seen.get(m.target) ?? []), text]);
        }
      });
      observer.observe(document.getElementById("figures"), { subtree: true, characterData: true, childList: true });
      setTimeout(() => resolve([...seen.values()]), 2000);
    }));
    assert.ok(writes.length > 0);
    for (const texts of writes) for (let i = 1; i < texts.length; i++) assert.notEqual(texts[i], texts[i - 1]);
  }));

test("Firefox shows the same page, and axe finds nothing there either", async () => {
  const fox = await firefox();
  try {
    await onStage(async (page) => {
      await checkAccessible(page, "Firefox");
      await page.keyboard.press(" ");
      await until(page, { state: "held" });
      await checkAccessible(page, "Firefox, held");
    }, { browser: fox });
  } finally {
    await fox.close();
  }
});
