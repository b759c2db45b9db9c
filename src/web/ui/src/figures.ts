// The chosen figures, large, and all others folded away.
//
// In: the views of a frame. Out: text where it changed. A trend is redrawn a
// few times a second, never in between two values.

import { $, make, setData, setHidden, setText } from "./dom";
import * as format from "./format";
import type { Join, View } from "./join";
import { named, say, type Lang } from "./text";
import { draw, Trend } from "./trend";
import type { Tag, Value } from "./wire";

/** A slow line's figures age without harm; past this share of `staleAfterMs` it matters. */
const AGE_MATTERS = 0.5;
const DRAW_MS = 250;

/** What a trend's height stands for at least: noise of the last digit stays small. */
function leastSpan(tag: Tag): number {
  const digit = 10 ** -tag.decimals;
  const part = tag.range ? (tag.range[1] - tag.range[0]) / 50 : 0;
  return Math.min(20 * digit, Math.max(4 * digit, part));
}

class Figure {
  readonly root = make("li", "figure");
  readonly trend: Trend;
  private readonly name = make("span", "name");
  private readonly value = make("span", "digits");
  private readonly unit = make("span", "unit");
  private readonly note = make("span", "note");
  private readonly why = make("button", "why", "?");
  private readonly canvas = make("canvas");
  private readonly chart = make("div", "chart");
  private readonly span = make("span", "span");
  private shown: View | null = null;
  private reason = "";

  constructor(readonly tag: Tag, readonly index: number, private lang: Lang) {
    const line = make("p", "value");
    line.append(this.value, this.unit, this.why);
    const head = make("p", "head");
    head.append(this.name, this.note);
    this.root.append(head, line);
    this.why.type = "button";
    this.why.hidden = true;
    this.why.onclick = () => this.root.classList.toggle("explained");
    this.trend = new Trend(leastSpan(tag), tag.staleAfterMs * 1000);
    this.canvas.setAttribute("role", "img");
    this.chart.append(this.canvas, this.span);
    this.root.append(this.chart);
    this.chart.hidden = true;
    this.relabel(lang);
  }

  relabel(lang: Lang): void {
    const last = this.shown;
    this.lang = lang;
    setText(this.name, named(lang, this.tag.label));
    setText(this.unit, this.tag.unit);
    this.canvas.setAttribute("aria-label", `${named(lang, this.tag.label)}: ${say(lang, "trend")}`);
    this.why.setAttribute("aria-label", say(lang, "why"));
    this.value.style.minWidth = `${format.width(this.tag, lang)}ch`;
    this.change(last);
  }

  show(view: View | null, utcUs: number, ages: boolean): void {
    if (view !== this.shown) this.change(view);
    setText(this.note, this.remark(view, utcUs, ages));
  }

  private change(view: View | null): void {
    this.shown = view;
    const text = view ? format.value(view.value, this.tag, this.lang) : format.DASH;
    setText(this.value, text);
    const long = text.length > (typeof view?.value === "string" ? 8 : 9);
    this.root.classList.toggle("long", long);
    const warning = view?.quality === "good" ? format.warning(view.value, this.tag) : null;
    setData(this.root, "quality", view?.quality ?? "unknown");
    setData(this.root, "warning", warning ?? "");
    const bad = view?.quality === "bad";
    setHidden(this.why, !bad);
    if (!bad) this.root.classList.remove("explained");
    this.reason = bad ? view.reason || say(this.lang, "bad") : "";
    setHidden(this.unit, !this.tag.unit || bad || !view);
  }

  private remark(view: View | null, utcUs: number, ages: boolean): string {
    const { lang, tag } = this;
    if (!view) return say(lang, "unknown");
    const ageMs = (utcUs - view.takenUtcUs) / 1000;
    const age = say(lang, "ago", format.age(ageMs, lang));
    if (view.quality === "bad") return this.root.classList.contains("explained") ? this.reason : "";
    if (view.quality === "stale") return `${say(lang, "stale")} · ${age}`;
    const warning = format.warning(view.value, tag);
    const limit = warning && tag.warn[warning === "low" ? 0 : 1];
    if (warning && limit !== null) {
      return say(lang, warning === "low" ? "below" : "above", format.number(limit as number, tag.decimals, lang));
    }
    const matters = ages || (ageMs > 1000 && ageMs > tag.staleAfterMs * AGE_MATTERS);
    return matters ? age : "";
  }

  /** What is not a number has no trend. */
  sample(takenUtcUs: number, value: Value): void {
    if (typeof value === "string") return;
    if (value !== null && !this.root.classList.contains("charted")) {
      this.root.classList.add("charted");
      setHidden(this.chart, false);
    }
    this.trend.add(takenUtcUs, value === null ? null : Number(value));
  }

