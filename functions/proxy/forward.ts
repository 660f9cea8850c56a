/**
 * How does one request travel to the upstream and its answer back? As bytes, with one deadline, and never beyond the
 * caller: when the caller goes away or the time is over, the upstream request is aborted.
 */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { limits } from '../engine/limits.ts';
import type { Clock } from '../engine/ports.ts';
import type { Reached } from './breaker.ts';
import { beginDeadline, type Deadline, endDeadline } from './deadline.ts';
import { answerError, answerTryLater } from './google-error.ts';
import { callerHeaders, type ServedBy, servedBy } from './headers.ts';
import type { Hold } from './held.ts';
import { bytesOf, predictAnswer, predictError } from './predict-answer.ts';

export interface UpstreamCall {
  origin: string;
  path: string;
  /** Names and values in turn. */
  headers: string[];
  body: Buffer;
  /** For the whole exchange, the last byte of the answer included. */
  deadlineMs: number;
  /** True: the answer is completed as Vertex's `:predict` would give it. False: its bytes pass through as they come. */
  isPredict: boolean;
  /** Where an answer that is completed waits for its end. */
  hold: Hold;
  /** Answers of up to so many bytes are handed on in the outcome; 0 keeps none. */
  keepBytesMax: number;
  /** Whether the outcome is to have what the caller got. */
  isSentKept: boolean;
}

export interface Guard {
  /** Asked at most once, when there was no connection, so that nothing was asked of the upstream yet: whether to try again. */
  takeRetry(): boolean;
  /** Told once, when the exchange is over. */
  settle(reached: Reached, at: number): void;
}

/** How an exchange went, for the counters. */
export interface Outcome {
  /** Null when no answer named it. */
  deployedModelId: string | null;
  startedAt: number;
  /** Up to the first byte of the answer, or to the failure. */
  latencyMs: number;
  /** When it was over. */
  endedAt: number;
  /** A 5xx or a failure on the way; not a 4xx, and not a caller who left before an answer began. */
  isError: boolean;
  /** What went wrong on the way, for the log; null when the upstream gave a whole answer. */
  failure: string | null;
  /** The model's own bytes, for sampling; null unless a whole 2xx answer within `keepBytesMax`. */
  answer: readonly Buffer[] | null;
  /** What the caller got, for a cache; null unless it was wanted, and is a whole 200 of `:predict`. */
  sent: Sent | null;
}

export interface Sent {
  /** The upstream's; one that it gave twice is a list. */
  headers: NodeJS.Dict<string | string[]>;
  body: Buffer;
}

/**
 * Forwards a request and answers the caller, whatever happens.
 * @param over told once, when the exchange is over; must not throw, for undici would hear of it
 */
export function forward(
  dispatcher: Dispatcher,
  call: UpstreamCall,
  guard: Guard,
  response: ServerResponse,
  now: Clock,
  over: (outcome: Outcome) => void,
): void {
  new Exchange(dispatcher, call, guard, response, now, over).dispatch();
}

const nobody: ServedBy = { deployedModelId: null, model: null, modelVersionId: null };

class Exchange implements Dispatcher.DispatchHandler {
  readonly #dispatcher: Dispatcher;
  readonly #call: UpstreamCall;
  readonly #guard: Guard;
  readonly #response: ServerResponse;
  readonly #now: Clock;
  readonly #over: (outcome: Outcome) => void;
  readonly #startedAt: number;
  readonly #deadline: Deadline;
  readonly #onClose = () => this.#callerLeft();
  readonly #chunks: Buffer[] = [];
  #controller: Dispatcher.DispatchController | null = null;
  #size = 0;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #servedBy: ServedBy = nobody;
  #latencyMs: number | null = null;
  #isKept = true;
  #isRetry = false;
  #isOver = false;

