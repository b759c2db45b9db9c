// Sixty seconds of one tag as a line. Pure but for `draw`.
//
// In: samples. Out: the span of values, and a drawing. A value holds until
// the next one: no slope is invented between samples. Full: buckets of a
// quarter of a second, so memory does not grow with the rate.

export const SPAN_US = 60_000_000;
const BUCKET_US = 250_000;
const BUCKETS = SPAN_US / BUCKET_US + 40;

interface Bucket {
  at: number;
  min: number;
  max: number;
  last: number;
  /** A bad sample came after `last`. */
  ends: boolean;
}

export interface Span {
  low: number;
  high: number;
}

export class Trend {
  private readonly buckets: Bucket[] = Array.from({ length: BUCKETS }, () => ({
    at: -1, min: 0, max: 0, last: 0, ends: false,
  }));
  private origin = 0;

  /** `least`: the span that fills the height at least, so that noise stays small. */
  constructor(private readonly least: number, private readonly holdUs: number) {}

  add(takenUtcUs: number, value: number | null): void {
    const at = Math.floor(takenUtcUs / BUCKET_US);
    const b = this.buckets[at % BUCKETS] as Bucket;
    if (b.at > at) return;
    if (b.at !== at) {
      if (value === null) {
        this.mark(at);
        return;
      }
      Object.assign(b, { at, min: value, max: value, last: value, ends: false });
    } else if (value === null) {
      b.ends = true;
    } else {
      b.min = Math.min(b.min, value);
      b.max = Math.max(b.max, value);
      b.last = value;
      b.ends = false;
    }
    this.origin ||= at;
  }

  /** A bad sample alone in its bucket ends the line before it. */
  private mark(at: number): void {
    for (let k = at - 1; k > at - BUCKETS && k >= this.origin; k--) {
      const b = this.buckets[k % BUCKETS] as Bucket;
      if (b.at === k) {
        b.ends = true;
        return;
      }
    }
  }

  clear(): void {
    for (const b of this.buckets) b.at = -1;
    this.origin = 0;
  }

  /** Buckets of the minute before `utcUs`, oldest first. */
  window(utcUs: number): Bucket[] {
    const end = Math.floor(utcUs / BUCKET_US);
    const out: Bucket[] = [];
    for (let at = end - SPAN_US / BUCKET_US; at <= end; at++) {
      const b = this.buckets[((at % BUCKETS) + BUCKETS) % BUCKETS] as Bucket;
      if (b.at === at) out.push(b);
    }
    return out;
  }

  /** Least and greatest value of that minute. */
  seen(utcUs: number): Span | null {
    const buckets = this.window(utcUs);
    if (buckets.length === 0) return null;
    return { low: Math.min(...buckets.map((b) => b.min)), high: Math.max(...buckets.map((b) => b.max)) };
  }

  /** What the height stands for: those values, widened to the least span. */
  span(utcUs: number): Span | null {
    const seen = this.seen(utcUs);
    if (!seen) return null;
    const { low, high } = seen;
    const more = Math.max(0, this.least - (high - low)) / 2;
    // A count does not dip below zero only because its line has room there.
    const floor = low >= 0 ? Math.max(0, low - more) : low - more;
    return { low: floor, high: Math.max(high + more, floor + this.least) };
  }

  /** Line segments in the unit square, x to the right, y up; each is one path. */
  paths(utcUs: number, span: Span): [number, number][][] {
    const start = utcUs - SPAN_US;
    const x = (us: number) => Math.min(1, Math.max(0, (us - start) / SPAN_US));
    const y = (v: number) => (v - span.low) / (span.high - span.low);
    const paths: [number, number][][] = [];
    let path: [number, number][] = [];
    let heldTo = -Infinity;
    for (const b of this.window(utcUs)) {
      const from = b.at * BUCKET_US;
      if (from > heldTo && path.length > 0) {
        path.push([x(heldTo), (path[path.length - 1] as [number, number])[1]]);
        paths.push(path);
        path = [];
      } else if (path.length > 0) {
        path.push([x(from), (path[path.length - 1] as [number, number])[1]]);
      }
      if (b.max > b.min) path.push([x(from), y(b.min)], [x(from), y(b.max)]);
      path.push([x(from), y(b.last)]);
      heldTo = b.ends ? from + BUCKET_US : from + this.holdUs;
    }
    if (path.length > 0) {
      path.push([x(Math.min(utcUs, heldTo)), (path[path.length - 1] as [number, number])[1]]);
      paths.push(path);
    }
    return paths;
  }
}

/** Draws into a canvas; colours come from its own style. */
export function draw(canvas: HTMLCanvasElement, paths: [number, number][][], line: string, floor: string): void {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (w === 0 || h === 0) return;
  const [pw, ph] = [Math.round(w * ratio), Math.round(h * ratio)];
  if (canvas.width !== pw || canvas.height !== ph) {
    canvas.width = pw;
    canvas.height = ph;
  }
  const c = canvas.getContext("2d");
  if (!c) return;
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  const px = (p: [number, number]): [number, number] => [p[0] * w, 2 + (1 - p[1]) * (h - 5)];
  for (const path of paths) {
    const points = path.map(px);
    const [first, last] = [points[0], points[points.length - 1]];
    if (!first || !last) continue;
    c.beginPath();
    c.moveTo(first[0], h);
    for (const p of points) c.lineTo(p[0], p[1]);
    c.lineTo(last[0], h);
    c.fillStyle = floor;
    c.fill();
    c.beginPath();
    for (const p of points) c.lineTo(p[0], p[1]);
    c.strokeStyle = line;
    c.lineWidth = 1.5;
    c.lineJoin = "round";
    c.stroke();
  }
}
