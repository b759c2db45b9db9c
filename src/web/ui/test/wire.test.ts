import assert from "node:assert/strict";
import { test } from "node:test";
import { parseMessage, parseStudio } from "../src/wire";

const message = (more: object): string =>
  JSON.stringify({ v: 1, seq: 3, kind: "delta", rtp: 90, utc_us: 1000, mode: "fast", tags: [], ...more });

test("what is not a message of version 1 is not ours", () => {
  for (const text of ["", "{", "null", "[]", "7", '"x"', message({ v: 2 }), message({ rtp: "9" }), message({ utc_us: null })]) {
    assert.equal(parseMessage(text), null, text);
  }
});

test("a message carries values as they were read", () => {
  const tags = [
    [1, 12.5, 900, 50, "good", null],
    [2, "18446744073709551615", 901, 50, "good", null],
    [3, true, 902, 50, "good", null],
    [4, 7, 903, 50, "bad", "timeout"],
    [5, "A-1", 1, 900, "stale", "age unknown"],
  ];
  const parsed = parseMessage(message({ tags }));
  assert.deepEqual(parsed?.samples.map((s) => [s.tag, s.value, s.takenUtcUs, s.good, s.reason]), [
    [1, 12.5, 900, true, ""],
    [2, "18446744073709551615", 901, true, ""],
    [3, true, 902, true, ""],
    [4, null, 903, false, "timeout"],
    [5, "A-1", 1, true, "age unknown"],
  ]);
  assert.deepEqual(parsed?.samples.map((s) => s.stale), [false, false, false, false, true]);
  assert.equal(parsed?.mode, "fast");
});

test("malformed rows are left out and the others stay", () => {
  const tags = [null, 5, [], ["a", 1, 2], [1, {}, 900, 0, "good", null], [2, 4, 901, 0, "good", null]];
  const parsed = parseMessage(message({ tags }));
  assert.deepEqual(parsed?.samples.map((s) => [s.tag, s.value, s.good]), [[1, null, false], [2, 4, true]]);
});

test("an unknown feed state is not taken for live", () => {
  assert.equal(parseMessage(message({ state: { state: "superb" } }))?.state.state, "connecting");
});

test("a studio of another version is refused", () => {
  assert.throws(() => parseStudio({ version: 2 }));
  assert.throws(() => parseStudio(null));
});

test("a studio's gaps are filled: names from the other language, colour from ours", () => {
  const studio = parseStudio({
    version: 1, name: { zh: "灌装线" }, accent: "url(//evil)", logo: "https://evil/x.svg",
    feeds: [{ id: "cam0" }, null], tags: [{ id: 1, name: "a", range: [5, 1] }, { name: "no id" }],
  });
  assert.deepEqual(studio.name, { zh: "灌装线", en: "灌装线" });
  assert.equal(studio.accent, "#d98a1f");
  assert.equal(studio.logo, null);
  assert.equal(studio.feeds[0]?.whep, "/whep/cam0");
  assert.deepEqual([studio.tags.length, studio.tags[0]?.range, studio.tags[0]?.label.en], [1, null, "a"]);
});
