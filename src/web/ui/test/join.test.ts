import assert from "node:assert/strict";
import { test } from "node:test";
import { Join } from "../src/join";
import type { Message, Tag, Value, WireSample } from "../src/wire";

const T0 = 1_700_000_000_000_000;

const tag = (id: number, name: string, staleAfterMs = 2000): Tag => ({
  id, name, label: { zh: name, en: name }, unit: "", decimals: 0, range: null, warn: [null, null], staleAfterMs, figure: 0,
});

const sample = (id: number, value: Value, ms: number, good = true): WireSample => ({
  tag: id, value: good ? value : null, takenUtcUs: T0 + ms * 1000, good, stale: false, reason: good ? "" : "timeout",
});

/** The server's RTP time at `ms`, close before its wrap. */
const rtpAt = (ms: number): number => (4_294_960_000 + ms * 90) >>> 0;

const message = (ms: number, ...samples: WireSample[]): Message => ({
  seq: 0, rtp: rtpAt(ms), utcUs: T0 + ms * 1000, sentUtcUs: null, clock: "locked", studio: 1,
  state: { state: "live", sinceUtcUs: 0, code: "" }, mode: "exact", delayMs: 0, viewers: 1, samples,
});

const shown = (join: Join, ms: number): unknown => join.frame(rtpAt(ms), 0)?.views[0]?.value;

test("a frame shows the newest sample taken at or before its capture", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(0, sample(1, 10, 0), sample(1, 11, 40), sample(1, 12, 80)), 0);
  assert.equal(shown(join, 39), 10);
  assert.equal(shown(join, 40), 11);
  assert.equal(shown(join, 79), 11);
  assert.equal(shown(join, 1000), 12);
});

test("a sample that comes late joins the frames after it, in its own order", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(100, sample(1, 12, 80)), 0);
  join.message(message(120, sample(1, 11, 40)), 5);
  assert.equal(shown(join, 60), 11);
  assert.equal(shown(join, 90), 12);
});

test("before a tag's first sample nothing is shown, not a guess", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(0, sample(1, 10, 50)), 0);
  assert.equal(join.frame(rtpAt(49), 0)?.views[0], null);
});

test("what the source calls old is stale from the start, with its value", () => {
  const join = new Join([tag(1, "lot", 1e9)]);
  join.message(message(0, { ...sample(1, "A-1", 0), stale: true }), 0);
  const view = join.frame(rtpAt(40), 0)?.views[0];
  assert.deepEqual([view?.value, view?.quality], ["A-1", "stale"]);
});

test("another description keeps what is known of the tags that stay, and only that", () => {
  const before = new Join([tag(1, "speed"), tag(2, "lot")]);
  before.message(message(0, sample(1, 10, 0), sample(2, 20, 0)), 0);
  const join = new Join([tag(3, "level"), tag(1, "speed")], undefined, before);
  const views = join.frame(rtpAt(40), 0)?.views;
  assert.deepEqual([views?.[0], views?.[1]?.value], [null, 10]);
  join.message(message(40, sample(2, 21, 40), sample(3, 30, 40)), 0);
  assert.deepEqual(join.frame(rtpAt(80), 0)?.views.map((view) => view?.value), [30, 10]);
});

test("a frame before the first message has no moment", () => {
  const join = new Join([tag(1, "speed")]);
  assert.equal(join.frame(rtpAt(0), 0), null);
  assert.equal(join.moments.length, 0);
});

test("capture time counts on through the wrap of RTP time", () => {
  const join = new Join([]);
  join.message(message(0), 0);
  assert.ok(rtpAt(200) < rtpAt(0));
  assert.equal(join.frame(rtpAt(200), 0)?.capturedUtcUs, T0 + 200_000);
  assert.equal(join.frame(rtpAt(-200), 0)?.capturedUtcUs, T0 - 200_000);
});

test("age is judged at the frame, and a stale value keeps its number", () => {
  const join = new Join([tag(1, "speed", 500)]);
  join.message(message(0, sample(1, 10, 0)), 0);
  assert.equal(join.frame(rtpAt(500), 0)?.views[0]?.quality, "good");
  const late = join.frame(rtpAt(501), 0)?.views[0];
  assert.deepEqual([late?.quality, late?.value], ["stale", 10]);
});

test("a bad sample has no value", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(0, sample(1, 10, 0), sample(1, 99, 40, false)), 0);
  const view = join.frame(rtpAt(50), 0)?.views[0];
  assert.deepEqual([view?.quality, view?.value, view?.reason], ["bad", null, "timeout"]);
});

test("a repeated sample is logged once", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(0, sample(1, 10, 0)), 1);
  join.message(message(40, sample(1, 10, 0), sample(1, 11, 40)), 2);
  assert.deepEqual(join.log.toArray().map((s) => [s.value, s.receivedAt]), [[10, 1], [11, 2]]);
});

test("samples of unknown tags are left out", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(0, sample(7, 10, 0)), 1);
  assert.equal(join.log.total, 0);
});

test("after the server's clock was set back, new samples count again", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(0, sample(1, 10, 0)), 0);
  const back = message(100, sample(1, 20, -59_900));
  back.utcUs -= 60_000_000;
  assert.equal(join.message(back, 1), true);
  assert.equal(shown(join, 110), 20);
});

test("without RTP time the newest samples stand for the frame", () => {
  const join = new Join([tag(1, "speed")]);
  join.message(message(0, sample(1, 10, 0), sample(1, 11, 40)), 0);
  const moment = join.frame(null, 0);
  assert.deepEqual([moment?.rtpTime, moment?.views[0]?.value], [null, 11]);
});

test("unchanged views are the same objects, so that nothing is drawn again", () => {
  const join = new Join([tag(1, "speed"), tag(2, "count")]);
  join.message(message(0, sample(1, 10, 0), sample(2, 1, 0)), 0);
  const first = join.frame(rtpAt(10), 0)?.views;
  assert.equal(join.frame(rtpAt(20), 0)?.views, first);
  join.message(message(40, sample(2, 2, 30)), 0);
  const next = join.frame(rtpAt(40), 0)?.views;
  assert.equal(next?.[0], first?.[0]);
  assert.notEqual(next?.[1], first?.[1]);
});

test("moments and samples are bounded: the oldest goes", () => {
  const join = new Join([tag(1, "speed")], 1500);
  for (let i = 0; i < 3000; i++) {
    join.message(message(i * 40, sample(1, i, i * 40)), i);
    join.frame(rtpAt(i * 40), i);
  }
  const moments = join.moments.toArray();
  assert.equal(moments.length, 2400);
  assert.equal(moments[0]?.presentedAt, 600);
  const samples = join.log.toArray();
  assert.deepEqual([samples.length, samples[0]?.value, samples[1499]?.value], [1500, 1500, 2999]);
});

test("a forgotten sample that is repeated is not taken for a new one", () => {
  const join = new Join([tag(1, "speed")]);
  for (let i = 0; i < 400; i++) join.message(message(i * 100, sample(1, i, i * 100)), i);
  const before = join.log.total;
  join.message(message(40_000, sample(1, 0, 0), sample(1, 1, 100)), 401);
  assert.equal(join.log.total, before);
});
