// The join: which samples hold on the frame that is on screen.
//
// In: telemetry messages as they arrive, and the RTP time of each presented
// frame. Out: for that frame its capture time and, per tag, the newest sample
// received that was taken at or before it. A sample older than its tag's
// `staleAfterMs` at that instant is stale; a bad one has no value.
// Pure: time comes in as arguments.

import { Anchors } from "./anchors";
import { SampleLog } from "./log";
import { Ring } from "./ring";
import { Track } from "./track";
import type { Message, Tag, Value } from "./wire";

export type Quality = "good" | "stale" | "bad";

/** One tag on one frame. */
export interface View {
  value: Value;
  takenUtcUs: number;
  quality: Quality;
  reason: string;
}

/** One presented frame. `views[i]` belongs to `tags[i]`; null: nothing known yet. */
export interface Moment {
  rtpTime: number | null;
  capturedUtcUs: number;
  /** Milliseconds on the `performance.now()` time line. */
  presentedAt: number;
  views: readonly (View | null)[];
}

/** 80 s of frames at 30 a second. */
export const MOMENTS_KEPT = 2400;

export class Join {
  readonly anchors: Anchors;
  readonly log: SampleLog;
  readonly moments = new Ring<Moment>(MOMENTS_KEPT);
  /** Called for each sample that is new. */
  onSample: ((index: number, takenUtcUs: number, value: Value) => void) | null = null;
  private readonly tracks: Track[];
  private readonly index = new Map<number, number>();
  private views: (View | null)[];

  /** What is known of the tags of `before` that are still there goes on: an id means one tag. */
  constructor(readonly tags: readonly Tag[], logCapacity?: number, before?: Join) {
    this.tracks = tags.map((tag) => before?.track(tag.id) ?? new Track());
    this.views = tags.map(() => null);
    this.anchors = before?.anchors ?? new Anchors();
    this.log = before?.log ?? new SampleLog(logCapacity);
    tags.forEach((tag, i) => this.index.set(tag.id, i));
  }

  private track(id: number): Track | undefined {
    const at = this.index.get(id);
    return at === undefined ? undefined : this.tracks[at];
  }

  /** Takes in one message; returns true if the server's clock was stepped. */
  message(message: Message, receivedAt: number): boolean {
    const stepped = this.anchors.add(message.rtp, message.utcUs);
    if (stepped) this.tracks.forEach((_, i) => (this.tracks[i] = new Track()));
    for (const sample of message.samples) {
      const i = this.index.get(sample.tag);
      if (i === undefined || !(this.tracks[i] as Track).add(sample)) continue;
      this.log.push((this.tags[i] as Tag).name, sample, receivedAt);
      this.onSample?.(i, sample.takenUtcUs, sample.good ? sample.value : null);
    }
    return stepped;
  }

  /**
   * Joins one presented frame and keeps its moment. `rtp` is null where the
   * browser does not tell: then the newest message stands for the frame.
   * Returns null before the first message.
   */
  frame(rtp: number | null, presentedAt: number): Moment | null {
    const capturedUtcUs = rtp === null ? this.anchors.newest() : this.anchors.utc(rtp);
    if (capturedUtcUs === null) return null;
    const horizon = rtp === null ? Infinity : capturedUtcUs;
    const moment = { rtpTime: rtp, capturedUtcUs, presentedAt, views: this.look(horizon, capturedUtcUs) };
    this.moments.push(moment);
    return moment;
  }

  /** The views at an instant; the same array as before if nothing changed. */
  private look(horizonUtcUs: number, nowUtcUs: number): readonly (View | null)[] {
    let next: (View | null)[] | null = null;
    for (let i = 0; i < this.tracks.length; i++) {
      const sample = (this.tracks[i] as Track).at(horizonUtcUs);
      const old = this.views[i] as View | null;
      let view: View | null = null;
      if (sample) {
        const age = nowUtcUs - sample.takenUtcUs;
        const stale = sample.stale || age > (this.tags[i] as Tag).staleAfterMs * 1000;
        const quality: Quality = !sample.good ? "bad" : stale ? "stale" : "good";
        const same = old && old.takenUtcUs === sample.takenUtcUs && old.quality === quality;
        view = same ? old : { value: sample.value, takenUtcUs: sample.takenUtcUs, quality, reason: sample.reason };
      }
      if (view !== old) (next ??= this.views.slice())[i] = view;
    }
    if (next) this.views = next;
    return this.views;
  }

  /** The views without a frame: no picture, but figures go on. */
  without(utcUs: number): readonly (View | null)[] {
    return this.look(Infinity, utcUs);
  }
}
