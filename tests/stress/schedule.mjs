/**
 * One random schedule on a model: sessions, chats and generations at once, left, aborted, not read, read slowly, disposed of in the middle. Every error must be one
 * that the schedule asked for, every token the one that an undisturbed session gives, and what was not disposed of must work afterwards.
 */
import assert from 'node:assert/strict';

const PROMPTS = [1, 2, 9, 40, 150];
const LENGTH = 24;
const FIRST_ID = 3; // below are special tokens
const MESSAGE = 'hello world';

const ids = (random, count) => Array.from({ length: count }, () => FIRST_ID + random.below(256));

/** Prompts, and what follows them in a session that nobody disturbs. */
export async function expectations(model, random) {
  const cases = [];
  for (const length of PROMPTS) {
    for (const sampling of [{}, { temperature: 6, seed: length }]) {
      const prompt = ids(random, length);
      const options = { ignoreEos: true, ...sampling };
      const { tokens } = await model.generate(prompt, { ...options, maxTokens: LENGTH }).result();
      cases.push({ prompt, options, tokens });
    }
  }
  const chat = await model.createChat();
  const answer = await chat.send(MESSAGE, { ignoreEos: true, maxTokens: LENGTH }).result();
  await chat.dispose();
  return { cases, answer: answer.tokens };
}

/** What a schedule did, for the report. */
export function counters() {
  return { generations: 0, tokens: 0, prefills: 0, left: 0, aborted: 0, disposed: 0, busy: 0, unread: 0, collected: 0, workers: 0 };
}

class Schedule {
  constructor({ lutra, model, expected, counts, own }, random) {
    Object.assign(this, { lutra, model, expected, counts, random });
    this.own = own; // the model is this schedule's alone and may be disposed of
    this.modelGone = false;
    this.sessions = [];
  }

  /** Awaits a call that may end as the schedule made it end, and in no other way. Resolves to its value, or undefined. */
  async settle(promise, { gone, aborted, full } = {}) {
    try {
      return await promise;
    } catch (error) {
      const allowed = {
        LUTRA_DISPOSED: this.modelGone || gone?.(),
        LUTRA_ABORTED: aborted?.() || this.modelGone || gone?.(),
        LUTRA_CONTEXT_FULL: full?.(),
      };
      if (!(error instanceof this.lutra.LutraError) || !allowed[error.code]) throw error;
      if (error.code === 'LUTRA_ABORTED') this.counts.aborted++;
      return undefined;
    }
  }

  /** Reads a generation in one of the ways in which people do. `expected`: the tokens, when they are known. */
  async read(start, random, { gone = () => false, expected, limit = LENGTH } = {}) {
    this.counts.generations++;
    const abort = random.chance(0.3) ? new AbortController() : undefined;
    const maxTokens = random.chance(0.5) ? limit : 1 + random.below(limit);
    const leaveAfter = random.chance(0.3) ? random.below(maxTokens) : Number.POSITIVE_INFINITY;
    const slowly = random.chance(0.15);
    const seen = [];
    const read = async () => {
      for await (const { token } of start({ maxTokens, signal: abort?.signal })) {
        seen.push(token);
        if (slowly) await random.pause(2);
        if (seen.length > leaveAfter) {
          this.counts.left++;
          break;
        }
      }
      return true;
    };
    const timer = abort && this.later(random, 20, () => abort.abort());
    const done = await this.settle(read(), { gone, aborted: () => abort?.signal.aborted });
    await timer;
    this.counts.tokens += seen.length;
    if (expected) assert.deepEqual(seen, expected.slice(0, seen.length));
    if (done && !(seen.length > leaveAfter)) assert.equal(seen.length, maxTokens);
    return seen;
  }

  async later(random, ms, action) {
    for (let i = random.below(4); i > 0; i--) await random.pause(ms / 2);
    await action();
  }

  // ---- one session and what is done with it

  async session(random) {
    const session = await this.settle(this.model.createSession());
    if (!session) return;
    const actor = { session, gone: false, busy: false, random };
    this.sessions.push(actor);
    const gone = () => actor.gone || this.modelGone;
    const end = random.chance(0.3) ? this.later(random, 30, () => this.dispose(actor)) : undefined;
    for (let calls = 1 + random.below(3); calls > 0 && !gone() && !actor.busy; calls--) {
      const before = [...session.tokens];
      const known = await this.operation(actor, gone);
      if (known && !gone()) assert.deepEqual([...session.tokens], [...before, ...known]);
      await random.pause();
    }
    await end;
  }

  async dispose(actor) {
    if (!actor.gone) this.counts.disposed++;
    actor.gone = true;
    await actor.session.dispose();
  }

