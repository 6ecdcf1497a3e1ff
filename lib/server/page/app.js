// The page of the server: a conversation, and the feed of GET /events as a picture. Types are checked by tsconfig.page.json.

/** @typedef {import('../activity.js').Activity} Activity */
/** @typedef {import('../activity.js').ServerFacts} ServerFacts */
/** @typedef {{ role: 'system' | 'user' | 'assistant', content: string }} Message */
/** @typedef {{ part: 'npu' | 'attention' | 'shadow' | 'cpu' | 'rest', name: string, ms: number }} Share */

/** Bars of the picture of tokens. */
const MOST_TOKENS = 100;

/** How long to wait before asking for the feed again. */
const RETRY_MS = 2000;

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`#${id} is missing`);
  return found;
}

const log = element('log', HTMLElement);
const form = element('form', HTMLFormElement);
const prompt = element('prompt', HTMLTextAreaElement);
const send = element('send', HTMLButtonElement);
const stop = element('stop', HTMLButtonElement);
const error = element('error', HTMLElement);
const key = element('key', HTMLInputElement);
const model = element('model', HTMLElement);
const state = element('state', HTMLElement);
const empty = element('empty', HTMLElement);

/** @type {Message[]} */
let messages = [];
/** @type {AbortController | undefined} */
let answering;
let modelName = '';

/** @returns {Record<string, string>} */
function authorization() {
  return key.value ? { Authorization: `Bearer ${key.value}` } : {};
}

/**
 * What an answer that is an error says.
 * @param {Response} response
 * @returns {Promise<string>}
 */
async function reason(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}

/**
 * The objects of a stream of server-sent events.
 * @param {Response} response
 * @returns {AsyncGenerator<any, void>}
 */
async function* events(response) {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let held = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += decoder.decode(value, { stream: true });
    const lines = held.split('\n\n');
    held = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('data: ') && line !== 'data: [DONE]') yield JSON.parse(line.slice(6));
  }
}

/** @param {string} text */
function showError(text) {
  error.textContent = text;
  error.hidden = text === '';
}

/**
 * @param {Message} message
 * @returns {{ box: HTMLElement, text: Text }}
 */
function showMessage({ role, content }) {
  empty.hidden = true;
  const box = document.createElement('div');
  box.className = `message ${role}`;
  const who = document.createElement('span');
  who.className = 'who';
  who.textContent = role === 'user' ? 'You' : modelName;
  const text = document.createTextNode(content);
  box.append(who, text);
  log.append(box);
  log.scrollTop = log.scrollHeight;
  return { box, text };
}

/**
 * Adds to a text once a frame: a fast model says more than a page can lay out piece by piece.
 * @param {Text} text
 * @returns {{ add: (piece: string) => void, flush: () => void }}
 */
function writer(text) {
  let held = '';
  let frame = 0;
  const flush = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    text.appendData(held);
    held = '';
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  return {
    add: (piece) => {
      held += piece;
      frame ||= requestAnimationFrame(flush);
    },
    flush,
  };
}

function request() {
  const system = element('system', HTMLInputElement).value;
  return {
    model: modelName,
    messages: system ? [{ role: 'system', content: system }, ...messages] : messages,
    temperature: element('temperature', HTMLInputElement).valueAsNumber,
    max_tokens: element('max-tokens', HTMLInputElement).valueAsNumber,
    stream: true,
  };
}

/** @param {string} content */
async function say(content) {
  messages.push({ role: 'user', content });
  showMessage({ role: 'user', content });
  const { box, text } = showMessage({ role: 'assistant', content: '' });
  box.setAttribute('aria-busy', 'true');
  const answer = writer(text);
  const abort = new AbortController();
  setAnswering(abort);
  showError('');
  try {
    const response = await fetch('/v1/chat/completions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...authorization() },
      body: JSON.stringify(request()),
      signal: abort.signal,
    });
    if (!response.ok) throw new Error(await reason(response));
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      answer.add(chunk.choices[0]?.delta.content ?? '');
    }
  } catch (failure) {
    if (!abort.signal.aborted) showError(failure instanceof Error ? failure.message : String(failure));
  }
  answer.flush();
  box.removeAttribute('aria-busy');
  if (text.data !== '') messages.push({ role: 'assistant', content: text.data });
  else {
    // Without an answer the question is asked again, not remembered.
    box.remove();
    messages.pop();
  }
  setAnswering(undefined);
}

/** @param {AbortController | undefined} abort */
function setAnswering(abort) {
  answering = abort;
  send.disabled = abort !== undefined;
  stop.disabled = abort === undefined;
}

/**
 * @param {string} id
 * @param {string} text
 */
function setText(id, text) {
  element(id, HTMLElement).textContent = text;
}

/** @param {number} value */
const short = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

/**
 * A bar and its legend.
 * @param {'prefill' | 'decode'} which
 * @param {readonly Share[]} shares
 * @param {number} total
 */
function showShares(which, shares, total) {
  const known = shares.reduce((sum, { ms }) => sum + ms, 0);
  /** @type {Share[]} */
  const all = [...shares, { part: 'rest', name: 'the rest', ms: Math.max(0, total - known) }];
  const shown = all.filter(({ ms }) => ms > 0.0005 * total);
  const bar = element(`${which}-bar`, HTMLElement);
  bar.replaceChildren(
    ...shown.map(({ part, ms }) => {
      const piece = document.createElement('span');
      piece.dataset.part = part;
      piece.style.flexGrow = String(ms / total);
      return piece;
    }),
  );
  const title = which === 'prefill' ? 'Time of the prompt by part' : 'Time of the answer by part';
  bar.setAttribute('aria-label', `${title}: ${shown.map(({ name, ms }) => `${name} ${short(ms)} ms`).join(', ')}`);
  element(`${which}-legend`, HTMLElement).replaceChildren(
    ...shown.map(({ part, name, ms }) => {
      const item = document.createElement('li');
      item.dataset.part = part;
      const label = document.createElement('span');
      label.textContent = name;
      const value = document.createElement('span');
      value.textContent = `${short(ms)} ms`;
      item.append(label, value);
      return item;
    }),
  );
  setText(`${which}-total`, `${short(total)} ms`);
}

