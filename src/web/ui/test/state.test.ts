import assert from "node:assert/strict";
import { test } from "node:test";
import { Liveness, STILL_MS } from "../src/liveness";
import { CAP_MS, FIRST_MS, fullPauseMs, pauseMs } from "../src/retry";
import { judge, type Facts } from "../src/state";
import type { FeedState } from "../src/wire";

const facts = (more: Partial<Facts>): Facts => ({
  link: "up", verdict: "moving", held: false, stands: false, health: { state: "live", sinceUtcUs: 0, code: "" }, ...more,
});
const says = (state: FeedState) => ({ state, sinceUtcUs: 0, code: "" });

test("live is said only of pictures that arrive and change", () => {
  assert.equal(judge(facts({})), "live");
  assert.equal(judge(facts({ verdict: "none" })), "connecting");
  assert.equal(judge(facts({ verdict: "stalled" })), "connecting");
  assert.equal(judge(facts({ verdict: "still" })), "still");
});

test("an open connection alone proves nothing, and neither do pictures without one", () => {
  assert.equal(judge(facts({ link: "up", verdict: "none" })), "connecting");
  assert.equal(judge(facts({ link: "joining" })), "connecting");
  assert.equal(judge(facts({ link: "unreachable" })), "offline");
  assert.equal(judge(facts({ link: "full" })), "full");
});

test("the box's own word on a feed stands over moving pictures", () => {
  assert.equal(judge(facts({ health: says("no_signal") })), "no_signal");
  assert.equal(judge(facts({ health: says("paused") })), "paused");
  assert.equal(judge(facts({ health: says("connecting") })), "connecting");
});

test("pictures that the box doubts are not live", () => {
  assert.equal(judge(facts({ health: says("suspect") })), "suspect");
  assert.equal(judge(facts({ health: says("suspect"), verdict: "still" })), "suspect");
  assert.equal(judge(facts({ health: says("suspect"), verdict: "stalled" })), "connecting");
});

test("a resting feed is on its way to who opens it, and no error", () => {
  assert.equal(judge(facts({ health: says("resting"), verdict: "none" })), "connecting");
  assert.equal(judge(facts({ health: says("resting"), link: "joining", verdict: "none" })), "connecting");
  assert.equal(judge(facts({ health: says("resting"), verdict: "stalled" })), "connecting");
});

test("a line that says it stands may stand still", () => {
  assert.equal(judge(facts({ verdict: "still", stands: true })), "live");
});

test("the viewer's own pause comes first", () => {
  assert.equal(judge(facts({ held: true, link: "unreachable" })), "held");
});

test("pictures that repeat without change become still, and moving at the next change", () => {
  const live = new Liveness();
  assert.equal(live.verdict(0), "none");
  for (let t = 0; t <= STILL_MS + 100; t += 100) {
    live.frame(t);
    live.compared(t, false);
  }
  assert.equal(live.verdict(STILL_MS + 100), "still");
  live.compared(STILL_MS + 200, true);
  assert.equal(live.verdict(STILL_MS + 200), "moving");
});

test("pictures that stop coming are stalled within two seconds", () => {
  const live = new Liveness();
  live.frame(0);
  assert.equal(live.verdict(1500), "moving");
  assert.equal(live.verdict(1600), "stalled");
});

test("pauses grow to a cap and are spread", () => {
  assert.equal(pauseMs(1, 0), FIRST_MS / 2);
  assert.ok(pauseMs(1, 0.999) < FIRST_MS);
  assert.ok(pauseMs(4, 0.5) > pauseMs(3, 0.5));
  assert.equal(pauseMs(1000, 0), CAP_MS / 2);
});

test("a full house is asked again when it said, spread, and within bounds", () => {
  assert.equal(fullPauseMs("20", 0, 0), 20_000);
  assert.equal(fullPauseMs("20", 0, 1), 24_000);
  assert.equal(fullPauseMs("Thu, 01 Jan 1970 00:00:30 GMT", 10_000, 0), 20_000);
  assert.equal(fullPauseMs(null, 0, 0), 10_000);
  assert.equal(fullPauseMs("soon", 0, 0), 10_000);
  assert.equal(fullPauseMs("0", 0, 0), 1000);
  assert.equal(fullPauseMs("86400", 0, 0), 120_000);
});
