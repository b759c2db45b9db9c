// Whether pictures arrive, and whether they change. Pure: a socket that is
// open proves nothing, so only frames and their content count here.

export type Verdict = "none" | "moving" | "still" | "stalled";

/** A line may pause for breath; a frozen picture is called still after this. */
export const STILL_MS = 12_000;

export class Liveness {
  private lastFrame = -Infinity;
  private lastChange = -Infinity;

  constructor(private readonly stallMs = 1_500) {}

  /** Frames have been presented since the last call. */
  frame(now: number): void {
    if (this.lastFrame === -Infinity) this.lastChange = now;
    this.lastFrame = now;
  }

  /** The content was compared with what it was before. */
  compared(now: number, changed: boolean): void {
    if (changed) this.lastChange = now;
  }

  /** Nothing could be seen for a while (hidden page): start afresh. */
  forgive(now: number): void {
    if (this.lastFrame !== -Infinity) {
      this.lastFrame = now;
      this.lastChange = now;
    }
  }

  reset(): void {
    this.lastFrame = this.lastChange = -Infinity;
  }

  verdict(now: number): Verdict {
    if (this.lastFrame === -Infinity) return "none";
    if (now - this.lastFrame > this.stallMs) return "stalled";
    return now - this.lastChange > STILL_MS ? "still" : "moving";
  }
}
