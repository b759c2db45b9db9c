// Each picture as it comes on screen, with its RTP time.
//
// Three ways, best first:
// - `rtp`: requestVideoFrameCallback with `rtpTimestamp`: Chrome and Edge 83,
//   Safari 15.4, Firefox 132 and newer. Exact.
// - `ssrc`: no `rtpTimestamp`, but getSynchronizationSources() tells the RTP
//   time of the newest picture: Firefox 72 to 131. A frame or two off.
// - `arrival`: neither. Figures are shown as they arrive.

export type How = "rtp" | "ssrc" | "arrival";

export interface Presented {
  /** 90 kHz, 32 bits; null where the browser does not tell. */
  rtp: number | null;
  how: How;
  /** When the callback ran, milliseconds on the `performance.now()` time line. */
  at: number;
  /** Pictures that came and went since the last call. */
  skipped: number;
}

interface Metadata {
  presentedFrames: number;
  rtpTimestamp?: number;
}

type FrameCallback = (now: number, metadata: Metadata) => void;

interface Callbacks {
  requestVideoFrameCallback?: (callback: FrameCallback) => number;
}

/** Calls `visit` once per presented picture, for as long as the page lives. */
export function watchFrames(
  video: HTMLVideoElement,
  receiver: () => RTCRtpReceiver | null,
  visit: (frame: Presented) => void,
): void {
  const source = (): number | null => {
    const from = receiver()?.getSynchronizationSources?.()[0];
    return from ? from.rtpTimestamp : null;
  };
  const report = (rtp: number | undefined, skipped: number): void => {
    const at = performance.now();
    if (rtp !== undefined) return visit({ rtp, how: "rtp", at, skipped });
    const near = source();
    visit({ rtp: near, how: near === null ? "arrival" : "ssrc", at, skipped });
  };
  const request = (video as Callbacks).requestVideoFrameCallback?.bind(video);
  let seen = 0;
  const gap = (count: number): number => {
    const skipped = count > seen && seen > 0 ? count - seen - 1 : 0;
    seen = count;
    return skipped;
  };
  if (request) {
    const step: FrameCallback = (_, metadata) => {
      request(step);
      report(metadata.rtpTimestamp, gap(metadata.presentedFrames));
    };
    request(step);
    return;
  }
  const poll = (): void => {
    requestAnimationFrame(poll);
    const count = totalFrames(video);
    if (count !== seen) report(undefined, gap(count));
  };
  requestAnimationFrame(poll);
}

/** Pictures decoded so far; counts on where callbacks pause. */
export function totalFrames(video: HTMLVideoElement): number {
  return video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
}
