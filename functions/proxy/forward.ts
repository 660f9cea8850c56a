/**
 * How does one request travel to the upstream and its answer back? As bytes, with one deadline, and never beyond the
 * caller: when the caller goes away or the time is over, the upstream request is aborted.
 */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { limits } from '../engine/limits.ts';
import type { Clock } from '../engine/ports.ts';
import { answerError } from './google-error.ts';
import { callerHeaders, servedBy } from './headers.ts';
import { predictAnswer, predictError } from './predict-answer.ts';

export interface UpstreamCall {
  origin: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer;
  /** For the whole exchange, the last byte of the answer included. */
  deadlineMs: number;
  /** True: the answer is completed as Vertex's `:predict` would give it. False: its bytes pass through as they come. */
  isPredict: boolean;
  /** Answers of up to so many bytes are handed on in the outcome; 0 keeps none. */
  keepBytesMax: number;
}

/** How an exchange went, for the counters. */
export interface Outcome {
  /** Null when no answer named it. */
  deployedModelId: string | null;
  /** Up to the first byte of the answer, or to the failure. */
  latencyMs: number;
  /** A 5xx or a failure on the way; not a 4xx, and not a caller who left. */
  isError: boolean;
  /** What went wrong on the way, for the log; null when the upstream gave a whole answer. */
  failure: string | null;
  /** The model's own bytes, for sampling; null unless a whole 2xx answer within `keepBytesMax`. */
  answer: readonly Buffer[] | null;
}

/** Forwards a request and answers the caller, whatever happens. Resolves when the exchange is over; never rejects. */
export function forward(
  dispatcher: Dispatcher,
  call: UpstreamCall,
  response: ServerResponse,
  now: Clock,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const exchange = new Exchange(call, response, now, resolve);
    dispatcher.dispatch(
      { origin: call.origin, path: call.path, method: 'POST', headers: call.headers, body: call.body },
      exchange,
    );
  });
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #call: UpstreamCall;
  readonly #response: ServerResponse;
  readonly #now: Clock;
  readonly #resolve: (outcome: Outcome) => void;
  readonly #startedAt: number;
  readonly #timer: NodeJS.Timeout;
  readonly #onClose = () => this.#callerLeft();
  readonly #chunks: Buffer[] = [];
  #controller: Dispatcher.DispatchController | null = null;
  #size = 0;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #latencyMs: number | null = null;
  #isOver = false;

  constructor(call: UpstreamCall, response: ServerResponse, now: Clock, resolve: (outcome: Outcome) => void) {
    this.#call = call;
    this.#response = response;
    this.#now = now;
    this.#resolve = resolve;
    this.#startedAt = now();
    this.#timer = setTimeout(() => this.#deadlinePassed(), call.deadlineMs);
    response.once('close', this.#onClose);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // The deadline may have passed, or the caller left, while the request waited for a connection.
    if (this.#isOver) controller.abort(new Error('the exchange is over'));
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (this.#isOver || status < 200) return;
    this.#latencyMs = this.#now() - this.#startedAt;
    this.#status = status;
    this.#headers = headers;
    if (isRefusalOfTheProxy(status, headers)) {
      this.#fail(
        502,
        `The upstream refused the proxy's own credentials with ${status}; grant it aiplatform.endpoints.predict`,
      );
      controller.abort(new Error('refused'));
      return;
    }
    if (this.#call.isPredict) return;
    this.#response.writeHead(status, callerHeaders(headers));
    this.#response.flushHeaders();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isOver) return;
    this.#size += chunk.length;
    if (!this.#call.isPredict) {
      if (this.#size <= this.#call.keepBytesMax) this.#chunks.push(chunk);
      else this.#chunks.length = 0;
      if (this.#response.write(chunk)) return;
      controller.pause();
      this.#response.once('drain', () => controller.resume());
      return;
    }
    this.#chunks.push(chunk);
    if (this.#size > limits.predictAnswerBytesMax) {
      this.#fail(
        502,
        `The answer is larger than ${limits.predictAnswerBytesMax} bytes; ask with :streamRawPredict instead`,
      );
      controller.abort(new Error('answer too large'));
    }
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    if (this.#call.isPredict) this.#answerPredict();
    else {
      this.#response.end();
      this.#finish(this.#status >= 500, null, this.#keptAnswer());
    }
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#isOver) return;
    const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
    // Without a connection nothing was asked, and asking again is safe; a connection that broke may have been heard.
    const isUnconnected = this.#controller === null;
    const message = isUnconnected
      ? `The upstream cannot be reached (${code}); try again later`
      : `The upstream broke off before its answer was whole (${code})`;
    this.#fail(isUnconnected ? 503 : 502, message);
  }

  #answerPredict(): void {
    const [only] = this.#chunks;
    const answer = this.#chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.#chunks, this.#size);
    const body =
      this.#status < 400 ? predictAnswer(answer, servedBy(this.#headers)) : predictError(this.#status, answer);
    if (body === null) {
      this.#fail(
        502,
        'The model did not answer with a JSON object, which :predict needs; ask with :rawPredict instead',
      );
      return;
    }
    this.#response.writeHead(this.#status, {
      ...callerHeaders(this.#headers),
      'content-type': 'application/json; charset=utf-8',
      'content-length': String(body.length),
    });
    this.#response.end(body);
    this.#finish(this.#status >= 500, null, this.#keptAnswer());
  }

  #keptAnswer(): readonly Buffer[] | null {
    const isKept = this.#status < 300 && this.#size > 0 && this.#size <= this.#call.keepBytesMax;
    return isKept ? this.#chunks : null;
  }

  #deadlinePassed(): void {
    if (this.#isOver) return;
    const text = `No whole answer within ${this.#call.deadlineMs} ms`;
    // Where the upstream waits for a slow caller to read, the time was the caller's.
    const isCallersTime = this.#controller?.paused === true;
    answerError(this.#response, 504, `${text}; the model may still be working on it`);
    this.#finish(!isCallersTime, isCallersTime ? 'the caller did not read the answer in time' : text);
    this.#controller?.abort(new Error(text));
  }

  #callerLeft(): void {
    if (this.#isOver || this.#response.writableFinished) return;
    this.#finish(false, null);
    this.#controller?.abort(new Error('the caller left'));
  }

  #fail(status: number, message: string): void {
    answerError(this.#response, status, message);
    this.#finish(true, message);
  }

  #finish(isError: boolean, failure: string | null, answer: readonly Buffer[] | null = null): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#response.off('close', this.#onClose);
    this.#resolve({
      deployedModelId: servedBy(this.#headers).deployedModelId,
      latencyMs: Math.max(0, this.#latencyMs ?? this.#now() - this.#startedAt),
      isError,
      failure,
      answer,
    });
  }
}

/** True when Google, not the model, refused: then the fault is the proxy's, and the caller's key is not to blame. */
function isRefusalOfTheProxy(status: number, headers: IncomingHttpHeaders): boolean {
  return (status === 401 || status === 403) && servedBy(headers).deployedModelId === null;
}
