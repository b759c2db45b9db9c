// Whether the picture differs from the last look: a small copy is compared.

const W = 64;
const H = 36;
/** A level difference of a colour that coding noise does not reach on a frozen picture. */
const LEVELS = 3;

export class Change {
  private readonly context: CanvasRenderingContext2D | null;
  private last: Uint8ClampedArray | null = null;

  constructor() {
    const canvas = document.createElement("canvas");
    canvas.width = W;
    canvas.height = H;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
  }

  /** True at the first look, and where pixels may not be read. */
  look(video: HTMLVideoElement): boolean {
    if (!this.context || video.videoWidth === 0) return true;
    this.context.drawImage(video, 0, 0, W, H);
    const now = this.context.getImageData(0, 0, W, H).data;
    const last = this.last;
    this.last = now;
    return !last || now.some((level, i) => Math.abs(level - (last[i] as number)) > LEVELS);
  }
}
