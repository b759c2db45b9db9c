// From a frame's RTP time to the UTC at which its light was captured.
//
// In: pairs of RTP time and UTC of one same instant, one per message.
// Out: UTC for any RTP time near them, by the pair nearest in time.
// Full: the oldest pair goes.

import { Ring } from "./ring";

/** Pairs kept: more than four seconds of messages at 30 a second. */
const KEPT = 128;

/** A jump of the server's wall clock beyond this starts a new time line. */
const STEP_US = 250_000;

/** Signed distance on the 32-bit RTP circle, in ticks of 90 kHz (RFC 3550, 5.1). */
export const rtpAfter = (a: number, b: number): number => (a - b) | 0;

interface Anchor {
  rtp: number;
  utcUs: number;
}

const through = (anchor: Anchor, rtp: number): number =>
  anchor.utcUs + Math.round((rtpAfter(rtp, anchor.rtp) * 100) / 9);

export class Anchors {
  private readonly ring = new Ring<Anchor>(KEPT);

  /** Learns a pair; true if it shows that the server's clock was stepped. */
  add(rtp: number, utcUs: number): boolean {
    const last = this.ring.last();
    const stepped = last !== undefined && Math.abs(through(last, rtp) - utcUs) > STEP_US;
    if (stepped) this.ring.clear();
    this.ring.push({ rtp, utcUs });
    return stepped;
  }

  /** Microseconds of UTC at `rtp`; null before the first pair. */
  utc(rtp: number): number | null {
    let best: Anchor | null = null;
    let least = Infinity;
    this.ring.forEach((anchor) => {
      const distance = Math.abs(rtpAfter(rtp, anchor.rtp));
      if (distance <= least) {
        least = distance;
        best = anchor;
      }
    });
    return best && through(best, rtp);
  }

  /** UTC of the newest pair by RTP time; null before the first. */
  newest(): number | null {
    let newest: Anchor | undefined;
    this.ring.forEach((anchor) => {
      if (!newest || rtpAfter(anchor.rtp, newest.rtp) > 0) newest = anchor;
    });
    return newest ? newest.utcUs : null;
  }

  clear(): void {
    this.ring.clear();
  }
}
