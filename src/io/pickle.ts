/**
 * @file Python's pickle format as far as tensors need it. A pickle is a program that may import and call anything; this one
 * imports and calls nothing: names of classes and functions stay names, and whoever calls `unpickle` says what the few that it
 * knows make. Everything else is an error that names the import.
 * Source: https://github.com/python/cpython/blob/3.13/Lib/pickletools.py
 */

/** A class or function that a pickle names: "torch._utils._rebuild_tensor_v2". */
export class PickleImport {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** What is wrong with a pickle; the caller says in which file. */
export class PickleProblem extends Error {}

export interface PickleHooks {
  /** Whether a pickle may name this class or function. */
  readonly knows: (name: string) => boolean;
  /** The result of calling a function with arguments. Throws PickleProblem where they do not fit. */
  readonly call: (name: string, args: readonly unknown[]) => unknown;
  /** What a persistent identifier stands for. Throws PickleProblem likewise. */
  readonly load: (id: unknown) => unknown;
}

/** Stands on the stack below the elements of a list, tuple or dictionary under construction. */
const MARK = Symbol("mark");

/**
 * The value of a pickle: numbers (beyond 2⁵³ bigints), text, booleans, null, arrays (lists and tuples), Maps (dictionaries), and what
 * the hooks make. Time and memory are proportional to the length: nothing is copied that a pickle repeats.
 */
export function unpickle(bytes: Uint8Array, hooks: PickleHooks): unknown {
  return new Unpickler(bytes, hooks).run();
}

class Unpickler {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #hooks: PickleHooks;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  #at = 0;

  constructor(bytes: Uint8Array, hooks: PickleHooks) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#hooks = hooks;
  }

  run(): unknown {
    for (;;) {
      const code = this.#view.getUint8(this.#take(1));
      if (code === 0x2e) return this.#pop(); // STOP
      const operation = OPERATIONS[code];
      if (!operation) {
        throw new PickleProblem(`operation 0x${code.toString(16)} is not one that tensors need`);
      }
      operation(this);
    }
  }

