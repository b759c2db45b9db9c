// Runs in the page before its own script: a peer connection that brings a
// drawn picture and invented figures, so that every state can be reached
// without a network. What happens is told by `window.scene`, and may change.
//
//   picture   moving | still | none
//   state     the feed's word: live, connecting, no_signal, paused
//   code      why
//   quality   good | stale | bad: what the sensors give
//   rtp       false: a browser that does not tell frames' RTP times
//   lag       milliseconds from a sample's taking to its message

(() => {
  const scene = Object.assign(
    { picture: "moving", state: "live", code: "", quality: "good", rtp: true, lag: 40, telemetry: true },
    window.scene,
  );
  window.scene = scene;
  const rtpNow = () => Math.floor(performance.now() * 90 + 4294000000) >>> 0;
  const utcUs = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
  const DELAY_MS = 70;

  const canvas = document.createElement("canvas");
  canvas.width = 1280;
  canvas.height = 720;
  const c = canvas.getContext("2d");
  const bottle = (x, level) => {
    c.fillStyle = "#5a4326";
    c.beginPath();
    c.roundRect(x, 330, 90, 190, 14);
    c.roundRect(x + 28, 260, 34, 80, 6);
    c.fill();
    c.fillStyle = "#e09a35";
    c.beginPath();
    c.roundRect(x + 8, 512 - level * 165, 74, level * 165, 8);
    c.fill();
  };
  const paint = () => {
    requestAnimationFrame(paint);
    if (scene.picture === "none") return;
    const t = scene.picture === "still" ? 4000 : performance.now();
    c.fillStyle = "#e9e2d3";
    c.fillRect(0, 0, 1280, 720);
    c.fillStyle = "#d8cfbc";
    c.fillRect(0, 520, 1280, 200);
    c.fillStyle = "#3b3832";
    c.fillRect(0, 520, 1280, 26);
    for (let i = -1; i < 10; i++) {
      const x = i * 150 + ((t / 8) % 150);
      bottle(x, Math.min(1, Math.max(0, (x - 380) / 300)));
    }
    c.fillStyle = "#4a463f";
    c.fillRect(380, 0, 420, 150);
    for (let i = 0; i < 3; i++) c.fillRect(440 + i * 150, 150, 22, 70);
    // Something always changes where frames are drawn at all: coding noise of a real camera.
  };
  paint();

  const real = HTMLVideoElement.prototype.requestVideoFrameCallback;
  if (scene.rvfc === false) delete HTMLVideoElement.prototype.requestVideoFrameCallback;
  else if (real) {
    HTMLVideoElement.prototype.requestVideoFrameCallback = function (callback) {
      return real.call(this, (now, metadata) => {
        const rtpTimestamp = scene.rtp ? (rtpNow() - DELAY_MS * 90) >>> 0 : undefined;
        callback(now, { ...metadata, rtpTimestamp });
      });
    };
  }

  const made0 = 48213;
  function samples(full) {
    const t = performance.now();
    const taken = utcUs() - (scene.quality === "stale" ? 9_000_000 : scene.lag * 1000);
    const wave = (period, depth) => Math.sin(t / period) * depth;
    const made = made0 + Math.floor(t / 480);
    const good = (id, value) => [id, value, taken, 2000, "good", null];
    const temp = scene.warm ? 68.6 + wave(3000, 0.4) : 64.2 + wave(3000, 0.8);
    const rows = [
      good(1, Math.round(124 + wave(5000, 3))), good(2, made), good(3, Math.floor(made / 97) - 420),
      scene.quality === "bad"
        ? [4, null, taken, 2000, "bad", "timeout after 300 ms"]
        : good(4, temp),
      good(5, 500 + wave(900, 1.2)),
      good(7, 6.02 + wave(7000, 0.05)), good(8, Math.sin(t / 900) > 0),
    ];
    if (full) rows.push(good(6, "L2411-0387"));
    if (scene.line) rows.push(good(9, scene.line));
    return rows;
  }

  class Channel {
    readyState = "connecting";
    sent = [];
    send(text) {
      this.sent.push(text);
      scene.mode = JSON.parse(text).mode ?? scene.mode;
    }
    close() {
      clearInterval(this.timer);
      this.readyState = "closed";
    }
    start() {
      this.readyState = "open";
      let seq = 0;
      this.timer = setInterval(() => {
        if (!scene.telemetry) return;
        const rows = scene.quality === "stale" && seq > 0 ? [] : samples(seq % 40 === 0);
        const message = {
          v: 1, seq: seq++, kind: "delta", rtp: rtpNow(), utc_us: utcUs(), sent_utc_us: utcUs(), clock: "locked",
          state: { state: scene.state, since_utc_us: utcUs() - 95_000_000, code: scene.code },
          mode: scene.mode ?? "exact", delay_ms: 60, viewers: 7, tags: rows,
        };
        this.onmessage?.({ data: JSON.stringify(message) });
      }, 50);
    }
  }

  window.RTCPeerConnection = class {
    connectionState = "new";
    localDescription = { sdp: "v=0\r\n" };
    addTransceiver() {
      const [track] = canvas.captureStream(30).getVideoTracks();
      const getSynchronizationSources = () => (scene.ssrc ? [{ rtpTimestamp: (rtpNow() - 6300) >>> 0 }] : []);
      if (scene.picture === "none") track.stop();
      return { receiver: { track, getSynchronizationSources } };
    }
    createDataChannel() {
      return (this.channel = window.puppetChannel = new Channel());
    }
    createOffer() {
      return Promise.resolve({ type: "offer", sdp: "v=0\r\n" });
    }
    setLocalDescription() {
      return Promise.resolve();
    }
    async setRemoteDescription() {
      window.puppet = this;
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (this.connectionState === "closed") return;
      this.channel.start();
      this.become("connected");
    }
    become(state) {
      this.connectionState = state;
      this.onconnectionstatechange?.();
    }
    getStats() {
      return Promise.resolve(new Map([["pair", { type: "candidate-pair", nominated: true, currentRoundTripTime: 0.002 }]]));
    }
    close() {
      this.connectionState = "closed";
      this.channel.close();
    }
  };
})();
