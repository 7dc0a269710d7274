/**
 * @file BERT's text normalization, in place of the one of @huggingface/tokenizers 0.2.0, which deviates from the Rust
 * tokenizers that models were trained with: it does not set apart ideographs beyond U+FFFF, and lowercases a capital
 * sigma by its context (Σ → ς at a word's end) where Rust lowercases each character by itself (Σ → σ).
 *
 * What still deviates: characters that Unicode got after version 8 (2015). The Rust tokenizers' tables are of that
 * version and know neither accents nor punctuation among them; about 650 characters of rare scripts.
 * Source: https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/normalizers/bert.rs
 */

/** The "BertNormalizer" block of a tokenizer.json. */
export interface BertNormalizerConfig {
  clean_text?: boolean;
  handle_chinese_chars?: boolean;
  /** null: as lowercase. */
  strip_accents?: boolean | null;
  lowercase?: boolean;
}

// Control, format, private use and lone surrogates; tab and line ends count as white space.
// oxlint-disable-next-line no-control-regex
const REMOVED = /[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu;
const WHITE_SPACE = /\s/gu;
const IDEOGRAPH =
  /[\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{f900}-\u{faff}\u{2f800}-\u{2fa1f}]/gu;
const ACCENT = /\p{Mn}/gu;
const ASCII = /^[\t\n\r\x20-\x7e]*$/;

/**
 * The normalizer of a configuration: removes control characters, makes white space spaces, sets ideographs apart,
 * lowercases, strips accents.
 */
export function bertNormalizer(config: BertNormalizerConfig): (text: string) => string {
  const { clean_text: clean = true, handle_chinese_chars: spaced = true } = config;
  const { lowercase = true } = config;
  const stripped = config.strip_accents ?? lowercase;
  return (text) => {
    let result = text;
    if (ASCII.test(text)) {
      if (clean) result = result.replace(WHITE_SPACE, " ");
      return lowercase ? result.toLowerCase() : result;
    }
    if (clean) result = result.replace(REMOVED, "").replace(WHITE_SPACE, " ");
    if (spaced) result = result.replace(IDEOGRAPH, " $& ");
    if (stripped) result = result.normalize("NFD").replace(ACCENT, "");
    if (lowercase) result = result.replaceAll("Σ", "σ").toLowerCase();
    return result;
  };
}
