// What a viewer waits: click to first frame, and capture to frame callback.
//
//   node benches/browser.mjs [--joins 30] [--seconds 20]
//
// Comes in: target/release/floorcast (or FLOORCAST), Chromium. Goes out: one
// line per figure with its target, and exit code 1 if one is missed. Needs
// the packages of tests/browser (scripts/test-page installs them).

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "../tests/browser/support/browsers.mjs";
import { openDaemon } from "../tests/browser/support/daemon.mjs";
import { until } from "../tests/browser/support/look.mjs";

const option = (name, or) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? or : Number(process.argv[at + 1]);
};
const JOINS = option("joins", 30);
const SECONDS = option("seconds", 20);
const release = fileURLToPath(new URL("../target/release/floorcast", import.meta.url));
const binary = process.env.FLOORCAST ?? (existsSync(release) ? release : undefined);

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const percentile = (values, p) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((sorted.length * p) / 100) - 1)];
};

let failed = false;
function report(what, value, most, unit = "ms") {
  const ok = value <= most;
  failed ||= !ok;
  console.log(`${what.padEnd(58)} ${value.toFixed(1).padStart(8)} ${unit}   at most ${most} ${unit}${ok ? "" : "   MISSED"}`);
}

/** The demo at another size of picture. */
const sized = (width, height) => (text) =>
  text.replace(/^width\s*=.*$/gm, `width = ${width}`).replace(/^height\s*=.*$/gm, `height = ${height}`);

async function onAir(options, visit) {
  const daemon = await openDaemon({ args: [], binary, ...options });
  const browser = await chromium();
  try {
    return await visit(daemon, browser);
  } finally {
    await browser.close();
    await daemon.close();
  }
}

/** From a click on an open page until the first frame that it brings, each in a session of its own. */
async function clicks(daemon, browser) {
  const page = await browser.newPage();
  await page.goto(`${daemon.url}api/studio`);
  const join = async () => {
    const clicked = performance.now();
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const { receiver } = pc.addTransceiver("video", { direction: "recvonly" });
    const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true });
    video.srcObject = new MediaStream([receiver.track]);
    document.body.replaceChildren(video);
    const shown = new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    const offer = await pc.createOffer();
    const described = pc.setLocalDescription(offer);
    const headers = { "content-type": "application/sdp" };
    const answer = await fetch("/whep", { method: "POST", headers, body: offer.sdp });
    const sdp = await answer.text();
    await described;
    await pc.setRemoteDescription({ type: "answer", sdp });
    await shown;
    const waited = performance.now() - clicked;
    await fetch(answer.headers.get("location"), { method: "DELETE" });
    pc.close();
    return waited;
  };
  const waits = [];
  for (let i = 0; i < JOINS + 1; i++) {
    waits.push(await page.evaluate(join));
    // Off the second, so that joins meet every phase of the key frames.
    await pause(317);
  }
  await page.close();
  return waits.slice(1); // the first one starts the browser's own processes
}

/** From the click on a link to the page until its first frame, each in a tab of its own. */
async function joins(daemon, browser) {
  const waits = [];
  for (let i = 0; i < JOINS + 1; i++) {
    const page = await browser.newPage();
    await page.setViewport({ width: 1280, height: 800 });
    await page.goto(daemon.url, { waitUntil: "domcontentloaded" });
    await page.waitForFunction(() => floorcast.stats().firstFrameAt > 0, { timeout: 20_000, polling: 20 });
    waits.push(await page.evaluate(() => floorcast.stats().firstFrameAt));
    await page.close();
    // Off the second, so that joins meet every phase of the key frames.
    await pause(317);
  }
  return waits.slice(1); // the first one starts the browser's own processes
}

/** Capture to callback of each frame, by the clock that both share. */
async function latencies(daemon, browser, mode) {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 800 });
  await page.goto(`${daemon.url}?mode=${mode}`);
  await until(page, { state: "live", mode }, 30_000);
  await pause(5000);
  const since = await page.evaluate(() => performance.now());
  await pause(SECONDS * 1000);
  const all = await page.evaluate((from) => {
    const moments = floorcast.moments().filter((m) => m.presentedAt >= from);
    return moments.map((m) => performance.timeOrigin + m.presentedAt - m.capturedUtcUs / 1000);
  }, since);
  await page.close();
  return all;
}

for (const [what, how] of [["click to first frame on an open page", clicks], ["link to first frame in a new tab", joins]]) {
  const waits = await onAir({}, how);
  report(`${what}, p95 of ${waits.length}`, percentile(waits, 95), 300);
  console.log(`  median ${percentile(waits, 50).toFixed(1)} ms, worst ${Math.max(...waits).toFixed(1)} ms`);
}

await onAir({ edit: sized(640, 360) }, async (daemon, browser) => {
  const fast = await latencies(daemon, browser, "fast");
  report(`capture to callback, fast, 640x360, p50 of ${fast.length} frames`, percentile(fast, 50), 25);
  report("capture to callback, fast, 640x360, p95", percentile(fast, 95), 50);
});
await onAir({}, async (daemon, browser) => {
  const exact = await latencies(daemon, browser, "exact");
  report(`capture to callback, exact, 1280x720, p50 of ${exact.length} frames`, percentile(exact, 50), 100);
  console.log(`  p95 ${percentile(exact, 95).toFixed(1)} ms`);
});
process.exitCode = failed ? 1 : 0;
