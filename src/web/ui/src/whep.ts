// One WHEP session (draft-ietf-wish-whep): offer, answer, one video track in,
// one telemetry channel.
//
// In: the feed's URL and the mode. Out: a track, messages, and one end.
// The server has a public address and learns ours from its first packet, so
// the offer leaves at once, without candidates. It is made before the feed's
// URL is known: keys take their time.

import { begun } from "./offer";
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
  private readonly begun = begun();
  private readonly pc = this.begun.pc;
  private readonly channel = this.begun.channel;
  private readonly abort = new AbortController();
  private events: SessionEvents | null = null;
  private resource: string | null = null;
  private over = false;
  private timer = 0;

  constructor() {
    this.channel.onmessage = ({ data }) => {
      if (!this.over && typeof data === "string") this.events?.message(data);
    };
    this.channel.onclose = () => this.end("channel closed");
    this.pc.ontrack = ({ track, streams, receiver }) => {
      if (!this.over) this.events?.track(streams[0] ?? new MediaStream([track]), receiver);
    };
    this.pc.onconnectionstatechange = () => this.changed();
  }

  private changed(): void {
    clearTimeout(this.timer);
    const state = this.pc.connectionState;
    if (state === "connected") this.events?.connected();
    else if (state === "failed" || state === "closed") this.end(state);
    else if (state === "disconnected") this.timer = window.setTimeout(() => this.end(state), DISCONNECTED_MS);
  }

  /** Opens the session; throws {@link Refused}, or what `fetch` throws. */
  async open(whep: string, mode: Mode, events: SessionEvents): Promise<void> {
    this.events = events;
    this.timer = window.setTimeout(() => this.end("no connection"), OPEN_MS);
    const offer = await this.begun.offer;
    // Side by side: without candidates the description is the offer as it is.
    const described = this.pc.setLocalDescription(offer);
    described.catch(() => undefined);
    const answer = await fetch(`${whep}?mode=${mode}`, {
      method: "POST",
      headers: { "content-type": "application/sdp" },
      body: offer.sdp ?? "",
      signal: this.abort.signal,
    });
    if (answer.status !== 201) throw new Refused(answer.status, answer.headers.get("retry-after"));
    const location = answer.headers.get("location");
    this.resource = location && new URL(location, answer.url).href;
    const sdp = await answer.text();
    if (this.over) this.release();
    else {
      await described;
      await this.pc.setRemoteDescription({ type: "answer", sdp });
    }
  }

  /** Asks for another mode; false if the channel is not open. */
  setMode(mode: Mode): boolean {
    if (this.channel.readyState !== "open") return false;
    this.channel.send(JSON.stringify({ mode }));
    return true;
  }

  /** The path's round trip in milliseconds, once ICE has measured it. */
  async roundTrip(): Promise<number | null> {
    let found: number | null = null;
    const stats = await this.pc.getStats();
    stats.forEach((s: { type: string; nominated?: boolean; currentRoundTripTime?: number }) => {
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
    this.abort.abort();
    this.release();
    this.channel.close();
    this.pc.close();
  }

  private release(): void {
    if (!this.resource) return;
    fetch(this.resource, { method: "DELETE", keepalive: true }).catch(() => undefined);
    this.resource = null;
  }
}
