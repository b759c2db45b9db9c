// Glass to glass, as far as the page can know: from a frame's capture to its
// callback here. Pure.
//
// The viewer's clock is set by nobody we know. Each message says when the
// server sent it; the message with the shortest way bounds the difference of
// the clocks to half a round trip.

const WINDOW = 64;
const FRAMES = 60;

export class Latency {
  private readonly ways: number[] = [];
  private readonly frames: number[] = [];
  private rttMs = 0;

  /** A message sent at `sentUtcUs` of the server arrived at `localMs` of ours. */
  heard(sentUtcUs: number, localMs: number): void {
    this.ways.push(localMs - sentUtcUs / 1000);
    if (this.ways.length > WINDOW) this.ways.shift();
  }

  /** The path's round trip, from ICE. */
  roundTrip(ms: number): void {
    this.rttMs = ms;
  }

  /** Our clock minus the server's, milliseconds; 0 while nothing is known. */
  skewMs(): number {
    return this.ways.length === 0 ? 0 : Math.min(...this.ways) - this.rttMs / 2;
  }

  /** A frame captured at `capturedUtcUs` of the server came up at `localMs` of ours. */
  frame(capturedUtcUs: number, localMs: number): void {
    this.frames.push(localMs - capturedUtcUs / 1000);
    if (this.frames.length > FRAMES) this.frames.shift();
  }

  /** Median of the last two seconds; null if it cannot be told. */
  ms(): number | null {
    if (this.frames.length === 0) return null;
    const sorted = [...this.frames].sort((a, b) => a - b);
    const median = (sorted[sorted.length >> 1] as number) - this.skewMs();
    const certain = this.ways.length > 0 || (median >= 0 && median < 5000);
    return certain ? Math.max(0, median) : null;
  }

  reset(): void {
    this.ways.length = this.frames.length = 0;
  }
}
