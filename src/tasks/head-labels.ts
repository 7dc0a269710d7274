/** @file The labels of an adapter from elsewhere: the base model's configuration may name them. */
import { z } from "zod";

const namesSchema = z.record(z.string(), z.string());

/** The names of a head's outputs: `id2label` where it is for a head of this size, else LABEL_0, LABEL_1, … as in transformers.
 * What `id2label` may say besides is refused when the model is built. */
export function labelsOfHead(
  { id2label }: Readonly<Record<string, unknown>>,
  outputs: number,
): string[] {
  const parsed = namesSchema.safeParse(id2label);
  const names = parsed.success && Object.keys(parsed.data).length === outputs ? parsed.data : {};
  return Array.from({ length: outputs }, (_, id) => names[id] ?? `LABEL_${id}`);
}
