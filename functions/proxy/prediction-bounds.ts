/** Into which bins do predictions fall? Those of every other value, so that what the proxy and the checks see compares. */
import { valueBounds } from '../../machines/analysis/value-bounds.ts';

export const predictionBounds = valueBounds;
