// The demo line on air, in both browsers: pictures that arrive and change,
// figures joined to them, and nothing for axe to find.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium, firefox, watchErrors } from "./support/browsers.mjs";
import { openDaemon } from "./support/daemon.mjs";
import { checkAccessible, checkWidth, shoot, SIZES, until, untilTrue } from "./support/look.mjs";

/** Firefox takes no loopback candidates; the run has this address of its own. */
const HOST = process.env.LIVE_HOST ?? "10.77.0.1";

let daemon;
before(async () => (daemon = await openDaemon({ args: [] })));
after(() => daemon?.close());

const address = () => daemon.url.replace("127.0.0.1", HOST);

async function visit(browser, url, look) {
  const page = await browser.newPage();
  const errors = watchErrors(page);
  await page.setViewport(SIZES.desktop);
  try {
    await page.goto(url);
    await until(page, { state: "live" }, 30_000);
    await look(page);
    assert.deepEqual(errors, []);
  } catch (error) {
    error.message += `\n${daemon.log()}`;
    throw error;
  } finally {
    await page.close();
  }
}

for (const [name, launch] of Object.entries({ Chromium: chromium, Firefox: firefox })) {
  test(`${name} plays the line: frames arrive, change, and carry their figures`, async () => {
    const browser = await launch();
    try {
      await visit(browser, address(), async (page) => {
        const before = await page.evaluate(() => floorcast.stats());
        await page.waitForFunction((n) => floorcast.stats().frames >= n + 150, { timeout: 20_000 }, before.frames);
        const seen = await page.evaluate(() => ({
          stats: floorcast.stats(),
          rtp: floorcast.moments().map((m) => m.rtpTime),
          tags: Object.keys(floorcast.moments().at(-1).tags).length,
        }));
        assert.equal(seen.stats.state, "live");
        assert.equal(seen.stats.join, "rtp");
        assert.ok(seen.tags >= 3, `${seen.tags} tags on a frame`);
        assert.equal(new Set(seen.rtp).size, seen.rtp.length, "each frame has an RTP time of its own");
        assert.ok(seen.stats.latencyMs > 0 && seen.stats.latencyMs < 2000, `latency ${seen.stats.latencyMs}`);
        await checkAccessible(page, name);
        await shoot(page, `demo-${name}`);
      });
    } finally {
      await browser.close();
    }
  });
}

test("the mode is switched live, and latency follows", async () => {
  const browser = await chromium();
  try {
    await visit(browser, daemon.url, async (page) => {
      await until(page, { mode: "exact" });
      await page.click("#fast");
      await until(page, { mode: "fast", delayMs: 0, sessions: 1 });
      await page.click("#exact");
      await until(page, { mode: "exact", sessions: 1 });
    });
  } finally {
    await browser.close();
  }
});

test("the page looks like a product at phone and desktop width", async () => {
  const browser = await chromium();
  try {
    for (const lang of ["en", "zh"]) {
      await visit(browser, `${daemon.url}?lang=${lang}`, async (page) => {
        await untilTrue(page, "all figures", () => !document.querySelector(".figure[data-quality=unknown]"));
        for (const [size, viewport] of Object.entries(SIZES)) {
          await page.setViewport(viewport);
          for (const theme of ["dark", "light"]) {
            await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
            await checkWidth(page, `${size} ${theme} ${lang}`);
            await checkAccessible(page, `${size} ${theme} ${lang}`);
            await shoot(page, `demo-${size}-${theme}-${lang}`);
          }
        }
      });
    }
  } finally {
    await browser.close();
  }
});

test("a viewer who leaves is let go at once", async () => {
  const browser = await chromium();
  try {
    const count = async () => (await (await fetch(new URL("/api/studio", daemon.url))).json()).viewers;
    await visit(browser, daemon.url, async () => assert.ok((await count()) >= 1));
    const deadline = Date.now() + 5000;
    while ((await count()) > 0) {
      assert.ok(Date.now() < deadline, "the viewer is still counted after 5 s");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    await browser.close();
  }
});
