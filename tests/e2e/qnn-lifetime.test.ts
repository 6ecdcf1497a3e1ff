/** Lifetimes of the QNN API's objects: garbage collection, workers, processes that end while something runs. Each in a process of its own. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Ended, script as runScript } from './child.js';
import { qnnLibrary, root, SOC } from './helpers.js';
import { LIBRARIES } from './qnn-libraries.js';

/** What every script begins with: a library, a device, and a graph that keeps a thread busy for a while. */
function prelude(library: 'host' | string): string {
  const device = library === 'host' ? '{}' : `{ soc: ${SOC} }`;
  return `
    import { qnn } from ${JSON.stringify(pathToFileURL(join(root, 'dist/index.js')))};
    import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
    export const library = qnn.Library.open(${JSON.stringify(library)});
    export function open(options) { return library.createBackend(options).createDevice(${device}).createContext(); }
    export function silu(context, rows, name = 'silu') {
      const builder = context.createGraph(name);
      const x = builder.input('x', { dtype: 'f16', dims: [rows, 256] }), s = builder.internal('s', x), y = builder.output('y', x);
      builder.op('Sigmoid', { inputs: [x], outputs: [s] });
      builder.op('ElementWiseMultiply', { inputs: [x, s], outputs: [y] });
      return builder.finalize({ inputs: [x], outputs: [y] });
    }
    export const one = (rows) => ({ x: new Uint16Array(rows * 256).fill(0x3c00) });
  `;
}

/** `library`: what the prelude opens; null: no prelude. */
function script(library: string | null, body: string, flags: string[] = []): Promise<Ended> {
  return runScript((library === null ? '' : prelude(library)) + body, { flags });
}