  /** Offset of the next `length` bytes, which are used up. */
  #take(length: number): number {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw new PickleProblem("the pickle ends early");
    this.#at += length;
    return start;
  }

  push(value: unknown): void {
    this.#stack.push(value);
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw new PickleProblem("a value is missing on the stack");
    const value = this.#stack.pop();
    if (value === MARK) throw new PickleProblem("a value is missing on the stack");
    return value;
  }

  mark(): void {
    this.#stack.push(MARK);
  }

  /** Everything above the last mark. */
  #popToMark(): unknown[] {
    const place = this.#stack.lastIndexOf(MARK);
    if (place === -1) throw new PickleProblem("a mark is missing on the stack");
    const values = this.#stack.splice(place);
    return values.slice(1);
  }

  unsigned(size: 1 | 2 | 4 | 8): number {
    const at = this.#take(size);
    if (size === 1) return this.#view.getUint8(at);
    if (size === 2) return this.#view.getUint16(at, true);
    if (size === 4) return this.#view.getUint32(at, true);
    const value = this.#view.getBigUint64(at, true);
    if (value > BigInt(this.#bytes.length)) throw new PickleProblem("the pickle ends early");
    return Number(value);
  }

  signed32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  float64(): number {
    return this.#view.getFloat64(this.#take(8));
  }

  /** Little-endian two's complement of any length. */
  long(length: number): number | bigint {
    const start = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[start + i]!);
    value = BigInt.asIntN(8 * length, value);
    const isSafe = value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER;
    return isSafe ? Number(value) : value;
  }

  text(length: number): string {
    const start = this.#take(length);
    try {
      const bytes = this.#bytes.subarray(start, start + length);
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new PickleProblem("a text is not UTF-8");
    }
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end === -1) throw new PickleProblem("the pickle ends early");
    const text = this.text(end - this.#at);
    this.#take(1);
    return text;
  }

  tuple(size: number): void {
    this.push(Array.from({ length: size }, () => this.#pop()).toReversed());
  }

  markedTuple(): void {
    this.push(this.#popToMark());
  }

  append(values: readonly unknown[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw new PickleProblem("expected a list to append to");
    for (const value of values) list.push(value);
  }

  appendOne(): void {
    const value = this.#pop();
    this.append([value]);
  }

  appendMarked(): void {
    this.append(this.#popToMark());
  }

  setItems(pairs: readonly unknown[]): void {
    const target = this.#top();
    if (!(target instanceof Map) || pairs.length % 2 === 1) {
      throw new PickleProblem("expected a dictionary and pairs to put into it");
    }
    for (let i = 0; i < pairs.length; i += 2) target.set(pairs[i], pairs[i + 1]);
  }

  setOne(): void {
    const value = this.#pop();
    this.setItems([this.#pop(), value]);
  }

  setMarked(): void {
    this.setItems(this.#popToMark());
  }

  #top(): unknown {
    const value = this.#pop();
    this.push(value);
    return value;
  }

  put(place: number): void {
    this.#memo.set(place, this.#top());
  }

  memoize(): void {
    this.put(this.#memo.size);
  }

  get(place: number): void {
    if (!this.#memo.has(place)) throw new PickleProblem("a stored value is missing");
    this.push(this.#memo.get(place));
  }

  importName(module: unknown, name: unknown): void {
    if (typeof module !== "string" || typeof name !== "string") {
      throw new PickleProblem("an import without a name");
    }
    const full = `${module}.${name}`;
    if (!this.#hooks.knows(full)) throw new PickleProblem(`it imports ${JSON.stringify(full)}`);
    this.push(new PickleImport(full));
  }

  importFromStack(): void {
    const name = this.#pop();
    this.importName(this.#pop(), name);
  }

  call(): void {
    const [args, callee] = [this.#pop(), this.#pop()];
    if (!(callee instanceof PickleImport) || !Array.isArray(args)) {
      throw new PickleProblem("a call of something that is no function");
    }
    this.push(this.#hooks.call(callee.name, args));
  }

  /** Attributes of an OrderedDict, such as a state dict's `_metadata`: not needed. */
  build(): void {
    this.#pop();
    if (!(this.#top() instanceof Map)) {
      throw new PickleProblem("a state for something that is no dictionary");
    }
  }

  persistent(): void {
    this.push(this.#hooks.load(this.#pop()));
  }
}

type Operation = (machine: Unpickler) => void;

/** By operation code: protocols 2 to 5, without what makes other objects. */
const OPERATIONS: Readonly<Record<number, Operation>> = {
  0x80: (m) => m.unsigned(1), // PROTO
  0x95: (m) => m.unsigned(8), // FRAME
  0x28: (m) => m.mark(), // MARK
  0x4e: (m) => m.push(null), // NONE
  0x88: (m) => m.push(true), // NEWTRUE
  0x89: (m) => m.push(false), // NEWFALSE
  0x4b: (m) => m.push(m.unsigned(1)), // BININT1
  0x4d: (m) => m.push(m.unsigned(2)), // BININT2
  0x4a: (m) => m.push(m.signed32()), // BININT
  0x8a: (m) => m.push(m.long(m.unsigned(1))), // LONG1
  0x47: (m) => m.push(m.float64()), // BINFLOAT
  0x8c: (m) => m.push(m.text(m.unsigned(1))), // SHORT_BINUNICODE
  0x58: (m) => m.push(m.text(m.unsigned(4))), // BINUNICODE
  0x8d: (m) => m.push(m.text(m.unsigned(8))), // BINUNICODE8
  0x29: (m) => m.push([]), // EMPTY_TUPLE
  0x85: (m) => m.tuple(1), // TUPLE1
  0x86: (m) => m.tuple(2), // TUPLE2
  0x87: (m) => m.tuple(3), // TUPLE3
  0x74: (m) => m.markedTuple(), // TUPLE
  0x5d: (m) => m.push([]), // EMPTY_LIST
  0x61: (m) => m.appendOne(), // APPEND
  0x65: (m) => m.appendMarked(), // APPENDS
  0x7d: (m) => m.push(new Map()), // EMPTY_DICT
  0x73: (m) => m.setOne(), // SETITEM
  0x75: (m) => m.setMarked(), // SETITEMS
  0x71: (m) => m.put(m.unsigned(1)), // BINPUT
  0x72: (m) => m.put(m.unsigned(4)), // LONG_BINPUT
  0x94: (m) => m.memoize(), // MEMOIZE
  0x68: (m) => m.get(m.unsigned(1)), // BINGET
  0x6a: (m) => m.get(m.unsigned(4)), // LONG_BINGET
  0x63: (m) => m.importName(m.line(), m.line()), // GLOBAL
  0x93: (m) => m.importFromStack(), // STACK_GLOBAL
  0x52: (m) => m.call(), // REDUCE
  0x62: (m) => m.build(), // BUILD
  0x51: (m) => m.persistent(), // BINPERSID
};
