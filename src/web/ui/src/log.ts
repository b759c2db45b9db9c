// Every sample received, for `floorcast.samples()`.
//
// In: samples as they arrive. Out: plain objects on request.
// Full: the oldest goes. Columns, so that ten minutes of a busy line stay
// within a few megabytes.

import type { Value, WireSample } from "./wire";

export interface LoggedSample {
  name: string;
  value: Value;
  takenUtcUs: number;
  /** Milliseconds on the `performance.now()` time line. */
  receivedAt: number;
  quality: "good" | "bad";
}

export class SampleLog {
  private size = 1024;
  private names: string[] = [];
  private values: Value[] = [];
  private taken = new Float64Array(this.size);
  private received = new Float64Array(this.size);
  private good = new Uint8Array(this.size);
  private next = 0;
  /** Samples ever received. */
  total = 0;

  constructor(readonly capacity = 131_072) {}

  push(name: string, sample: WireSample, receivedAt: number): void {
    if (this.next === this.size && this.size < this.capacity) this.grow();
    const i = this.next % this.size;
    this.names[i] = name;
    this.values[i] = sample.value;
    this.taken[i] = sample.takenUtcUs;
    this.received[i] = receivedAt;
    this.good[i] = sample.good ? 1 : 0;
    this.next = i + 1;
    this.total++;
  }

  private grow(): void {
    this.size = Math.min(this.capacity, this.size * 2);
    const larger = <A extends Float64Array | Uint8Array>(old: A, made: A): A => (made.set(old), made);
    this.taken = larger(this.taken, new Float64Array(this.size));
    this.received = larger(this.received, new Float64Array(this.size));
    this.good = larger(this.good, new Uint8Array(this.size));
  }

  toArray(): LoggedSample[] {
    const count = Math.min(this.total, this.size);
    const first = this.total > this.size ? this.next : 0;
    const out: LoggedSample[] = [];
    for (let k = 0; k < count; k++) {
      const i = (first + k) % this.size;
      out.push({
        name: this.names[i] as string,
        value: this.values[i] as Value,
        takenUtcUs: this.taken[i] as number,
        receivedAt: this.received[i] as number,
        quality: this.good[i] ? "good" : "bad",
      });
    }
    return out;
  }
}
