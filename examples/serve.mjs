// A model behind OpenAI's endpoints, asked by one client, then closed.
//
//   node examples/serve.mjs DIR [PROMPT]      DIR: a converted model
import { serve } from 'lutra';

const [directory, prompt = 'What is an otter?'] = process.argv.slice(2);
const server = await serve(directory, { port: 0 });
console.log(`${server.name} at ${server.url}`);

const response = await fetch(`${server.url}/v1/chat/completions`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ model: server.name, messages: [{ role: 'user', content: prompt }], temperature: 0, max_tokens: 60 }),
});
const answer = await response.json();
console.log(answer.choices?.[0].message.content ?? answer.error.message);
console.log(answer.usage);

await server.close();
