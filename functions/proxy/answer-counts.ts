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
  const lines = new Map<string, Line>();
  let timer: NodeJS.Timeout | null = null;

  function flush(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    for (const line of lines.values()) log('INFO', answersMessage, { ...line });
    lines.clear();
  }

  return {
    count(endpoint, deployedModelId, code) {
      const key = `${endpoint} ${deployedModelId} ${code}`;
      let line = lines.get(key);
      if (line === undefined) {
        // A model that makes up codes and names must not make up lines.
        if (lines.size >= limits.answerLinesMax) flush();
        line = { endpoint: endpoint ?? nobody, deployedModelId: deployedModelId ?? nobody, code, answers: 0 };
        lines.set(key, line);
      }
      line.answers += 1;
      timer ??= setTimeout(flush, intervalMs).unref();
    },
    flush,
  };
}
