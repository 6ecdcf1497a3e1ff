// node-llama-cpp in a process of its own, driven over IPC by llama.ts and by the benchmark: one request at a time, one answer each.
import { getLlama } from 'node-llama-cpp';

let model;
let context;
let sequence;

/** Logits of every position of a run of tokens, from an empty context: [tokens × vocab]. */
async function logits({ tokens }) {
  await sequence.clearHistory();
  const vocab = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
  const all = new Float32Array(tokens.length * vocab);
  await sequence.controlledEvaluate(
    tokens.map((token) => [token, { generateNext: { logits: true } }]),
    {
      onTokenResult(index, { next }) {
        const row = all.subarray(index * vocab, (index + 1) * vocab);
        for (const [token, logit] of next.logits) row[token] = logit;
      },
    },
  );
  return all;
}

/** Most likely continuation. */
async function greedy({ tokens, count }) {
  await sequence.clearHistory();
  const out = [];
  for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    out.push(token);
    if (out.length >= count) break;
  }
  return out;
}

/** Times of a prefill and of the decoding that follows, in milliseconds. */
async function time({ tokens, count }) {
  await sequence.clearHistory();
  const start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(0, -1));
  const iterator = sequence.evaluate(tokens.slice(-1), { temperature: 0, yieldEogToken: true });
  await iterator.next();
  const filled = performance.now();
  for (let i = 0; i < count; i++) await iterator.next();
  const end = performance.now();
  await iterator.return?.();
  return { prefillMs: filled - start, decodeMs: end - filled };
}

/** Empties the context and fills it. */
async function fill({ tokens }) {
  await sequence.clearHistory();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens);
}

/** Milliseconds of `count` tokens that follow the first `length` and `token`. */
async function decode({ length, token, count }) {
  await sequence.eraseContextTokenRanges([{ start: length, end: sequence.nextTokenIndex }]);
  const iterator = sequence.evaluate([token], { temperature: 0, yieldEogToken: true });
  await iterator.next();
  const start = performance.now();
  for (let i = 0; i < count; i++) await iterator.next();
  const ms = performance.now() - start;
  await iterator.return?.();
  return ms;
}

const handlers = {
  async open({ path, threads, contextSize, kv }) {
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      logLevel: 'error',
      maxThreads: threads,
    });
    model = await llama.loadModel({ modelPath: path });
    const cache = kv === 'F32' ? { experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' } : {};
    context = await model.createContext({ contextSize, batchSize: contextSize, flashAttention: false, threads, ...cache });
    sequence = context.getSequence();
  },
  logits,
  greedy,
  time,
  fill,
  decode,
  tokenize: async ({ text }) => [...model.tokenize(text, true)],
};

process.on('message', async ({ id, method, params }) => {
  try {
    process.send({ id, result: await handlers[method](params) });
  } catch (error) {
    process.send({ id, error: String(error?.stack ?? error) });
  }
});
process.on('disconnect', () => process.exit(0));
