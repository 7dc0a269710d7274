import { describe, expect, test } from "vitest";
import { adaptedModel } from "../../test/tiny-lora.ts";
import { modelFromConfig } from "../models/auto.ts";
import { Dropout, Embedding, LayerNorm, Linear, pythonNumber } from "./layers.ts";
import { countParameters, freeze, Module, ModuleList, Sequential } from "./module.ts";

class Block extends Module {
  linear: Linear;
  norm: LayerNorm;

  constructor(width: number) {
    super();
    this.linear = new Linear(width, width);
    this.norm = new LayerNorm(width);
  }

  forward(): never {
    throw new Error("not run");
  }
}

describe("the printed tree", () => {
  // The expected texts are what torch 2.15 and transformers 5.23 print for the same models.
  test("GPT-2 with a classification head", () => {
    const { model } = modelFromConfig({ model_type: "gpt2", pad_token_id: 50256 });
    expect(String(model)).toBe(GPT2_TREE);
  });

  test("GPT-2 as a language model has its tied head", () => {
    const { model } = modelFromConfig({ model_type: "gpt2" }, "CAUSAL_LM");
    expect(String(model).split("\n").slice(-3)).toEqual([
      "  )",
      "  (lm_head): Linear(in_features=768, out_features=50257, bias=False)",
      ")",
    ]);
    expect(countParameters(model)).toBe(124_439_808);
  });

  test("BERT with a classification head", () => {
    const { model } = modelFromConfig({ model_type: "bert" });
    expect(String(model)).toBe(BERT_TREE);
  });

  test("LoRA layers show what they hold", async () => {
    const { model } = adaptedModel("gpt2", { r: 2, loraDropout: 0.1 });
    expect(String(model.getModule("transformer.h.0.attn.c_attn"))).toMatchInlineSnapshot(`
      "LoraLinear(
        (base_layer): Conv1D(nf=24, nx=8)
        (lora_dropout): Dropout(p=0.1, inplace=False)
        (lora_A): Linear(in_features=8, out_features=2, bias=False)
        (lora_B): Linear(in_features=2, out_features=24, bias=False)
      )"
    `);
  });

  test("only neighbours that print the same are drawn together", () => {
    const list = new ModuleList([new Linear(1, 2), new Linear(1, 2), new Linear(2, 1)]);
    expect(String(list)).toMatchInlineSnapshot(`
      "ModuleList(
        (0-1): 2 x Linear(in_features=1, out_features=2, bias=True)
        (2): Linear(in_features=2, out_features=1, bias=True)
      )"
    `);
    expect(String(new ModuleList([]))).toBe("ModuleList()");
    const inOrder = new Sequential(new Linear(1, 2), new Linear(1, 2)) as Module;
    expect(String(inOrder)).toMatchInlineSnapshot(`
      "Sequential(
        (0): Linear(in_features=1, out_features=2, bias=True)
        (1): Linear(in_features=1, out_features=2, bias=True)
      )"
    `);
  });

  test("numbers are written as in Python", () => {
    const numbers = [0, 1, 0.1, 1e-5, 1e-12, 0.0001, 1.5e-7];
    expect(numbers.map(pythonNumber)).toEqual([
      "0.0",
      "1.0",
      "0.1",
      "1e-05",
      "1e-12",
      "0.0001",
      "1.5e-07",
    ]);
    expect(String(new Embedding(3, 2, { paddingIdx: 0 }))).toBe("Embedding(3, 2, padding_idx=0)");
    expect(String(new Dropout(0))).toBe("Dropout(p=0.0, inplace=False)");
  });
});