  draw(utcUs: number): void {
    const span = this.trend.span(utcUs);
    const seen = this.trend.seen(utcUs);
    if (!span || !seen) return;
    const style = getComputedStyle(this.root);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    draw(this.canvas, this.trend.paths(utcUs, span), colour("--trend"), colour("--trend-floor"));
    const ends = [seen.low, seen.high].map((v) => format.number(v, this.tag.decimals, this.lang));
    setText(this.span, ends[0] === ends[1] ? (ends[0] as string) : ends.join(" – "));
    this.span.title = say(this.lang, "span", ...ends);
  }

  /** For the spoken summary. */
  words(): string {
    const view = this.shown;
    const name = named(this.lang, this.tag.label);
    if (!view) return `${name}: ${say(this.lang, "unknown")}`;
    if (view.quality === "bad") return `${name}: ${this.reason}`;
    const stale = view.quality === "stale" ? ` (${say(this.lang, "stale")})` : "";
    return `${name}: ${format.value(view.value, this.tag, this.lang)} ${this.tag.unit}`.trim() + stale;
  }
}

interface Row {
  value: HTMLElement;
  age: HTMLElement;
}

export class Figures {
  private figures: Figure[] = [];
  private rows: Row[] = [];
  private tags: readonly Tag[] = [];
  private drawnAt = -Infinity;
  private listedAt = -Infinity;
  private readonly more = $<HTMLDetailsElement>("more");

  constructor(private lang: Lang) {}

  build(join: Join, lang: Lang): void {
    this.lang = lang;
    this.tags = join.tags;
    const chosen = join.tags
      .map((tag, i) => ({ tag, i }))
      .filter(({ tag }) => tag.figure !== null)
      .sort((a, b) => (a.tag.figure as number) - (b.tag.figure as number));
    this.figures = chosen.map(({ tag, i }) => new Figure(tag, i, lang));
    const byIndex = new Map(this.figures.map((f) => [f.index, f]));
    join.onSample = (index, takenUtcUs, value) => {
      byIndex.get(index)?.sample(takenUtcUs, value);
    };
    const list = $("figures");
    list.replaceChildren(...this.figures.map((f) => f.root));
    setData(list, "count", String(this.figures.length));
    this.table();
  }

  relabel(lang: Lang): void {
    this.lang = lang;
    this.figures.forEach((f) => f.relabel(lang));
    this.table();
  }

  private table(): void {
    const { lang } = this;
    setHidden(this.more, this.tags.length === 0);
    setText($("more-label"), say(lang, "more", this.tags.length));
    const head = ["name", "value", "measured"] as const;
    $("more-head").replaceChildren(...head.map((w) => {
      const th = make("th", "", say(lang, w));
      th.scope = "col";
      return th;
    }));
    this.rows = [];
    $("more-rows").replaceChildren(...this.tags.map((tag) => {
      const row = make("tr");
      const name = make("th", "", named(lang, tag.label));
      name.scope = "row";
      const cells = { value: make("td", "digits"), age: make("td", "age") };
      this.rows.push(cells);
      row.append(name, cells.value, cells.age);
      return row;
    }));
    this.listedAt = -Infinity;
  }

  /** `ages`: the picture does not wait for figures, so each shows its age. */
  show(views: readonly (View | null)[], utcUs: number, ages: boolean, now: number): void {
    for (const figure of this.figures) figure.show(views[figure.index] ?? null, utcUs, ages);
    if (now - this.drawnAt >= DRAW_MS) {
      this.drawnAt = now;
      for (const figure of this.figures) figure.draw(utcUs);
    }
    if (this.more.open && now - this.listedAt >= DRAW_MS) {
      this.listedAt = now;
      this.list(views, utcUs);
    }
  }

  private list(views: readonly (View | null)[], utcUs: number): void {
    this.tags.forEach((tag, i) => {
      const [view, row] = [views[i] ?? null, this.rows[i]];
      if (!row) return;
      const unit = tag.unit && view?.value != null ? ` ${tag.unit}` : "";
      setText(row.value, (view ? format.value(view.value, tag, this.lang) : format.DASH) + unit);
      setData(row.value, "quality", view?.quality ?? "unknown");
      const age = view ? say(this.lang, "ago", format.age((utcUs - view.takenUtcUs) / 1000, this.lang)) : "";
      setText(row.age, view?.quality === "bad" ? view.reason || say(this.lang, "bad") : age);
    });
  }

  /** All figures in words, for those who listen. */
  words(): string {
    return this.figures.map((f) => f.words()).join(". ");
  }
}
