/** `lutra serve`: an OpenAI-compatible server before one model. */
import { isLoopback } from '../server/access.js';
import { type LutraServer, type ServeOptions, serve } from '../server/index.js';
import type { Arguments, Command } from './args.js';
import { loadOptions, modelFlags, optional } from './model-flags.js';
import { describeError, note, print } from './output.js';
import { describePlacement } from './run.js';

export const serveCommand: Command = {
  name: 'serve',
  summary: 'Serves a converted model over HTTP, with the endpoints of OpenAI and a page to try it.',
  positionals: ['DIR'],
  flags: {
    host: { value: 'ADDRESS', help: 'where to listen (default 127.0.0.1: this machine only)' },
    port: { value: 'N', help: 'port (default 8080; 0: a free one)' },
    'api-key': { value: 'KEY', help: 'what clients must send as bearer token (default: LUTRA_API_KEY, or nothing)' },
    name: { value: 'TEXT', help: "what clients call the model (default: the directory's name)" },
    'cors-origin': { value: 'ORIGIN', multiple: true, help: 'web pages of this origin may ask (may be repeated; default: none)' },
    queue: { value: 'N', help: 'requests that may wait; the next gets 429 (default 64)' },
    sessions: { value: 'N', help: 'conversations whose prompts are kept computed (default 4)' },
    'session-bytes': { value: 'N', help: 'memory that these may have (default 1073741824)' },
    'body-limit': { value: 'N', help: 'longest body of a request in bytes (default 1048576)' },
    'drain-ms': { value: 'N', help: 'how long answers under way may take when the server is told to stop (default 10000)' },
    ...modelFlags,
  },
  run,
};

function serveOptions(args: Arguments): ServeOptions {
  return {
    ...optional('host', args.string('host')),
    ...optional('port', args.integer('port')),
    ...optional('apiKey', args.string('api-key') ?? process.env.LUTRA_API_KEY),
    ...optional('name', args.string('name')),
    corsOrigins: [...args.list('cors-origin')],
    ...optional('queue', args.integer('queue')),
    ...optional('sessions', args.integer('sessions', 1)),
    ...optional('sessionBytes', args.integer('session-bytes')),
    ...optional('bodyLimit', args.integer('body-limit')),
    ...optional('drainMs', args.integer('drain-ms')),
    model: loadOptions(args),
    onError: (error) => note(describeError(error)),
  };
}

async function run(args: Arguments): Promise<void> {
  const options = serveOptions(args);
  const server = await serve(args.positionals[0] ?? '', options);
  for (const line of describePlacement(server.placement)) note(line);
  if (!isLoopback(options.host ?? '127.0.0.1') && options.apiKey === undefined)
    note('Everybody who reaches this address can use the model: there is no --api-key.');
  print(`lutra serves ${server.name} at ${server.url} (OpenAI's clients: ${server.url}/v1)`);
  await ended(server);
}

/** Resolves when the server has closed after a first signal; a second one does not wait for answers under way. */
function ended(server: LutraServer): Promise<void> {
  return new Promise((resolve, reject) => {
    let signals = 0;
    const stop = () => {
      signals++;
      if (signals === 1) note('Stopping: answers under way may end. Once more to stop at once.');
      server.close({ now: signals > 1 }).then(resolve, reject);
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}
