// What the server says, checked and turned into plain data.
//
// In: the text of data-channel messages and the JSON of /api/studio.
// Out: typed values, or null for what is not ours. Nothing is kept here.

export interface Label {
  zh: string;
  en: string;
}

/** A value as it was read; integers beyond 2^53 arrive as text. */
export type Value = number | string | boolean | null;

export type Mode = "exact" | "fast";

export type FeedState = "live" | "suspect" | "connecting" | "no_signal" | "paused" | "resting";

export interface Health {
  state: FeedState;
  /** Microseconds of UTC. */
  sinceUtcUs: number;
  /** Why; `text.ts` has the words. */
  code: string;
}

export interface Tag {
  id: number;
  name: string;
  label: Label;
  unit: string;
  decimals: number;
  range: [number, number] | null;
  warn: [number | null, number | null];
  staleAfterMs: number;
  /** Place among the large figures, or null. */
  figure: number | null;
}

export interface Feed {
  id: string;
  name: Label;
  width: number;
  height: number;
  fps: number;
  whep: string;
  state: Health;
}

export interface Studio {
  /** Another one whenever the description changes. */
  number: number;
  name: Label;
  brand: Label;
  accent: string;
  logo: string | null;
  clock: string;
  viewers: number;
  feeds: Feed[];
  tags: Tag[];
}

export interface WireSample {
  tag: number;
  value: Value;
  /** Microseconds of UTC. */
  takenUtcUs: number;
  good: boolean;
  /** The source knows it to be old: a stored message without a time of its own. */
  stale: boolean;
  reason: string;
}

export interface Message {
  seq: number;
  /** RTP time (90 kHz, 32 bits) and UTC of one same instant. */
  rtp: number;
  utcUs: number;
  /** The server's UTC when it sent this; absent from older servers. */
  sentUtcUs: number | null;
  clock: string;
  /** The number of the studio's description now; absent from older servers. */
  studio: number | null;
  state: Health;
  mode: Mode;
  delayMs: number;
  viewers: number;
  samples: WireSample[];
}

type Json = Record<string, unknown>;

const isObject = (v: unknown): v is Json => typeof v === "object" && v !== null;
const num = (v: unknown, or: number): number => (typeof v === "number" && isFinite(v) ? v : or);
const str = (v: unknown): string => (typeof v === "string" ? v : "");
const list = (v: unknown): unknown[] => (Array.isArray(v) ? v : []);
const numOrNull = (v: unknown): number | null => (typeof v === "number" && isFinite(v) ? v : null);

function label(v: unknown, or: string): Label {
  const o = isObject(v) ? v : {};
  const zh = str(o.zh);
  const en = str(o.en);
  return { zh: zh || en || or, en: en || zh || or };
}

function health(v: unknown): Health {
  const o = isObject(v) ? v : {};
  const known = ["live", "suspect", "connecting", "no_signal", "paused", "resting"].includes(str(o.state));
  return {
    state: known ? (o.state as FeedState) : "connecting",
    sinceUtcUs: num(o.since_utc_us, 0),
    code: str(o.code),
  };
}

/** One message of the telemetry channel; null if it is not version 1. */
export function parseMessage(text: string): Message | null {
  let o: unknown;
  try {
    o = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(o) || o.v !== 1 || typeof o.rtp !== "number" || typeof o.utc_us !== "number") {
    return null;
  }
  const samples: WireSample[] = [];
  for (const row of list(o.tags)) {
    if (!Array.isArray(row) || typeof row[0] !== "number" || typeof row[2] !== "number") continue;
    const good = row[4] === "good" || row[4] === "stale";
    const value = row[1] as unknown;
    const scalar = typeof value === "number" || typeof value === "string" || typeof value === "boolean";
    samples.push({
      tag: row[0],
      value: good && scalar ? value : null,
      takenUtcUs: row[2],
      good: good && scalar,
      stale: row[4] === "stale",
      reason: str(row[5]),
    });
  }
  return {
    seq: num(o.seq, 0),
    rtp: o.rtp >>> 0,
    utcUs: o.utc_us,
    sentUtcUs: numOrNull(o.sent_utc_us),
    clock: str(o.clock),
    studio: numOrNull(o.studio),
    state: health(o.state),
    mode: o.mode === "fast" ? "fast" : "exact",
    delayMs: num(o.delay_ms, 0),
    viewers: num(o.viewers, 0),
    samples,
  };
}

function tag(v: unknown): Tag | null {
  if (!isObject(v) || typeof v.id !== "number") return null;
  const name = str(v.name);
  const range = list(v.range).map(numOrNull);
  const warn = list(v.warn).map(numOrNull);
  const [lo, hi] = range;
  return {
    id: v.id,
    name,
    label: label(v.label, name),
    unit: str(v.unit),
    decimals: Math.min(9, Math.max(0, num(v.decimals, 0))),
    range: lo != null && hi != null && lo < hi ? [lo, hi] : null,
    warn: [warn[0] ?? null, warn[1] ?? null],
    staleAfterMs: num(v.stale_after_ms, 5000),
    figure: numOrNull(v.figure),
  };
}

function feed(v: unknown): Feed | null {
  if (!isObject(v) || typeof v.id !== "string") return null;
  return {
    id: v.id,
    name: label(v.name, v.id),
    width: num(v.width, 16),
    height: num(v.height, 9),
    fps: num(v.fps, 30),
    whep: str(v.whep) || `/whep/${v.id}`,
    state: health(v.state),
  };
}

/** The studio's description; throws if it is not version 1. */
export function parseStudio(o: unknown): Studio {
  if (!isObject(o) || o.version !== 1) throw new Error("studio: not version 1");
  const clock = isObject(o.clock) ? str(o.clock.state) : "";
  const accent = str(o.accent);
  const logo = str(o.logo);
  return {
    number: num(o.studio, 0),
    name: label(o.name, "Floorcast"),
    brand: label(o.brand, ""),
    accent: /^#[0-9a-f]{6}$/i.test(accent) ? accent : "#d98a1f",
    logo: logo.startsWith("/") ? logo : null,
    clock,
    viewers: num(o.viewers, 0),
    feeds: list(o.feeds).map(feed).filter((f): f is Feed => f !== null),
    tags: list(o.tags).map(tag).filter((t): t is Tag => t !== null),
  };
}
