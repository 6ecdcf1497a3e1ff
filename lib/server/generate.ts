/** The two endpoints that generate: from a request to tokens and back. */
import type { Model } from '../runtime/model.js';
import { encodePrompt } from '../runtime/session.js';
import { ApiError, invalid } from './errors.js';
import type { Exchange } from './exchange.js';
import { type ChatRequest, type Request, readChat, readCompletion } from './requests.js';
import type { Job, Outcome, Runner } from './runner.js';
import { ChatShape, CompletionShape, type Shape, type ShapeOptions } from './shapes.js';
import { type CallParser, callParser } from './tool-calls.js';

export interface Endpoints {
  model: Model;
  /** What clients call the model. */
  name: string;
  runner: Runner;
  bodyLimit: number;
}

function checkModel({ model }: Request, name: string): void {
  if (model !== name)
    throw new ApiError(404, `There is no model ${JSON.stringify(model.slice(0, 100))}; this server has ${JSON.stringify(name)}.`, {
      param: 'model',
      code: 'model_not_found',
    });
}

function shapeOptions({ includeUsage, options }: Request, { name, model }: Endpoints): ShapeOptions {
  const created = Math.floor(Date.now() / 1000);
  return { model: name, created, includeUsage, logprobs: options.logprobs !== undefined, tokenizer: model.tokenizer };
}

export async function chatCompletions(endpoints: Endpoints, exchange: Exchange): Promise<void> {
  const { model, name, runner, bodyLimit } = endpoints;
  const request = readChat(await exchange.json(bodyLimit));
  checkModel(request, name);
  const { tokenizer } = model;
  const template = tokenizer.chatTemplate;
  if (template === undefined) throw invalid('messages', 'The model has no chat template; use /v1/completions.', 'unsupported_value');
  const parser = parserOf(request, template);
  const ids = tokenizer.encode(tokenizer.applyChatTemplate(request.messages, { tools: request.tools }));
  const shape = new ChatShape({ ...shapeOptions(request, endpoints), parser, parallelCalls: request.parallelCalls });
  await answer(exchange, runner, request, { ids, param: 'messages' }, shape);
}

function parserOf({ tools }: ChatRequest, template: string): CallParser | undefined {
  if (tools.length === 0) return undefined;
  const parser = callParser(
    template,
    tools.map((tool) => tool.function.name),
  );
  if (!parser) throw invalid('tools', "The model's chat template does not speak of functions.", 'unsupported_value');
  return parser;
}

export async function completions(endpoints: Endpoints, exchange: Exchange): Promise<void> {
  const { model, name, runner, bodyLimit } = endpoints;
  const request = readCompletion(await exchange.json(bodyLimit));
  checkModel(request, name);
  const ids = encodePrompt(request.prompt, model, true);
  const shape = new CompletionShape(shapeOptions(request, endpoints));
  await answer(exchange, runner, request, { ids, param: 'prompt' }, shape);
}

async function answer(
  exchange: Exchange,
  runner: Runner,
  request: Request,
  prompt: Pick<Job, 'ids' | 'param'>,
  shape: Shape,
): Promise<void> {
  const { stream, options } = request;
  const job: Job = { ...prompt, options, signal: exchange.signal, since: exchange.began };
  if (stream) return answerEvents(exchange, runner, job, shape);
  const outcome = await runner.run(job, (event) => {
    shape.push(event);
    return !shape.enough;
  });
  shape.end(outcome);
  exchange.sendJson(200, shape.whole(outcome));
}

/** Events begin with the first token, so that what goes wrong before is an ordinary error. */
async function answerEvents(exchange: Exchange, runner: Runner, job: Job, shape: Shape): Promise<void> {
  let begun = false;
  const send = (chunks: readonly object[]) => {
    if (!begun) {
      begun = true;
      exchange.beginEvents();
      send(shape.begin());
    }
    for (const chunk of chunks) exchange.event(chunk);
  };
  let outcome: Outcome;
  try {
    outcome = await runner.run(job, (event) => {
      send(shape.push(event));
      return !shape.enough;
    });
  } catch (error) {
    if (!begun) throw error;
    exchange.event(exchange.failure(error).body);
    exchange.endEvents();
    throw error;
  }
  send(shape.end(outcome));
  exchange.event('[DONE]');
  exchange.endEvents();
}
