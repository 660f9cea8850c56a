/**
 * How many answers of which code came from whom? For the metrics: a line of the log for each endpoint, DeployedModel and code,
 * once a minute, from which Cloud Logging makes one metric of all instances' lines. No instance writes a series, so none
 * can be in another's way.
 */
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';

/** What stands where an answer has no endpoint, or no DeployedModel gave it. */
const nobody = 'none';

/** By this the metric's filter finds the lines. */
export const answersMessage = 'Answers of the proxy';

interface Line {
  endpoint: string;
  deployedModelId: string;
  code: number;
  answers: number;
}

export interface AnswerCounts {
  count(endpoint: string | null, deployedModelId: string | null, code: number): void;
  /** Writes what was counted. */
  flush(): void;
}

/** Makes the counts of one instance. The timer is unref'd, and there is none when no requests come. */
export function createAnswerCounts(intervalMs: number = limits.answersIntervalMs): AnswerCounts {
  /** By endpoint, DeployedModel and code: no key is put together for each answer. */
  const lines = new Map<string | null, Map<string | null, Map<number, Line>>>();
  let linesLeft: number = limits.answerLinesMax;
  let timer: NodeJS.Timeout | null = null;

  function flush(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    for (const ofEndpoint of lines.values()) {
      for (const ofModel of ofEndpoint.values()) {
        for (const line of ofModel.values()) log('INFO', answersMessage, { ...line });
      }
    }
    lines.clear();
    linesLeft = limits.answerLinesMax;
  }

  function add(endpoint: string | null, deployedModelId: string | null, code: number): Line {
    // A model that makes up codes and names must not make up lines.
    if (linesLeft === 0) flush();
    linesLeft -= 1;
    const line = { endpoint: endpoint ?? nobody, deployedModelId: deployedModelId ?? nobody, code, answers: 0 };
    let ofEndpoint = lines.get(endpoint);
    if (ofEndpoint === undefined) lines.set(endpoint, (ofEndpoint = new Map()));
    let ofModel = ofEndpoint.get(deployedModelId);
    if (ofModel === undefined) ofEndpoint.set(deployedModelId, (ofModel = new Map()));
    ofModel.set(code, line);
    return line;
  }

  return {
    count(endpoint, deployedModelId, code) {
      const line = lines.get(endpoint)?.get(deployedModelId)?.get(code) ?? add(endpoint, deployedModelId, code);
      line.answers += 1;
      timer ??= setTimeout(flush, intervalMs).unref();
    },
    flush,
  };
}
