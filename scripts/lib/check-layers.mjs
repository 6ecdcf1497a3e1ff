// The rules of docs/architecture.md that a compiler does not check. Prints one line for each breach and exits with 1 when there is any.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const MAX_FILE_LINES = 700;
const MAX_FUNCTION_LINES = 100;

/** Folder of native/ → folders it may include. */
const nativeLayers = {
  base: [],
  kernels: ['base'],
  qnn: ['base'],
  store: ['base'],
  hostnpu: ['base', 'kernels', 'qnn/abi.h', 'qnn/abi_system.h'],
  conformance: ['base', 'qnn'],
  kv: ['base', 'kernels', 'store'],
  plan: ['base', 'kernels', 'store', 'kv'],
  session: ['base', 'kernels', 'store', 'kv', 'qnn', 'hostnpu', 'plan'],
  napi: ['base', 'kernels', 'store', 'kv', 'qnn', 'hostnpu', 'conformance', 'plan', 'session'],
};

/** Folder of lib/ → folders it may import. index.ts, the public names, may import all but the CLI. */
const libLayers = {
  graph: [],
  files: ['graph'],
  models: ['graph'],
  calibrate: ['files', 'graph', 'models', 'native', 'runtime/model-dir.js', 'runtime/options.js', 'runtime/tokenizer.js'],
  choose: ['graph', 'models', 'calibrate', 'convert/floats.js', 'convert/safetensors.js'],
  convert: ['files', 'graph', 'models', 'calibrate', 'choose'],
  native: ['graph'],
  qnn: ['files', 'graph', 'native'],
  kernels: ['graph', 'native', 'runtime/options.js'],
  bench: ['graph', 'native', 'kernels'],
  doctor: ['files', 'graph', 'native', 'qnn'],
  runtime: ['files', 'graph', 'models', 'native', 'qnn'],
  server: ['graph', 'native', 'runtime'],
  device: ['bench', 'calibrate/page/svg.js', 'doctor', 'files', 'graph', 'kernels', 'native', 'qnn', 'runtime'],
  cli: ['bench', 'files', 'graph', 'models', 'calibrate', 'convert', 'device', 'doctor', 'native', 'qnn', 'kernels', 'runtime', 'server'],
};

const breaches = [];
const breach = (file, line, what) => breaches.push(`${file}:${line}: ${what}`);

const lineOf = (text, index) => text.slice(0, index).split('\n').length;

/** Whether `target` (a path below native/ or lib/) is in the folder or is the file that `rule` names. */
const allowed = (target, rules) => rules.some((rule) => target === rule || target.startsWith(`${rule}/`));

