// The judges are judged: they find what they are there to find.

import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeFigures, judgeStrip, tickZero } from "./support/exact.mjs";

const T0 = 1_700_000_000_000_000;
const at = (ms) => T0 + ms * 1000;
const sample = (value, taken, received) => ({ name: "tick", value, takenUtcUs: at(taken), receivedAt: received });
const moment = (captured, presented, taken) => ({
  capturedUtcUs: at(captured), presentedAt: presented, tags: taken === null ? {} : { tick: { takenUtcUs: at(taken) } },
});

test("a frame with the newest sample before it is right", () => {
  const samples = [sample(1, 0, 20), sample(2, 100, 120)];
  const moments = [moment(99, 150, 0), moment(100, 160, 100), moment(133, 190, 100)];
  assert.deepEqual(judgeFigures(moments, samples), { frames: 3, missed: 0, longest: 0, early: 0, wrong: 0, late: {} });
});

test("a late sample is a miss, for as many frames as it was late", () => {
  const samples = [sample(1, 0, 20), sample(2, 100, 220)];
  const moments = [moment(110, 170, 0), moment(143, 203, 0), moment(176, 236, 100)];
  assert.deepEqual(judgeFigures(moments, samples), { frames: 3, missed: 2, longest: 2, early: 0, wrong: 0, late: { tick: 2 } });
});

test("a sample from the future, and one ignored, are bugs", () => {
  const samples = [sample(1, 0, 20), sample(2, 100, 120)];
  assert.equal(judgeFigures([moment(99, 150, 100)], samples).early, 1);
  assert.equal(judgeFigures([moment(110, 150, 0)], samples).wrong, 1);
});

test("tick zero is found from samples, through the wrap of 16 bits", () => {
  const zero = at(-65_530 * 40 + 7);
  const samples = [];
  for (let ms = 0; ms < 2000; ms += 93) {
    samples.push({ value: Math.floor((at(ms) - zero) / 40_000) % 65_536, takenUtcUs: at(ms) });
  }
  assert.ok(samples.some((s) => s.value < 100) && samples.some((s) => s.value > 65_000));
  assert.ok(Math.abs(tickZero(samples) - zero) < 8000);
  samples.push({ value: samples[0].value, takenUtcUs: samples[0].takenUtcUs + 130_000 });
  assert.ok(Math.abs(tickZero(samples) - zero) < 8000, "one wrong sample must not decide");
});

test("a strip one tick off agrees, two are a miss, an unreadable one is neither", () => {
  const frame = (ms, tick) => ({ capturedUtcUs: at(ms), tick });
  const frames = [frame(10, 0), frame(50, 2), frame(90, 4), frame(130, null)];
  assert.deepEqual(judgeStrip(frames, T0), { frames: 4, missed: 1, worst: 2, unread: 1, exact: 1 });
});
