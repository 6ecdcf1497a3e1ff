// One conversion, for import.mjs: prints what it took of the processor and of memory. Its argument is a JSON object of options of convertModel.
import { rmSync } from 'node:fs';

const dist = new URL('../../dist/', import.meta.url);
const { convertModel } = await import(new URL('convert/index.js', dist));
const { loadAddon } = await import(new URL('native/loader.js', dist));

const options = JSON.parse(process.argv[2]);
const start = performance.now();
await convertModel({ ...options, addon: loadAddon() });
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
console.log(
  JSON.stringify({ peak: maxRSS * 1024, seconds: (performance.now() - start) / 1e3, cpuSeconds: (userCPUTime + systemCPUTime) / 1e6 }),
);
rmSync(options.output, { recursive: true });
