/** @file The part of the Protocol Buffers wire format that ONNX models need.
 * Source: https://protobuf.dev/programming-guides/encoding/ */

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const utf8 = new TextEncoder();

/** Collects the encoded fields of one message. */
export class ProtoWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  varint(field: number, value: number | bigint): this {
    return this.#push(encodeVarint(tag(field, VARINT)), encodeVarint(BigInt(value)));
  }

  float(field: number, value: number): this {
    return this.#push(
      encodeVarint(tag(field, FIXED32)),
      new Uint8Array(Float32Array.of(value).buffer),
    );
  }

  bytes(field: number, value: Uint8Array): this {
    return this.#push(
      encodeVarint(tag(field, LENGTH_DELIMITED)),
      encodeVarint(BigInt(value.length)),
      value,
    );
  }

  string(field: number, value: string): this {
    return this.bytes(field, utf8.encode(value));
  }

  message(field: number, message: ProtoWriter): this {
    return this.bytes(field, message.finish());
  }

  finish(): Uint8Array {
    const result = new Uint8Array(this.#length);
    let offset = 0;
    for (const part of this.#parts) {
      result.set(part, offset);
      offset += part.length;
    }
    return result;
  }

  #push(...parts: Uint8Array[]): this {
    for (const part of parts) {
      this.#parts.push(part);
      this.#length += part.length;
    }
    return this;
  }
}

function tag(field: number, wireType: number): bigint {
  return BigInt(field * 8 + wireType);
}

/** Base-128, least significant group first; negative numbers as 64-bit two's complement. */
function encodeVarint(value: bigint): Uint8Array {
  let rest = Number(value);
  if (value < 0n || rest > 0x7fffffff) return encodeLargeVarint(value);
  const bytes: number[] = [];
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

function encodeLargeVarint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
