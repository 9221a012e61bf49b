/**
 * A map from numbers to a few values that come and go all the time, in order of arrival.
 *
 * Why not a Map: JavaScriptCore's leaves each table that it outgrew or rehashed pointing to the next
 * one. Once one of them is old, the young collection keeps every table after it, and with them all the
 * values that were in them: a third of what requests allocated lived until the next full collection.
 * For the some sixty entries that there may be here, looking through an array is as quick.
 */
export class SmallMap<V> {
  readonly #keys: number[] = [];
  readonly #values: V[] = [];

  get size(): number {
    return this.#keys.length;
  }

  get(key: number): V | undefined {
    const at = this.#keys.indexOf(key);
    return at === -1 ? undefined : this.#values[at];
  }

  has(key: number): boolean {
    return this.#keys.includes(key);
  }

  /** The key must not be here yet. */
  add(key: number, value: V): void {
    this.#keys.push(key);
    this.#values.push(value);
  }

  /** Returns whether it was here. */
  delete(key: number): boolean {
    const at = this.#keys.indexOf(key);
    if (at === -1) return false;
    this.#keys.copyWithin(at, at + 1).pop();
    this.#values.copyWithin(at, at + 1).pop();
    return true;
  }

  clear(): void {
    this.#keys.length = 0;
    this.#values.length = 0;
  }

  /** As they are now: what is added or deleted later does not change them. */
  values(): V[] {
    return this.#values.slice();
  }

  /** As they are now: what is added or deleted later does not change them. */
  entries(): [number, V][] {
    return this.#keys.map((key, at) => [key, this.#values[at] as V]);
  }
}
