// One WHEP session (draft-ietf-wish-whep): one video track in, one telemetry channel.
//
// In: the feed's URL and the mode. Out: a track, messages, and one end.

import { begin, type Begun } from "./offer";
import type { Mode } from "./wire";

export interface SessionEvents {
  track(stream: MediaStream, receiver: RTCRtpReceiver): void;
  message(text: string): void;
  connected(): void;
  /** Once, and never after `close()`. */
  ended(why: string): void;
}

/** The server's refusal. */
export class Refused extends Error {
  constructor(readonly status: number, readonly retryAfter: string | null) {
    super(`WHEP: ${status}`);
  }
}

/** ICE may lose the path for a moment without losing the session. */
const DISCONNECTED_MS = 2500;
const OPEN_MS = 10_000;

export class Session {
  private begun: Begun | null = null;
  private events: SessionEvents | null = null;
  private over = false;
  private timer = 0;

  private changed(): void {
    clearTimeout(this.timer);
    const state = this.begun?.pc.connectionState;
    if (state === "connected") this.events?.connected();
    else if (state === "failed" || state === "closed") this.end(state);
    else if (state === "disconnected") this.timer = window.setTimeout(() => this.end(state), DISCONNECTED_MS);
  }

  /** Opens the session; throws {@link Refused}, or what `fetch` throws. */
  async open(whep: string, mode: Mode, events: SessionEvents): Promise<void> {
    this.events = events;
    this.timer = window.setTimeout(() => this.end("no connection"), OPEN_MS);
    const begun = (await this.early(whep, mode)) ?? (this.begun = begin(whep, mode));
    const { status, retryAfter } = await begun.answered;
    if (this.over) return;
    if (status !== 201) throw new Refused(status, retryAfter);
    this.listen(begun, events);
  }

  /** What the page began before this script was there, if it is what is wanted. */
  private async early(whep: string, mode: Mode): Promise<Begun | null> {
    const early = window.floorcastEarly;
    delete window.floorcastEarly;
    if (!early) return null;
    this.begun = early;
    const answer = await early.answered.catch(() => null);
    const ours = answer?.resource && new URL(answer.resource).pathname.startsWith(`${whep}/`);
    // A house that is full is so for every feed of it.
    if (this.over || (early.mode === mode && (ours || answer?.status === 503))) return early;
    early.drop();
    return null;
  }

  private listen({ pc, channel, receiver, heard }: Begun, events: SessionEvents): void {
    channel.onmessage = ({ data }) => {
      if (!this.over && typeof data === "string") events.message(data);
    };
    channel.onclose = () => this.end("channel closed");
    pc.onconnectionstatechange = () => this.changed();
    events.track(new MediaStream([receiver.track]), receiver);
    if (pc.connectionState !== "new") this.changed();
    heard.forEach((text) => events.message(text));
  }

  /** Asks for another mode; false if the channel is not open. */
  setMode(mode: Mode): boolean {
    if (this.begun?.channel.readyState !== "open") return false;
    this.begun.channel.send(JSON.stringify({ mode }));
    return true;
  }

  /** The path's round trip in milliseconds, once ICE has measured it. */
  async roundTrip(): Promise<number | null> {
    let found: number | null = null;
    const stats = await this.begun?.pc.getStats();
    stats?.forEach((s: { type: string; nominated?: boolean; currentRoundTripTime?: number }) => {
      if (s.type === "candidate-pair" && s.nominated && s.currentRoundTripTime !== undefined) {
        found = s.currentRoundTripTime * 1000;
      }
    });
    return found;
  }

  private end(why: string): void {
    if (this.over) return;
    this.close();
    this.events?.ended(why);
  }

  /** Leaves, and tells the server so. */
  close(): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.timer);
    this.begun?.drop();
  }
}
