// What the viewer chose last time; storage may be forbidden.

export const remember = {
  get(key: string): string | null {
    try {
      return localStorage.getItem(`floorcast.${key}`);
    } catch {
      return null;
    }
  },
  set(key: string, value: string): void {
    try {
      localStorage.setItem(`floorcast.${key}`, value);
    } catch {
      // Private windows forget: so be it.
    }
  },
};
