// What the badge says. Pure: everything known goes in, one state comes out.

import type { Verdict } from "./liveness";
import type { Health } from "./wire";

/**
 * - `live`: pictures arrive and change
 * - `still`: pictures arrive, but nothing in them changes
 * - `suspect`: pictures arrive, but the box doubts them
 * - `connecting`: no picture yet, or on the way back
 * - `no_signal`, `paused`: what the box says of the feed
 * - `held`: the viewer pressed pause
 * - `full`: the viewer limit is reached
 * - `offline`: the box cannot be reached
 */
export type Shown =
  | "live" | "still" | "suspect" | "connecting" | "no_signal" | "paused" | "held" | "full" | "offline";

export type Link = "joining" | "up" | "full" | "unreachable" | "refused";

export interface Facts {
  link: Link;
  /** The newest word of the box on this feed. */
  health: Health | null;
  verdict: Verdict;
  held: boolean;
  /** The line says that it does not run: then a still picture is the truth. */
  stands: boolean;
}

export function judge({ link, health, verdict, held, stands }: Facts): Shown {
  if (held) return "held";
  if (link === "full") return "full";
  if (link === "unreachable") return "offline";
  if (health?.state === "paused") return "paused";
  if (health?.state === "no_signal") return "no_signal";
  // A feed that rests wakes because we ask for it.
  const coming = health?.state === "connecting" || health?.state === "resting";
  if (link !== "up" || coming) return "connecting";
  if (verdict !== "none" && verdict !== "stalled" && health?.state === "suspect") return "suspect";
  if (verdict === "moving") return "live";
  if (verdict === "still") return stands ? "live" : "still";
  return "connecting";
}
