// A session's beginning: its keys, its offer, and what the server says to that.
//
// In: where to ask. Out: a peer connection that is on its way, or a refusal. The server has a
// public address and learns ours from its first packet, so the offer leaves at once, without
// candidates.

import type { Mode } from "./wire";

export interface Answer {
  /** 201, or why not. */
  status: number;
  retryAfter: string | null;
  /** The session's own URL, which ends it by DELETE. */
  resource: string | null;
}

export interface Begun {
  pc: RTCPeerConnection;
  receiver: RTCRtpReceiver;
  channel: RTCDataChannel;
  mode: Mode;
  /** Messages that came before anybody listened; the first of them. */
  heard: string[];
  /** Once both descriptions stand, or the server refused; rejects as `fetch` does. */
  answered: Promise<Answer>;
  /** Gives it up, wherever it is, and tells the server so. */
  drop(): void;
}

declare global {
  interface Window {
    /** What `early.ts` began, until somebody takes it. */
    floorcastEarly?: Begun;
  }
}

/** Far more than come before the page is there. */
const HEARD = 100;

/** Asks for a feed at its WHEP URL. */
export function begin(whep: string, mode: Mode): Begun {
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  const { receiver } = pc.addTransceiver("video", { direction: "recvonly" });
  const channel = pc.createDataChannel("telemetry", { ordered: false, maxRetransmits: 0 });
  const heard: string[] = [];
  channel.onmessage = ({ data }) => {
    if (typeof data === "string" && heard.length < HEARD) heard.push(data);
  };
  const abort = new AbortController();
  const answered = ask(pc, `${whep}?mode=${mode}`, abort.signal);
  const drop = (): void => {
    abort.abort();
    // One that was refused, or given up in time, has nothing to release.
    answered.then(({ resource }) => release(resource), () => undefined);
    channel.close();
    pc.close();
  };
  return { pc, receiver, channel, mode, heard, answered, drop };
}

async function ask(pc: RTCPeerConnection, url: string, signal: AbortSignal): Promise<Answer> {
  const offer = await pc.createOffer();
  // Side by side: without candidates the description is the offer as it is.
  const described = pc.setLocalDescription(offer);
  described.catch(() => undefined);
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/sdp" },
    body: offer.sdp ?? "",
    signal,
  });
  const { status, headers } = answer;
  const retryAfter = headers.get("retry-after");
  if (status !== 201) return { status, retryAfter, resource: null };
  const location = headers.get("location");
  const resource = location && new URL(location, answer.url).href;
  try {
    const sdp = await answer.text();
    await described;
    await pc.setRemoteDescription({ type: "answer", sdp });
  } catch (error) {
    release(resource);
    throw error;
  }
  return { status, retryAfter, resource };
}

function release(resource: string | null): void {
  if (resource) fetch(resource, { method: "DELETE", keepalive: true }).catch(() => undefined);
}
