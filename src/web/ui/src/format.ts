// Numbers, ages and times as people read them. Pure but for cached formatters.

import type { Lang } from "./text";
import type { Tag, Value } from "./wire";

export const DASH = "–";

const formats = new Map<string, Intl.NumberFormat>();

export function number(value: number, decimals: number, lang: Lang): string {
  const key = `${lang}${decimals}`;
  let format = formats.get(key);
  if (!format) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    format = new Intl.NumberFormat(lang === "zh" ? "zh-CN" : "en", digits);
    formats.set(key, format);
  }
  const text = format.format(value);
  return /^-[0.,]*$/.test(text) ? text.slice(1) : text.replace("-", "−");
}

/** A tag's value; what has no value is a dash. */
export function value(v: Value, tag: Tag, lang: Lang): string {
  if (v === null) return DASH;
  if (typeof v === "number") return number(v, tag.decimals, lang);
  if (typeof v === "boolean") return lang === "zh" ? (v ? "是" : "否") : v ? "yes" : "no";
  return v;
}

/** Digits to reserve so that a figure's width never jumps, in `ch`. */
export function width(tag: Tag, lang: Lang): number {
  if (!tag.range) return 0;
  // Points and commas are about half a digit wide.
  const chars = (text: string) => text.length - 0.5 * (text.match(/[.,]/g)?.length ?? 0);
  return Math.max(...tag.range.map((end) => chars(number(end, tag.decimals, lang))));
}

/** How long ago: 0.8 s, 12 s, 3 min, 2 h. */
export function age(ms: number, lang: Lang): string {
  const s = Math.max(0, ms) / 1000;
  const zh = lang === "zh";
  if (s < 9.95) return `${s.toFixed(1)} ${zh ? "秒" : "s"}`;
  if (s < 99.5) return `${Math.round(s)} ${zh ? "秒" : "s"}`;
  if (s < 5400) return `${Math.round(s / 60)} ${zh ? "分钟" : "min"}`;
  return s < 129_600 ? `${Math.round(s / 3600)} ${zh ? "小时" : "h"}` : `${Math.round(s / 86_400)} ${zh ? "天" : "d"}`;
}

/** A short time is milliseconds to the nearest five, a long one tenths of a second. */
export function latency(ms: number, lang: Lang): string {
  if (ms < 995) return `${Math.round(ms / 5) * 5} ${lang === "zh" ? "毫秒" : "ms"}`;
  return `${(ms / 1000).toFixed(1)} ${lang === "zh" ? "秒" : "s"}`;
}

/** Clock time, with the date if it is not today's. */
export function clock(utcMs: number, nowMs: number, lang: Lang): string {
  const at = new Date(utcMs);
  const today = new Date(nowMs).toDateString() === at.toDateString();
  const time: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  const date: Intl.DateTimeFormatOptions = today ? {} : { month: "short", day: "numeric" };
  return at.toLocaleString(lang === "zh" ? "zh-CN" : "en", { ...date, ...time });
}

export type Warning = "low" | "high" | null;

/** Which warning limit a value is beyond. */
export function warning(v: Value, tag: Tag): Warning {
  if (typeof v !== "number") return null;
  const [low, high] = tag.warn;
  if (low !== null && v < low) return "low";
  return high !== null && v > high ? "high" : null;
}
