// Runs in the page: reads the calibration strip of every presented frame,
// 16 squares of 32 px from the top left, Gray code, most significant first,
// white is one, of the line's 25 Hz tick.

(() => {
  const SQUARES = 16;
  const SIDE = 32;
  const video = document.getElementById("video");
  const canvas = document.createElement("canvas");
  canvas.width = SQUARES * SIDE;
  canvas.height = SIDE;
  const c = canvas.getContext("2d", { willReadFrequently: true });
  const read = [];
  window.stripRead = read;

  /** The tick, or null if a square is neither black nor white. */
  const tick = () => {
    c.drawImage(video, 0, 0, canvas.width, SIDE, 0, 0, canvas.width, SIDE);
    const { data } = c.getImageData(0, SIDE / 2, canvas.width, 1);
    let gray = 0;
    for (let i = 0; i < SQUARES; i++) {
      const level = data[(i * SIDE + SIDE / 2) * 4 + 1];
      if (level > 80 && level < 170) return null;
      gray = gray * 2 + (level >= 170 ? 1 : 0);
    }
    let value = gray;
    for (let shift = 1; shift < SQUARES; shift *= 2) value ^= value >> shift;
    return value;
  };

  const step = (_, metadata) => {
    video.requestVideoFrameCallback(step);
    if (read.length < 6000) read.push({ rtp: metadata.rtpTimestamp, tick: tick(), width: metadata.width });
  };
  video.requestVideoFrameCallback(step);
})();