describe("modules", () => {
  test("parameters by path, in the order of the fields", () => {
    const model = new Sequential(new Block(2) as never, new Block(2) as never);
    expect([...model.namedParameters().keys()]).toEqual([
      "0.linear.weight",
      "0.linear.bias",
      "0.norm.weight",
      "0.norm.bias",
      "1.linear.weight",
      "1.linear.bias",
      "1.norm.weight",
      "1.norm.bias",
    ]);
  });

  test.each([
    [undefined, 4],
    [4, -1],
    [1.5, 2],
    [4, NaN],
    ["4", 4],
  ])("sizes %s, %s are none", (from, to) => {
    expect(() => new Linear(from as number, to as number)).toThrow(
      "parameter: expected a shape of whole numbers, got [",
    );
  });

  test("a shared parameter counts once, under its first path", () => {
    const [first, second] = [new Linear(4, 4, { bias: false }), new Linear(4, 4, { bias: false })];
    second.weight = first.weight;
    const model = new Sequential(first, second);
    expect([...model.namedParameters().keys()]).toEqual(["0.weight"]);
    expect(countParameters(model)).toBe(16);
  });

  test("counting and freezing", () => {
    const model = new Sequential(new Linear(3, 4), new Linear(4, 2));
    expect(countParameters(model)).toBe(3 * 4 + 4 + 4 * 2 + 2);
    freeze(model.layers[0]!);
    expect(countParameters(model, { trainable: true })).toBe(4 * 2 + 2);
    expect(countParameters(model, { trainable: false })).toBe(3 * 4 + 4);
  });

  test("training mode reaches every part and tells it its path", () => {
    const model = new Sequential(new Dropout(0.5), new Sequential(new Dropout(0.5)));
    model.train();
    const inner = model.getModule("1.0");
    expect([inner.training, inner.path]).toEqual([true, "1.0"]);
    model.eval();
    expect(inner.training).toBe(false);
  });

  test("an unknown path", () => {
    expect(() => new Linear(1, 1).getModule("a.b")).toThrow('the model has no module "a.b".');
    expect(() => new ModuleList([]).forward()).toThrow("has no forward of its own");
  });
});

const GPT2_TREE = `GPT2ForSequenceClassification(
  (transformer): GPT2Model(
    (wte): Embedding(50257, 768)
    (wpe): Embedding(1024, 768)
    (drop): Dropout(p=0.1, inplace=False)
    (h): ModuleList(
      (0-11): 12 x GPT2Block(
        (ln_1): LayerNorm((768,), eps=1e-05, elementwise_affine=True, bias=True)
        (attn): GPT2Attention(
          (c_attn): Conv1D(nf=2304, nx=768)
          (c_proj): Conv1D(nf=768, nx=768)
          (attn_dropout): Dropout(p=0.1, inplace=False)
          (resid_dropout): Dropout(p=0.1, inplace=False)
        )
        (ln_2): LayerNorm((768,), eps=1e-05, elementwise_affine=True, bias=True)
        (mlp): GPT2MLP(
          (c_fc): Conv1D(nf=3072, nx=768)
          (c_proj): Conv1D(nf=768, nx=3072)
          (act): NewGELUActivation()
          (dropout): Dropout(p=0.1, inplace=False)
        )
      )
    )
    (ln_f): LayerNorm((768,), eps=1e-05, elementwise_affine=True, bias=True)
  )
  (score): Linear(in_features=768, out_features=2, bias=False)
)`;

const BERT_TREE = `BertForSequenceClassification(
  (bert): BertModel(
    (embeddings): BertEmbeddings(
      (word_embeddings): Embedding(30522, 768, padding_idx=0)
      (position_embeddings): Embedding(512, 768)
      (token_type_embeddings): Embedding(2, 768)
      (LayerNorm): LayerNorm((768,), eps=1e-12, elementwise_affine=True, bias=True)
      (dropout): Dropout(p=0.1, inplace=False)
    )
    (encoder): BertEncoder(
      (layer): ModuleList(
        (0-11): 12 x BertLayer(
          (attention): BertAttention(
            (self): BertSelfAttention(
              (query): Linear(in_features=768, out_features=768, bias=True)
              (key): Linear(in_features=768, out_features=768, bias=True)
              (value): Linear(in_features=768, out_features=768, bias=True)
              (dropout): Dropout(p=0.1, inplace=False)
            )
            (output): BertSelfOutput(
              (dense): Linear(in_features=768, out_features=768, bias=True)
              (LayerNorm): LayerNorm((768,), eps=1e-12, elementwise_affine=True, bias=True)
              (dropout): Dropout(p=0.1, inplace=False)
            )
          )
          (intermediate): BertIntermediate(
            (dense): Linear(in_features=768, out_features=3072, bias=True)
            (intermediate_act_fn): GELUActivation()
          )
          (output): BertOutput(
            (dense): Linear(in_features=3072, out_features=768, bias=True)
            (LayerNorm): LayerNorm((768,), eps=1e-12, elementwise_affine=True, bias=True)
            (dropout): Dropout(p=0.1, inplace=False)
          )
        )
      )
    )
    (pooler): BertPooler(
      (dense): Linear(in_features=768, out_features=768, bias=True)
      (activation): Tanh()
    )
  )
  (dropout): Dropout(p=0.1, inplace=False)
  (classifier): Linear(in_features=768, out_features=2, bias=True)
)`;
