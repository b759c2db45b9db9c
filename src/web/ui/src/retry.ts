// How long to wait before trying again. Pure.

export const FIRST_MS = 400;
export const CAP_MS = 15_000;

/** The pause before attempt `failures` + 1; `random` in [0, 1) spreads viewers. */
export function pauseMs(failures: number, random: number): number {
  const full = Math.min(CAP_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
  return full * (0.5 + random / 2);
}

/**
 * The pause that a 503 asks for with Retry-After (RFC 9110, 10.2.3), up to a
 * fifth longer, so that those who were turned away do not return together.
 */
export function fullPauseMs(retryAfter: string | null, nowMs: number, random: number): number {
  const text = retryAfter?.trim() ?? "";
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - nowMs) / 1000;
  const wanted = isFinite(seconds) ? seconds : 10;
  return Math.min(120, Math.max(1, wanted)) * 1000 * (1 + random / 5);
}
