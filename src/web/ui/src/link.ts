// Keeps one feed coming: opens a session, and another one when it ends.
//
// In: which feed, which mode. Out: track and messages, the link's state.
// Every wait is bounded, spread by jitter, and ends at once when the network
// comes back or the viewer asks.

import { fullPauseMs, pauseMs } from "./retry";
import type { Link } from "./state";
import { Refused, Session } from "./whep";
import { parseStudio, type Feed, type Mode, type Studio } from "./wire";

/** A session that lasted this long was a good one: the next wait is short again. */
const STEADY_MS = 10_000;

/** Over this time viewers spread what all of them ask. */
const SPREAD_MS = 1000;

export interface LinkEvents {
  track(stream: MediaStream, receiver: RTCRtpReceiver): void;
  message(text: string): void;
  /** The link's state; `retryAt` on the `performance.now()` time line, or 0. */
  state(link: Link, retryAt: number): void;
  /** A fresh description of the studio, fetched before a retry or because it changed. */
  studio(studio: Studio): void;
}

export async function fetchStudio(): Promise<Studio> {
  const response = await fetch("/api/studio", { cache: "no-cache" });
  if (!response.ok) throw new Error(`/api/studio: ${response.status}`);
  return parseStudio(await response.json());
}

export class Line {
  private session: Session | null = null;
  private timer = 0;
  private failures = 0;
  private round = 0;
  private upSince = Infinity;
  private asking = false;
  /** Sessions opened, for `stats()`. */
  joins = 0;

  constructor(
    private feed: Feed,
    private mode: Mode,
    private readonly events: LinkEvents,
  ) {
    addEventListener("online", () => this.hurry());
    addEventListener("pagehide", () => this.drop());
    addEventListener("pageshow", (e) => e.persisted && this.restart());
  }

  /** Opens the feed, at once and afresh. */
  open(feed: Feed = this.feed): void {
    this.feed = feed;
    this.failures = 0;
    this.restart();
  }

  setMode(mode: Mode): void {
    this.mode = mode;
    if (this.session && !this.session.setMode(mode) && !this.timer) this.restart();
  }

  /** Tries now what would be tried later. */
  hurry(): void {
    if (this.timer) this.restart();
  }

  /** Gives the session up: its pictures stopped coming. */
  giveUp(): void {
    if (this.session && !this.timer) this.again();
  }

  /**
   * The studio's description is another by now. All viewers learn it at once, so each
   * waits a while of its own before it asks; until then nothing more is asked.
   */
  describeAnew(): void {
    if (this.asking) return;
    this.asking = true;
    setTimeout(() => {
      void fetchStudio()
        .then((studio) => this.events.studio(studio), () => undefined)
        .then(() => setTimeout(() => (this.asking = false), SPREAD_MS));
    }, Math.random() * SPREAD_MS);
  }

  roundTrip(): Promise<number | null> {
    return this.session?.roundTrip() ?? Promise.resolve(null);
  }

  drop(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    this.round++;
    this.upSince = Infinity;
    this.session?.close();
    this.session = null;
  }

  private restart(): void {
    this.drop();
    this.events.state("joining", 0);
    void this.join(this.round);
  }

  private async join(round: number): Promise<void> {
    try {
      if (this.failures > 0) {
        const studio = await fetchStudio();
        if (round !== this.round) return;
        this.events.studio(studio);
      }
    } catch {
      if (round === this.round) this.wait("unreachable", this.pause());
      return;
    }
    const session = new Session();
    this.session = session;
    this.joins++;
    try {
      await session.open(this.feed.whep, this.mode, {
        track: (stream, receiver) => this.events.track(stream, receiver),
        message: (text) => this.events.message(text),
        connected: () => {
          this.upSince = performance.now();
          this.events.state("up", 0);
        },
        ended: () => this.again(),
      });
    } catch (error) {
      if (round !== this.round || this.session !== session) return;
      session.close();
      this.refused(error);
    }
  }

  private refused(error: unknown): void {
    if (!(error instanceof Refused)) return this.wait("unreachable", this.pause());
    if (error.status !== 503) return this.wait("refused", this.pause());
    this.failures = Math.max(1, this.failures);
    this.wait("full", fullPauseMs(error.retryAfter, Date.now(), Math.random()));
  }

  private again(): void {
    if (performance.now() - this.upSince > STEADY_MS) this.failures = 0;
    this.drop();
    this.wait("joining", this.pause());
  }

  private pause(): number {
    return pauseMs(++this.failures, Math.random());
  }

  private wait(state: Link, ms: number): void {
    this.events.state(state, performance.now() + ms);
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      if (state === "full" || state === "unreachable") this.keepState();
      else this.restart();
    }, ms);
  }

  /** Tries again behind the slate: it changes only once something changed. */
  private keepState(): void {
    this.drop();
    void this.join(this.round);
  }
}
