/** How does the world refuse? With the code that Google's service would answer; the doors turn it into gRPC or HTTP. */

export const worldErrorCodes = [
  'CANCELLED',
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'FAILED_PRECONDITION',
  'ABORTED',
  'UNIMPLEMENTED',
] as const;

export type WorldErrorCode = (typeof worldErrorCodes)[number];

export class WorldError extends Error {
  override readonly name = 'WorldError';
  readonly code: WorldErrorCode;
  constructor(code: WorldErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
