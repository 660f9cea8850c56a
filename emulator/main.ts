/** A local Vertex AI, Cloud Monitoring, Cloud Scheduler and Pub/Sub for Google's own clients: `npm run emulator`. */
import { parseArgs } from 'node:util';
import { type EmulatorOptions, type RunningEmulator, type Service, services, startEmulator } from './start.ts';

const portDefaults: Record<Service, number> = {
  vertex: 8710,
  predict: 8711,
  monitoring: 8712,
  scheduler: 8713,
  control: 8714,
  pubsub: 8085,
};

const usage = `Usage: npm run emulator -- [options]

Ports on 127.0.0.1; 0 takes any free one:
  --vertex-port N      gRPC: EndpointService, ModelService, Operations   (${portDefaults.vertex})
  --predict-port N     HTTP: :predict, :rawPredict, :streamRawPredict    (${portDefaults.predict})
  --monitoring-port N  gRPC: MetricService                               (${portDefaults.monitoring})
  --scheduler-port N   gRPC: CloudScheduler                              (${portDefaults.scheduler})
  --pubsub-port N      gRPC: Publisher, Subscriber                       (${portDefaults.pubsub})
  --control-port N     HTTP: faults, calls, the world (see control.ts)   (${portDefaults.control})

  --time-scale N       everything takes 1/N of the time it takes Google, 1 to 36000   (1)
  --metric-lag N       real seconds until a metric point is visible   (180 / time scale)
  --state FILE         keep the state across restarts
  --quiet              leave out what the model servers write
  --help

When it is ready it prints one line of JSON, {"ports":{…},"environment":{…}}, and then the variables to export.`;

/** What was typed is wrong, or cannot be had: told in one message, without a stack. */
const exitUnusable = 2;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  try {
    const options = parseOptions(args);
    if (options === null) {
      console.log(usage);
      return 0;
    }
    const emulator = await startEmulator(options);
    // Asked for before the ready line: whoever reads that may stop us at once.
    const asked = askedToStop();
    announce(emulator);
    await asked;
    await emulator.close();
    return 0;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return exitUnusable;
  }
}

/** Null when help is wanted. */
function parseOptions(args: string[]): EmulatorOptions | null {
  const portOptions = Object.fromEntries(services.map((service) => [`${service}-port`, { type: 'string' }] as const));
  const { values } = parseArgs({
    args,
    options: {
      ...portOptions,
      'time-scale': { type: 'string' },
      'metric-lag': { type: 'string' },
      state: { type: 'string' },
      quiet: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help === true) return null;
  const given: Record<string, unknown> = values;
  const ports = Object.fromEntries(
    services.map((service) => [service, numberOf(given, `${service}-port`, 65_535) ?? portDefaults[service]]),
  );
  const timeScale = numberOf(given, 'time-scale', 36_000);
  const metricLagSeconds = numberOf(given, 'metric-lag', 86_400);
  return {
    ports,
    ...(timeScale === undefined ? {} : { timeScale }),
    ...(metricLagSeconds === undefined ? {} : { metricLagSeconds }),
    ...(values.state === undefined ? {} : { stateFile: values.state }),
    ...(values.quiet === true ? {} : { onContainerOutput: (_id: string, text: string) => process.stderr.write(text) }),
  };
}

function numberOf(values: Record<string, unknown>, name: string, max: number): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (typeof text !== 'string' || text.trim() === '' || !(value >= 0 && value <= max)) {
    throw new Error(`--${name} ${JSON.stringify(text)}: expected a number from 0 to ${max}. See --help.`);
  }
  return value;
}

function announce({ ports, environment }: RunningEmulator): void {
  console.log(JSON.stringify({ ports, environment }));
  console.log(`\nThe emulator is ready. In the shell of what is to use it:\n`);
  for (const [name, value] of Object.entries(environment)) console.log(`  export ${name}=${value}`);
  console.log(`\nControl: http://127.0.0.1:${ports.control}/healthz, /world, /faults, /calls. Ctrl-C ends it.`);
}

/** The second signal ends the process at once, as without a handler. */
function askedToStop(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
}
