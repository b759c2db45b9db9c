// Frame-exact, over a minute in exact mode with the tick polled at 10 Hz:
// rule 1, every tag of every frame; rule 2, the strip in the picture against
// the frame's capture time. At most 1 in 100 frames may miss, by at most one.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium, firefox, watchErrors } from "./support/browsers.mjs";
import { openDaemon } from "./support/daemon.mjs";
import { judgeFigures, judgeStrip, tickZero } from "./support/exact.mjs";
import { until } from "./support/look.mjs";

const SECONDS = Number(process.env.EXACT_SECONDS ?? 60);
/** Lets the delay find the telemetry's lag. */
const SETTLE_MS = 5000;
const STRIP = readFileSync(new URL("./support/strip.js", import.meta.url), "utf8");

/** Firefox takes no loopback candidates; the run has this address of its own. */
const HOST = process.env.LIVE_HOST ?? "10.77.0.1";

let daemon;
before(async () => (daemon = await openDaemon()));
after(() => daemon?.close());

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

for (const [name, launch] of Object.entries({ Chromium: chromium, Firefox: firefox })) {
  test(`${name} is frame-exact over ${SECONDS} s`, async (t) => {
    const browser = await launch();
    try {
      await minute(browser, t);
    } finally {
      await browser.close();
    }
  });
}

async function minute(browser, t) {
  const page = await browser.newPage();
  const errors = watchErrors(page);
  await page.setViewport({ width: 1440, height: 900 });
  await page.goto(`${daemon.url.replace("127.0.0.1", HOST)}?mode=exact`);
  await until(page, { state: "live", mode: "exact", join: "rtp" }, 30_000);
  await pause(SETTLE_MS);
  await page.evaluate(STRIP);
  const from = await page.evaluate(() => performance.now());
  await pause(SECONDS * 1000);
  const { moments, samples, strip, stats } = await page.evaluate((since) => ({
    moments: floorcast.moments().filter((m) => m.presentedAt >= since),
    samples: floorcast.samples(),
    strip: window.stripRead,
    stats: floorcast.stats(),
  }), from);
  assert.deepEqual(errors, []);

  const figures = judgeFigures(moments, samples);
  t.diagnostic(`figures: ${JSON.stringify(figures)}`);
  const byRtp = new Map(moments.map((m) => [m.rtpTime, m]));
  const read = strip.filter((s) => byRtp.has(s.rtp)).map((s) => ({ ...byRtp.get(s.rtp), tick: s.tick }));
  const ticks = samples.filter((s) => /tick/.test(s.name) && s.quality === "good");
  assert.ok(ticks.length > SECONDS * 8, `the tick came ${ticks.length} times: it is polled at 10 Hz`);
  const drawn = judgeStrip(read, tickZero(ticks));
  t.diagnostic(`strip: ${JSON.stringify(drawn)}`);
  t.diagnostic(`stats: ${JSON.stringify(stats)}`);

  assert.equal(stats.state, "live");
  assert.ok(moments.length > SECONDS * 20, `${moments.length} frames were presented in ${SECONDS} s`);
  assert.ok(read.length > moments.length * 0.98, `${read.length} of ${moments.length} strips were read`);
  assert.equal(figures.early, 0, "no frame shows a sample from its future");
  assert.equal(figures.wrong, 0, "no frame ignores a sample that was there");
  assert.ok(figures.missed <= figures.frames / 100, `${figures.missed} of ${figures.frames} frames missed a figure`);
  assert.ok(figures.longest <= 1, `a figure was ${figures.longest} frames late`);
  assert.ok(drawn.unread <= drawn.frames / 100, `${drawn.unread} strips could not be read`);
  assert.ok(drawn.missed <= drawn.frames / 100, `${drawn.missed} of ${drawn.frames} strips missed`);
  assert.ok(drawn.worst <= 2, `a strip was ${drawn.worst} ticks off`);
}
