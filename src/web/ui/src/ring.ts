// The newest `capacity` things, oldest first. Full: the oldest goes.

export class Ring<T> {
  private readonly items: T[] = [];
  private start = 0;

  constructor(readonly capacity: number) {}

  get length(): number {
    return this.items.length;
  }

  push(item: T): void {
    if (this.items.length < this.capacity) {
      this.items.push(item);
    } else {
      this.items[this.start] = item;
      this.start = (this.start + 1) % this.capacity;
    }
  }

  clear(): void {
    this.items.length = 0;
    this.start = 0;
  }

  last(): T | undefined {
    const n = this.items.length;
    return n === 0 ? undefined : this.items[(this.start + n - 1) % n];
  }

  toArray(): T[] {
    return [...this.items.slice(this.start), ...this.items.slice(0, this.start)];
  }

  forEach(visit: (item: T) => void): void {
    const n = this.items.length;
    for (let i = 0; i < n; i++) visit(this.items[(this.start + i) % n] as T);
  }
}