function checkIncludes(file, text) {
  const folder = file.split('/')[1];
  const rules = nativeLayers[folder];
  if (!rules) return breach(file, 1, `native/${folder} is in no layer`);
  for (const match of text.matchAll(/^\s*#\s*include\s+[<"]([^>"]+)[>"]/gm)) {
    const name = match[1];
    const line = lineOf(text, match.index);
    if (/^(napi\.h|node_api\.h|js_native_api\.h)$/.test(name) && folder !== 'napi') breach(file, line, `only native/napi includes ${name}`);
    const first = name.split('/')[0];
    if (!name.includes('/') || !(first in nativeLayers) || first === folder) continue;
    if (!allowed(name, rules)) breach(file, line, `native/${folder} must not include ${name}`);
  }
}

function checkImports(file, text) {
  const folder = file.split('/').length === 2 ? 'index' : file.split('/')[1];
  const rules = folder === 'index' ? Object.keys(libLayers).filter((name) => name !== 'cli') : libLayers[folder];
  if (!rules) return breach(file, 1, `lib/${folder} is in no layer`);
  for (const match of text.matchAll(/(?:\bfrom\s+|\bimport\s*\(?\s*)'([^']+)'/g)) {
    const name = match[1];
    const line = lineOf(text, match.index);
    if (name === 'node-gyp-build' && folder !== 'native') breach(file, line, 'only lib/native loads the addon');
    if (!name.startsWith('.')) continue;
    const target = normalize(join(dirname(file), name)).replace(/^lib\//, '');
    const other = target.split('/')[0];
    if (other !== folder && !allowed(target, rules)) breach(file, line, `lib/${folder} must not import lib/${target}`);
  }
  if (/node-gyp-build/.test(text) && folder !== 'native') breach(file, 1, 'only lib/native loads the addon');
}

function checkTypes(file, text) {
  const code = blank(text);
  for (const match of code.matchAll(/(?::|<|\bas|\||,|=)\s*any\b(?!\s*[:(])/g)) breach(file, lineOf(code, match.index), "type 'any'");
  // Tests may assert that something does not compile.
  const silenced = file.startsWith('lib/') ? /@ts-(ignore|expect-error|nocheck)/g : /@ts-(ignore|nocheck)/g;
  for (const match of text.matchAll(silenced)) breach(file, lineOf(text, match.index), match[0]);
}

/** The text with comments and literals replaced by spaces, so that only code is left; lines stay where they are. */
function blank(text) {
  const pattern =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|R"(\w*)\([\s\S]*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g;
  return text.replace(pattern, (part) => part.replace(/[^\n]/g, ' '));
}

/** Blocks that are no function: their content is looked at, their own length does not count. */
const container =
  /^\s*(?:inline\s+)?(?:export\s+)?(?:default\s+)?(?:abstract\s+)?(?:namespace|class|struct|enum|union|interface|extern|template|type|concept)\b/;
const suite = /\bdescribe\S*\s*\(/;

function checkFunctions(file, text) {
  const code = blank(text);
  const open = [];
  let header = 0;
  let insideFunction = 0;
  for (let i = 0; i < code.length; i++) {
    const character = code[i];
    if (character === ';') header = i + 1;
    if (character === '{') {
      const head = code.slice(header, i).replace(/^\s*#[^\n]*/gm, '');
      const isFunction =
        insideFunction === 0 && head.includes('(') && !(container.test(head) && !/\)\s*[^()]*$/.test(head)) && !suite.test(head);
      open.push({ at: i, isFunction, start: header + head.search(/\S/) });
      if (isFunction) insideFunction++;
      header = i + 1;
    }
    if (character === '}') {
      const block = open.pop();
      header = i + 1;
      if (!block?.isFunction) continue;
      insideFunction--;
      const from = lineOf(code, block.start);
      const length = lineOf(code, i) - from + 1;
      if (length > MAX_FUNCTION_LINES) breach(file, from, `a function of ${length} lines, at most ${MAX_FUNCTION_LINES}`);
    }
  }
}

/** Directories of one machine, or of the place where something was written. */
const machinePath = new RegExp(`(?<![\\w./-])/(?:${['work', 'root', 'home', 'Users'].join('|')})/[\\w.-]+`, 'g');

function check(file) {
  const text = readFileSync(join(root, file), 'utf8');
  const native = /^native\/.*\.(cc|h|inc)$/.test(file);
  const script = /\.(ts|mjs|js)$/.test(file);
  const code = native || script || /^tests\/.*\.(cc|h)$/.test(file);
  const lines = text.split('\n').length - 1;
  if (code && lines > MAX_FILE_LINES) breach(file, 1, `${lines} lines, at most ${MAX_FILE_LINES}`);
  if (native) checkIncludes(file, text);
  if (/^lib\/.*\.ts$/.test(file)) checkImports(file, text);
  if (/\.ts$/.test(file)) checkTypes(file, text);
  if (code && !/\.inc$/.test(file)) checkFunctions(file, text);
  for (const match of text.matchAll(machinePath)) breach(file, lineOf(text, match.index), `path of one machine: ${match[0]}`);
}

const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
const skipped = /(^|\/)package-lock\.json$|^LICENSE$|^tests\/golden\//;
const files = listed.split('\n').filter((file) => file && !skipped.test(file));
for (const file of files) {
  try {
    check(file);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error; // listed by git, deleted in the work tree
  }
}
for (const line of breaches) console.log(line);
if (breaches.length > 0) process.exitCode = 1;
else console.log(`check-layers: ${files.length} files, no breach`);
