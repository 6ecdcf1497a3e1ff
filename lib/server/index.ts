/** The HTTP server. */
export { type LutraServer, type ServeOptions, serve } from './serve.js';
