// `window.floorcast`: what embedding pages and tests may read. All bounded.

import type { Player } from "./player";
import type { LoggedSample } from "./log";
import type { Quality } from "./join";
import type { Value } from "./wire";

export interface ApiMoment {
  /** RTP time of the frame, 90 kHz; null where the browser does not tell. */
  rtpTime: number | null;
  /** Microseconds of UTC, the server's clock. */
  capturedUtcUs: number;
  /** Milliseconds on the `performance.now()` time line. */
  presentedAt: number;
  tags: Record<string, { value: Value; takenUtcUs: number; quality: Quality }>;
}

export interface Floorcast {
  /** The last 2,400 presented frames, oldest first. */
  moments(): ApiMoment[];
  /** The last 131,072 samples received, in order of arrival, each once. */
  samples(): LoggedSample[];
  stats(): Record<string, unknown>;
}

export function api(player: () => Player | null): Floorcast {
  return Object.freeze({
    moments: () => {
      const join = player()?.join;
      if (!join) return [];
      return join.moments.toArray().map(({ rtpTime, capturedUtcUs, presentedAt, views }) => {
        const tags: ApiMoment["tags"] = {};
        views.forEach((view, i) => {
          const tag = join.tags[i];
          if (!view || !tag) return;
          tags[tag.name] = { value: view.value, takenUtcUs: view.takenUtcUs, quality: view.quality };
        });
        return { rtpTime, capturedUtcUs, presentedAt, tags };
      });
    },
    samples: () => player()?.join.log.toArray() ?? [],
    stats: () => {
      const p = player();
      if (!p) return { state: "connecting", join: null, mode: null, frames: 0 };
      const status = p.status();
      return {
        state: status.shown,
        reason: status.health?.code ?? "",
        feed: p.feed.id,
        mode: status.mode,
        join: status.how,
        frames: p.frames,
        firstFrameAt: p.firstFrameAt,
        missed: p.skipped,
        unjoined: p.unjoined,
        latencyMs: status.latencyMs,
        delayMs: status.delayMs,
        figuresStale: status.figuresStale,
        samples: p.join.log.total,
        messages: p.messages,
        messagesLost: p.lost,
        sessions: p.joins,
        viewers: status.viewers,
        clock: status.clock,
      };
    },
  });
}
