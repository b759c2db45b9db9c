// One line on screen: link, frames, join, and what to say of them.
//
// In: a studio's description and the viewer's wishes. Out: a moment per
// presented frame, and a status twice a second or when it changes.

import { Change } from "./change";
import { totalFrames, watchFrames, type How, type Presented } from "./frames";
import { Join, type Moment, type View } from "./join";
import { Latency } from "./latency";
import { Line } from "./link";
import { Liveness } from "./liveness";
import { judge, type Link, type Shown } from "./state";
import { parseMessage, type Feed, type Health, type Message, type Mode, type Studio } from "./wire";

export interface Status {
  shown: Shown;
  link: Link;
  health: Health | null;
  /** A picture has been live since the page opened: UTC milliseconds, or 0. */
  lastLiveMs: number;
  /** On the `performance.now()` time line; 0: no retry is due. */
  retryAt: number;
  figuresStale: boolean;
  how: How | null;
  mode: Mode;
  delayMs: number;
  latencyMs: number | null;
  viewers: number;
  clock: string;
  /** The line's own word on itself (`running`, `stopped` …), if it has one. */
  lineState: string | null;
}

export interface PlayerEvents {
  /** Once per presented frame; without a picture, once per message. */
  views(views: readonly (View | null)[], utcUs: number): void;
  status(status: Status): void;
  studio(studio: Studio): void;
}

const TICK_MS = 500;
/** Messages come at least twice a second; without any for this long, something broke. */
const SILENT_MS = 4000;
/** A picture that stays away this long is fetched anew. */
const GONE_MS = 6000;

/** A hidden page without picture in picture keeps its session this long. */
const ASLEEP_MS = 5 * 60_000;

/** A public text tag of such a name is the line's own state. */
const LINE_STATE = /(^|[._-])line[._-](state|mode)$/;

const localMs = (): number => performance.timeOrigin + performance.now();

export class Player {
  join: Join;
  frames = 0;
  /** On the `performance.now()` time line, whose zero is the click; 0: none yet. */
  firstFrameAt = 0;
  skipped = 0;
  unjoined = 0;
  messages = 0;
  how: How | null = null;
  private readonly line: Line;
  private readonly latency = new Latency();
  private readonly live = new Liveness();
  private readonly change = new Change();
  private receiver: RTCRtpReceiver | null = null;
  private link: Link = "joining";
  private retryAt = 0;
  private newest: Message | null = null;
  private heardAt = 0;
  private lastFrameAt = -Infinity;
  private decoded = 0;
  private firstSeq = Infinity;
  private lastSeq = -1;
  private lastLiveMs = 0;
  private held = false;
  private ticks = 0;
  private sleep = 0;
  private asleep = false;
  private staleFigures = false;
  private lineState: string | null = null;
  private lineTag = -1;
  private chosen: number[] = [];

  constructor(
    readonly video: HTMLVideoElement,
    private studio: Studio,
    public feed: Feed,
    public mode: Mode,
    private readonly events: PlayerEvents,
  ) {
    this.join = this.joinOf(studio);
    this.line = new Line(feed, mode, {
      track: (stream, receiver) => this.track(stream, receiver),
      message: (text) => this.message(text),
      state: (link, retryAt) => this.linked(link, retryAt),
      studio: (fresh) => this.refresh(fresh),
    });
    watchFrames(video, () => this.receiver, (frame) => this.presented(frame));
    setInterval(() => this.tick(), TICK_MS);
    document.addEventListener("visibilitychange", () => this.seen(!document.hidden));
    this.line.open();
  }

  /** A page that nobody sees lets its place go after a while, and takes it up at once. */
  private seen(visible: boolean): void {
    clearTimeout(this.sleep);
    this.live.forgive(performance.now());
    if (visible && this.asleep) this.line.open();
    this.asleep = false;
    if (visible) return;
    this.sleep = window.setTimeout(() => {
      if (document.pictureInPictureElement) return;
      this.asleep = true;
      this.line.drop();
    }, ASLEEP_MS);
  }

  select(feed: Feed): void {
    this.feed = feed;
    this.held = false;
    this.newest = null;
    this.live.reset();
    this.line.open(feed);
    this.tell();
  }

  setMode(mode: Mode): void {
    this.mode = mode;
    this.line.setMode(mode);
    this.tell();
  }

  hold(held: boolean): void {
    this.held = held;
    if (held) this.video.pause();
    else void this.video.play().catch(() => undefined);
    this.live.forgive(performance.now());
    this.tell();
  }

  get isHeld(): boolean {
    return this.held;
  }

  /** Messages that did not arrive, of those sent since the first. */
  get lost(): number {
    return this.lastSeq < 0 ? 0 : Math.max(0, this.lastSeq - this.firstSeq + 1 - this.messages);
  }

  get joins(): number {
    return this.line.joins;
  }

  private track(stream: MediaStream, receiver: RTCRtpReceiver): void {
    this.receiver = receiver;
    this.firstSeq = Infinity;
    this.lastSeq = -1;
    this.messages = 0;
    this.video.srcObject = stream;
    if (!this.held) void this.video.play().catch(() => undefined);
  }

