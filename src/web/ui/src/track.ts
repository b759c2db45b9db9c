// The recent samples of one tag, in the order they were taken.
//
// In: samples in any order, with repeats. Out: the newest one taken at or
// before an instant. Full: the oldest goes, and is not taken in again.

import type { WireSample } from "./wire";

/** Older than this before the newest, a sample can no longer meet its frame. */
const KEPT_US = 12_000_000;
const KEPT = 256;

export class Track {
  private readonly samples: WireSample[] = [];
  private forgotten = -Infinity;

  /** False if it is a repeat, or older than what is kept. */
  add(sample: WireSample): boolean {
    const at = sample.takenUtcUs;
    if (at <= this.forgotten) return false;
    let i = this.samples.length;
    while (i > 0 && (this.samples[i - 1] as WireSample).takenUtcUs > at) i--;
    if (i > 0 && (this.samples[i - 1] as WireSample).takenUtcUs === at) return false;
    this.samples.splice(i, 0, sample);
    this.forget();
    return true;
  }

  private forget(): void {
    const s = this.samples;
    const newest = (s[s.length - 1] as WireSample).takenUtcUs;
    while (s.length > 1 && (s.length > KEPT || (s[1] as WireSample).takenUtcUs < newest - KEPT_US)) {
      this.forgotten = (s.shift() as WireSample).takenUtcUs;
    }
  }

  /** The newest sample taken at or before `utcUs`. */
  at(utcUs: number): WireSample | null {
    for (let i = this.samples.length - 1; i >= 0; i--) {
      const sample = this.samples[i] as WireSample;
      if (sample.takenUtcUs <= utcUs) return sample;
    }
    return null;
  }

  /** All kept samples, oldest first. */
  all(): readonly WireSample[] {
    return this.samples;
  }
}
