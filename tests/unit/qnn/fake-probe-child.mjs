// Plays the child process of a probe. The library's name says how it opens, a case's name what it does.
let damaged = false;
const figures = { steps: 1, equal: 0.98, nmse: 1e-7 };
const say = (message) => new Promise((resolve) => process.send(message, resolve));
const spin = () => {
  for (;;);
};

const libraries = {
  missing: () => say({ failed: { code: 'LUTRA_LIBRARY_NOT_FOUND', message: 'there is no such library', remedy: 'Give another path.' } }),
  crashing: () => process.kill(process.pid, 'SIGSEGV'),
  hanging: spin,
};

const cases = {
  right: () => say({ result: { verdict: 'ok', message: '', ms: 2, figures } }),
  loud: async () => {
    process.stdout.write('{"result":{"verdict":"wrong"}}\n'.repeat(10_000));
    await say({ result: { verdict: 'ok', message: '', ms: 2, figures } });
  },
  off: () => say({ result: { verdict: 'wrong', message: 'y: 300 steps', ms: 2, figures: { steps: 300, equal: 0 } } }),
  refusing: () => say({ result: { verdict: 'refused', message: 'no such form', ms: 1 } }),
  crashing: () => process.kill(process.pid, 'SIGSEGV'),
  leaving: () => {
    process.stderr.write('double free\n');
    process.exit(3);
  },
  hanging: spin,
  garbage: () => say({ result: 'fine' }),
  silent: () => process.disconnect(),
  damaging: async () => {
    damaged = true;
    await say({ result: { verdict: 'ok', message: '', ms: 2, figures } });
  },
  sensitive: () => (damaged ? process.kill(process.pid, 'SIGABRT') : say({ result: { verdict: 'ok', message: '', ms: 2, figures } })),
};

process.on('message', async (request) => {
  if ('open' in request) {
    const open =
      libraries[request.open.library] ??
      (() =>
        say({ opened: { name: 'FAKE', buildId: String(process.pid), apiVersion: '2.40.0', backendApiVersion: '5.1.0', backendId: 6 } }));
    return open();
  }
  await say({ forms: [`Form(${request.run})`] });
  await cases[request.run]();
});
process.on('disconnect', () => process.exit());
