// Judges a minute of the page: is every figure on its very frame? Pure.

const TICK_US = 40_000;
const TICKS = 65_536;

/**
 * Rule 1: each tag of each frame shows the newest sample received (then or
 * ever) that was taken at or before the frame's capture.
 *
 * Returns how many frames missed, and the longest run of frames over which
 * one tag stayed behind; `late` counts per tag. `early` counts frames that showed a sample from
 * their future, `wrong` those that ignored one already there: both are bugs,
 * not lateness.
 */
export function judgeFigures(moments, samples) {
  const byTag = new Map();
  for (const sample of samples) {
    if (!byTag.has(sample.name)) byTag.set(sample.name, []);
    byTag.get(sample.name).push(sample);
  }
  for (const list of byTag.values()) list.sort((a, b) => a.takenUtcUs - b.takenUtcUs);
  const runs = new Map();
  const result = { frames: moments.length, missed: 0, longest: 0, early: 0, wrong: 0, late: {} };
  for (const moment of moments) {
    let behind = false;
    for (const [name, list] of byTag) {
      const shown = moment.tags[name]?.takenUtcUs ?? -Infinity;
      const newest = lastBefore(list, moment.capturedUtcUs)?.takenUtcUs ?? -Infinity;
      if (shown > moment.capturedUtcUs) result.early++;
      if (shown === newest) {
        runs.delete(name);
        continue;
      }
      behind = true;
      result.late[name] = (result.late[name] ?? 0) + 1;
      const there = list.findLast((s) => s.takenUtcUs <= moment.capturedUtcUs && s.receivedAt <= moment.presentedAt);
      if (there && there.takenUtcUs > shown) result.wrong++;
      runs.set(name, (runs.get(name) ?? 0) + 1);
      result.longest = Math.max(result.longest, runs.get(name));
    }
    if (behind) result.missed++;
  }
  return result;
}

function lastBefore(list, utcUs) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const mid = (low + high) >> 1;
    if (list[mid].takenUtcUs <= utcUs) low = mid + 1;
    else high = mid;
  }
  return list[low - 1];
}

/** Distance on the 16-bit circle of ticks, in ticks. */
const apart = (a, b) => ((((a - b + TICKS / 2) % TICKS) + TICKS) % TICKS) - TICKS / 2;

/**
 * When tick zero began, microseconds of UTC, from the tick's own samples: a
 * value `v` read at `t` says that it began in (t - 40(v+1) ms, t - 40v ms].
 * The middle of what most samples allow: one that was long on its way knows
 * its own time badly, and must not decide.
 */
export function tickZero(samples) {
  const first = samples[0];
  const base = first.takenUtcUs - first.value * TICK_US;
  const ends = [];
  for (const { value, takenUtcUs } of samples) {
    const ticks = first.value + apart(value, first.value) + TICKS * Math.round(
      ((takenUtcUs - first.takenUtcUs) / TICK_US - apart(value, first.value)) / TICKS);
    const end = takenUtcUs - ticks * TICK_US - base;
    ends.push([end - TICK_US, 1], [end, -1]);
  }
  ends.sort((x, y) => x[0] - y[0]);
  let [agree, most, middle] = [0, 0, 0];
  ends.forEach(([at, by], i) => {
    agree += by;
    if (agree <= most) return;
    most = agree;
    middle = (at + ends[i + 1][0]) / 2;
  });
  return base + middle;
}

/**
 * Rule 2: the tick drawn in the picture agrees with the frame's capture time
 * to one tick. `frames`: moments with the `tick` read from their pixels.
 */
export function judgeStrip(frames, zeroUs) {
  const result = { frames: frames.length, missed: 0, worst: 0, unread: 0, exact: 0 };
  for (const { capturedUtcUs, tick } of frames) {
    if (tick === null) {
      result.unread++;
      continue;
    }
    const at = (capturedUtcUs - zeroUs) / TICK_US;
    const off = apart(tick, ((Math.floor(at) % TICKS) + TICKS) % TICKS);
    if (off === 0) result.exact++;
    if (Math.abs(off) > 1) result.missed++;
    result.worst = Math.max(result.worst, Math.abs(off));
  }
  return result;
}
