/** @file What is made once for each key and kept: compiled programs, weights that models share. Promises are kept, so that calls at
 * the same time make it once; what could not be made is tried again by the next call. */

export interface PromiseCacheOptions<T> {
  /** Called with what is no longer kept. */
  readonly release?: (value: T) => Promise<void>;
  /** Most that is kept; beyond it goes what was not asked for the longest. Default: no limit. */
  readonly capacity?: number;
}

export class PromiseCache<T> {
  readonly #options: PromiseCacheOptions<T>;
  /** The least recently used first. */
  readonly #kept = new Map<string, Promise<T>>();

  constructor(options: PromiseCacheOptions<T> = {}) {
    this.#options = options;
  }

  /** The value of a key, made where it is not there. */
  get(key: string, make: () => Promise<T>): Promise<T> {
    const value = this.#kept.get(key) ?? this.#make(make);
    this.#kept.delete(key);
    this.#kept.set(key, value);
    value.catch(() => {
      if (this.#kept.get(key) === value) this.#kept.delete(key);
    });
    return value;
  }

  /** Release everything. */
  async clear(): Promise<void> {
    const values = [...this.#kept.values()];
    this.#kept.clear();
    for (const value of values) await this.#release(value);
  }

  async #make(make: () => Promise<T>): Promise<T> {
    await this.#makeRoom();
    return make();
  }

  async #makeRoom(): Promise<void> {
    const { capacity = Infinity } = this.#options;
    const [oldest] = this.#kept;
    if (!oldest || this.#kept.size < capacity) return;
    this.#kept.delete(oldest[0]);
    await this.#release(oldest[1]);
  }

  /** What could not be made needs no release. */
  async #release(value: Promise<T>): Promise<void> {
    const { release } = this.#options;
    if (release) await value.then(release, () => undefined);
  }
}
