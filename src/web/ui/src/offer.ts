// A session's beginning: its keys and its offer. No network yet.

export interface Begun {
  pc: RTCPeerConnection;
  channel: RTCDataChannel;
  offer: Promise<RTCSessionDescriptionInit>;
}

declare global {
  interface Window {
    /** What `early.ts` began, until somebody takes it. */
    floorcastEarly?: Begun;
  }
}

export function begin(): Begun {
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  pc.addTransceiver("video", { direction: "recvonly" });
  const channel = pc.createDataChannel("telemetry", { ordered: false, maxRetransmits: 0 });
  const offer = pc.createOffer();
  // Who opens the session hears of it; one that is never opened has no hearer.
  offer.catch(() => undefined);
  return { pc, channel, offer };
}

/** What was begun early, once; afterwards a new one each time. */
export function begun(): Begun {
  const early = window.floorcastEarly;
  delete window.floorcastEarly;
  return early ?? begin();
}
