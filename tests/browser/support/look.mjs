// Looking at the page: open it on a stage, wait for what it says, check it
// with axe, take its picture.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { watchErrors } from "./browsers.mjs";

const OUT = fileURLToPath(new URL("../out/", import.meta.url));
const PUPPET = readFileSync(new URL("./puppet.js", import.meta.url), "utf8");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };

/** Opens the page on `stage` with a puppet in place of the network. */
export async function openPuppet(browser, stage, { scene = {}, size = "desktop", query = "" } = {}) {
  const page = await browser.newPage();
  page.errors = watchErrors(page);
  await page.setViewport(SIZES[size] ?? size);
  await page.evaluateOnNewDocument(`window.scene = ${JSON.stringify(scene)};\n${PUPPET}`);
  await page.goto(stage.url + query);
  return page;
}

/** Waits until `floorcast.stats()` has these values. */
export async function until(page, wanted, timeout = 15_000) {
  const holds = (w) => Object.entries(w).every(([key, value]) => floorcast.stats()[key] === value);
  try {
    await page.waitForFunction(holds, { timeout, polling: 50 }, wanted);
  } catch {
    const stats = await page.evaluate(() => floorcast.stats());
    assert.fail(`waited ${timeout} ms for ${JSON.stringify(wanted)}; it is ${JSON.stringify(stats)}`);
  }
}

/** Waits until `check` holds in the page; fails with `what`. */
export async function untilTrue(page, what, check, ...args) {
  try {
    await page.waitForFunction(check, { timeout: 10_000, polling: 50 }, ...args);
  } catch {
    assert.fail(`waited 10 s for: ${what}`);
  }
}

/** No violation of WCAG 2.2 A and AA or of axe's best practices. */
export async function checkAccessible(page, where) {
  // By hand: the page's policy rightly refuses injected script elements.
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    // What is fading has a colour that nobody reads: it is looked at before or after.
    const fading = () => document.getAnimations().filter((one) => one instanceof CSSTransition);
    let violations = [];
    for (let turn = 0, faded = true; faded && turn < 5; turn++) {
      await Promise.allSettled(fading().map((one) => one.finished));
      faded = false;
      const note = () => { faded = true; };
      document.addEventListener("transitionrun", note);
      ({ violations } = await axe.run(document, { resultTypes: ["violations"] }));
      document.removeEventListener("transitionrun", note);
    }
    return violations.map((v) => ({
      rule: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`),
    }));
  });
  assert.deepEqual(violations, [], `axe: ${where}`);
}

/** Nothing wider than the window, and nothing cut off by it. */
export async function checkWidth(page, where) {
  const wide = await page.evaluate(() => {
    const limit = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > limit) return [`page ${document.documentElement.scrollWidth} > ${limit}`];
    const visible = [...document.querySelectorAll("button, p, h1, li, summary, canvas")];
    return visible
      .filter((e) => e.offsetParent && !e.closest(".unseen") && !e.classList.contains("unseen"))
      .filter((e) => e.getBoundingClientRect().right > limit + 0.5)
      .map((e) => `${e.tagName} ${e.id || e.className}`);
  });
  assert.deepEqual(wide, [], `too wide: ${where}`);
}

export async function shoot(page, name) {
  mkdirSync(OUT, { recursive: true });
  await page.screenshot({ path: `${OUT}${name}.png` });
}

/** Visits both widths, themes and languages: accessible, fitting, photographed. */
export async function checkEverywhere(page, name, { shots = true } = {}) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewport(viewport);
    for (const theme of ["dark", "light"]) {
      await page.emulateMediaFeatures([
        { name: "prefers-color-scheme", value: theme },
        { name: "prefers-reduced-motion", value: "reduce" }, // nothing half faded in a picture
      ]);
      for (const lang of ["en", "zh"]) {
        await page.evaluate((want) => {
          if (!document.documentElement.lang.startsWith(want)) document.getElementById("language").click();
        }, lang);
        const where = `${name}-${size}-${theme}-${lang}`;
        await checkAccessible(page, where);
        await checkWidth(page, where);
        if (shots) await shoot(page, where);
      }
    }
  }
  assert.deepEqual(page.errors, [], name);
}
