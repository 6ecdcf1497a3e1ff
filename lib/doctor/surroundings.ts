/** The machine as the doctor sees it. Tests give it machines of their own making. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NativeAddon } from '../native/addon.js';
import { loadAddon } from '../native/loader.js';

export interface Surroundings {
  platform: NodeJS.Platform;
  arch: string;
  /** "20.19.0" */
  node: string;
  /** Version of Node-API. */
  napi: number;
  env: NodeJS.ProcessEnv;
  /** Stands before every absolute path of the system; '' on a real machine. */
  root: string;
  /** Folder for what is kept between runs. */
  cache: string;
  /** Throws as the loader does. */
  addon(): NativeAddon;
  /** A property of Android; undefined elsewhere. */
  property(name: string): string | undefined;
}

const PROPERTY_MS = 2000;

function androidProperty(name: string): string | undefined {
  try {
    const value = execFileSync('getprop', [name], { encoding: 'utf8', timeout: PROPERTY_MS, stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return value === '' ? undefined : value;
  } catch {
    return undefined;
  }
}

export function realSurroundings(cache: string): Surroundings {
  const { platform, arch, versions, env } = process;
  return {
    platform,
    arch,
    node: versions.node,
    napi: Number(versions.napi),
    env,
    root: '',
    cache,
    addon: loadAddon,
    property: platform === 'android' ? androidProperty : () => undefined,
  };
}

/** A small text file of the system, without white space at its ends; undefined when there is none. */
export function systemText({ root }: Surroundings, path: string): string | undefined {
  try {
    return readFileSync(join(root, path), 'utf8').trim();
  } catch {
    return undefined;
  }
}
