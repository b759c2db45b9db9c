import assert from "node:assert/strict";
import { test } from "node:test";
import { contrast, legible } from "../src/colour";
import * as format from "../src/format";
import { Latency } from "../src/latency";
import { lineWord, pickLang, say } from "../src/text";
import { Trend } from "../src/trend";
import type { Tag } from "../src/wire";

const tag = (more: Partial<Tag>): Tag => ({
  id: 1, name: "t", label: { zh: "t", en: "t" }, unit: "", decimals: 1, range: null, warn: [null, null],
  staleAfterMs: 2000, figure: null, ...more,
});

test("decimals are fixed, so a figure's width does not jump", () => {
  assert.equal(format.value(64, tag({}), "en"), "64.0");
  assert.equal(format.value(64.25, tag({ decimals: 0 }), "zh"), "64");
  assert.equal(format.value(-0.04, tag({}), "en"), "0.0");
  assert.equal(format.value(-5, tag({}), "en"), "−5.0");
  assert.equal(format.value(1234567, tag({ decimals: 0 }), "en"), "1,234,567");
});

test("what is not a number is shown as it is, and nothing as a dash", () => {
  assert.equal(format.value("18446744073709551615", tag({}), "en"), "18446744073709551615");
  assert.equal(format.value(true, tag({}), "zh"), "是");
  assert.equal(format.value(null, tag({}), "en"), format.DASH);
});

test("the range reserves the width of its longer end", () => {
  assert.equal(format.width(tag({ range: [-10, 5], decimals: 0 }), "en"), 3);
  assert.equal(format.width(tag({ range: [0, 90] }), "en"), 3.5);
  assert.equal(format.width(tag({}), "en"), 0);
});

test("ages are short and never negative", () => {
  const ages = [-50, 800, 9_960, 99_000, 240_000, 7_200_000, 200_000_000];
  assert.deepEqual(ages.map((ms) => format.age(ms, "en")), ["0.0 s", "0.8 s", "10 s", "99 s", "4 min", "2 h", "2 d"]);
});

test("a limit warns beyond it, not at it", () => {
  const limited = tag({ warn: [2, 68] });
  assert.deepEqual([68, 68.1, 2, 1.9].map((v) => format.warning(v, limited)), [null, "high", null, "low"]);
  assert.equal(format.warning("99", limited), null);
});

test("latency is told by the server's clock, not the viewer's", () => {
  const latency = new Latency();
  const wrongBy = 3_600_000;
  latency.roundTrip(4);
  for (const way of [9, 2, 30]) latency.heard(1_000_000_000, 1_000_000 + wrongBy + way);
  latency.frame(1_000_000_000, 1_000_000 + wrongBy + 80);
  assert.equal(latency.ms(), 80);
});

test("a latency that cannot be known is not told", () => {
  const latency = new Latency();
  assert.equal(latency.ms(), null);
  latency.frame(1_000_000_000, 1_000_000 - 500);
  assert.equal(latency.ms(), null);
});

const T0 = 1_700_000_000_000_000;

test("a trend holds each value until the next: no slope is invented", () => {
  const trend = new Trend(1, 10_000_000);
  trend.add(T0, 10);
  trend.add(T0 + 3_000_000, 20);
  const now = T0 + 6_000_000;
  const span = trend.span(now);
  assert.deepEqual(span, { low: 10, high: 20 });
  const [path] = trend.paths(now, span!);
  const levels = new Set(path?.map(([, y]) => y));
  assert.deepEqual([...levels].sort(), [0, 1]);
  const rise = path!.filter(([x]) => Math.abs(x - (54 + 3) / 60) < 1e-9).map(([, y]) => y);
  assert.deepEqual(rise, [0, 1]);
});

test("a trend breaks where nothing held, and ends at a bad sample", () => {
  const trend = new Trend(1, 2_000_000);
  trend.add(T0, 10);
  trend.add(T0 + 10_000_000, 12);
  trend.add(T0 + 10_300_000, null);
  const now = T0 + 20_000_000;
  const paths = trend.paths(now, trend.span(now)!);
  assert.equal(paths.length, 2);
  const end = paths[1]!.at(-1)![0] * 60;
  assert.ok(end > 50 && end < 50.6, String(end));
});

test("a trend forgets what is older than a minute", () => {
  const trend = new Trend(1, 1_000_000);
  trend.add(T0, 1000);
  for (let s = 30; s < 100; s++) trend.add(T0 + s * 1_000_000, 5);
  assert.deepEqual(trend.span(T0 + 99_000_000), { low: 4.5, high: 5.5 });
});

test("noise of the last digit does not fill a trend's height", () => {
  const trend = new Trend(2, 1_000_000);
  trend.add(T0, 64.2);
  trend.add(T0 + 250_000, 64.3);
  const span = trend.span(T0 + 500_000)!;
  assert.ok(span.high - span.low >= 2);
  const count = new Trend(4, 1_000_000);
  count.add(T0, 1);
  assert.deepEqual(count.span(T0), { low: 0, high: 4 });
});

test("any accent becomes legible on both grounds", () => {
  for (const accent of ["#d98a1f", "#000000", "#ffffff", "#0000ff", "#ffff00", "#808080"]) {
    for (const ground of ["#12110f", "#f6f3ec"]) {
      assert.ok(contrast(legible(accent, ground), ground) >= 4.5, `${accent} on ${ground}`);
    }
  }
});

test("the viewer's choice of language comes first, then the browser's order", () => {
  assert.equal(pickLang("zh", ["en"]), "zh");
  assert.equal(pickLang(null, ["de", "zh-TW", "en"]), "zh");
  assert.equal(pickLang("tlh", ["de"]), "en");
});

test("a phrase is filled in order, and a line's unknown word is its own", () => {
  assert.equal(say("en", "span", 1, 2), "Last 60 s: 1 to 2");
  assert.equal(lineWord("zh", "Stopped"), "产线停机");
  assert.equal(lineWord("en", "tea break"), "tea break");
});