  constructor(
    dispatcher: Dispatcher,
    call: UpstreamCall,
    guard: Guard,
    response: ServerResponse,
    now: Clock,
    over: (outcome: Outcome) => void,
  ) {
    this.#dispatcher = dispatcher;
    this.#call = call;
    this.#guard = guard;
    this.#response = response;
    this.#now = now;
    this.#over = over;
    this.#startedAt = now();
    this.#deadline = beginDeadline(call.deadlineMs, () => this.#deadlinePassed());
    response.on('close', this.#onClose);
  }

  dispatch(): void {
    const { origin, path, headers, body } = this.#call;
    this.#dispatcher.dispatch({ origin, path, method: 'POST', headers, body }, this);
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
    this.#servedBy = servedBy(headers);
    if (isRefusalOfTheProxy(status, headers)) {
      this.#fail(
        502,
        `The upstream refused the proxy's own credentials with ${status}; grant it aiplatform.endpoints.predict`,
      );
      controller.abort(new Error('refused'));
      return;
    }
    if (this.#call.isPredict) return;
    this.#response.writeHead(status, callerHeaders(headers, null));
    // A body of known length follows at once, and takes the head along.
    if (headers['content-length'] === undefined) this.#response.flushHeaders();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isOver) return;
    this.#size += chunk.length;
    if (!this.#call.isPredict) {
      this.#keep(chunk);
      if (this.#response.write(chunk)) return;
      controller.pause();
      this.#response.once('drain', () => controller.resume());
      return;
    }
    if (!this.#call.hold.take(chunk.length)) {
      const message = 'The proxy holds as many bytes as it can';
      answerTryLater(this.#response, 503, message, limits.tryLaterMs);
      this.#finish(false, message, {});
      controller.abort(new Error('no room'));
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
      this.#finish(false, null, { answer: this.#keptAnswer() });
    }
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#isOver) return;
    const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
    // Without a connection nothing was asked, and asking again is safe; a connection that broke may have been heard.
    const isUnconnected = this.#controller === null;
    if (isUnconnected && !this.#isRetry && this.#guard.takeRetry()) {
      this.#isRetry = true;
      // Not from inside: undici clears away the failed connection first.
      setImmediate(() => this.#isOver || this.dispatch());
      return;
    }
    if (isUnconnected) {
      const message = `The upstream cannot be reached (${code})`;
      answerTryLater(this.#response, 503, message, limits.tryLaterMs);
      this.#finish(true, message, { isBroken: true });
    } else this.#fail(502, `The upstream broke off before its answer was whole (${code})`, { isBroken: true });
  }

  #answerPredict(): void {
    const [only] = this.#chunks;
    const answer = this.#chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.#chunks, this.#size);
    const body = this.#status < 400 ? predictAnswer(answer, this.#servedBy) : predictError(this.#status, answer);
    if (body === null) {
      this.#fail(
        502,
        'The model did not answer with a JSON object, which :predict needs; ask with :rawPredict instead',
      );
      return;
    }
    this.#response.writeHead(this.#status, callerHeaders(this.#headers, body.length));
    this.#response.end(body, 'latin1');
    const isSentKept = this.#call.isSentKept && this.#status === 200;
    const sent = isSentKept ? { headers: this.#headers, body: bytesOf(body) } : null;
    this.#finish(false, null, { answer: this.#keptAnswer(), sent });
  }

  /** For the sample alone: what is too large, in too many pieces, or finds no room, is not kept at all. */
  #keep(chunk: Buffer): void {
    const isShort = this.#size <= this.#call.keepBytesMax && this.#chunks.length < limits.sampledAnswerPiecesMax;
    this.#isKept &&= isShort && this.#call.hold.take(chunk.length);
    if (this.#isKept) this.#chunks.push(chunk);
    else this.#chunks.length = 0;
  }

  #keptAnswer(): readonly Buffer[] | null {
    const isWanted = this.#status < 300 && this.#size > 0 && this.#size <= this.#call.keepBytesMax;
    return isWanted && this.#isKept ? this.#chunks : null;
  }

  #deadlinePassed(): void {
    if (this.#isOver) return;
    const text = `No whole answer within ${this.#call.deadlineMs} ms`;
    // Where the upstream waits for a slow caller to read, the time was the caller's.
    const isCallersTime = this.#controller?.paused === true;
    answerError(this.#response, 504, `${text}; the model may still be working on it`);
    const failure = isCallersTime ? 'the caller did not read the answer in time' : text;
    this.#finish(!isCallersTime, failure, { isBroken: !isCallersTime });
    this.#controller?.abort(new Error(text));
  }

  #callerLeft(): void {
    if (this.#isOver || this.#response.writableFinished) return;
    this.#finish(false, null, {});
    this.#controller?.abort(new Error('the caller left'));
  }

  #fail(status: number, message: string, { isBroken = false } = {}): void {
    answerError(this.#response, status, message);
    this.#finish(true, message, { isBroken });
  }

  #finish(
    isFailure: boolean,
    failure: string | null,
    {
      answer = null,
      sent = null,
      isBroken = false,
    }: Partial<Pick<Outcome, 'answer' | 'sent'>> & { isBroken?: boolean },
  ): void {
    this.#isOver = true;
    endDeadline(this.#deadline);
    this.#response.off('close', this.#onClose);
    const { deployedModelId } = this.#servedBy;
    const endedAt = this.#now();
    this.#guard.settle(reachedBy(this.#status, deployedModelId, isBroken), endedAt);
    this.#over({
      deployedModelId,
      startedAt: this.#startedAt,
      latencyMs: Math.max(0, this.#latencyMs ?? endedAt - this.#startedAt),
      endedAt,
      // Whatever became of the rest: a caller who stops reading a 5xx has had it.
      isError: isFailure || this.#status >= 500,
      failure,
      answer,
      sent,
    });
  }
}

/** True when Google, not the model, refused: then the fault is the proxy's, and the caller's key is not to blame. */
export function isRefusalOfTheProxy(status: number, headers: IncomingHttpHeaders): boolean {
  return (status === 401 || status === 403) && servedBy(headers).deployedModelId === null;
}

/** An answer that names its DeployedModel reached it, and so did what is no 5xx: a refusal and a quota are answers too. */
function reachedBy(status: number, deployedModelId: string | null, isBroken: boolean): Reached {
  if (deployedModelId !== null) return 'reached';
  if (isBroken || status >= 500) return 'failed';
  return status === 0 ? 'unknown' : 'reached';
}