describe.each([
  { name: LIBRARIES[0]!.name, library: 'host' },
  { name: LIBRARIES[1]!.name, library: qnnLibrary },
])('$name', ({ library }) => {
  it('frees what is left to the garbage collector, and what is disposed of', async () => {
    const { code, stdout, stderr } = await script(
      library,
      `
      const turn = () => new Promise((done) => setTimeout(done, 2));
      async function cycle(i) {
        const context = open();
        const builder = context.createGraph('g');
        const encoding = qnn.scaleOffset(0.01);
        const x = builder.input('x', { dtype: 'f16', dims: [4, 512] }), y = builder.output('y', { dtype: 'f16', dims: [4, 1024] });
        const w = builder.constant('w', { dtype: 's8', dims: [1024, 512], encoding: qnn.axis(0, new Float32Array(1024).fill(0.01)), data: new Int8Array(1024 * 512).fill(i) });
        builder.op('FullyConnected', { inputs: [x, w], outputs: [y] });
        const graph = builder.finalize();
        graph.execute({ x: new Uint16Array(2048) });
        await graph.executeAsync({ x: new Uint16Array(2048) });
        if (i % 2) for (const one of [graph, context, context.device, context.device.backend]) one.dispose();
      }
      const rss = [];
      for (let i = 0; i < 120; i++) {
        await cycle(i);
        globalThis.gc(); await turn(); globalThis.gc(); await turn();
        if (i === 40 || i === 119) rss.push(process.memoryUsage.rss());
      }
      console.log(JSON.stringify(rss));`,
      ['--expose-gc'],
    );
    expect(stderr.replace(/.*LIBNATIVE.*/g, '').trim()).toBe('');
    expect(code).toBe(0);
    const [early, late] = JSON.parse(stdout.split('\n').find((line) => line.startsWith('['))!) as [number, number];
    // 80 more contexts with 0.5 MB of weights each.
    expect((late - early) / 2 ** 20).toBeLessThan(25);
  });

  it('delivers the log of a script that ends at once', async () => {
    const { code, stdout } = await script(
      library,
      `const builder = open({ onLog: (level, line) => console.log(level + ' ' + line) }).createGraph('g');
       const x = builder.input('x', { dtype: 'f16', dims: [1, 8] });
       builder.validate({ type: 'NoSuchOp', inputs: [x], outputs: [builder.output('y', x)] });`,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^error .*NoSuchOp/m);
  });

  it.each(['process.exit(7)', 'process.exitCode = 7', 'setTimeout(() => process.exit(7), 20)'])(
    'ends by %s while executions and a compilation are under way',
    async (end) => {
      for (let round = 0; round < 3; round++) {
        const { code, signal } = await script(
          library,
          `const graph = silu(open(), 256);
         for (let i = 0; i < 8; i++) graph.executeAsync(one(256)).catch(() => {});
         const builder = open().createGraph('late');
         const x = builder.input('x', { dtype: 'f16', dims: [64, 256] }), y = builder.output('y', x);
         builder.op('Sigmoid', { inputs: [x], outputs: [y] });
         builder.finalizeAsync().catch(() => {});
         ${end};`,
        );
        expect([code, signal]).toEqual([7, null]);
      }
    },
  );

  it('works in workers, beside each other and beside the main thread', async () => {
    const worker = `${prelude(library)}
      const graph = silu(open(), 64);
      let same = 0;
      const expected = graph.execute(one(64)).y[0];
      for (let i = 0; i < 10; i++) same += (await graph.executeAsync(one(64))).y.every((v) => v === expected) ? 1 : 0;
      parentPort.postMessage(same);`;
    const { code, stdout, stderr } = await script(
      library,
      `const source = ${JSON.stringify(worker)};
       const url = new URL('data:text/javascript,' + encodeURIComponent(source));
       const results = await Promise.all(Array.from({ length: 3 }, () => new Promise((done, fail) => {
         const worker = new Worker(url); worker.on('message', done); worker.on('error', fail);
       })));
       console.log(JSON.stringify([...results, silu(open(), 64).execute(one(64)).y.length]));`,
    );
    expect(stderr).not.toMatch(/Error/);
    expect(code).toBe(0);
    expect(stdout).toContain('[10,10,10,16384]');
  });

  it('survives workers that are terminated in the middle of calls', async () => {
    const worker = `${prelude(library)}
      const context = open({ onLog: () => {}, logLevel: 'debug' });
      const graphs = [silu(context, 512, 'a'), silu(context, 512, 'b')];
      parentPort.postMessage('ready');
      for (;;) await Promise.all(graphs.flatMap((graph) => [graph.executeAsync(one(512)), graph.executeAsync(one(512))]));`;
    const { code, signal, stdout } = await script(
      library,
      `const url = new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)}));
       for (let i = 0; i < 12; i++) {
         const worker = new Worker(url);
         await new Promise((done, fail) => { worker.on('message', done); worker.on('error', fail); });
         await new Promise((done) => setTimeout(done, (i * 7) % 30));
         await worker.terminate();
       }
       console.log(silu(open(), 64).execute(one(64)).y.length);`,
    );
    expect([code, signal]).toEqual([0, null]);
    expect(stdout).toContain('16384');
  });

  it('goes and comes again with workers that alone load the addon', async () => {
    const worker = `${prelude(library)} parentPort.postMessage(silu(open(), 8).execute(one(8)).y.length);`;
    const body = `
      import { Worker } from 'node:worker_threads';
      const url = new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)}));
      for (let i = 0; i < 5; i++) {
        const worker = new Worker(url);
        console.log(await new Promise((done, fail) => { worker.on('message', done); worker.on('error', fail); }));
        await worker.terminate();
      }`;
    const { code, signal, stdout } = await script(null, body);
    expect([code, signal]).toEqual([0, null]);
    expect(stdout.match(/2048/g)?.length).toBe(5);
  });

  it('keeps its objects apart when calls and disposals come in any order', async () => {
    const { code, signal, stdout, stderr } = await script(
      library,
      `let state = 12345;
       const random = (n) => { state = (state * 48271) % 2147483647; return state % n; };
       const contexts = [open(), open()];
       let graphs = [];
       let settled = 0, made = 0;
       const codes = new Set();
       for (let i = 0; i < 400; i++) {
         try {
           switch (random(6)) {
             case 0: graphs.push(silu(contexts[random(2)], 8, 'g' + i)); break;
             case 1: case 2: case 3: if (graphs.length) { made++; graphs[random(graphs.length)].executeAsync(one(8)).then(() => settled++, (e) => { settled++; codes.add(e.code); }); } break;
             case 4: if (graphs.length) graphs[random(graphs.length)].execute(one(8)); break;
             case 5: if (graphs.length > 4) { const [graph] = graphs.splice(random(graphs.length), 1); graph.dispose(); } else if (random(4) === 0) { contexts[0].dispose(); contexts[0] = open(); } break;
           }
         } catch (error) { codes.add(error.code); }
         if (i % 16 === 0) { await new Promise((done) => setImmediate(done)); globalThis.gc(); }
       }
       while (settled < made) await new Promise((done) => setTimeout(done, 5));
       console.log(JSON.stringify([...codes].sort()));`,
      ['--expose-gc'],
    );
    expect([code, signal, stderr.replace(/.*LIBNATIVE.*/g, '').trim()]).toEqual([0, null, '']);
    const codes = JSON.parse(stdout.split('\n').find((line) => line.startsWith('['))!) as string[];
    expect(codes.filter((one) => one !== 'LUTRA_BUSY' && one !== 'LUTRA_DISPOSED')).toEqual([]);
  });
});
