/** `serve`: a model behind OpenAI's endpoints. */
import { basename } from 'node:path';
import { loadModel } from '../runtime/model.js';
import { type ServeOptions, settings } from './options.js';
import { LutraServer } from './server.js';

/**
 * Loads a model and serves it. Errors: those of `loadModel`; LUTRA_IO when host and port cannot be had.
 */
export async function serve(directory: string, options: ServeOptions = {}): Promise<LutraServer> {
  const all = settings(options);
  const model = await loadModel(directory, { profile: true, ...options.model });
  const server = new LutraServer(model, options.name ?? basename(model.path), all);
  try {
    await server.start(all.port);
  } catch (error) {
    await model.dispose();
    throw error;
  }
  return server;
}
