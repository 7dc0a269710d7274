/** @file What a user gives to a training run, with the descriptions of trainOptionsSchema (options.ts) where editors show them.
 * Written by options.test.ts. */
import type { z } from "zod";
import type { trainOptionsSchema } from "./options.ts";

type Given = z.input<typeof trainOptionsSchema>;

/** What a user gives: `model` and `data` at least. */
export interface TrainOptionsInput {
  /** Directory of the base model. */
  model: Given["model"];
  /** Training data: CSV, TSV, JSON, JSON lines or Parquet file; CoNLL, SQuAD or plain text for their tasks. */
  data: Given["data"];
  /** Validation data; default: a part of the training data is held out. */
  validationData?: Given["validationData"];
  /** Directory to write what is trained to. */
  output?: Given["output"];
  /** Replace an output directory that exists. Default: false. */
  overwrite?: Given["overwrite"];
  /** What to train: sequence-classification, token-classification, question-answering, causal-lm. Default: "sequence-classification". */
  task?: Given["task"];
  /** lora: train adapters; full: train the model's own weights. Default: "lora". */
  method?: Given["method"];
  /** Directory of an adapter to train on, instead of a new one; its rank, targets and the like stay. */
  adapter?: Given["adapter"];
  /** With full, modules whose weights are trained, beside the head: names or path endings, or one regular expression for whole paths; default: all. */
  trainModules?: Given["trainModules"];
  /** With full, train the last layers, so many, what follows them, and the head. */
  trainLastLayers?: Given["trainLastLayers"];
  /** What to write: the adapter (lora), the whole model, or its change W' - W; default for full: the model. */
  save?: Given["save"];
  /** With full, data type of the stored weights; f32 restores them exactly. Default: "f32". */
  saveDtype?: Given["saveDtype"];
  /** Column of the texts; default: by its usual names. */
  textColumn?: Given["textColumn"];
  /** Column of the second texts of pairs; default: by its usual names. */
  textPairColumn?: Given["textPairColumn"];
  /** Column of the labels; default: by its usual names. */
  labelColumn?: Given["labelColumn"];
  /** Column of the questions; default: by its usual names. */
  questionColumn?: Given["questionColumn"];
  /** Column of the texts that hold the answers; default: by its usual names. */
  contextColumn?: Given["contextColumn"];
  /** Column of the answers, with their places; default: by its usual names. */
  answersColumn?: Given["answersColumn"];
  /** Column of the answers' places; default: by its usual names. */
  answerStartColumn?: Given["answerStartColumn"];
  /** Column of the tokens; default: by its usual names. */
  tokensColumn?: Given["tokensColumn"];
  /** Column of the tokens' tags; default: by its usual names. */
  tagsColumn?: Given["tagsColumn"];
  /** Column of the entities' places in the text; default: by its usual names. */
  spansColumn?: Given["spansColumn"];
  /** Column of the prompts; default: by its usual names. */
  promptColumn?: Given["promptColumn"];
  /** Column of the completions; default: by its usual names. */
  completionColumn?: Given["completionColumn"];
  /** Share of the training data that is held out, classes in proportion; 0: none. Default: 0.1. */
  validationSplit?: Given["validationSplit"];
  /** What sequence classification predicts: single (one label), multi (several) or regression (a number); auto: by the labels. Default: "auto". */
  problemType?: Given["problemType"];
  /** What stands between the labels of a text; default: found among ; | ,. */
  labelSeparator?: Given["labelSeparator"];
  /** Lowest probability of a predicted label, where a text may have several. Default: 0.5. */
  threshold?: Given["threshold"];
  /** Weights of the classes in the loss: balanced gives each class the same total. Default: "none". */
  classWeights?: Given["classWeights"];
  /** Tokens that neighbouring windows of a long text share. Default: 128. */
  stride?: Given["stride"];
  /** Learn a word's tag from all of its tokens, not from the first alone. Default: false. */
  labelAllTokens?: Given["labelAllTokens"];
  /** Tags that the model learns, whatever those of the data: iobes also marks ends. Default: "bio". */
  tagScheme?: Given["tagScheme"];
  /** Names of the tags, in order, where the data has numbers. */
  tagNames?: Given["tagNames"];
  /** What places of entities count: utf16 units, as JavaScript, or characters, as Python. Default: "utf16". */
  spanUnit?: Given["spanUnit"];
  /** Longest answer that is predicted, in tokens. Default: 30. */
  maxAnswerTokens?: Given["maxAnswerTokens"];
  /** Predict no answer where it is this much more likely (in logits) than the best one; default: 0 where questions without answer were learned, else there always is one. */
  nullThreshold?: Given["nullThreshold"];
  /** Do not tell question and context apart by token types: as PEFT's class for question answering. Default: false. */
  dropTokenTypes?: Given["dropTokenTypes"];
  /** Replace the model's head where it is for another number of labels. Default: false. */
  newHead?: Given["newHead"];
  /** Longest sequence in tokens, longer texts are cut; default: the model's, at most 512. */
  maxLength?: Given["maxLength"];
  /** Passes over the training data. Default: 3. */
  epochs?: Given["epochs"];
  /** Optimizer steps to make, instead of epochs. */
  steps?: Given["steps"];
  /** Examples computed together. Default: 8. */
  batchSize?: Given["batchSize"];
  /** Batches that make one optimizer step. Default: 1. */
  gradientAccumulation?: Given["gradientAccumulation"];
  /** Highest learning rate; default: 0.0005 for LoRA, 0.00005 for full fine-tuning. */
  learningRate?: Given["learningRate"];
  /** Course of the learning rate after the warm-up. Default: "linear". */
  schedule?: Given["schedule"];
  /** Steps in which the learning rate rises; default: by the ratio. */
  warmupSteps?: Given["warmupSteps"];
  /** The same as a share of all steps. Default: 0.05. */
  warmupRatio?: Given["warmupRatio"];
  /** Learning rate of the adapters' B over that of A (LoRA+); default: the same. */
  loraPlusLrRatio?: Given["loraPlusLrRatio"];
  /** With LoRA+, learning rate of adapted embeddings. Default: 0.000001. */
  loraPlusLrEmbedding?: Given["loraPlusLrEmbedding"];
  /** Decoupled weight decay of AdamW. Default: 0. */
  weightDecay?: Given["weightDecay"];
  /** Longest gradient, longer ones are scaled down; 0: no clipping. Default: 1. */
  maxGradNorm?: Given["maxGradNorm"];
  /** When to evaluate: "epoch", or after so many steps. Default: "epoch". */
  evalEvery?: Given["evalEvery"];
  /** When to save on the way, to go on after a crash: "epoch", or after so many steps; default: only when stopped. */
  saveEvery?: Given["saveEvery"];
  /** Metric that the best adapter is chosen by; default: the task's own. */
  bestMetric?: Given["bestMetric"];
  /** Stop after so many evaluations without improvement; default: never. */
  earlyStopping?: Given["earlyStopping"];
  /** Seed of everything random. Default: 123. */
  seed?: Given["seed"];
  /** Rank of the adapters. Default: 16. */
  r?: Given["r"];
  /** Adapters are scaled by alpha / rank. Default: 16. */
  loraAlpha?: Given["loraAlpha"];
  /** Dropout of the adapters' input. Default: 0. */
  loraDropout?: Given["loraDropout"];
  /** Modules to adapt: names or path endings, "all-linear", one regular expression for whole paths, or null for the usual ones of the model family. Default: "all-linear". */
  targetModules?: Given["targetModules"];
  /** Modules to leave out, named likewise. */
  excludeModules?: Given["excludeModules"];
  /** Numbers of the layers to adapt; default all. */
  layersToTransform?: Given["layersToTransform"];
  /** Name of the list of layers that those numbers count. */
  layersPattern?: Given["layersPattern"];
  /** Another rank for modules whose path ends in a key. Default: {}. */
  rankPattern?: Given["rankPattern"];
  /** Another alpha for modules whose path ends in a key. Default: {}. */
  alphaPattern?: Given["alphaPattern"];
  /** Modules that are trained and stored whole; the task's head is by itself. */
  modulesToSave?: Given["modulesToSave"];
  /** Which biases are trained. Default: "none". */
  bias?: Given["bias"];
  /** Scale adapters by alpha / sqrt(rank). Default: false. */
  useRslora?: Given["useRslora"];
  /** Weight-decomposed LoRA (DoRA). Default: false. */
  useDora?: Given["useDora"];
  /** Initial adapters: true (kaiming-uniform A, B = 0), "gaussian", "pissa", "pissa_niter_4" or "olora" (parts of the weights), or false (both random). Default: true. */
  initLoraWeights?: Given["initLoraWeights"];
  /** Tokens whose rows of the input embedding are trained as well, by their numbers. */
  trainableTokenIndices?: Given["trainableTokenIndices"];
  /** Dropout of the base model while training; default: as its config.json says. */
  dropout?: Given["dropout"];
  /** Where to compute; auto: cuda where it works, else cpu. Default: "cpu". */
  device?: Given["device"];
  /** CPU threads; 0: one per core. Default: 0. */
  threads?: Given["threads"];
}
