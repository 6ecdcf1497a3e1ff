/** The HTTP server. */
export type { ServeOptions } from './options.js';
export { serve } from './serve.js';
export type { LutraServer } from './server.js';
