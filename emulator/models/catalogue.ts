/**
 * Which models can be rolled out here? Every version of the delays model in Vertex's own shape, ready for
 * ModelServiceClient.uploadModel. Where a cloud would pull the image, the emulator runs `command` and `args` locally.
 */
import { fileURLToPath } from 'node:url';
import { traitsOf, type Version, versions } from './variants.ts';

export interface DelaysVersion {
  version: Version;
  description: string;
  containerSpec: {
    imageUri: string;
    command: string[];
    args: string[];
    env: { name: string; value: string }[];
    ports: { containerPort: number }[];
    predictRoute: string;
    healthRoute: string;
  };
  labels: Record<string, string>;
}

/**
 * All versions, in the order in which uploading gives them their version ids, 1 to 8.
 * @param options.capacityRps requests a second that version 8 can take. To fail above 25 % and not before, it must lie
 *   between the canary's rates at 25 % and at the next step: of 50 requests a second in all, 20
 * @param options.crashAfter requests that version 7 answers before its process ends
 */
export function catalogue(options: { capacityRps?: number; crashAfter?: number } = {}): DelaysVersion[] {
  const { capacityRps = 20, crashAfter = 150 } = options;
  return versions.map((version) => ({
    version,
    description: traitsOf[version].description,
    containerSpec: {
      imageUri: `us-docker.pkg.dev/vertex-rollouts/models/delays:${version}`,
      command: ['node'],
      args: [fileURLToPath(new URL('server.ts', import.meta.url))],
      env: [
        { name: 'DELAYS_VERSION', value: version },
        { name: 'DELAYS_CAPACITY_RPS', value: String(capacityRps) },
        { name: 'DELAYS_CRASH_AFTER', value: String(crashAfter) },
      ],
      ports: [{ containerPort: 8080 }],
      predictRoute: '/predict',
      healthRoute: '/health',
    },
    labels: { model: 'delays', behaviour: traitsOf[version].fault },
  }));
}

export const delaysVersions: DelaysVersion[] = catalogue();