  private linked(link: Link, retryAt: number): void {
    if (link !== "up") {
      this.live.reset();
      this.latency.reset();
    }
    if (link === "up") this.heardAt = performance.now();
    this.link = link;
    this.retryAt = retryAt;
    this.tell();
  }

  private joinOf({ tags }: Studio, before?: Join): Join {
    this.lineTag = tags.findIndex((tag) => LINE_STATE.test(tag.name));
    this.chosen = tags.flatMap((tag, i) => (tag.figure === null ? [] : [i]));
    return new Join(tags, undefined, before);
  }

  private refresh(studio: Studio): void {
    if (JSON.stringify(studio.tags) !== JSON.stringify(this.studio.tags)) this.join = this.joinOf(studio, this.join);
    this.studio = studio;
    const feed = studio.feeds.find((f) => f.id === this.feed.id);
    if (feed) this.feed = feed;
    this.events.studio(studio);
  }

  private message(text: string): void {
    const message = parseMessage(text);
    if (!message) return;
    const now = performance.now();
    this.heardAt = now;
    this.messages++;
    this.firstSeq = Math.min(this.firstSeq, message.seq);
    if (message.seq >= this.lastSeq) {
      this.lastSeq = message.seq;
      const news = this.newest?.state.state !== message.state.state || this.newest.mode !== message.mode;
      this.newest = message;
      if (news) this.tell();
    }
    if (message.studio !== null && message.studio !== this.studio.number) this.line.describeAnew();
    if (message.sentUtcUs !== null) this.latency.heard(message.sentUtcUs, localMs());
    this.join.message(message, now);
    if (now - this.lastFrameAt > 1000 && !this.held) this.withoutPicture(message.utcUs);
  }

  private withoutPicture(utcUs: number): void {
    this.show(this.join.without(utcUs), utcUs);
  }

  private presented({ rtp, how, at, skipped }: Presented): void {
    const now = performance.now();
    this.frames++;
    this.firstFrameAt ||= at;
    this.skipped += skipped;
    this.how = how;
    this.lastFrameAt = now;
    if (this.link !== "up" || this.held) return;
    const first = this.live.verdict(now) === "none";
    this.live.frame(now);
    const moment = this.join.frame(rtp, at);
    if (moment) this.moment(moment);
    else this.unjoined++;
    if (first) this.tell();
  }

  private moment(moment: Moment): void {
    this.latency.frame(moment.capturedUtcUs, performance.timeOrigin + moment.presentedAt);
    this.show(moment.views, moment.capturedUtcUs);
  }

  private show(views: readonly (View | null)[], utcUs: number): void {
    const stale = this.chosen.filter((i) => views[i]?.quality === "stale").length;
    this.staleFigures = stale > 0 && stale * 2 >= this.chosen.length;
    const line = views[this.lineTag];
    this.lineState = line?.quality === "good" && typeof line.value === "string" ? line.value : null;
    this.events.views(views, utcUs);
  }

  private tick(): void {
    const now = performance.now();
    // Either count may stand still: Firefox does not count a live stream's frames.
    const count = totalFrames(this.video) + this.frames;
    const arriving = count !== this.decoded;
    this.decoded = count;
    if (document.hidden) this.live.forgive(now);
    else if (arriving && !this.held && this.lastFrameAt > now - 3000) {
      this.live.compared(now, this.change.look(this.video));
    }
    if (this.link === "up" && !this.held && !this.asleep) this.mend(now);
    if (now - this.lastFrameAt > 1000 && now - this.heardAt > 1000 && this.newest && !this.held) {
      this.withoutPicture(this.newest.utcUs + (now - this.heardAt) * 1000);
    }
    if (++this.ticks % 4 === 0) {
      void this.line.roundTrip().then((ms) => ms !== null && this.latency.roundTrip(ms));
    }
    this.tell();
  }

  /** A session that is up but brings nothing is given up. */
  private mend(now: number): void {
    const silent = now - this.heardAt > SILENT_MS;
    const gone = !document.hidden && now - this.lastFrameAt > GONE_MS && now - this.heardAt < 1000;
    const expected = this.newest?.state.state === "live" && this.live.verdict(now) === "stalled";
    if ((silent && this.live.verdict(now) !== "moving") || (gone && expected)) this.line.giveUp();
  }

  status(): Status {
    const verdict = this.live.verdict(performance.now());
    const health = this.newest?.state ?? this.feed.state;
    const stands = this.lineState !== null && this.lineState !== "running";
    const shown = judge({ link: this.link, health, verdict, held: this.held, stands });
    if (shown === "live") this.lastLiveMs = Date.now();
    return {
      shown,
      link: this.link,
      health,
      lastLiveMs: this.lastLiveMs,
      retryAt: this.retryAt,
      figuresStale: this.staleFigures,
      how: this.how,
      mode: this.newest?.mode ?? this.mode,
      delayMs: this.newest?.delayMs ?? 0,
      latencyMs: shown === "live" || shown === "still" ? this.latency.ms() : null,
      viewers: this.newest?.viewers ?? this.studio.viewers,
      clock: this.newest?.clock ?? this.studio.clock,
      lineState: this.lineState,
    };
  }

  private tell(): void {
    this.events.status(this.status());
  }
}
