/** @file The heads that make a bare model one for a task. Parts stand under transformers' names, which
 * are the keys of checkpoints and adapters. Letters: L labels. */
import type { Tensor } from "../graph/node.ts";
import { Dropout, Linear } from "../nn/layers.ts";
import { Module, type Layer } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import type { Model, ModelInputs } from "./family.ts";
import { lastToken } from "./pooling.ts";

/** A model without head: hidden states [B, T, C] of its inputs. */
export interface BareModel extends Module {
  forward(inputs: ModelInputs): Tensor;
}

/** A bare model and how transformers calls things. */
export interface Bare {
  /** The name of its part: "transformer", "bert". */
  readonly name: string;
  readonly model: BareModel;
  /** C, the width of its hidden states. */
  readonly width: number;
  /** Whether the class in transformers makes its head first: it is then printed first. */
  readonly comesLast?: boolean;
}

/** Named parts and a function of them. The parts are looked up at every call, since an adapter may have
 * taken their place. */
export class ModelWithHead extends Module implements Model {
  readonly #logits: (part: (name: string) => Layer, inputs: ModelInputs) => Tensor;

  /** @param typeName the class in transformers, printed */
  constructor(
    typeName: string,
    parts: Readonly<Record<string, Module>>,
    logits: (part: (name: string) => Layer, inputs: ModelInputs) => Tensor,
  ) {
    super();
    this.printedAs(typeName);
    this.#logits = logits;
    for (const [name, part] of Object.entries(parts)) this.setChild(name, part);
  }

  forward(inputs: ModelInputs): Tensor {
    return this.#logits((name) => this.getChild(name) as Layer, inputs);
  }
}

/** What the bare model among the parts computes: [B, T, C]. */
export const hiddenStates = (model: Module, inputs: ModelInputs): Tensor =>
  (model as BareModel).forward(inputs);

/** The parts of a model in the order of the class in transformers. */
export function partsOf({ name, model, comesLast = false }: Bare, head: Record<string, Module>) {
  return comesLast ? { ...head, [name]: model } : { [name]: model, ...head };
}

export interface LanguageModelOptions {
  /** Name of the output projection. Default "lm_head". */
  readonly head?: string;
  readonly vocabSize: number;
  /** The token embedding's weight where the projection shares it, without what an adapter adds to that. */
  readonly tied?: Parameter | undefined;
  /** What is done to the logits; default nothing. */
  readonly transform?: (logits: Tensor) => Tensor;
}

/** Next-token prediction, in two steps: with a large vocabulary V, logits need not be there for all tokens
 * at once. */
export class LanguageModel extends Module implements Model {
  /** V */
  readonly vocabSize: number;
  readonly #bare: string;
  readonly #head: string;
  readonly #transform: (logits: Tensor) => Tensor;

  constructor(typeName: string, bare: Bare, options: LanguageModelOptions) {
    super();
    const { head = "lm_head", vocabSize, tied, transform = (logits) => logits } = options;
    const projection = new Linear(bare.width, vocabSize, { bias: false });
    if (tied) projection.weight = tied;
    const parts = partsOf(bare, { [head]: projection });
    for (const [name, part] of Object.entries(parts)) this.setChild(name, part);
    this.printedAs(typeName);
    this.vocabSize = vocabSize;
    this.#bare = bare.name;
    this.#head = head;
    this.#transform = transform;
  }

  /** [B, T, C] */
  hiddenStates(inputs: ModelInputs): Tensor {
    return hiddenStates(this.getChild(this.#bare), inputs);
  }

  /** Hidden states [..., C] → [..., V]. */
  logits(hidden: Tensor): Tensor {
    return this.#transform((this.getChild(this.#head) as Layer).forward(hidden));
  }

  /** Logits [B, T, V]. */
  forward(inputs: ModelInputs): Tensor {
    return this.logits(this.hiddenStates(inputs));
  }
}

/** A bare model with an output projection. */
export function languageModel(
  typeName: string,
  bare: Bare,
  options: LanguageModelOptions,
): LanguageModel {
  return new LanguageModel(typeName, bare, options);
}

/** Sequence classification by a decoder's last token: logits [B, L]. */
export function lastTokenClassifier(
  typeName: string,
  bare: Bare,
  { labels, padTokenId }: { labels: number; padTokenId: number | undefined },
): Model {
  const parts = partsOf(bare, { score: new Linear(bare.width, labels, { bias: false }) });
  return new ModelWithHead(typeName, parts, (part, inputs) =>
    part("score").forward(lastToken(hiddenStates(part(bare.name), inputs), inputs, padTokenId)),
  );
}

export interface TokenClassifierOptions {
  readonly labels: number;
  /** Name of the projection. Default "classifier". */
  readonly head?: string;
  /** Probability of the dropout before it. */
  readonly dropout: number;
}

/** Token classification: logits [B, T, L]. */
export function tokenClassifier(
  typeName: string,
  bare: Bare,
  { labels, head = "classifier", dropout }: TokenClassifierOptions,
): Model {
  const parts = partsOf(bare, {
    dropout: new Dropout(dropout),
    [head]: new Linear(bare.width, labels),
  });
  return new ModelWithHead(typeName, parts, (part, inputs) =>
    part(head).forward(part("dropout").forward(hiddenStates(part(bare.name), inputs))),
  );
}

/** Question answering: logits [B, T, 2], of the answer's start and of its end. `dropout`: applied before
 * the head where the family has one. */
export function spanClassifier(typeName: string, bare: Bare, dropout?: number): Model {
  const parts = partsOf(bare, {
    qa_outputs: new Linear(bare.width, 2),
    ...(dropout === undefined ? {} : { dropout: new Dropout(dropout) }),
  });
  return new ModelWithHead(typeName, parts, (part, inputs) => {
    const hidden = hiddenStates(part(bare.name), inputs);
    return part("qa_outputs").forward(
      dropout === undefined ? hidden : part("dropout").forward(hidden),
    );
  });
}
