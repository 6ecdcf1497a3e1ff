// A conversation on the command line: node examples/chat.mjs DIR, where DIR is what `lutra convert` made. Ctrl-C stops an answer, an empty line ends.
import { createInterface } from 'node:readline/promises';
import { loadModel } from 'lutra';

const [directory] = process.argv.slice(2);
if (!directory) throw new Error('usage: node examples/chat.mjs DIR');

const model = await loadModel(directory);
const chat = await model.createChat({ system: 'You are a helpful assistant.' });
const lines = createInterface({ input: process.stdin, output: process.stdout });
let answer = new AbortController();
lines.on('SIGINT', () => answer.abort());
lines.setPrompt('> ');
lines.prompt();
for await (const line of lines) {
  if (line === '') break;
  answer = new AbortController();
  const generation = chat.send(line, { maxTokens: 300, signal: answer.signal });
  for await (const { text } of generation) process.stdout.write(text);
  const { decode } = await generation.result();
  process.stdout.write(`\n  (${decode.tokensPerSecond.toFixed(0)} tokens/s)\n`);
  lines.prompt();
}
lines.close();
await model.dispose();