/** @param {'prefill' | 'decode'} which */
function clearShares(which) {
  element(`${which}-bar`, HTMLElement).replaceChildren();
  element(`${which}-legend`, HTMLElement).replaceChildren();
  setText(`${which}-total`, '');
}

/** @type {number[]} */
let tokenTimes = [];

function showTokens() {
  const svg = element('tokens', SVGSVGElement);
  const times = tokenTimes.slice(-MOST_TOKENS);
  const most = Math.max(...times, 1e-3);
  const width = 400 / MOST_TOKENS;
  svg.replaceChildren(
    ...times.map((ms, i) => {
      const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
      const height = Math.max(1, (68 * ms) / most);
      bar.setAttribute('x', String(i * width));
      bar.setAttribute('y', String(72 - height));
      bar.setAttribute('width', String(width * 0.75));
      bar.setAttribute('height', String(height));
      return bar;
    }),
  );
  if (times.length === 0) return setText('token-range', '');
  const sorted = [...times].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  setText('token-range', `median ${short(median)} ms, slowest ${short(most)} ms`);
  svg.setAttribute(
    'aria-label',
    `Milliseconds of each of the last ${times.length} tokens: median ${short(median)}, slowest ${short(most)}`,
  );
}

let shownId = -1;

/** @param {Activity} activity */
function showActivity(activity) {
  const { id, prefill, decode, tokens, decodeMs, promptTokens, cachedTokens } = activity;
  if (id !== shownId) {
    shownId = id;
    tokenTimes = [];
    clearShares('prefill');
    clearShares('decode');
    for (const output of ['prefill-speed', 'decode-speed', 'first-token']) setText(output, '–');
  }
  const busy = activity.state === 'prefill' || activity.state === 'decode';
  state.dataset.busy = String(busy);
  state.textContent = busy
    ? `${activity.state === 'prefill' ? 'reading' : 'answering'}${activity.waiting > 0 ? `, ${activity.waiting} waiting` : ''}`
    : 'ready';
  setText('cached', `${cachedTokens}`);
  if (prefill) {
    const { npu, attention, shadow, cpu, total, graphCalls } = prefill;
    setText('prefill-speed', short(((promptTokens - cachedTokens) / total) * 1000));
    setText('first-token', short(total));
    /** @type {Share[]} */
    const shares = [
      { part: 'npu', name: graphCalls === 1 ? '1 NPU graph' : `${graphCalls} NPU graphs`, ms: npu },
      { part: 'attention', name: 'CPU attention', ms: attention },
      { part: 'shadow', name: 'shadow repair', ms: shadow },
      { part: 'cpu', name: 'CPU other', ms: cpu },
    ];
    showShares('prefill', shares, total);
  }
  if (tokens > 1 && decodeMs > 0) setText('decode-speed', short(((tokens - 1) / decodeMs) * 1000));
  if (decode && decode.total > 0) {
    /** @type {Share[]} */
    const shares = [
      { part: 'attention', name: 'CPU attention', ms: decode.attention },
      { part: 'cpu', name: 'CPU linears', ms: decode.cpu },
    ];
    showShares('decode', shares, decode.total);
  }
  tokenTimes = [...tokenTimes, ...activity.gaps].slice(-MOST_TOKENS);
  showTokens();
}

/** @param {ServerFacts} facts */
function showFacts({ model: name, contextSize, placement }) {
  modelName = name;
  model.textContent = `${name}, context of ${contextSize} tokens`;
  state.textContent = 'ready';
  const lines = placement.parts.map(({ part, where }) => `${part}: ${where}`);
  const list = element('placement', HTMLElement);
  list.replaceChildren(
    ...[...lines, `NPU: ${placement.npu ?? 'none'}`].map((line) => {
      const item = document.createElement('p');
      item.textContent = line;
      return item;
    }),
  );
}

/** Follows the feed until it ends. */
async function follow() {
  const response = await fetch('/events', { headers: authorization() });
  if (response.status === 401) {
    state.textContent = 'key needed';
    throw new Error(`${await reason(response)} Settings has a field for it.`);
  }
  if (!response.ok) throw new Error(await reason(response));
  showError('');
  for await (const event of events(response)) {
    if (event.kind === 'server') showFacts(event);
    else showActivity(event);
  }
}

/** Ends the wait before the feed is asked for again. */
let askAgain = () => {};

async function followForEver() {
  for (;;) {
    try {
      await follow();
      state.textContent = 'offline';
    } catch (failure) {
      if (!(failure instanceof TypeError)) showError(failure instanceof Error ? failure.message : String(failure));
      else state.textContent = 'offline';
    }
    await new Promise((resolve) => {
      askAgain = () => resolve(undefined);
      setTimeout(resolve, RETRY_MS);
    });
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const content = prompt.value.trim();
  if (content === '' || answering) return;
  prompt.value = '';
  void say(content);
});

prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

stop.addEventListener('click', () => answering?.abort());

element('clear', HTMLButtonElement).addEventListener('click', () => {
  answering?.abort();
  messages = [];
  for (const message of log.querySelectorAll('.message')) message.remove();
  empty.hidden = false;
  showError('');
  prompt.focus();
});

key.value = sessionStorage.getItem('key') ?? '';
key.addEventListener('change', () => {
  sessionStorage.setItem('key', key.value);
  askAgain();
});

void followForEver();