  /** Resolves to the tokens that the session has gained, when that is known. */
  async operation(actor, gone) {
    const { session, random } = actor;
    const room = session.contextSize - session.tokens.length;
    switch (random.below(8)) {
      case 0:
      case 1: {
        // From the beginning: the tokens are known.
        session.reset();
        const { prompt, options, tokens } = random.pick(this.expected.cases);
        const seen = await this.read((more) => session.generate(prompt, { ...options, ...more }), random, { gone, expected: tokens });
        if (gone()) return undefined;
        // An abort during the prompt leaves nothing of it.
        assert.deepEqual([...session.tokens], session.tokens.length === 0 ? [] : [...prompt, ...seen]);
        // The next call goes on where this one was left. (What follows the prompt itself differs: its last token is computed again, on the CPU.)
        if (seen.length === 0 || seen.length === LENGTH || 'seed' in options) return undefined;
        const rest = tokens.slice(seen.length);
        await this.read((more) => session.generate([], { ...options, ...more }), random, { gone, expected: rest, limit: rest.length });
        return undefined;
      }
      case 2: {
        const more = ids(random, 1 + random.below(20));
        if (more.length + 2 * LENGTH > room) return void session.reset();
        await this.read((options) => session.generate(more, { ignoreEos: true, ...options }), random, { gone });
        return undefined;
      }
      case 3:
      case 4: {
        this.counts.prefills++;
        const more = ids(random, random.chance(0.3) ? 1 + random.below(400) : 1 + random.below(30));
        const abort = new AbortController();
        const timer = random.chance(0.4) && this.later(random, 10, () => abort.abort());
        const outcome = { gone, aborted: () => abort.signal.aborted, full: () => more.length > room };
        const call = session.prefill(more, { logits: random.pick(['none', 'last', 'all']), signal: abort.signal });
        if (random.chance(0.3)) await this.overlap(session, gone);
        const logits = await this.settle(call, outcome);
        await timer;
        return logits ? more : [];
      }
      case 5: {
        const [token] = ids(random, 1);
        const logits = await this.settle(session.step(token), { gone, full: () => room < 1 });
        return logits ? [token] : [];
      }
      case 6: {
        session.truncate(random.below(session.tokens.length + 1));
        session.timings();
        session.info();
        return undefined;
      }
      default:
        await this.unread(actor, gone);
        return undefined;
    }
  }

  /** A second call of a busy session is refused, and questions are answered while it works. */
  async overlap(session, gone) {
    const refused = await session.step(FIRST_ID).then(
      () => undefined,
      (error) => error.code,
    );
    if (gone()) return;
    assert.equal(refused, 'LUTRA_BUSY');
    this.counts.busy++;
    session.timings();
    session.placement();
  }

  /** A generation that is begun, and then left much later, or forgotten. */
  async unread(actor, gone) {
    const { session, random } = actor;
    if (session.contextSize - session.tokens.length < 2 * LENGTH) session.reset();
    this.counts.unread++;
    const events = session.generate(ids(random, 5), { ignoreEos: true })[Symbol.asyncIterator]();
    await this.settle(events.next(), { gone });
    await random.pause(10);
    actor.busy = random.chance(0.3);
    if (!actor.busy) await this.settle(events.return(), { gone });
  }

  // ---- beside the sessions

  async borrowed(random) {
    for (let calls = 1 + random.below(2); calls > 0 && !this.modelGone; calls--) {
      const { prompt, options, tokens } = random.pick(this.expected.cases);
      await this.read((more) => this.model.generate(prompt, { ...options, ...more }), random, { expected: tokens });
    }
  }

  async chat(random) {
    const chat = await this.settle(this.model.createChat());
    if (!chat) return;
    let gone = false;
    const end =
      random.chance(0.3) &&
      this.later(random, 20, () => {
        gone = true;
        return chat.dispose();
      });
    await this.read((more) => chat.send(MESSAGE, { ignoreEos: true, ...more }), random, {
      gone: () => gone,
      expected: this.expected.answer,
    });
    if (!gone && !this.modelGone) await this.read((more) => chat.send(MESSAGE, { ignoreEos: true, ...more }), random, { gone: () => gone });
    await end;
    gone = true;
    await chat.dispose();
  }

  /** The event loop has other things to do. */
  async activity(random) {
    for (let i = random.below(6); i > 0; i--) {
      await random.pause(5);
      const end = performance.now() + 3 * random.uniform();
      let garbage = [];
      while (performance.now() < end) garbage.push(new Float64Array(64));
      garbage = [];
      if (random.chance(0.2)) globalThis.gc?.();
    }
  }

  async run() {
    const { random } = this;
    const parts = [this.activity(random.fork())];
    for (let i = random.below(4); i > 0; i--) parts.push(this.session(random.fork()));
    for (let i = random.below(3); i > 0; i--) parts.push(this.borrowed(random.fork()));
    if (random.chance(0.2)) parts.push(this.chat(random.fork()));
    if (this.own && random.chance(0.5)) {
      parts.push(
        this.later(random.fork(), 40, () => {
          this.modelGone = true;
          this.counts.disposed++;
          return this.model.dispose();
        }),
      );
    }
    await Promise.all(parts);
    for (const actor of this.sessions) {
      // Some are left to the garbage collector, which cannot take what still waits for its reader.
      if (!actor.gone && !actor.busy && random.chance(0.15)) this.counts.collected++;
      else await this.dispose(actor);
    }
  }
}

/** Runs one schedule; `own`: the model is not used after it. */
export async function runSchedule(world, random) {
  const schedule = new Schedule(world, random);
  await schedule.run();
  const { prompt, options, tokens } = random.pick(world.expected.cases);
  const generate = async () => world.model.generate(prompt, { ...options, maxTokens: 4 }).result();
  const result = await schedule.settle(generate());
  if (!schedule.modelGone) assert.deepEqual(result.tokens, tokens.slice(0, 4));
  if (world.own) await world.model.dispose();
}
