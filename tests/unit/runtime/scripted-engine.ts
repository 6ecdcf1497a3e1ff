/** An engine that "generates" a script byte by byte, with the real one's rules: run-ahead, stop, truncation, one call at a time. */
import { LutraError } from '../../../lib/graph/errors.js';
import type { ModelSpec } from '../../../lib/graph/spec.js';
import type { EngineInfo, EngineTimings, GenerateOptions, NativeEngine, NpuVerdict } from '../../../lib/native/addon.js';
import type { SessionContext } from '../../../lib/runtime/session.js';
import { Tokenizer } from '../../../lib/runtime/tokenizer.js';

/** Id of the end-of-text token; ids below are bytes. */
export const END = 256;

function byteVocabulary(): Record<string, number> {
  const vocab: Record<string, number> = {};
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    vocab[String.fromCodePoint(printable ? byte : next++)] = byte;
  }
  return vocab;
}

/** A tokenizer whose ids 0 to 255 are bytes. */
export function byteTokenizer(): Tokenizer {
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ id: END, content: '<|end|>', special: true, single_word: false, lstrip: false, rstrip: false, normalized: false }],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', dropout: null, unk_token: null, vocab: byteVocabulary(), merges: [] },
  };
  const template =
    "{% for m in messages %}{{ '[' + m.role + ':' + m.content + ']' }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";
  return new Tokenizer(json, { tokenizer_class: 'GPT2Tokenizer', chat_template: template });
}

export function context(contextSize = 1000): SessionContext {
  const spec = {
    name: 'bytes',
    arch: { vocab: 257, maxContext: 2000 },
    tokens: { bos: null, eos: [END], addBos: false },
  } as unknown as ModelSpec;
  return { spec, tokenizer: byteTokenizer(), contextSize, npu: true, why: 'a test', compiled: { kind: 'none' } };
}

export class ScriptedEngine implements NativeEngine {
  kv: number[] = [];
  /** Every call of prefill: rows and program. */
  prefills: { tokens: number[]; program: string }[] = [];
  /** Most tokens that were under way at once. */
  maxAhead = 0;
  disposed = false;
  readonly #script: number[];
  readonly #prefillMs: number;
  #at = 0;
  #stopped = false;
  #running = false;
  #unacknowledged = 0;
  #wake: (() => void) | undefined;

  /** `script`: what is generated, UTF-8; the end-of-text token follows. */
  constructor(script: string | number[], prefillMs = 0) {
    this.#script = typeof script === 'string' ? [...Buffer.from(script)] : script;
    this.#prefillMs = prefillMs;
  }

  info(): EngineInfo {
    return {
      backend: null,
      segments: [],
      context: 'none',
      loadMs: { map: 0, plan: 0, graphs: 0 },
      bytes: { weights: 0, activations: 0, kvCache: 0, shadow: 0, shadowPinned: 0 },
      kernels: 'scripted',
    };
  }

  async prefill(tokens: Uint32Array, _logits: string, program: 'npu' | 'cpu'): Promise<Float32Array> {
    if (this.#running) throw new LutraError('LUTRA_BUSY', 'busy');
    this.#running = true;
    this.#stopped = false;
    await new Promise((resolve) => setTimeout(resolve, this.#prefillMs));
    this.#running = false;
    if (this.#stopped) throw new LutraError('LUTRA_ABORTED', 'stopped');
    this.kv.push(...tokens);
    this.prefills.push({ tokens: [...tokens], program });
    return new Float32Array(257);
  }

  async checkNpu(): Promise<NpuVerdict> {
    return { right: true, segments: 0, error: 0, what: '' };
  }

  async generate(
    options: GenerateOptions,
    onToken: (token: number) => void,
  ): Promise<{ reason: 'stop' | 'length' | 'aborted'; tokens: number }> {
    if (this.#running) throw new LutraError('LUTRA_BUSY', 'busy');
    this.#running = true;
    this.#stopped = false;
    this.#unacknowledged = 0;
    let count = 0;
    try {
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        while (!this.#stopped && this.#unacknowledged >= options.runAhead) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
        if (this.#stopped) return { reason: 'aborted', tokens: count };
        const token = this.#script[this.#at] ?? END;
        if (options.stopTokens.includes(token)) return { reason: 'stop', tokens: count };
        this.#at++;
        this.#unacknowledged++;
        this.maxAhead = Math.max(this.maxAhead, this.#unacknowledged);
        onToken(token);
        if (++count >= options.maxTokens) return { reason: 'length', tokens: count }; // the last token is never computed
        this.kv.push(token);
      }
    } finally {
      this.#running = false;
    }
  }

  acknowledge(count: number): void {
    this.#unacknowledged -= count;
    this.#wake?.();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  truncate(length: number): void {
    if (this.#running) throw new LutraError('LUTRA_BUSY', 'busy');
    this.kv.length = length;
  }

  length(): number {
    return this.kv.length;
  }

  timings(): EngineTimings {
    return {
      prefillTokens: 5,
      prefillMs: 10,
      decodeTokens: 3,
      decodeMs: 6,
      draftedTokens: 0,
      acceptedTokens: 0,
      npuMs: 0,
      graphCalls: 0,
      cpuMs: 0,
      prefillCpuMs: 0,
      decodeCpuMs: 0,
      prefillAttentionMs: 0,
      decodeAttentionMs: 0,
      shadowMs: 0,
      repairedInputs: 0,
      hotInputs: 0,
      repairedOutputs: 0,
    };
  }

  observations(): Float64Array[] {
    return [];
  }

  restoreObservations(): void {}

  peek(): Float32Array {
    return new Float32Array();
  }

  async dispose(): Promise<undefined> {
    this.disposed = true;
    this.stop();
  }
}
