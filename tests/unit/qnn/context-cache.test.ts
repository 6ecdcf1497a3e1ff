import { describe, expect, it, vi } from 'vitest';
import { contextFile, contextKey, defaultContextDirectory } from '../../../lib/qnn/context-cache.js';
import { resolveNpu } from '../../../lib/qnn/discover.js';

const identity = { graphs: Uint8Array.of(1, 2, 3), weightsHash: 'abc', buildId: 'v2.51', soc: 57 as number | undefined };

describe('contextKey', () => {
  it('is the same for the same identity and changes with every part', () => {
    const key = contextKey(identity);
    expect(contextKey({ ...identity, graphs: Uint8Array.of(1, 2, 3) })).toBe(key);
    const others = [
      { ...identity, graphs: Uint8Array.of(1, 2, 4) },
      { ...identity, weightsHash: 'abd' },
      { ...identity, buildId: 'v2.52' },
      { ...identity, soc: 69 },
      { ...identity, soc: undefined },
      { ...identity, weightsHash: 'abcv', buildId: '2.51' },
    ].map(contextKey);
    expect(new Set([key, ...others]).size).toBe(others.length + 1);
  });
});

describe('contextFile', () => {
  it('is one file per model, library and SoC', () => {
    const file = (model: string, path: string, soc?: number) =>
      contextFile('cache', model, { kind: 'library', path, ...(soc ? { soc } : {}) });
    const files = [
      file('a/m', '/q.so', 57),
      file('b/m', '/q.so', 57),
      file('a/m', '/r.so', 57),
      file('a/m', '/q.so', 69),
      file('a/m', '/q.so'),
    ];
    expect(new Set(files).size).toBe(5);
    expect(files[0]).toMatch(/^cache[\\/]m-[0-9a-f]{16}\.qnnctx$/);
  });

  it('goes where the user says', () => {
    expect(defaultContextDirectory({ LUTRA_CACHE: '/c' })).toBe('/c/contexts');
    expect(defaultContextDirectory({ XDG_CACHE_HOME: '/x' })).toBe('/x/lutra/contexts');
  });
});

describe('resolveNpu', () => {
  it('knows the words', () => {
    expect(resolveNpu('host', true)).toMatchObject({ npu: { kind: 'host' }, demanded: true });
    expect(resolveNpu('none', true)).toMatchObject({ npu: { kind: 'none' }, demanded: true });
    expect(resolveNpu('auto', false)).toEqual({ npu: { kind: 'none' }, why: 'the model has no NPU weights', demanded: false });
    expect(resolveNpu({ library: '/l.so', soc: 57 }, true)).toEqual({
      npu: { kind: 'library', path: '/l.so', soc: 57 },
      why: 'option npu',
      demanded: true,
    });
    vi.stubEnv('LUTRA_QNN_LIBRARY', '');
    expect(resolveNpu('auto', true)).toEqual({ npu: { kind: 'host' }, why: 'LUTRA_QNN_LIBRARY names no library', demanded: false });
    expect(() => resolveNpu('require', true)).toThrow(expect.objectContaining({ code: 'LUTRA_LIBRARY_NOT_FOUND' }));
    expect(() => resolveNpu('require', false)).toThrow(expect.objectContaining({ code: 'LUTRA_UNSUPPORTED' }));
    vi.stubEnv('LUTRA_QNN_LIBRARY', '/l.so');
    const library = { npu: { kind: 'library', path: '/l.so' }, why: 'LUTRA_QNN_LIBRARY names it' };
    expect(resolveNpu('auto', true)).toEqual({ ...library, demanded: false });
    expect(resolveNpu('require', true)).toEqual({ ...library, demanded: true });
    vi.unstubAllEnvs();
  });
});
