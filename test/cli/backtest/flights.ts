/**
 * A request log that nobody here made: 20,000 flights of January to March 2001, as US carriers reported them to the
 * Department of Transportation. `npx node test/cli/backtest/flights.ts` prints one line for each: the variant is the airport
 * it flew to, and an hour late or more is an error.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const VERY_LATE_MINUTES = 60;
/** The ten airports with the most flights, 434 and more each; all others are one variant. */
export const busiest = ['ATL', 'BOS', 'DEN', 'DFW', 'DTW', 'LAS', 'LAX', 'ORD', 'PHX', 'STL'];

const flightsSchema = z.array(z.object({ date: z.string(), delay: z.number(), destination: z.string() }));

/** Lines of JSON, oldest first. The data has local times without a zone; they are taken for UTC. */
export function flightLines(): string[] {
  const file = new URL('../data/flights-20k.json', import.meta.resolve('vega-datasets'));
  return flightsSchema.parse(JSON.parse(readFileSync(file, 'utf8'))).map(({ date, delay, destination }) =>
    JSON.stringify({
      timestamp: `${date.replaceAll('/', '-').replace(' ', 'T')}:00Z`,
      variant: busiest.includes(destination) ? destination : 'others',
      status: delay > VERY_LATE_MINUTES ? 500 : 200,
    }),
  );
}

if (import.meta.main) process.stdout.write(`${flightLines().join('\n')}\n`);
