/** @file Long token sequences in overlapping windows, each of which a model can take. */

/** Tokens from … to - 1. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/**
 * Windows over `length` tokens: each of at most `room`, neighbours share `stride` of them, the last ends with the
 * sequence. As truncation with a stride does in Hugging Face's tokenizers. A sequence of no tokens is one empty window.
 *
 * A stride that leaves no room to move on (a long question beside the text) is cut to half of the room.
 *
 * @param room at least 1
 */
export function windowsOf(length: number, room: number, stride: number): Window[] {
  const step = room - (stride < room ? stride : Math.floor(room / 2));
  const windows: Window[] = [];
  for (let from = 0; ; from += step) {
    const to = Math.min(from + room, length);
    windows.push({ from, to });
    if (to === length) return windows;
  }
}
