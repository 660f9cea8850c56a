/**
 * Which flights are learned from and asked about? 20,000 real ones of January to March 2001, as US carriers reported
 * them to the Department of Transportation (14 CFR Part 234), from the npm package vega-datasets.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';

export const flightsSource = { package: 'vega-datasets', file: 'flights-20k.json' } as const;

/** Later than this on arrival is late: the Department's own definition of "on time" ends at 15 minutes. */
export const LATE_MINUTES = 15;

/** What is known of a flight when it takes off: the instance that the models are asked about. */
export const flightSchema = z.strictObject({
  origin: z.string().regex(/^[A-Z]{3}$/, 'expected an IATA code such as DTW'),
  destination: z.string().regex(/^[A-Z]{3}$/, 'expected an IATA code such as LAS'),
  distanceMiles: z.number().gt(0).max(13_000),
  /** Local time at the origin. The data has the hour in which the flight left, not the hour it was due to leave. */
  departureHour: z.int().min(0).max(23),
  /** 1 is Monday, 7 is Sunday. */
  weekday: z.int().min(1).max(7),
});

export type Flight = z.infer<typeof flightSchema>;

export interface LandedFlight {
  flight: Flight;
  /** Such as `2001-03-31`. */
  day: string;
  isLate: boolean;
}

const rowSchema = z.object({
  date: z.string().regex(/^\d{4}\/\d{2}\/\d{2} \d{2}:\d{2}$/),
  delay: z.number(),
  distance: z.number(),
  origin: z.string(),
  destination: z.string(),
});

/** Reads all flights, oldest first. Throws when the package is not installed or its rows are not as expected. */
export function readFlights(): LandedFlight[] {
  // The package exports its code only, so its data folder is found from there.
  const file = new URL(`../data/${flightsSource.file}`, import.meta.resolve(flightsSource.package));
  const rows = z.array(rowSchema).parse(JSON.parse(readFileSync(file, 'utf8')));
  return rows.map(({ date, delay, distance, origin, destination }) => {
    const day = date.slice(0, 10).replaceAll('/', '-');
    const departureHour = Number(date.slice(11, 13));
    // A date without a time is read as UTC, so the laptop's own zone does not matter.
    const weekday = new Date(day).getUTCDay() || 7;
    const flight = { origin, destination, distanceMiles: distance, departureHour, weekday };
    return { flight, day, isLate: delay > LATE_MINUTES };
  });
}

/** Learn from January and February, judge on March: never from days that lie after the ones judged. */
export function splitFlights(flights: LandedFlight[]): { learned: LandedFlight[]; heldOut: LandedFlight[] } {
  const isHeldOut = ({ day }: LandedFlight): boolean => day >= '2001-03-01';
  return { learned: flights.filter((flight) => !isHeldOut(flight)), heldOut: flights.filter(isHeldOut) };
}
